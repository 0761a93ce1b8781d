"""Preconditioned conjugate gradients with a fixed number of steps, over any pytree."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from cdjax._types import Array, Float, Int

PyTree = Any


class CGState(NamedTuple):
    """What one run of conjugate gradients hands to the next.

    Attributes:
      direction: the last search direction.
      residual: the residual that the last step started from.
      rho: its inner product with its preconditioned self.
    """

    direction: PyTree
    residual: PyTree
    rho: Float[Array, ""]


class CGResult(NamedTuple):
    """A solution and how it came about.

    Attributes:
      x: the solution.
      state: carry for the next run.
      num_steps: steps taken; fewer than asked for once the numbers gave out.
    """

    x: PyTree
    state: CGState
    num_steps: Int[Array, ""]


def fresh_cg(x: PyTree) -> CGState:
    """State without a past: the first direction is the preconditioned residual.

    Args:
      x: anything of the solution's structure, shapes and dtypes.

    Returns:
      The state.
    """
    zeros = jax.tree.map(jnp.zeros_like, x)
    return CGState(zeros, zeros, jnp.ones((), jnp.float32))


def conjugate_gradient(
    operator: Callable[[PyTree], PyTree],
    x: PyTree,
    residual: PyTree,
    state: CGState,
    *,
    precondition: Callable[[PyTree], PyTree],
    inner: Callable[[PyTree, PyTree], Float[Array, ""]],
    num_iters: int,
    formula: str,
) -> CGResult:
    """Improves the solution of a symmetric positive definite system [1, `pcg_ccot.m`].

    Args:
      operator: the system's matrix, linear, symmetric under `inner`.
      x: where to start.
      residual: right-hand side minus the operator at x; the caller often has it for less than the
        two.
      state: carry of the last run, or `fresh_cg`.
      precondition: inverse of an approximation of the operator, symmetric.
      inner: inner product.
      num_iters: steps; once a step cannot be taken (a zero or infinite product, a direction of no
        curvature) the rest change nothing.
      formula: for conjugate directions, "fletcher_reeves" or "polak_ribiere" (kept at 0 or above).

    Returns:
      The solution and the carry.

    Raises:
      ValueError: for an unknown formula.

    References:
      [1] Danelljan et al., ECO: efficient convolution operators for tracking, 2017.
    """
    if formula not in ("fletcher_reeves", "polak_ribiere"):
        raise ValueError(f"unknown formula {formula!r}; there are fletcher_reeves, polak_ribiere")

    def usable(value: Float[Array, ""]) -> Array:
        return (value != 0) & jnp.isfinite(value)

    def step(
        _: Int[Array, ""], carry: tuple[CGResult, PyTree, Array]
    ) -> tuple[CGResult, PyTree, Array]:
        (x, state, count), residual, running = carry
        step_to = precondition(residual)
        rho = inner(residual, step_to)
        change = rho
        if formula == "polak_ribiere":
            change = rho - inner(state.residual, step_to)
        beta = change / state.rho
        direction = jax.tree.map(
            lambda z, p: z + jnp.maximum(beta, 0.0) * p, step_to, state.direction
        )
        image = operator(direction)
        curvature = inner(direction, image)
        alpha = rho / curvature
        running &= usable(rho) & usable(beta) & (curvature > 0) & jnp.isfinite(curvature)
        running &= jnp.isfinite(alpha)
        moved = jax.tree.map(lambda a, p: a + alpha * p, x, direction)
        left = jax.tree.map(lambda r, q: r - alpha * q, residual, image)
        new = (CGResult(moved, CGState(direction, residual, rho), count + 1), left)
        old = (CGResult(x, state, count), residual)
        kept = jax.tree.map(lambda a, b: jnp.where(running, a, b), new, old)
        return (*kept, running)

    start = (CGResult(x, state, jnp.int32(0)), residual, jnp.bool_(True))
    return jax.lax.fori_loop(0, num_iters, step, start)[0]
