"""One step from each stored state of pyECO (parity/README.md §5)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from eco_oracle import SEQUENCES, Oracle, coefficients, memory_after, model_after, rel

from cdjax import filters, locate
from cdjax.filters import _eco

pytestmark = pytest.mark.data

series_coefficients = jax.jit(filters.series_coefficients)
shift_series = jax.jit(filters.shift_series)
project = jax.jit(filters.project)
pca_projection = jax.jit(filters.pca_projection, static_argnames="num_channels")
insert_sample = jax.jit(filters.insert_sample, static_argnames="learning_rate")
train_eco = jax.jit(filters.train_eco, static_argnames="learning_rate")
respond_eco = jax.jit(filters.respond_eco)
find_series_peak = jax.jit(locate.find_series_peak, static_argnames="num_iters")

# Of the README: 1e-4 everywhere when fed from features.
TOLERANCE = 1e-4


@functools.cache
def load(folder, sequence):
    return Oracle(folder / f"eco_hc_{sequence}.npz")


@pytest.fixture(params=SEQUENCES)
def oracle(request, parity_dir):
    return load(parity_dir, request.param)


def size(oracle):
    return tuple(int(n) for n in oracle["output_sz"])


def reg_of(oracle):
    config = oracle.config()
    return filters.spatial_reg(
        jnp.asarray(oracle["base_target_sz"], jnp.float32),
        support=int(oracle["img_support_sz"][0]),
        edge=config["reg_window_edge"],
        least=config["reg_window_min"],
        sparsity=config["reg_sparsity_threshold"],
    )


def label_of(oracle):
    # The factor is pyECO's; the specification's is 1/16.
    hw, factor = size(oracle), oracle.config()["output_sigma_factor"]
    sides = np.floor(oracle["base_target_sz"])
    sigma = np.sqrt(np.prod(sides)) * factor * hw[0] / oracle["img_support_sz"][0]
    return filters.series_label(hw, sigma)


def angle_of(oracle, t):
    shift = oracle["pos"][t] - oracle["sample_pos"][t]
    turns = shift / (oracle["sample_scale"][t] * oracle["img_support_sz"])
    return (2 * np.pi * turns).astype(np.float32)


def test_constants(oracle):
    reg = reg_of(oracle)
    dense = np.diag(np.zeros(7))
    dense[:, 3] += reg.rows
    dense[3] += reg.cols
    expected = oracle["reg_filter_0"]
    margins = [((7 - n) // 2, (7 - n) // 2) for n in expected.shape]
    assert rel(dense, np.pad(expected, margins)) < 1e-6
    assert rel(filters.reg_energy(reg), oracle["reg_energy_0"]) < 1e-6
    label_f = label_of(oracle)
    for k, hw in enumerate(oracle["filter_sz"].tolist()):
        expected = coefficients(oracle[f"label_{k}"][..., None])[0]
        assert rel(filters.crop_series(label_f, tuple(hw)), expected) < 1e-6
        window = filters.series_window(tuple(oracle["feature_sz"][k].tolist()))
        assert rel(window, oracle[f"cos_window_{k}"]) < 1e-6


def test_coefficients_of_the_first_frame(oracle):
    found = tuple(
        shift_series(series_coefficients(maps), angle_of(oracle, 0))
        for maps in oracle.maps("feat_first")
    )
    assert rel(found, oracle.blocks("xlf_first")) < 1e-6
    for k, maps in enumerate(oracle.maps("feat_first")):
        expected = oracle[f"proj_pca_{k}"]
        found = np.asarray(pca_projection(maps, num_channels=expected.shape[1]))
        assert rel(found * np.sign(np.sum(found * expected, axis=0)), expected) < TOLERANCE


def left_out(block):
    """The adjoint of the projection's part in pyECO: not column 0 but the last h entries go."""
    height, width_f = block.shape[-2:]
    kept = np.full((height, width_f), 2.0, np.float32)
    kept.reshape(-1)[-height:] = 0
    return coefficients(kept[..., None])[0]


