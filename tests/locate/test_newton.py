import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdjax import locate
from cdjax.locate._newton import _derivatives

find_series_peak = jax.jit(locate.find_series_peak, static_argnames="num_iters")

HW = (11, 9)


def bump(place, *, hw=HW, sigma=0.12, height=1.0):
    """Half spectrum of a wrapped Gaussian around `place`, in fractions of the side."""
    rows, cols = np.fft.fftfreq(hw[0], 1 / hw[0]), np.arange(hw[1] // 2 + 1)
    axes = (
        np.exp(-2 * (np.pi * sigma * k) ** 2 - 2j * np.pi * k * at)
        for k, at in zip((rows, cols), place, strict=True)
    )
    return (height * np.outer(*axes)).astype(np.complex64)


def value(response_f, place):
    rows, cols = (
        np.fft.fftfreq(len(response_f), 1 / len(response_f)),
        np.arange(response_f.shape[1]),
    )
    terms = response_f * np.outer(
        np.exp(2j * np.pi * rows * place[0]), np.exp(2j * np.pi * cols * place[1])
    )
    return (np.where(cols == 0, 1, 2) * terms.real).sum()


@pytest.mark.parametrize("place", [(0.0, 0.0), (0.21, -0.13), (-0.49, 0.47), (0.031, 0.3)])
def test_finds_the_peak_between_cells(place):
    peak = find_series_peak(bump(place)[None])
    np.testing.assert_allclose(peak.shift, place, atol=1e-5)
    np.testing.assert_allclose(peak.score, value(bump(place), place), rtol=1e-5)


def test_without_steps_the_peak_is_a_cell():
    place = (0.21, -0.13)
    peak = find_series_peak(bump(place)[None], num_iters=0)
    np.testing.assert_allclose(peak.shift * np.array(HW), [2, -1], atol=1e-5)
    np.testing.assert_allclose(peak.responses[0, 2, -1], peak.score, rtol=1e-5)
    np.testing.assert_allclose(peak.score, value(bump(place), np.array([2, -1]) / HW), rtol=1e-5)


def test_derivatives_match_automatic_ones():
    rng = np.random.default_rng(0)
    response_f = np.fft.rfft2(rng.normal(size=HW)).astype(np.complex64)
    angle = jnp.array([0.7, -1.9])
    derivatives = jax.jit(_derivatives)
    score = jax.jit(lambda at: _derivatives(jnp.asarray(response_f), at)[0])
    found, gradient, hessian = derivatives(response_f, angle)
    np.testing.assert_allclose(found, value(response_f, angle / (2 * np.pi)), rtol=1e-4)
    np.testing.assert_allclose(gradient, jax.grad(score)(angle), rtol=1e-3)
    whole = jax.hessian(score)(angle)
    np.testing.assert_allclose(hessian, whole[np.triu_indices(2)], rtol=1e-3)


def test_never_lower_than_the_best_cell():
    rng = np.random.default_rng(1)
    maps = rng.normal(size=(200, 1, *HW))
    responses = np.fft.rfft2(maps).astype(np.complex64)
    cells = jax.vmap(lambda r: find_series_peak(r, num_iters=0).score)(responses)
    scores = jax.vmap(lambda r: find_series_peak(r, num_iters=5).score)(responses)
    assert (np.asarray(scores) >= np.asarray(cells)).all()


def test_the_best_scale_is_that_of_the_refined_score():
    # The second lies on a cell, the third is higher between two.
    places = [(0.0, 0.0), (2 / 11, 0.0), (2.5 / 11, 0.5 / 9)]
    heights = [0.5, 1.0, 1.02]
    responses = np.stack([bump(p, height=h) for p, h in zip(places, heights, strict=True)])
    peak = find_series_peak(responses)
    assert peak.best == 2
    np.testing.assert_allclose(peak.shift, places[2], atol=1e-5)
    assert find_series_peak(responses, num_iters=0).best == 1


@pytest.mark.parametrize("level", [0.0, 3.0])
def test_flat_responses_change_nothing(level):
    flat = np.zeros((5, HW[0], HW[1] // 2 + 1), np.complex64)
    flat[:, 0, 0] = level
    peak = find_series_peak(flat)
    np.testing.assert_array_equal(peak.shift, 0)
    assert peak.best == 2
    assert peak.score == level
