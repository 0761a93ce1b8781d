import jax
import jax.numpy as jnp
import mdnet_oracle
import numpy as np
import pytest
from weight_files import legacy_pth, matconvnet, state_pickle, text, zip_pth

from cdjax import classifier, weights
from cdjax._errors import InputError
from cdjax.deep_features import Backbone, candidate_features
from cdjax.weights._convert import convert_file

PATCHES = np.random.default_rng(0).integers(0, 256, (2, 107, 107, 3)).astype(np.float32)


def shared(*, fc4="fc4.0"):
    """What py-MDNet saves: without fc6."""
    arrays = mdnet_oracle.torch_arrays()
    return {k.replace("fc4.0", fc4): v for k, v in arrays.items() if not k.startswith("fc6")}


def wrapped(state):
    """The pickle of {"shared_layers": state}."""
    return b"\x80\x02}" + text("shared_layers") + state_pickle(state)[2:-1] + b"s."


@pytest.mark.parametrize("fc4", ["fc4.0", "fc4.1"])
@pytest.mark.parametrize("writer", [zip_pth, legacy_pth])
def test_py_mdnet(tmp_path, writer, fc4):
    state = shared(fc4=fc4)
    data = wrapped(state)
    if writer is legacy_pth:
        data = data.replace(b"tQ", b"NtQ")
    path = writer(tmp_path / "mdnet.pth", state, data_pickle=data)
    weights.convert(path, directory=tmp_path / "store")
    (manifest,) = weights.list_weights(tmp_path / "store")
    assert (manifest.network, manifest.deepest_layer) == ("mdnet", "conv3")
    assert manifest.mean == (128.0, 128.0, 128.0)
    params = weights.load_params("mdnet", directory=tmp_path / "store")
    expected = mdnet_oracle.conv_params() | mdnet_oracle.head_params()
    del expected["fc6"]
    assert jax.tree.structure(params) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, params, expected)
    head = classifier.start_head(jax.random.key(0), params)
    np.testing.assert_array_equal(head["fc4"]["kernel"], expected["fc4"]["kernel"])
    fresh = classifier.init_head(jax.random.key(0))["fc6"]["kernel"]
    np.testing.assert_array_equal(head["fc6"]["kernel"], fresh)


def matlab_layers(*, num_domains=1):
    """py-MDNet's weights as MatConvNet lays them out: fc4 a 3x3 convolution."""
    arrays = mdnet_oracle.torch_arrays()
    layers = {}
    for name in ("conv1", "conv2", "conv3"):
        kernel = arrays[f"{name}.0.weight"].transpose(2, 3, 1, 0)
        layers[name] = (kernel, arrays[f"{name}.0.bias"])
    fc4 = arrays["fc4.0.weight"].reshape(512, 512, 3, 3).transpose(2, 3, 1, 0)
    layers["fc4"] = (fc4, arrays["fc4.0.bias"])
    layers["relu4"] = None
    layers["fc5"] = (arrays["fc5.1.weight"].T[None, None], arrays["fc5.1.bias"])
    fc6 = np.tile(arrays["fc6.weight"].T[None, None], num_domains)
    layers["fc6"] = (fc6, np.tile(arrays["fc6.bias"], num_domains))
    return layers


MEAN = np.full((1, 1, 3), 120.0)


@pytest.mark.parametrize("num_domains", [1, 58])
def test_matlab_mdnet(tmp_path, num_domains):
    layers = matlab_layers(num_domains=num_domains)
    converted = convert_file(matconvnet(tmp_path / "mdnet.mat", layers, MEAN))
    assert (converted.table.network, converted.deepest) == ("mdnet_matlab", "conv3")
    assert converted.mean == (128.0, 128.0, 128.0)  # whatever the file says of VGG-M's
    expected = mdnet_oracle.conv_params() | mdnet_oracle.head_params()
    if num_domains > 1:
        del expected["fc6"]
    assert jax.tree.structure(converted.params) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, converted.params, expected)


def test_flat_order_of_the_matlab_head(tmp_path):
    """fc4 on flat features is the 3x3 convolution on the maps."""
    path = matconvnet(tmp_path / "mdnet.mat", matlab_layers(), MEAN)
    params = weights.load_params(path)
    backbone = Backbone(network="mdnet_matlab", layers=("conv3",))
    features = candidate_features(backbone, params, jnp.asarray(PATCHES))
    maps = np.asarray(features, np.float64).reshape(2, 512, 3, 3)
    kernel = matlab_layers()["fc4"][0].astype(np.float64)
    expected = np.einsum("nchw,hwco->no", maps, kernel)
    found = np.asarray(features, np.float64) @ np.asarray(params["fc4"]["kernel"], np.float64)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


def test_vgg_m_is_still_vgg_m_and_starts_mdnet(tmp_path):
    draw = lambda *shape: np.random.default_rng(0).normal(size=shape).astype(np.float32)
    layers = {k: v for k, v in matlab_layers().items() if k.startswith("conv")}
    layers |= {k: (draw(3, 3, 512, 512), draw(512)) for k in ("conv4", "conv5")}
    layers |= {"fc6": (draw(6, 6, 8, 16), draw(16))}
    converted = convert_file(matconvnet(tmp_path / "vgg_m.mat", layers, MEAN))
    assert (converted.table.network, converted.deepest) == ("vgg_m", "conv5")
    params = jax.tree.map(jnp.asarray, converted.params)
    backbone = Backbone(network="mdnet_matlab", layers=("conv3",))
    assert candidate_features(backbone, params, jnp.asarray(PATCHES)).shape == (2, 4608)
    head = classifier.start_head(jax.random.key(0), params)
    jax.tree.map(np.testing.assert_array_equal, head, classifier.init_head(jax.random.key(0)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fc5.1.weight": None}, "fc5.1.weight or .bias is missing"),
        ({"fc4.0.weight": np.zeros((512, 4600), "f4")}, r"\[512, 4600\], expected \[512, 4608\]"),
        ({"conv3.0.bias": None}, "conv3.0.weight or .bias is missing"),
        ({"fc4.0.bias": np.full(512, np.nan, "f4")}, "not finite"),
    ],
)
def test_damaged_heads(tmp_path, change, message):
    state = {k: v for k, v in (shared() | change).items() if v is not None}
    path = zip_pth(tmp_path / "a.pth", state, data_pickle=wrapped(state))
    with pytest.raises(InputError, match=message):
        convert_file(path, network="mdnet")


def test_start_head_checks_shapes():
    params = {"fc4": {"kernel": jnp.zeros((9, 512)), "bias": jnp.zeros(512)}}
    with pytest.raises(InputError, match="fc4"):
        classifier.start_head(jax.random.key(0), params)
