import eco_dense as dense
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from eco_oracle import rel

from cdjax import filters

spatial_reg = jax.jit(filters.spatial_reg, static_argnames=("support", "edge", "least", "sparsity"))
regularise = jax.jit(filters.regularise)
channel_penalty = jax.jit(filters.channel_penalty)

OPTIONS = {"support": 164, "edge": 1e-2, "least": 1e-4, "sparsity": 0.05}
TARGETS = [(64.3, 21.9), (36.9, 38.1), (12.0, 150.0), (41.0, 41.0)]


def reference_kernel(target_hw, *, support, edge, least, sparsity):
    """`get_reg_filter.m` in two dimensions, float64."""
    centred = np.arange(support) - (support - 1) / 2
    rows, cols = (np.abs(centred / (n / 2)) ** 2 for n in target_hw)
    window = (edge - least) * (rows[:, None] + cols) + least
    spectrum = np.fft.fft2(window) / support**2
    spectrum[np.abs(spectrum) < sparsity * np.abs(spectrum).max()] = 0
    sparse = np.fft.ifft2(spectrum).real * support**2
    spectrum[0, 0] += least - sparse.min()
    return np.fft.fftshift(spectrum).real, support // 2


def whole_kernel(reg):
    size = reg.rows.size
    kernel = np.zeros((size, size))
    kernel[:, size // 2] += reg.rows
    kernel[size // 2] += reg.cols
    return kernel


@pytest.mark.parametrize("sparsity", [0.05, 0.12])
@pytest.mark.parametrize("target_hw", TARGETS)
def test_kernel_matches_the_dense_window(target_hw, sparsity):
    options = OPTIONS | {"sparsity": sparsity}
    found = spatial_reg(np.array(target_hw, np.float32), **options)
    expected, middle = reference_kernel(target_hw, **options)
    reach = found.rows.size // 2
    assert found.rows.size == {0.05: 7, 0.12: 5}[sparsity]
    around = slice(middle - reach, middle + reach + 1)
    # Nothing lies outside of the fixed size.
    assert np.count_nonzero(expected) == np.count_nonzero(expected[around, around])
    assert rel(whole_kernel(found), expected[around, around]) < 1e-5
    np.testing.assert_allclose(filters.reg_energy(found), (expected**2).sum(), rtol=1e-5)


@pytest.mark.parametrize("hw", [(7, 9), (13, 5), (3, 3)])  # the last two are narrower than it
def test_operator_multiplies_by_the_squared_window(hw):
    reg = spatial_reg(np.array(TARGETS[0], np.float32), **OPTIONS)
    filter_f = dense.random_series(0, 2, hw=hw)
    kernel = whole_kernel(reg)
    rows, cols = (dense.waves(n) for n in kernel.shape)
    window = (rows @ kernel @ cols.T).real
    product = window**2 * dense.values(filter_f).real
    spectrum = np.fft.rfft2(product) / dense.FINE**2
    half = hw[0] // 2
    expected = np.concatenate([spectrum[:, : half + 1], spectrum[:, -half:]], axis=1)
    assert rel(regularise(filter_f, reg), expected[..., : hw[1] // 2 + 1]) < 1e-6
    penalty = ((window * dense.values(filter_f).real) ** 2).mean((1, 2))
    np.testing.assert_allclose(channel_penalty(filter_f, reg), penalty, rtol=1e-5)


def test_the_window_is_least_at_the_target():
    reg = spatial_reg(jnp.array([40.0, 40.0]), **OPTIONS)
    rows, cols = (dense.waves(n, 164) for n in whole_kernel(reg).shape)
    window = (rows @ whole_kernel(reg) @ cols.T).real
    np.testing.assert_allclose(window.min(), OPTIONS["least"], rtol=1e-3)
    assert np.unravel_index(window.argmin(), window.shape) in {
        (i, j) for i in (81, 82) for j in (81, 82)
    }
