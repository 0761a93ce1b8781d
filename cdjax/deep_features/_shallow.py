"""Felzenszwalb's HOG features; no weights."""

import functools

import jax.numpy as jnp
import numpy as np

from cdjax._errors import InputError
from cdjax._types import Array, Float, Int

FHOG_CHANNELS = 31

_NUM_BINS = 9  # over half a turn; the contrast-sensitive bins are twice as many


def fhog(
    images: Float[Array, "n H W ch"], *, cell: int = 4, gain: float = 1.0
) -> Float[Array, "n h w 31"]:
    """Computes FHOG: 18 signed and 9 unsigned orientations and 4 texture channels.

    Args:
      images: values 0..255, RGB or gray; per pixel the channel with the steepest
        gradient counts.
      cell: side of a cell, px. Rows and columns that fill no whole cell are left out.
      gain: factor of the values, 1 / 255 for trackers that were made for values up to 1. Gradients
        are multiplied rather than images: of images a compiler may make products whose
        differences are not zero where pixels are equal, and those decide the direction.

    Returns:
      h = H // cell by w = W // cell cells, differentiable where the orientations stay
      in their bins.

    References:
      [1] Piotr's toolbox, gradientMex.cpp: clip 0.2, orientations not interpolated.
        Differs: exact square roots and angles; the all-zero channel 32 is left out.

    >>> fhog(jnp.zeros((1, 16, 12, 3))).shape
    (1, 4, 3, 31)
    """
    height, width = images.shape[1] // cell, images.shape[2] // cell
    if min(height, width) < 2:
        raise InputError(
            f"FHOG needs two cells a side: {images.shape[1]}x{images.shape[2]} px in "
            f"cells of {cell} px give {height}x{width}; use a larger patch or smaller "
            "cells"
        )
    dx, dy = _steepest_gradient(images)
    dx = dx[:, : height * cell, : width * cell]
    dy = dy[:, : height * cell, : width * cell]
    # The toolbox's floor keeps the square root's derivative finite too.
    magnitude = gain * jnp.sqrt(jnp.maximum(dx * dx + dy * dy, 1e-20))
    orientation = _orientation_bin(dx, dy)
    down = _votes_down(magnitude, orientation, height, cell)
    # Rows before columns: votes are added along contiguous rows, and the product is one of plain
    # matrices, which needs nothing transposed.
    across = _cell_weights(width, cell) * _border_boost(width)[None]
    return jnp.moveaxis(_normalise(down @ across, cell), 1, -1)


