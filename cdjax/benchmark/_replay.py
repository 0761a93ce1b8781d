"""Runs a finished unit again and compares: the test that a result can be reproduced."""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cdjax._errors import InputError
from cdjax.benchmark._datasets import list_targets
from cdjax.benchmark._entries import describe, make_entries
from cdjax.benchmark._results import versions
from cdjax.benchmark._unit_run import Watch, run_unit
from cdjax.benchmark._workdir import (
    DECISIVE,
    EXPERIMENT,
    TRACKER,
    Unit,
    compare,
    files_of,
    parse_text,
    read_json,
)


class Replay(NamedTuple):
    """What a second run of a unit gave.

    Attributes:
      unit: the unit.
      num_frames: rows of the first run.
      identical: whether both runs wrote the same bytes.
      first_frame: index from 0 of the first row that differs, or None.
      largest_px: largest difference of any number of any box; infinity where one run has
        rows, or kinds of rows, that the other has not.
      notes: what differs in versions and device.
    """

    unit: Unit
    num_frames: int
    identical: bool
    first_frame: int | None
    largest_px: float
    notes: list[str]


def replay(result: Path, *, dataset_root: Path | None = None, watch: Watch | None = None) -> Replay:
    """Runs a unit again, as its files say, in a temporary folder.

    Args:
      result: its record or its boxes, in the folder of an experiment.
      dataset_root: where the sequences lie now, if they have moved.
      watch: hears of frames.

    Returns:
      How the runs compare.

    Raises:
      InputError: if it is no result of ours, or the tracker or the sequence is not the same.
    """
    record = read_json(result.parent / f"{result.name.removesuffix(result.suffix)}.json")
    workdir = result.resolve().parents[1]
    settings = read_json(workdir / EXPERIMENT, required=("dataset", "protocol", "max_frames"))
    stored = read_json(workdir / result.resolve().parent.name / TRACKER)
    if not {"unit", "versions", "device"} <= set(record):
        raise InputError(f"{result}: not a result; give WORKDIR/TRACKER/SEQUENCE.json")
    unit = Unit(**record["unit"])
    if not stored.get("name"):
        raise InputError(f"{workdir / unit.label / TRACKER}: names no tracker that can be made")
    (entry,) = make_entries([stored["name"]], weights=stored.get("weights"))
    entry = entry._replace(name=unit.label)
    description = describe(entry)
    compare(workdir / unit.label / TRACKER, stored, description, DECISIVE)
    target = _target_of(settings, unit, dataset_root)
    original = files_of(workdir, unit).boxes
    with tempfile.TemporaryDirectory() as folder:
        run_unit(
            Path(folder),
            entry,
            target,
            unit,
            settings=settings,
            description=description,
            watch=watch,
        )
        texts = [_read(path) for path in (original, files_of(Path(folder), unit).boxes)]
    now = versions()
    then = {**record["versions"], "device": record["device"]}
    notes = [
        f"{key} {then.get(key)} then, {now[key]} now" for key in now if then.get(key) != now[key]
    ]
    first, second = (parse_text(text, original, protocol=settings["protocol"]) for text in texts)
    same = texts[0] == texts[1]
    where, largest = (None, 0.0) if same else _difference(first, second)
    return Replay(unit, len(first), same, where, largest, notes)


def _target_of(settings: dict[str, Any], unit: Unit, dataset_root: Path | None) -> Any:
    """Finds the unit's sequence."""
    root = dataset_root or settings.get("dataset_root")
    if root is None:
        raise InputError("the experiment does not say where its dataset lies: --dataset-root DIR")
    targets = list_targets(settings["dataset"], Path(root))
    found = [target for target in targets if target.name == unit.sequence]
    if not found:
        raise InputError(f"{root}: no sequence {unit.sequence!r} there; give --dataset-root DIR")
    return found[0]


def _read(path: Path) -> str:
    """Reads a result's text."""
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); run the experiment again") from error


def _difference(first: Any, second: Any) -> tuple[int | None, float]:
    """The first row that differs, and the largest difference."""
    where, largest = None, 0.0
    for index in range(max(len(first), len(second))):
        rows = [np.asarray(run[index], float) for run in (first, second) if index < len(run)]
        if len(rows) < 2 or rows[0].shape != rows[1].shape:
            gap = float("inf")
        else:
            gap = float(np.abs(rows[0] - rows[1]).max())
        if gap > 0 and where is None:
            where = index
        largest = max(largest, gap)
    return where, largest
