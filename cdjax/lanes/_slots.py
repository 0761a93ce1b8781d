"""A fixed number of places for targets, tracked by a compiled program on each device."""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cdjax._types import Params
from cdjax.lanes._programs import programs
from cdjax.lanes._step_lanes import step_at_once, step_in_turn
from cdjax.trackers._base import Tracker, TrackOutput

_AXIS = "lanes"
MAX_PARTS = 16
"""Most devices that lanes in turn are spread over: each compiles and holds a program of its own."""


@functools.lru_cache(maxsize=64)
def _program_of(tracker: Tracker, mesh: Mesh, *, at_once: bool) -> Callable[..., Any]:
    """The function that steps all lanes, each device its own; the same for equal arguments."""
    lanes, all_ = PartitionSpec(_AXIS), PartitionSpec()
    step = functools.partial(step_at_once if at_once else step_in_turn, tracker)

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


class _Part:
    """Slots of one program, on one device or spread over a mesh of them."""

    def __init__(self, tracker: Tracker, params: Params, state: Any, num: int, mesh: Mesh):
        self._mesh = mesh
        self._lanes = NamedSharding(mesh, PartitionSpec(_AXIS))
        self._everywhere = NamedSharding(mesh, PartitionSpec())
        self._tracker, self.num = tracker, num
        self._params = jax.device_put(params, self._everywhere)
        stack = lambda leaf: jnp.broadcast_to(leaf[None], (num, *leaf.shape))
        self._states = jax.device_put(jax.tree.map(stack, state), self._lanes)

    def put(self, slot: int, state: Any) -> None:
        state = jax.device_put(state, self._everywhere)
        self._states = _put(self._states, np.int32(slot), state)

    def take(self, slot: int) -> Any:
        return _take(self._states, np.int32(slot))

    def call(
        self, frames: np.ndarray, counts: np.ndarray, index: tuple[Any, ...]
    ) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """The function that steps, and its arguments."""
        shared = frames.shape[0] < self.num
        return _program_of(self._tracker, self._mesh, at_once=bool(index)), (
            self._params,
            self._states,
            jax.device_put(frames, self._everywhere if shared else self._lanes),
            jax.device_put(counts, self._lanes),
            *index,
        )

    def run(self, program: Callable[..., Any], args: tuple[Any, ...], aux: bool) -> TrackOutput:
        """Steps; returns outputs in host memory."""
        self._states, outputs = program(*args)
        return jax.device_get(outputs if aux else outputs._replace(aux=()))


