import functools

import dense
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdjax.distill import choose_num_channels
from cdjax.distill import prefix_curve as eager_prefix_curve

prefix_curve = jax.jit(eager_prefix_curve, static_argnames=("reg", "gain_free"))

C, DEAD, REG = 7, 5, 1e-2
ORDER = np.array([3, 0, 5, 6, 2, 4, 1])  # the dead channel third


def curve_of(problem, order=ORDER, **options):
    template_f, search_f = problem.spectra
    options = {"reg": REG, **options}
    return prefix_curve(template_f, search_f, problem.label_f, problem.weights, order, **options)


@functools.cache
def retrained(hw):
    """Error of the k friendliest by training on frame 1 and testing on frame 2, both ways."""
    problem = dense.make(1, hw, noise=1.0)
    first, second = (problem._replace(samples=problem.samples[i : i + 1]) for i in (0, 1))
    trainer = dense.Retrainer(first)
    errors = {True: [], False: []}
    label = problem.label
    for k in range(1, C + 1):
        mask = np.isin(np.arange(C), ORDER[:k])
        filt, _ = trainer.filters(mask, REG * problem.cells * k)
        response = dense.correlate(second.samples[0], filt)
        gain = max((response * label).sum(), 0) / (response**2).sum()
        for gain_free, scale in ((True, gain), (False, 1.0)):
            errors[gain_free].append(((scale * response - label) ** 2).sum() / (label**2).sum())
    return problem, errors


@pytest.mark.parametrize("gain_free", [True, False])
@pytest.mark.parametrize("hw", [(5, 6), (6, 5)])
def test_entries_equal_retraining_with_each_prefix(hw, gain_free):
    problem, errors = retrained(hw)
    found = curve_of(problem, gain_free=gain_free)
    assert np.ptp(errors[gain_free]) > 0.1  # the curve is not flat
    # Sums of at most 7 channels and 20 frequencies; the gain-free form subtracts from 1.
    np.testing.assert_allclose(found, errors[gain_free], rtol=0, atol=2e-6)


def test_the_two_forms_differ_by_the_gain_only():
    _, errors = retrained((5, 6))
    assert (np.array(errors[True]) <= np.array(errors[False]) + 1e-12).all()
    assert np.max(np.array(errors[False]) - errors[True]) > 0.01


@pytest.mark.parametrize("gain_free", [True, False])
def test_dead_channels_only_count_in_the_ridge(gain_free):
    problem, _ = retrained((5, 6))
    front = np.array([DEAD, *ORDER[ORDER != DEAD]])
    back = np.array([*ORDER[ORDER != DEAD], DEAD])
    first = np.asarray(curve_of(problem, front, gain_free=gain_free))
    # A response of zeros explains nothing.
    np.testing.assert_allclose(first[0], 1, rtol=2e-7)
    # Two channels, one of them dead, have the ridge of two: twice that of the live one alone.
    doubled = curve_of(problem, back, gain_free=gain_free, reg=2 * REG)
    np.testing.assert_allclose(first[1], doubled[0], rtol=2e-7)


def test_permuting_channels_changes_nothing():
    problem, _ = retrained((5, 6))
    shuffle = np.array([2, 0, 1, 6, 5, 3, 4])
    moved = problem._replace(samples=problem.samples[:, shuffle])
    order = np.argsort(shuffle)[ORDER]
    np.testing.assert_array_equal(curve_of(moved, order), curve_of(problem))


def test_a_gain_between_the_frames_changes_one_form():
    problem, _ = retrained((5, 6))
    factor = np.array([1.0, 0.5])[:, None, None, None]
    dimmed = problem._replace(samples=problem.samples * factor)
    np.testing.assert_allclose(curve_of(dimmed), curve_of(problem), rtol=1e-6)
    before, after = (np.asarray(curve_of(p, gain_free=False)) for p in (problem, dimmed))
    assert np.abs(before - after).min() > 0.01


def test_the_opposite_of_the_object_explains_nothing():
    problem, _ = retrained((5, 6))
    opposite = np.stack([problem.samples[0], -problem.samples[0]])
    np.testing.assert_array_equal(curve_of(problem._replace(samples=opposite)), 1)


@pytest.mark.parametrize(
    ("curve", "least", "slack", "expected"),
    [
        ([0.5, 0.3, 0.2, 0.4], 1, 0.0, 3),
        ([0.5, 0.3, 0.2, 0.4], 4, 0.0, 4),
        ([0.1, 0.3, 0.2, 0.4], 2, 0.0, 3),  # the least may not be used
        ([0.5, 0.3, 0.2, 0.4], 9, 0.0, 4),  # more than there are: all
        ([0.5, 0.2, 0.2, 0.2], 1, 0.0, 2),  # a tie: the fewest
        ([0.5, 0.29, 0.2, 0.4], 1, 0.5, 2),
        ([0.5, 0.31, 0.2, 0.4], 1, 0.5, 3),
        ([0.25, 0.25, 0.2, 0.4], 2, 0.5, 2),  # the least number holds under slack too
        ([0.4], 1, 0.0, 1),
    ],
)
def test_number_of_channels(curve, least, slack, expected):
    found = choose_num_channels(jnp.array(curve), min_channels=least, slack=slack)
    assert found == expected
    assert found.dtype == jnp.int32


@pytest.mark.parametrize("last", [0.0, -1e-7])
def test_slack_keeps_the_least_number_where_the_error_vanishes(last):
    # A target that stands still: the error of many channels is zero, or rounding below it.
    curve = jnp.array([0.5, 0.2, 0.1, 0.05, 0.01, last], jnp.float32)
    assert choose_num_channels(curve, min_channels=4, slack=0.005) == 6
