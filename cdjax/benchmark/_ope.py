"""One-pass evaluation: a tracker over a sequence once, from its first box."""

import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np

from cdjax._errors import InputError
from cdjax._types import Params
from cdjax.benchmark._frames import Prefetch, read_images
from cdjax.benchmark._metrics import has_target
from cdjax.benchmark._opencv import OpenCVTracker
from cdjax.benchmark._runner import FrameRecord, run
from cdjax.benchmark._sequence import Sequence
from cdjax.trackers._base import Tracker

_RECENT = 10_000


class Totals:
    """Clocks and counts of a run in constant memory."""

    def __init__(self):
        self.num_frames = 0
        self.num_channels = 0
        self.seconds = 0.0
        self.compile_seconds = 0.0
        self.decode_seconds = 0.0
        self._steps: deque[float] = deque(maxlen=_RECENT)
        self._start = 0.0

    def add(self, record: FrameRecord) -> None:
        """Counts a frame."""
        self.num_frames += 1
        self.num_channels = record.num_channels
        self.seconds += record.seconds
        self.compile_seconds += record.compile_seconds
        if record.frame_index == 2:  # the first two start and distil
            self._steps.clear()
        self._steps.append(record.seconds)

    @property
    def fps(self) -> float:
        """Frames over tracking time, starting and distilling included; NaN for none."""
        return self.num_frames / self.seconds if self.seconds else float("nan")

    @property
    def step_ms_median(self) -> float:
        """Median ms a step, over the last 10 000 and from the third frame on."""
        return self._step_ms(50.0)

    @property
    def step_ms_p95(self) -> float:
        """95th percentile of the ms a step, over the same steps."""
        return self._step_ms(95.0)

    def _step_ms(self, percentile: float) -> float:
        """A percentile of the steps; NaN for none."""
        return 1000 * float(np.percentile(self._steps, percentile)) if self._steps else float("nan")

    def clocked(self, frames: Generator[Any, None, None]) -> Generator[Any, None, None]:
        """Passes frames on, and counts the time of their making as decoding."""
        with closing(frames):
            while True:
                start = time.perf_counter()
                frame = next(frames, None)
                self.decode_seconds += time.perf_counter() - start
                if frame is None:
                    return
                yield frame


class Outcome(NamedTuple):
    """What a tracker did on a sequence.

    Attributes:
      boxes: a row a frame, corner index from 0.
      totals: clocks and counts.
    """

    boxes: Any
    totals: Totals


def start_box(sequence: Sequence) -> Any:
    """Returns the ground truth of the first frame, or raises InputError if absent."""
    if not len(sequence.boxes) or not has_target(sequence.boxes[:1])[0]:
        raise InputError(f"{sequence.name}: no box in the first row of its ground truth; mend it")
    return sequence.boxes[0]


def track_sequence(
    tracker: Tracker | OpenCVTracker,
    params: Params,
    sequence: Sequence,
    *,
    box: Any = None,
    key: Any = None,
    max_frames: int | None = None,
    on_record: Callable[[FrameRecord], None] | None = None,
) -> Outcome:
    """Tracks one sequence from its first frame.

    Args:
      tracker: from `cdjax.make`.
      params: its weights.
      sequence: the sequence.
      box: where to start; its first ground-truth box by default.
      key: a JAX random key for trackers that draw, or None for their own.
      max_frames: where to stop, or None.
      on_record: called with each frame's record.

    Returns:
      The boxes and clocks.

    Raises:
      InputError: for bad frames, as `run` and `read_images` do.
    """
    box, boxes, totals = start_box(sequence) if box is None else box, [], Totals()
    with Prefetch(totals.clocked(read_images(sequence.frame_paths))) as frames:
        for record in run(tracker, params, frames, box, max_frames=max_frames, key=key):
            boxes.append(record.box)
            totals.add(record)
            if on_record is not None:
                on_record(record)
    return Outcome(np.array(boxes, np.float64).reshape(-1, 4), totals)
