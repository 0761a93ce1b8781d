"""Swap search: exchanges single channels while that lowers the energy."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from cdjax._types import Array, Bool, Complex, Float, Int
from cdjax.distill._energy import ChannelEnergy, evaluate_energy


class SwapResult(NamedTuple):
    """Where a swap search ended.

    Attributes:
      mask: selected channels, as many as at the start.
      energy: energy of the mask.
      num_swaps: swaps made.
    """

    mask: Bool[Array, " c"]
    energy: Float[Array, ""]
    num_swaps: Int[Array, ""]


def swap_search(
    energy: ChannelEnergy,
    mask: Bool[Array, " c"],
    order: Int[Array, " c"],
    *,
    reg: Float[Array, ""] | float,
) -> SwapResult:
    """One pass of best-improving swaps, from the least friendly selected channel to the most.

    For each channel selected at the start, finds the unselected channel whose exchange lowers the
    energy most, and swaps if any does [1, §III-C]. A dropped channel may return. Each visit costs
    O(c): the change of the energy is read off the quadratic form.

    Args:
      energy: the quadratic form.
      mask: selected channels at the start.
      order: all channels, friendliest first.
      reg: weight of the penalty, divided by the number of selected channels.

    Returns:
      The mask, its energy and the number of swaps.

    References:
      [1] Distilling channels for efficient deep tracking.
    """
    diagonal = jnp.diagonal(energy.gram)
    reg_each = reg / jnp.sum(mask).astype(energy.gram.dtype)
    fixed_cost = -2 * energy.linear + reg_each * energy.penalty

    class Carry(NamedTuple):
        mask: Bool[Array, " c"]
        gram_mask: Float[Array, " c"]
        num_swaps: Int[Array, ""]

    def visit(p: Int[Array, ""] | int, carry: Carry) -> Carry:
        drop = order[mask.size - 1 - p]
        row = energy.gram[drop]
        cost = 2 * carry.gram_mask + fixed_cost
        change = (cost + diagonal) - (cost[drop] - diagonal[drop]) - 2 * row
        change = jnp.where(carry.mask, jnp.inf, change)
        add = jnp.argmin(change)
        better = mask[drop] & (change[add] < 0)
        swapped = carry.mask.at[drop].set(False).at[add].set(True)
        return Carry(
            jnp.where(better, swapped, carry.mask),
            jnp.where(better, carry.gram_mask + energy.gram[add] - row, carry.gram_mask),
            carry.num_swaps + better.astype(jnp.int32),
        )

    start = Carry(mask, energy.gram @ mask.astype(energy.gram.dtype), jnp.int32(0))
    end = jax.lax.fori_loop(0, mask.size, visit, start)
    return SwapResult(end.mask, evaluate_energy(energy, end.mask, reg=reg), end.num_swaps)


class AlternationResult(NamedTuple):
    """Where the alternation of swap search and filter training ended.

    Attributes:
      mask: the set of least energy.
      energies: energy after each round (after both its steps); NaN for rounds not run.
      num_rounds: rounds run.
    """

    mask: Bool[Array, " c"]
    energies: Float[Array, " rounds"]
    num_rounds: Int[Array, ""]


def alternate(
    solve: Callable[[Bool[Array, " c"], Any], Any],
    energy_of: Callable[[Any], ChannelEnergy],
    filters: Any,
    mask: Bool[Array, " c"],
    order: Int[Array, " c"],
    *,
    reg: Float[Array, ""] | float,
    max_rounds: int = 5,
    tolerance: float = 1e-4,
    value_of: Callable[[Bool[Array, " c"]], Float[Array, ""]] | None = None,
) -> AlternationResult:
    """Alternates the swap search (filters fixed) with training (channels fixed) [1, Alg. 1].

    Args:
      solve: `(mask, filters) -> filters`, trains the filters of the selected channels and leaves
        the others as they are.
      energy_of: `filters -> ChannelEnergy`.
      filters: filters to start from, trained on all channels.
      mask: selected channels to start from.
      order: all channels, friendliest first.
      reg: weight of the penalty, divided by the number of selected channels.
      max_rounds: most rounds.
      tolerance: relative decrease of the energy below which to stop.
      value_of: `mask -> energy` of a set with its own best filters, where that costs less than
        training and building the quadratic form.

    Returns:
      The mask of least energy and the energies on the way. The search also stops when a round
      leaves the set as it was. Under `vmap` all lanes run as many rounds as the slowest.

    References:
      [1] Distilling channels for efficient deep tracking.
    """

    class Carry(NamedTuple):
        mask: Bool[Array, " c"]
        filters: Any
        best_mask: Bool[Array, " c"]
        best: Float[Array, ""]
        energies: Float[Array, " rounds"]
        num_rounds: Int[Array, ""]
        done: Bool[Array, ""]

    def trained_value(mask: Bool[Array, " c"], filters: Any) -> Float[Array, ""]:
        if value_of is not None:
            return value_of(mask)
        return evaluate_energy(energy_of(filters), mask, reg=reg)

    def one_round(carry: Carry) -> Carry:
        found = swap_search(energy_of(carry.filters), carry.mask, order, reg=reg)
        filters = solve(found.mask, carry.filters)
        value = trained_value(found.mask, filters)
        better = value < carry.best
        gain = carry.best - value
        same = jnp.all(found.mask == carry.mask)
        return Carry(
            found.mask,
            filters,
            jnp.where(better, found.mask, carry.best_mask),
            jnp.where(better, value, carry.best),
            carry.energies.at[carry.num_rounds].set(value),
            carry.num_rounds + 1,
            same | (gain < tolerance * jnp.abs(carry.best)),
        )

    # The value before any round is that of re-trained filters on the starting set.
    value = trained_value(mask, solve(mask, filters))
    start = Carry(
        mask,
        filters,
        mask,
        value,
        jnp.full(max_rounds, jnp.nan, value.dtype),
        jnp.int32(0),
        jnp.bool_(False),
    )
    end = jax.lax.while_loop(lambda c: ~c.done & (c.num_rounds < max_rounds), one_round, start)
    return AlternationResult(end.best_mask, end.energies, end.num_rounds)


def _products(
    samples_f: Complex[Array, "2 c m"],
) -> tuple[Float[Array, "c m"], Float[Array, "c m"], Complex[Array, "c m"]]:
    """Powers of the two samples' mean and difference, each times sqrt(1/2), and their product.

    The energy of the samples themselves takes the difference of almost equal powers where the
    target stands still; mean and difference pose the same problem, the label with the mean alone.
    """
    first, second = samples_f
    total, change = first + second, second - first
    power = lambda x: 0.5 * (x.real**2 + x.imag**2)
    return power(total), power(change), 0.5 * total * jnp.conj(change)


def exact_swap_search(
    samples_f: Complex[Array, "2 c m"],
    label_f: Complex[Array, " m"],
    weights: Float[Array, " m"],
    mask: Bool[Array, " c"],
    order: Int[Array, " c"],
    *,
    ridge: Float[Array, ""] | float,
) -> SwapResult:
    """Swap search on the energy with filters re-trained for every candidate set.

    For two samples that energy has the closed form of `exact_energy`, in which a swap changes
    three sums over channels, so that a candidate costs O(m).

    Args:
      samples_f: spectra of the two samples' windowed features, flattened.
      label_f: spectrum of the label, the same for both samples.
      weights: how often each frequency counts.
      mask: selected channels at the start.
      order: all channels, friendliest first.
      ridge: lambda / k of the paper.

    Returns:
      The mask, its energy and the number of swaps.

    References:
      [1] Distilling channels for efficient deep tracking; the paper keeps filters fixed instead.
    """
    power1, power2, cross = _products(samples_f)
    label_power = weights * jnp.abs(label_f) ** 2

    def value(
        p: Float[Array, "*b m"], r: Float[Array, "*b m"], o: Complex[Array, "*b m"]
    ) -> Float[Array, "*b"]:
        return 2 * ridge / (p - (o.real**2 + o.imag**2) / r) @ label_power

    class Carry(NamedTuple):
        mask: Bool[Array, " c"]
        p: Float[Array, " m"]
        r: Float[Array, " m"]
        o: Complex[Array, " m"]
        energy: Float[Array, ""]
        num_swaps: Int[Array, ""]

    def visit(position: Int[Array, ""] | int, carry: Carry) -> Carry:
        drop = order[mask.size - 1 - position]

        def search(carry: Carry) -> Carry:
            rest_p, rest_r = carry.p - power1[drop], carry.r - power2[drop]
            rest_o = carry.o - cross[drop]
            values = value(rest_p[None] + power1, rest_r[None] + power2, rest_o[None] + cross)
            values = jnp.where(carry.mask, jnp.inf, values)
            add = jnp.argmin(values)
            swapped = Carry(
                carry.mask.at[drop].set(False).at[add].set(True),
                rest_p + power1[add],
                rest_r + power2[add],
                rest_o + cross[add],
                values[add],
                carry.num_swaps + 1,
            )
            better = values[add] < carry.energy
            return jax.tree.map(lambda new, old: jnp.where(better, new, old), swapped, carry)

        return jax.lax.cond(mask[drop], search, lambda carry: carry, carry)

    chosen = mask.astype(power1.dtype)
    p, r, o = chosen @ power1 + ridge, chosen @ power2 + ridge, chosen @ cross
    start = Carry(mask, p, r, o, value(p, r, o), jnp.int32(0))
    end = jax.lax.fori_loop(0, mask.size, visit, start)
    return SwapResult(end.mask, end.energy, end.num_swaps)


def exact_energy(
    samples_f: Complex[Array, "2 c m"],
    label_f: Complex[Array, " m"],
    weights: Float[Array, " m"],
    mask: Bool[Array, " c"],
    *,
    ridge: Float[Array, ""] | float,
) -> Float[Array, ""]:
    """Energy of a set of channels with its own best filters, for two samples.

    Args:
      samples_f: spectra of the two samples' windowed features, flattened.
      label_f: spectrum of the label, the same for both samples.
      weights: how often each frequency counts.
      mask: selected channels.
      ridge: lambda / k of the paper.

    Returns:
      The minimum over the filters of the paper's Eq. 3.
    """
    chosen = mask.astype(weights.dtype)[:, None]
    p, r, o = (jnp.sum(chosen * each, axis=0) for each in _products(samples_f))
    rest = p + ridge - (o.real**2 + o.imag**2) / (r + ridge)
    return 2 * ridge * jnp.sum(weights * jnp.abs(label_f) ** 2 / rest)


def top_channels(
    mask: Bool[Array, " c"], *, num_channels: int
) -> tuple[Int[Array, " k"], Int[Array, ""]]:
    """Lists the selected channels in a fixed number of slots.

    Args:
      mask: selected channels, at most `num_channels`.
      num_channels: number of slots.

    Returns:
      Ascending indices, spare slots in front holding 0, and how many slots are in use.
    """
    index = jnp.where(mask, jnp.arange(mask.size, dtype=jnp.int32), -1)
    slots = jnp.sort(index)[mask.size - num_channels :]
    return jnp.maximum(slots, 0), jnp.sum(mask).astype(jnp.int32)
