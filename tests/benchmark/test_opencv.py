"""OpenCV's trackers at the runner's edge, with a stand-in for the contributed modules."""

import cv2
import numpy as np
import pytest

from cdjax import InputError
from cdjax.benchmark import make_entries, run
from cdjax.benchmark._opencv import OpenCVTracker, opencv_tracker


class Follower:
    """Moves right by two pixels a frame and loses the target in the third."""

    def init(self, frame, box):
        assert frame.flags.c_contiguous
        assert all(isinstance(value, int) for value in box)
        self.blue, self.box, self.seen = frame[0, 0, 0], box, 0

    def update(self, frame):
        self.seen += 1
        x, y, w, h = self.box
        return self.seen != 2, (x + 2 * self.seen, y, w, 4 * h)


@pytest.fixture
def frames():
    frames = np.zeros((4, 30, 40, 3), np.uint8)
    frames[..., 2] = 9  # blue in RGB
    return frames


def test_records_are_those_of_any_tracker(monkeypatch, frames):
    made = []
    create = lambda: made.append(Follower()) or made[-1]
    monkeypatch.setattr(cv2, "TrackerCSRT_create", create, raising=False)
    records = list(run(opencv_tracker("opencv:CSRT"), {}, frames, (4.4, 5.6, 8.0, 6.0)))
    assert made[0].blue == 9
    assert made[0].box == (4, 6, 8, 6)
    boxes = [record.box for record in records]
    # The given box as it is; the last one where the target is lost.
    np.testing.assert_allclose(boxes[0], [4.4, 5.6, 8, 6])
    np.testing.assert_allclose(boxes[1:], [[6, 6, 8, 24], [6, 6, 8, 24], [10, 6, 8, 24]])
    assert [record.score for record in records] == [1, 1, 0, 1]
    assert [record.scale for record in records] == [1, 2, 2, 2]
    assert [record.frame_index for record in records] == [0, 1, 2, 3]
    assert {record.num_channels for record in records} == {0}
    assert all(record.seconds > 0 for record in records)
    assert len(list(run(OpenCVTracker("CSRT"), {}, frames, (4, 5, 8, 6), max_frames=2))) == 2
    with pytest.raises(InputError, match="outside the 40x30 frame"):
        list(run(OpenCVTracker("CSRT"), {}, frames, (50, 5, 8, 6)))


def test_entries_take_peers(monkeypatch):
    monkeypatch.setattr(cv2, "TrackerKCF_create", Follower, raising=False)
    ours, peer = make_entries(["CACF", "opencv:KCF"])
    assert (peer.name, peer.tracker, peer.params) == ("opencv:KCF", OpenCVTracker("KCF"), {})
    assert peer.description["config"] == {"opencv": cv2.__version__}
    assert ours.description["num_candidates"] == 31


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.delattr(cv2, "TrackerCSRT_create", raising=False)
    monkeypatch.delattr(cv2, "legacy", raising=False)
    with pytest.raises(InputError, match=r"pip install 'cdjax\[peers\]'"):
        opencv_tracker("opencv:CSRT")
    with pytest.raises(InputError, match="unknown tracker 'opencv:CSR': OpenCV has opencv:CSRT"):
        make_entries(["opencv:CSR"])
