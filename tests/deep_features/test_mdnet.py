import jax
import jax.numpy as jnp
import mdnet_oracle
import numpy as np
import pytest

from cdjax._errors import InputError
from cdjax.deep_features import Backbone, candidate_features, maps_of
from cdjax.deep_features._extract import forward

MDNET = Backbone(network="mdnet", layers=("conv3",))
features_of = jax.jit(candidate_features, static_argnums=0)


@pytest.fixture(scope="module")
def params():
    return jax.tree.map(jnp.asarray, mdnet_oracle.conv_params())


@pytest.fixture(scope="module")
def patches():
    drawn = np.random.default_rng(0).integers(0, 256, (2, 107, 107, 3))
    return jnp.asarray(drawn, jnp.float32)


@pytest.mark.data
def test_weights_are_the_oracles(parity_dir):
    with np.load(parity_dir / "mdnet.npz") as oracle:
        for key, array in mdnet_oracle.torch_arrays().items():
            layer, *_, kind = key.split(".")
            wide = array.astype(np.float64)
            sums = [wide.sum(), np.abs(wide).sum(), (wide**2).sum()]
            np.testing.assert_allclose(oracle[f"sum_{layer}_{kind}"], sums, rtol=1e-9)
            first = oracle[f"first_{layer}_{kind}"]
            np.testing.assert_array_equal(first, array.ravel()[: first.size])


@pytest.mark.data
def test_layers_match_py_mdnet(parity_dir, params):
    with np.load(parity_dir / "mdnet.npz") as oracle:
        crops = jnp.stack([jnp.asarray(oracle[f"crop_{x}"], jnp.float32) for x in "ab"])
        expected = {k: oracle[k] for k in ("conv1_pool_lrn", "conv2_pool_lrn", "conv3")}
    features = features_of(MDNET, params, crops)
    # The oracle's features come after the pools; norm2's pool is what conv3 sees.
    layers = Backbone(network="mdnet", layers=("norm1", "norm2"))
    pool = lambda x: jax.lax.reduce_window(
        x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID"
    )
    norm1, norm2 = (pool(x) for x in jax.jit(forward, static_argnums=0)(layers, params, crops))
    assert norm1.shape == (2, 25, 25, 96)
    for found, name in (
        (norm1[:, ::6, ::6], "conv1_pool_lrn"),
        (norm2, "conv2_pool_lrn"),
        (features, "conv3"),
    ):
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(found, expected[name], rtol=0, atol=1e-5 * scale, err_msg=name)


def test_selected_channels_are_those_of_all(params, patches):
    chosen = jnp.asarray([3, 500, 77], jnp.int32)
    whole = maps_of(features_of(MDNET, params, patches), hw=(3, 3))
    few = features_of(MDNET, params, patches, selected=chosen)
    assert few.shape == (2, 27)
    np.testing.assert_allclose(maps_of(few, hw=(3, 3)), whole[..., chosen], rtol=1e-5, atol=1e-4)


def test_maps_are_those_of_the_network(params, patches):
    (maps,) = jax.jit(forward, static_argnums=0)(MDNET, params, patches)
    assert maps.shape == (2, 3, 3, 512)
    features = features_of(MDNET, params, patches)
    np.testing.assert_array_equal(maps_of(features, hw=(3, 3)), maps)
    # Channel 5 owns the nine entries from 45 on.
    np.testing.assert_array_equal(features[0, 45:54], maps[0, :, :, 5].ravel())


def test_the_two_norms_differ(params, patches):
    matlab = Backbone(network="mdnet_matlab", layers=("conv3",))
    py, ml = (features_of(backbone, params, patches) for backbone in (MDNET, matlab))
    assert py.shape == ml.shape == (2, 4608)
    assert float(jnp.abs(py - ml).max() / py.max()) > 0.1


def test_matlab_form_is_vgg_m_without_borders(params, patches):
    """By hand: kappa 2, alpha 1e-4 on the sum over five channels, no padding, floor pools."""
    first = params["conv1"]
    maps = jax.lax.conv_general_dilated(
        patches - 128, first["kernel"], (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    maps = np.maximum(np.asarray(maps, np.float64) + np.asarray(first["bias"]), 0)
    wide = np.pad(maps**2, ((0, 0), (0, 0), (0, 0), (2, 2)))
    total = sum(wide[..., i : i + 96] for i in range(5))
    matlab = Backbone(network="mdnet_matlab", layers=("norm1",))
    (found,) = jax.jit(forward, static_argnums=0)(matlab, params, patches)
    expected = maps * (2 + 1e-4 * total) ** -0.75
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * expected.max())


def test_one_layer_only(params, patches):
    both = Backbone(network="mdnet", layers=("conv2", "conv3"))
    with pytest.raises(InputError, match="one layer"):
        candidate_features(both, params, patches)
