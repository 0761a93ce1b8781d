"""Scale filter: a one-dimensional correlation filter over the sizes of a target (fDSST)."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from cdjax._types import Array, Complex, Float, Number


class ScaleFilter(NamedTuple):
    """What the scale filter has learnt.

    Attributes:
      template: running mean of the features, one row a size.
      energy: running mean of the features' power at each frequency of the half spectrum.
    """

    template: Float[Array, "s f"]
    energy: Float[Array, " sf"]


def scale_factors(
    *, num_scales: int = 17, num_interp: int = 33, scale_step: float = 1.02
) -> np.ndarray:
    """Lists the sizes at which the scale filter looks, against the current one.

    Args:
      num_scales: sizes, odd.
      num_interp: sizes between which the response is interpolated, odd, at least as many.
      scale_step: ratio of neighbouring interpolated sizes.

    Returns:
      float32 [s], ascending; the middle one is 1.
    """
    return (scale_step ** _exponents(num_scales, num_interp)).astype(np.float32)


def train_scale_filter(features: Float[Array, "s f"]) -> ScaleFilter:
    """Learns the first frame.

    Args:
      features: features of the target cropped at each of `scale_factors`, in that order, flat.

    Returns:
      The filter.
    """
    return ScaleFilter(features, _energy(features))


def update_scale_filter(
    filt: ScaleFilter, features: Float[Array, "s f"], *, learning_rate: Number = 0.025
) -> ScaleFilter:
    """Blends a frame's features, cropped at the new place and size, into the filter.

    Args:
      filt: the filter.
      features: as in `train_scale_filter`.
      learning_rate: weight of the new frame.

    Returns:
      The blended filter.
    """
    new = train_scale_filter(features)
    return ScaleFilter(*(old + learning_rate * (x - old) for old, x in zip(filt, new, strict=True)))


def scale_response(
    filt: ScaleFilter,
    features: Float[Array, "s f"],
    *,
    num_interp: int = 33,
    sigma: float = 1 / 16,
    reg: float = 0.01,
) -> Float[Array, " i"]:
    """Scores the sizes of a target.

    Args:
      filt: the filter.
      features: of the target's new place, as in `train_scale_filter`.
      num_interp: sizes scored, odd; the response is interpolated by padding its spectrum.
      sigma: standard deviation of the label against `num_interp` sizes.
      reg: ridge, in units of `filt.energy`.

    Returns:
      One score for each power -(i // 2)..i // 2 of the scale step, wrapped: power 0 comes first.

    References:
      [1] Danelljan et al., Discriminative scale space tracking, 2017, fDSST; ECO's
        `scale_filter_track.m`. Differs: no QR bases. Projections on bases of the span of as many
        columns as there are sizes keep every product that the filter takes, so that they change
        nothing but the order of the sums.
    """
    num_scales = features.shape[0]
    label = np.exp(-0.5 * (_exponents(num_scales, num_interp) / (sigma * num_interp)) ** 2)
    label_f = np.fft.rfft(np.fft.ifftshift(label)).real.astype(np.float32)
    product = _spectrum(filt.template).conj() * _spectrum(features)
    response_f = label_f * jnp.sum(product, axis=1) / (filt.energy + reg)
    scale = np.float32(num_interp / num_scales)
    return jnp.fft.irfft(scale * response_f, n=num_interp)


def find_scale(response: Float[Array, " i"], *, scale_step: float = 1.02) -> Float[Array, ""]:
    """Finds the best size, finer than the step.

    Args:
      response: as `scale_response` returns it.
      scale_step: ratio of neighbouring sizes of the response.

    Returns:
      The target's size against that at which it was cropped: the vertex of the parabola through
      the best size and its neighbours, or the best size where it has no two smaller neighbours or
      lies at an end [1, `scale_filter_track.m`. Differs: no such safeguard there].

    References:
      [1] Danelljan et al., ECO, 2017.
    """
    num = response.shape[0]
    factors = scale_step ** np.roll(np.arange(num) - num // 2, -(num // 2)).astype(np.float32)
    best = jnp.argmax(response)
    index = jnp.stack([(best - 1) % num, best, (best + 1) % num])
    score, factor = jnp.take(response, index), jnp.take(jnp.asarray(factors), index)
    slope, gap = jnp.diff(score), jnp.diff(factor)
    slope = slope / gap
    curvature = (slope[1] - slope[0]) / (factor[2] - factor[0])
    bent = (gap[0] > 0) & (gap[1] > 0) & (curvature < 0)
    vertex = (factor[0] + factor[1]) / 2 - slope[0] / jnp.where(bent, 2 * curvature, -1.0)
    return jnp.where(bent, vertex, factor[1])


def _exponents(num_scales: int, num_interp: int) -> np.ndarray:
    """The powers of the scale step at which features are taken, ascending."""
    return (np.arange(num_scales) - num_scales // 2) * num_interp / num_scales


def _spectrum(features: Float[Array, "s f"]) -> Complex[Array, "sf f"]:
    """Half spectrum over the sizes, windowed."""
    num = features.shape[0]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(num) / (num - 1))
    return jnp.fft.rfft(features * window[:, None].astype(np.float32), axis=0)


def _energy(features: Float[Array, "s f"]) -> Float[Array, " sf"]:
    """Power of the features at each frequency."""
    spectrum = _spectrum(features)
    return jnp.sum(spectrum.real**2 + spectrum.imag**2, axis=1)
