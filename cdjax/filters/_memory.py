"""ECO's generative sample memory: a fixed number of weighted samples that merge."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from cdjax._types import Array, Blocks, Complex, Float, Int, Number


class SampleMemory(NamedTuple):
    """Training samples and their prior weights.

    Attributes:
      samples_f: for each block, half spectra m k h wf; unused slots are zero.
      weights: prior weight of each slot; they sum to 1.
      gram: inner products of the samples (twice the sum over the half spectrum).
      num_samples: slots in use, the first ones.
      newest: slot that the last sample went to alone, or -1.
      merged: slot that the last insertion merged into, or -1.
    """

    samples_f: tuple[Complex[Array, "m _ _ _"], ...]
    weights: Float[Array, " m"]
    gram: Float[Array, "m m"]
    num_samples: Int[Array, ""]
    newest: Int[Array, ""]
    merged: Int[Array, ""]


def _product(stored_f: tuple[Array, ...], new_f: Blocks) -> Float[Array, "*m"]:
    """Inner products over the half spectrum, doubled, column 0 too [1, `find_gram_vector.m`]."""
    total = 0.0
    for stored, new in zip(stored_f, new_f, strict=True):
        rows = stored.reshape(*stored.shape[:-3], -1)
        total += 2 * jnp.matmul(rows, jnp.conj(new).reshape(-1), precision="highest").real
    return jnp.asarray(total)


def _write(
    stored: Complex[Array, "m k h wf"], places: Int[Array, "2"], entries: Complex[Array, "2 k h wf"]
) -> Complex[Array, "m k h wf"]:
    """Overwrites two slots, one after the other, in place.

    In a loop: fused with the reads that the entries come from, the compiler would keep the old
    memory and copy all of it.
    """
    put = lambda i, samples: samples.at[places[i]].set(entries[i])
    return jax.lax.fori_loop(0, 2, put, stored)


def start_memory(sample_f: Blocks, *, num_slots: int) -> SampleMemory:
    """Memory of one sample.

    Args:
      sample_f: the sample's half spectra, one array a block.
      num_slots: capacity.

    Returns:
      The memory.
    """
    samples_f = tuple(
        jnp.zeros((num_slots, *new.shape), new.dtype).at[0].set(new) for new in sample_f
    )
    weights = jnp.zeros(num_slots, jnp.float32).at[0].set(1.0)
    gram = jnp.zeros((num_slots, num_slots), jnp.float32)
    gram = gram.at[0, 0].set(_product(sample_f, sample_f))
    return SampleMemory(samples_f, weights, gram, jnp.int32(1), jnp.int32(0), jnp.int32(-1))


def memory_gram(samples_f: tuple[Complex[Array, "m _ _ _"], ...]) -> Float[Array, "m m"]:
    """Gram matrix of stored samples from scratch, as after channels were cut.

    Args:
      samples_f: for each block, half spectra m k h wf.

    Returns:
      The matrix for `SampleMemory.gram`.
    """
    total = 0.0
    for block in samples_f:
        rows = block.reshape(block.shape[0], -1)
        for part in (rows.real, rows.imag):
            total += 2 * jnp.matmul(part, part.T, precision="highest")
    return jnp.asarray(total)


def memory_distances(memory: SampleMemory) -> Float[Array, "m m"]:
    """Squared distances between stored samples [1, `update_distance_matrix.m`].

    Args:
      memory: the memory.

    Returns:
      The distances, infinite on the diagonal and where a slot is unused.
    """
    gram, slots = memory.gram, jnp.arange(memory.weights.size)
    squares = jnp.diag(gram)
    distance = jnp.maximum(squares[:, None] + squares[None, :] - 2 * gram, 0.0)
    used = slots < memory.num_samples
    real = used[:, None] & used[None, :] & (slots[:, None] != slots[None, :])
    return jnp.where(real, distance, jnp.inf)


def insert_sample(memory: SampleMemory, sample_f: Blocks, *, learning_rate: Number) -> SampleMemory:
    """Adds a sample: to a free slot, over a forgotten one, or by merging the two nearest [1, §3.3].

    A full memory whose least weight fell below rate (1 - rate)^(2 m) gives that slot up. Otherwise
    the nearest two of all samples, old and new, become their weighted mean: either the new one and
    a stored one, or two stored ones, of which the lighter makes room.

    Args:
      memory: the memory.
      sample_f: the new sample's half spectra, one array a block.
      learning_rate: prior weight of the new sample.

    Returns:
      The memory with the sample.

    References:
      [1] Danelljan et al., ECO: efficient convolution operators for tracking, 2017;
        `update_sample_space_model.m`.
    """
    rate = learning_rate
    weights, gram, count = memory.weights, memory.gram, memory.num_samples
    num_slots = weights.size
    slots = jnp.arange(num_slots)
    used = slots < count

    products = _product(memory.samples_f, sample_f)
    square = _product(sample_f, sample_f)
    to_new = jnp.where(used, jnp.maximum(square + jnp.diag(gram) - 2 * products, 0.0), jnp.inf)
    between = memory_distances(memory)
    nearest = jnp.argmin(to_new)
    pair = jnp.argmin(between)
    first, second = pair // num_slots, pair % num_slots
    first_heavier = weights[first] > weights[second]
    heavy = jnp.where(first_heavier, first, second)
    light = jnp.where(first_heavier, second, first)
    lightest = jnp.argmin(weights)

    filling = count < num_slots
    # A sample that never merged has just this weight after 2 m frames: rounding decides, in the
    # reference too. Hence below a plain product instead of a division by the weights' sum.
    replacing = ~filling & (weights[lightest] < rate * (1 - rate) ** (2 * num_slots))
    merging = ~filling & ~replacing
    into_stored = merging & (to_new[nearest] < jnp.min(between))
    pairing = merging & ~into_stored

    # Every case is one move: slot `kept` takes a share of another sample, and the new one goes to
    # slot `free`; where there is no merge the share is 0, where the new one merges, free is kept.
    free = jnp.where(filling, count, jnp.where(replacing, lightest, light))
    free = jnp.where(into_stored, nearest, free)
    kept = jnp.where(pairing, heavy, free)

    remaining = weights.at[lightest].set(0.0)
    rescaled = remaining * ((1 - rate) / jnp.maximum(jnp.sum(remaining), 1e-12))
    decayed = jnp.where(replacing, rescaled, weights * (1 - rate))
    # A stored pair is weighed as it was, which is the same after the decay.
    partner = jnp.where(into_stored, rate, decayed[light])
    total = decayed[kept] + partner
    share = jnp.where(merging, partner / jnp.where(merging, total, 1.0), 0.0)
    new_weights = decayed.at[kept].set(jnp.where(merging, total, decayed[kept]))
    new_weights = new_weights.at[free].set(jnp.where(into_stored, total, rate))

    # Samples and the Gram matrix under kept <- (1 - share) kept + share other.
    other_column = jnp.where(into_stored, products, gram[:, light])
    other_square = jnp.where(into_stored, square, gram[light, light])
    column = (1 - share) * gram[:, kept] + share * other_column
    norm = (1 - share) ** 2 * gram[kept, kept] + share**2 * other_square
    norm += 2 * share * (1 - share) * other_column[kept]
    column = column.at[kept].set(norm)
    new_gram = gram.at[:, kept].set(column).at[kept, :].set(column)
    products = products.at[kept].set((1 - share) * products[kept] + share * products[light])
    # The new sample's own column, unless it has just merged.
    column = jnp.where(into_stored, column, products.at[free].set(square))
    new_gram = new_gram.at[:, free].set(column).at[free, :].set(column)

    samples_f = []
    for stored, new in zip(memory.samples_f, sample_f, strict=True):
        other = jnp.where(into_stored, new, stored[light])
        merged = (1 - share) * stored[kept] + share * other
        places = jnp.stack([kept, free])
        entries = jnp.stack([merged, jnp.where(into_stored, merged, new)])
        samples_f.append(_write(stored, places, entries))

    return SampleMemory(
        tuple(samples_f),
        new_weights,
        new_gram,
        jnp.minimum(count + 1, num_slots),
        jnp.where(into_stored, -1, free).astype(jnp.int32),
        jnp.where(merging, kept, -1).astype(jnp.int32),
    )
