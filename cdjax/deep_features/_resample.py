"""Maps at other sizes, and regions of them: by area when shrinking, linearly when enlarging."""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from cdjax._turns import in_turn
from cdjax._types import Array, Float, Int

LARGEST_REGION = 1.5
"""Largest height and width of a region that `cut_region` cuts, as fractions of the maps'."""


def resize(
    maps: Float[Array, "n h w c"], out_hw: tuple[int, int]
) -> Float[Array, "n h_out w_out c"]:
    """Resizes maps, each axis on its own, with CF2's resampler [1].

    Shrinking averages over the area that an output cell covers, so whole ratios are
    plain block means. Enlarging interpolates linearly between pixel centres and repeats
    the border.

    Args:
      maps: any maps, channel last.
      out_hw: height and width of the result, cells.

    Returns:
      The resized maps.

    References:
      [1] jbhuang0604/CF2, utility/imResampleMex.cpp. Differs: no factor 1 / (1 + 1e-6).

    >>> resize(jnp.arange(4.0).reshape(1, 4, 1, 1), (2, 1))[0, :, 0, 0].tolist()
    [0.5, 2.5]
    """
    hw = maps.shape[1:3]
    # The axis that shrinks most goes first: the other has less to do.
    for axis in sorted((0, 1), key=lambda i: out_hw[i] / hw[i]):
        maps = _resize_axis(maps, axis + 1, out_hw[axis])
    return maps


def cut_region(
    maps: Sequence[Float[Array, "h w _"]],
    shift: Float[Array, "2"],
    size: Float[Array, "2"],
    *,
    out_hw: tuple[int, int],
) -> Float[Array, "h_out w_out c"]:
    """Cuts a region out of maps and brings it to a grid, as `resize` does.

    Fast feature pyramids [1]: the maps of a patch that is a little larger, smaller or elsewhere,
    without that patch.

    Args:
      maps: any maps, channel last, of one height and width (a network's layers).
      shift: (row, column) of the region's centre from the centre of the maps, as fractions of their
        height and width.
      size: height and width of the region, as fractions of the maps'; cut to `LARGEST_REGION`.
      out_hw: rows and columns of the result, cells.

    Returns:
      The region, with the channels of all maps; the border is replicated beyond the maps.

    References:
      [1] Dollár et al., Fast feature pyramids for object detection, 2014. Differs: no correction
        for the power law of the scales, which lie within a few percent.

    >>> whole = cut_region([jnp.arange(4.0).reshape(4, 1, 1)], jnp.zeros(2), jnp.ones(2),
    ...                    out_hw=(2, 1))
    >>> whole[:, 0, 0].tolist()
    [0.5, 2.5]
    """
    old_hw = maps[0].shape[:2]
    row, row_share = _region_shares(old_hw[0], out_hw[0], shift[0], size[0])
    col, col_share = _region_shares(old_hw[1], out_hw[1], shift[1], size[1])

    def along(
        cells: Float[Array, "h w c"],
        pixel: Int[Array, "a t"],
        share: Float[Array, "a t"],
        axis: int,
    ) -> Float[Array, "_ _ c"]:
        share = jnp.expand_dims(share, (1 - axis, 2))  # rows, columns, channels, pixels
        parts = [
            jnp.take(cells, pixel[:, i], axis=axis, mode="clip") * share[..., i]
            for i in range(pixel.shape[1])
        ]
        return functools.reduce(jnp.add, parts)

    def cut(rows: Sequence[Array]) -> Float[Array, "a w_out c"]:
        # The few pixels of each cell are gathered: on a CPU six times as fast as the product with a
        # matrix, whose entries are zeros but for them.
        parts = [along(along(each, *rows, axis=0), col, col_share, axis=1) for each in maps]
        # Joined here, in the cache: to join the maps themselves is a pass over all of them.
        return jnp.concatenate(parts, axis=-1)

    # Two strips at least: the compiler unrolls a single turn.
    num = next((d for d in range(2, out_hw[0]) if out_hw[0] % d == 0), out_hw[0])
    strips = in_turn(cut, [x.reshape(num, -1, x.shape[-1]) for x in (row, row_share)])
    return strips.reshape(*out_hw, -1)


def _region_shares(
    old: int, out: int, shift: Float[Array, ""], size: Float[Array, ""]
) -> tuple[Int[Array, "out t"], Float[Array, "out t"]]:
    """The pixels of one axis that a region's cells cover, beyond the ends too, and their shares."""
    # So many pixels at most, the first and the last of them in part.
    num = math.ceil(max(LARGEST_REGION * old / out, 1)) + 1
    cell = jnp.minimum(size, LARGEST_REGION) * (old / out)
    steps = np.arange(out, dtype=np.float32) - (out - 1) / 2
    middle = old * (0.5 + shift) + cell * steps
    # A mean over a pixel's width is the linear interpolation between pixel centres.
    half = jnp.maximum(cell, 1.0) / 2
    middle = jnp.clip(middle, -half, old + half)  # beyond, all is border, and differences round
    low, high = (middle - half)[:, None], (middle + half)[:, None]
    pixel = jnp.floor(low) + np.arange(num, dtype=np.float32)[None]
    share = jnp.minimum(high, pixel + 1) - jnp.maximum(low, pixel)
    return pixel.astype(jnp.int32), jnp.maximum(share, 0) / (2 * half)


def _resize_axis(
    maps: Float[Array, "n h w c"], axis: int, size: int
) -> Float[Array, "n h_out w_out c"]:
    """Resizes one axis, 1 or 2."""
    old = maps.shape[axis]
    if old == size:
        return maps
    if old % size == 0:
        # Half the time of a mean over an axis of its own, on CPU.
        parts = (
            jax.lax.slice_in_dim(maps, start, None, old // size, axis)
            for start in range(old // size)
        )
        return sum(parts, jnp.zeros((), maps.dtype)) / (old // size)
    weights = jnp.asarray(_weights(old, size))
    if axis == 1:
        return jnp.einsum("ah,nhwc->nawc", weights, maps)
    return jnp.einsum("aw,nhwc->nhac", weights, maps)


@functools.cache
def _weights(old: int, size: int) -> np.ndarray:
    """The [size, old] matrix of one axis."""
    scale = size / old
    if old <= size:
        source = (np.arange(size) + 0.5) / scale - 0.5
        source = source.clip(0, old - 1)
        low = np.minimum(source.astype(int), max(old - 2, 0))
        share = source - low
        matrix = np.zeros((size, old))
        matrix[np.arange(size), low] += 1 - share
        matrix[np.arange(size), np.minimum(low + 1, old - 1)] += share
    else:
        edges = np.arange(size + 1) / scale
        pixels = np.arange(old)
        high = np.minimum(edges[1:, None], pixels[None, :] + 1)
        low = np.maximum(edges[:-1, None], pixels[None, :])
        matrix = scale * np.maximum(high - low, 0)
        matrix[matrix < 1e-3 * scale] = 0
        matrix /= np.maximum(matrix.sum(1, keepdims=True), 1)
    matrix = matrix.astype(np.float32)
    matrix.flags.writeable = False
    return matrix
