"""Does the units of an experiment: claims, runs and publishes each, whoever else is at work.

Any number of processes may work in one folder. A unit is claimed by the lock of a file, run,
and published by renaming its files, the record last; killed at any moment, a process leaves
either a finished unit or one that is still to do.
"""

import functools
import itertools
import time
import traceback
from collections.abc import Iterable, Iterator
from collections.abc import Sequence as AnySequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from cdjax._errors import InputError
from cdjax.benchmark._claims import claim
from cdjax.benchmark._entries import Entry, describe
from cdjax.benchmark._protocols import PROTOCOLS
from cdjax.benchmark._results import WriteError, write_json
from cdjax.benchmark._sequence import Target, first_frames
from cdjax.benchmark._side_by_side import run_side_by_side
from cdjax.benchmark._unit_run import Watch, run_unit
from cdjax.benchmark._workdir import Unit, files_of, open_workdir, read_json, read_run

_PAUSE = 0.5  # seconds until claims of others are looked at again


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
    batch_size: int = 1,
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
      batch_size: how many units of a tracker are run side by side, where the protocol allows it.
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
    desk = _Desk(workdir, settings, trackers, mine, anew=anew)
    run = functools.partial(
        _run_each, desk, entries=by_label, targets=by_name, watch=watch, batch_size=batch_size
    )
    tally = Tally([], [], [], [])
    while left := [unit for part in shards for unit in part]:
        busy: list[Unit] = []
        for unit, how in itertools.chain.from_iterable(map(run, shards)):
            if how == "busy":
                busy.append(unit)
                continue
            if how == "failed":
                tally.failures.append(read_json(files_of(workdir, unit).failure))
            else:
                (tally.done if how == "done" else tally.found).append(unit)
            watch.unit(unit, how)
        if len(busy) == len(left):
            if not take_over:
                tally.busy.extend(busy)
                break
            time.sleep(_PAUSE)
        shards = [busy]  # whoever ran these may have died
    return tally


class _Desk:
    """Hands out units, one process at a time, and files what became of them."""

    def __init__(
        self,
        workdir: Path,
        settings: dict[str, Any],
        descriptions: dict[str, dict[str, Any]],
        units: Iterable[Unit],
        *,
        anew: bool,
    ):
        self.workdir, self.settings, self.descriptions = workdir, settings, descriptions
        self._failed_before = {unit: _stamp(files_of(workdir, unit).failure) for unit in units}
        self._anew = anew

    @contextmanager
    def claimed(self, unit: Unit) -> Iterator[str | None]:
        """Holds a unit; yields None where it is to be run, else why not."""
        files = files_of(self.workdir, unit)
        with claim(files.claim) as held:
            if not held:
                yield "busy"
            # Only now is it certain that nobody else is at it.
            elif not self._anew and self._is_done(unit):
                files.failure.unlink(missing_ok=True)
                yield "found"
            elif _stamp(files.failure) not in (None, self._failed_before[unit]):
                yield "failed"  # another process has just tried
            else:
                yield None

    def close(self, unit: Unit, error: Exception | None) -> str:
        """Files that a unit is over; returns "done" or "failed"."""
        files = files_of(self.workdir, unit)
        if error is None:
            files.failure.unlink(missing_ok=True)
            return "done"
        if isinstance(error, WriteError):  # the next unit could not be written either
            raise error
        failure = {
            **unit._asdict(),
            "kind": "" if isinstance(error, InputError) else type(error).__name__,
            "error": " ".join(str(error).split()),
            "traceback": "".join(traceback.format_exception(error)),
        }
        write_json(files.failure, failure)
        return "failed"

    def _is_done(self, unit: Unit) -> bool:
        """Whether a unit has a record of this tracker and the boxes that belong to it."""
        description, protocol = self.descriptions[unit.label], self.settings["protocol"]
        try:
            return read_run(self.workdir, unit, description, protocol=protocol) is not None
        except InputError:
            return False


def _stamp(path: Path) -> int | None:
    """When a file was written; None if there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _run_each(
    desk: _Desk,
    units: Iterable[Unit],
    *,
    entries: dict[str, Entry],
    targets: dict[str, Target],
    watch: Watch,
    batch_size: int,
) -> Iterator[tuple[Unit, str]]:
    """Runs units; yields each while it is held: "done", "failed", "found" or "busy"."""
    if batch_size > 1:
        units = yield from run_side_by_side(desk, units, entries, targets, watch, batch_size)
    for unit in units:
        with desk.claimed(unit) as how:
            if how is None:
                error: Exception | None = None
                try:
                    run_unit(
                        desk.workdir,
                        entries[unit.label],
                        targets[unit.sequence],
                        unit,
                        settings=desk.settings,
                        description=desk.descriptions[unit.label],
                        watch=watch,
                    )
                except Exception as raised:  # one bad sequence must not lose the others
                    error = raised
                how = desk.close(unit, error)
            yield unit, how
