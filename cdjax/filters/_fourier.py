"""The one FFT convention: real maps, last two axes, unnormalised forward transform."""

import jax.numpy as jnp
import numpy as np

from cdjax._types import Array, Complex, Float


def rfft2(maps: Float[Array, "*b h w"]) -> Complex[Array, "*b h wf"]:
    """Half spectrum over the last two axes, unnormalised."""
    return jnp.fft.rfft2(maps)


def irfft2(spectra: Complex[Array, "*b h wf"], *, hw: tuple[int, int]) -> Float[Array, "*b h w"]:
    """Inverse of `rfft2`; `hw` tells odd from even widths."""
    return jnp.fft.irfft2(spectra, s=hw)


def half_weights(hw: tuple[int, int]) -> np.ndarray:
    """How often each entry of a half spectrum stands in the whole one.

    Args:
      hw: height and width of the real map.

    Returns:
      float32 [h, wf]: 1 in column 0 and, for even widths, in the last column; 2 elsewhere. With
      these weights sum(weights * |rfft2(x)|^2) = h * w * sum(x^2) (Parseval).
    """
    height, width = hw
    weights = np.full((height, width // 2 + 1), 2.0, np.float32)
    weights[:, 0] = 1.0
    if width % 2 == 0:
        weights[:, -1] = 1.0
    return weights
