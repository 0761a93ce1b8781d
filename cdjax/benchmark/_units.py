"""Does the units of an experiment: claims, runs and publishes each, whoever else is at work.

Any number of processes may work in one folder. A unit is claimed by the lock of a file, run,
and published by renaming its files, the record last; killed at any moment, a process leaves
either a finished unit or one that is still to do.
"""

import platform
import time
import traceback
from collections import deque
from collections.abc import Iterable
from collections.abc import Sequence as AnySequence
from pathlib import Path
from typing import Any, NamedTuple

from cdjax._errors import InputError
from cdjax.benchmark._claims import claim
from cdjax.benchmark._entries import Entry, describe
from cdjax.benchmark._protocols import PROTOCOLS
from cdjax.benchmark._results import (
    BoxWriter,
    WriteError,
    make_folder,
    named_errors,
    versions,
    write_json,
)
from cdjax.benchmark._runner import FrameRecord
from cdjax.benchmark._sequence import Target, first_frames
from cdjax.benchmark._workdir import Unit, files_of, open_workdir, read_json, read_run, sha256_of
from cdjax.trackers._model import channels_by_layer

_PAUSE = 0.5  # seconds until claims of others are looked at again


class Watch:
    """Hears of the progress of `run_experiment`; does nothing by itself."""

    def begin(self, units: AnySequence[Unit]) -> None:
        """Is told the units of this process, finished ones included."""

    def frame(self, unit: Unit, done: int, of: int) -> None:
        """Is told after each frame."""

    def unit(self, unit: Unit, how: str) -> None:
        """Is told of a unit that is "done", "failed", or was "found" finished."""


class Tally(NamedTuple):
    """What `run_experiment` did.

    Attributes:
      done: units that this process ran.
      found: units that were finished before, or meanwhile by others.
      failures: of units, as in their files: label, sequence, start, seed, kind, error, traceback.
      busy: units that others were still running; none with `take_over`.
    """

    done: list[Unit]
    found: list[Unit]
    failures: list[dict[str, Any]]
    busy: list[Unit]

    def __str__(self) -> str:
        counts = {
            "run": self.done,
            "finished before": self.found,
            "failed": self.failures,
            "still run by others": self.busy,
        }
        shown = [f"{len(units)} {how}" for how, units in counts.items() if units]
        lines = [f"units: {', '.join(shown) or 'none'}"]
        for failure in self.failures:
            unit = Unit(*(failure[key] for key in Unit._fields))
            kind = f"{failure['kind']}: " if failure["kind"] else ""
            lines.append(f"failed: {unit.label} on {unit.stem}: {kind}{failure['error']}")
        return "\n".join(lines)


def plan_units(
    labels: Iterable[str],
    targets: Iterable[Target],
    *,
    protocol: str,
    seeds: Iterable[int] = (0,),
    max_frames: int | None = None,
) -> list[Unit]:
    """Lists the units of an experiment.

    Args:
      labels: the trackers.
      targets: the sequences.
      protocol: a key of `PROTOCOLS`.
      seeds: repetitions for trackers that draw.
      max_frames: frames a sequence, or None for all.

    Returns:
      The units, tracker by tracker.

    Raises:
      InputError: if two sequences have one name.
    """
    count_starts = PROTOCOLS[protocol].count_starts
    starts: dict[str, AnySequence[int | None]] = {}
    for target in targets:
        if target.name in starts:
            raise InputError(f"{target.folder}: two sequences are called {target.name}; rename one")
        starts[target.name] = (None,)
        if count_starts is not None:
            try:
                starts[target.name] = range(count_starts(first_frames(target.read(), max_frames)))
            except InputError:  # told when the unit is run
                starts[target.name] = (0,)
    seeds = tuple(seeds)
    return [
        Unit(label, sequence, start, seed)
        for label in labels
        for sequence in starts
        for start in starts[sequence]
        for seed in seeds
    ]


