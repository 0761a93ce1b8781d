"""VOT's supervised protocol: restart after every failure; and its result files.

A tracker starts on the first frame. Where its overlap with the ground truth is zero it
has failed; it is started again five frames later, from the ground truth there. A result
has a row a frame: 1 start, 2 failure, 0 skipped, otherwise the region.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from cdjax._errors import InputError
from cdjax._types import Params
from cdjax.benchmark._frames import Prefetch, read_images
from cdjax.benchmark._metrics import has_target
from cdjax.benchmark._ope import Totals, start_box
from cdjax.benchmark._opencv import OpenCVTracker
from cdjax.benchmark._regions import Region, overlaps
from cdjax.benchmark._runner import FrameRecord, run
from cdjax.benchmark._sequence import Sequence, first_frames
from cdjax.trackers._base import Tracker

SKIPPED, START, FAILURE = 0, 1, 2
"""Rows that are not regions."""

SKIP = 5
"""Frames from a failure to the next start, in every year."""

Row = int | Region
"""`START`, `FAILURE`, `SKIPPED`, or a region: x,y,w,h or a polygon, from 0."""


class SupervisedRun(NamedTuple):
    """What a tracker did on a sequence under supervision.

    Attributes:
      rows: one a frame.
      totals: clocks and counts of the frames that the tracker saw.
    """

    rows: list[Row]
    totals: Totals


def regions_of(sequence: Sequence) -> tuple[Region, ...]:
    """Returns a sequence's ground truth as regions: its own, or its boxes."""
    return tuple(sequence.boxes) if sequence.regions is None else sequence.regions


def run_supervised(
    tracker: Tracker | OpenCVTracker,
    params: Params,
    sequence: Sequence,
    *,
    overlap: str = "raster",
    max_frames: int | None = None,
    key: Any = None,
    on_record: Callable[[FrameRecord], None] | None = None,
) -> SupervisedRun:
    """Tracks one sequence under VOT's supervised protocol.

    Frames are decoded once, ahead of use. A restart runs the programs of the first start,
    as all frames of a sequence have one canvas: it compiles nothing, unless distillation
    keeps a number of channels that no earlier start of any sequence kept (`Tracker.compact`
    rounds to a few sizes), or the box there asks for other shapes (`Tracker.fit`). Frames
    without a target cannot start the tracker and are skipped.

    Args:
      tracker: from `cdjax.make`.
      params: its weights.
      sequence: the sequence; its `boxes`, bounds of the polygons, start the tracker.
      overlap: kind of overlap that says when the tracker failed, as for `overlaps`.
      max_frames: where to stop, or None.
      key: a JAX random key; each start gets its own, from the number of its frame.
      on_record: called with each frame's record, its index counted in the sequence.

    Returns:
      Rows and clocks.

    Raises:
      InputError: for bad frames, as `run` and `read_images` do, and if the sequence's
        first row has no target.
    """
    start_box(sequence)
    sequence = first_frames(sequence, max_frames)
    paths, regions = sequence.frame_paths, regions_of(sequence)
    valid = has_target(sequence.boxes)
    params = jax.device_put(params)
    rows: list[Row] = [SKIPPED] * len(paths)
    totals, index = Totals(), 0
    with Prefetch(totals.clocked(read_images(paths))) as frames:
        while index < len(paths):
            if not valid[index]:
                next(frames)
                index += 1
                continue
            start_key = None if key is None else jax.random.fold_in(key, index)
            first = index
            for record in run(tracker, params, frames, sequence.boxes[index], key=start_key):
                index = first + record.frame_index
                record = record._replace(frame_index=index)
                totals.add(record)
                if on_record is not None:
                    on_record(record)
                if index == first:
                    rows[index] = START
                    continue
                box = record.box.astype(np.float64)
                hw = (record.frame.shape[0], record.frame.shape[1])
                if not overlaps([box], [regions[index]], hw=hw, kind=overlap)[0] > 0:
                    rows[index] = FAILURE
                    for _ in range(min(SKIP, len(paths) - index) - 1):
                        next(frames)
                    index += SKIP - 1
                    break
                rows[index] = box
            index += 1
    return SupervisedRun(rows, totals)


def format_rows(rows: Iterable[Row]) -> str:
    r"""Writes rows as VOT's text; numbers read back as the same float32.

    Args:
      rows: one a frame.

    Returns:
      A line a row; as many digits as float32 needs, where the numbers are float32's.

    Example:
      >>> format_rows([1, np.array([1.5, 2.0, 30.0, 40.25]), 2])
      '1\n1.5,2.0,30.0,40.25\n2\n'
    """
    lines = [
        str(row) if isinstance(row, int) else ",".join(_shortest(float(v)) for v in row)
        for row in rows
    ]
    return "".join(line + "\n" for line in lines)


def _shortest(value: float) -> str:
    """The shortest text that reads back as the number."""
    single = np.float32(value)
    return np.format_float_positional(single if single == value else value, trim="0")


def parse_rows(text: str, *, path: Path) -> list[Row]:
    """Reads VOT's text.

    Args:
      text: a line a frame: a code, a rectangle or a polygon; a NaN in it makes it
        `SKIPPED`, as in the toolkit.
      path: the file, for errors.

    Returns:
      A row a line.

    Raises:
      InputError: naming the line that is none of these, or the file if it is empty.
    """
    rows: list[Row] = []
    for number, line in enumerate(text.rstrip().splitlines(), start=1):
        try:
            values = np.array([float(word) for word in line.replace(",", " ").split()])
        except ValueError:
            values = np.zeros(0)
        if len(values) == 1 and values[0] in (SKIPPED, START, FAILURE):
            rows.append(int(values[0]))
        elif len(values) >= 4 and len(values) % 2 == 0:
            rows.append(values if np.isfinite(values).all() else SKIPPED)
        else:
            raise InputError(
                f"{path}:{number}: {line.strip()[:40]!r} is not 0, 1, 2, x,y,w,h or the "
                "corners of a polygon"
            )
    if not rows:
        raise InputError(f"{path}: no rows; give a result with a line a frame")
    return rows


def read_vot_rows(path: Path) -> list[Row]:
    """Reads a result file in VOT's format.

    Args:
      path: the file.

    Returns:
      A row a line.

    Raises:
      InputError: if it cannot be read, or as `parse_rows`.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: result cannot be read ({error}); restore the file") from error
    return parse_rows(text, path=path)
