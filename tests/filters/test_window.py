import math

import jax
import numpy as np
import pytest

from cdjax import filters

gaussian_label = jax.jit(filters.gaussian_label, static_argnames="hw")

GRIDS = [(7, 8), (8, 7)]


@pytest.mark.parametrize("hw", [(7, 8), (1, 5), (4, 1), (2, 3), (1, 1)])
def test_hann_window_matches_the_formula(hw):
    window = filters.hann_window(hw)
    assert window.shape == hw
    assert window.dtype == np.float32
    for index in np.ndindex(*hw):
        expected = math.prod(
            1.0 if size == 1 else math.sin(math.pi * i / (size - 1)) ** 2
            for i, size in zip(index, hw, strict=True)
        )
        np.testing.assert_allclose(window[index], expected, rtol=0, atol=1e-7)


def test_hann_window_ends_at_zero_and_peaks_at_one():
    window = filters.hann_window((5, 9))
    np.testing.assert_array_equal(window[[0, -1]], 0)
    np.testing.assert_allclose(window[:, [0, -1]], 0, atol=1e-7)
    assert window[2, 4] == window.max() == 1
    np.testing.assert_allclose(window, window[::-1, ::-1], atol=1e-7)


@pytest.mark.parametrize(
    ("size", "expected"), [(1, [0]), (2, [0, 1]), (5, [0, 1, 2, -2, -1]), (4, [0, 1, 2, -1])]
)
def test_wrapped_offsets(size, expected):
    np.testing.assert_array_equal(filters.wrapped_offsets(size), expected)


@pytest.mark.parametrize("hw", GRIDS)
def test_label_matches_the_formula(hw):
    sigma = np.array([1.3, 0.7], np.float32)
    label = gaussian_label(hw, sigma)
    assert label.shape == hw
    assert label[0, 0] == 1
    for r, q in np.ndindex(*hw):
        # The nearest of all copies of the peak; each axis has its own width.
        row = min(abs(r - n * hw[0]) for n in (0, 1))
        col = min(abs(q - n * hw[1]) for n in (0, 1))
        expected = math.exp(-((row / sigma[0]) ** 2 + (col / sigma[1]) ** 2) / 2)
        np.testing.assert_allclose(label[r, q], expected, rtol=3e-6)


@pytest.mark.parametrize("hw", GRIDS)
def test_label_is_symmetric_on_the_circle(hw):
    label = np.asarray(gaussian_label(hw, np.array([1.3, 0.7], np.float32)))
    for axis in (0, 1):
        mirrored = np.roll(np.flip(label, axis), 1, axis)
        np.testing.assert_array_equal(label, mirrored)
    assert (np.diff(label[: hw[0] // 2 + 1, 0]) < 0).all()
    assert (np.diff(label[0, : hw[1] // 2 + 1]) < 0).all()


def test_label_equals_the_original_on_even_grids():
    """CF2 counts offsets from 1 - floor(N / 2) to N - floor(N / 2) and then turns them around."""
    hw, sigma = (6, 8), 1.1
    rows, cols = (np.arange(1, size + 1) - size // 2 for size in hw)
    expected = np.exp(-(rows[:, None] ** 2 + cols**2) / (2 * sigma**2))
    expected = np.roll(expected, [1 - size // 2 for size in hw], (0, 1))
    found = gaussian_label(hw, np.full(2, sigma, np.float32))
    np.testing.assert_allclose(found, expected, rtol=3e-6)
