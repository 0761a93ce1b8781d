import json

import cv2
import numpy as np
import pytest

from cdjax.benchmark import read_boxes
from cdjax.cli import main

pytestmark = pytest.mark.usefixtures("fake_api")
BOX = ["--box", "5,6,10,12"]
JSON_KEYS = {
    "tracker",
    "frames",
    "num_channels",
    "success_auc",
    "precision_20",
    "fps",
    "step_ms_median",
    "compile_seconds",
    "boxes",
    "error",
}


def decoded(path):
    capture, frames = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames


def test_folder_of_images_with_every_output(images, tmp_path, capsys):
    text, video, summary = (tmp_path / n for n in ("b.txt", "v.mp4", "s.json"))
    outputs = ["--boxes", str(text), "--video", str(video), "--json", str(summary)]
    assert main(["track", str(images), *BOX, "--tracker", "DeepCD-H", *outputs]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "DeepCD-H: 6 frames, 4 channels" in out
    assert "success AUC" not in out

    expected = [[5 + i, 6, 10, 12] for i in range(6)]
    assert text.read_text().startswith("6.0000,7.0000,10.0000,12.0000\n7.0000,")
    np.testing.assert_allclose(read_boxes(text), expected)
    content = json.loads(summary.read_text())
    assert set(content) == JSON_KEYS
    assert content["boxes"] == expected
    assert content["success_auc"] is content["precision_20"] is content["error"] is None
    assert content["frames"] == 6
    frames = decoded(video)
    assert len(frames) == 6
    for frame, (x, y, _, h) in zip(frames, np.array(expected), strict=True):
        corner = frame[y + h - 3 : y + h + 2, x - 2 : x + 3].reshape(-1, 3).mean(0)
        assert corner[2] > corner[0] + 80  # the box is orange, and moves along


def test_sequence_folder_gives_box_and_accuracy(otb, tmp_path, capsys):
    summary = tmp_path / "s.json"
    arguments = ["--tracker", "DeepCD-H", "--max-frames", "4", "--json", str(summary)]
    assert main(["track", str(otb / "A"), *arguments]) == 0
    assert "success AUC 0.952, precision at 20 px 1.000" in capsys.readouterr().out
    content = json.loads(summary.read_text())
    assert content["success_auc"] == pytest.approx(20 / 21)
    assert content["boxes"][0] == [5, 6, 10, 12]
    assert content["frames"] == 4


@pytest.mark.parametrize(
    ("source", "box", "chosen", "start"),
    [
        ("Two", [], "tracking Two-1", [5, 6]),
        ("Two-2", [], None, [5, 26]),
        ("Two", ["--box", "5,25,10,12"], "tracking Two-2", [5, 25]),
    ],
)
def test_folders_of_two_targets(otb, tmp_path, capsys, source, box, chosen, start):
    summary = tmp_path / "s.json"
    arguments = ["--tracker", "DeepCD-H", *box, "--json", str(summary)]
    assert main(["track", str(otb / source), *arguments]) == 0
    out = capsys.readouterr().out
    assert (chosen or "DeepCD-H") in out
    assert ("there is also" in out) == bool(chosen)
    content = json.loads(summary.read_text())
    assert content["boxes"][0][:2] == start
    assert content["success_auc"] > 0.8


def test_the_working_folder_has_a_name(otb, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(otb / "Two")
    assert main(["track", ".", "--tracker", "DeepCD-H"]) == 0
    assert f"tracking Two-1 of {otb}; there is also Two-2" in capsys.readouterr().out
    monkeypatch.chdir(otb / "A" / "img")
    evaluate = ["evaluate", "--dataset", "folder", "--root", "..", "--results", str(tmp_path / "r")]
    assert main([*evaluate, "--tracker", "DeepCD-H"]) == 0
    assert (tmp_path / "r" / "DeepCD-H" / "A.txt").exists()


def test_vot_folder_counts_from_zero(images, tmp_path):
    rows = "".join(f"{5 + i},6,{15 + i},6,{15 + i},18,{5 + i},18\n" for i in range(6))
    (images / "groundtruth.txt").write_text(rows)
    summary = tmp_path / "s.json"
    arguments = ["--tracker", "DeepCD-H", "--json", str(summary)]
    assert main(["track", str(images), *arguments]) == 0
    content = json.loads(summary.read_text())
    assert content["boxes"][1] == [6, 6, 10, 12]
    assert content["success_auc"] == pytest.approx(20 / 21)


def test_start_box_alone_is_no_ground_truth(images, tmp_path):
    (images / "groundtruth.txt").write_text("5,6,10,12\n")
    summary = tmp_path / "s.json"
    arguments = ["--tracker", "DeepCD-H", "--json", str(summary)]
    assert main(["track", str(images), *arguments]) == 0
    content = json.loads(summary.read_text())
    assert content["frames"] == 6
    assert content["success_auc"] is None


def test_video_file(video, tmp_path):
    slow = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for index in range(20):
        slow.write(np.full((48, 64, 3), 10 * index, np.uint8))
    slow.release()
    text, out = tmp_path / "b.txt", tmp_path / "v.mp4"
    arguments = ["--tracker", "DeepCD-H", *BOX, "--boxes", str(text), "--video", str(out)]
    assert main(["track", str(video), *arguments]) == 0
    assert len(read_boxes(text)) == 20
    assert cv2.VideoCapture(str(out)).get(cv2.CAP_PROP_FPS) == 10
    levels = [frame[-4:, -4:].mean() for frame in decoded(out)]
    np.testing.assert_allclose(levels, 10 * np.arange(20), atol=8)


def test_without_weights_the_tracker_is_the_one_that_needs_none(images, capsys):
    assert main(["track", str(images), *BOX]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("tracker DeepCD-H, because DeepCD-V-11+12+21 lacks")
    assert out[1].startswith("DeepCD-H: 6 frames")
    assert main(["track", str(images), *BOX, "--weights", "moves"]) == 0
    assert capsys.readouterr().out.startswith("DeepCD-V-11+12+21: 6 frames")


def test_interruption_keeps_what_there_is(images, tmp_path, capsys, monkeypatch):
    from cdjax.benchmark import Totals

    add = Totals.add

    def interrupted(self, record):
        if record.frame_index == 3:
            raise KeyboardInterrupt
        add(self, record)

    monkeypatch.setattr(Totals, "add", interrupted)
    text, summary = tmp_path / "b.txt", tmp_path / "s.json"
    outputs = ["--boxes", str(text), "--json", str(summary)]
    assert main(["track", str(images), *BOX, "--tracker", "DeepCD-H", *outputs]) == 130
    assert capsys.readouterr().err == "cdjax: interrupted\n"
    assert len(read_boxes(text)) == 3
    assert json.loads(summary.read_text())["error"] == "interrupted"