def test_joint_training(oracle, monkeypatch):
    monkeypatch.setattr(_eco, "_projection_weights", left_out)
    config, label_f, reg = oracle.config(), label_of(oracle), reg_of(oracle)
    options = {
        name: float(config[key])
        for name, key in {
            "projection_reg": "projection_reg",
            "data_weight": "precond_data_param",
            "reg_weight": "precond_reg_param",
            "projection_weight": "precond_proj_param",
        }.items()
    }
    raw_f, projection = oracle.blocks("xlf_first"), oracle.raw("proj_pca")
    # One round at a time, from the stored one before.
    diagonal = jax.jit(functools.partial(_eco._joint_diagonal, **options))(
        raw_f, projection, label_f, reg
    )
    one_round = jax.jit(
        functools.partial(_eco._joint_round, num_iters=15, projection_reg=options["projection_reg"])
    )
    filter_f = jax.tree.map(np.zeros_like, oracle.blocks("gn_filter", 0))
    for at in range(5):
        found = one_round(filter_f, projection, raw_f, label_f, reg, diagonal)
        filter_f, projection = oracle.blocks("gn_filter", at), oracle.raw("gn_proj", at)
        assert rel(found[0], filter_f) < TOLERANCE
        assert rel(found[1], projection) < TOLERANCE
    # The chain amplifies rounding.
    train = jax.jit(functools.partial(filters.train_joint, num_rounds=5, **options))
    found = train(raw_f, oracle.raw("proj_pca"), label_f, reg)
    assert rel(found.model.filter_f, oracle.blocks("filter", 0)) < 0.02
    assert rel(found.projection, oracle.raw("proj")) < 0.02
    assert rel(found.model.energy, oracle.blocks("energy", 0)) < 1e-6
    losses = {
        "cn": [3.670e-4, 2.734e-4, 2.294e-4, 2.106e-4, 1.961e-4],
        "ic": [1.605e-4, 1.055e-4, 8.121e-5, 6.613e-5, 5.641e-5],
    }[str(oracle["block0_name"])]
    np.testing.assert_allclose(found.losses, losses, rtol=0.01)
    sample_f = tuple(project(raw, p) for raw, p in zip(raw_f, oracle.raw("proj"), strict=True))
    assert rel(sample_f, oracle.blocks("sample", 0)) < 1e-6


def test_features_of_the_second_frame(oracle):
    found = tuple(
        series_coefficients(project(maps, p))
        for maps, p in zip(oracle.maps("feat_second"), oracle.raw("proj"), strict=True)
    )
    assert rel(found, oracle.blocks("det", 1)) < 1e-5


def test_localisation(oracle):
    hw = size(oracle)
    for t in range(1, 11):
        search_f = tuple(block[None] for block in oracle.blocks("det", t))
        response_f = respond_eco(oracle.blocks("filter", t - 1), search_f)
        maps = filters.irfft2(response_f, hw=hw) * np.prod(hw)
        assert rel(maps[0], oracle["score_map"][t]) < 1e-6
        cell, peak = (find_series_peak(response_f, num_iters=n) for n in (0, 5))
        wrapped = (oracle["grid_peak"][t] + hw[0] // 2) % hw[0] - hw[0] // 2
        np.testing.assert_allclose(cell.shift * hw[0], wrapped, atol=1e-5)
        np.testing.assert_allclose(cell.score, oracle["grid_score"][t], rtol=1e-5)
        np.testing.assert_allclose(peak.shift * hw[0], oracle["disp"][t], atol=1e-5)
        np.testing.assert_allclose(peak.score, oracle["max_score"][t], rtol=1e-5)
        move = peak.shift * oracle["img_support_sz"] * oracle["sample_scale"][t]
        np.testing.assert_allclose(oracle["sample_pos"][t] + move, oracle["pos"][t], atol=1e-3)


def test_learning(oracle):
    label_f, reg, rate = label_of(oracle), reg_of(oracle), oracle.config()["learning_rate"]
    for t in range(1, 11):
        sample_f = tuple(
            shift_series(block, angle_of(oracle, t)) for block in oracle.blocks("det", t)
        )
        assert rel(sample_f, oracle.blocks("sample", t)) < 1e-6
        memory, expected = memory_after(oracle, t - 1), memory_after(oracle, t)
        memory = insert_sample(memory, sample_f, learning_rate=rate)
        assert rel(memory.weights, expected.weights) < 1e-6
        assert rel(memory.gram, expected.gram) < 1e-5
        assert rel(memory.samples_f, expected.samples_f) < 1e-6
        assert (memory.newest, memory.merged) == (oracle["new_id"][t], -1)
        if oracle["trained"][t]:
            found = train_eco(
                model_after(oracle, t - 1), memory, sample_f, label_f, reg, learning_rate=rate
            )
            expected = model_after(oracle, t)
            assert rel(found.filter_f, expected.filter_f) < 1e-5
            assert rel(found.energy, expected.energy) < 1e-5
            assert rel(found.cg.direction, expected.cg.direction) < 3 * TOLERANCE
            assert rel(found.cg.residual, expected.cg.residual) < 3 * TOLERANCE
            np.testing.assert_allclose(found.cg.rho, expected.cg.rho, rtol=TOLERANCE)
