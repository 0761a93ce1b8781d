import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from eco_oracle import Oracle, coefficients, rel

from cdjax import filters

insert_sample = jax.jit(filters.insert_sample, static_argnames="learning_rate")
memory_distances = jax.jit(filters.memory_distances)
memory_gram = jax.jit(filters.memory_gram)

SHAPES = ((2, 5, 3), (3, 3, 2))


def random_samples(num, seed=0, spread=1.0):
    """Samples that drift, so that some are near each other."""
    rng = np.random.default_rng(seed)
    draw = lambda shape: rng.normal(size=(num, *shape)) + 1j * rng.normal(size=(num, *shape))
    blocks = (spread * draw(s) + 0.3 * np.cumsum(draw(s), axis=0) for s in SHAPES)
    return tuple(b.astype(np.complex64) for b in blocks)


def sample_at(blocks, t):
    return tuple(jnp.asarray(block[t]) for block in blocks)


@functools.partial(jax.jit, static_argnames=("num_slots", "rate"))
def insert_all(blocks, *, num_slots, rate):
    def step(memory, sample_f):
        memory = filters.insert_sample(memory, sample_f, learning_rate=rate)
        return memory, memory

    first = filters.start_memory(jax.tree.map(lambda b: b[0], blocks), num_slots=num_slots)
    return jax.lax.scan(step, first, jax.tree.map(lambda b: b[1:], blocks))


@pytest.mark.data
def test_every_branch_matches_the_oracle(parity_dir):
    oracle = Oracle(parity_dir / "eco_memory.npz")
    num_slots, rate = int(oracle["synthetic_memory"]), float(oracle["synthetic_learning_rate"])
    # Stored without a mirror: any layout does for inner products.
    new = tuple(np.moveaxis(oracle[f"synthetic_new_{k}"], -1, -3) for k in range(2))
    stored = tuple(np.moveaxis(oracle[f"synthetic_stored_{k}"], (-1, -2), (1, 2)) for k in range(2))
    assert np.bincount(oracle["synthetic_branch"]).min() >= 3
    for t in range(40):
        if t == 0:
            memory = filters.start_memory(sample_at(new, 0), num_slots=num_slots)
        else:
            memory = insert_sample(memory, sample_at(new, t), learning_rate=rate)
        assert memory.newest == oracle["synthetic_new_id"][t]
        assert memory.merged == oracle["synthetic_merged_id"][t]
        assert rel(memory.weights, oracle["synthetic_weights"][t]) < 1e-5
        used = int(memory.num_samples)
        pairs = ~np.eye(used, dtype=bool)
        for found, name in ((memory.gram, "gram"), (memory_distances(memory), "dist")):
            found, expected = found[:used, :used], oracle[f"synthetic_{name}"][t, :used, :used]
            assert rel(found[pairs], expected[pairs]) < 1e-5 if used > 1 else True
        assert rel(memory.samples_f, tuple(block[t] for block in stored)) < 1e-5


@pytest.mark.data
def test_a_run_that_merges_matches_the_oracle(parity_dir):
    """From frame 5 on the memory of 5 slots is full, and its newest samples are stored."""
    oracle = Oracle(parity_dir / "eco_memory.npz")
    first = Oracle(parity_dir / "eco_hc_Crossing.npz")
    rate = first.config()["learning_rate"]
    memory = filters.start_memory(sample_at(first.blocks("sample"), 0), num_slots=5)
    for t in range(1, 11):
        name = first.blocks("sample") if t < 4 else oracle.blocks("run_newest")
        memory = insert_sample(memory, sample_at(name, t if t < 4 else t - 4), learning_rate=rate)
        assert memory.newest == oracle["run_new_id"][t]
        assert memory.merged == oracle["run_merged_id"][t]
        assert rel(memory.weights, oracle["run_weights"][t]) < 1e-5
        if t >= 4:
            assert rel(memory.gram, oracle["run_gram"][t]) < 1e-5
    stored = tuple(coefficients(np.moveaxis(b, -1, 0)) for b in oracle.raw("run_memory"))
    assert rel(memory.samples_f, stored) < 1e-5


@pytest.mark.parametrize("num_slots", [1, 12])
def test_weights_sum_to_one_through_500_insertions(num_slots):
    blocks = random_samples(500)
    memory, history = insert_all(blocks, num_slots=num_slots, rate=0.009)
    weights = np.asarray(history.weights, np.float64)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=0, atol=1e-6)
    assert weights.min() >= 0
    # The Gram matrix was only ever updated; the bound grows with the number of merges.
    assert rel(memory.gram, memory_gram(memory.samples_f)) < 1e-4
    assert memory.num_samples == num_slots
    assert set(np.unique(history.newest)) <= set(range(-1, num_slots))


def test_a_merge_is_a_weighted_mean():
    """Unless a sample is forgotten, the weighted mean of all moves by the new one only."""
    blocks, rate = random_samples(40, seed=3), 0.1
    _, history = insert_all(blocks, num_slots=4, rate=rate)
    merged = np.asarray(history.merged) >= 0
    assert merged[:3].sum() == 0
    assert merged.sum() > 20
    for stored, new in zip(history.samples_f, blocks, strict=True):
        means = np.einsum("tm,tm...->t...", history.weights, stored)
        expected = (1 - rate) * means[:-1] + rate * new[2:]
        moved = np.abs(means[1:] - expected).max((1, 2, 3))
        # The memory fills, then merges; a forgotten sample changes the mean.
        kept = merged[1:] | (np.arange(38) < 2)
        assert moved[kept].max() < 1e-5 * np.abs(means).max()


def test_equal_samples_merge_and_stay_finite():
    same = tuple(np.repeat(block, 20, axis=0) for block in random_samples(1))
    memory, _ = insert_all(same, num_slots=3, rate=0.05)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(memory))
    assert rel(memory.samples_f[0][0], same[0][0]) < 1e-5


def test_lanes_are_independent():
    lanes = [random_samples(30, seed=seed) for seed in range(3)]
    batch = jax.tree.map(lambda *b: np.stack(b), *lanes)
    run = functools.partial(insert_all, num_slots=5, rate=0.05)
    together, _ = jax.vmap(run)(batch)
    for i, lane in enumerate(lanes):
        alone, _ = run(lane)
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=0, atol=1e-5 * max(1, np.abs(b).max()))
