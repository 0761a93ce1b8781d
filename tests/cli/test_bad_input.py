"""Each bad input of the track command: one line, exit code 2, nothing lost."""

import json
import os
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

from cdjax.benchmark import read_boxes
from cdjax.cli import main

BOX = ["--box", "5,6,10,12"]


@pytest.fixture
def track(fake_api, tmp_path, capsys):
    """Runs track with outputs; returns the error line and the boxes written."""

    def run(source, *more, tracker="DeepCD-H"):
        text, summary = tmp_path / "boxes.txt", tmp_path / "summary.json"
        outputs = ["--boxes", str(text), "--json", str(summary)]
        arguments = ["--tracker", tracker, *outputs, *more]
        before = text.read_text() if text.exists() else None
        assert main(["track", str(source), *arguments]) == 2
        err = capsys.readouterr().err
        assert err.startswith("cdjax: error: ")
        assert err.count("\n") == 1
        boxes = read_boxes(text) if text.exists() else []
        written = text.exists() and text.read_text() != before
        assert summary.exists() == written
        if written:
            content = json.loads(summary.read_text())
            assert len(content["boxes"]) == len(boxes)
            assert content["error"] in err
        return err, boxes

    return run


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ("100,6,10,12", "outside the 64x48 frame"),
        ("-50,6,10,12", "outside the 64x48 frame"),
        ("5,6,0,12", "no area"),
        ("5,6,10,-12", "no area"),
        ("nan,6,10,12", "not finite"),
        ("-inf,6,10,12", "not finite"),
        ("0,0,1e39,1e39", "larger than any frame"),
        ("5,6,10", "not four numbers"),
        ("5,6,10,12,3", "not four numbers"),
        ("a,b,c,d", "not four numbers"),
    ],
)
def test_boxes(track, images, tmp_path, box, words):
    (tmp_path / "boxes.txt").write_text("1,2,3,4\n")
    err, _ = track(images, "--max-frames", "3", "--box", box)
    assert words in err
    assert (tmp_path / "boxes.txt").read_text() == "1,2,3,4\n"
    assert not (tmp_path / "summary.json").exists()


