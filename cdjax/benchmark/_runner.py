"""Runs a tracker over frames as they come: padding, compilation, clocks; no files."""

import functools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, UInt8

from cdjax._errors import InputError
from cdjax._types import Params
from cdjax.benchmark._frames import canvas_hw, pad_to_canvas
from cdjax.benchmark._opencv import OpenCVTracker, run_opencv
from cdjax.boxes import check_box
from cdjax.trackers._base import Tracker

_MAX_PROGRAMS = 64


class FrameRecord(NamedTuple):
    """What became of one frame, in host memory.

    Attributes:
      frame_index: from 0.
      frame: the frame itself, unpadded.
      box: the box; in frame 0 the one that was given.
      score: height of the peak; 1 in frame 0, as in `cdjax.track`.
      trust: peak-to-sidelobe ratio; 0 in frame 0.
      scale: size against the first frame.
      num_channels: channels in use after this frame.
      seconds: padding, transfer and the program's run, until the box is on the host;
        neither decoding nor compilation.
      compile_seconds: compilation for this frame, with, after frame 1, the one-off
        specialisation to the distilled channels (`Tracker.compact`).
      aux: diagnostics, where the tracker's config asks for them.
      state: the tracker's state after this frame, on the device: nothing waits for it.
    """

    frame_index: int
    frame: UInt8[np.ndarray, "H W 3"]
    box: Float[np.ndarray, "4"]
    score: float
    trust: float
    scale: float
    num_channels: int
    seconds: float
    compile_seconds: float
    aux: Any
    state: Any = None


class _Programs:
    """Compiled programs by function and argument shapes; the oldest make room."""

    def __init__(self, size: int):
        self._size = size
        self._held: dict[Any, Callable[..., Any]] = {}

    def compiled(self, fn: Callable[..., Any], *args: Any) -> tuple[Callable[..., Any], float]:
        """Returns the program for these arguments and the seconds its making took."""
        leaves, treedef = jax.tree.flatten(args)
        key = (fn, treedef, tuple(jax.typeof(leaf) for leaf in leaves))
        if key in self._held:
            return self._held[key], 0.0
        start = time.perf_counter()
        # A function of its own: jax keeps programs as long as their function lives, and a tracker
        # lives on. Each holds some 340 memory maps, of which Linux grants a process 65 530.
        program = jax.jit(functools.partial(fn)).lower(*args).compile()
        while len(self._held) >= self._size:
            self._held.pop(next(iter(self._held)))
        self._held[key] = program
        return program, time.perf_counter() - start


_programs = _Programs(_MAX_PROGRAMS)


@functools.cache
def _init_of(init: Callable[..., Any]) -> Callable[..., Any]:
    """Gives `init` positional arguments, for ahead-of-time compilation."""

    def positional(params, frame, box, frame_hw, key):
        return init(params, frame, box, frame_hw=frame_hw, key=key)

    return positional


def run(
    tracker: Tracker | OpenCVTracker,
    params: Params,
    frames: Iterable[UInt8[np.ndarray, "H W 3"]],
    box: Any,
    *,
    max_frames: int | None = None,
    key: Any = None,
) -> Iterator[FrameRecord]:
    """Tracks through frames one at a time; memory does not grow with their number.

    Frames are padded to a canvas of one of a few sizes and programs are compiled ahead
    of time and kept, so that a second sequence of a similar size compiles nothing.
    Speed in frames/s is the number of records over the sum of their `seconds`: starting
    on the first frame and distilling on the second count, decoding and compilation do
    not.

    Args:
      tracker: from `cdjax.make`, or a peer, which is run as it comes.
      params: its weights.
      frames: RGB frames of one size.
      box: (x, y, w, h) in the first frame, corner index from 0.
      max_frames: where to stop, or None.
      key: a JAX random key for trackers that draw.

    Yields:
      A record a frame.

    Raises:
      InputError: if the box does not fit the first frame, there is no frame, frames
        change size, or the tracker returns a box that is not finite.
    """
    if isinstance(tracker, OpenCVTracker):
        peers = run_opencv(tracker, frames, box, max_frames=max_frames)
        for index, seen in enumerate(peers):
            yield FrameRecord(
                frame_index=index,
                trust=0.0,
                num_channels=0,
                compile_seconds=0.0,
                aux=(),
                **seen._asdict(),
            )
        return
    params = jax.device_put(params)
    state: Any = None
    hw = canvas = (0, 0)
    step: Callable[..., Any] | None = None
    for index, frame in enumerate(frames):
        compile_seconds = 0.0
        if index == 0:
            hw = (frame.shape[0], frame.shape[1])
            canvas = canvas_hw(*hw)
            start_box = check_box(box, hw)
            first = (params, pad_to_canvas(frame, canvas), start_box)
            args = (*first, np.array(hw, np.int32), key)
            init, compile_seconds = _programs.compiled(_init_of(tracker.init), *args)
            start = time.perf_counter()
            state = init(*args)
            count = jax.block_until_ready(state).num_channels
            seconds = time.perf_counter() - start
            found = (start_box, 1.0, 0.0, 1.0, ())
        else:
            if frame.shape[:2] != hw:
                raise InputError(
                    f"frame {index + 1} is {frame.shape[1]}x{frame.shape[0]} but the "
                    f"first is {hw[1]}x{hw[0]}; bring all frames to one size"
                )
            if step is None:
                padded = pad_to_canvas(frame, canvas)
                step, compile_seconds = _programs.compiled(tracker.step, params, state, padded)
            start = time.perf_counter()
            state, output = step(params, state, pad_to_canvas(frame, canvas))
            output, count = jax.device_get((output, state.num_channels))
            seconds = time.perf_counter() - start
            found = tuple(output)
            if index == 1 and tracker.compact is not None:
                start = time.perf_counter()
                tracker, state = tracker.compact(state)
                jax.block_until_ready(state)
                compile_seconds += time.perf_counter() - start
                step = None
        where, peak, trust, scale, aux = found
        if not np.isfinite(where).all():
            raise InputError(
                f"frame {index + 1}: the tracker's box is not finite; do the weights "
                "contain NaN? (cdjax weights check)"
            )
        yield FrameRecord(
            frame_index=index,
            frame=frame,
            box=np.asarray(where, np.float32),
            score=float(peak),
            trust=float(trust),
            scale=float(scale),
            num_channels=int(count),
            seconds=seconds,
            compile_seconds=compile_seconds,
            aux=aux,
            state=state,
        )
        if max_frames is not None and index + 1 >= max_frames:
            return
    if state is None:
        raise InputError("there are no frames; give a source with at least one")
