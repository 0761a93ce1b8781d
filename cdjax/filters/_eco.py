"""ECO's filter: factorised, over feature blocks of different resolution, trained iteratively.

A block's coefficients are half spectra at its own odd size (`_series.py`); responses live at the
size of the finest block.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cdjax._types import Array, Blocks, Complex, Float, Number
from cdjax.filters._cg import CGState, conjugate_gradient, fresh_cg
from cdjax.filters._fourier import half_weights
from cdjax.filters._memory import SampleMemory, start_memory
from cdjax.filters._series import crop_series, make_hermitian, pad_series
from cdjax.filters._spatial import SpatialReg, reg_energy, regularise

# What ECO's gradient sums at once; the fastest on a CPU with AVX2, see BUILD_NOTES.md.
_CHANNELS_AT_ONCE = 8
_SAMPLES_AT_ONCE = 10  # in the responses
_SAMPLES_A_TURN = 5  # in the gradient's loop

RealBlocks = tuple[Float[Array, "_ _ _"], ...]


class ECOModel(NamedTuple):
    """A filter and what its training carries along.

    Attributes:
      filter_f: half spectra k h wf of each block.
      energy: running mean of the samples' |coefficient|^2, alike, for the preconditioner.
      cg: carry of the conjugate gradients.
    """

    filter_f: Blocks
    energy: RealBlocks
    cg: CGState


class JointResult(NamedTuple):
    """Filter and projection of the first frame.

    Attributes:
      model: the filter, ready for `train_eco`.
      projection: for each block, raw channels c to channels k.
      losses: joint loss after each Gauss-Newton round.
    """

    model: ECOModel
    projection: tuple[Float[Array, "_ _"], ...]
    losses: Float[Array, " rounds"]


def _size(block: Array) -> tuple[int, int]:
    """Odd size of a block's series."""
    return block.shape[-2], 2 * block.shape[-1] - 1


def _series_weights(block: Array) -> np.ndarray:
    """How often each coefficient of a block stands in the whole spectrum."""
    return half_weights(_size(block))


def series_inner(one: Blocks, other: Blocks) -> Float[Array, ""]:
    """Inner product of series over the unit square [1, `inner_product_filter.m`].

    Args:
      one: half spectra of each block.
      other: likewise.

    Returns:
      The sum over the whole spectra, real.

    References:
      [1] Danelljan et al., ECO: efficient convolution operators for tracking, 2017.
    """
    total = 0.0
    for a, b in zip(one, other, strict=True):
        total += jnp.sum(_series_weights(a)[None] * (a.real * b.real + a.imag * b.imag))
    return jnp.asarray(total)


def pca_projection(maps: Float[Array, "c h w"], *, num_channels: int) -> Float[Array, "c _"]:
    """Principal directions of a feature map's channels [1, `init_projection_matrix.m`].

    Args:
      maps: normalised features of the first frame, not windowed.
      num_channels: directions to keep.

    Returns:
      The projection, orthonormal columns, the strongest first; signs are arbitrary.

    References:
      [1] Danelljan et al., ECO: efficient convolution operators for tracking, 2017.
    """
    rows = maps.reshape(maps.shape[0], -1)
    rows -= jnp.mean(rows, axis=1, keepdims=True)
    _, vectors = jnp.linalg.eigh(jnp.matmul(rows, rows.T, precision="highest"))
    return vectors[:, ::-1][:, :num_channels]


def project(
    maps: Float[Array, "*b c h w"] | Complex[Array, "*b c h w"], projection: Float[Array, "c k"]
) -> Float[Array, "*b k h w"] | Complex[Array, "*b k h w"]:
    """Takes raw channels to the filter's channels, without subtracting means.

    Args:
      maps: feature maps or their spectra; projecting before the transform is cheaper.
      projection: raw channels to channels.

    Returns:
      The projected maps.
    """
    if jnp.iscomplexobj(maps):
        return jax.lax.complex(project(maps.real, projection), project(maps.imag, projection))
    return jnp.einsum("...chw,ck->...khw", maps, projection, precision="highest")


