"""Online training of MDNet's head: hard negatives, SGD with momentum; no sampling of boxes."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from cdjax._errors import InputError
from cdjax._types import Array, Bool, Float, Int, Number, Params
from cdjax.classifier._head import DropoutMasks, score


class TrainResult(NamedTuple):
    """What training returns.

    Attributes:
      head: the trained weights.
      opt_state: state of the optimiser, for the next call.
      losses: mean cross-entropy of each iteration's batch, before its step; here and below 0 for
        iterations that were not run.
      grad_norms: norm of each iteration's gradient, before it is clipped.
      hard_negatives: places in each iteration's row of `neg_index` that were learnt from, the
        hardest first.
    """

    head: Params
    opt_state: Any
    losses: Float[Array, " iters"]
    grad_norms: Float[Array, " iters"]
    hard_negatives: Int[Array, "iters hard"]


def head_optimiser(*, momentum: float = 0.9, decay: float = 5e-4, clip: float | None = 10.0) -> Any:
    """Makes MDNet's SGD without its learning rate, which `train_head` applies last.

    So its state is a momentum of gradients, v <- momentum v + (clipped gradient + decay w), and
    fits any learning rate.

    Args:
      momentum: share of the last step that stays.
      decay: weight decay, of the biases too.
      clip: largest global norm of a gradient; None for no limit.

    Returns:
      The optimiser, an `optax.GradientTransformation`.

    References:
      [1] py-MDNet, `tracking/run_tracker.py`. Differs: none (MATLAB's decays no biases and does
        not clip).
    """
    import optax  # only MDNet needs it, and it takes a while

    steps = [optax.add_decayed_weights(decay), optax.trace(momentum)]
    return optax.chain(*([] if clip is None else [optax.clip_by_global_norm(clip)]), *steps)


def train_head(
    head: Params,
    opt_state: Any,
    positives: Float[Array, "m f"],
    negatives: Float[Array, "l f"],
    pos_index: Int[Array, "iters pos"],
    neg_index: Int[Array, "iters neg"],
    *,
    optimiser: Any,
    learning_rate: Number,
    masks: DropoutMasks | None = None,
    num_iters: Int[Array, ""] | None = None,
    num_hard: int = 96,
    last_rate_factor: Number = 10.0,
    precision: str | None = "highest",
) -> TrainResult:
    """Trains the head, an iteration for each row of indices [1, §4.2].

    Each iteration scores its candidate negatives without dropout, keeps those with the largest
    target logits, and takes a step of the mean softmax cross-entropy over them and its positives.

    Args:
      head: weights, as of `init_head`.
      opt_state: of `optimiser.init(head)`, or of the last call.
      positives: features of target samples.
      negatives: features of background samples.
      pos_index: rows of `positives` for each iteration.
      neg_index: rows of `negatives` to choose from in each iteration.
      optimiser: of `head_optimiser`, an `optax.GradientTransformation`.
      learning_rate: step of fc4 and fc5.
      masks: kept inputs of fc5 and fc6, [iters, pos + num_hard, u]; positives come first. No
        dropout if None.
      num_iters: how many rows to use, from the first on; all if None. It may be traced, and may be
        0: under `vmap` lanes take as many iterations as the one that needs most, and none if none
        does.
      num_hard: negatives that an iteration learns from.
      last_rate_factor: learning rate of fc6 in units of `learning_rate`.
      precision: of the matrix products.

    Returns:
      New weights and state of the optimiser, and what happened.

    References:
      [1] Nam and Han, Learning multi-domain convolutional networks, 2016; step as in py-MDNet's
        `train`.
    """
    import optax

    if num_hard > neg_index.shape[1]:
        raise InputError(f"num_hard={num_hard}: use at most the {neg_index.shape[1]} candidates")
    rates = {name: 1.0 if name != "fc6" else last_rate_factor for name in head}
    num_pos = pos_index.shape[1]
    labels = (jnp.arange(num_pos + num_hard) < num_pos).astype(jnp.int32)

    def loss_of(head: Params, batch: Array, kept: DropoutMasks | None) -> Float[Array, ""]:
        logits = score(head, batch, masks=kept, precision=precision)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def iterate(at: Any, carry: TrainResult) -> TrainResult:
        head, opt_state, losses, norms, hardest = carry
        candidates = jnp.take(negatives, neg_index[at], axis=0, mode="clip")
        logits = score(head, candidates, precision=precision)[:, 1]
        _, hard = jax.lax.top_k(logits, num_hard)
        batch = jnp.concatenate(
            [
                jnp.take(positives, pos_index[at], axis=0, mode="clip"),
                jnp.take(candidates, hard, axis=0, mode="clip"),
            ]
        )
        kept = jax.tree.map(lambda leaf: leaf[at], masks)
        loss, grads = jax.value_and_grad(loss_of)(head, batch, kept)
        norm = jnp.sqrt(sum(jnp.vdot(g, g, precision="highest") for g in jax.tree.leaves(grads)))
        steps: Params
        steps, opt_state = optimiser.update(grads, opt_state, head)
        head = {
            name: jax.tree.map(
                lambda w, v, rate=rates[name]: w - learning_rate * rate * v,
                head[name],
                steps[name],
            )
            for name in head
        }
        return TrainResult(
            head,
            opt_state,
            losses.at[at].set(loss),
            norms.at[at].set(norm),
            hardest.at[at].set(hard),
        )

    most = pos_index.shape[0]
    start = TrainResult(
        head,
        opt_state,
        jnp.zeros(most, jnp.float32),
        jnp.zeros(most, jnp.float32),
        jnp.zeros((most, num_hard), jnp.int32),
    )
    end = most if num_iters is None else jnp.minimum(num_iters, most)
    return jax.lax.fori_loop(0, end, iterate, start)


def index_stream(
    key: Array, valid: Bool[Array, " m"], *, num_iters: int, batch: int
) -> Int[Array, "iters batch"]:
    """Draws the rows that iterations use: permutations of the valid rows, one after another.

    Args:
      key: random key.
      valid: rows that may be drawn; without any, row 0 is.
      num_iters: iterations.
      batch: rows of each.

    Returns:
      Indices; each valid row is used once before any is used again.
    """
    total = num_iters * batch
    # Ranks 0, 1, ..., 0, 1, ... fall into rounds; sorting by (round, chance) shuffles each. The
    # extra places complete the last round that is used.
    count = jnp.maximum(valid.sum(dtype=jnp.int32), 1)
    place = jnp.arange(total + valid.size, dtype=jnp.int32)
    chance = jax.random.bits(key, place.shape)
    _, _, rank = jax.lax.sort((place // count, chance, place % count), num_keys=2)
    rows = jnp.argsort(~valid, stable=True).astype(jnp.int32)
    return rows[rank[:total]].reshape(num_iters, batch)
