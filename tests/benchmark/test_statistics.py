import numpy as np
import pytest

from cdjax._errors import InputError
from cdjax.benchmark._statistics import bootstrap, compare_paired

VALUES = np.random.default_rng(0).uniform(size=100)


def test_the_interval_is_that_of_the_normal_approximation():
    interval = bootstrap(VALUES)
    assert interval.mean == pytest.approx(VALUES.mean())
    half = 1.96 * VALUES.std() / np.sqrt(len(VALUES))
    assert interval.mean - interval.low == pytest.approx(half, rel=0.05)
    assert interval.high - interval.mean == pytest.approx(half, rel=0.05)
    wider = bootstrap(VALUES, level=0.99)
    assert wider.low < interval.low < interval.high < wider.high


def test_two_values_by_hand():
    # Draws of two: (0, 0), (0, 1), (1, 0), (1, 1), a quarter each.
    assert bootstrap([0.0, 1.0], level=0.95) == (0.5, 0.0, 1.0)
    assert bootstrap([0.0, 1.0], level=0.4) == (0.5, 0.5, 0.5)


def test_seeds_decide_alone():
    assert bootstrap(VALUES) == bootstrap(VALUES.copy())
    assert bootstrap(VALUES) != bootstrap(VALUES, seed=1)
    assert bootstrap(VALUES, num_draws=50) != bootstrap(VALUES)


def test_few_and_bad_values():
    assert np.isnan(bootstrap([])).all()
    assert bootstrap([0.25]) == (0.25, 0.25, 0.25)
    with pytest.raises(InputError, match="1 of 2 values are not finite"):
        bootstrap([0.0, np.nan])
    with pytest.raises(InputError, match=r"level 95.0: must lie between 0 and 1"):
        bootstrap([0.0], level=95.0)


def test_pairs_by_hand():
    paired = compare_paired([0.5, 0.7, 0.6, 0.2], [0.4, 0.5, 0.6, 0.1])
    assert paired.difference.mean == pytest.approx(0.1)
    assert (paired.wins, paired.losses, paired.ties) == (3, 0, 1)
    # Of the 8 signs of 0.1, 0.2, 0.1 only all alike give a sum as large.
    assert paired.p_value == 2 / 8
    close = compare_paired([0.5, 0.7], [0.4, 0.5], margin=0.15)
    assert (close.wins, close.losses, close.ties) == (1, 0, 1)


def test_pairs_are_antisymmetric_and_see_what_means_hide():
    better = VALUES + np.random.default_rng(1).normal(0.01, 0.02, size=100)
    a, b = compare_paired(better, VALUES), compare_paired(VALUES, better)
    assert a.difference.mean == pytest.approx(-b.difference.mean)
    assert (a.wins, a.losses) == (b.losses, b.wins)
    assert a.p_value == b.p_value < 0.001
    assert a.difference.low > 0
    assert bootstrap(better).low < VALUES.mean()  # the means' intervals overlap


def test_chance_has_a_uniform_p_value():
    rng = np.random.default_rng(2)
    p = [compare_paired(rng.normal(size=20), rng.normal(size=20)).p_value for _ in range(100)]
    assert 0.35 < np.mean(p) < 0.65
    assert np.mean(np.array(p) < 0.1) < 0.2


def test_equal_trackers_and_none():
    equal = compare_paired(VALUES, VALUES)
    assert (equal.difference, equal.ties, equal.p_value) == ((0.0, 0.0, 0.0), 100, 1.0)
    assert np.isnan(compare_paired([], []).p_value)
    with pytest.raises(InputError, match="2 and 3 sequences"):
        compare_paired([1, 2], [1, 2, 3])


def test_weights():
    # A sequence of no other weight is a mean of the pooled frames.
    weighted = bootstrap([0.0, 1.0], weights=[1, 3])
    assert weighted == (0.75, 0.0, 1.0)
    assert bootstrap(VALUES, weights=np.full(100, 2.0)) == pytest.approx(bootstrap(VALUES))
    with pytest.raises(InputError, match="a positive one for each of 2 values"):
        bootstrap([0.0, 1.0], weights=[1, 0])
