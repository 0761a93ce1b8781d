"""OpenCV's own trackers as peers: host code, run frame by frame like ours."""

import math
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np

from cdjax._errors import InputError
from cdjax.boxes import check_box

OPENCV_VERSION: str = cv2.__version__
"""Whose trackers these are."""

PREFIX = "opencv:"
"""Names of peers begin with it."""

_PEERS = ("CSRT", "KCF", "MIL", "MOSSE", "MedianFlow", "Boosting", "TLD")


class OpenCVTracker(NamedTuple):
    """A tracker of OpenCV, in the place of a `cdjax.Tracker`; neither jittable nor a function.

    Attributes:
      name: OpenCV's name for it.
    """

    name: str

    def start(self) -> Any:
        """Makes a new one for a target."""
        return _factory(self.name)()


def opencv_tracker(name: str) -> OpenCVTracker:
    """Finds a tracker of OpenCV.

    Args:
      name: as in "opencv:CSRT".

    Returns:
      The tracker, with OpenCV's own defaults.

    Raises:
      InputError: for an unknown name, or where OpenCV's contributed modules are missing.
    """
    peer = name.removeprefix(PREFIX)
    if peer not in _PEERS:
        known = ", ".join(PREFIX + each for each in _PEERS)
        raise InputError(f"unknown tracker {name!r}: OpenCV has {known}")
    _factory(peer)
    return OpenCVTracker(peer)


def _factory(peer: str) -> Any:
    """OpenCV's constructor, which moved between modules over its versions."""
    legacy = getattr(cv2, "legacy", None)
    for module in (cv2, legacy):
        if create := getattr(module, f"Tracker{peer}_create", None):
            return create
    raise InputError(
        f"{PREFIX}{peer} is not in this OpenCV ({cv2.__version__}): pip install 'cdjax[peers]' in "
        "an environment of its own, since opencv-contrib-python replaces opencv-python"
    )


class PeerFrame(NamedTuple):
    """What a peer says of a frame, and how long it took: see `FrameRecord`."""

    frame: Any
    box: Any
    score: float
    scale: float
    seconds: float


def run_opencv(
    tracker: OpenCVTracker, frames: Iterable[Any], box: Any, *, max_frames: int | None = None
) -> Iterator[PeerFrame]:
    """Runs one of OpenCV's trackers over frames.

    OpenCV takes whole pixels to start from, counted from 0 as ours. Where it finds nothing, the
    last box stays, with score 0.

    Args:
      tracker: from `opencv_tracker`.
      frames: RGB frames.
      box: (x, y, w, h) in the first frame, corner index from 0.
      max_frames: where to stop, or None.

    Yields:
      A record a frame; turning RGB to OpenCV's BGR is not timed.

    Raises:
      InputError: if the box does not fit the first frame.
    """
    peer: Any = None
    first = last = np.zeros(4, np.float32)
    for index, frame in enumerate(frames):
        bgr = np.ascontiguousarray(frame[..., ::-1])
        found = True
        if peer is None:
            first = last = check_box(box, (frame.shape[0], frame.shape[1]))
            corner = np.round(first[:2])
            whole = [int(value) for value in (*corner, *np.maximum(np.round(first[2:]), 1))]
            start = time.perf_counter()
            peer = tracker.start()
            peer.init(bgr, tuple(whole))
        else:
            start = time.perf_counter()
            found, where = peer.update(bgr)
            if found:
                last = np.asarray(where, np.float32)
        seconds = time.perf_counter() - start
        area = float(last[2] * last[3]) / float(first[2] * first[3])
        yield PeerFrame(frame, last, float(found), math.sqrt(max(area, 0.0)), seconds)
        if max_frames is not None and index + 1 >= max_frames:
            return
