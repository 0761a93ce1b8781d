"""Runs many sequences as lanes side by side: slots that are refilled as sequences end."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from cdjax._errors import InputError
from cdjax._types import Params
from cdjax.benchmark._runner import (
    FrameRecord,
    check_size,
    first_output,
    program_of,
    record_of,
    start_on,
    step_on,
)
from cdjax.boxes import check_box
from cdjax.lanes import Slots
from cdjax.lanes._slots import phase_of
from cdjax.trackers._base import Tracker, TrackOutput, on_second_frame

_CHUNK_FRAMES = 12
_CHUNK_BYTES = 2**27


class Job(NamedTuple):
    """A target to be tracked through a sequence.

    Attributes:
      frames: RGB frames of one size; closed by whoever made it.
      box: (x, y, w, h) in the first frame, corner index from 0.
      key: a JAX random key for trackers that draw, or None.
      on_record: called with each frame's record. Its `seconds` are the frame's share of what its
        batch took; it has no `aux`, and a `state` until the target joins the batch, each of which
        lasts until the next record.
    """

    frames: Iterator[Any]
    box: Any
    key: Any
    on_record: Callable[[FrameRecord], None]


class _Lane:
    """A job under way."""

    def __init__(self, job: Job):
        self.job = job
        self.state: Any = None  # until it has a slot
        self.room: tuple[int, ...] = ()
        self.num_channels = 0
        self.num_read = 0
        self.error: Exception | None = None
        self.ended = False  # there is nothing more to read
        self._hw = (0, 0)
        self._lost = False

    def read(self) -> Any:
        """The next frame; None where the sequence ends, or breaks off with an error."""
        if self.ended:
            return None
        try:
            frame = next(self.job.frames, None)
            if frame is None and not self.num_read:
                raise InputError("there are no frames; give a source with at least one")
            if frame is not None:
                self._hw = self._hw if self.num_read else (frame.shape[0], frame.shape[1])
                check_size(self.num_read, frame, self._hw)
        except Exception as error:  # of one sequence, which must not lose the others
            self.error, frame = error, None
        self.ended = frame is None
        self.num_read += frame is not None
        return frame

    def hand_on(self, index: int, frame: Any, output: TrackOutput, **more: Any) -> None:
        """Makes a record and hands it on; a box that is not finite is the last."""
        if self._lost:
            return
        try:
            record = record_of(index, frame, output, self.num_channels, **more)
        except InputError as error:
            self.error, self._lost, self.ended = error, True, True
            return
        self.job.on_record(record)


class _Broken(Exception):
    """A program of the slots has failed: the batch is lost, and those in it."""


class _Alone:
    """Takes lanes through the frames that they do not share with others."""

    def __init__(self, params: Params, canvas: tuple[int, int]):
        self._params, self._canvas = params, canvas

    def start(self, tracker: Tracker, lane: _Lane) -> None:
        """The first frame, and the second, in which a tracker distils."""
        frame = lane.read()
        if frame is None:
            return
        try:
            box = check_box(lane.job.box, frame.shape[:2])
            seen = start_on(tracker, self._params, frame, box, self._canvas, key=lane.job.key)
        except Exception as error:  # as above
            lane.error, lane.ended = error, True
            return
        lane.state, lane.num_channels = seen.state, int(seen.num_channels)
        clocks = {"seconds": seen.seconds, "compile_seconds": seen.compile_seconds}
        lane.hand_on(0, frame, first_output(box), state=seen.state, **clocks)
        self.step(on_second_frame(tracker), lane)
        if tracker.room is not None and not lane.ended:
            try:
                lane.room = tracker.room(lane.state)
            except Exception as error:  # as above
                lane.error, lane.ended = error, True

    def step(self, tracker: Tracker, lane: _Lane) -> None:
        """A further frame."""
        index, frame = lane.num_read, lane.read()
        if frame is None:
            return
        try:
            program, compiled = program_of(tracker, self._params, lane.state, frame, self._canvas)
            seen = step_on(program, self._params, lane.state, frame, self._canvas)
        except Exception as error:  # as above
            lane.error, lane.ended = error, True
            return
        lane.state, lane.num_channels = seen.state, int(seen.num_channels)
        clocks = {"seconds": seen.seconds, "compile_seconds": compiled}
        lane.hand_on(index, frame, seen.output, state=seen.state, **clocks)


class _Part(NamedTuple):
    """A lane's part of a chunk: frames from `first` on, and whether they are its last."""

    lane: _Lane
    first: int
    frames: list[Any]
    last: bool


