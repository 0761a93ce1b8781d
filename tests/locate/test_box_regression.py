import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdjax import crop, locate

fit = jax.jit(locate.fit_box_regression, static_argnames="reg")
regress = jax.jit(locate.regress_boxes)


@pytest.fixture
def oracle(parity_dir):
    with np.load(parity_dir / "mdnet.npz") as archive:
        return {k: archive[k] for k in archive if k.startswith("bb_")}


@functools.cache
def oracle_features():
    rng = np.random.RandomState(3)
    return np.maximum(10 * rng.normal(size=(200, 4608)), 0).astype(np.float32)


def features_for(oracle):
    features = oracle_features().copy()
    features[:, :4] += (2 * (oracle["bb_boxes"] - oracle["bb_gt"])).astype(np.float32)
    return features


def on_device(*arrays):
    return tuple(jnp.asarray(x, jnp.float32) for x in arrays)


@pytest.mark.data
def test_features_are_the_oracles(oracle):
    features = features_for(oracle)
    total = features.sum(dtype=np.float64)
    np.testing.assert_allclose(total, oracle["bb_feature_sum"], rtol=1e-9)
    np.testing.assert_array_equal(features.ravel()[:16], oracle["bb_feature_first"])


@pytest.mark.data
def test_selection_matches_py_mdnet(oracle):
    boxes, target = on_device(oracle["bb_boxes"], oracle["bb_gt"])
    np.testing.assert_allclose(crop.box_overlaps(boxes, target), oracle["bb_iou"], atol=1e-6)
    valid = crop.regression_samples(boxes, target)
    np.testing.assert_array_equal(np.flatnonzero(valid), oracle["bb_selected"])


@pytest.mark.data
def test_regression_matches_py_mdnet(oracle):
    features = features_for(oracle)
    x, boxes, target = on_device(features, oracle["bb_boxes"], oracle["bb_gt"])
    regression = fit(x, boxes, target, crop.regression_samples(boxes, target))
    scale = np.abs(oracle["bb_coef"]).max()
    coef_error = np.abs(regression.coef.T - oracle["bb_coef"]).max() / scale
    assert coef_error < 1e-5
    np.testing.assert_allclose(regression.intercept, oracle["bb_intercept"], rtol=0, atol=1e-6)
    raw = np.asarray(x[:12], np.float64) @ np.asarray(regression.coef, np.float64)
    raw += np.asarray(regression.intercept)
    np.testing.assert_allclose(raw, oracle["bb_raw_prediction"], rtol=0, atol=1e-6)
    found = regress(
        regression,
        x[:12],
        *on_device(oracle["bb_predict_boxes"]),
        jnp.asarray(oracle["bb_image_size"][::-1], jnp.int32),
    )
    # px: 1e-6 of boxes of some 100 px.
    np.testing.assert_allclose(found, oracle["bb_predicted"], rtol=0, atol=1e-4)


def toy(num=30):
    rng = np.random.default_rng(0)
    target = np.array([40.0, 30.0, 20.0, 16.0])
    boxes = target + rng.normal(0, 3, (num, 4)) * [1, 1, 0.5, 0.5]
    features = rng.normal(0, 4, (num, 50))
    return on_device(features, boxes, target)


def test_dual_is_the_primal():
    features, boxes, target = toy()
    valid = np.random.default_rng(1).random(30) < 0.7
    x, box, gt = (np.asarray(a, np.float64) for a in (features, boxes, target))
    x, box = x[valid], box[valid]
    y = np.concatenate(
        [
            (gt[:2] + gt[2:] / 2 - box[:, :2] - box[:, 2:] / 2) / box[:, 2:],
            np.log(gt[2:] / box[:, 2:]),
        ],
        axis=1,
    )
    centred = x - x.mean(0)
    coef = np.linalg.solve(centred.T @ centred + 5 * np.eye(50), centred.T @ (y - y.mean(0)))
    found = fit(features, boxes, target, jnp.asarray(valid), reg=5.0)
    np.testing.assert_allclose(found.coef, coef, rtol=0, atol=1e-5 * np.abs(coef).max())
    np.testing.assert_allclose(found.intercept, y.mean(0) - x.mean(0) @ coef, rtol=0, atol=1e-6)


def test_invalid_samples_change_nothing():
    features, boxes, target = toy()
    valid = jnp.arange(30) < 20
    expected = fit(features, boxes, target, valid)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-8)
    for spoilt in (
        (features.at[20:].set(1e3), boxes.at[20:].multiply(3.0)),
        (features.at[20:].set(jnp.nan), boxes.at[20:].set(0.0)),
    ):
        jax.tree.map(close, fit(*spoilt, target, valid), expected)
    nothing = fit(features, boxes, target, jnp.zeros(30, bool))
    assert all(float(jnp.abs(x).max()) == 0 for x in nothing)


def test_prediction_moves_scales_and_stays_in_the_frame():
    regression = locate.BoxRegression(jnp.zeros((3, 4)), jnp.log(jnp.asarray([1.0, 1, 2, 1])))
    boxes = jnp.asarray([[20.0, 10, 8, 6], [1, 10, 8, 6], [44, 10, 8, 6]])
    found = regress(regression, jnp.zeros((3, 3)), boxes, jnp.asarray([40, 50], jnp.int32))
    np.testing.assert_allclose(found, [[16, 10, 16, 6], [0, 10, 16, 6], [40, 10, 6, 6]], rtol=1e-6)
