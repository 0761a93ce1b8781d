import eco_dense as dense
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from eco_oracle import rel

from cdjax import filters
from cdjax.filters._series import spline_spectrum

series_coefficients = jax.jit(filters.series_coefficients)
shift_series = jax.jit(filters.shift_series)
pad_series = jax.jit(filters.pad_series, static_argnames="hw")
crop_series = jax.jit(filters.crop_series, static_argnames="hw")
series_label = jax.jit(filters.series_label, static_argnames="hw")
make_hermitian = jax.jit(filters.make_hermitian)

GRIDS = [(7, 9), (8, 9), (9, 6), (6, 8)]
ODD = [(7, 9), (9, 5)]


def kernel(x, a=-0.75):
    """Keys' cubic interpolation kernel."""
    x = np.abs(x)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def spline_matrix(num_samples, period, points):
    """Interpolates samples at (n + 1/2) / period, wrapped around."""
    distance = points[:, None] - (np.arange(num_samples) + 0.5) / period
    wrapped = distance - np.round(distance)
    return kernel(wrapped * period)


@pytest.mark.parametrize("hw", [(7, 9), (9, 5)])
def test_coefficients_are_those_of_the_spline(hw):
    maps = np.random.default_rng(0).normal(size=(2, *hw)).astype(np.float32)
    windowed = maps * filters.series_window(hw)
    # The spline on a grid fine enough that aliases of its spectrum, which falls as 1 / k^3, vanish.
    fine = [n * 100 for n in hw]
    rows, cols = (spline_matrix(n, n, np.arange(f) / f) for n, f in zip(hw, fine, strict=True))
    spectrum = np.fft.rfft2(rows @ windowed @ cols.T) / np.prod(fine)
    half = hw[0] // 2
    expected = np.concatenate([spectrum[:, : half + 1], spectrum[:, -half:]], axis=1)
    found = series_coefficients(maps)
    assert rel(found, expected[..., : hw[1] // 2 + 1]) < 1e-5


@pytest.mark.parametrize("n", [7, 8])
def test_the_spline_reproduces_its_samples(n):
    samples = np.random.default_rng(0).normal(size=n)
    spectrum = np.fft.fft(samples)
    k = np.arange(-2000 * n, 2000 * n)
    factor = spline_spectrum(k / n) * np.exp(-1j * np.pi * k / n) / n
    places = (np.arange(n) + 0.5) / n
    found = np.exp(2j * np.pi * np.outer(places, k)) @ (factor * spectrum[k % n])
    np.testing.assert_allclose(found, samples, atol=1e-6)
    frequency = np.linspace(-0.5, 0.5, 11)
    shifts = np.arange(-2000, 2001)
    np.testing.assert_allclose(spline_spectrum(frequency[:, None] + shifts).sum(1), 1, atol=1e-6)
    assert spline_spectrum(np.zeros(1))[0] == 1


@pytest.mark.parametrize("hw", GRIDS)
def test_even_sizes_double_the_nyquist_frequency(hw):
    """As in the reference: the centred spectrum, its first row and column mirrored to the end."""
    maps = np.random.default_rng(1).normal(size=hw).astype(np.float32)
    full = np.fft.fftshift(np.fft.fft2(maps * filters.series_window(hw)))
    if hw[0] % 2 == 0:
        full = np.concatenate([full, full[:1]], axis=0)
    if hw[1] % 2 == 0:
        full = np.concatenate([full, full[:, :1]], axis=1)
    assert full.shape == filters.series_size(hw)
    factors = []
    for n in full.shape:
        k = np.arange(n) - n // 2
        factors.append(spline_spectrum(k / n) * np.exp(-1j * np.pi * k / n) / n)
    expected = full * np.outer(*factors)
    found = dense.whole(np.asarray(series_coefficients(maps)))
    assert rel(found, expected) < 1e-6


def test_window_is_hann_without_its_ends():
    np.testing.assert_allclose(
        filters.series_window((5, 4)), np.outer(np.hanning(7), np.hanning(6))[1:-1, 1:-1], atol=1e-7
    )


@pytest.mark.parametrize("hw", ODD)
def test_padding_keeps_the_function_and_cropping_undoes_it(hw):
    series_f = dense.random_series(0, 2, hw=hw)
    padded = pad_series(series_f, hw=(11, 13))
    np.testing.assert_allclose(dense.values(padded), dense.values(series_f), atol=1e-12)
    np.testing.assert_array_equal(crop_series(padded, hw=hw), series_f)
    other = dense.random_series(1, 2, hw=(11, 13))
    one = np.vdot(dense.whole(np.asarray(padded)), dense.whole(other))
    two = np.vdot(dense.whole(series_f), dense.whole(np.asarray(crop_series(other, hw=hw))))
    np.testing.assert_allclose(one, two, rtol=1e-12)


@pytest.mark.parametrize("hw", ODD)
def test_shift_moves_towards_the_origin(hw):
    series_f = dense.random_series(0, 3, hw=hw)
    angle = 2 * np.pi * np.array([3, -5], np.float32) / dense.FINE
    expected = np.roll(dense.values(series_f), (-3, 5), (1, 2))
    assert rel(dense.values(shift_series(series_f, angle)), expected) < 1e-6


@pytest.mark.parametrize("hw", [(31, 31), (31, 27)])
def test_label_is_a_gaussian_of_height_one(hw):
    label_f = series_label(hw, 1.7)
    rows, cols = (np.minimum(np.arange(64), 64 - np.arange(64)) * n / 64 for n in hw)
    expected = np.exp(-0.5 * (rows[:, None] ** 2 + cols**2) / 1.7**2)
    np.testing.assert_allclose(dense.values(label_f, 64), expected, atol=1e-6)


def test_hermitian_repair():
    series_f = dense.random_series(0, 2, hw=(7, 9))
    np.testing.assert_allclose(make_hermitian(series_f), series_f, atol=1e-7)
    broken = series_f.copy()
    broken[:, 4:, 0] += 1
    np.testing.assert_allclose(make_hermitian(broken), series_f, atol=1e-7)


def test_projection_follows_the_principal_directions():
    rng = np.random.default_rng(0)
    maps = (np.diag([3, 1, 0.1]) @ rng.normal(size=(3, 99)) + 5).reshape(3, 9, 11)
    maps = np.einsum("ij,jhw->ihw", np.linalg.qr(rng.normal(size=(3, 3)))[0], maps)
    maps = maps.astype(np.float32)
    found = filters.pca_projection(jnp.asarray(maps), num_channels=2)
    values, vectors = np.linalg.eigh(np.cov(maps.reshape(3, -1)))
    np.testing.assert_allclose(
        np.abs(vectors[:, :0:-1].T @ np.asarray(found)), np.eye(2), atol=1e-4
    )
    assert values[2] > values[1]
    # Projecting commutes with the transform.
    late = filters.project(series_coefficients(maps), found)
    assert rel(series_coefficients(filters.project(jnp.asarray(maps), found)), late) < 1e-5
