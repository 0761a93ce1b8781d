"""Outputs never destroy what is not theirs, and errors of the file system are one line."""

import json
import os
import resource

import cv2
import numpy as np
import pytest

from cdjax._errors import InputError
from cdjax.benchmark._results import write_json
from cdjax.cli import main


@pytest.fixture
def video(tmp_path):
    folder = tmp_path / "video"
    folder.mkdir()
    for index in range(3):
        cv2.imwrite(str(folder / f"{index:04d}.png"), np.zeros((40, 60, 3), np.uint8))
    (folder / "groundtruth_rect.txt").write_text("11,11,20,20\n")
    return folder


def refused(capsys, *words):
    code = main([*map(str, words)])
    error = capsys.readouterr().err
    assert code == 2
    assert len(error.strip().splitlines()) == 1
    assert error.startswith("cdjax: error: ")
    return error


def arguments(video):
    return ["track", video, "--tracker", "CF2-H", "--box", "10,10,20,20"]


def test_a_pipe_is_left_alone(video, tmp_path, capsys):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert str(pipe) in refused(capsys, *arguments(video), "--json", pipe)
    assert str(pipe) in refused(capsys, *arguments(video), "--boxes", pipe)
    assert pipe.is_fifo()


def test_outputs_that_share_a_file(video, tmp_path, capsys):
    outputs = ["--json", tmp_path / "a.json", "--boxes", tmp_path / "a.json.part"]
    error = refused(capsys, *arguments(video), *outputs)
    assert "a.json.part: needed for --boxes and --json" in error
    assert list(tmp_path.iterdir()) == [video]


def test_what_is_in_the_way_of_json_is_named_before_the_work(video, tmp_path, capsys):
    (tmp_path / "a.json.part").mkdir()
    (tmp_path / "b.txt").write_text("kept")
    outputs = ["--json", tmp_path / "a.json", "--boxes", tmp_path / "b.txt"]
    error = refused(capsys, *arguments(video), *outputs)
    assert "a.json.part: is a folder" in error
    assert (tmp_path / "b.txt").read_text() == "kept"


@pytest.fixture
def track(fake_api, video, tmp_path, capsys):
    """Tracks the video with all outputs; returns exit code, both streams and the summary."""

    def run(**places):
        outputs = {"boxes": "b.txt", "video": "v.mp4", "json": "s.json"} | places
        words = [w for key, name in outputs.items() for w in (f"--{key}", tmp_path / name)]
        code = main([*map(str, ["track", video, "--tracker", "DeepCD-H", *words])])
        summary = tmp_path / outputs["json"]
        content = json.loads(summary.read_text()) if summary.exists() else None
        return code, *capsys.readouterr(), content

    return run


def test_a_file_that_cannot_be_completed_is_not_listed(track, tmp_path):
    code, out, err, content = track(boxes="/dev/full")
    assert code == 2
    assert err.startswith("cdjax: error: /dev/full: cannot be written")
    assert content["error"] in err
    assert out.index("DeepCD-H: 1 frames") < out.index("wrote")
    written = [line for line in out.splitlines() if line.startswith("wrote")]
    assert written == [f"wrote {tmp_path / name}" for name in ("v.mp4", "s.json")]


def test_a_video_cut_by_a_full_disk_is_an_error(track, video, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (3, 40, 60, 3))
    for index in range(3):
        cv2.imwrite(str(video / f"{index:04d}.png"), noise[index])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
    try:
        code, out, err, content = track()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 2
    assert "v.mp4: the last of 3 frames is not in the video" in err
    assert content["error"] in err
    assert len(content["boxes"]) == 3
    assert f"wrote {tmp_path / 'b.txt'}" in out
    assert "v.mp4" not in out


def test_nothing_is_replaced_where_a_file_cannot_be_opened(track, tmp_path, monkeypatch):
    def fail(*_):
        raise InputError("no codec")

    monkeypatch.setattr("cdjax.benchmark.open_video", fail)
    (tmp_path / "b.txt").write_text("kept")
    (tmp_path / "s.json").write_text('"kept"')
    code, out, err, content = track()
    assert (code, out, err) == (2, "", "cdjax: error: no codec\n")
    assert content == "kept"
    assert (tmp_path / "b.txt").read_text() == "kept"


def test_outputs_follow_links_that_lead_nowhere_yet(track, tmp_path):
    for name in ("b.txt", "v.mp4", "s.json"):
        (tmp_path / f"link_{name}").symlink_to(tmp_path / name)
    code, _, err, content = track(boxes="link_b.txt", video="link_v.mp4", json="link_s.json")
    assert (code, err) == (0, "")
    assert all((tmp_path / f"link_{name}").is_symlink() for name in ("b.txt", "v.mp4", "s.json"))
    assert len(content["boxes"]) == len((tmp_path / "b.txt").read_text().splitlines()) == 3
    assert cv2.VideoCapture(str(tmp_path / "v.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 3


def test_json_follows_a_link(tmp_path):
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    target.write_text("old")
    link.symlink_to(target)
    write_json(link, {"new": 1})
    assert link.is_symlink()
    assert "new" in target.read_text()


@pytest.mark.parametrize("name", ["groundtruth_rect.txt", "0001.png"])
def test_boxes_do_not_replace_frames_or_annotations(name, video, capsys):
    before = (video / name).read_bytes()
    assert name in refused(capsys, *arguments(video), "--boxes", video / name)
    assert (video / name).read_bytes() == before


@pytest.mark.parametrize("source", ["x" * 300, "\u00b2", "9" * 20])
def test_odd_sources_are_one_line(source, capsys):
    assert source in refused(capsys, "track", source, "--tracker", "CF2-H")
