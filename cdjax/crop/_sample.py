"""Search-region crop: bilinear samples of a frame on a static grid."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from cdjax._types import Array, Float, Int, Shaped


def as_rgb(
    frame: Shaped[Array, "H W"] | Shaped[Array, "H W ch"],
) -> Shaped[Array, "H W ch"]:
    """Gives a gray frame without a channel axis one; leaves others alone."""
    return frame[..., None] if frame.ndim == 2 else frame


def _taps(
    centre: Float[Array, ""],
    extent: Float[Array, ""],
    fine: int,
    num_cells: int,
    limit: Int[Array, ""],
    outside: bool,
) -> list[Float[Array, "fine p"]]:
    """Two neighbours along one axis, and the weight of the second, of `fine` samples a cell.

    The border is replicated, or else with `outside` the neighbours go as far as -1 and `limit`.
    """
    num = num_cells * fine
    grid = jnp.arange(num, dtype=jnp.float32) - (num - 1) / 2
    position = centre + grid * (extent / num)
    # Clamping the position first keeps the weights finite for regions far outside.
    far = limit.astype(jnp.float32)
    position = jnp.clip(position, -1.0, far) if outside else jnp.clip(position, 0.0, far - 1.0)
    low = jnp.floor(position)
    high = low + 1 if outside else jnp.minimum(low + 1, far - 1)
    return [x.reshape(num_cells, fine).T for x in (low, high, position - low)]


def _bilinear(
    frame: Shaped[Array, "H W ch"],
    rows: Float[Array, "3 p"],
    cols: Float[Array, "3 q"],
    frame_hw: Int[Array, "2"],
    border: float | None,
    loop: Callable[..., Float[Array, "p q ch"]],
) -> Float[Array, "p q ch"]:
    """Samples the frame at the taps of its two axes."""
    left, right = (x.astype(jnp.int32) for x in cols[:2])
    height, width, num_channels = frame.shape
    pixels_in_rows = frame.reshape(-1, num_channels)

    def pixels(row: Int[Array, " p"], col: Int[Array, " q"]) -> Float[Array, "p q ch"]:
        # One gather by one index: rows first, then columns, XLA on CPU would write the rows of
        # every scale, and of two indices all pairs. Places outside are the border's to replace.
        row_start = jnp.clip(row, 0, height - 1) * width
        place = row_start[:, None] + jnp.clip(col, 0, width - 1)[None, :]
        found = pixels_in_rows.at[place].get(mode="promise_in_bounds").astype(jnp.float32)
        if border is None:
            return found
        row_inside, col_inside = (
            (index >= 0) & (index < size) for index, size in zip((row, col), frame_hw, strict=True)
        )
        return jnp.where((row_inside[:, None] & col_inside[None, :])[..., None], found, border)

    # From nothing to the row above, then its share towards the row below.
    shares = jnp.stack([jnp.ones_like(rows[2]), rows[2]])

    def blend(turn: Int[Array, ""] | int, above: Float[Array, "p q ch"]) -> Float[Array, "p q ch"]:
        row = rows[turn].astype(jnp.int32)
        first, second = pixels(row, left), pixels(row, right)
        line = first + (second - first) * cols[2][None, :, None]
        return above + (line - above) * shares[turn][:, None, None]

    patch = jnp.zeros((rows.shape[1], cols.shape[1], frame.shape[2]), jnp.float32)
    return loop(0, 2, blend, patch)


def _unrolled(first: int, end: int, body: Callable[..., Any], value: Any) -> Any:
    """`jax.lax.fori_loop` without a loop."""
    for index in range(first, end):
        value = body(index, value)
    return value


def crop_patch(
    frame: Shaped[Array, "H W ch"],
    centre: Float[Array, "2"],
    region_hw: Float[Array, "2"],
    *,
    out_hw: tuple[int, int],
    frame_hw: Int[Array, "2"] | None = None,
    supersample: int = 1,
    border: float | None = None,
) -> Float[Array, "p q ch"]:
    """Samples a region of a frame on an `out_hw` grid, bilinearly.

    Samples lie at the centres of `out_hw` equal cells of the region, so a region as large as the
    grid, centred so that samples meet pixels, is copied exactly. Outside the frame the border is
    replicated [1, §4], or constant.

    Args:
      frame: pixels, any dtype; may be padded at the bottom and right.
      centre: (x, y) of the region's centre, px, where pixel i has its centre at i.
      region_hw: height and width of the region, px.
      out_hw: number of rows and columns of samples.
      frame_hw: true height and width of a padded frame; the whole array by default.
      supersample: samples along each side of a cell that are averaged, against aliasing where the
        region is larger than the grid.
      border: value of every channel of the pixels outside the frame; None replicates the frame's.

    Returns:
      Samples as float32, in the frame's units.

    References:
      [1] Ma et al., Hierarchical convolutional features for visual tracking, 2015 (its
        `get_subwindow.m`). Differs: crop and resize in one bilinear step.
    """
    if frame_hw is None:
        frame_hw = jnp.array(frame.shape[:2], jnp.int32)
    frame = jnp.asarray(frame)
    centre, region_hw = (jnp.asarray(x, jnp.float32) for x in (centre, region_hw))
    fine = supersample
    rows, cols = (
        _taps(
            centre[1 - axis],
            region_hw[axis],
            fine,
            out_hw[axis],
            frame_hw[axis],
            border is not None,
        )
        for axis in (0, 1)
    )

    # What a loop ends with is computed once, where FHOG would have it computed for each of the
    # neighbours that it subtracts. Outside of any transformation a loop would be compiled by
    # every call.
    traced = any(isinstance(x, Tracer) for x in (frame, *rows, *cols))
    loop = jax.lax.fori_loop if traced else _unrolled

    def sampled(index: Int[Array, ""] | int, loop: Callable[..., Any]) -> Float[Array, "p q ch"]:
        """One sample of each cell."""
        row, col = (f(jnp.int32(index), jnp.int32(fine)) for f in (jax.lax.div, jax.lax.rem))
        # Stacked, taps are computed once; XLA on CPU would compute them again for every pixel.
        row_taps, col_taps = (
            jnp.stack([jax.lax.dynamic_index_in_dim(x, i, keepdims=False) for x in taps])
            for taps, i in ((rows, row), (cols, col))
        )
        return _bilinear(frame, row_taps, col_taps, frame_hw, border, loop)

    if fine == 1:
        return sampled(0, loop)
    add = lambda index, total: total + sampled(index, _unrolled)
    total = jnp.zeros((*out_hw, frame.shape[2]), jnp.float32)
    return loop(0, fine**2, add, total) / fine**2


def whole_pixels(
    centre: Float[Array, "2"], region_hw: Float[Array, "2"]
) -> tuple[Float[Array, "2"], Float[Array, "2"]]:
    """Rounds a region to whole pixels, as trackers do that cut pixels out and resize them.

    `crop_patch` of the result samples where a linear resize of the cut pixels does; only samples
    less than half a pixel from the region's edge see the pixels beyond it.

    Args:
      centre: (x, y) of the region's centre, px.
      region_hw: height and width of the region, px.

    Returns:
      Both, with sides of 2 px or more around the pixel nearest to the centre; an even side reaches
      one pixel further right or down.

    References:
      [1] Danelljan et al., ECO, 2017, its `sample_patch.m`. Differs: large regions are not
        decimated first; `supersample` averages them instead.
    """
    sides = jnp.maximum(jnp.floor(region_hw + 0.5), 2.0)
    return jnp.floor(centre + 0.5) + 0.5 * (sides[::-1] % 2 == 0), sides


def scale_pyramid(
    frame: Shaped[Array, "H W ch"],
    centre: Float[Array, "2"],
    region_hw: Float[Array, "2"],
    scales: Float[Array, " s"],
    *,
    out_hw: tuple[int, int],
    frame_hw: Int[Array, "2"] | None = None,
    supersample: int = 1,
) -> Float[Array, "s p q ch"]:
    """Crops the region at several scales; see `crop_patch`.

    Args:
      frame: pixels.
      centre: (x, y) of the common centre, px.
      region_hw: size of the region at scale 1, px.
      scales: factors of the region's size.
      out_hw: number of rows and columns of samples, at every scale.
      frame_hw: true size of a padded frame.
      supersample: samples along each side of a cell.

    Returns:
      One patch a scale, float32.
    """
    return jax.vmap(
        lambda scale: crop_patch(
            frame,
            centre,
            region_hw * scale,
            out_hw=out_hw,
            frame_hw=frame_hw,
            supersample=supersample,
        )
    )(scales)
