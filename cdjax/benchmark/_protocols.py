"""What each protocol does with a sequence: where runs start, what is written and scored."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from cdjax._errors import InputError
from cdjax.benchmark._entries import Entry
from cdjax.benchmark._frames import read_image
from cdjax.benchmark._metrics import FIGURES, score
from cdjax.benchmark._ope import Totals, start_box, track_sequence
from cdjax.benchmark._results import BoxWriter
from cdjax.benchmark._robustness import SRE_NAMES, sre_boxes, tre_starts
from cdjax.benchmark._runner import FrameRecord
from cdjax.benchmark._sequence import Sequence
from cdjax.benchmark._vot_supervised import FAILURE, format_rows, run_supervised

OnRecord = Callable[[FrameRecord], None]


class Protocol(NamedTuple):
    """A way of running a tracker over a sequence.

    Attributes:
      run: (entry, sequence, start, seed, writer, on_record) -> clocks and scores.
      begin: (sequence, start) -> frames and ground truth of the run, and its box; None where a run
        starts anew on the way, and so cannot share a batch.
      count_starts: how many runs a sequence asks for; None where there is but one, and
        units name no start.
      first_frame: (sequence, start) -> index of the frame that a run starts on; None where
        that is always the first.
    """

    run: Callable[..., tuple[Totals, dict[str, Any]]]
    begin: Callable[[Sequence, int], tuple[Sequence, Any]] | None = None
    count_starts: Callable[[Sequence], int] | None = None
    first_frame: Callable[[Sequence, int], int] | None = None


def key_of(seed: int) -> Any:
    """Returns a unit's random key: None, the tracker's own, for seed 0."""
    return jax.random.key(seed) if seed else None


def _run_through(
    begin: Callable[[Sequence, int], tuple[Sequence, Any]],
    entry: Entry,
    sequence: Sequence,
    start: int | None,
    seed: int,
    writer: BoxWriter,
    on_record: OnRecord,
) -> tuple[Totals, dict[str, Any]]:
    """Runs without restarts from where `begin` says: frames and a box."""
    sequence, box = begin(sequence, start or 0)

    def write(record: FrameRecord) -> None:
        writer.write(record.box)
        on_record(record)

    outcome = track_sequence(
        entry.tracker, entry.params, sequence, box=box, key=key_of(seed), on_record=write
    )
    return outcome.totals, figures_of(outcome.boxes, sequence)


def figures_of(boxes: Any, sequence: Sequence) -> dict[str, Any]:
    """Scores a run without restarts.

    Args:
      boxes: a row a frame.
      sequence: as the protocol's `begin` gave it.

    Returns:
      The figures that a record holds.
    """
    result = score(np.array(boxes, np.float64).reshape(-1, 4), sequence.boxes)
    return {name: getattr(result, name) for name in FIGURES}


def _whole(sequence: Sequence, _: int) -> tuple[Sequence, Any]:
    return sequence, start_box(sequence)


def _shifted(sequence: Sequence, start: int) -> tuple[Sequence, Any]:
    height, width = read_image(sequence.frame_paths[0]).shape[:2]
    return sequence, sre_boxes(start_box(sequence), (height, width))[start]


def _first_frame(sequence: Sequence, start: int) -> int:
    starts = tre_starts(sequence.boxes, name=sequence.name)
    if start >= len(starts):
        raise InputError(f"{sequence.name}: too short for a run with 20 frames to go; leave it out")
    return int(starts[start])


def _later(sequence: Sequence, start: int) -> tuple[Sequence, Any]:
    span = slice(_first_frame(sequence, start), None)
    rest = sequence._replace(frame_paths=sequence.frame_paths[span], boxes=sequence.boxes[span])
    return _whole(rest, 0)


def _supervised(
    entry: Entry,
    sequence: Sequence,
    start: int | None,
    seed: int,
    writer: BoxWriter,
    on_record: OnRecord,
) -> tuple[Totals, dict[str, Any]]:
    """Restarts after failures; VOT's rows."""
    del start
    found = run_supervised(
        entry.tracker, entry.params, sequence, key=key_of(seed), on_record=on_record
    )
    writer.write_text(format_rows(found.rows))
    failures = sum(np.ndim(row) == 0 and row == FAILURE for row in found.rows)
    return found.totals, {"failures": int(failures)}


PROTOCOLS: dict[str, Protocol] = {
    "ope": Protocol(partial(_run_through, _whole), _whole),
    "sre": Protocol(partial(_run_through, _shifted), _shifted, lambda _: len(SRE_NAMES)),
    "tre": Protocol(
        partial(_run_through, _later),
        _later,
        lambda sequence: max(1, len(tre_starts(sequence.boxes, name=sequence.name))),
        _first_frame,
    ),
    "vot_supervised": Protocol(_supervised),
    "vot_unsupervised": Protocol(partial(_run_through, _whole), _whole),
}
"""The protocols by name."""