def test_sources_that_are_none(track, images, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("no video")
    os.mkfifo(tmp_path / "pipe.mp4")
    for source, words in (
        (tmp_path / "empty", "empty: no images"),
        (tmp_path / "none", "none: no such folder, video or camera"),
        (tmp_path / "text.mp4", "text.mp4: not a video"),
        (tmp_path / "pipe.mp4", "pipe.mp4: neither a folder nor a file"),
        ("", "SOURCE is empty"),
        (images / "0001.png", "0001.png: is a single image; give the folder"),
    ):
        assert words in track(source, *BOX)[0]


def test_missing_frame(track, images):
    (images / "0004.png").unlink()
    err, boxes = track(images, *BOX)
    assert "0004.png: frame is missing" in err
    assert len(boxes) == 3


def test_missing_frame_beside_an_odd_image(track, images):
    (images / "0004.png").unlink()
    shutil.copy(images / "0001.png", images / "thumb.png")
    err, boxes = track(images, *BOX)
    assert "thumb.png: image without a number" in err
    assert len(boxes) == 0
    (images / "thumb.png").unlink()
    (images / "0002.png").unlink()  # now 1, 3, 5, 6
    err, boxes = track(images, *BOX)
    assert "0002.png: frame is missing" in err
    assert len(boxes) == 1


def test_missing_frame_of_a_sequence(track, otb):
    (otb / "A" / "img" / "0004.png").unlink()
    err, boxes = track(otb / "A")
    assert "0004.png: frame is missing" in err
    np.testing.assert_allclose(boxes, [[5 + i, 6, 10, 12] for i in range(3)])


def test_truncated_jpeg(track, images):
    picture = cv2.imread(str(images / "0001.png"))
    for path in images.iterdir():
        cv2.imwrite(str(path.with_suffix(".jpg")), picture)
        path.unlink()
    path = images / "0003.jpg"
    path.write_bytes(path.read_bytes()[:-100])
    err, boxes = track(images, *BOX)
    assert "0003.jpg: image is truncated" in err
    assert len(boxes) == 2


def test_truncated_video(track, video):
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    err, boxes = track(video, *BOX)
    assert f"video.avi: video ends after frame {len(boxes)} of 20" in err
    assert len(boxes) > 2


def test_frames_that_change_size(track, images):
    cv2.imwrite(str(images / "0005.png"), np.zeros((50, 64, 3), np.uint8))
    err, boxes = track(images, *BOX)
    assert "0005.png: frame is 64x50 but the first is 64x48" in err
    assert len(boxes) == 4


def test_weights_with_nan(track, images):
    deep = "DeepCD-V-11+12+21"
    err, boxes = track(images, *BOX, "--weights", "nan", tracker=deep)
    assert "frame 2: the tracker's box is not finite; do the weights contain NaN" in err
    assert len(boxes) == 1


def test_weights_that_are_missing(track, images):
    assert "cdjax weights" in track(images, *BOX, tracker="DeepCD-V-11+12+21")[0]


def test_trackers_that_do_not_exist(track, images):
    assert "nearest is DeepCD-H" in track(images, *BOX, tracker="DeepCD-X")[0]


@pytest.mark.parametrize(
    ("tracker", "words"),
    [
        ("CACF-X", "nearest is CACF"),
        ("CACF:grid=30", "no option 'grid': nearest is grid_hw"),
        ("CACF-CD:grid_hw=28x30", "use shared=false"),
        ("CACF-CD:num_channels=32", "num_channels=32: use 1 to 31"),
    ],
)
def test_options_of_cacf(images, capsys, tracker, words):
    assert main(["track", str(images), *BOX, "--tracker", tracker]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


def test_ground_truth_that_starts_without_a_box(track, images):
    (images / "groundtruth.txt").write_text("nan,nan,nan,nan\n" * 6)
    assert "images: no box in the first row" in track(images)[0]


@pytest.mark.parametrize("option", ["--boxes", "--video", "--json"])
def test_outputs_that_cannot_be_written(fake_api, images, tmp_path, capsys, monkeypatch, option):
    def fail(*_):
        raise AssertionError("tracked before checking outputs")

    monkeypatch.setattr("cdjax.benchmark.run", fail)
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    for path, words in (
        (tmp_path / "loop.mp4", "loop.mp4: cannot be written"),
        (tmp_path / "none" / "out.mp4", "does not exist"),
        (tmp_path / "file" / "out.mp4", "does not exist"),
        (tmp_path / "folder.mp4", "is a folder"),
    ):
        assert main(["track", str(images), *BOX, option, str(path)]) == 2
        err = capsys.readouterr().err
        assert words in err
        assert err.count("\n") == 1


def test_outputs_that_would_overwrite_something(track, video, tmp_path):
    err, _ = track(video, *BOX, "--video", str(video))
    assert "needed for SOURCE and --video" in err
    err, _ = track(video, *BOX, "--video", str(tmp_path / "a.gif"))
    assert "name it .mp4" in err


def test_no_box_and_no_window(track, images, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert "pass --box X,Y,W,H" in track(images)[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "required: COMMAND"),
        (["bogus"], "invalid choice: 'bogus'"),
        (["track"], "required: SOURCE"),
        (["track", ".", "--max-frames", "-1"], "not a number of at least 1"),
        (["evaluate", "--dataset", "otb200"], "invalid choice: 'otb200'"),
    ],
)
def test_bad_arguments(capsys, arguments, words):
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


def test_version_and_one_line_from_a_process(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("cdjax ")
    (tmp_path / "cut.mp4").write_bytes(b"\0\0\0\x1cftypisom" + b"\0" * 100)
    command = [sys.executable, "-m", "cdjax", "track", str(tmp_path / "cut.mp4")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("cdjax: error: ")
    assert done.stderr.count("\n") == 1