def _steepest_gradient(
    images: Float[Array, "n H W ch"],
) -> tuple[Float[Array, "n H W"], Float[Array, "n H W"]]:
    """Returns d/dx and d/dy of the channel where they are largest together.

    Central differences, halved; whole one-sided ones at the borders.
    """
    height, width = images.shape[1:3]
    # A plane a channel: rows are contiguous. With the border repeated, one formula holds for all
    # pixels, and nothing but this is written before the votes are.
    planes = jnp.moveaxis(images, -1, 0)
    planes = jnp.pad(planes, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    best = None
    for plane in planes:
        dx = (plane[:, 1:-1, 2:] - plane[:, 1:-1, :-2]) * _halves(width)[None, None, :]
        dy = (plane[:, 2:, 1:-1] - plane[:, :-2, 1:-1]) * _halves(height)[None, :, None]
        square = dx * dx + dy * dy
        if best is None:
            best = dx, dy, square
        else:
            steeper = square > best[2]  # ties go to the first channel
            best = tuple(
                jnp.where(steeper, a, b) for a, b in zip((dx, dy, square), best, strict=True)
            )
    assert best is not None
    return best[0], best[1]


def _halves(num_px: int) -> np.ndarray:
    """What a difference counts: half, but for the one-sided ones at both ends."""
    factors = np.full(num_px, 0.5, np.float32)
    factors[[0, -1]] = 1.0
    return factors


def _orientation_bin(dx: Float[Array, "n h w"], dy: Float[Array, "n h w"]) -> Array:
    """Rounds the direction to one of 18, counting the bin edges that it has passed.

    A vertical gradient lies exactly on an edge and belongs to the bin after it, hence
    no arc tangent: its rounding would decide.
    """
    below = dy < 0
    dx, dy = jnp.where(below, -dx, dx), jnp.abs(dy)
    passed = jnp.zeros(dx.shape, jnp.int32)
    for i in range(_NUM_BINS):
        angle = np.pi * (i + 0.5) / _NUM_BINS
        cos, sin = (0.0, 1.0) if 2 * i + 1 == _NUM_BINS else (np.cos(angle), np.sin(angle))
        passed += (dy * np.float32(cos) >= dx * np.float32(sin)).astype(jnp.int32)
    passed += jnp.where(below, _NUM_BINS, 0)
    return jnp.where(passed == 2 * _NUM_BINS, 0, passed)


def _votes_down(
    magnitude: Float[Array, "n H W"], orientation: Int[Array, "n H W"], num_cells: int, cell: int
) -> Float[Array, "n 18 h W"]:
    """Sums the votes along columns into cells, a bin at a time.

    A pixel votes for two cells of a column: the dense product that the rows get would cost ten
    times as much.
    """
    split = lambda pixels: jnp.pad(pixels, ((0, 0), (cell, cell), (0, 0))).reshape(
        pixels.shape[0], 1, num_cells + 2, cell, pixels.shape[2]
    )
    magnitude, orientation = split(magnitude), split(orientation)
    bins = jnp.arange(2 * _NUM_BINS, dtype=orientation.dtype)[None, :, None, None]
    # What the pixels of the cell before, of the cell itself and of the next one give to a cell.
    shares = _cell_weights(3, cell)[:, 1].reshape(3, cell)
    votes = jnp.zeros((), magnitude.dtype)
    for (source, pixel), share in np.ndenumerate(shares):
        if share:
            cells = slice(source, source + num_cells)
            hit = orientation[:, :, cells, pixel] == bins
            votes = votes + jnp.where(hit, share * magnitude[:, :, cells, pixel], 0.0)
    return votes * _border_boost(num_cells)[None, None, :, None]


def _border_boost(num_cells: int) -> np.ndarray:
    """What makes up for the votes that pixels outside do not give."""
    boost = np.ones(num_cells, np.float32)
    boost[[0, -1]] = 8 / 7
    return boost


@functools.cache
def _cell_weights(num_cells: int, cell: int) -> np.ndarray:
    """The [px, cells] shares of a pixel in the cells around it."""
    position = (np.arange(num_cells * cell) + 0.5) / cell - 0.5
    share = 1 - np.abs(position[:, None] - np.arange(num_cells)[None, :])
    weights = (np.maximum(share, 0) / cell).astype(np.float32)
    weights.flags.writeable = False
    return weights


def _normalise(signed: Float[Array, "n 18 h w"], cell: int) -> Float[Array, "n 31 h w"]:
    """Divides by the energy of the four blocks around each cell, clips and sums."""
    unsigned = signed[:, :_NUM_BINS] + signed[:, _NUM_BINS:]
    energy = (unsigned * unsigned).sum(1)
    energy = energy[:, :-1] + energy[:, 1:]
    energy = energy[:, :, :-1] + energy[:, :, 1:]
    block = (energy + 1e-4 / (4 * cell**4)) ** -0.5
    block = jnp.pad(block, ((0, 0), (1, 1), (1, 1)), mode="edge")[:, None]
    corners = block[..., 1:, 1:], block[..., :-1, 1:], block[..., 1:, :-1], block[..., :-1, :-1]
    clipped = [jnp.minimum(signed * norm, 0.2) for norm in corners]
    texture = [0.2357 * part.sum(1, keepdims=True) for part in clipped]
    folded = [jnp.minimum(unsigned * norm, 0.2) for norm in corners]
    return jnp.concatenate([0.5 * sum(clipped), 0.5 * sum(folded), *texture], axis=1)
