"""One-pass evaluation: each tracker over each sequence once, from its first box."""

from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cdjax._errors import InputError
from cdjax._types import Params
from cdjax.benchmark._frames import Prefetch, read_images
from cdjax.benchmark._metrics import PRESET, has_target, score
from cdjax.benchmark._results import BoxWriter, versions, write_json
from cdjax.benchmark._runner import FrameRecord, run
from cdjax.benchmark._sequence import Sequence, Target
from cdjax.trackers._base import Tracker

SEQUENCE_KEYS = ("success_auc", "precision_20", "mean_channels", "fps")
"""Figures that a summary gives for a tracker and for each of its sequences."""

_RECENT = 10_000


class Totals:
    """Clocks and counts of a run in constant memory."""

    def __init__(self):
        self.num_frames = 0
        self.num_channels = 0
        self.seconds = 0.0
        self.compile_seconds = 0.0
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
        return 1000 * float(np.median(self._steps)) if self._steps else float("nan")


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
    tracker: Tracker,
    params: Params,
    sequence: Sequence,
    *,
    max_frames: int | None = None,
    on_record: Callable[[FrameRecord], None] | None = None,
) -> Outcome:
    """Tracks one sequence from its first ground-truth box.

    Args:
      tracker: from `cdjax.make`.
      params: its weights.
      sequence: the sequence.
      max_frames: where to stop, or None.
      on_record: called with each frame's record.

    Returns:
      The boxes and clocks.

    Raises:
      InputError: for bad frames, as `run` and `read_images` do.
    """
    box, boxes, totals = start_box(sequence), [], Totals()
    with Prefetch(read_images(sequence.frame_paths)) as frames:
        for record in run(tracker, params, frames, box, max_frames=max_frames):
            boxes.append(record.box)
            totals.add(record)
            if on_record is not None:
                on_record(record)
    return Outcome(np.array(boxes, np.float64).reshape(-1, 4), totals)


class Entry(NamedTuple):
    """A tracker that takes part.

    Attributes:
      name: of its results folder and row.
      tracker: from `cdjax.make`.
      params: its weights.
    """

    name: str
    tracker: Tracker
    params: Params


def evaluate(
    entries: Iterable[Entry],
    targets: list[Target],
    results: Path,
    *,
    dataset: str,
    max_frames: int | None = None,
    on_frame: Callable[[str, str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Runs trackers over sequences and writes boxes and a summary.

    Boxes go to `results/<tracker>/<sequence>.txt` in OTB's format; a run that fails
    leaves what it has under .part, is listed among the summary's failures, and does not
    stop the others. `results/summary.json` is written anew after every sequence.

    Args:
      entries: the trackers.
      targets: the sequences.
      results: folder for results, which exists.
      dataset: name for the summary.
      max_frames: frames a sequence, or None for all.
      on_frame: called with tracker, sequence, frames done and frames in all.

    Returns:
      The summary: dataset, protocol, versions, failures, and a row a tracker.
    """
    rows: list[dict[str, Any]] = []
    failures: list[dict[str, str]] = []
    summary = {
        "dataset": dataset,
        "protocol": {**PRESET, "kind": "one-pass", "max_frames": max_frames},
        "fps_is": "frames / (first-frame and step time); no decoding, no compilation",
        "versions": versions(),
        "failures": failures,
        "trackers": rows,
    }
    for entry in entries:
        folder = results / entry.name
        row: dict[str, Any] = {"tracker": entry.name, "sequences": {}}
        rows.append(row)
        seconds = 0.0
        for target in targets:
            try:
                figures, spent = _evaluate_one(
                    entry, target, folder, max_frames=max_frames, on_frame=on_frame
                )
            except Exception as error:  # one bad sequence must not lose the others
                kind = "" if isinstance(error, InputError) else type(error).__name__
                failures.append(
                    {
                        "tracker": entry.name,
                        "sequence": target.name,
                        "kind": kind,
                        "error": " ".join(str(error).split()),
                    }
                )
            else:
                row["sequences"][target.name] = figures
                seconds += spent
            row.update(_mean_row(row["sequences"], seconds))
            write_json(results / "summary.json", summary)
    return summary


def _evaluate_one(
    entry: Entry,
    target: Target,
    folder: Path,
    *,
    max_frames: int | None,
    on_frame: Callable[[str, str, int, int], None] | None,
) -> tuple[dict[str, Any], float]:
    """Runs one tracker on one sequence; returns its figures and tracking time."""
    sequence = target.read()
    num_frames = min(len(sequence.frame_paths), max_frames or 10**9)
    folder.mkdir(parents=True, exist_ok=True)
    with BoxWriter(folder / f"{target.name}.txt", atomic=True) as writer:

        def on_record(record: FrameRecord) -> None:
            writer.write(record.box)
            if on_frame is not None:
                on_frame(entry.name, target.name, record.frame_index + 1, num_frames)

        outcome = track_sequence(
            entry.tracker,
            entry.params,
            sequence,
            max_frames=max_frames,
            on_record=on_record,
        )
    result = score(outcome.boxes, sequence.boxes[:num_frames])
    figures = {
        "success_auc": result.success_auc,
        "precision_20": result.precision_20,
        "mean_channels": float(outcome.totals.num_channels),
        "fps": outcome.totals.fps,
        "frames": outcome.totals.num_frames,
    }
    return figures, outcome.totals.seconds


def _mean_row(sequences: dict[str, dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Means over sequences; frames/s over all their frames together."""
    frames = sum(figures["frames"] for figures in sequences.values())
    row: dict[str, Any] = {
        key: float(np.mean([f[key] for f in sequences.values()])) if sequences else float("nan")
        for key in SEQUENCE_KEYS
    }
    row["fps"] = frames / seconds if seconds else float("nan")
    row["frames"] = frames
    return row
