"""Feature maps as truncated Fourier series on the continuous unit square.

Coefficients live on the half spectrum of `rfft2` at an odd size 2 K + 1: rows 0..K, -K..-1, columns
0..K. The rest follows from coefficient(-k, -l) = conj(coefficient(k, l)). ECO's own code stores
columns -K..0 and centred rows instead: the same numbers, conjugated and mirrored on both axes.
"""

import jax.numpy as jnp
import numpy as np

from cdjax._types import Array, Complex, Float
from cdjax.filters._fourier import rfft2


def row_frequencies(height: int) -> np.ndarray:
    """Integer frequencies of a half spectrum's rows, for odd heights: 0..K, -K..-1."""
    return np.fft.ifftshift(np.arange(height) - height // 2).astype(np.float32)


def spline_spectrum(frequency: np.ndarray, *, a: float = -0.75) -> np.ndarray:
    """Fourier transform of the cubic interpolation kernel [1, `cubic_spline_fourier.m`].

    Args:
      frequency: cycles a sample.
      a: the kernel's slope parameter.

    Returns:
      The transform, float64; 1 at zero, and its shifts by whole numbers add up to 1.

    References:
      [1] Danelljan et al., ECO: efficient convolution operators for tracking, 2017.
    """
    f = np.where(frequency == 0, 1.0, frequency)
    two, four = 2 * np.pi * f, 4 * np.pi * f
    top = 6 * (1 - np.cos(two)) + 3 * a * (1 - np.cos(four))
    top -= (6 + 8 * a) * np.pi * f * np.sin(two) + 2 * a * np.pi * f * np.sin(four)
    return np.where(frequency == 0, 1.0, top / (4 * np.pi**4 * f**4))


def _interpolation(size: int, frequencies: np.ndarray) -> np.ndarray:
    """Factor from a DFT to series coefficients along one axis; samples lie at cell centres."""
    per_sample = frequencies.astype(np.float64) / size
    return spline_spectrum(per_sample) * np.exp(-1j * np.pi * per_sample) / size


def series_window(hw: tuple[int, int]) -> np.ndarray:
    """Separable Hann window without its zero ends.

    Args:
      hw: number of rows and columns.

    Returns:
      float32 [h, w].
    """
    rows, cols = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1, n + 1) / (n + 1)) for n in hw)
    return np.outer(rows, cols).astype(np.float32)


def series_size(hw: tuple[int, int]) -> tuple[int, int]:
    """Size of the series of a feature map: the next odd numbers.

    Args:
      hw: number of rows and columns.

    Returns:
      Rows and columns of the whole spectrum; of the half spectrum columns // 2 + 1 are stored.
    """
    return hw[0] + 1 - hw[0] % 2, hw[1] + 1 - hw[1] % 2


def series_coefficients(maps: Float[Array, "*b h w"]) -> Complex[Array, "*b _ _"]:
    """Windows feature maps and interpolates them by cubic splines [1, Eq. 4; `cfft2.m`].

    Args:
      maps: feature maps; cell n of N lies at (n + 1/2) / N.

    Returns:
      Half spectra of size `series_size`; an even axis has its Nyquist frequency twice, as -K, K.

    References:
      [1] Danelljan et al., Beyond correlation filters: learning continuous convolution operators
        for visual tracking, 2016. The half-cell phase and a = -0.75 are ECO's.
    """
    height, width = maps.shape[-2:]
    rows, cols = series_size((height, width))
    lanes = (None,) * (maps.ndim - 2)
    spectrum = rfft2(maps * series_window((height, width))[lanes])
    if rows != height:
        half = height // 2
        spectrum = jnp.concatenate([spectrum[..., : half + 1, :], spectrum[..., half:, :]], axis=-2)
    factor = np.outer(
        _interpolation(rows, row_frequencies(rows)),
        _interpolation(cols, np.arange(cols // 2 + 1)),
    ).astype(np.complex64)
    return spectrum * factor[lanes]


def series_label(hw: tuple[int, int], sigma: Float[Array, ""] | float) -> Float[Array, "h wf"]:
    """Coefficients of the desired response: a Gaussian of height 1 at the origin, wrapped.

    Args:
      hw: odd size of the series.
      sigma: standard deviation, cells.

    Returns:
      Half spectrum, real as the Gaussian is even. A coarser block's label is `crop_series` of it.
    """

    def axis(size: int, frequencies: np.ndarray) -> Array:
        wide = jnp.sqrt(2 * np.pi) * sigma / size
        return wide * jnp.exp(-2 * (np.pi * sigma * frequencies.astype(np.float32) / size) ** 2)

    rows = axis(hw[0], row_frequencies(hw[0]))
    return jnp.asarray(rows[:, None] * axis(hw[1], np.arange(hw[1] // 2 + 1))[None, :], jnp.float32)


def shift_series(
    series_f: Complex[Array, "*b h wf"], angle: Float[Array, "2"]
) -> Complex[Array, "*b h wf"]:
    """Moves a series towards the origin: the value at t becomes that at t + angle / 2 pi.

    Args:
      series_f: half spectra at an odd size.
      angle: (row, column) shift, radians; 2 pi is the whole square.

    Returns:
      The shifted half spectra.
    """
    height, width_f = series_f.shape[-2:]
    rows = jnp.exp(1j * angle[0] * row_frequencies(height))
    cols = jnp.exp(1j * angle[1] * np.arange(width_f, dtype=np.float32))
    lanes = (None,) * (series_f.ndim - 2)
    return series_f * (rows[:, None] * cols[None, :])[lanes]


def pad_series(
    series_f: Complex[Array, "*b h wf"], hw: tuple[int, int]
) -> Complex[Array, "*b _ _"]:
    """Adds zero coefficients of higher frequencies; the function stays the same.

    Args:
      series_f: half spectra at an odd size.
      hw: the larger odd size.

    Returns:
      Half spectra of that size.
    """
    height, width_f = series_f.shape[-2:]
    half, more = height // 2, hw[0] - height
    series_f = jnp.pad(series_f, [(0, 0)] * (series_f.ndim - 1) + [(0, hw[1] // 2 + 1 - width_f)])
    if more == 0:
        return series_f
    middle = jnp.zeros((*series_f.shape[:-2], more, series_f.shape[-1]), series_f.dtype)
    return jnp.concatenate(
        [series_f[..., : half + 1, :], middle, series_f[..., half + 1 :, :]], axis=-2
    )


def crop_series(
    series_f: Complex[Array, "*b h wf"] | Float[Array, "*b h wf"], hw: tuple[int, int]
) -> Complex[Array, "*b _ _"] | Float[Array, "*b _ _"]:
    """Leaves out the coefficients of higher frequencies; adjoint of `pad_series`.

    Args:
      series_f: half spectra at an odd size.
      hw: the smaller odd size.

    Returns:
      Half spectra of that size.
    """
    height, half = series_f.shape[-2], hw[0] // 2
    series_f = series_f[..., : hw[1] // 2 + 1]
    if height == hw[0]:
        return series_f
    return jnp.concatenate(
        [series_f[..., : half + 1, :], series_f[..., height - half :, :]], axis=-2
    )


def make_hermitian(series_f: Complex[Array, "*b h wf"]) -> Complex[Array, "*b h wf"]:
    """Makes column 0 the spectrum of a real function: row -k becomes the conjugate of row k.

    Args:
      series_f: half spectra at an odd size.

    Returns:
      The same with its column 0 repaired.
    """
    half = series_f.shape[-2] // 2
    mirrored = jnp.conj(series_f[..., half:0:-1, 0])
    return series_f.at[..., half + 1 :, 0].set(mirrored)
