"""Peak of a response given as a Fourier series: best cell, then Newton steps."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cdjax._types import Array, Complex, Float, Int


class SeriesPeak(NamedTuple):
    """Where a stack of responses peaks.

    Attributes:
      shift: (row, column) of the peak as fractions of the side of the search region, within half.
      score: height of the peak.
      best: index of the best response.
      responses: all of them at their cells, (0, 0) first.
    """

    shift: Float[Array, "2"]
    score: Float[Array, ""]
    best: Int[Array, ""]
    responses: Float[Array, "s h w"]


def _derivatives(
    response_f: Complex[Array, "h wf"], angle: Float[Array, "2"]
) -> tuple[Float[Array, ""], Float[Array, "2"], Float[Array, "3"]]:
    """Value, gradient and Hessian (rows, mixed, columns) of a series at (row, column) angles."""
    height, width_f = response_f.shape
    row_k = np.fft.ifftshift(np.arange(height) - height // 2).astype(np.float32)
    col_k = np.arange(width_f, dtype=np.float32)
    counts = np.where(col_k == 0, 1.0, 2.0).astype(np.float32)
    orders = np.arange(3)[:, None]
    rows = (1j * row_k) ** orders * jnp.exp(1j * angle[0] * row_k)[None]
    cols = counts * (1j * col_k) ** orders * jnp.exp(1j * angle[1] * col_k)[None]
    # moments[p, q]: p times along rows, q times along columns.
    moments = jnp.einsum("ph,hw,qw->pq", rows, response_f, cols, precision="highest").real
    gradient = jnp.stack([moments[1, 0], moments[0, 1]])
    hessian = jnp.stack([moments[2, 0], moments[1, 1], moments[0, 2]])
    return moments[0, 0], gradient, hessian


def _refine(
    response_f: Complex[Array, "h wf"], angle: Float[Array, "2"], num_iters: int
) -> tuple[Float[Array, ""], Float[Array, "2"]]:
    """Newton steps from a cell, undamped; the cell itself where they end lower."""

    def step(_: Int[Array, ""], angle: Float[Array, "2"]) -> Float[Array, "2"]:
        (dr, dc), (rr, rc, cc) = _derivatives(response_f, angle)[1:]
        return angle - jnp.stack([cc * dr - rc * dc, rr * dc - rc * dr]) / (rr * cc - rc**2)

    start = _derivatives(response_f, angle)[0]
    refined = jax.lax.fori_loop(0, num_iters, step, angle)
    score = _derivatives(response_f, refined)[0]
    # False where a flat response led nowhere, too.
    better = score >= start
    return jnp.where(better, score, start), jnp.where(better, refined, angle)


def find_series_peak(response_f: Complex[Array, "s h wf"], *, num_iters: int = 5) -> SeriesPeak:
    """Finds the best of several responses and its peak, exactly [1, `optimize_scores.m`].

    Args:
      response_f: half spectra of the series, one a scale in ascending order, of odd size
        h x (2 wf - 1).
      num_iters: Newton steps from the best cell of each; 0 leaves the cell.

    Returns:
      The peak. Of equal responses the middle one counts, so flat ones change nothing.

    References:
      [1] Danelljan et al., Beyond correlation filters: learning continuous convolution operators
        for visual tracking, 2016.
    """
    num, height, width_f = response_f.shape
    hw = (height, 2 * width_f - 1)
    responses = jnp.fft.irfft2(response_f, s=hw) * (hw[0] * hw[1])
    index = jnp.argmax(responses.reshape(num, -1), axis=1)
    cell = jnp.stack([index // hw[1], index % hw[1]], axis=1).astype(jnp.float32)
    angles = 2 * np.pi * cell / np.array(hw, np.float32)[None]
    scores, angles = jax.vmap(lambda f, a: _refine(f, a, num_iters))(response_f, angles)
    middle = num // 2
    best = jnp.where(scores[middle] >= jnp.max(scores), middle, jnp.argmax(scores))
    turns = jnp.take(angles, best, axis=0) / (2 * np.pi)
    shift, score = turns - jnp.round(turns), jnp.take(scores, best)
    return SeriesPeak(shift, score, best.astype(jnp.int32), responses)
