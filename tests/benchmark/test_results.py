import contextlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from cdjax._errors import InputError
from cdjax.benchmark import _results
from cdjax.benchmark._results import BoxWriter, JsonWriter, read_boxes, write_json

BOXES = np.array([[0, 1, 2, 3], [10.12345, -4, 5.5, 6]], np.float32)


def test_boxes_go_out_from_one_and_come_back_from_zero(tmp_path):
    path = tmp_path / "a.txt"
    with BoxWriter(path) as writer:
        writer.write(BOXES[0])
        assert path.read_text() == "1.0000,2.0000,2.0000,3.0000\n"
        writer.write(BOXES[1])
    assert path.read_text().splitlines()[1] == "11.1235,-3.0000,5.5000,6.0000"
    np.testing.assert_allclose(read_boxes(path), BOXES, atol=5.1e-5)


def test_atomic_boxes_take_their_name_when_complete(tmp_path):
    path = tmp_path / "a.txt"
    with contextlib.suppress(InputError), BoxWriter(path, atomic=True) as writer:
        writer.write(BOXES[0])
        raise InputError("bad frame")
    assert not path.exists()
    assert len(read_boxes(tmp_path / "a.txt.part")) == 1
    with BoxWriter(path, atomic=True) as writer:
        writer.write(BOXES[0])
        assert not path.exists()
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_streamed_json_is_json(tmp_path):
    for boxes in (BOXES, BOXES[:1], BOXES[:0]):
        path = tmp_path / f"{len(boxes)}.json"
        with JsonWriter(path) as writer:
            for box in boxes:
                writer.write(box)
            assert not path.exists()
            writer.close({"fps": float("nan"), "tracker": "T", "frames": np.int32(2)})
        content = json.loads(path.read_text(), parse_constant=pytest.fail)
        assert content.pop("boxes") == [[round(float(v), 4) for v in b] for b in boxes]
        assert content == {"fps": None, "tracker": "T", "frames": 2}


def test_json_is_finite_and_atomic(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": [np.nan, np.float32(1)], "b": {"c": np.inf, "d": BOXES[0]}})
    content = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert content == {"a": [None, 1.0], "b": {"c": None, "d": [0, 1, 2, 3]}}
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == content


def test_writability_is_checked_without_a_trace(tmp_path):
    (tmp_path / "old.txt").write_text("kept")
    _results.check_writable(tmp_path / "old.txt")
    _results.check_writable(tmp_path / "new.txt")
    assert (tmp_path / "old.txt").read_text() == "kept"
    assert not (tmp_path / "new.txt").exists()
    for path, words in (
        (tmp_path, "is a folder"),
        (tmp_path / "none" / "a.txt", "does not exist"),
        (tmp_path / "old.txt" / "a.txt", "does not exist"),
    ):
        with pytest.raises(InputError, match=words):
            _results.check_writable(path)
    with pytest.raises(InputError, match="cannot be written"):
        _results.make_folder(tmp_path / "old.txt" / "results")
    assert _results.make_folder(tmp_path / "a" / "b").is_dir()


def test_what_a_file_needs_is_checked_and_links_stay(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "a.json.part").mkdir()
    os.mkfifo(tmp_path / "pipe")
    names = sorted(tmp_path.iterdir())
    _results.check_writable(tmp_path / "link")
    _results.check_writable(tmp_path / "link", renamed=True)
    for renamed in (False, True):
        with pytest.raises(InputError, match="loop: cannot be written"):
            _results.check_writable(tmp_path / "loop", renamed=renamed)
    with pytest.raises(InputError, match="pipe: is a pipe"):
        _results.check_writable(tmp_path / "pipe")
    with pytest.raises(InputError, match="a.json.part: is a folder"):
        _results.check_writable(tmp_path / "a.json", renamed=True)
    assert sorted(tmp_path.iterdir()) == names


def test_a_full_disk_is_said_once(tmp_path):
    (tmp_path / "a.json.part").symlink_to("/dev/full")
    with JsonWriter(tmp_path / "a.json") as writer:
        with pytest.raises(InputError, match="a.json: cannot be written"):
            writer.close({})
    with BoxWriter(Path("/dev/full")) as boxes:
        for use in (lambda: boxes.write(BOXES[0]), boxes.close):
            with pytest.raises(InputError, match="/dev/full: cannot be written"):
                use()
