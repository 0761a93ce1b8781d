import jax
import numpy as np
import pytest

from cdjax import filters

rfft2 = jax.jit(filters.rfft2)
irfft2 = jax.jit(filters.irfft2, static_argnames="hw")

GRIDS = [(5, 6), (6, 5), (7, 7), (4, 1), (1, 2)]
ODD_EVEN = GRIDS[:2]


def maps_of(hw, *batch):
    return np.random.default_rng(0).normal(size=(*batch, *hw)).astype(np.float32)


@pytest.mark.parametrize("hw", ODD_EVEN)
def test_forward_is_the_unnormalised_sum(hw):
    maps = maps_of(hw, 2)
    found = rfft2(maps)
    assert found.shape == (2, hw[0], hw[1] // 2 + 1)
    rows, cols = (np.arange(size) for size in hw)
    for v, u in np.ndindex(*found.shape[1:]):
        wave = np.exp(-2j * np.pi * (v * rows[:, None] / hw[0] + u * cols / hw[1]))
        # 30 terms of the order of 1.
        expected = (maps * wave).sum((1, 2))
        np.testing.assert_allclose(found[:, v, u], expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize("hw", ODD_EVEN)
def test_inverse_undoes_the_forward(hw):
    maps = maps_of(hw, 2)
    found = irfft2(rfft2(maps), hw=hw)
    assert found.shape == maps.shape
    np.testing.assert_allclose(found, maps, rtol=0, atol=1e-6)


@pytest.mark.parametrize("hw", GRIDS)
def test_half_weights_count_the_whole_spectrum(hw):
    weights = filters.half_weights(hw)
    assert weights.dtype == np.float32
    counts = np.zeros((hw[0], hw[1] // 2 + 1))
    for v, u in np.ndindex(*hw):
        # A real map has equal entries, up to conjugation, at (v, u) and (-v, -u).
        kept = (v, u) if u <= hw[1] // 2 else (-v % hw[0], hw[1] - u)
        counts[kept] += 1
    np.testing.assert_array_equal(weights, counts)


@pytest.mark.parametrize("hw", ODD_EVEN)
def test_parseval(hw):
    one, other = maps_of(hw, 2)
    one_f, other_f = (np.asarray(rfft2(x[None])[0]) for x in (one, other))
    weights = filters.half_weights(hw)
    cells = hw[0] * hw[1]
    energy = cells * (one.astype(np.float64) ** 2).sum()
    np.testing.assert_allclose((weights * np.abs(one_f) ** 2).sum(), energy, rtol=1e-6)
    product = cells * (one.astype(np.float64) * other).sum()
    found = (weights * (one_f.conj() * other_f).real).sum()
    np.testing.assert_allclose(found, product, rtol=0, atol=1e-6 * energy)
