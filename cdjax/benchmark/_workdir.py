"""What a folder of results is: one experiment, its trackers and their finished units.

    WORKDIR/experiment.json             what is measured; a folder holds one experiment
    WORKDIR/<label>/tracker.json        what a tracker is, with its hash
    WORKDIR/<label>/<stem>.txt          boxes, OTB's text (x,y,w,h, pixels from 1), or VOT's rows
    WORKDIR/<label>/<stem>.json         record, written last: where it is, the unit is done
    WORKDIR/<label>/times/<stem>.json   all that differs from run to run
    WORKDIR/<label>/<stem>.failure.json what went wrong, until it goes right
    WORKDIR/claims/                     lock files

A unit is a tracker, a sequence, a start and a seed; its stem is SEQUENCE[.start03][.seed1].
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cdjax._errors import InputError
from cdjax.benchmark._claims import claim
from cdjax.benchmark._results import finite, make_folder, named_errors, write_json
from cdjax.benchmark._vot_supervised import parse_rows
from cdjax.boxes import Boxes, from_otb

IDENTITY = ("dataset", "protocol", "max_frames", "preset")
"""Settings that make two experiments the same."""

DECISIVE = ("config", "weights_sha256")
"""What decides a tracker's boxes."""

EXPERIMENT = "experiment.json"
"""The file that makes a folder one of ours."""

TRACKER = "tracker.json"
"""The file that describes a tracker, in its folder."""

_SETTINGS = (*IDENTITY, "units")
_RECORD = ("config_hash", "boxes_sha256", "versions", "device", "frames")
_TOLD = ("label", "sequence", "start", "seed", "kind", "error")

_CLAIMS = "claims"
_FAILURE = ".failure"


class Unit(NamedTuple):
    """A piece of work.

    Attributes:
      label: the tracker's folder and row.
      sequence: name of the target.
      start: which start of the protocol's ("sre": 0 ... 11, "tre": up to 19); None where
        there is only one.
      seed: of trackers that draw; 0 is the tracker's own.
    """

    label: str
    sequence: str
    start: int | None = None
    seed: int = 0

    @property
    def stem(self) -> str:
        """Name of its files."""
        start = "" if self.start is None else f".start{self.start:02d}"
        return f"{self.sequence}{start}{f'.seed{self.seed}' if self.seed else ''}"


class Files(NamedTuple):
    """Where the files of a unit lie.

    Attributes:
      boxes: its boxes or rows.
      record: what is known of the run; the unit is done where this exists.
      times: clocks.
      failure: what went wrong.
      claim: its lock.
    """

    boxes: Path
    record: Path
    times: Path
    failure: Path
    claim: Path


class Run(NamedTuple):
    """A finished unit.

    Attributes:
      label: the tracker.
      sequence: name of the target.
      start: which start of the protocol's, or None.
      seed: of trackers that draw.
      boxes: a row a frame from the start on, corner index from 0; the rows of VOT's file
        where the protocol is "vot_supervised".
      record: its record, see the module.
      times: its clocks.
    """

    label: str
    sequence: str
    start: int | None
    seed: int
    boxes: Any
    record: dict[str, Any]
    times: dict[str, Any]


class Experiment(NamedTuple):
    """What a folder of results holds.

    Attributes:
      path: the folder.
      settings: "dataset", "protocol", "max_frames", "preset" and "dataset_root".
      trackers: the contents of each tracker.json, by label, in the order of their adding.
      runs: the finished units.
      failures: units that went wrong: label, sequence, start, seed, kind, error, traceback.
      pending: units that are neither, running ones included.
    """

    path: Path
    settings: dict[str, Any]
    trackers: dict[str, dict[str, Any]]
    runs: list[Run]
    failures: list[dict[str, Any]]
    pending: list[Unit]


def files_of(workdir: Path, unit: Unit) -> Files:
    """Returns where the files of a unit lie."""
    folder, stem = workdir / unit.label, unit.stem
    return Files(
        folder / f"{stem}.txt",
        folder / f"{stem}.json",
        folder / "times" / f"{stem}.json",
        folder / f"{stem}{_FAILURE}.json",
        workdir / _CLAIMS / unit.label / f"{stem}.lock",
    )