def respond_eco(
    filter_f: Blocks, sample_f: tuple[Complex[Array, "*b _ _ _"], ...]
) -> Complex[Array, "*b h wf"]:
    """Response to search features: a convolution, as ECO has it; no conjugate.

    Args:
      filter_f: half spectra of each block.
      sample_f: half spectra of the search features, with any axes in front.

    Returns:
      Half spectra of the response at the finest block's size; the target's shift is where the
      series peaks, (0, 0) for none.
    """
    hw = max(map(_size, filter_f))
    total = 0.0
    for filt, sample in zip(filter_f, sample_f, strict=True):
        lanes = (None,) * (sample.ndim - 3)
        total += pad_series(jnp.sum(sample * filt[lanes], axis=-3), hw)
    return jnp.asarray(total)


def _pull(
    sample_f: tuple[Complex[Array, "*b _ _ _"], ...], response_f: Complex[Array, "*b h wf"]
) -> tuple[Complex[Array, "*b _ _ _"], ...]:
    """Adjoint of `respond_eco` in the filter."""
    return tuple(jnp.conj(x) * crop_series(response_f, _size(x))[..., None, :, :] for x in sample_f)


def _in_parts(size: int, most: int) -> list[slice]:
    """Cuts an axis into parts of at most so many."""
    return [slice(start, start + most) for start in range(0, size, most)]


