import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest
from fake_tracker import make_tracker

import cdjax
from cdjax._errors import InputError
from cdjax.benchmark import (
    first_frames,
    judge_vot_workspace,
    list_otb,
    list_vot,
    make_vot_workspace,
    read_vot_workspace,
    run_supervised,
    run_vot_toolkit,
    score_supervised,
    write_vot_trackers,
)
from cdjax.benchmark._sequence import Sequence
from cdjax.benchmark._vot_toolkit import PythonTracker

has_toolkit = importlib.util.find_spec("vot") is not None


def make_sequence(folder: Path, values: list[int]) -> Sequence:
    paths = tuple(folder / f"{index}.png" for index in range(len(values)))
    for path, value in zip(paths, values, strict=True):
        cv2.imwrite(str(path), np.full((48, 64, 3), value, np.uint8))
    boxes = np.tile([10.0, 10.0, 20.0, 30.0], (len(values), 1))
    tags = {"occlusion": np.arange(len(values)) > 0}
    return Sequence("bright", paths, boxes, frame_tags=tags)


def test_python_protocol(tmp_path, monkeypatch):
    traced = []
    fake = make_tracker(8, None, traced.append)
    monkeypatch.setattr(cdjax, "make", lambda name: fake)
    monkeypatch.setattr(cdjax, "load_params", lambda weights: {"gain": np.float32(1)})
    tracker = PythonTracker(name="DeepCD-V-11", weights="fake")
    frames = [str(path) for path in make_sequence(tmp_path, [9, 1, 2]).frame_paths]
    polygon = [(10, 12), (28, 10), (30, 38), (12, 40)]
    for start in ((10.0, 10.0, 20.0, 30.0), polygon):
        box = tracker.init(frames[0], (start, {}), {})
        assert box == (10, 10, 20, 30)
        assert type(box) is tuple
        assert all(type(value) is float for value in box)
        assert tracker.update(frames[1], [], {}) == (11, 10, 20, 30)
        assert tracker.update(frames[2]) == (13, 10, 20, 30)
    assert traced == ["init", "step"]
    with pytest.raises(InputError, match="frame is missing"):
        tracker.update(str(tmp_path / "none.png"))


def test_workspace_on_disk(tmp_path):
    sequence = make_sequence(tmp_path, [1, 2, 3])
    rows = {"bright": [1, 2, 0]}
    folder = make_vot_workspace(
        tmp_path / "ws", [sequence], {"DeepCD+H": "DeepCD-H"}, results={"DeepCD+H": rows}
    )
    assert (folder / "trackers.ini").read_text().splitlines()[:5] == [
        "[DeepCD_H]",
        "label = DeepCD+H",
        "protocol = python",
        "command = cdjax.benchmark._vot_toolkit:PythonTracker",
        "arg_name = DeepCD-H",
    ]
    files = folder / "sequences" / "bright"
    assert (files / "groundtruth.txt").read_text() == "10.0,10.0,20.0,30.0\n" * 3
    assert (files / "occlusion.tag").read_text() == "0\n1\n1\n"
    assert (files / "color" / "00000003.png").read_bytes() == sequence.frame_paths[2].read_bytes()
    assert "width=64\nheight=48\n" in (files / "sequence").read_text()
    assert read_vot_workspace(folder, "DeepCD+H") == {"bright": [[1, 2, 0]]}
    with pytest.raises(InputError, match="ws: is not empty; give a new folder"):
        make_vot_workspace(folder, [sequence], {})
    with pytest.raises(InputError, match="no results; run vot evaluate"):
        read_vot_workspace(folder, "KCF")
    with pytest.raises(InputError, match="two trackers are 'a_b' to vot-toolkit; rename 'a=b'"):
        write_vot_trackers(tmp_path / "trackers.ini", {"a+b": "CF2-H", "a=b": "CF2-H"})
    with pytest.raises(InputError, match="bright: no frames; vot-toolkit needs them"):
        make_vot_workspace(tmp_path / "ws2", [sequence._replace(frame_paths=())], {})


@pytest.mark.skipif(has_toolkit, reason="vot-toolkit is installed")
def test_without_the_extra(tmp_path):
    with pytest.raises(InputError, match=r"not installed; pip install cdjax\[vot\]"):
        run_vot_toolkit(tmp_path, "analysis")


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif(not has_toolkit, reason="needs the extra vot")
def test_the_toolkit_agrees(tmp_path, data_dir):
    targets = [*list_vot(data_dir / "vot"), *list_otb(data_dir / "otb")]
    chosen = [t.read() for t in targets if t.name in ("ball1", "Couple", "Bird2")]
    sequences = [first_frames(sequence, 40) for sequence in chosen]
    assert len(sequences) == 3
    # In one the target is said to jump, so that the tracker fails and is started again.
    jumping = sequences[-1]
    boxes = jumping.boxes.copy()
    boxes[12:, :2] = 0.0
    sequences[-1] = jumping._replace(boxes=boxes, regions=None)
    rng = np.random.default_rng(0)
    noisy = {s.name: [1, *(s.boxes[1:] + rng.normal(0, 4, (39, 4)))] for s in sequences}
    for rows in noisy.values():
        rows[13:19] = [2, 0, 0, 0, 0, 1]
    noisy["Bird2"][37:40] = [2, 0, 0]
    workspace = make_vot_workspace(
        tmp_path / "ws",
        sequences,
        {"noisy": "none", "DeepCD-H": "DeepCD-H"},
        interval=(5, 30),
        results={"noisy": noisy},
    )
    run_vot_toolkit(workspace, "evaluate", "DeepCD-H")
    theirs = read_vot_workspace(workspace, "DeepCD-H")
    for sequence in sequences:  # the toolkit's run of the tracker is ours, number for number
        ours = run_supervised(cdjax.make("DeepCD-H"), {}, sequence).rows
        for row, other in zip(ours, theirs[sequence.name][0], strict=True):
            np.testing.assert_array_equal(np.float32(row), np.float32(other))
    figures = judge_vot_workspace(workspace, ["noisy", "DeepCD-H"])
    for label, runs in (("noisy", noisy), ("DeepCD-H", theirs)):
        score = score_supervised(runs, sequences, preset="vot-toolkit", interval=(5, 30))
        assert score.failures == {"noisy": 4, "DeepCD-H": 1}[label]
        for name, value in figures[label].items():
            # the toolkit's EAO is in float32
            np.testing.assert_allclose(getattr(score, name), value, atol=1e-6, err_msg=name)
