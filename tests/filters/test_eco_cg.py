import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdjax import filters

FORMULAS = ("fletcher_reeves", "polak_ribiere")
N = 8


def system(seed=0):
    """A positive definite matrix of condition 20, and a right-hand side."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(N, N)))[0]
    matrix = basis @ np.diag(np.geomspace(1, 20, N)) @ basis.T
    return matrix.astype(np.float32), rng.normal(size=N).astype(np.float32)


@functools.partial(jax.jit, static_argnames=("num_iters", "formula"))
def solve(matrix, rhs, x, state, *, num_iters, formula, diagonal=1.0):
    # A pytree of two leaves, as filters and projections are.
    join = lambda tree: jnp.concatenate([tree["a"], tree["b"]])
    cut = lambda vector: {"a": vector[:3], "b": vector[3:]}
    times = lambda tree: cut(jnp.matmul(matrix, join(tree), precision="highest"))
    residual = jax.tree.map(jnp.subtract, cut(rhs), times(x))
    return filters.conjugate_gradient(
        times,
        x,
        residual,
        state,
        precondition=lambda tree: jax.tree.map(lambda leaf: leaf / diagonal, tree),
        inner=lambda one, other: jnp.sum(join(one) * join(other)),
        num_iters=num_iters,
        formula=formula,
    )


def zero():
    return {"a": jnp.zeros(3), "b": jnp.zeros(N - 3)}


def flat(tree):
    return np.concatenate([tree["a"], tree["b"]])


@pytest.mark.parametrize("formula", FORMULAS)
def test_equals_the_direct_solution(formula):
    matrix, rhs = system()
    result = solve(matrix, rhs, zero(), filters.fresh_cg(zero()), num_iters=3 * N, formula=formula)
    expected = np.linalg.solve(matrix.astype(np.float64), rhs)
    np.testing.assert_allclose(flat(result.x), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_carried_state_continues(formula):
    matrix, rhs = system(1)
    run = functools.partial(solve, matrix, rhs, formula=formula, diagonal=2.0)
    whole = run(zero(), filters.fresh_cg(zero()), num_iters=6)
    half = run(zero(), filters.fresh_cg(zero()), num_iters=3)
    rest = run(half.x, half.state, num_iters=3)
    assert (whole.num_steps, rest.num_steps) == (6, 3)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(rest), strict=True):
        if jnp.issubdtype(a.dtype, jnp.floating):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * np.abs(a).max())
    fresh = run(half.x, filters.fresh_cg(zero()), num_iters=3)
    assert np.abs(flat(fresh.x) - flat(rest.x)).max() > 1e-4


def test_stops_when_there_is_nothing_to_gain():
    matrix, _ = system()
    start = filters.fresh_cg(zero())
    done = solve(matrix, np.zeros(N, np.float32), zero(), start, num_iters=4, formula=FORMULAS[0])
    assert done.num_steps == 0
    np.testing.assert_array_equal(flat(done.x), 0)
    # A direction of negative curvature, and a matrix of infinities.
    for bad in (-np.eye(N, dtype=np.float32), np.full((N, N), np.inf, np.float32)):
        stuck = solve(bad, np.ones(N, np.float32), zero(), start, num_iters=4, formula=FORMULAS[1])
        assert stuck.num_steps == 0
        np.testing.assert_array_equal(flat(stuck.x), 0)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(stuck))


def test_unknown_formulas_raise():
    with pytest.raises(ValueError, match="unknown formula 'steepest'"):
        solve(*system(), zero(), filters.fresh_cg(zero()), num_iters=1, formula="steepest")