def _responses(memory: SampleMemory, filter_f: Blocks) -> Complex[Array, "n h wf"]:
    """`respond_eco` of all samples of the memory."""
    # XLA for CPUs makes straight loops of sums over a few channels of flat maps, a few samples at a
    # time. More channels it sums in windows, by way of an array of all products; within maps that
    # are not flat it computes every index anew.
    hw = max(map(_size, filter_f))
    total = 0.0
    for size in sorted(set(map(_size, filter_f)), reverse=True):
        blocks = [
            (filt.reshape(1, len(filt), -1), samples.reshape(*samples.shape[:2], -1))
            for filt, samples in zip(filter_f, memory.samples_f, strict=True)
            if _size(filt) == size
        ]
        flat = [
            sum(
                jnp.sum(samples[few, part] * filt[:, part], axis=1)
                for filt, samples in blocks
                for part in _in_parts(filt.shape[1], _CHANNELS_AT_ONCE)
            )
            for few in _in_parts(memory.weights.size, _SAMPLES_AT_ONCE)
        ]
        total += pad_series(jnp.concatenate(flat).reshape(-1, size[0], size[1] // 2 + 1), hw)
    return jnp.asarray(total)


def _data_gradient(
    memory: SampleMemory, filter_f: Blocks, label_f: Float[Array, "h wf"] | None
) -> Blocks:
    """Half the gradient of the data term; without label its linear part."""
    error_f = _responses(memory, filter_f)
    error_f = error_f if label_f is None else error_f - label_f[None]
    error_f = memory.weights[:, None, None] * error_f

    # The errors are there before the loop begins: of any that it computed, XLA would do the last
    # sums anew for every channel of the gradient.
    def add(total: Blocks, slots: tuple[tuple[Array, ...], ...]) -> tuple[Blocks, None]:
        pulled = jax.tree.map(lambda x, e: jnp.sum(jnp.conj(x) * e[:, None], axis=0), *slots)
        return jax.tree.map(jnp.add, total, pulled), None

    num_slots = memory.weights.size
    few = max(n for n in range(1, _SAMPLES_A_TURN + 1) if num_slots % n == 0)
    errors_f = tuple(crop_series(error_f, _size(x)) for x in memory.samples_f)
    slots = jax.tree.map(
        lambda x: x.reshape(num_slots // few, few, *x.shape[1:]), (memory.samples_f, errors_f)
    )
    return jax.lax.scan(add, jax.tree.map(jnp.zeros_like, filter_f), slots)[0]


def _gradient(
    memory: SampleMemory,
    filter_f: Blocks,
    label_f: Float[Array, "h wf"] | None,
    reg: SpatialReg,
) -> Blocks:
    """Half the gradient of `eco_loss`; without label the left-hand side [`lhs_operation.m`]."""
    data = _data_gradient(memory, filter_f, label_f)
    return tuple(d + regularise(f, reg) for d, f in zip(data, filter_f, strict=True))


def channel_penalty(block_f: Complex[Array, "k h wf"], reg: SpatialReg) -> Float[Array, " k"]:
    """What each channel of a filter adds to the spatial penalty.

    Args:
      block_f: half spectra of one block of the filter.
      reg: the penalty's kernel.

    Returns:
      ||w f||^2 of each channel, over the unit square.
    """
    spread = regularise(block_f, reg)
    product = block_f.real * spread.real + block_f.imag * spread.imag
    return jnp.sum(_series_weights(block_f)[None] * product, axis=(1, 2))


def eco_loss(
    filter_f: Blocks, memory: SampleMemory, label_f: Float[Array, "h wf"], reg: SpatialReg
) -> Float[Array, ""]:
    """ECO's objective over the memory [1, Eq. 3].

    Args:
      filter_f: half spectra of each block.
      memory: samples and their weights.
      label_f: half spectrum of the desired response.
      reg: the spatial penalty.

    Returns:
      Weighted squared errors of the responses over the unit square, plus the penalty.

    References:
      [1] Danelljan et al., ECO: efficient convolution operators for tracking, 2017.
    """
    error = respond_eco(filter_f, memory.samples_f) - label_f[None]
    weights = memory.weights[:, None, None] * _series_weights(error)[None]
    data = jnp.sum(weights * (error.real**2 + error.imag**2))
    return data + sum(jnp.sum(channel_penalty(block, reg)) for block in filter_f)


def _diagonal(
    energy: RealBlocks, reg: SpatialReg, *, data_weight: Number, reg_weight: Number
) -> RealBlocks:
    """Approximate diagonal of the left-hand side."""

    def mean(block: Float[Array, "k h wf"]) -> Float[Array, "1 h wf"]:
        # Of the channels in use: the others, which distillation left out, have no energy.
        num_used = jnp.sum(jnp.any(block > 0, axis=(1, 2)))
        return jnp.sum(block, axis=0, keepdims=True) / jnp.maximum(num_used, 1)

    return tuple(
        (1 - reg_weight) * (data_weight * block + (1 - data_weight) * mean(block))
        + reg_weight * reg_energy(reg)
        for block in energy
    )


def _power(sample_f: Blocks) -> RealBlocks:
    """|coefficient|^2."""
    return tuple(x.real**2 + x.imag**2 for x in sample_f)


def train_eco(
    model: ECOModel,
    memory: SampleMemory,
    sample_f: Blocks | None,
    label_f: Float[Array, "h wf"],
    reg: SpatialReg,
    *,
    learning_rate: Number,
    num_iters: int = 5,
    forgetting: Number = 50.0,
    data_weight: Number = 0.75,
    reg_weight: Number = 0.25,
) -> ECOModel:
    """Improves the filter on the memory: later frames [1, `train_filter.m`].

    Args:
      model: the filter and its carry.
      memory: samples and weights, the newest sample included.
      sample_f: the newest sample, for the preconditioner; None leaves that as it is.
      label_f: half spectrum of the desired response.
      reg: the spatial penalty.
      learning_rate: of the preconditioner's energy; also the unit of `forgetting`.
      num_iters: steps of conjugate gradients (Polak-Ribiere).
      forgetting: the carried direction counts as (1 - learning_rate)^forgetting.
      data_weight: share of each channel's own energy, against the channels' mean, in the
        preconditioner.
      reg_weight: share of the penalty in the preconditioner.

    Returns:
      The model after training.

    References:
      [1] Danelljan et al., ECO: efficient convolution operators for tracking, 2017.
    """
    energy = model.energy
    if sample_f is not None:
        energy = jax.tree.map(
            lambda old, new: (1 - learning_rate) * old + learning_rate * new,
            energy,
            _power(sample_f),
        )
    diagonal = _diagonal(energy, reg, data_weight=data_weight, reg_weight=reg_weight)
    carry = model.cg._replace(rho=model.cg.rho / (1 - learning_rate) ** forgetting)
    result = conjugate_gradient(
        lambda filter_f: _gradient(memory, filter_f, None, reg),
        model.filter_f,
        jax.tree.map(jnp.negative, _gradient(memory, model.filter_f, label_f, reg)),
        carry,
        precondition=lambda residual: jax.tree.map(jnp.divide, residual, diagonal),
        inner=series_inner,
        num_iters=num_iters,
        formula="polak_ribiere",
    )
    return ECOModel(result.x, energy, result.state)


def _projection_weights(block: Array) -> np.ndarray:
    """Weights of the coefficients in the adjoint of the projection's part.

    Differs: the reference leaves column 0 out, so that its system is not symmetric.
    """
    return _series_weights(block)


def _pull_projection(
    raw_f: Blocks, filter_f: Blocks, response_f: Complex[Array, "h wf"]
) -> tuple[Float[Array, "_ _"], ...]:
    """Adjoint of the response in the projection."""
    pulled = []
    for raw, filt in zip(raw_f, filter_f, strict=True):
        goal = jnp.conj(filt) * crop_series(response_f, _size(raw))[None]
        goal *= _projection_weights(raw)[None]
        pulled.append(
            jnp.einsum("chw,khw->ck", raw.real, goal.real, precision="highest")
            + jnp.einsum("chw,khw->ck", raw.imag, goal.imag, precision="highest")
        )
    return tuple(pulled)


def _project_all(raw_f: Blocks, projection: tuple[Array, ...]) -> Blocks:
    return tuple(project(x, p) for x, p in zip(raw_f, projection, strict=True))


def _joint_diagonal(
    raw_f: Blocks,
    projection: tuple[Array, ...],
    label_f: Float[Array, "h wf"],
    reg: SpatialReg,
    *,
    projection_reg: Number,
    data_weight: Number,
    reg_weight: Number,
    projection_weight: Number,
) -> tuple[RealBlocks, tuple[Array, ...]]:
    """Preconditioner of the joint problem: a spectrum a channel, a constant a projection."""
    energy = _power(_project_all(raw_f, projection))
    num_raw = sum(raw.shape[0] for raw in raw_f)
    # 2 |label|^2 over the half spectrum, shared out among all raw channels [`train_joint.m`].
    power = (2 * jnp.sum(crop_series(label_f, _size(raw)) ** 2) / num_raw for raw in raw_f)
    return (
        _diagonal(energy, reg, data_weight=data_weight, reg_weight=reg_weight),
        tuple(projection_weight * (each + projection_reg) for each in power),
    )


def _joint_round(
    filter_f: Blocks,
    projection: tuple[Array, ...],
    raw_f: Blocks,
    label_f: Float[Array, "h wf"],
    reg: SpatialReg,
    diagonal: tuple[RealBlocks, tuple[Array, ...]],
    *,
    projection_reg: Number,
    num_iters: int,
) -> tuple[Blocks, tuple[Array, ...]]:
    """One Gauss-Newton round from a filter and a projection [`train_joint.m`].

    The unknowns are the filter itself and the projection's change.
    """
    sample_f = _project_all(raw_f, projection)

    def system(unknown: tuple, goal_f: Array | None, fixed: tuple) -> tuple:
        filt, change = unknown
        error_f = respond_eco(filt, sample_f)
        error_f += respond_eco(filter_f, _project_all(raw_f, change))
        if goal_f is not None:
            error_f = error_f - goal_f
        in_filter = tuple(
            d + regularise(f, reg) for d, f in zip(_pull(sample_f, error_f), filt, strict=True)
        )
        in_projection = jax.tree.map(
            lambda d, p: d + projection_reg * p, _pull_projection(raw_f, filter_f, error_f), fixed
        )
        return in_filter, in_projection

    def inner(one: tuple, other: tuple) -> Float[Array, ""]:
        products = jax.tree.map(lambda a, b: jnp.sum(a * b), one[1], other[1])
        return series_inner(one[0], other[0]) + sum(products)

    start = (filter_f, jax.tree.map(jnp.zeros_like, projection))
    result = conjugate_gradient(
        lambda unknown: system(unknown, None, unknown[1]),
        start,
        jax.tree.map(jnp.negative, system(start, label_f, projection)),
        fresh_cg(start),
        precondition=lambda residual: jax.tree.map(jnp.divide, residual, diagonal),
        inner=inner,
        num_iters=num_iters,
        formula="fletcher_reeves",
    )
    filt, change = result.x
    return jax.tree.map(make_hermitian, filt), jax.tree.map(jnp.add, projection, change)


def train_joint(
    raw_f: Blocks,
    projection: tuple[Float[Array, "_ _"], ...],
    label_f: Float[Array, "h wf"],
    reg: SpatialReg,
    *,
    num_rounds: int = 10,
    num_iters: int = 15,
    projection_reg: Number = 1e-7,
    data_weight: Number = 0.75,
    reg_weight: Number = 0.25,
    projection_weight: Number = 40.0,
) -> JointResult:
    """Trains filter and projection together on the first frame [1, §3.1; `train_joint.m`].

    Minimises ||sum_blocks sum_k (projected sample)_k filter_k - label||^2 + sum_k ||w filter_k||^2
    + projection_reg ||projection||^2 by Gauss-Newton, each round by conjugate gradients
    (Fletcher-Reeves) from the last filter.

    Args:
      raw_f: half spectra of the first frame's raw channels, c h wf of each block.
      projection: where to start, see `pca_projection`.
      label_f: half spectrum of the desired response.
      reg: the spatial penalty.
      num_rounds: Gauss-Newton rounds.
      num_iters: steps of conjugate gradients a round.
      projection_reg: weight of the projection's squares.
      data_weight: see `train_eco`.
      reg_weight: see `train_eco`.
      projection_weight: weight of the projection's part of the preconditioner.

    Returns:
      Filter, projection and loss after each round. The sample for the memory is `raw_f` with the
      final projection; the energy stays that of the first.

    References:
      [1] Danelljan et al., ECO: efficient convolution operators for tracking, 2017. Differs: the
        adjoint of the projection's part is exact, see `_projection_weights`.
    """
    energy = _power(_project_all(raw_f, projection))
    diagonal = _joint_diagonal(
        raw_f,
        projection,
        label_f,
        reg,
        projection_reg=projection_reg,
        data_weight=data_weight,
        reg_weight=reg_weight,
        projection_weight=projection_weight,
    )

    def one_round(carry: tuple[Blocks, tuple], _: None) -> tuple[tuple[Blocks, tuple], Array]:
        filter_f, projection = carry
        filter_f, projection = _joint_round(
            filter_f,
            projection,
            raw_f,
            label_f,
            reg,
            diagonal,
            projection_reg=projection_reg,
            num_iters=num_iters,
        )
        memory = start_memory(_project_all(raw_f, projection), num_slots=1)
        loss = eco_loss(filter_f, memory, label_f, reg)
        loss += projection_reg * sum(jnp.sum(p**2) for p in projection)
        return (filter_f, projection), loss

    zeros = tuple(
        jnp.zeros((p.shape[1], *raw.shape[1:]), raw.dtype)
        for raw, p in zip(raw_f, projection, strict=True)
    )
    (filter_f, projection), losses = jax.lax.scan(
        one_round, (zeros, projection), None, length=num_rounds
    )
    return JointResult(ECOModel(filter_f, energy, fresh_cg(filter_f)), projection, losses)
