"""How sure a mean over sequences is, and the difference of two; NumPy, seeded."""

import functools
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from cdjax._errors import InputError

_MAX_EXACT = 13  # sequences up to which all sign patterns are fewer than 10 000 draws


class Interval(NamedTuple):
    """A mean and how far it may lie from that of all sequences of the kind.

    Attributes:
      mean: over the sequences; NaN if there is none.
      low: lower end of the interval.
      high: upper end.
    """

    mean: float
    low: float
    high: float


class Paired(NamedTuple):
    """Two trackers on the same sequences.

    Attributes:
      difference: of the means, first minus second, with its interval.
      wins: sequences on which the first is better by more than the margin.
      losses: on which the second is.
      ties: the others.
      p_value: how often chance alone gives a difference as large, two-sided: by changing
        the signs of the differences; NaN if there is no sequence.
    """

    difference: Interval
    wins: int
    losses: int
    ties: int
    p_value: float


def bootstrap(
    values: Any,
    *,
    weights: Any = None,
    level: float = 0.95,
    num_draws: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Estimates the interval of a mean by drawing sequences with replacement.

    The percentile method. Equal numbers of sequences get equal draws, so that intervals
    of two trackers share their luck.

    Args:
      values: a figure a sequence.
      weights: what each sequence counts, such as its frames; equal by default.
      level: share of the draws inside the interval.
      num_draws: draws.
      seed: of the draws.

    Returns:
      The mean and the interval; NaN for no value.

    Raises:
      InputError: for a value that is not finite, a weight that is not positive, or a level
        outside (0, 1).

    Example:
      >>> bootstrap([0.5, 0.5, 0.5])
      Interval(mean=0.5, low=0.5, high=0.5)
    """
    array = _finite(values)
    if not 0.0 < level < 1.0:
        raise InputError(f"level {level}: must lie between 0 and 1, as 0.95 does")
    if not array.size:
        return Interval(np.nan, np.nan, np.nan)
    weight = np.ones(array.size) if weights is None else _finite(weights)
    if weight.shape != array.shape or (weight <= 0).any():
        raise InputError(f"weights: give a positive one for each of {array.size} values")
    draws = _draws(array.size, num_draws, seed)
    means = draws @ (array * weight) / (draws @ weight)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(np.average(array, weights=weight)), float(low), float(high))


def compare_paired(
    a: Any,
    b: Any,
    *,
    margin: float = 0.0,
    level: float = 0.95,
    num_draws: int = 10_000,
    seed: int = 0,
) -> Paired:
    """Compares two trackers sequence by sequence.

    Args:
      a: a figure a sequence, of the one.
      b: of the other, same sequences in the same order.
      margin: difference up to which a sequence is a tie.
      level: share of the bootstrap draws inside the interval.
      num_draws: draws; with up to 13 sequences the p-value is exact instead.
      seed: of the draws.

    Returns:
      The comparison, a minus b.

    Raises:
      InputError: if the lengths differ, or a value is not finite.

    Example:
      >>> compare_paired([3.0, 3.0, 3.0, 1.0], [1.0, 2.0, 1.0, 1.0])[1:]
      (3, 0, 1, 0.25)
    """
    first, second = _finite(a), _finite(b)
    if first.size != second.size:
        raise InputError(
            f"{first.size} and {second.size} sequences; compare figures of the same ones"
        )
    gaps = first - second
    return Paired(
        bootstrap(gaps, level=level, num_draws=num_draws, seed=seed),
        int((gaps > margin).sum()),
        int((gaps < -margin).sum()),
        int((np.abs(gaps) <= margin).sum()),
        _sign_flip(gaps, num_draws, seed),
    )


def _finite(values: Any) -> Float[np.ndarray, " n"]:
    """Returns the values as float64, or raises InputError."""
    array = np.asarray(values, np.float64).ravel()
    if not np.isfinite(array).all():
        raise InputError(
            f"{int((~np.isfinite(array)).sum())} of {array.size} values are not finite; "
            "leave out the sequences without a score, and list them"
        )
    return array


def draw_counts(num_values: int) -> Float[np.ndarray, "d n"]:
    """Returns how often `bootstrap` draws each of so many values in each of its draws."""
    return _draws(num_values, 10_000, 0)


@functools.lru_cache(maxsize=16)
def _draws(num_values: int, num_draws: int, seed: int) -> Float[np.ndarray, "d n"]:
    """Returns how often each value is drawn in each draw; float32 holds the counts."""
    rng = np.random.default_rng(seed)
    shares = np.full(num_values, 1.0 / num_values)
    return rng.multinomial(num_values, shares, size=num_draws).astype(np.float32)


def _sign_flip(gaps: Float[np.ndarray, " n"], num_draws: int, seed: int) -> float:
    """Returns the share of sign patterns whose sum is at least as far from 0."""
    if not gaps.size:
        return float("nan")
    observed = abs(gaps.sum())
    slack = 1e-12 * np.abs(gaps).sum()  # sums in another order are not bitwise equal
    if gaps.size <= _MAX_EXACT:
        patterns = (np.arange(2**gaps.size)[:, None] >> np.arange(gaps.size)) & 1
        return float((np.abs((2 * patterns - 1) @ gaps) >= observed - slack).mean())
    sums = _signs(gaps.size, num_draws, seed) @ gaps
    extreme = int((np.abs(sums) >= observed - slack).sum())
    return (1 + extreme) / (1 + num_draws)  # the observed pattern is one of them


@functools.lru_cache(maxsize=16)
def _signs(num_values: int, num_draws: int, seed: int) -> Float[np.ndarray, "d n"]:
    """Returns random signs."""
    rng = np.random.default_rng(seed)
    signs = rng.integers(2, size=(num_draws, num_values), dtype=np.int8)
    return (2 * signs - 1).astype(np.float32)
