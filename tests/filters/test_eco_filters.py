"""ECO's systems against dense float64 ones: two blocks of different size, filters as real maps."""

import functools
from typing import NamedTuple

import eco_dense as dense
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from eco_oracle import rel

from cdjax import filters
from cdjax.filters import _eco

SIZES = ((9, 7), (5, 5))
CHANNELS = (2, 3)
RAW = (4, 5)
M = 3

respond_eco = jax.jit(filters.respond_eco)
eco_loss = jax.jit(filters.eco_loss)
train_eco = jax.jit(filters.train_eco, static_argnames=("learning_rate", "num_iters", "forgetting"))
train_joint = jax.jit(
    filters.train_joint, static_argnames=("num_rounds", "num_iters", "projection_reg")
)
gradient = jax.jit(_eco._gradient)


class Problem(NamedTuple):
    memory: filters.SampleMemory
    label_f: jax.Array
    reg: filters.SpatialReg


@functools.cache
def problem():
    samples_f = tuple(
        jnp.asarray(dense.random_series(i, M, c, hw=hw))
        for i, (c, hw) in enumerate(zip(CHANNELS, SIZES, strict=True))
    )
    weights = jnp.array([0.5, 0.2, 0.3])
    gram = filters.memory_gram(samples_f)
    memory = filters.SampleMemory(
        samples_f, weights, gram, jnp.int32(M), jnp.int32(2), jnp.int32(-1)
    )
    reg = filters.spatial_reg(
        jnp.array([30.0, 25.0]), support=64, edge=0.2, least=0.05, sparsity=0.05
    )
    return Problem(memory, filters.series_label(SIZES[0], 1.0), reg)


