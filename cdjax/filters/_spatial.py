"""ECO's spatial regularisation: a penalty that grows away from the target."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cdjax._types import Array, Complex, Float, Number


class SpatialReg(NamedTuple):
    """Fourier coefficients of the penalty w, the sum of a function of rows and one of columns.

    The kernel has 2 t + 1 rows and columns and is zero outside its middle row and column.

    Attributes:
      rows: its middle column, with the mean of w; frequencies -t..t.
      cols: its middle row, zero in the middle.
    """

    rows: Float[Array, " taps"]
    cols: Float[Array, " taps"]


def spatial_reg(
    target_hw: Float[Array, "2"],
    *,
    support: int,
    edge: Number,
    least: Number,
    sparsity: float,
) -> SpatialReg:
    """Penalty window of a target, as a small kernel [1, `get_reg_filter.m`].

    The window is least + (edge - least) (|row / (h / 2)|^2 + |col / (w / 2)|^2) at the pixels of
    the search region; coefficients below a fraction of the largest are dropped.

    Args:
      target_hw: height and width of the target at the resolution of the search region, px.
      support: side of the search region, px.
      edge: penalty at the middle of the target's sides.
      least: penalty in the middle, and the least anywhere.
      sparsity: fraction of the largest coefficient under which others become zero.

    Returns:
      The kernel, of a size fixed by `sparsity`: coefficient k of a parabola is 6 / (pi k)^2 of its
      mean, so none beyond sqrt(6 / sparsity) / pi is left, whatever the target.

    References:
      [1] Danelljan et al., ECO: efficient convolution operators for tracking, 2017.
    """
    reach = int(math.sqrt(6 / sparsity) / math.pi)
    taps = np.arange(-reach, reach + 1)
    pixels = np.arange(support)
    waves = np.exp(2j * np.pi * np.outer(taps, pixels) / support)
    centred = pixels - (support - 1) / 2
    parabola = (waves.conj() @ centred**2 / support).astype(np.complex64)
    waves = waves.astype(np.complex64)

    amplitude = (edge - least) / (target_hw / 2) ** 2
    mean = least + jnp.sum(amplitude) * parabola[reach].real
    kernels, lowest = [], 0.0
    for axis in range(2):
        kernel = amplitude[axis] * jnp.where(taps == 0, 0.0, parabola)
        magnitude = jnp.abs(kernel)
        kernel = jnp.where(magnitude < sparsity * mean, 0.0, kernel)
        lowest += jnp.min(jnp.real(jnp.matmul(kernel, waves, precision="highest")))
        kernels.append(jnp.real(kernel))
    # The window that is left dips below its least value, which the mean makes good.
    kernels[0] = kernels[0].at[reach].set(least - lowest)
    return SpatialReg(*kernels)


def reg_energy(reg: SpatialReg) -> Float[Array, ""]:
    """Mean of the squared penalty, the sum of the kernel's squares.

    Args:
      reg: the kernel.

    Returns:
      The energy.
    """
    return jnp.sum(reg.rows**2) + jnp.sum(reg.cols**2)


def _convolve(planes: Float[Array, "*b h w"], reg: SpatialReg) -> Float[Array, "*b _ _"]:
    """Convolves with the kernel where it fits; the kernel is even."""
    size = reg.rows.size
    reach = size // 2
    height, width = planes.shape[-2] - size + 1, planes.shape[-1] - size + 1
    total = 0.0
    for i in range(size):
        total += reg.rows[i] * planes[..., i : i + height, reach : reach + width]
        if i != reach:
            total += reg.cols[i] * planes[..., reach : reach + height, i : i + width]
    return jnp.asarray(total)


def regularise(filter_f: Complex[Array, "*b h wf"], reg: SpatialReg) -> Complex[Array, "*b h wf"]:
    """Gradient of the penalty: the coefficients of w^2 f, cut to those of f [1, `lhs_operation.m`].

    Args:
      filter_f: half spectra of f at an odd size.
      reg: coefficients of w.

    Returns:
      The adjoint of the convolution with w's coefficients, applied to that convolution.

    References:
      [1] Danelljan et al., ECO: efficient convolution operators for tracking, 2017.
    """
    height, width_f = filter_f.shape[-2:]
    border = reg.rows.size - 1
    # Both convolutions widen by half the kernel. Rows are centred here; columns below zero follow
    # from those above by symmetry, and what lies beyond the series is zero.
    centred = jnp.fft.fftshift(filter_f, axes=-2)
    known = min(border, width_f - 1)
    mirrored = jnp.conj(jnp.flip(centred[..., 1 : known + 1], axis=(-2, -1)))
    wide = jnp.concatenate([mirrored, centred], axis=-1)
    lanes = [(0, 0)] * (filter_f.ndim - 2)
    wide = jnp.pad(wide, [*lanes, (border, border), (border - known, border)])
    planes = jnp.stack([wide.real, wide.imag])
    real, imag = _convolve(_convolve(planes, reg), reg)
    return jnp.fft.ifftshift(jax.lax.complex(real, imag), axes=-2)
