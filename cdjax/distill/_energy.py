"""The energy of a channel mask as a quadratic form; knows nothing of filters."""

from typing import NamedTuple

import jax.numpy as jnp

from cdjax._types import Array, Bool, Complex, Float


class ChannelEnergy(NamedTuple):
    """E(mask) = mask' gram mask - 2 linear' mask + constant + (reg / k) penalty' mask [1, Eq. 4].

    Attributes:
      gram: inner products of the channels' contributions to the response.
      linear: inner product of each contribution with the target.
      penalty: squared norm of each channel's filter.
      constant: squared norm of the target.

    References:
      [1] Distilling channels for efficient deep tracking.
    """

    gram: Float[Array, "c c"]
    linear: Float[Array, " c"]
    penalty: Float[Array, " c"]
    constant: Float[Array, ""]


def channel_energy(
    parts: Complex[Array, "n c m"] | Float[Array, "n c m"],
    target: Complex[Array, "n m"] | Float[Array, "n m"],
    penalty: Float[Array, " c"],
    weights: Float[Array, " m"],
) -> ChannelEnergy:
    """Builds the quadratic form from what each channel adds to the response.

    Args:
      parts: contribution of each channel to the response of each sample, at m frequencies (or
        cells).
      target: desired response of each sample.
      penalty: squared norm of each channel's filter, with the same weights.
      weights: how often each frequency counts (`filters.half_weights`, flattened).

    Returns:
      The energy. Over half spectra, values are h * w times those of the spatial domain.
    """
    root = jnp.sqrt(weights)[None, None, :]
    parts, target = parts * root, target * root[0]
    if jnp.iscomplexobj(parts) or jnp.iscomplexobj(target):
        # One real matrix product: Re(a* b) = Re a Re b + Im a Im b.
        parts = jnp.concatenate([parts.real, parts.imag], axis=-1)
        target = jnp.concatenate([target.real, target.imag], axis=-1)
    rows = jnp.moveaxis(parts, 1, 2).reshape(-1, parts.shape[1])
    goal = target.reshape(-1)
    return ChannelEnergy(rows.T @ rows, rows.T @ goal, penalty, goal @ goal)


def evaluate_energy(
    energy: ChannelEnergy, mask: Bool[Array, " c"], *, reg: Float[Array, ""] | float
) -> Float[Array, ""]:
    """Value of the energy for a mask.

    Args:
      energy: the quadratic form.
      mask: selected channels, at least one.
      reg: weight of the penalty, divided by the number of selected channels.

    Returns:
      E(mask).
    """
    chosen = mask.astype(energy.gram.dtype)
    quadratic = chosen @ energy.gram @ chosen - 2 * energy.linear @ chosen
    return quadratic + energy.constant + reg / jnp.sum(chosen) * energy.penalty @ chosen
