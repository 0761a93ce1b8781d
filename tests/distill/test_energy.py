import functools

import dense
import jax
import numpy as np
import pytest

from cdjax.distill import ChannelEnergy
from cdjax.distill import channel_energy as eager_channel_energy
from cdjax.distill import evaluate_energy as eager_evaluate_energy

channel_energy = jax.jit(eager_channel_energy)
evaluate_energy = jax.jit(eager_evaluate_energy)

GRIDS = [(5, 6), (6, 5)]
C, DEAD = 7, 5
MASKS = np.array(
    [
        [1, 1, 1, 1, 1, 1, 1],
        [1, 0, 1, 0, 1, 0, 0],
        [0, 0, 0, 0, 0, 0, 1],
        [0, 1, 0, 0, 0, 1, 1],  # with the dead channel
        [0, 0, 0, 0, 0, 1, 0],  # it alone
    ],
    bool,
)


@functools.cache
def setting(hw):
    """A problem and arbitrary filters, not trained ones; the dead channel's filter is not zero."""
    problem = dense.make(1, hw)
    filt = np.random.default_rng(2).normal(size=(C, *hw)) / 10
    return problem, filt.astype(np.float32).astype(np.float64)


def quadratic_form(problem, filt):
    filter_f, weights = dense.flat(filt), problem.weights
    parts = problem.spectra * filter_f.conj()
    goals = np.stack([problem.label_f] * len(problem.samples))
    form = channel_energy(parts, goals, (np.abs(filter_f) ** 2) @ weights, weights)
    return jax.tree.map(np.asarray, form)


@pytest.mark.parametrize("hw", GRIDS)
def test_quadratic_form_equals_the_spatial_energy(hw):
    problem, filt = setting(hw)
    form = quadratic_form(problem, filt)
    for mask in MASKS:
        for lam in (0.0, 7.5):
            expected = problem.cells * dense.energy(problem, filt, mask, lam)
            # Sums of 40 products, in which terms as large as the result cancel.
            found = evaluate_energy(form, mask, reg=lam)
            np.testing.assert_allclose(found, expected, rtol=2e-6)


def test_cells_give_the_spatial_energy_itself():
    problem, filt = setting((5, 6))
    parts = dense.responses(problem, filt).reshape(2, C, -1)
    goals = np.tile(problem.label.ravel(), (2, 1))
    form = channel_energy(
        *(x.astype(np.float32) for x in (parts, goals, (filt**2).sum((1, 2)))),
        np.ones(problem.cells, np.float32),
    )
    for mask in MASKS:
        expected = dense.energy(problem, filt, mask, 7.5)
        found = evaluate_energy(form, mask, reg=7.5)
        np.testing.assert_allclose(found, expected, rtol=2e-6)


def test_a_worked_case():
    form = ChannelEnergy(
        gram=np.array([[2, 1], [1, 5]], np.float32),
        linear=np.array([1, 3], np.float32),
        penalty=np.array([4, 8], np.float32),
        constant=np.float32(6),
    )
    for mask, expected in (
        ([True, False], 2 - 2 + 6 + 3 * 4),
        ([False, True], 5 - 6 + 6 + 3 * 8),
        ([True, True], 2 + 2 + 5 - 8 + 6 + 3 / 2 * 12),
    ):
        assert evaluate_energy(form, np.array(mask), reg=3.0) == expected


def test_dead_and_duplicate_channels():
    problem, filt = setting((5, 6))
    samples, filt = problem.samples.copy(), filt.copy()
    samples[:, 1], filt[1] = samples[:, 4], filt[4]
    form = quadratic_form(problem._replace(samples=samples), filt)
    np.testing.assert_array_equal(form.gram[DEAD], 0)
    assert form.linear[DEAD] == 0
    np.testing.assert_allclose(form.gram[1], form.gram[4], rtol=1e-6)
    others = np.array([1, 0, 1, 0, 0, 0, 1], bool)
    values = []
    for copy in (1, 4):
        mask = others.copy()
        mask[copy] = True
        values.append(evaluate_energy(form, mask, reg=7.5))
    np.testing.assert_allclose(values[0], values[1], rtol=5e-7)


@pytest.mark.parametrize("hw", GRIDS)
def test_removing_a_channel_from_the_full_solution(hw):
    """Section 4 of the specification: stationarity, the change by a removal, and its sign."""
    problem, lam = setting(hw)[0], 4.0
    filt, _ = dense.Retrainer(problem).filters(np.ones(C, bool), lam / C)
    form = quadratic_form(problem, filt)
    gradient = form.gram.sum(1) - form.linear
    # Entries of the Gram matrix are of the order of 1; the sums above cancel.
    scale = np.abs(form.linear).max()
    np.testing.assert_allclose(gradient, -lam / C * form.penalty, rtol=0, atol=1e-6 * scale)
    whole = dense.energy(problem, filt, np.ones(C, bool), lam)
    for i in range(C):
        mask = np.arange(C) != i
        rest = form.penalty[mask].sum()
        change = form.gram[i, i] + lam / C * form.penalty[i] + (lam / (C - 1) - lam / C) * rest
        expected = problem.cells * (dense.energy(problem, filt, mask, lam) - whole)
        assert expected > 0
        np.testing.assert_allclose(change, expected, rtol=2e-6)
        found = evaluate_energy(form, mask, reg=lam) - evaluate_energy(
            form, np.ones(C, bool), reg=lam
        )
        # The difference of two energies, whose terms are as large as the constant.
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * float(form.constant))
