"""Windows and labels, as NumPy arrays or from traced sizes."""

import jax.numpy as jnp
import numpy as np

from cdjax._types import Array, Float


def hann_window(hw: tuple[int, int]) -> np.ndarray:
    """Separable Hann window, zero at the border [1, `get_features.m`].

    Args:
      hw: number of rows and columns.

    Returns:
      float32 [h, w]; an axis of one cell gets weight 1.

    References:
      [1] Ma et al., Hierarchical convolutional features for visual tracking, 2015.
    """

    def hann(size: int) -> np.ndarray:
        if size == 1:
            return np.ones(1)
        return 0.5 * (1 - np.cos(2 * np.pi * np.arange(size) / (size - 1)))

    return np.outer(hann(hw[0]), hann(hw[1])).astype(np.float32)


def wrapped_offsets(size: int) -> np.ndarray:
    """Signed distance of each index from index 0 on a circle: 0, 1, ..., n//2, ..., -1."""
    index = np.arange(size)
    return (np.where(index > size // 2, index - size, index)).astype(np.float32)


def gaussian_label(hw: tuple[int, int], sigma_hw: Float[Array, "2"]) -> Float[Array, "h w"]:
    """Desired response: a Gaussian whose peak, 1, lies at cell [0, 0], wrapped around.

    Args:
      hw: number of rows and columns.
      sigma_hw: standard deviation along rows and columns, cells.

    Returns:
      The label, float32.
    """
    rows = wrapped_offsets(hw[0]) / sigma_hw[0]
    cols = wrapped_offsets(hw[1]) / sigma_hw[1]
    return jnp.exp(-0.5 * (rows**2)[:, None]) * jnp.exp(-0.5 * (cols**2)[None, :])
