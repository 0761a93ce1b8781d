"""Peak to box: shift, scale, and the limits that keep a lost target finite."""

import jax.numpy as jnp

from cdjax._types import Array, Box, Float, Int


def clamp_scale(
    scale: Float[Array, ""],
    first_wh: Float[Array, "2"],
    frame_hw: Int[Array, "2"],
    *,
    min_px: float = 4.0,
) -> Float[Array, ""]:
    """Limits a target's scale: no side shorter than `min_px`, none longer than the frame's.

    Args:
      scale: size against the first frame.
      first_wh: width and height in the first frame, px.
      frame_hw: height and width of the frame, px.
      min_px: least side, px; a target that starts smaller may stay as it is.

    Returns:
      The limited scale. Scale 1 is always allowed.
    """
    least = jnp.minimum(jnp.max(min_px / first_wh), 1.0)
    most = jnp.maximum(jnp.min(frame_hw[::-1].astype(jnp.float32) / first_wh), 1.0)
    return jnp.clip(scale, least, most)


def update_box(
    box: Box,
    shift_px: Float[Array, "2"],
    wh: Float[Array, "2"],
    frame_hw: Int[Array, "2"],
) -> Box:
    """Moves a box's centre and sets its size; the centre stays in the frame.

    Args:
      box: the last box, (x, y, w, h).
      shift_px: (row, column) shift of the centre, px.
      wh: the new width and height, px.
      frame_hw: height and width of the frame, px.

    Returns:
      The new box.
    """
    centre = box[:2] + (box[2:] - 1) / 2 + shift_px[::-1]
    limit = frame_hw[::-1].astype(jnp.float32) - 1
    centre = jnp.clip(centre, jnp.zeros_like(limit), limit)
    return jnp.concatenate([centre - (wh - 1) / 2, wh])
