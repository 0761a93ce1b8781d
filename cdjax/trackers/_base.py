"""What a tracker is: two pure functions and the values they exchange."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp

from cdjax import crop
from cdjax._types import Array, Box, Float, Int, Params, Shaped


class TrackOutput(NamedTuple):
    """What a tracker says of one frame.

    Attributes:
      box: (x, y, w, h) in px, corner index from 0.
      score: height of the response's peak; 1 is a perfect match with the label. MDNet's is the
        mean logit of its best candidates, above 0 for a target.
      trust: peak-to-sidelobe ratio of the response. Larger is surer, within one video: values are
        tens on a tracked target and differ between videos. Not a detector of loss, since a model
        that has drifted stays sure of the wrong place. MDNet's is the score above the mean logit
        of all candidates, in standard deviations.
      scale: size of the target against the first frame.
      aux: diagnostics as a dict (response map, mask, energies) where the tracker's config
        asks for them, otherwise ().
    """

    box: Box
    score: Float[Array, ""]
    trust: Float[Array, ""]
    scale: Float[Array, ""]
    aux: Any


class TrackerState(Protocol):
    """The fields that every tracker's state has; the rest is its own."""

    @property
    def box(self) -> Box:
        """The box in the last frame."""
        ...

    @property
    def frame_index(self) -> Int[Array, ""]:
        """Index of the last frame seen, 0 after `init`."""
        ...

    @property
    def num_channels(self) -> Int[Array, ""]:
        """Channels in use."""
        ...


InitFn = Callable[..., Any]
"""(params, frame, box, *, frame_hw=None, key=None) -> State"""

StepFn = Callable[[Params, Any, Any], tuple[Any, TrackOutput]]
"""(params, state, frame) -> (State, TrackOutput)"""


class Tracker(NamedTuple):
    """A tracker: pure functions of weights, state and frame.

    Attributes:
      init: `(params, frame, box, *, frame_hw=None, key=None) -> State`, learns the target
        from the first frame. `frame` is uint8 [H, W, 3] RGB, [H, W, 1] or [H, W] gray, and may
        be padded at the bottom and right; `frame_hw` is then the true size.
      step: `(params, state, frame) -> (State, TrackOutput)`, a `jax.lax.scan` body.
      compact: `(state, room=None) -> (Tracker, State)`, or None. Called on the host, outside any
        transformation, after the second frame: returns the tracker whose arrays have just the
        size that the distilled channels need, and the state cut down for it; with `room`, arrays
        of that size, which must be no less, and no more than the state holds. No array may stand
        in the state twice: the commands let steps take over its memory.
      room: `state -> (int, ...)`, or None where `compact` is. What `compact` needs room for, after
        the second frame; several states fit the element-wise largest of theirs.
      cycle: (start, period): of states whose `frame_index` is at least `start`, a step reads no
        more than that index modulo `period`, for what it does not do in every frame (distil,
        train). Lanes of a batch that agree in this may share one index, which is not batched.
      fit: `box -> Tracker`, or None where one has shapes for all. Called on the host, before
        `init`, with the first box, (x, y, w, h) in px: returns the tracker, of a few, whose shapes
        suit the target's size and aspect. `benchmark.run` and the commands call it; `track`,
        `StreamPool` and `vary` take a tracker as it is, which serves all targets in one program.
      distil: `(params, state, frame) -> (State, TrackOutput)`, or None. What `step` does in the
        second frame, and nothing else: the state must be `init`'s. Who calls `compact` after that
        frame has no use for the rest of `step` in states of that size, and need not compile it.
    """

    init: InitFn
    step: StepFn
    compact: Callable[..., tuple["Tracker", Any]] | None = None
    room: Callable[[Any], tuple[int, ...]] | None = None
    cycle: tuple[int, int] = (0, 1)
    fit: Callable[[Any], "Tracker"] | None = None
    distil: StepFn | None = None


def fit_to(tracker: Tracker, box: Any) -> Tracker:
    """The tracker whose shapes suit a target of this first box; on the host."""
    return tracker if tracker.fit is None else tracker.fit(box)


def on_second_frame(tracker: Tracker) -> Tracker:
    """For the second frame: the tracker whose step is `distil`, where `compact` comes after it."""
    if tracker.distil is None or tracker.compact is None:
        return tracker
    return tracker._replace(step=tracker.distil)


class Start(NamedTuple):
    """What every tracker's `init` is given, in one form.

    Attributes:
      frame: the first frame, with an axis of channels.
      frame_hw: its true height and width.
      box: the target's box in it.
      wh: the box's size, a pixel at least.
    """

    frame: Shaped[Array, "H W ch"]
    frame_hw: Int[Array, "2"]
    box: Box
    wh: Float[Array, "2"]


def read_start(
    frame: Shaped[Array, "H W *ch"], box: Float[Array, "4"], frame_hw: Int[Array, "2"] | None
) -> Start:
    """Brings the arguments of `init` to one form; a frame that is not padded knows its size."""
    frame = crop.as_rgb(jnp.asarray(frame))
    frame_hw = jnp.asarray(frame.shape[:2] if frame_hw is None else frame_hw, jnp.int32)
    box = jnp.asarray(box, jnp.float32)
    return Start(frame, frame_hw, box, jnp.maximum(box[2:], 1.0))
