"""A backbone's layers as blocks of their own resolution, as ECO uses them; no common grid."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from cdjax._errors import InputError
from cdjax._types import Array, Float, Params
from cdjax.deep_features._color_names import cell_means
from cdjax.deep_features._extract import (
    Backbone,
    check_params,
    check_rgb,
    forward,
    network_module,
    patch_by_patch,
)


class BlockLayout(NamedTuple):
    """What part of a sample a backbone's blocks cover, and in how many cells.

    Attributes:
      support_px: side of the square in the middle of the sample that every block covers.
      cell_px: side of a cell of each block, in the order of the layers.
      sides: cells along each side of each block.
    """

    support_px: int
    cell_px: tuple[int, ...]
    sides: tuple[int, ...]


def block_layout(backbone: Backbone, sample_px: int, *, cell: int = 4) -> BlockLayout:
    """Finds the blocks that a sample gives, on the host.

    Maps finer than `cell` are averaged to it. The deepest layer fixes the support: as many of its
    cells as fit in the sample, their parity kept; the other layers are cropped to it.

    Args:
      backbone: network and layers.
      sample_px: side of the network's input.
      cell: least side of a cell, px.

    Returns:
      The layout.

    Raises:
      InputError: for "hog", whose cells need no network, and for samples that are too small.

    References:
      [1] Danelljan et al., ECO, 2017, its `init_features.m` ("odd_cells"), where VGG-M's conv1 is
        cropped and averaged by 2. Differs: takes any network.

    >>> block_layout(Backbone(network="vgg_m", layers=("norm1", "conv5")), 217)
    BlockLayout(support_px=208, cell_px=(4, 16), sides=(52, 13))
    """
    strides, totals = _strides(backbone), _sides(backbone, sample_px)
    unit = max(strides[-1], cell)
    count = totals[-1] * strides[-1] // unit
    # Ceiling pools may reach beyond the sample: a cell less at both ends, then.
    count -= 2 * max(-(-(unit * count - sample_px) // (2 * unit)), 0)
    cells = tuple(max(stride, cell // stride * stride) for stride in strides)
    sides = tuple(unit * count // size for size in cells)
    if min(sides) < 1:
        raise InputError(
            f"a sample of {sample_px} px leaves no cell of {backbone.layers[-1]}: use a larger "
            "sample or a shallower layer"
        )
    return BlockLayout(unit * count, cells, sides)


def extract_blocks(
    backbone: Backbone, params: Params, patches: Float[Array, "n p p ch"], *, cell: int = 4
) -> list[Float[Array, "n _ _ _"]]:
    """Computes each layer's maps, after ReLU, at the resolution of `block_layout`.

    Args:
      backbone: network and layers.
      params: its weights (`cdjax.weights.load_params`).
      patches: RGB 0..255, gray replicated.
      cell: as in `block_layout`.

    Returns:
      One array of maps a layer, neither windowed nor normalised.

    Raises:
      InputError: the weights do not reach the layers, or the patches do not fit.
    """
    check_rgb(backbone, patches)
    check_params(backbone, params)
    layout = block_layout(backbone, patches.shape[1], cell=cell)

    def blocks_of(patches: Float[Array, "m p p 3"]) -> list[Float[Array, "m _ _ _"]]:
        blocks = []
        for maps, stride, size, side in zip(
            forward(backbone, params, patches),
            _strides(backbone),
            layout.cell_px,
            layout.sides,
            strict=True,
        ):
            crop = side * (size // stride)
            start = (maps.shape[1] - crop) // 2
            maps = maps[:, start : start + crop, start : start + crop]
            blocks.append(maps if size == stride else cell_means(maps, cell=size // stride))
        return blocks

    return patch_by_patch(blocks_of, patches)


@functools.cache
def _sides(backbone: Backbone, sample_px: int) -> tuple[int, ...]:
    """Cells along a side of each layer's whole map."""
    if not backbone.needs_weights:
        raise InputError(f"{backbone.network} has no layers of its own resolution: use fhog")
    key = jax.ShapeDtypeStruct((2,), jnp.uint32)
    patches = jax.ShapeDtypeStruct((1, sample_px, sample_px, 3), jnp.float32)
    maps: Any = jax.eval_shape(network_module(backbone).init_with_output, key, patches)[0]
    return tuple(maps[layer].shape[1] for layer in backbone.layers)


def _strides(backbone: Backbone) -> tuple[int, ...]:
    """Step of each layer's cells, px: what 256 px more add to a side."""
    fewer, more = _sides(backbone, 256), _sides(backbone, 512)
    return tuple(256 // (b - a) for a, b in zip(fewer, more, strict=True))
