"""Colour names and intensity channels in cells; no weights but the table of colour names."""

import jax.numpy as jnp
import numpy as np

from cdjax._errors import InputError
from cdjax._types import Array, Float, Params

COLOR_NAME_CHANNELS = 10
INTENSITY_CHANNELS = 5

_TABLE_SHAPE = (32**3, COLOR_NAME_CHANNELS)


def check_color_table(params: Params) -> None:
    """Checks that params hold the table of colour names.

    Args:
      params: weights, or their `jax.ShapeDtypeStruct`s.

    Raises:
      InputError: there is no table, or it has another shape.
    """
    table = params.get("table") if isinstance(params, dict) else None
    if table is None or tuple(table.shape) != _TABLE_SHAPE:
        found = "none" if table is None else f"one of shape {list(table.shape)}"
        raise InputError(
            f"colour names need their table of {_TABLE_SHAPE[0]} colours x {_TABLE_SHAPE[1]} "
            f"channels, found {found}: store it with `cdjax weights convert CNnorm.mat` (or "
            '`cdjax weights fetch colornames`) and load it with load_params("colornames")'
        )


def color_names(
    params: Params, images: Float[Array, "n H W 3"], *, cell: int = 4
) -> Float[Array, "n h w 10"]:
    """Looks up the names of each pixel's colour and averages them in cells.

    Args:
      params: {"table": ...}, as `cdjax.weights.load_params("colornames")` returns it.
      images: RGB 0..255; levels between two whole ones count as the nearer.
      cell: side of a cell, px. Rows and columns that fill no whole cell are left out.

    Returns:
      h = H // cell by w = W // cell cells, in the units of the table.

    Raises:
      InputError: params hold no such table.

    References:
      [1] van de Weijer et al., Learning color names for real-world applications, 2009; ECO's
        `table_lookup.m`: index R // 8 + 32 (G // 8) + 1024 (B // 8).
    """
    check_color_table(params)
    level = jnp.clip(jnp.floor((images + 0.5) / 8), 0, 31).astype(jnp.int32)
    index = level[..., 0] + 32 * level[..., 1] + 1024 * level[..., 2]
    return cell_means(jnp.take(params["table"], index, axis=0, mode="clip"), cell=cell)


def intensity_channels(
    images: Float[Array, "n H W 1"], *, cell: int = 4
) -> Float[Array, "n h w 5"]:
    """Codes each pixel's gray level in channels and averages them in cells.

    Six quadratic B-splines, evenly spaced, sum to one at every level. Five orthonormal contrasts
    of them hold all that varies: within each of three neighbouring pairs, and between the pairs.

    Args:
      images: gray, 0..255.
      cell: side of a cell, px. Rows and columns that fill no whole cell are left out.

    Returns:
      h = H // cell by w = W // cell cells.

    References:
      [1] Danelljan et al., ECO, 2017, its table `intensityChannelNorm6`. Read off the table, whose
        256 rows the formula gives to 4e-7.
    """
    # Six splines whose outermost knots inside 0..255 leave four intervals.
    position = images * (4 / 255) - np.arange(-0.5, 5, 1, dtype=np.float32)[None, None, None, :]
    away = jnp.abs(position)
    splines = jnp.where(away < 0.5, 0.75 - away**2, 0.5 * jnp.maximum(1.5 - away, 0) ** 2)
    # The contrasts are linear, so that they may wait for the means.
    return cell_means(splines, cell=cell) @ jnp.asarray(_contrasts())


def cell_means(maps: Float[Array, "n H W c"], *, cell: int) -> Float[Array, "n h w c"]:
    """Averages maps over square cells.

    Args:
      maps: any maps, channel last.
      cell: side of a cell, px. Rows and columns that fill no whole cell are left out.

    Returns:
      h = H // cell by w = W // cell cells.
    """
    num, height, width, channels = maps.shape
    rows, cols = height // cell, width // cell
    maps = maps[:, : rows * cell, : cols * cell]
    # One axis after the other: sums of whole rows first, which are contiguous.
    maps = jnp.mean(maps.reshape(num, rows, cell, cols * cell, channels), axis=2)
    return jnp.mean(maps.reshape(num, rows, cols, cell, channels), axis=3)


def normalise_energy(
    maps: Float[Array, "n h w c"], *, eps: float = 1e-12
) -> Float[Array, "n h w c"]:
    """Scales each sample's maps to a mean square of one.

    Args:
      maps: one block of features, all channels of one resolution together.
      eps: added to the sum of squares, so that zero stays zero.

    Returns:
      maps * sqrt(h w c / (sum of squares + eps)).

    References:
      [1] Danelljan et al., ECO, 2017, its `extract_features.m` with `normalize_power` 2.
    """
    energy = jnp.sum(maps * maps, axis=(1, 2, 3), keepdims=True)
    return maps * jnp.sqrt(np.prod(maps.shape[1:], dtype=np.float32) / (energy + eps))


def _contrasts() -> np.ndarray:
    """The [6, 5] orthonormal contrasts of the intensity channels."""
    pairs = np.array([[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]])
    within = np.array([[1, -1, 0, 0, 0, 0], [0, 0, 1, -1, 0, 0], [0, 0, 0, 0, 1, -1]])
    first = (pairs[0] - pairs[1]) / 2
    second = (pairs[0] + pairs[1] - 2 * pairs[2]) / np.sqrt(12)
    return np.stack([*within / np.sqrt(2), first, second], axis=1).astype(np.float32)
