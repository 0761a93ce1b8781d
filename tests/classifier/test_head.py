import jax
import jax.numpy as jnp
import mdnet_oracle
import numpy as np
import pytest

from cdjax import classifier


def small_head(seed=0):
    return classifier.init_head(jax.random.key(seed), num_features=18, num_units=8)


@pytest.mark.data
def test_logits_match_py_mdnet(parity_dir):
    head = jax.tree.map(jnp.asarray, mdnet_oracle.head_params())
    with np.load(parity_dir / "mdnet.npz") as oracle:
        logits = jax.jit(classifier.score)(head, jnp.asarray(oracle["conv3"]))
        np.testing.assert_allclose(logits, oracle["fc6"], rtol=0, atol=1e-5 * 0.65)


def test_first_weights():
    head = classifier.init_head(jax.random.key(3))
    assert tuple(head) == classifier.HEAD_LAYERS
    assert {k: v["kernel"].shape for k, v in head.items()} == {
        "fc4": (4608, 512),
        "fc5": (512, 512),
        "fc6": (512, 2),
    }
    assert [float(v["bias"][0]) for v in head.values()] == pytest.approx([0.1, 0.1, 0.0])
    assert float(head["fc4"]["kernel"].std()) == pytest.approx(0.01, rel=0.01)
    assert float(jnp.abs(head["fc4"]["kernel"].mean())) < 1e-5 * 3
    again = classifier.init_head(jax.random.key(3))
    jax.tree.map(np.testing.assert_array_equal, head, again)
    other = classifier.init_head(jax.random.key(4))
    assert not np.array_equal(other["fc5"]["kernel"], head["fc5"]["kernel"])


def test_dropout_by_hand():
    head = jax.tree.map(lambda x: np.asarray(x, np.float64), small_head())
    features = np.random.default_rng(0).normal(size=(5, 18)) * 30
    masks = classifier.draw_masks(jax.random.key(1), shape=(5,), num_units=8)
    assert not np.array_equal(masks.fc5, masks.fc6)
    units = np.maximum(features @ head["fc4"]["kernel"] + head["fc4"]["bias"], 0)
    units = units * np.asarray(masks.fc5) * 2
    units = np.maximum(units @ head["fc5"]["kernel"] + head["fc5"]["bias"], 0)
    units = units * np.asarray(masks.fc6) * 2
    expected = units @ head["fc6"]["kernel"] + head["fc6"]["bias"]
    found = classifier.score(small_head(), jnp.asarray(features, jnp.float32), masks=masks)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)
    plain = classifier.score(small_head(), jnp.asarray(features, jnp.float32))
    assert not np.allclose(plain, expected, rtol=1e-2, atol=0)


def test_masks_keep_the_share():
    masks = classifier.draw_masks(jax.random.key(0), shape=(40, 128), num_units=16, keep=0.25)
    assert masks.fc5.shape == (40, 128, 16)
    for mask in masks:
        assert float(mask.mean()) == pytest.approx(0.25, abs=0.01)
