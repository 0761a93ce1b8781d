"""Discriminative correlation filters: the exact ridge solution and CF2's running model."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cdjax._types import Array, Complex, Float, Number
from cdjax.filters._fourier import irfft2

_CHAIN = 32
"""Most channels that are added one by one; of more, a chain is no faster."""


def _contrasts(n: int) -> np.ndarray:
    """Orthogonal matrix: the mean of n values, times sqrt(n), then their n - 1 differences."""
    rows = np.tril(np.ones((n, n)), -1) - np.diag(np.arange(n))
    rows[0] = 1
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def _solve(matrix: Complex[Array, "n n h wf"], goal: Complex[Array, "n h wf"]) -> Array:
    """Solves a small positive definite system at every frequency, by elimination.

    Not LAPACK's: jaxlib runs a batch of solves on the pool that runs the program, and two such
    batches at once wait for each other for ever where there are two cores.
    """
    rows = jnp.concatenate([matrix, goal[:, None]], axis=1)

    def eliminate(i: Array | int, rows: Array) -> Array:
        # No pivoting: the diagonal stays positive.
        pivot_row = rows[i] / rows[i, i].real[None]
        return (rows - rows[:, i, None] * pivot_row[None]).at[i].set(pivot_row)

    return jax.lax.fori_loop(0, len(matrix), eliminate, rows)[:, -1]


def solve_dcf(
    samples_f: Complex[Array, "n c h wf"],
    label_f: Complex[Array, "h wf"],
    *,
    reg: Number,
    zeros_f: Complex[Array, "z c h wf"] | None = None,
) -> Complex[Array, "c h wf"]:
    """Solves the multi-channel correlation filter for n samples, exactly [1, Eq. 6-7].

    Minimises sum_i ||sum_c conj(filter_c) sample_ic - label||^2 + reg sum_c ||filter_c||^2 at every
    frequency, by the n x n dual or the c x c primal, whichever is smaller.

    Args:
      samples_f: half spectra of the windowed features; a channel of zeros gets a zero filter.
      label_f: half spectrum of the label, peak at cell [0, 0].
      reg: ridge (lambda / ||alpha||_1 of the paper), in units of |samples_f|^2, unnormalised FFT.
      zeros_f: further samples, whose label is zero everywhere (context patches).

    Returns:
      The filter's half spectrum; `apply_filter` conjugates it.

    References:
      [1] Distilling channels for efficient deep tracking. Differs: the paper always solves the
        primal; the dual is identical and costs n^2 c instead of c^3 a frequency.
    """
    n, c = samples_f.shape[:2]
    # Samples of a still target are almost equal, and their inner products singular in float32 if
    # the ridge is small. An orthogonal change of the samples to their mean and differences poses
    # the same problem without that; the label stays with the mean.
    first = samples_f[0]
    change = jnp.einsum(
        "ij,jchw->ichw", _contrasts(n), samples_f - first[None], precision="highest"
    )
    samples_f = change.at[0].add(n**0.5 * first)
    goal = n**0.5 * label_f
    if zeros_f is not None:
        samples_f = jnp.concatenate([samples_f, zeros_f])
        n = samples_f.shape[0]
    inner = lambda axes: jnp.einsum(axes, samples_f, jnp.conj(samples_f), precision="highest")
    eye = lambda size: reg * jnp.eye(size, dtype=samples_f.dtype)[:, :, None, None]
    goal = jnp.zeros((n, *label_f.shape), label_f.dtype).at[0].set(goal)
    conjugate = jnp.conj(samples_f)
    if n <= c:
        dual = _solve(inner("ichw,jchw->ijhw") + eye(n), goal)
        solution = jnp.sum(conjugate * dual[:, None], axis=0)
    else:
        adjoint_goal = jnp.sum(conjugate * goal[:, None], axis=0)
        solution = _solve(jnp.conj(inner("ichw,idhw->cdhw")) + eye(c), adjoint_goal)
    return jnp.conj(solution)


def apply_filter(
    filter_f: Complex[Array, "c h wf"],
    search_f: Complex[Array, "*b c h wf"],
    *,
    hw: tuple[int, int],
) -> Float[Array, "*b h w"]:
    """Correlates search features with a filter [1, Eq. 8].

    Args:
      filter_f: half spectrum of the filter.
      search_f: half spectra of the windowed features of the search region.
      hw: size of the response map, cells.

    Returns:
      Response maps; the shift of the target is where the peak lies, zero at cell [0, 0].

    References:
      [1] Distilling channels for efficient deep tracking.
    """
    conjugate = jnp.conj(filter_f)[(None,) * (search_f.ndim - 3)]
    return irfft2(_sum_channels(conjugate * search_f), hw=hw)


class DCFModel(NamedTuple):
    """A running multi-channel filter in its dual form [1].

    The filter of channel k is conj(template_k) label * inverse: CF2's dual coefficients are
    label * inverse.

    Attributes:
      template_f: half spectra of the averaged template.
      inverse_f: 1 / (mean power of the template's channels + reg), averaged; one map a segment (a
        joint filter has one segment).

    References:
      [1] Ma et al., Hierarchical convolutional features for visual tracking, 2015.
    """

    template_f: Complex[Array, "k h wf"]
    inverse_f: Float[Array, "l h wf"]


def _sum_channels(maps: Array) -> Array:
    """Sum over the third axis from the end."""
    num = maps.shape[-3]
    if not 0 < num <= _CHAIN:
        return jnp.sum(maps, axis=-3)
    # On a CPU a sum over such an axis goes number by number, a chain of sums row by row.
    return functools.reduce(jnp.add, (maps[..., k, :, :] for k in range(num)))


def _kernel_f(
    search_f: Complex[Array, "*b k h wf"],
    template_f: Complex[Array, "k h wf"],
    segments: tuple[int, ...],
    num_channels: Float[Array, " l"],
    cells: int,
) -> Complex[Array, "*b l h wf"]:
    """Linear kernel correlation of each segment of channels, divided by cells * channels."""
    lanes = (None,) * (search_f.ndim - 3)
    product = search_f * jnp.conj(template_f)[lanes]
    sums, start = [], 0
    for size in segments:
        sums.append(_sum_channels(product[..., start : start + size, :, :]))
        start += size
    each = jnp.stack(sums, axis=-3)
    return each / (cells * num_channels[(*lanes, slice(None), None, None)])


def train_dcf(
    template_f: Complex[Array, "k h wf"],
    *,
    hw: tuple[int, int],
    segments: tuple[int, ...],
    num_channels: Float[Array, " l"],
    reg: Number,
) -> DCFModel:
    """Trains one linear-kernel filter a segment from one template.

    Equal to the ridge filter of `solve_dcf` with n = 1 and ridge reg * h * w * num_channels.

    Args:
      template_f: half spectra of the windowed features; spare channels are zero.
      hw: size of the maps, cells.
      segments: channels of each separate filter, in order; their sum is k.
      num_channels: channels that count in each segment (without spares).
      reg: ridge against the mean power of a channel.

    Returns:
      The model.
    """
    kernel_f = _kernel_f(template_f, template_f, segments, num_channels, hw[0] * hw[1])
    return DCFModel(template_f, 1 / (kernel_f.real + reg))


def blend_dcf(
    model: DCFModel, new: DCFModel, *, learning_rate: Number, update: str = "average"
) -> DCFModel:
    """Moves the running model towards a new one.

    Args:
      model: the running model.
      new: the model of the new frame.
      learning_rate: weight of the new frame.
      update: "average" averages the filter's numerator and denominator, "cf2" the template and the
        dual coefficients [1].

    Returns:
      The blended model.

    Raises:
      ValueError: for an unknown update.

    References:
      [1] Ma et al., Hierarchical convolutional features for visual tracking, 2015.
    """
    rate = learning_rate
    template_f = (1 - rate) * model.template_f + rate * new.template_f
    old, fresh = model.inverse_f, new.inverse_f
    if update == "cf2":
        return DCFModel(template_f, (1 - rate) * old + rate * fresh)
    if update == "average":
        # The mean of the denominators, without leaving the form of their inverse.
        return DCFModel(template_f, old * fresh / ((1 - rate) * fresh + rate * old))
    raise ValueError(f"unknown update {update!r}; there are average, cf2")


def respond_dcf(
    model: DCFModel,
    label_f: Complex[Array, "h wf"],
    search_f: Complex[Array, "*b k h wf"],
    *,
    hw: tuple[int, int],
    segments: tuple[int, ...],
    num_channels: Float[Array, " l"],
    segment_weights: tuple[float, ...],
) -> Float[Array, "*b h w"]:
    """Response of the running model, segments fused by fixed weights.

    Args:
      model: the running model.
      label_f: half spectrum of the label.
      search_f: half spectra of the windowed features of the search region.
      hw: size of the maps, cells.
      segments: channels of each separate filter.
      num_channels: channels that count in each segment.
      segment_weights: weight of each segment's response.

    Returns:
      Response maps, zero shift at cell [0, 0].
    """
    kernel_f = _kernel_f(search_f, model.template_f, segments, num_channels, hw[0] * hw[1])
    weights = np.array(segment_weights, np.float32)[:, None, None]
    lanes = (None,) * (search_f.ndim - 3)
    fused_f = jnp.sum((weights * model.inverse_f)[lanes] * kernel_f, axis=-3)
    return irfft2(label_f[lanes] * fused_f, hw=hw)
