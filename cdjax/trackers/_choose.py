"""Which channels to keep, from two frames: the stages of `distill` and `filters`, composed."""

from typing import Any

import jax
import jax.numpy as jnp

from cdjax import distill, filters
from cdjax._errors import InputError
from cdjax._types import Array, Bool, Complex, Float, Int, Number

SELECTIONS = ("swap", "exact", "friendliness", "energy", "random")


def round_up(count: int, most: int) -> int:
    """The next of a few sizes (4, 8, 12, 16, then four to the octave), so few programs compile."""
    step = max(4, 2 ** max(0, (count - 1).bit_length() - 3)) if count > 1 else 4
    return min(most, -(-count // step) * step)


def require_distilled(state: Any) -> None:
    """Raises an InputError for a state that has not seen its second frame."""
    if int(state.frame_index) == 0:
        raise InputError(
            "compact: the state has seen one frame, distillation needs two; call step first"
        )


def fitting_room(
    needed: tuple[int, ...], room: tuple[int, ...] | None, most: tuple[int, ...]
) -> tuple[int, ...]:
    """The room given, if all that is needed fits; the room needed if none is given."""
    if room is None:
        return needed
    if len(room) != len(needed) or any(n > r for n, r in zip(needed, room, strict=True)):
        raise InputError(f"compact: room={room} does not hold {needed}; take the largest of each")
    if any(r > m for r, m in zip(room, most, strict=True)):
        raise InputError(f"compact: room={room} is more than the {most} that there is")
    return room


def first_set(
    order: Int[Array, " c"],
    count: Int[Array, ""],
    *,
    select: str,
    energies: Float[Array, " c"],
    key: Array | None,
) -> tuple[Int[Array, " c"], Bool[Array, " c"]]:
    """Where a search starts: the first of the ranking, or of what a control puts in its place.

    The controls keep as many channels as the ranking does.

    Args:
      order: all channels, friendliest first.
      count: how many to keep.
      select: "energy" and "random" are controls; any other keeps the ranking.
      energies: mean square of each channel, for "energy".
      key: random key, for "random".

    Returns:
      The order, and the mask of its first channels.

    Raises:
      ValueError: "random" without a key.
    """
    if select == "random":
        if key is None:
            raise ValueError('select="random" needs a key')
        order = jax.random.permutation(key, order.size).astype(order.dtype)
    elif select == "energy":
        order = jnp.argsort(-energies)
    rank = jnp.zeros(order.size, jnp.int32).at[order].set(jnp.arange(order.size, dtype=jnp.int32))
    return order, rank < count


def choose_channels(
    samples_f: Complex[Array, "2 c h wf"],
    label_f: Complex[Array, "h wf"],
    scores: Float[Array, " c"],
    *,
    hw: tuple[int, int],
    select: str,
    num_channels: int | None,
    reg: Number,
    min_channels: int | None,
    prefix_slack: Number,
    gain_free: bool,
    max_rounds: int,
    energies: Float[Array, " c"],
    key: Array | None,
    zeros_f: Complex[Array, "z c h wf"] | None = None,
) -> tuple[Bool[Array, " c"], Float[Array, ""]]:
    """Keeps the channels that follow the object [1, §III-C].

    Args:
      samples_f: half spectra of the windowed features in the first and second frame.
      label_f: half spectrum of the label.
      scores: friendliness of each channel; minus infinity for dead ones.
      hw: size of the maps, cells.
      select: "swap", "exact", "friendliness", or the controls "energy" and "random".
      num_channels: how many to keep; None finds the number by the prefix curve.
      reg: ridge against the mean power of a channel; the ridge for k channels is CF2's,
        reg * h * w * k.
      min_channels: least number that the prefix curve may find; None for max(4, c / 32).
      prefix_slack: see `distill.choose_num_channels`.
      gain_free: see `distill.prefix_curve`.
      max_rounds: most rounds of swap search and training.
      energies: mean square of each channel, for "energy".
      key: random key, for "random".
      zeros_f: further samples, whose label is zero everywhere (context patches); not for "exact",
        and left out of the prefix curve.

    Returns:
      The channels to keep, and the energy of that set with its own best filters.

    Raises:
      ValueError: see `first_set`.

    References:
      [1] Distilling channels for efficient deep tracking.
    """
    num_all = scores.size
    weights = jnp.asarray(filters.half_weights(hw).reshape(-1))
    flat_f, goal_f = samples_f.reshape(2, num_all, -1), label_f.reshape(-1)
    order = jnp.argsort(-scores)
    if num_channels is None:
        curve = distill.prefix_curve(
            flat_f[0], flat_f[1], goal_f, weights, order, reg=reg, gain_free=gain_free
        )
        count = distill.choose_num_channels(
            curve, min_channels=min_channels or max(4, num_all // 32), slack=prefix_slack
        )
    else:
        count = jnp.int32(num_channels)
    order, mask = first_set(order, count, select=select, energies=energies, key=key)
    ridge = reg * hw[0] * hw[1] * count.astype(jnp.float32)

    rows_f, goals = flat_f, jnp.broadcast_to(goal_f[None], (2, goal_f.size))
    if zeros_f is not None:
        zeros = zeros_f.reshape(-1, num_all, goal_f.size)
        rows_f = jnp.concatenate([flat_f, zeros])
        goals = jnp.concatenate([goals, jnp.zeros_like(zeros[:, 0])])
    # The paper divides one lambda by the number of channels in use, k here, c at the start.
    lam = ridge * count.astype(jnp.float32)

    def energy_of(filter_f: Complex[Array, "c m"]) -> distill.ChannelEnergy:
        penalty = (jnp.abs(filter_f) ** 2) @ weights
        return distill.channel_energy(rows_f * jnp.conj(filter_f)[None], goals, penalty, weights)

    def train(keep: Float[Array, " c"], reg: Float[Array, ""]) -> Complex[Array, "c m"]:
        keep = keep[None, :, None, None]
        zeros = None if zeros_f is None else zeros_f * keep
        return filters.solve_dcf(samples_f * keep, label_f, reg=reg, zeros_f=zeros).reshape(
            num_all, -1
        )

    def value_of(mask: Bool[Array, " c"]) -> Float[Array, ""]:
        if zeros_f is None:
            return distill.exact_energy(flat_f, goal_f, weights, mask, ridge=ridge)
        energy = energy_of(train(mask.astype(jnp.float32), ridge))
        return distill.evaluate_energy(energy, mask, reg=lam)

    if select == "exact":
        found = distill.exact_swap_search(flat_f, goal_f, weights, mask, order, ridge=ridge)
        mask = found.mask
    elif select == "swap":

        def solve(
            mask: Bool[Array, " c"], filter_f: Complex[Array, "c m"]
        ) -> Complex[Array, "c m"]:
            solution = train(mask.astype(jnp.float32), ridge)
            return jnp.where(mask[:, None], solution, filter_f)

        start = train(jnp.ones(num_all), lam / num_all)
        mask = distill.alternate(
            solve,
            energy_of,
            start,
            mask,
            order,
            reg=lam,
            max_rounds=max_rounds,
            value_of=value_of,
        ).mask
    return mask, value_of(mask)
