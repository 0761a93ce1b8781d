import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdjax.distill import FORMS
from cdjax.distill import friendliness as eager_friendliness

EXPONENTS = ("strength_exponent", "stability_exponent")
STATIC = ("form", "strength", "per_cell", "kappa", "eps", *EXPONENTS)
friendliness = jax.jit(eager_friendliness, static_argnames=STATIC)

DEAD = 3


@functools.cache
def history():
    """Three frames of 5x4 maps after ReLU, 6 channels, one of them dead."""
    rng = np.random.default_rng(0)
    maps = rng.gamma(1.0, size=(1, 5, 4, 6)) + 0.3 * rng.normal(size=(3, 5, 4, 6))
    maps = np.maximum(maps, 0) * [0.5, 1, 2, 0, 4, 0.1]
    return maps.astype(np.float32)


def reference(
    maps,
    form="ratio",
    strength="power",
    per_cell=True,
    kappa=1.0,
    strength_exponent=1.0,
    stability_exponent=1.0,
):
    """Section 2 of the specification and its other readings (A1 to A3), cell by cell."""
    frames, height, width, channels = maps.shape
    cells = height * width
    scores = np.zeros(channels)
    for channel in range(channels):
        terms = []
        for i in range(frames - 1):
            square = total = change = 0.0
            for y in range(height):
                for x in range(width):
                    here, there = (float(maps[i + j, y, x, channel]) for j in (0, 1))
                    square += here**2
                    total += abs(here)
                    change += (here - there) ** 2
            s = {"power": square / cells, "norm": square**0.5 / cells, "mean": total / cells}
            s, t = s[strength], -change / (cells if per_cell else 1)
            if square == 0:
                terms.append(-np.inf)
                continue
            terms.append(
                {
                    "ratio": -((-t) ** stability_exponent) / s**strength_exponent,
                    "literal": (s - 1) * t,
                    "opposite": (1 - s) * t,
                    "sum": s + kappa * t,
                    "energy": s,
                    "stability": t,
                }[form]
            )
        scores[channel] = np.mean(terms)
    return scores


@pytest.mark.parametrize(
    "options",
    [
        *({"form": form} for form in FORMS),
        *({"strength": strength} for strength in ("power", "norm", "mean")),
        {"form": "literal", "strength": "norm"},
        {"form": "ratio", "per_cell": False},
        {"strength_exponent": 0.5, "stability_exponent": 2.0},
        {"strength_exponent": 0.0},
        {"stability_exponent": 0.0},
        {"form": "sum", "per_cell": False, "kappa": 0.25},
    ],
)
def test_forms_match_the_definition(options):
    found = friendliness(history(), **options)
    expected = reference(history(), **options)
    assert found[DEAD] == expected[DEAD] == -np.inf
    # Means of 20 squares: a few roundings of float32; differences of s, t and 1 may cancel.
    cancels = options.get("form") in ("literal", "opposite", "sum")
    np.testing.assert_allclose(found, expected, rtol=1e-5 if cancels else 1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_permuting_channels_permutes_scores(form):
    order = np.array([4, 2, 5, 0, 3, 1])
    found = friendliness(history()[..., order], form=form)
    np.testing.assert_array_equal(found, friendliness(history(), form=form)[order])


def test_gain_of_a_channel_changes_all_forms_but_the_ratio():
    gain = np.array([8, 0.25, 1, 1, 1024, 1], np.float32)  # powers of two: no rounding
    scaled = history() * gain
    ratio = friendliness(history())
    np.testing.assert_array_equal(friendliness(scaled), ratio)
    np.testing.assert_allclose(friendliness(scaled * np.float32(3.3)), ratio, rtol=1e-6)
    for form in sorted(set(FORMS) - {"ratio"}):
        before, after = (friendliness(x, form=form) for x in (history(), scaled))
        changed = np.abs(np.asarray(after) - before) > 0.01 * np.abs(before)
        np.testing.assert_array_equal(changed[gain != 1], True)


def test_ratio_prefers_strong_and_steady_channels():
    steady = np.array([[2.0, 2, 1, 2], [2.0, 2.5, 1.5, 1]])  # change: none, .5, .5, -1
    scores = friendliness(np.tile(steady[:, None, None], (1, 5, 4, 1)).astype(np.float32))
    np.testing.assert_allclose(scores, [0, -1 / 16, -1 / 4, -1 / 4], rtol=1e-6)


def test_a_channel_dead_in_any_earlier_frame_comes_last():
    maps = history().copy()
    maps[1, ..., 0] = 0
    maps[2, ..., 1] = 0  # the last frame: the channel was alive wherever it is divided by
    scores = np.asarray(friendliness(maps))
    assert scores[0] == -np.inf
    np.testing.assert_allclose(scores[1], reference(maps)[1], rtol=1e-6)
    assert np.isfinite(scores[[1, 2, 4, 5]]).all()


def test_eps_is_the_mean_square_of_a_dead_channel():
    maps = np.ones((2, 5, 4, 1), np.float32) * np.array([0.1, 1], np.float32)
    np.testing.assert_array_equal(friendliness(maps, eps=0.02), [-np.inf, 0])
    np.testing.assert_array_equal(friendliness(maps, eps=0.005), [0, 0])


def test_unknown_forms_raise():
    with pytest.raises(ValueError, match="unknown friendliness form 'best'"):
        eager_friendliness(jnp.asarray(history()), form="best")
    with pytest.raises(ValueError, match="unknown strength 'best'"):
        eager_friendliness(jnp.asarray(history()), strength="best")
