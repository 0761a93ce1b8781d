"""Felzenszwalb's HOG features; no weights."""

import functools

import jax.numpy as jnp
import numpy as np

from cdjax._errors import InputError
from cdjax._types import Array, Float

FHOG_CHANNELS = 31

_NUM_BINS = 9  # over half a turn; the contrast-sensitive bins are twice as many


def fhog(images: Float[Array, "n H W ch"], *, cell: int = 4) -> Float[Array, "n h w 31"]:
    """Computes FHOG: 18 signed and 9 unsigned orientations and 4 texture channels.

    Args:
      images: values 0..255, RGB or gray; per pixel the channel with the steepest
        gradient counts.
      cell: side of a cell, px. Rows and columns that fill no whole cell are left out.

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
    magnitude = jnp.sqrt(jnp.maximum(dx * dx + dy * dy, 1e-20))
    # The root is exact. XLA on CPU holds it to be costly and computes it once; compared as it
    # comes, the direction is found anew for each of the 18 bins, in two to three times the time.
    orientation = _orientation_bin(dx, dy)
    orientation = jnp.sqrt((orientation * orientation).astype(jnp.float32))
    bins = jnp.arange(2 * _NUM_BINS, dtype=jnp.float32)[None, None, None, :]
    votes = jnp.where(orientation[..., None] == bins, magnitude[..., None], 0.0)
    across = jnp.asarray(_cell_weights(width, cell))
    down = jnp.asarray(_cell_weights(height, cell))
    histogram = jnp.einsum("nhwo,ha->nawo", votes, down)
    histogram = jnp.einsum("nawo,wb->nabo", histogram, across)
    return _normalise(histogram, cell)


def _steepest_gradient(
    images: Float[Array, "n H W ch"],
) -> tuple[Float[Array, "n H W"], Float[Array, "n H W"]]:
    """Returns d/dx and d/dy of the channel where they are largest together."""
    best = None
    for i in range(images.shape[-1]):
        dx, dy = _differences(images[..., i], 2), _differences(images[..., i], 1)
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


def _differences(image: Float[Array, "n H W"], axis: int) -> Float[Array, "n H W"]:
    """Central differences, halved; whole one-sided ones at the borders."""
    image = jnp.moveaxis(image, axis, 0)
    out = jnp.concatenate(
        [
            image[1:2] - image[:1],
            0.5 * (image[2:] - image[:-2]),
            image[-1:] - image[-2:-1],
        ]
    )
    return jnp.moveaxis(out, 0, axis)


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


@functools.cache
def _cell_weights(num_cells: int, cell: int) -> np.ndarray:
    """The [px, cells] shares of a pixel in cells around it, and the border's boost."""
    position = (np.arange(num_cells * cell) + 0.5) / cell - 0.5
    share = 1 - np.abs(position[:, None] - np.arange(num_cells)[None, :])
    weights = np.maximum(share, 0) / cell
    weights[:, [0, -1]] *= 8 / 7
    weights = weights.astype(np.float32)
    weights.flags.writeable = False
    return weights


def _normalise(signed: Float[Array, "n h w 18"], cell: int) -> Float[Array, "n h w 31"]:
    """Divides by the energy of the four blocks around each cell, clips and sums."""
    unsigned = signed[..., :_NUM_BINS] + signed[..., _NUM_BINS:]
    energy = (unsigned * unsigned).sum(-1)
    energy = energy[:, :-1] + energy[:, 1:]
    energy = energy[:, :, :-1] + energy[:, :, 1:]
    block = (energy + 1e-4 / (4 * cell**4)) ** -0.5
    block = jnp.pad(block, ((0, 0), (1, 1), (1, 1)), mode="edge")
    norms = block[:, 1:, 1:], block[:, :-1, 1:], block[:, 1:, :-1], block[:, :-1, :-1]
    clipped = [jnp.minimum(signed * norm[..., None], 0.2) for norm in norms]
    texture = [0.2357 * part.sum(-1, keepdims=True) for part in clipped]
    folded = [jnp.minimum(unsigned * norm[..., None], 0.2) for norm in norms]
    return jnp.concatenate([0.5 * sum(clipped), 0.5 * sum(folded), *texture], axis=-1)
