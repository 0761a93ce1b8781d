"""Which channels of a classifier's features to keep, from the samples of two frames."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from cdjax import classifier, distill
from cdjax._types import Array, Bool, Float, Int, Number, Params
from cdjax.trackers._choose import first_set

_CHUNK = 16
"""Samples whose contributions to fc4 are held at once: 16 MB with 512 channels and units."""


class ChosenFeatures(NamedTuple):
    """What is left after the distillation of a classifier's channels.

    Attributes:
      mask: the channels to keep.
      scores: friendliness of each channel.
      energy: cross-entropy of the samples with the channels kept, before the head is trained on.
    """

    mask: Bool[Array, " c"]
    scores: Float[Array, " c"]
    energy: Float[Array, ""]


def choose_features(
    head: Params,
    history: Float[Array, "2 h w c"],
    samples: Float[Array, "n f"],
    labels: Int[Array, " n"],
    weights: Float[Array, " n"],
    found: Bool[Array, ""],
    *,
    select: str,
    num_channels: int | None,
    friendliness: str,
    strength_exponent: Number = 1.0,
    stability_exponent: Number = 1.0,
    min_channels: int | None,
    max_rounds: int,
    decay: float,
    key: Array | None,
) -> ChosenFeatures:
    """Keeps the channels that follow the object [1, §IV-G].

    Friendliness ranks the channels on the target's maps in two frames. The swap search then lowers
    a quadratic surrogate of the classifier's loss: what the channels left out take from fc4's
    pre-activations, over the samples, with the weights that all channels were trained with. Of the
    sets on the way the one of least cross-entropy is kept, so that the search never ends with a
    larger loss than the ranking's.

    Args:
      head: the classifier, trained on all channels.
      history: maps of the target in the first and second frame, after ReLU.
      samples: features of both frames, channel by channel: h w entries each.
      labels: 1 of the target, 0 of the background.
      weights: of the samples, which sum to 1; 0 for those that do not count.
      found: whether the target was found in the second frame; else strength in the first ranks the
        channels, since how they change tells nothing.
      select: "swap", "friendliness", or the controls "energy" and "random".
      num_channels: how many to keep; None keeps as many as are alive on the target in the first
        frame.
      friendliness: form of the ranking.
      strength_exponent: see `distill.friendliness`.
      stability_exponent: see `distill.friendliness`.
      min_channels: least number where `num_channels` is None; None for an eighth of all.
      max_rounds: most passes of the swap search.
      decay: weight of a channel's squared weights in fc4 against the squared pre-activations.
      key: random key, for "random".

    Returns:
      The channels to keep.

    References:
      [1] Distilling channels for efficient deep tracking, which names the loss and the number of
        channels only.
    """
    import optax

    num_all = history.shape[-1]
    cells = history.shape[1] * history.shape[2]
    scores = distill.friendliness(
        history,
        form=friendliness,
        strength_exponent=strength_exponent,
        stability_exponent=stability_exponent,
    )
    energies = distill.friendliness(history, form="energy")
    alive = energies > 0
    scores = jnp.where(alive, jnp.where(found, scores, energies), -jnp.inf)
    if num_channels is None:
        count = jnp.maximum(jnp.sum(alive, dtype=jnp.int32), min_channels or -(-num_all // 8))
    else:
        count = jnp.int32(num_channels)
    order, mask = first_set(jnp.argsort(-scores), count, select=select, energies=energies, key=key)

    def loss_of(mask: Bool[Array, " c"]) -> Float[Array, ""]:
        kept = samples * jnp.repeat(mask, cells)[None]
        logits = classifier.score(head, kept)
        return weights @ optax.softmax_cross_entropy_with_integer_labels(logits, labels)

    if select == "swap":
        energy = _surrogate(head["fc4"]["kernel"], samples, weights, num_all)
        mask = distill.alternate(
            lambda mask, unchanged: unchanged,
            lambda unchanged: energy,
            (),
            mask,
            order,
            # A channel's own penalty, however many there are.
            reg=decay * count.astype(jnp.float32),
            max_rounds=max_rounds,
            value_of=loss_of,
        ).mask
    return ChosenFeatures(mask, scores, loss_of(mask))


def _surrogate(
    kernel: Float[Array, "f u"],
    samples: Float[Array, "n f"],
    weights: Float[Array, " n"],
    num_channels: int,
) -> distill.ChannelEnergy:
    """What fc4's pre-activations lose with the channels left out, as a quadratic form."""
    kernel = kernel.reshape(num_channels, -1, kernel.shape[1])
    num_units = kernel.shape[2]
    # A mean over units, so that the penalty's weight does not depend on their number.
    samples = samples * jnp.sqrt(weights / num_units)[:, None]
    spare = -samples.shape[0] % _CHUNK
    chunks = jnp.pad(samples, ((0, spare), (0, 0)))
    chunks = chunks.reshape(-1, _CHUNK, num_channels, kernel.shape[1])
    penalty = jnp.sum(kernel**2, axis=(1, 2))
    ones = jnp.ones(num_units, jnp.float32)

    def add(energy: distill.ChannelEnergy, chunk: Float[Array, "n c a"]):
        parts = jnp.einsum("nca,cau->ncu", chunk, kernel, precision="highest")
        new = distill.channel_energy(parts, jnp.sum(parts, axis=1), penalty, ones)
        return jax.tree.map(jnp.add, energy, new), None

    start = distill.ChannelEnergy(
        jnp.zeros((num_channels, num_channels)),
        jnp.zeros(num_channels),
        jnp.zeros(num_channels),
        jnp.float32(0),
    )
    energy, _ = jax.lax.scan(add, start, chunks)
    return energy._replace(penalty=penalty)