def basis():
    """Orthonormal real functions, one channel of one block each: [n, c, h, wf] for each block."""
    rows = []
    for i, (c, hw) in enumerate(zip(CHANNELS, SIZES, strict=True)):
        for channel in range(c):
            for wave in dense.real_basis(hw):
                blocks = [
                    np.zeros((k, *s[:1], s[1] // 2 + 1), np.complex64)
                    for k, s in zip(CHANNELS, SIZES, strict=True)
                ]
                blocks[i][channel] = wave
                rows.append(blocks)
    return tuple(np.stack(blocks) for blocks in zip(*rows, strict=True))


def design():
    """Root-weighted responses and penalised filters of each basis function, on the fine grid."""
    memory, functions = problem().memory, basis()
    num = len(functions[0])
    responses = 0
    for stored, block in zip(memory.samples_f, functions, strict=True):
        full_x, full_f = dense.whole(np.asarray(stored)), dense.whole(block)
        product = np.einsum("mchw,nchw->nmhw", full_x, full_f)
        rows, cols = (dense.waves(n) for n in product.shape[-2:])
        responses += np.einsum("th,nmhw,uw->nmtu", rows, product, cols).real
    root = np.sqrt(np.asarray(memory.weights, np.float64))
    data = responses * root[:, None, None] / dense.FINE
    goal = root[:, None, None] * dense.values(problem().label_f).real / dense.FINE
    penalised = [
        (dense.window(problem().reg) * dense.values(block).real).reshape(num, -1) / dense.FINE
        for block in functions
    ]
    return data.reshape(num, -1), goal.ravel(), np.concatenate(penalised, axis=1)


@functools.cache
def dense_system():
    data, goal, penalised = design()
    return data @ data.T + penalised @ penalised.T, data @ goal


def coordinates(blocks):
    """In the basis; `series_inner` makes it orthonormal."""
    inner = jax.vmap(filters.series_inner, in_axes=(0, None))
    return np.asarray(inner(jax.tree.map(jnp.asarray, basis()), blocks))


def from_coordinates(vector):
    return tuple(
        jnp.asarray(np.tensordot(vector, block, 1).astype(np.complex64)) for block in basis()
    )


def zeros():
    return from_coordinates(np.zeros(len(basis()[0])))


def test_left_hand_side_is_symmetric_positive_definite_and_dense():
    memory, _, reg = problem()
    operator = jax.jit(jax.vmap(lambda f: _eco._gradient(memory, f, None, reg)))
    images = operator(jax.tree.map(jnp.asarray, basis()))
    matrix = np.stack([coordinates(tuple(b[i] for b in images)) for i in range(len(images[0]))])
    expected, _ = dense_system()
    assert rel(matrix, matrix.T) < 1e-6
    assert np.linalg.eigvalsh(expected).min() > 1e-3
    assert np.linalg.eigvalsh((matrix + matrix.T).astype(np.float64)).min() > 1e-3
    assert rel(matrix, expected) < 1e-6


def test_right_hand_side_and_loss():
    memory, label_f, reg = problem()
    matrix, rhs = dense_system()
    right = -coordinates(gradient(memory, zeros(), label_f, reg))
    assert rel(right, rhs) < 1e-6
    vector = np.random.default_rng(0).normal(size=rhs.size)
    filter_f = from_coordinates(vector)
    assert rel(coordinates(gradient(memory, filter_f, label_f, reg)), matrix @ vector - rhs) < 1e-5
    data, goal, penalised = design()
    loss = ((vector @ data - goal) ** 2).sum() + ((vector @ penalised) ** 2).sum()
    np.testing.assert_allclose(eco_loss(filter_f, memory, label_f, reg), loss, rtol=1e-5)


def fresh_model():
    energy = tuple(jnp.mean(jnp.abs(b) ** 2, axis=0) for b in problem().memory.samples_f)
    return filters.ECOModel(zeros(), energy, filters.fresh_cg(zeros()))


def sample():
    return tuple(block[2] for block in problem().memory.samples_f)


def test_training_equals_the_direct_solution():
    memory, label_f, reg = problem()
    model = train_eco(
        fresh_model(), memory, sample(), label_f, reg, learning_rate=0.01, num_iters=100
    )
    matrix, rhs = dense_system()
    assert rel(coordinates(model.filter_f), np.linalg.solve(matrix, rhs)) < 1e-4


def test_training_goes_on_from_frame_to_frame():
    memory, label_f, reg = problem()
    model, losses = fresh_model(), []
    for _ in range(6):
        losses.append(float(eco_loss(model.filter_f, memory, label_f, reg)))
        before = model
        model = train_eco(model, memory, sample(), label_f, reg, learning_rate=0.01, num_iters=5)
    assert (np.diff(losses) < 0).all()
    expected = tuple(
        0.99 * old + 0.01 * np.abs(new) ** 2
        for old, new in zip(before.energy, sample(), strict=True)
    )
    assert rel(model.energy, expected) < 1e-6
    # What is carried matters, and less the more is forgotten.
    steps = [
        coordinates(
            train_eco(
                before._replace(cg=cg), memory, sample(), label_f, reg,
                learning_rate=0.01, num_iters=1, forgetting=forgetting,
            ).filter_f
        )
        for cg, forgetting in (
            (filters.fresh_cg(before.filter_f), 0.0), (before.cg, 1e3), (before.cg, 0.0)
        )
    ]  # fmt: skip
    distances = [np.abs(step - steps[0]).max() for step in steps]
    assert distances[1] < 0.01 * distances[2]


def test_response_is_a_convolution_summed_over_blocks():
    rng = np.random.default_rng(1)
    filter_f = from_coordinates(rng.normal(size=len(basis()[0])))
    search_f = problem().memory.samples_f
    found = dense.values(respond_eco(filter_f, search_f)).real
    expected = 0
    for filt, search in zip(filter_f, search_f, strict=True):
        one = np.fft.fft2(dense.values(filt).real)
        other = np.fft.fft2(dense.values(search).real)
        expected += np.fft.ifft2((one * other).sum(1)).real / dense.FINE**2
    assert rel(found, expected) < 1e-5
    alone = respond_eco(filter_f, tuple(block[1] for block in search_f))
    assert rel(dense.values(alone).real, expected[1]) < 1e-5


# The joint problem of the first frame


@functools.cache
def joint():
    raw_f = tuple(
        jnp.asarray(dense.random_series(10 + i, c, hw=hw))
        for i, (c, hw) in enumerate(zip(RAW, SIZES, strict=True))
    )
    rng = np.random.default_rng(5)
    projection = tuple(
        jnp.asarray(np.linalg.qr(rng.normal(size=(c, k)))[0].astype(np.float32))
        for c, k in zip(RAW, CHANNELS, strict=True)
    )
    return raw_f, projection


def test_adjoint_of_the_projection():
    raw_f, projection = joint()
    filter_f = from_coordinates(np.random.default_rng(2).normal(size=len(basis()[0])))
    goal_f = jnp.asarray(dense.random_series(3, hw=SIZES[0]))
    response_f = respond_eco(filter_f, _eco._project_all(raw_f, projection))
    one = filters.series_inner((response_f[None],), (goal_f[None],))
    pulled = _eco._pull_projection(raw_f, filter_f, goal_f)
    two = sum(jnp.sum(a * b) for a, b in zip(pulled, projection, strict=True))
    np.testing.assert_allclose(one, two, rtol=1e-5)


def joint_loss(filter_f, projection, reg):
    memory = filters.start_memory(_eco._project_all(joint()[0], projection), num_slots=1)
    data = filters.eco_loss(filter_f, memory, problem().label_f, problem().reg)
    return data + reg * sum(jnp.sum(p**2) for p in projection)


def test_gauss_newton_decreases_the_joint_loss():
    raw_f, projection = joint()
    _, label_f, reg = problem()
    result = train_joint(
        raw_f, projection, label_f, reg, num_rounds=8, num_iters=15, projection_reg=1e-3
    )
    loss = jax.jit(joint_loss)
    assert (np.diff([loss(zeros(), projection, 1e-3), *result.losses]) < 0).all()
    end = loss(result.model.filter_f, result.projection, 1e-3)
    np.testing.assert_allclose(end, result.losses[-1], rtol=1e-5)
    # In the first round the filter is zero, so that the projection stays: it is worth moving.
    assert result.losses[-1] < 0.9 * result.losses[0]


def test_a_round_starts_down_the_joint_gradient():
    raw_f, projection = joint()
    _, label_f, reg = problem()
    filter_f = from_coordinates(np.random.default_rng(4).normal(size=len(basis()[0])))
    ones = jax.tree.map(lambda b: jnp.ones(b.shape, jnp.float32), filter_f)
    step = jax.jit(
        lambda diagonal: _eco._joint_round(
            filter_f, projection, raw_f, label_f, reg, diagonal, projection_reg=0.1, num_iters=1
        )
    )
    found = step((ones, (jnp.float32(1.0), jnp.float32(4.0))))
    slope = jax.jit(jax.grad(joint_loss, argnums=1))(filter_f, projection, 0.1)
    moved = [np.asarray(a - b) for a, b in zip(found[1], projection, strict=True)]
    expected = [-np.asarray(slope[0]), -np.asarray(slope[1]) / 4]
    alpha = np.vdot(expected[0], moved[0]) / np.vdot(expected[0], expected[0])
    assert alpha > 0
    for a, b in zip(moved, expected, strict=True):
        np.testing.assert_allclose(a, alpha * b, rtol=0, atol=1e-4 * alpha * np.abs(b).max())


def test_lanes_are_independent():
    memory, label_f, reg = problem()
    names = {"learning_rate": 0.01, "num_iters": 5}
    samples_f = jax.tree.map(lambda b: jnp.stack([b, 2 * b[::-1]]), memory.samples_f)
    batch = memory._replace(samples_f=samples_f)
    axes = memory._replace(**{name: None for name in memory._fields})._replace(samples_f=0)
    step = lambda one: filters.train_eco(fresh_model(), one, sample(), label_f, reg, **names)
    together = jax.jit(jax.vmap(step, in_axes=(axes,)))(batch)
    for lane in range(2):
        alone = jax.jit(step)(memory._replace(samples_f=tuple(b[lane] for b in samples_f)))
        found = tuple(block[lane] for block in together.filter_f)
        assert rel(found, alone.filter_f) < 1e-5


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e3])
def test_features_of_any_size_stay_finite(scale):
    memory, label_f, reg = problem()
    tiny = memory._replace(samples_f=jax.tree.map(lambda b: b * scale, memory.samples_f))
    model = train_eco(fresh_model(), tiny, sample(), label_f, reg, learning_rate=0.01, num_iters=20)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(model))


def test_preconditioner_leaves_out_channels_without_energy():
    memory, _, reg = problem()
    energy = tuple(jnp.mean(jnp.abs(b) ** 2, axis=0) for b in memory.samples_f)
    wide = tuple(jnp.concatenate([jnp.zeros_like(b[:1]), b]) for b in energy)
    weights = {"data_weight": 0.3, "reg_weight": 0.1}
    few, many = (_eco._diagonal(each, reg, **weights) for each in (energy, wide))
    for one, other in zip(few, many, strict=True):
        np.testing.assert_allclose(other[1:], one, rtol=1e-6)


def test_the_finest_block_may_be_any():
    memory, label_f, reg = problem()
    model = train_eco(
        fresh_model(), memory, sample(), label_f, reg, learning_rate=0.01, num_iters=5
    )
    turned = lambda blocks: tuple(reversed(blocks))
    first = fresh_model()
    other = train_eco(
        filters.ECOModel(*map(turned, first[:2]), filters.fresh_cg(turned(zeros()))),
        memory._replace(samples_f=turned(memory.samples_f)),
        turned(sample()),
        label_f,
        reg,
        learning_rate=0.01,
        num_iters=5,
    )
    assert rel(turned(other.filter_f), model.filter_f) < 1e-5
