"""A fixed number of places for targets, stepped by compiled programs on one or more devices."""

import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from cdjax._types import Params
from cdjax.lanes._programs import programs
from cdjax.lanes._step_lanes import step_at_once, step_in_turn
from cdjax.trackers._base import Tracker, TrackOutput

_AXIS = "lanes"
MAX_DEVICES = 16
"""Most devices that lanes in turn are spread over: each compiles and holds programs of its own."""


@functools.lru_cache(maxsize=256)
def _program_of(tracker: Tracker, mesh: Mesh | None, *, at_once: bool) -> Callable[..., Any]:
    """The function that steps all lanes, each device its own; the same for equal arguments."""
    lanes, all_ = PartitionSpec(_AXIS), PartitionSpec()
    step = functools.partial(step_at_once if at_once else step_in_turn, tracker)
    if mesh is None:
        return step

    def run(params, states, frames, *rest):
        shared = all_ if frames.shape[0] == 1 else lanes
        index = (all_,) * (len(rest) - 1)
        sharded = jax.shard_map(
            step,
            mesh=mesh,
            in_specs=(all_, lanes, shared, lanes, *index),
            out_specs=lanes,
            check_vma=False,
        )
        return sharded(params, states, frames, *rest)

    return run


@functools.partial(jax.jit, donate_argnums=0)
def _put(states: Any, slot: Any, state: Any) -> Any:
    """Writes a state into a slot."""
    return jax.tree.map(lambda leaf, new: leaf.at[slot].set(new), states, state)


@jax.jit
def _take(states: Any, slot: Any) -> Any:
    """Reads a slot's state."""
    return jax.tree.map(lambda leaf: leaf[slot], states)


class _On(NamedTuple):
    """Where lanes are: a device, or a mesh of several."""

    lanes: Any
    everywhere: Any
    mesh: Mesh | None


def _on(devices: Sequence[Any]) -> _On:
    if len(devices) == 1:  # no mesh: what comes back has the placement of what was given
        place = SingleDeviceSharding(devices[0])
        return _On(place, place, None)
    mesh = Mesh(devices, _AXIS)
    return _On(
        NamedSharding(mesh, PartitionSpec(_AXIS)), NamedSharding(mesh, PartitionSpec()), mesh
    )


class _Part:
    """Lanes of one size, whose states are stacked, on one device or spread over a mesh of them."""

    def __init__(self, tracker: Tracker, params: Params, state: Any, slots: range, on: _On):
        self.slots, self._on = slots, on
        self._tracker, self._params = tracker, params
        stack = lambda leaf: jnp.broadcast_to(leaf[None], (len(slots), *leaf.shape))
        # A copy, since steps take over its memory.
        self._states = jax.device_put(jax.tree.map(stack, state), on.lanes, may_alias=False)

    def fits(self, tracker: Tracker, state: Any) -> bool:
        """Whether a target's state can be stacked with the others."""
        sizes = jax.tree.map(lambda leaf: leaf.shape[1:], self._states)
        return tracker == self._tracker and jax.tree.map(np.shape, state) == sizes

    def put(self, slot: int, state: Any) -> None:
        state = jax.device_put(state, self._on.everywhere)
        states = _put(self._states, np.int32(self.slots.index(slot)), state)
        self._states = jax.device_put(states, self._on.lanes)

    def take(self, slot: int) -> Any:
        return _take(self._states, np.int32(self.slots.index(slot)))

    def call(
        self, frames: np.ndarray, counts: Mapping[int, int], index: tuple[Any, ...]
    ) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """The function that steps, and its arguments."""
        shared = len(frames) == 1
        each = np.array([counts.get(slot, 0) for slot in self.slots], np.int32)
        own = frames if shared else frames[self.slots.start : self.slots.stop : self.slots.step]
        return _program_of(self._tracker, self._on.mesh, at_once=bool(index)), (
            self._params,
            self._states,
            jax.device_put(own, self._on.everywhere if shared else self._on.lanes),
            jax.device_put(each, self._on.lanes),
            *index,
        )

    def run(self, program: Callable[..., Any], args: tuple[Any, ...], *, aux: bool) -> TrackOutput:
        """Steps; returns outputs of all lanes in host memory."""
        self._states, outputs = program(*args)
        return jax.device_get(outputs if aux else outputs._replace(aux=()))


