"""Response maps to the peak's place, scale and trust; works in cells, not pixels."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cdjax._types import Array, Float, Int, Number

_FLAT = 1e-6
"""Range of a response, against the label's height of 1, that is but rounding."""


class Peak(NamedTuple):
    """Where a stack of response maps peaks.

    Attributes:
      shift_cell: (row, column) of the peak against zero shift, cells, with a fraction.
      scale_index: map with the best peak, with a fraction between neighbouring scales.
      score: height of the peak.
      best: index of the best map.
    """

    shift_cell: Float[Array, "2"]
    scale_index: Float[Array, ""]
    score: Float[Array, ""]
    best: Int[Array, ""]


def _vertex(
    before: Float[Array, ""], at: Float[Array, ""], after: Float[Array, ""]
) -> Float[Array, ""]:
    """Offset of the vertex of the parabola through three samples; 0 where there is no maximum."""
    curvature = before - 2 * at + after
    safe = jnp.where(curvature < 0, curvature, -1.0)
    offset = jnp.where(curvature < 0, 0.5 * (before - after) / safe, 0.0)
    return jnp.clip(offset, -0.5, 0.5)


def find_peak(response: Float[Array, "s h w"], *, scale_penalty: Number = 1.0) -> Peak:
    """Finds the best scale and the peak's shift, finer than a cell.

    Args:
      response: one map a scale, in ascending order, the middle one at scale 1; zero shift at cell
        [0, 0], negative shifts wrapped around.
      scale_penalty: factor on the peaks of all scales but the middle one.

    Returns:
      The peak: a parabola through the neighbours gives the fraction of a cell, and of a scale
      where the best scale has two neighbours. Maps that are flat (to 1e-6 of the label's height)
      tell nothing: place and size stay.
    """
    num_scales, height, width = response.shape
    middle = num_scales // 2
    where = jnp.where if isinstance(scale_penalty, jax.Array) else np.where
    is_middle = np.arange(num_scales) == middle
    penalty = where(is_middle, 1.0, scale_penalty).astype(np.float32)
    heights = jnp.max(response, axis=(1, 2))
    # A penalty lowers negative peaks too.
    heights = jnp.where(heights > 0, heights * penalty, heights / penalty)
    # Ties keep the size.
    best = jnp.where(heights[middle] >= jnp.max(heights), middle, jnp.argmax(heights))
    flat = jnp.max(response) - jnp.min(response) < _FLAT
    best = jnp.where(flat, middle, best).astype(jnp.int32)
    chosen = jnp.take(response, best, axis=0)
    cell = jnp.where(flat, 0, jnp.argmax(chosen)).astype(jnp.int32)
    row, col = cell // width, cell % width

    def at(r: Int[Array, ""], c: Int[Array, ""]) -> Float[Array, ""]:
        return chosen[r % height, c % width]

    top = at(row, col)
    fine_row = row + _vertex(at(row - 1, col), top, at(row + 1, col))
    fine_col = col + _vertex(at(row, col - 1), top, at(row, col + 1))
    shift = jnp.stack([fine_row, fine_col]).astype(jnp.float32)
    size = jnp.array([height, width], jnp.float32)
    shift = jnp.where(shift > size / 2, shift - size, shift)
    shift = jnp.where(flat, 0.0, shift)

    scale_index = best.astype(jnp.float32)
    if num_scales >= 3:
        inner = (best > 0) & (best < num_scales - 1) & ~flat
        below = heights[jnp.maximum(best - 1, 0)]
        above = heights[jnp.minimum(best + 1, num_scales - 1)]
        scale_index += jnp.where(inner, _vertex(below, heights[best], above), 0.0)
    return Peak(shift, scale_index, top, best)


def peak_to_sidelobe(
    response: Float[Array, "h w"],
    shift_cell: Float[Array, "2"],
    *,
    radius_cell: float = 5.0,
) -> Float[Array, ""]:
    """Peak-to-sidelobe ratio: how far the peak stands above the rest of the map.

    Args:
      response: one response map, wrapped around.
      shift_cell: (row, column) of its peak.
      radius_cell: half side of the square around the peak that is left out of the sidelobe, cells.

    Returns:
      (peak - mean) / standard deviation of the sidelobe; 0 for a flat map.

    References:
      [1] Bolme et al., Visual object tracking using adaptive correlation filters, 2010, §3.5.
    """
    height, width = response.shape
    # Keeps at least half of the rows and columns of a small map in the sidelobe.
    radius = min(radius_cell, (height - 1) // 4, (width - 1) // 4)
    rows = jnp.abs(jnp.arange(height) - shift_cell[0] % height)
    cols = jnp.abs(jnp.arange(width) - shift_cell[1] % width)
    rows = jnp.minimum(rows, height - rows)
    cols = jnp.minimum(cols, width - cols)
    sidelobe = ((rows > radius)[:, None] | (cols > radius)[None, :]).astype(jnp.float32)
    count = jnp.maximum(jnp.sum(sidelobe), 1.0)
    # Counted from the peak, so that nothing is left of a flat map, not even a rounding.
    drop = jnp.max(response) - response
    mean = jnp.sum(sidelobe * drop) / count
    std = jnp.sqrt(jnp.sum(sidelobe * (drop - mean) ** 2) / count)
    return mean / jnp.maximum(std, 1e-12)