def run_experiment(
    workdir: Path,
    entries: Iterable[Entry],
    targets: Iterable[Target],
    *,
    settings: dict[str, Any],
    seeds: Iterable[int] = (0,),
    shard: tuple[int, int] = (0, 1),
    take_over: bool = False,
    anew: bool = False,
    watch: Watch | None = None,
) -> Tally:
    """Does what is left to do of an experiment.

    Args:
      workdir: folder of results, made if need be.
      entries: the trackers.
      targets: the sequences.
      settings: "dataset", "protocol", "max_frames" and "preset", which identify the experiment,
        and "dataset_root".
      seeds: repetitions for trackers that draw; 0 is the tracker's own.
      shard: (i, n): every n-th unit from the i-th on.
      take_over: whether to go on with the units of the other shards, and to wait for those that
        others are at: when it returns all units are done or have failed, whoever has died.
      anew: whether finished units are run again.
      watch: hears of progress.

    Returns:
      What was done. A unit that fails does not stop the others.

    Raises:
      InputError: if the folder is of another experiment, or cannot be written.
    """
    entries, targets, watch = list(entries), list(targets), watch or Watch()
    by_label = {entry.name: entry for entry in entries}
    by_name = {target.name: target for target in targets}
    units = plan_units(
        by_label,
        targets,
        protocol=settings["protocol"],
        seeds=seeds,
        max_frames=settings["max_frames"],
    )
    trackers = {entry.name: describe(entry) for entry in entries}
    open_workdir(workdir, settings, trackers, units, anew=anew)
    # The next shards in turn, so that those who take over begin at different ones.
    index, count = shard
    shards = [units[(index + k) % count :: count] for k in range(count if take_over else 1)]
    mine = [unit for part in shards for unit in part]
    watch.begin(mine)
    before = {unit: _stamp(files_of(workdir, unit).failure) for unit in mine}
    tally, left = Tally([], [], [], []), mine
    while left:
        busy: list[Unit] = []
        for unit in left:
            files = files_of(workdir, unit)
            with claim(files.claim) as held:
                if not held:
                    busy.append(unit)
                    continue
                # Only now is it certain that nobody else is at it.
                description = trackers[unit.label]
                if not anew and _is_done(workdir, unit, settings["protocol"], description):
                    how = "found"
                    files.failure.unlink(missing_ok=True)
                elif _stamp(files.failure) not in (None, before[unit]):
                    how = "failed"  # another process has just tried
                else:
                    how = _attempt(
                        workdir,
                        by_label[unit.label],
                        by_name[unit.sequence],
                        unit,
                        settings=settings,
                        description=description,
                        watch=watch,
                    )
                if how == "failed":
                    tally.failures.append(read_json(files.failure))
                else:
                    (tally.done if how == "done" else tally.found).append(unit)
                watch.unit(unit, how)
        if len(busy) == len(left):
            if not take_over:
                tally.busy.extend(busy)
                break
            time.sleep(_PAUSE)
        left = busy  # whoever ran these may have died
    return tally


def _stamp(path: Path) -> int | None:
    """When a file was written; None if there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _is_done(workdir: Path, unit: Unit, protocol: str, description: dict[str, Any]) -> bool:
    """Whether a unit has a record of this tracker and the boxes that belong to it."""
    try:
        return read_run(workdir, unit, description, protocol=protocol) is not None
    except InputError:
        return False


def _attempt(
    workdir: Path,
    entry: Entry,
    target: Target,
    unit: Unit,
    **options: Any,
) -> str:
    """Runs a claimed unit; returns "done" or "failed"."""
    files = files_of(workdir, unit)
    try:
        run_unit(workdir, entry, target, unit, **options)
    except WriteError:  # the next unit could not be written either
        raise
    except Exception as error:  # one bad sequence must not lose the others
        failure = {
            **unit._asdict(),
            "kind": "" if isinstance(error, InputError) else type(error).__name__,
            "error": " ".join(str(error).split()),
            "traceback": traceback.format_exc(),
        }
        write_json(files.failure, failure)
        return "failed"
    files.failure.unlink(missing_ok=True)
    return "done"


def run_unit(
    workdir: Path,
    entry: Entry,
    target: Target,
    unit: Unit,
    *,
    settings: dict[str, Any],
    description: dict[str, Any],
    watch: Watch | None = None,
) -> None:
    """Runs a unit and publishes its files; the caller holds its claim.

    Args:
      workdir: folder of results.
      entry: the tracker.
      target: the sequence.
      unit: the unit.
      settings: of the experiment.
      description: of the tracker, as `describe` gives it.
      watch: hears of frames.

    Raises:
      InputError: for bad frames or annotation.
      WriteError: if a file cannot be written.
    """
    files = files_of(workdir, unit)
    make_folder(files.times.parent)
    with named_errors(files.record):
        files.record.unlink(missing_ok=True)
        files.boxes.unlink(missing_ok=True)
    sequence = first_frames(target.read(), settings["max_frames"])
    states: deque[Any] = deque(maxlen=2)

    def on_record(record: FrameRecord) -> None:
        states.append(record.state)
        if watch is not None:
            watch.frame(unit, record.frame_index + 1, len(sequence.frame_paths))

    with BoxWriter(files.boxes, atomic=True) as writer:
        protocol = PROTOCOLS[settings["protocol"]]
        totals, scores = protocol.run(entry, sequence, unit.start, unit.seed, writer, on_record)
    first_frame = protocol.first_frame(sequence, unit.start or 0) if protocol.first_frame else 0
    found = versions()
    device = found.pop("device")
    write_json(
        files.times,
        {
            "fps": totals.fps,
            "track_seconds": totals.seconds,
            "compile_seconds": totals.compile_seconds,
            "decode_seconds": totals.decode_seconds,
            "step_ms_median": totals.step_ms_median,
            "step_ms_p95": totals.step_ms_p95,
            "host": platform.node(),
            "finished_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        },
    )
    write_json(
        files.record,
        {
            "unit": unit._asdict(),
            "config_hash": description["config_hash"],
            "versions": found,
            "device": device,
            "seed": unit.seed,
            "frames": totals.num_frames,
            "first_frame": first_frame,
            "sequence_frames": len(sequence.frame_paths),
            "num_channels": totals.num_channels,
            "channels_by_layer": _by_layer(description["layers"], states),
            "boxes_sha256": sha256_of(files.boxes.read_bytes()),
            "scores": scores,
        },
    )


def _by_layer(layers: dict[str, int] | None, states: Iterable[Any]) -> dict[str, int] | None:
    """Channels kept of each layer, in the last state that has distilled; None if not known."""
    known = [state for state in states if hasattr(state, "selected") and state.frame_index > 0]
    return channels_by_layer(layers, known[-1]) if layers and known else None