class _Chunk(NamedTuple):
    """Frames on their way: parts by slot, and what becomes of them; None if there is no frame."""

    parts: dict[int, _Part]
    result: "Future[tuple[dict[int, TrackOutput], float, float]] | None"


class _Batch:
    """Slots, from the lanes that they are made for until none fits any more.

    Lanes in turn each have the size that their channels need, as alone, and so its bits: any fits.
    Those at once have the size of the largest for which the slots are made.
    """

    def __init__(
        self,
        tracker: Tracker,
        params: Params,
        lanes: Sequence[_Lane],
        *,
        num_slots: int,
        canvas: tuple[int, int],
        at_once: bool | None,
        alone: _Alone,
        worker: ThreadPoolExecutor,
    ):
        self._wide, self._alone, self._worker = tracker, alone, worker
        self._slots = Slots(tracker, params, num=num_slots, at_once=at_once)
        self._room: tuple[int, ...] | None = None
        if self._slots.at_once:
            needs = [lane.room for lane in lanes]
            self._room = tuple(max(sizes) for sizes in zip(*needs, strict=True))
        self.unfinished: list[_Lane] = []
        self._lanes: dict[int, _Lane] = {}
        self._joining: dict[int, tuple[Any, Tracker]] = {}
        most = _CHUNK_BYTES // (num_slots * canvas[0] * canvas[1] * 3)
        period = tracker.cycle[1] if self._slots.at_once else 1
        num_frames = -(-max(1, min(_CHUNK_FRAMES, most)) // period) * period
        # One is filled while the program reads the other.
        shape = (num_slots, num_frames, *canvas, 3)
        self._buffers = deque(np.zeros(shape, np.uint8) for _ in range(2))

    def _has_room(self, lane: _Lane) -> bool:
        return self._room is None or all(
            need <= size for need, size in zip(lane.room, self._room, strict=True)
        )

    def _joins(self, slot: int, lane: _Lane) -> bool:
        """Gives a slot to a lane; False if it ends before."""
        tracker = self._wide
        if tracker.compact is not None:
            try:
                tracker, lane.state = tracker.compact(lane.state, self._room)
            except Exception as error:  # as above
                lane.error, lane.ended = error, True
        while self._slots.at_once and not lane.ended:
            if phase_of(tracker, lane.num_read - 1) == tracker.cycle[0]:
                break
            self._alone.step(tracker, lane)
        if lane.ended:
            return False
        self._lanes[slot], self._joining[slot] = lane, (lane.state, tracker)
        self.unfinished.append(lane)
        lane.state = None
        return True

    def run(
        self, ready: deque[_Lane], begin: Callable[[], _Lane | None]
    ) -> Iterator[tuple[Job, Exception | None]]:
        """Runs lanes until there is none that fits; yields those that are over."""
        on_its_way = _Chunk({}, None)
        while True:
            yield from self._fill(ready, begin)
            chunk = self._gather()
            yield from self._deliver(on_its_way)
            on_its_way = chunk
            if not chunk.parts:
                return

    def _fill(
        self, ready: deque[_Lane], begin: Callable[[], _Lane | None]
    ) -> Iterator[tuple[Job, Exception | None]]:
        """Gives free slots to lanes that are ready, and then to new ones."""
        free = deque(slot for slot in range(self._slots.num) if slot not in self._lanes)
        for _ in range(len(ready)):
            lane = ready.popleft()
            if not free or not self._has_room(lane):
                ready.append(lane)
            elif self._joins(free[0], lane):
                free.popleft()
            else:
                yield lane.job, lane.error
        # Those that wait for other slots hold frames: not too many of them.
        while free and len(ready) < self._slots.num and (lane := begin()) is not None:
            if not lane.ended and not self._has_room(lane):
                ready.append(lane)
            elif not lane.ended and self._joins(free[0], lane):
                free.popleft()
            else:
                yield lane.job, lane.error

    def _gather(self) -> _Chunk:
        """Reads the next frames of all lanes and sends them on; the last of a lane frees its slot.

        Waits for decoding, while the worker is busy with the chunk before.
        """
        buffer = self._buffers[0]
        parts: dict[int, _Part] = {}
        for slot, lane in list(self._lanes.items()):
            index, frames = lane.num_read, []
            while len(frames) < buffer.shape[1] and (frame := lane.read()) is not None:
                buffer[slot, len(frames), : frame.shape[0], : frame.shape[1]] = frame
                frames.append(frame)
            parts[slot] = _Part(lane, index, frames, lane.ended)
            if lane.ended:
                del self._lanes[slot]
        counts = {slot: len(part.frames) for slot, part in parts.items()}
        if not any(counts.values()):
            return _Chunk(parts, None)
        self._buffers.rotate()
        joining, self._joining = self._joining, {}
        return _Chunk(parts, self._worker.submit(self._work, joining, buffer, counts))

    def _work(
        self,
        joining: dict[int, tuple[Any, Tracker]],
        frames: np.ndarray,
        counts: dict[int, int],
    ) -> tuple[dict[int, TrackOutput], float, float]:
        """On the worker: outputs in host memory, seconds of tracking and of compilation."""
        start = time.perf_counter()
        for slot, (state, its_tracker) in joining.items():
            self._slots.put(slot, state, its_tracker)
        outputs, compiled = self._slots.step(frames, counts, aux=False)
        return outputs, time.perf_counter() - start - compiled, compiled

    def _deliver(self, chunk: _Chunk) -> Iterator[tuple[Job, Exception | None]]:
        """Hands on the records of a chunk; yields lanes that are over."""
        try:
            outputs, seconds, compiled = chunk.result.result() if chunk.result else ({}, 0.0, 0.0)
        except Exception as error:
            raise _Broken from error
        share = seconds / max(1, sum(len(part.frames) for part in chunk.parts.values()))
        for slot, part in chunk.parts.items():
            for at, frame in enumerate(part.frames):
                output = jax.tree.map(lambda leaf, at=at: leaf[at], outputs[slot])
                clocks = {"seconds": share, "compile_seconds": compiled}
                part.lane.hand_on(part.first + at, frame, output, **clocks)
                compiled = 0.0
            if part.last:
                self.unfinished.remove(part.lane)
                yield part.lane.job, part.lane.error


def run_batch(
    tracker: Tracker,
    params: Params,
    jobs: Iterator[Job],
    *,
    num_slots: int,
    canvas: tuple[int, int],
    at_once: bool | None = None,
) -> Generator[tuple[Job, Exception | None], None, None]:
    """Tracks many sequences, some of them side by side.

    A target's first two frames, in the second of which trackers distil, are a matter of its own. It
    then takes a slot, and all slots advance together by some frames a call, while the next frames
    are read; a slot whose sequence ends is given to the next job. Slots in turn hold each target in
    arrays of the size that it would have alone. Slots at once have room for as many channels as the
    first targets keep; one that keeps more waits for slots to be made anew.

    Args:
      tracker: from `cdjax.make`; fitted to all targets, or to none.
      params: its weights.
      jobs: begun as slots become free.
      num_slots: how many run side by side.
      canvas: size that frames are padded to; none is larger.
      at_once: see `Slots`.

    Yields:
      Each job when it is over, with the error that ended it, or None.
    """
    params = jax.device_put(params)
    alone, ready = _Alone(params, canvas), deque[_Lane]()

    def begin() -> _Lane | None:
        job = next(jobs, None)
        if job is None:
            return None
        lane = _Lane(job)
        alone.start(tracker, lane)
        return lane

    with ThreadPoolExecutor(1) as worker:
        while True:
            while len(ready) < num_slots and (lane := begin()) is not None:
                if lane.ended:
                    yield lane.job, lane.error
                else:
                    ready.append(lane)
            if not ready:
                return
            lost, cause = list(ready), None
            try:
                batch = _Batch(
                    tracker,
                    params,
                    ready,
                    num_slots=num_slots,
                    canvas=canvas,
                    at_once=at_once,
                    alone=alone,
                    worker=worker,
                )
            except Exception as error:  # too little memory, say
                ready.clear()
                cause = error
            else:
                try:
                    yield from batch.run(ready, begin)
                except _Broken as broken:
                    cause = broken.__cause__
                lost = batch.unfinished
            for lane in lost:
                yield lane.job, cause if isinstance(cause, Exception) else lane.error
