"""Live streams in a fixed number of slots: targets come and go, nothing is compiled anew."""

import itertools
from collections import Counter
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from cdjax._errors import InputError
from cdjax._types import Params
from cdjax.boxes import check_box
from cdjax.lanes._canvas import canvas_hw, pad_to_canvas
from cdjax.lanes._programs import programs, start_of
from cdjax.lanes._slots import Slots
from cdjax.trackers._base import Tracker, TrackOutput


class StreamPool:
    """Tracks up to `slots` targets, in videos of their own or together in one.

    All targets whose frames are at hand advance together, on all devices. A target has the boxes
    that it would have alone: bit for bit on CPUs, elsewhere to rounding. Where several targets
    share a video, give them the same array: it is moved to each device once.

    A tracker that distils holds arrays for all of its candidates, unless its `num_channels` says
    how many it keeps: give it, as in "DeepCD-V-11+12+21:num_channels=96".

    All targets share the tracker's shapes. Where they are of one size and aspect, and the tracker
    has a `fit`, give the pool `tracker.fit(box)` of one of them.

    On a GPU targets that train in other frames (`Tracker.cycle`) are stepped in calls of their own.

    Example:
      >>> import cdjax
      >>> pool = StreamPool(cdjax.make("CACF"), {}, slots=2)
      >>> frame = np.zeros((120, 160, 3), np.uint8)
      >>> one, other = pool.add(frame, (40, 30, 20, 20)), pool.add(frame, (90, 30, 20, 20))
      >>> sorted(pool.step({one: frame, other: frame})) == [one, other]
      True
    """

    def __init__(
        self, tracker: Tracker, params: Params, *, slots: int, at_once: bool | None = None
    ):
        """Makes an empty pool.

        Args:
          tracker: from `cdjax.make`.
          params: its weights.
          slots: most targets at a time.
          at_once: see `Slots`.

        Raises:
          InputError: if there is no slot.
        """
        if slots < 1:
            raise InputError(f"slots={slots}: use 1 or more")
        self._tracker, self._num = tracker, slots
        self._params = jax.device_put(params)
        self._slots = Slots(tracker, self._params, num=slots, at_once=at_once)
        self._canvas = (0, 0)
        self._ids = itertools.count()
        self._slot_of: dict[int, int] = {}
        self._hw: dict[int, tuple[int, int]] = {}

    def __len__(self) -> int:
        """Returns the number of targets."""
        return len(self._slot_of)

    def add(self, frame: UInt8[np.ndarray, "H W *ch"], box: Any, *, key: Any = None) -> int:
        """Takes up a target.

        The pool has one canvas for all frames; a frame that is larger than all before makes it
        grow, and programs be compiled anew.

        Args:
          frame: its first frame, RGB or gray.
          box: (x, y, w, h), corner index from 0.
          key: a JAX random key for trackers that draw.

        Returns:
          Its number, which is not given again.

        Raises:
          InputError: if all slots are taken, or box or frame are not what they should be.
        """
        if len(self) == self._num:
            raise InputError(f"all {self._num} slots are taken: drop a target, or make more slots")
        frame = _as_rgb(frame)
        hw = (frame.shape[0], frame.shape[1])
        box = check_box(box, hw)
        needed = canvas_hw(*hw)
        self._canvas = (max(self._canvas[0], needed[0]), max(self._canvas[1], needed[1]))
        padded = pad_to_canvas(frame, self._canvas)
        args = (self._params, padded, box, np.array(hw, np.int32), key)
        program, _ = programs.compiled(start_of(self._tracker.init), *args)
        state = program(*args)
        taken = set(self._slot_of.values())
        slot = next(slot for slot in range(self._num) if slot not in taken)
        self._slots.put(slot, state)
        target = next(self._ids)
        self._slot_of[target], self._hw[target] = slot, hw
        return target

    def step(self, frames: Mapping[int, UInt8[np.ndarray, "H W *ch"]]) -> dict[int, TrackOutput]:
        """Tracks targets through a frame each; those that are not named stay as they are.

        Args:
          frames: the next frame of each target.

        Returns:
          What the tracker says of each, in host memory.

        Raises:
          InputError: for a number that is no target's, or a frame of another size than its first.
        """
        # All is looked at first, so that either all targets advance or none.
        shared = {id(frame): _as_rgb(frame) for frame in frames.values()}
        seen = {target: shared[id(frame)] for target, frame in frames.items()}
        for target, frame in seen.items():
            self._check(target)
            if frame.shape[:2] != self._hw[target]:
                (height, width), found = self._hw[target], frame.shape
                raise InputError(
                    f"target {target}: its frames are {width}x{height}, this one has shape {found}"
                )
        outputs: dict[int, TrackOutput] = {}
        for together in self._in_phase(list(frames)):
            padded = self._frames({target: seen[target] for target in together})
            counts = {self._slot_of[target]: 1 for target in together}
            found, _ = self._slots.step(padded, counts)
            for target in together:
                output = found[self._slot_of[target]]
                outputs[target] = jax.tree.map(lambda leaf: leaf[0], output)
        return {target: outputs[target] for target in frames}

    def _in_phase(self, targets: list[int]) -> list[list[int]]:
        """Targets that can be stepped in one call."""
        if not self._slots.at_once:
            return [targets] if targets else []
        phases = {target: self._slots.phase(self._slot_of[target]) for target in targets}
        return [
            [target for target in targets if phases[target] == phase]
            for phase, _ in Counter(phases.values()).most_common()
        ]

    def _frames(self, frames: Mapping[int, Any]) -> np.ndarray:
        """Padded frames by slot, or one that all share."""
        first, *others = frames.values()
        if all(other is first for other in others):
            return pad_to_canvas(first, self._canvas)[None, None]
        buffer = np.zeros((self._num, 1, *self._canvas, 3), np.uint8)
        for target, frame in frames.items():
            height, width = self._hw[target]
            buffer[self._slot_of[target], 0, :height, :width] = frame
        return buffer

    def state(self, target: int) -> Any:
        """Returns a target's state, to be saved, or tracked with elsewhere.

        Args:
          target: its number.

        Raises:
          InputError: if it is no target's.
        """
        self._check(target)
        return self._slots.take(self._slot_of[target])

    def drop(self, target: int) -> None:
        """Gives a target's slot free.

        Args:
          target: its number.

        Raises:
          InputError: if it is no target's.
        """
        self._check(target)
        del self._slot_of[target], self._hw[target]

    def _check(self, target: int) -> None:
        if target not in self._slot_of:
            known = ", ".join(map(str, sorted(self._slot_of))) or "none"
            raise InputError(f"no target {target!r} in the pool; there are: {known}")


def _as_rgb(frame: Any) -> UInt8[np.ndarray, "H W 3"]:
    """A frame with three channels."""
    frame = np.asarray(frame)
    if frame.ndim == 2:
        frame = frame[..., None]
    if frame.ndim != 3 or frame.shape[2] not in (1, 3) or frame.dtype != np.uint8:
        raise InputError(
            f"frame of shape {frame.shape} and type {frame.dtype}: give uint8 [H, W, 3] or [H, W]"
        )
    return np.broadcast_to(frame, (*frame.shape[:2], 3))
