"""MDNet's candidate and training boxes: draws around a box, by type and range of overlap."""

import math

import jax
import jax.numpy as jnp

from cdjax._errors import InputError
from cdjax._types import Array, Bool, Box, Float, Int, Number


def box_overlaps(boxes: Float[Array, "n 4"], box: Box) -> Float[Array, " n"]:
    """Intersection over union of boxes with one box.

    Args:
      boxes: boxes (x, y, w, h), px.
      box: the one.

    Returns:
      Overlaps from 0 to 1.
    """
    low = jnp.maximum(boxes[:, :2], box[None, :2])
    high = jnp.minimum(boxes[:, :2] + boxes[:, 2:], (box[:2] + box[2:])[None])
    inside = jnp.prod(jnp.maximum(high - low, 0.0), axis=1)
    union = jnp.prod(boxes[:, 2:], axis=1) + jnp.prod(box[2:]) - inside
    return inside / jnp.maximum(union, 1e-6)


def regression_samples(
    boxes: Float[Array, "n 4"],
    target: Box,
    *,
    overlap: tuple[float, float] = (0.6, 1.0),
    area_ratio: tuple[float, float] = (1.0, 2.0),
) -> Bool[Array, " n"]:
    """Picks the samples that the regression learns from [1].

    Args:
      boxes: samples, px.
      target: the true box.
      overlap: least and largest overlap with it.
      area_ratio: least and largest area, in units of the target's.

    Returns:
      Which samples meet both, ends included.

    References:
      [1] py-MDNet, `tracking/bbreg.py`.
    """
    ratio = jnp.prod(boxes[:, 2:], axis=1) / jnp.prod(target[2:])
    shared = box_overlaps(boxes, target)
    return (
        (shared >= overlap[0])
        & (shared <= overlap[1])
        & (ratio >= area_ratio[0])
        & (ratio <= area_ratio[1])
    )


def draw_boxes(
    key: Array,
    box: Box,
    frame_hw: Int[Array, "2"],
    *,
    kind: str,
    num: int,
    trans: Number = 1.0,
    scale: float = 1.0,
    aspect: float | None = None,
    least_px: Float[Array, "2"] | float = 10.0,
    inside: bool = False,
    overlap: tuple[float, float] | None = None,
    oversample: int = 14,
) -> tuple[Float[Array, "n 4"], Bool[Array, " n"]]:
    """Draws boxes around a box [1].

    With N a normal of deviation 0.5 cut to [-1, 1] and U uniform on it, m the mean side of `box`:
    "gaussian" moves the centre by trans m N along each axis and multiplies the size by scale^N;
    "uniform" does so with U; "whole" takes centres of a regular grid over the frame, in random
    order, and ignores `trans`. Sizes are then cut to `least_px` ... the frame's less 10 px, and
    centres to the frame.

    Args:
      key: random key.
      box: the box to draw around, px.
      frame_hw: true height and width of the frame, px.
      kind: "gaussian", "uniform" or "whole".
      num: boxes to return.
      trans: largest shift, in units of m.
      scale: largest factor of the size, both sides alike.
      aspect: largest factor of each side by itself, before that; None for none.
      least_px: least width and height, px.
      inside: whether centres are kept as far inside as the whole box needs.
      overlap: least and largest overlap with `box`, ends included; None for any.
      oversample: with `overlap`, draws to choose from, in units of `num`; the source draws up to
        14 times as many, in three rounds.

    Returns:
      The first `num` draws that qualify. Where there are fewer they come round again, marked False
      in the second array; without any, all are draws that do not qualify, marked False.

    References:
      [1] py-MDNet, `modules/sample_generator.py`. Differs: all draws at once, so that the grid of
        "whole" has the spacing of `oversample` times as many boxes.
    """
    total = num if overlap is None else num * oversample
    place, size, sides = jax.random.split(key, 3)
    noise = {"gaussian": _cut_normal, "uniform": _uniform, "whole": _uniform}.get(kind)
    if noise is None:
        raise InputError(f"no draw {kind!r}: choose from gaussian, uniform, whole")
    image = frame_hw[::-1].astype(jnp.float32)[None]
    wh = jnp.broadcast_to(box[None, 2:], (total, 2))
    if aspect is not None:
        wh = wh * aspect ** _uniform(sides, (total, 2))
    wh = wh * scale ** noise(size, (total, 1))
    if kind == "whole":
        points = math.floor(2 * math.sqrt(total))
        cell = jax.random.permutation(place, points * points)[:total]
        grid = jnp.stack([cell % points, cell // points], axis=1) / (points - 1)
        centre = box[None, 2:] / 2 + grid * (image - box[None, 2:] / 2 - 1)
    else:
        middle = box[None, :2] + box[None, 2:] / 2
        centre = middle + trans * box[2:].mean() * noise(place, (total, 2))
    least = jnp.broadcast_to(jnp.asarray(least_px, jnp.float32), 2)[None]
    wh = jnp.clip(wh, least, jnp.maximum(image - 10, jnp.minimum(image, least)))
    low, high = (wh / 2, image - wh / 2 - 1) if inside else (0.0, image)
    boxes = jnp.concatenate([jnp.clip(centre, low, high) - wh / 2, wh], axis=1)
    if overlap is None:
        return boxes, jnp.ones(num, bool)
    shared = box_overlaps(boxes, box)
    fits = (shared >= overlap[0]) & (shared <= overlap[1])
    count = fits.sum(dtype=jnp.int32)
    # The draws that qualify come first, in their order.
    order = jnp.argsort(~fits, stable=True)
    taken = jnp.arange(num, dtype=jnp.int32)
    return boxes[order[taken % jnp.maximum(count, 1)]], taken < count


def _cut_normal(key: Array, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Normal of deviation 0.5, cut to [-1, 1]."""
    return jnp.clip(0.5 * jax.random.normal(key, shape, jnp.float32), -1.0, 1.0)


def _uniform(key: Array, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Uniform on [-1, 1)."""
    return jax.random.uniform(key, shape, jnp.float32, -1.0, 1.0)
