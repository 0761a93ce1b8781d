"""The distillation energy by its definition: direct sums over cells in float64, no spectra."""

from typing import NamedTuple

import numpy as np


class Problem(NamedTuple):
    samples: np.ndarray  # [n, c, h, w], exact in float32
    label: np.ndarray  # [h, w]

    @property
    def cells(self):
        return self.label.size

    @property
    def spectra(self):
        """Half spectra [n, c, m] as the library takes them."""
        return flat(self.samples)

    @property
    def label_f(self):
        return flat(self.label)

    @property
    def weights(self):
        return weights_of(self.label.shape)


def flat(maps):
    spectra = np.fft.rfft2(maps)
    return spectra.reshape(*maps.shape[:-2], -1).astype(np.complex64)


def weights_of(hw):
    """How many columns of the whole spectrum each column of the half one stands for."""
    counts = np.bincount([min(j, hw[1] - j) for j in range(hw[1])])
    return np.tile(counts, hw[0]).astype(np.float32)


def make(seed, hw, *, n=2, c=7, dead=5, noise=0.3):
    """Samples that resemble each other, less so in later channels; channel `dead` is zero."""
    rng = np.random.default_rng(seed)
    first = rng.normal(size=(1, c, *hw))
    spread = noise * np.linspace(0.2, 2, c)[:, None, None]
    samples = (
        np.maximum(first + spread * rng.normal(size=(n, c, *hw)), 0) * np.hanning(hw[1] + 2)[1:-1]
    )
    samples[:, dead] = 0
    rows, cols = (np.minimum(np.arange(s), s - np.arange(s)) for s in hw)
    # Off the origin, lest its spectrum be real.
    label = np.roll(np.exp(-0.5 * (rows[:, None] ** 2 + cols**2)), (1, 1), (0, 1))
    return Problem(samples.astype(np.float32).astype(np.float64), label)


def correlate(maps, filt):
    """out[p] = sum over channels l and cells q of filt[l, q] maps[l, p + q], wrapped around."""
    out = np.zeros(maps.shape[1:])
    for u, v in np.ndindex(*maps.shape[1:]):
        out += np.tensordot(filt[:, u, v], np.roll(maps, (-u, -v), (1, 2)), 1)
    return out


def responses(problem, filt):
    """What each channel adds to the response to each sample, [n, c, h, w]."""
    out = np.zeros(problem.samples.shape)
    for u, v in np.ndindex(*problem.label.shape):
        out += filt[:, u, v][:, None, None] * np.roll(problem.samples, (-u, -v), (2, 3))
    return out


def energy(problem, filt, mask, lam, parts=None):
    """Eq. 2 of the paper. `parts`, where known, spares the correlations."""
    parts = responses(problem, filt) if parts is None else parts
    mask = np.asarray(mask)
    error = parts[:, mask].sum(1) - problem.label
    return (error**2).sum() + lam / mask.sum() * (filt[mask] ** 2).sum()


def design(problem):
    """Matrix of the response as a linear map of the filter, [n * h * w, c * h * w]."""
    hw = problem.label.shape
    rows = [
        [np.roll(one, (-u, -v), (0, 1)).ravel() for one in maps for u, v in np.ndindex(*hw)]
        for maps in problem.samples
    ]
    return np.concatenate(np.swapaxes(rows, 1, 2))


class Retrainer:
    """Dense ridge regression of the filters on any set of channels."""

    def __init__(self, problem):
        self.problem = problem
        matrix = design(problem)
        goal = np.tile(problem.label.ravel(), len(problem.samples))
        self.normal, self.moment, self.power = matrix.T @ matrix, matrix.T @ goal, goal @ goal

    def filters(self, mask, ridge):
        """Filters [c, h, w], zero where not selected, and the energy of Eq. 2."""
        columns = np.repeat(np.asarray(mask), self.problem.cells)
        normal = self.normal[np.ix_(columns, columns)] + ridge * np.eye(columns.sum())
        found = np.linalg.solve(normal, self.moment[columns])
        filt = np.zeros(columns.size)
        filt[columns] = found
        # At the minimum: ||M f - y||^2 + ridge ||f||^2 = ||y||^2 - f' M' y.
        value = self.power - found @ self.moment[columns]
        return filt.reshape(-1, *self.problem.label.shape), value

    def energy(self, mask, ridge):
        return self.filters(mask, ridge)[1]


def swap_pass(value_of, mask, order):
    """One pass of the paper's search, every candidate evaluated; returns mask, energies, swaps."""
    start, mask = np.asarray(mask), np.array(mask)
    values = [value_of(mask)]
    for drop in reversed([i for i in order if start[i]]):
        candidates = {}
        for add in np.flatnonzero(~mask):
            other = mask.copy()
            other[[drop, add]] = False, True
            candidates[add] = value_of(other)
        if not candidates:
            break
        add = min(candidates, key=candidates.get)
        if candidates[add] < values[-1]:
            mask[[drop, add]] = False, True
            values.append(candidates[add])
    return mask, values, len(values) - 1