class Slots:
    """States of as many targets as there are slots, spread over devices and stepped together.

    On CPUs lanes are stepped in turn, each device its own by a program of its own, since XLA
    compiles one for several devices into other last bits. Elsewhere lanes are stepped at once, by
    one program over a mesh of devices. See `step_in_turn`, `step_at_once`. The states' memory is
    handed on from call to call.

    Attributes:
      tracker: the tracker of all slots.
      num: the number of slots.
      devices: those that the slots are spread over.
      at_once: whether lanes are stepped at once, and so must be in phase.
    """

    def __init__(
        self,
        tracker: Tracker,
        params: Params,
        state: Any,
        *,
        num: int,
        devices: Sequence[Any] | None = None,
        at_once: bool | None = None,
    ):
        """Makes the slots.

        Args:
          tracker: the tracker; where it distils, after `Tracker.compact`.
          params: its weights.
          state: any state of it, which fills all slots until others come.
          num: how many slots.
          devices: what they are spread over, all of the default kind if None: in turn up to 16;
            at once as many as divide `num`.
          at_once: whether lanes are stepped at once or in turn; by the kind of device if None.
        """
        devices = jax.devices() if devices is None else list(devices)
        self.tracker, self.num = tracker, num
        self.at_once = devices[0].platform != "cpu" if at_once is None else at_once
        if self.at_once:
            self.devices = tuple(devices[: _most_divisor(num, len(devices))])
            meshes = [self.devices]
        else:
            self.devices = tuple(devices[: min(num, MAX_PARTS)])
            meshes = [(device,) for device in self.devices]
        self._frame_index = np.zeros(num, np.int32)
        edges = [num * at // len(meshes) for at in range(len(meshes) + 1)]
        self._ranges = [slice(*edge) for edge in itertools.pairwise(edges)]
        self._parts = [
            _Part(tracker, params, self._bare(state), some.stop - some.start, Mesh(mesh, _AXIS))
            for some, mesh in zip(self._ranges, meshes, strict=True)
        ]
        # A thread for each: what one thread starts on several CPU devices runs one by one.
        self._threads = ThreadPoolExecutor(len(self._parts)) if len(self._parts) > 1 else None

    def _bare(self, state: Any) -> Any:
        """A state as it is stacked: lanes that are stepped at once share their index."""
        return state._replace(frame_index=()) if self.at_once else state

    def _place(self, slot: int) -> tuple[_Part, int]:
        """The part that has a slot, and its number there."""
        for part, some in zip(self._parts, self._ranges, strict=True):
            if some.start <= slot < some.stop:
                return part, slot - some.start
        raise IndexError(f"slot {slot} of {self.num}")

    def put(self, slot: int, state: Any) -> None:
        """Gives a slot to a target.

        Args:
          slot: which.
          state: its state.
        """
        self._frame_index[slot] = int(state.frame_index)
        part, at = self._place(slot)
        part.put(at, self._bare(state))

    def take(self, slot: int) -> Any:
        """Returns a slot's state.

        Args:
          slot: which.
        """
        part, at = self._place(slot)
        state = part.take(at)._replace(frame_index=np.int32(self._frame_index[slot]))
        # In one place, so that states of several slots can be worked with together.
        return jax.device_put(state, self.devices[0])

    def phase(self, slot: int) -> int:
        """Returns what of a slot's frame index a step depends on; see `Tracker.cycle`.

        Args:
          slot: which.
        """
        return phase_of(self.tracker, int(self._frame_index[slot]))

    def step(
        self, frames: np.ndarray, counts: Mapping[int, int], *, aux: bool = True
    ) -> tuple[TrackOutput, float]:
        """Tracks through the next frames.

        Args:
          frames: uint8 [num, t, H, W, 3], or [1, t, H, W, 3] of a video that all share.
          counts: how many of them each slot takes; 0 for slots that are not named.
          aux: whether outputs keep their diagnostics.

        Returns:
          Outputs [num, t, ...] in host memory, zero or without meaning beyond the counts, and the
          seconds that compilation took.

        Raises:
          ValueError: if slots that are stepped at once are out of phase.
        """
        each = np.zeros(self.num, np.int32)
        for slot, count in counts.items():
            each[slot] = count
        index: tuple[Any, ...] = ()
        if self.at_once:
            phases = {self.phase(slot) for slot, count in counts.items() if count}
            if len(phases) > 1:
                raise ValueError(f"slots at once must be in phase, these are at {sorted(phases)}")
            index = (np.int32(phases.pop() if phases else 0),)

        calls = [
            part.call(frames if frames.shape[0] == 1 else frames[some], each[some], index)
            for part, some in zip(self._parts, self._ranges, strict=True)
        ]
        # All are compiled before any runs: what fails there has moved no target.
        ready, seconds = programs.compiled_each(calls, donate=(1,))

        def work(at: int) -> TrackOutput:
            outputs = self._parts[at].run(ready[at], calls[at][1], aux)
            some = self._ranges[at]
            self._frame_index[some] += each[some]
            return outputs

        spread = map if self._threads is None else self._threads.map
        outputs = list(spread(work, range(len(self._parts))))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *outputs), seconds


def phase_of(tracker: Tracker, frame_index: int) -> int:
    """Returns the least frame index at which a tracker does the same; see `Tracker.cycle`."""
    start, period = tracker.cycle
    return min(frame_index, start + (frame_index - start) % period)


def _most_divisor(num: int, most: int) -> int:
    """The largest divisor of a number, up to another."""
    return next(n for n in range(min(num, most), 0, -1) if num % n == 0)
