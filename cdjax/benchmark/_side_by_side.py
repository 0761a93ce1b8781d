"""Runs units of an experiment side by side, in batches of one tracker and size of frame."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from typing import Any, NamedTuple

from cdjax._errors import InputError
from cdjax._types import Params
from cdjax.benchmark._batch import Job, run_batch
from cdjax.benchmark._entries import Entry
from cdjax.benchmark._frames import Prefetch, read_image, read_images
from cdjax.benchmark._ope import Totals
from cdjax.benchmark._opencv import OpenCVTracker
from cdjax.benchmark._protocols import PROTOCOLS, figures_of, key_of
from cdjax.benchmark._results import BoxWriter
from cdjax.benchmark._runner import FrameRecord
from cdjax.benchmark._sequence import Target, first_frames
from cdjax.benchmark._unit_run import UnitRun, Watch
from cdjax.benchmark._workdir import Unit
from cdjax.boxes import check_box
from cdjax.lanes import canvas_hw
from cdjax.trackers._base import Tracker, fit_to

_AHEAD = 8

Canvas = tuple[int, int]


class _Sized(NamedTuple):
    """A unit, the canvas that its frames need, and how many they are."""

    unit: Unit
    canvas: Canvas
    num_frames: int


def run_side_by_side(
    desk: Any,
    units: Iterable[Unit],
    entries: dict[str, Entry],
    targets: dict[str, Target],
    watch: Watch,
    batch_size: int,
) -> Generator[tuple[Unit, str], None, list[Unit]]:
    """Runs what can be run side by side.

    Args:
      desk: hands out units and files what became of them.
      units: the units.
      entries: the trackers by label.
      targets: the sequences by name.
      watch: hears of frames.
      batch_size: how many share a batch.

    Yields:
      Each unit while it is held, and what became of it.

    Returns:
      The units that are to be run one by one: of peers and of protocols with restarts, those that
      share a program with no other, and those that cannot be read, which their own run tells.
    """
    alone: list[Unit] = []
    groups: dict[tuple[str, Tracker], list[_Sized]] = {}
    known: dict[str, tuple[tuple[int, int], int] | None] = {}
    begin = PROTOCOLS[desk.settings["protocol"]].begin
    most = desk.settings["max_frames"]
    for unit in units:
        tracker, target = entries[unit.label].tracker, targets[unit.sequence]
        if begin is None or isinstance(tracker, OpenCVTracker):
            alone.append(unit)
            continue
        if unit.sequence not in known:
            known[unit.sequence] = _size_of(target, most)
        if (size := known[unit.sequence]) is None:
            alone.append(unit)
            continue
        hw, num_frames = size
        if tracker.fit is not None:
            try:
                _, box = begin(first_frames(target.read(), most), unit.start or 0)
                tracker = fit_to(tracker, check_box(box, hw))
            except Exception:  # its own run tells
                alone.append(unit)
                continue
        sized = _Sized(unit, canvas_hw(*hw), num_frames)
        groups.setdefault((unit.label, tracker), []).append(sized)
    for (label, tracker), sized in groups.items():
        for canvas, some in buckets_of(sized, batch_size):
            if len(some) == 1:  # slots would only be one more program
                alone += some
                continue
            params = entries[label].params
            yield from _run_bucket(desk, tracker, params, some, targets, watch, batch_size, canvas)
    return alone


def _size_of(target: Target, max_frames: int | None) -> tuple[tuple[int, int], int] | None:
    """Height and width of a sequence's frames, and their number; None if it cannot be read."""
    try:
        paths = first_frames(target.read(), max_frames).frame_paths
        height, width = read_image(paths[0]).shape[:2]
    except (InputError, IndexError):
        return None
    return (height, width), len(paths)


def buckets_of(sized: Iterable[_Sized], batch_size: int) -> list[tuple[Canvas, list[Unit]]]:
    """Groups units by canvas, the longest first; too few for a batch join the next larger canvas.

    Long ones first, since slots without a successor stand idle until the longest is over.

    Args:
      sized: units with their canvas and length.
      batch_size: how many make a batch.

    Returns:
      Canvases with their units.
    """
    buckets: list[tuple[Canvas, list[_Sized]]] = []
    by_area = sorted(sized, key=lambda one: (one.canvas[0] * one.canvas[1], one.canvas))
    for one in by_area:
        if buckets and (buckets[-1][0] == one.canvas or len(buckets[-1][1]) < batch_size):
            (height, width), members = buckets.pop()
            canvas = max(height, one.canvas[0]), max(width, one.canvas[1])
            buckets.append((canvas, [*members, one]))
        else:
            buckets.append((one.canvas, [one]))
    return [
        (canvas, [one.unit for one in sorted(some, key=lambda one: -one.num_frames)])
        for canvas, some in buckets
    ]


class _Side:
    """A unit in a batch: its claim and files are open until it is over."""

    def __init__(self, unit: Unit, stack: ExitStack):
        self.unit, self.stack = unit, stack
        self._totals, self._boxes = Totals(), []

    def open(self, running: UnitRun) -> Job:
        """Opens the files, and begins to read frames."""
        self._running = running
        assert running.protocol.begin is not None
        self._sequence, box = running.protocol.begin(running.sequence, self.unit.start or 0)
        self._writer = BoxWriter(running.files.boxes, atomic=True)
        self.stack.callback(lambda: self._writer.close(complete=False))
        frames = self._totals.clocked(read_images(self._sequence.frame_paths))
        ahead = self.stack.enter_context(Prefetch(frames, depth=_AHEAD))
        return Job(ahead, box, key_of(self.unit.seed), self._take)

    def _take(self, record: FrameRecord) -> None:
        self._boxes.append(record.box)
        self._totals.add(record)
        self._writer.write(record.box)
        self._running.on_record(record)
        if record.frame_index == 1:  # later records have no state
            self._running.count_layers()

    def publish(self) -> None:
        """Writes the record of a unit that went well."""
        figures = figures_of(self._boxes, self._sequence)
        self._writer.close()
        self._running.publish(self._totals, figures)


def _run_bucket(
    desk: Any,
    tracker: Tracker,
    params: Params,
    units: list[Unit],
    targets: dict[str, Target],
    watch: Watch,
    batch_size: int,
    canvas: Canvas,
) -> Iterator[tuple[Unit, str]]:
    """Runs units of one tracker and canvas."""
    sides: dict[int, _Side] = {}
    over: list[tuple[Unit, str]] = []  # before they reached the batch

    with ExitStack() as all_open:

        def jobs() -> Iterator[Job]:
            for unit in units:
                side = _Side(unit, all_open.enter_context(ExitStack()))
                how = side.stack.enter_context(desk.claimed(unit))
                if how is None:
                    try:
                        running = UnitRun(
                            desk.workdir,
                            targets[unit.sequence],
                            unit,
                            settings=desk.settings,
                            description=desk.descriptions[unit.label],
                            watch=watch,
                        )
                        job = side.open(running)
                    except Exception as error:  # one bad sequence must not lose the others
                        how = desk.close(unit, error)
                    else:
                        sides[id(job)] = side
                        yield job
                        continue
                side.stack.close()
                over.append((unit, how))

        batch = run_batch(tracker, params, jobs(), num_slots=batch_size, canvas=canvas)
        for job, error in all_open.enter_context(closing(batch)):
            while over:
                yield over.pop(0)
            side = sides.pop(id(job))
            with side.stack:
                if error is None:
                    try:
                        side.publish()
                    except Exception as raised:  # as above
                        error = raised
                yield side.unit, desk.close(side.unit, error)
        yield from over