class Slots:
    """Places for targets, spread over devices and stepped together.

    On CPUs lanes are stepped in turn, each device its own by programs of its own, since XLA
    compiles one for several devices into other last bits; where compacted targets have other sizes
    than the first on their device, each has a program of its own, as alone. Elsewhere lanes are
    stepped at once, by one program over a mesh of devices, so that all have the same size. See
    `step_in_turn`, `step_at_once`. The states' memory is handed on from call to call.

    Attributes:
      tracker: what steps those that are put without a tracker of their own.
      num: the number of slots.
      devices: those that the slots are spread over.
      at_once: whether lanes are stepped at once, and so must be in phase.
    """

    def __init__(
        self,
        tracker: Tracker,
        params: Params,
        *,
        num: int,
        devices: Sequence[Any] | None = None,
        at_once: bool | None = None,
    ):
        """Makes the slots, which are empty.

        Args:
          tracker: the tracker.
          params: its weights.
          num: how many slots.
          devices: what they are spread over, all of the default kind if None: in turn up to 16;
            at once as many as divide `num`.
          at_once: whether lanes are stepped at once or in turn; by the kind of device if None.
        """
        devices = jax.devices() if devices is None else list(devices)
        self.tracker, self.num = tracker, num
        self.at_once = devices[0].platform != "cpu" if at_once is None else at_once
        most = _most_divisor(num, len(devices)) if self.at_once else min(num, MAX_DEVICES)
        self.devices = tuple(devices[:most])
        groups = [self.devices] if self.at_once else [(device,) for device in self.devices]
        self._on = [_on(group) for group in groups]
        # A copy on each device, whatever the number of its parts.
        self._params = [jax.device_put(params, on.everywhere) for on in self._on]
        self._shared: dict[int, _Part] = {}  # by group of devices
        self._parts: dict[int, _Part] = {}  # by slot
        self._frame_index: dict[int, int] = {}
        # A thread for each: what one thread starts on several CPU devices runs one by one.
        self._threads = ThreadPoolExecutor(len(groups))

    def put(self, slot: int, state: Any, tracker: Tracker | None = None) -> None:
        """Gives a slot to a target.

        Args:
          slot: which.
          state: its state, of any size that the tracker steps.
          tracker: what steps it, where `Tracker.compact` has made one for this state: of the same
            name, so that `Tracker.cycle` is the same.

        Raises:
          IndexError: if there is no such slot.
          ValueError: if slots that are stepped at once have another tracker, or other sizes.
        """
        if not 0 <= slot < self.num:
            raise IndexError(f"slot {slot} of {self.num}")
        tracker = self.tracker if tracker is None else tracker
        # By turns, so that a few targets keep all devices busy.
        at = slot % len(self._on)
        make = functools.partial(_Part, tracker, self._params[at], on=self._on[at])
        index = int(state.frame_index)
        state = state._replace(frame_index=()) if self.at_once else state  # lanes at once share it
        if at not in self._shared:
            self._shared[at] = make(state, range(at, self.num, len(self._on)))
        if self._shared[at].fits(tracker, state):
            self._shared[at].put(slot, state)
            self._parts[slot] = self._shared[at]
        elif self.at_once:
            raise ValueError("slots at once have one size: compact all states to the same room")
        else:
            self._parts[slot] = make(state, range(slot, slot + 1))
        self._frame_index[slot] = index

    def take(self, slot: int) -> Any:
        """Returns a slot's state, on the first of the devices.

        Args:
          slot: which.

        Raises:
          IndexError: if it has had no target.
        """
        index = self._index_of(slot)
        state = self._parts[slot].take(slot)._replace(frame_index=np.int32(index))
        # In one place, so that states of several slots can be worked with together.
        return jax.device_put(state, self.devices[0])

    def phase(self, slot: int) -> int:
        """Returns what of a slot's frame index a step depends on; see `Tracker.cycle`.

        Args:
          slot: which.

        Raises:
          IndexError: if it has had no target.
        """
        return phase_of(self.tracker, self._index_of(slot))

    def _index_of(self, slot: int) -> int:
        if slot not in self._frame_index:
            raise IndexError(f"slot {slot} of {self.num} has had no target")
        return self._frame_index[slot]

    def step(
        self, frames: np.ndarray, counts: Mapping[int, int], *, aux: bool = True
    ) -> tuple[dict[int, TrackOutput], float]:
        """Tracks through the next frames.

        Args:
          frames: uint8 [num, t, H, W, 3], or [1, t, H, W, 3] of a video that all share.
          counts: how many of them each slot takes; 0 for slots that are not named.
          aux: whether outputs keep their diagnostics.

        Returns:
          Outputs [t, ...] of each slot that takes any, in host memory, zero or without meaning
          beyond its count, and the seconds that compilation took.

        Raises:
          IndexError: if a slot that is named has had no target.
          ValueError: if slots that are stepped at once are out of phase, or frames or counts are
            not those of these slots.
        """
        if len(frames) not in (1, self.num):
            raise ValueError(f"frames of {len(frames)} slots: give those of all {self.num}, or one")
        wrong = [count for count in counts.values() if not 0 <= count <= frames.shape[1]]
        if wrong:
            raise ValueError(f"counts {wrong}: there are {frames.shape[1]} frames for each slot")
        counts = {slot: count for slot, count in counts.items() if count}
        phases = sorted({self.phase(slot) for slot in counts})
        if self.at_once and len(phases) > 1:
            raise ValueError(f"slots at once must be in phase, these are at {phases}")
        index = (np.int32(phases[0]),) if self.at_once and phases else ()
        takes: dict[_Part, dict[int, int]] = {}
        for slot, count in counts.items():
            takes.setdefault(self._parts[slot], {})[slot] = count
        calls = [part.call(frames, own, index) for part, own in takes.items()]
        # All are compiled before any runs: what fails there has moved no target.
        made, seconds = programs.compiled_each(calls, donate=(1,))
        work: list[list[Any]] = [[] for _ in self._on]
        for part, program, (_, args) in zip(takes, made, calls, strict=True):
            work[part.slots.start % len(work)].append((part, program, args))
        outputs: dict[int, TrackOutput] = {}

        def run(those_of_a_device: list[Any]) -> None:
            for part, program, args in those_of_a_device:
                found = part.run(program, args, aux=aux)
                for slot, count in takes[part].items():
                    lane = part.slots.index(slot)
                    outputs[slot] = jax.tree.map(lambda leaf, lane=lane: leaf[lane], found)
                    self._frame_index[slot] += count

        running = [self._threads.submit(run, some) for some in work]
        wait(running)  # also where one fails: who sees the error finds none at work
        for one in running:
            one.result()
        return outputs, seconds


def phase_of(tracker: Tracker, frame_index: int) -> int:
    """Returns the least frame index at which a tracker does the same; see `Tracker.cycle`."""
    start, period = tracker.cycle
    return min(frame_index, start + (frame_index - start) % period)


def _most_divisor(num: int, most: int) -> int:
    """The largest divisor of a number, up to another."""
    return next(n for n in range(min(num, most), 0, -1) if num % n == 0)
