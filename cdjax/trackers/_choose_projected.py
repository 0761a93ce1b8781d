"""Which of ECO's projected channels to keep, from the memory's first two samples."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cdjax import distill, filters
from cdjax._types import Array, Blocks, Bool, Complex, Float, Number
from cdjax.trackers._choose import first_set

_REG = 1e-3
"""Ridge of the prefix curve, against the mean power of a channel."""


class Chosen(NamedTuple):
    """What is left after the distillation of ECO's channels.

    Attributes:
      in_use: 1 for the channels of each block that are kept, 0 for those left out.
      model: filter and carry of its training, zero for channels left out.
      memory: the samples, zero for channels left out.
      scores: friendliness of the candidates.
      energy: energy of the chosen set.
    """

    in_use: tuple[Float[Array, " _"], ...]
    model: filters.ECOModel
    memory: filters.SampleMemory
    scores: Float[Array, " c"]
    energy: Float[Array, ""]


def _masked(blocks: Any, in_use: tuple[Float[Array, " _"], ...]) -> Any:
    """Zeroes the channels of each block that are not in use; any axes in front."""
    return tuple(
        block * keep.reshape((1,) * (block.ndim - 3) + (-1, 1, 1))
        for block, keep in zip(blocks, in_use, strict=True)
    )


def _object_maps(
    samples_f: tuple[Array, ...], target: Float[Array, "2"]
) -> list[Float[Array, "2 h w k"]]:
    """Maps of the object alone: zero outside the target, which lies in the middle.

    They are windowed, as samples are; the window is near 1 there.
    """
    maps = []
    for block in samples_f:
        hw = block.shape[-2], 2 * block.shape[-1] - 1
        # At least the cells around the middle.
        near = [
            np.abs(np.arange(n) / n - 0.5) <= jnp.maximum(target[axis] / 2, 1 / n)
            for axis, n in enumerate(hw)
        ]
        inside = near[0][:, None] & near[1][None, :]
        series = filters.irfft2(block, hw=hw) * (hw[0] * hw[1])
        maps.append(jnp.moveaxis(jnp.where(inside[None, None], series, 0.0), 1, -1))
    return maps


def choose_projected(
    model: filters.ECOModel,
    memory: filters.SampleMemory,
    label_f: Float[Array, "h wf"],
    reg: filters.SpatialReg,
    *,
    target: Float[Array, "2"],
    candidate_blocks: int,
    select: str,
    num_channels: int | None,
    friendliness: str,
    strength_exponent: Number = 1.0,
    stability_exponent: Number = 1.0,
    min_channels: int | None,
    prefix_slack: Number,
    gain_free: bool,
    max_rounds: int,
    num_iters: int,
    data_weight: Number,
    reg_weight: Number,
    key: Array | None,
) -> Chosen:
    """Keeps the projected channels that follow the object [1, §III-D].

    Friendliness ranks the channels on the target's part of the two samples. The swap search
    lowers ECO's own loss over them, spatial penalty included, and alternates with conjugate
    gradients on the filters of the channels in use.

    Args:
      model: the filter as trained on the first frame.
      memory: holds the first two frames' samples in its first slots.
      label_f: half spectrum of the desired response.
      reg: the spatial penalty.
      target: height and width of the target against the sample's.
      candidate_blocks: the first blocks, whose channels are candidates; the others stay.
      select: "swap", "friendliness", or the controls "energy" and "random".
      num_channels: how many candidates to keep; None finds the number by the prefix curve.
      friendliness: form of the ranking.
      strength_exponent: see `distill.friendliness`.
      stability_exponent: see `distill.friendliness`.
      min_channels: least number that may be found; None for a quarter of the candidates.
      prefix_slack: see `distill.choose_num_channels`.
      gain_free: see `distill.prefix_curve`.
      max_rounds: most rounds of swap search and training; the set that is kept is then trained
        once more, from `model`.
      num_iters: steps of conjugate gradients a round.
      data_weight: see `filters.train_eco`.
      reg_weight: see `filters.train_eco`.
      key: random key, for "random".

    Returns:
      The channels kept, with model and memory.

    References:
      [1] Distilling channels for efficient deep tracking. Differs: both samples weigh 1 / 2; they
        serve for the friendliness too, instead of patches of the object. A channel's penalty is
        ECO's however many are kept, not 1 / k or q / k of it for k out of q (Eq. 11).
    """
    widths = [block.shape[0] for block in model.filter_f]
    num_all = sum(widths[:candidate_blocks])
    ends = np.cumsum(widths[:candidate_blocks])[:-1]
    hw = label_f.shape[0], 2 * label_f.shape[1] - 1
    weights = jnp.asarray(filters.half_weights(hw).reshape(-1))
    goal_f = label_f.reshape(-1).astype(jnp.complex64)
    # Both frames count alike: with the memory's weights, 0.99 and 0.01, the second had no say.
    pair = memory._replace(
        samples_f=tuple(block[:2] for block in memory.samples_f),
        weights=jnp.full(2, 0.5, jnp.float32),
    )

    def by_block(values: Array) -> tuple[Array, ...]:
        """Splits by block; the blocks that stay count as in use."""
        stay = [jnp.ones(width, values.dtype) for width in widths[candidate_blocks:]]
        return (*jnp.split(values, ends), *stay)

    def channels_of(samples_f: tuple[Array, ...]) -> Complex[Array, "2 c m"]:
        """All candidates at one size, flattened."""
        padded = [filters.pad_series(x, hw) for x in samples_f[:candidate_blocks]]
        return jnp.concatenate(padded, axis=1).reshape(2, num_all, -1)

    def parts_of(samples_f: tuple[Array, ...], filter_f: Blocks) -> Complex[Array, "2 c m"]:
        """What each candidate adds to the responses."""
        return channels_of(tuple(x * f[None] for x, f in zip(samples_f, filter_f, strict=True)))

    def fixed_of(samples_f: tuple[Array, ...], filter_f: Blocks) -> Complex[Array, "2 m"]:
        """What the blocks that stay add."""
        if candidate_blocks == len(widths):
            return jnp.zeros((2, goal_f.size), jnp.complex64)
        stay_x, stay_f = samples_f[candidate_blocks:], filter_f[candidate_blocks:]
        products = [
            filters.pad_series(jnp.sum(x * f[None], axis=1), hw)
            for x, f in zip(stay_x, stay_f, strict=True)
        ]
        return sum(products[1:], products[0]).reshape(2, -1)

    history = _object_maps(pair.samples_f[:candidate_blocks], target)

    def score(form: str) -> Float[Array, " c"]:
        return jnp.concatenate(
            [
                distill.friendliness(
                    maps,
                    form=form,
                    strength_exponent=strength_exponent,
                    stability_exponent=stability_exponent,
                )
                for maps in history
            ]
        )

    scores = score(friendliness)
    order = jnp.argsort(-scores)
    if num_channels is None:
        # Filters of every prefix in closed form: these of ECO lean on all channels, and lose with
        # any. Coefficients times cells are spectra, of mean power 1 a cell.
        spectra_f = hw[0] * hw[1] * channels_of(pair.samples_f)
        curve = distill.prefix_curve(
            spectra_f[0], spectra_f[1], goal_f, weights, order, reg=_REG, gain_free=gain_free
        )
        count = distill.choose_num_channels(
            curve, min_channels=min_channels or -(-num_all // 4), slack=prefix_slack
        )
    else:
        count = jnp.int32(num_channels)
    order, mask = first_set(order, count, select=select, energies=score("energy"), key=key)

    roots = jnp.sqrt(pair.weights)[:, None]

    def energy_of(model: filters.ECOModel) -> distill.ChannelEnergy:
        rest = goal_f[None] - fixed_of(pair.samples_f, model.filter_f)
        penalty = [filters.channel_penalty(block, reg) for block in model.filter_f]
        energy = distill.channel_energy(
            parts_of(pair.samples_f, model.filter_f) * roots[..., None],
            rest * roots,
            jnp.concatenate(penalty[:candidate_blocks]),
            weights,
        )
        stay = sum(jnp.sum(each) for each in penalty[candidate_blocks:])
        return energy._replace(constant=energy.constant + stay)

    def solve(mask: Bool[Array, " c"], model: filters.ECOModel) -> filters.ECOModel:
        keep = by_block(mask.astype(jnp.float32))
        masked = model._replace(
            filter_f=_masked(model.filter_f, keep), cg=filters.fresh_cg(model.filter_f)
        )
        trained = filters.train_eco(
            masked,
            pair._replace(samples_f=_masked(pair.samples_f, keep)),
            None,
            label_f,
            reg,
            learning_rate=0.0,
            num_iters=num_iters,
            data_weight=data_weight,
            reg_weight=reg_weight,
        )
        filter_f = jax.tree.map(
            lambda new, old, used: jnp.where(used[:, None, None] > 0, new, old),
            trained.filter_f,
            model.filter_f,
            keep,
        )
        return trained._replace(filter_f=filter_f)

    # The energy divides by the number of channels in use; a penalty's weight shall be 1.
    lam = count.astype(jnp.float32)
    if select == "swap":
        mask = distill.alternate(
            solve, energy_of, model, mask, order, reg=lam, max_rounds=max_rounds
        ).mask
    # Whatever the set, and however it was found, its filters have the same training. No longer one:
    # that fits two frames too closely.
    model = solve(mask, model)
    energy = distill.evaluate_energy(energy_of(model), mask, reg=lam)
    in_use = by_block(mask.astype(jnp.float32))
    samples_f = _masked(memory.samples_f, in_use)
    kept = model._replace(
        filter_f=_masked(model.filter_f, in_use), energy=_masked(model.energy, in_use)
    )
    memory = memory._replace(samples_f=samples_f, gram=filters.memory_gram(samples_f))
    return Chosen(in_use, kept, memory, scores, energy)
