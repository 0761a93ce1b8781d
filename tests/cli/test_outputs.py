"""Outputs never destroy what is not theirs, and errors of the file system are one line."""

import os

import cv2
import numpy as np
import pytest

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


def test_json_leaves_a_pipe_alone(video, tmp_path, capsys):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert str(pipe) in refused(capsys, *arguments(video), "--json", pipe)
    assert pipe.is_fifo()


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
