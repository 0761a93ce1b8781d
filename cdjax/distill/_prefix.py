"""How many channels to keep: the held-out error of the k friendliest, for every k."""

import jax.numpy as jnp

from cdjax._types import Array, Complex, Float, Int, Number


def prefix_curve(
    template_f: Complex[Array, "c m"],
    search_f: Complex[Array, "c m"],
    label_f: Complex[Array, " m"],
    weights: Float[Array, " m"],
    order: Int[Array, " c"],
    *,
    reg: Number,
    gain_free: bool = True,
) -> Float[Array, " c"]:
    """Trains on one frame with the k friendliest channels and tests on the next, for every k.

    All filters come from running sums along the ranking: O(c m) for the whole curve.

    Args:
      template_f: spectra of the first frame's windowed features, flattened.
      search_f: spectra of the second frame's, centred on the box found there.
      label_f: spectrum of the label.
      weights: how often each frequency counts.
      order: all channels, friendliest first.
      reg: ridge against the mean power of a channel: the ridge for k channels is reg * cells * k.
      gain_free: compares the best-scaled response with the label, since the place of the peak does
        not depend on the response's gain; else the response itself.

    Returns:
      Squared error of the response against the label, relative to the label's norm, entry k - 1
      for the k friendliest.

    References:
      [1] Distilling channels for efficient deep tracking, which says only that channels are
        dropped "until performance decreases".
    """
    cells = jnp.sum(weights)
    counts = jnp.arange(1, order.size + 1, dtype=weights.dtype)[:, None]
    power = jnp.cumsum(jnp.abs(template_f[order]) ** 2, axis=0)
    match = jnp.cumsum(search_f[order] * jnp.conj(template_f[order]), axis=0)
    response = label_f[None] * match / (power + reg * cells * counts)
    norm = jnp.sum(weights * jnp.abs(label_f) ** 2)
    if gain_free:
        along = (jnp.conj(label_f)[None] * response).real @ weights
        size = (jnp.abs(response) ** 2) @ weights
        explained = jnp.maximum(along, 0.0) ** 2 / jnp.maximum(size, 1e-30)
        # Rounding must not make a perfect response look better than perfect.
        return jnp.maximum(norm - explained, 0.0) / norm
    return (jnp.abs(response - label_f[None]) ** 2) @ weights / norm


def choose_num_channels(
    curve: Float[Array, " c"], *, min_channels: int, slack: Number = 0.0
) -> Int[Array, ""]:
    """Picks the number of channels from a prefix curve.

    Args:
      curve: held-out error of the k friendliest, entry k - 1.
      min_channels: least number to keep.
      slack: keeps the fewest channels whose error is within this fraction of the least.

    Returns:
      The number of channels.
    """
    allowed = jnp.arange(1, curve.size + 1) >= min(min_channels, curve.size)
    errors = jnp.where(allowed, curve, jnp.inf)
    least = jnp.min(errors)
    return (jnp.argmax(errors <= least + slack * jnp.abs(least)) + 1).astype(jnp.int32)
