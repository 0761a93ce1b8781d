"""A tracker over the frames of a video, as a scan."""

from typing import Any

import jax
import jax.numpy as jnp

from cdjax._types import Array, Box, Int, Params, UInt8
from cdjax.trackers._base import Tracker, TrackOutput


def track(
    tracker: Tracker,
    params: Params,
    frames: UInt8[Array, "t H W *ch"],
    box: Box,
    *,
    frame_hw: Int[Array, "2"] | None = None,
    key: Any = None,
) -> TrackOutput:
    """Tracks one target through a video held in memory.

    Jit it, and `vmap` it over frames and boxes for many videos; see `resume` for long ones.

    Args:
      tracker: the tracker.
      params: weights of its network, {} where it needs none.
      frames: RGB or gray frames.
      box: (x, y, w, h) in the first frame, px, corner index from 0.
      frame_hw: true height and width of padded frames.
      key: random key, for trackers that draw.

    Returns:
      Outputs of all frames; the first is the given box with score 1.
    """
    state = tracker.init(params, frames[0], box, frame_hw=frame_hw, key=key)
    _, rest = resume(tracker, params, state, frames[1:])
    one = jnp.float32(1)
    first = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), rest)
    first = first._replace(
        box=jnp.asarray(box, jnp.float32), score=one, trust=jnp.float32(0), scale=one
    )
    return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, rest)


def resume(
    tracker: Tracker, params: Params, state: Any, frames: UInt8[Array, "t H W *ch"]
) -> tuple[Any, TrackOutput]:
    """Tracks through the next frames of a video.

    Args:
      tracker: the tracker.
      params: weights of its network.
      state: state after the last frame.
      frames: the next frames.

    Returns:
      The state after them, and an output a frame.
    """
    return jax.lax.scan(lambda state, frame: tracker.step(params, state, frame), state, frames)