def sha256_of(text: bytes) -> str:
    """Returns the hash under which a record knows its boxes."""
    return hashlib.sha256(text).hexdigest()


def config_hash(description: Mapping[str, Any]) -> str:
    """Returns the hash of what decides a tracker's boxes: its options and the arrays it loads."""
    decisive = {key: description.get(key) for key in DECISIVE}
    text = json.dumps(finite(decisive), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def open_workdir(
    path: Path,
    settings: Mapping[str, Any],
    trackers: Mapping[str, Mapping[str, Any]],
    units: Iterable[Unit],
    *,
    anew: bool = False,
) -> None:
    """Makes a folder of results, or joins one that others work in.

    Args:
      path: the folder, made if need be.
      settings: of the experiment: the keys of `IDENTITY`, and "dataset_root".
      trackers: the contents of each tracker.json, by label.
      units: the work to be done; more may be added later.
      anew: whether a tracker that has changed replaces the one there with all its results.

    Raises:
      InputError: if the folder is of another experiment or tracker; the difference is shown.
    """
    units = list(units)
    for label in trackers:
        _check_label(path, label)
    for sequence in {unit.sequence for unit in units}:
        _check_sequence(sequence)
    make_folder(path)
    with claim(path / _CLAIMS / "experiment.lock", wait=True):
        place = path / EXPERIMENT
        stored = {**settings, "units": {}}
        if place.exists():
            stored = read_json(place, required=_SETTINGS)
        compare(place, stored, settings, IDENTITY)
        stored["dataset_root"] = settings["dataset_root"]
        wanted = {path / k / TRACKER: finite(dict(v)) for k, v in trackers.items()}
        # All are compared before anything is written.
        changed = {p: p.exists() and _has_changed(p, new, anew=anew) for p, new in wanted.items()}
        for tracker, new in wanted.items():
            if changed[tracker]:
                _clear(tracker.parent)
            make_folder(tracker.parent)
            _write_changed(tracker, new)
        work = stored["units"]
        for label in trackers:
            known = [Unit(label, *unit) for unit in work.get(label, [])]
            mine = [unit for unit in units if unit.label == label]
            work[label] = [list(unit[1:]) for unit in dict.fromkeys(known + mine)]
        _write_changed(place, stored)


def _has_changed(place: Path, wanted: Mapping[str, Any], *, anew: bool) -> bool:
    """Compares a tracker.json with the one wanted; raises InputError unless it may change."""
    stored = read_json(place)
    if not anew:
        compare(place, stored, wanted, DECISIVE)
    return stored.get("config_hash") != wanted["config_hash"]


def _clear(folder: Path) -> None:
    """Removes a tracker's results: records first, since without one nothing else counts."""
    with named_errors(folder):
        for kind in ("*.json", "*.txt"):
            for path in folder.glob(kind):
                if path.name != TRACKER:
                    path.unlink(missing_ok=True)


def _write_changed(place: Path, content: Any) -> None:
    """Writes JSON unless it is there already."""
    if not place.exists() or read_json(place) != finite(content):
        write_json(place, content)


def compare(
    place: Path, stored: Mapping[str, Any], wanted: Mapping[str, Any], keys: Iterable[str]
) -> None:
    """Raises InputError with the difference if values differ."""
    there, here = (
        _flat(finite({key: values.get(key) for key in keys})) for values in (stored, wanted)
    )
    differing = [key for key in there | here if there.get(key) != here.get(key)]
    if differing:
        shown = ", ".join(f"{k} is {there.get(k)!r} there, {here.get(k)!r} here" for k in differing)
        raise InputError(f"{place}: made with another config: {shown}; choose another folder")


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Joins the keys of nested dicts by dots."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _check_label(path: Path, label: str) -> None:
    """Raises InputError for a label that cannot name a folder of ours."""
    if not label or label.startswith(".") or "/" in label or "\\" in label or label == _CLAIMS:
        raise InputError(f"{label!r} cannot name a tracker's folder in {path}; choose a label")


def _check_sequence(name: str) -> None:
    """Raises InputError for a sequence whose files would be taken for others."""
    if name == "tracker" or name.endswith(_FAILURE) or "/" in name:
        raise InputError(f"sequence {name!r}: its results would hide other files; rename it")


def load_workdir(path: Path) -> Experiment:
    """Reads a folder of results, at any time, also while others write to it.

    Args:
      path: a folder that `cdjax evaluate` or `experiments/run_benchmark.py` made.

    Returns:
      What it holds. A result whose file does not agree with its record, and one whose record
      is damaged, is among the failures.

    Raises:
      InputError: if it is no such folder.
    """
    stored = read_json(path / EXPERIMENT, required=_SETTINGS)
    settings = {key: value for key, value in stored.items() if key != "units"}
    trackers: dict[str, dict[str, Any]] = {}
    runs: list[Run] = []
    failures: list[dict[str, Any]] = []
    pending: list[Unit] = []
    for label, rows in stored["units"].items():
        trackers[label] = read_json(path / label / TRACKER, required=("config_hash",))
        for row in rows:
            unit = Unit(label, *row)
            files = files_of(path, unit)
            try:
                run = read_run(path, unit, trackers[label], protocol=settings["protocol"])
                failed = run is None and files.failure.exists()
                failure = read_json(files.failure, required=_TOLD) if failed else None
            except InputError as error:
                failures.append(
                    {**unit._asdict(), "kind": "", "error": str(error), "traceback": ""}
                )
                continue
            if run is not None:
                runs.append(run)
            elif failure is not None:
                failures.append(failure)
            else:
                pending.append(unit)
    return Experiment(path, settings, trackers, runs, failures, pending)


def read_run(workdir: Path, unit: Unit, tracker: Mapping[str, Any], *, protocol: str) -> Run | None:
    """Reads a finished unit.

    Args:
      workdir: the folder of results.
      unit: the unit.
      tracker: the contents of its tracker.json.
      protocol: says what its text holds.

    Returns:
      The run; None if there is no record of it.

    Raises:
      InputError: if its files do not belong together.
    """
    files = files_of(workdir, unit)
    if not files.record.exists():
        return None
    record = read_json(files.record, required=_RECORD)
    if not isinstance(record["versions"], dict):
        raise InputError(f"{files.record}: its versions are no object; run the experiment again")
    if record.get("config_hash") != tracker["config_hash"]:
        raise InputError(f"{files.record}: of another config than {TRACKER}; run it again")
    try:
        text = files.boxes.read_bytes()
    except OSError as error:
        raise InputError(f"{files.boxes}: {error.strerror}; run the experiment again") from error
    if sha256_of(text) != record.get("boxes_sha256"):
        raise InputError(f"{files.boxes}: not the boxes of its record; run the experiment again")
    times = read_json(files.times) if files.times.exists() else {}
    boxes = parse_text(text.decode("ascii"), files.boxes, protocol=protocol)
    return Run(*unit, boxes, record, times)


def parse_text(text: str, path: Path, *, protocol: str) -> Any:
    """Reads the text of a result: boxes from 0, or VOT's rows."""
    if protocol == "vot_supervised":
        return parse_rows(text, path=path)
    return _parse_boxes(text, path)


def _parse_boxes(text: str, path: Path) -> Boxes:
    """Reads our own boxes, which have one form, much faster than `read_boxes` any."""
    try:
        rows = np.array(text.replace("\n", ",").split(",")[:-1], np.float64).reshape(-1, 4)
    except ValueError as error:
        raise InputError(f"{path}: not rows of x,y,w,h; run the experiment again") from error
    return from_otb(rows)


def read_json(path: Path, *, required: Iterable[str] = ()) -> dict[str, Any]:
    """Reads an object from one of our files.

    Args:
      path: the file.
      required: keys that it must have.

    Returns:
      The object.

    Raises:
      InputError: if it is not there, damaged, or lacks a key.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: there is no such file; give a folder of results, as cdjax evaluate makes"
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); remove it and run again") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: does not hold an object; remove it and run again")
    if lacking := [key for key in required if key not in content]:
        raise InputError(f"{path}: lacks {', '.join(lacking)}; remove it and run again")
    return content
