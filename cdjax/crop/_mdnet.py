"""MDNet's candidate crops: boxes to small patches of one size."""

import jax
import jax.numpy as jnp

from cdjax._types import Array, Float, Int, Shaped
from cdjax.crop._sample import crop_patch


def mdnet_crop(
    frame: Shaped[Array, "H W ch"],
    boxes: Float[Array, "n 4"],
    *,
    frame_hw: Int[Array, "2"] | None = None,
    out_px: int = 107,
    margin_px: float = 16.0,
    border: float = 128.0,
) -> Float[Array, "n p p ch"]:
    """Crops boxes with their surroundings and warps each to one square [1, `crop_image2`].

    Sample (u, v) lies at x + w / 2 + (u - p / 2) w' / p, p = `out_px`, likewise in y, where pixel
    i has its centre at i: half a source pixel and half a sample off the box's own centre, as in
    the source.

    Args:
      frame: pixels, 0..255; may be padded at the bottom and right.
      boxes: candidates (x, y, w, h), px.
      frame_hw: true height and width of a padded frame; the whole array by default.
      out_px: side of the patches, px.
      margin_px: surroundings on each side of the box, px of the patch as if the box alone filled
        it: w' = w (1 + 2 margin / p), 1.2991 w.
      border: value of the pixels outside the frame. Differs: the source means to give 128 to all
        channels but gives it to the first only.

    Returns:
      Patches as float32, in the frame's units; width and height are scaled apart.

    References:
      [1] py-MDNet, `modules/utils.py`.
    """

    def one(box: Float[Array, "4"]) -> Float[Array, "p p ch"]:
        wh = box[2:] * (1 + 2 * margin_px / out_px)
        # `crop_patch` puts sample (p - 1) / 2 at the centre, the source p / 2.
        centre = box[:2] + box[2:] / 2 - 0.5 * wh / out_px
        return crop_patch(
            frame, centre, wh[::-1], out_hw=(out_px, out_px), frame_hw=frame_hw, border=border
        )

    return jax.vmap(one)(jnp.asarray(boxes, jnp.float32))
