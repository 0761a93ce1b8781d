"""Runs a tracker over frames as they come: padding, compilation, clocks; no files."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, UInt8

from cdjax._errors import InputError
from cdjax._types import Params
from cdjax.benchmark._opencv import OpenCVTracker, run_opencv
from cdjax.boxes import check_box
from cdjax.lanes import canvas_hw, pad_to_canvas, step_alone
from cdjax.lanes._programs import programs, start_of
from cdjax.trackers._base import Tracker, TrackOutput, fit_to, on_second_frame

_ONE = np.ones(1, np.int32)


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
      state: the tracker's state after this frame, on the device: nothing waits for it. It lasts
        until the next record, as the next step takes over its memory: copy what is to last longer.
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


def first_output(box: Any) -> TrackOutput:
    """What a tracker would say of the frame whose box is given."""
    zero: Any = 0.0
    one: Any = 1.0
    return TrackOutput(box, score=one, trust=zero, scale=one, aux=())


class Start(NamedTuple):
    """A tracker on its first frame.

    Attributes:
      state: its state.
      num_channels: channels in use.
      seconds: transfer and the program's run.
      compile_seconds: of compilation.
    """

    state: Any
    num_channels: Any
    seconds: float
    compile_seconds: float


def start_on(
    tracker: Tracker,
    params: Params,
    frame: UInt8[np.ndarray, "H W 3"],
    box: Any,
    canvas: tuple[int, int],
    *,
    key: Any = None,
) -> Start:
    """Learns a target from its first frame.

    Args:
      tracker: the tracker.
      params: its weights.
      frame: the frame.
      box: a checked box.
      canvas: size that frames are padded to.
      key: a JAX random key, or None.

    Returns:
      The state, and what it took.
    """
    first = (params, pad_to_canvas(frame, canvas), box)
    args = (*first, np.array(frame.shape[:2], np.int32), key)
    init, compile_seconds = programs.compiled(start_of(tracker.init), *args)
    start = time.perf_counter()
    state = init(*args)
    count = jax.block_until_ready(state).num_channels
    return Start(state, count, time.perf_counter() - start, compile_seconds)


class Step(NamedTuple):
    """A tracker on a further frame.

    Attributes:
      state: its state.
      output: what it says, in host memory.
      num_channels: channels in use.
      seconds: padding, transfer and the program's run.
    """

    state: Any
    output: TrackOutput
    num_channels: Any
    seconds: float


def program_of(
    tracker: Tracker,
    params: Params,
    state: Any,
    frame: UInt8[np.ndarray, "H W 3"],
    canvas: tuple[int, int],
) -> tuple[Callable[..., Any], float]:
    """Returns a tracker's compiled step, and the seconds that compilation took.

    The step takes over the memory of the state that it is given.

    Args:
      tracker: the tracker.
      params: its weights.
      state: any state of it.
      frame: any frame.
      canvas: size that frames are padded to.
    """
    padded = pad_to_canvas(frame, canvas)
    return programs.compiled(step_alone(tracker), params, state, padded, _ONE, donate=(1,))


def step_on(
    program: Callable[..., Any],
    params: Params,
    state: Any,
    frame: UInt8[np.ndarray, "H W 3"],
    canvas: tuple[int, int],
) -> Step:
    """Tracks through one frame.

    Args:
      program: from `program_of`.
      params: its weights.
      state: after the frame before; it is used up.
      frame: the frame.
      canvas: size that frames are padded to.

    Returns:
      The state and output, and what they took.
    """
    start = time.perf_counter()
    state, output = program(params, state, pad_to_canvas(frame, canvas), _ONE)
    output, count = jax.device_get((output, state.num_channels))
    return Step(state, output, count, time.perf_counter() - start)


def record_of(
    index: int, frame: Any, output: TrackOutput, num_channels: Any, **more: Any
) -> "FrameRecord":
    """Makes a frame's record.

    Args:
      index: of the frame.
      frame: the frame.
      output: what the tracker says of it.
      num_channels: channels in use.
      **more: further fields.

    Returns:
      The record.

    Raises:
      InputError: if the box is not finite.
    """
    if not np.isfinite(output.box).all():
        raise InputError(
            f"frame {index + 1}: the tracker's box is not finite; do the weights "
            "contain NaN? (cdjax weights check)"
        )
    return FrameRecord(
        frame_index=index,
        frame=frame,
        box=np.asarray(output.box, np.float32),
        score=float(output.score),
        trust=float(output.trust),
        scale=float(output.scale),
        num_channels=int(num_channels),
        aux=output.aux,
        **more,
    )


def check_size(index: int, frame: Any, hw: tuple[int, int]) -> None:
    """Raises an InputError for a frame of another size than the first."""
    if frame.shape[:2] != hw:
        raise InputError(
            f"frame {index + 1} is {frame.shape[1]}x{frame.shape[0]} but the "
            f"first is {hw[1]}x{hw[0]}; bring all frames to one size"
        )


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
    of time and kept, so that a second sequence of a similar size compiles nothing,
    unless its target asks for other shapes (`Tracker.fit`).
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
    program: Any = None
    hw = canvas = (0, 0)
    for index, frame in enumerate(frames):
        if index == 0:
            hw = (frame.shape[0], frame.shape[1])
            canvas = canvas_hw(*hw)
            start_box = check_box(box, hw)
            tracker = fit_to(tracker, start_box)
            seen = start_on(tracker, params, frame, start_box, canvas, key=key)
            output, compile_seconds = first_output(start_box), seen.compile_seconds
        else:
            check_size(index, frame, hw)
            compile_seconds = 0.0
            if program is None:
                now = on_second_frame(tracker) if index == 1 else tracker
                program, compile_seconds = program_of(now, params, state, frame, canvas)
            seen = step_on(program, params, state, frame, canvas)
            output = seen.output
        state = seen.state
        if index == 1 and tracker.compact is not None:
            start = time.perf_counter()
            tracker, state = tracker.compact(state)
            jax.block_until_ready(state)
            compile_seconds += time.perf_counter() - start
            program = None
        yield record_of(
            index,
            frame,
            output,
            seen.num_channels,
            seconds=seen.seconds,
            compile_seconds=compile_seconds,
            state=state,
        )
        if max_frames is not None and index + 1 >= max_frames:
            return
    if state is None:
        raise InputError("there are no frames; give a source with at least one")
