"""ECO by its definition: real functions on the unit square, in float64 on a fine grid."""

import numpy as np

FINE = 32  # cells a side; any product of two of the small series here is exact on it


def whole(half_f):
    """Centred whole spectra of size 2 K + 1 from half spectra."""
    height, width_f = half_f.shape[-2:]
    rows, cols = height // 2, width_f - 1
    full = np.zeros((*half_f.shape[:-2], height, 2 * cols + 1), np.complex128)
    for row in range(-rows, rows + 1):
        for col in range(cols + 1):
            full[..., rows + row, cols + col] = half_f[..., row, col]
            if col > 0:
                full[..., rows - row, cols - col] = np.conj(half_f[..., row, col])
    return full


def waves(size, side=FINE):
    """exp(2 pi i k t) at t = 0, 1 / side, ..: [t, k]."""
    k = np.arange(size) - size // 2
    return np.exp(2j * np.pi * np.outer(np.arange(side), k) / side)


def values(half_f, side=FINE):
    """The function at side x side points; complex where column 0 is no real function's."""
    full = whole(np.asarray(half_f))
    rows, cols = (waves(n, side) for n in full.shape[-2:])
    return np.einsum("tk,...kl,ul->...tu", rows, full, cols)


def window(reg):
    """The spatial penalty on the fine grid."""
    size = reg.rows.size
    kernel = np.zeros((size, size))
    kernel[:, size // 2] += np.asarray(reg.rows)
    kernel[size // 2] += np.asarray(reg.cols)
    return (waves(size) @ kernel @ waves(size).T).real


def real_basis(hw):
    """Half spectra of an orthonormal basis of real functions of size hw: [h w, h, wf]."""
    cells = np.eye(hw[0] * hw[1]).reshape(-1, *hw)
    return np.fft.rfft2(cells) / np.sqrt(hw[0] * hw[1])


def random_series(seed, *batch, hw):
    """Half spectra of real functions, in complex64."""
    maps = np.random.default_rng(seed).normal(size=(*batch, *hw))
    return (np.fft.rfft2(maps) / np.prod(hw)).astype(np.complex64)
