import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from weight_files import caffemodel, legacy_pth, matconvnet, zip_pth

from cdjax import weights
from cdjax._errors import InputError
from cdjax.deep_features import Backbone, check_params
from cdjax.deep_features._extract import _LAYERS
from cdjax.weights._convert import convert_file
from cdjax.weights._tables import NETWORKS, TABLES

MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])


def draw(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def conv(x, kernel, *, pad=1, stride=1):
    """One convolution in float64, input [h, w, in], kernel OIHW."""
    k = kernel.shape[-1]
    x = np.pad(x, ((pad, pad), (pad, pad), (0, 0)))
    patches = np.lib.stride_tricks.sliding_window_view(x, (k, k), (0, 1))
    return np.einsum("hwikl,oikl->hwo", patches[::stride, ::stride], kernel)


def first_layer(params, image, *, name="conv1_1", pad=1, stride=1):
    kernel = np.asarray(params[name]["kernel"], np.float64).transpose(3, 2, 0, 1)
    x = image.astype(np.float64) - np.asarray(params["mean"], np.float64)
    return conv(x, kernel, pad=pad, stride=stride) + np.asarray(params[name]["bias"])


IMAGE = np.random.default_rng(9).integers(0, 256, (9, 9, 3))


def torchvision_vgg19():
    """Built as torchvision builds it: positions of the convolutions counted."""
    out, index, inputs = {}, 0, 3
    for step in [64] * 2 + ["M"] + [128] * 2 + ["M"] + [256] * 4 + ["M"] + [512] * 4:
        if step == "M":
            index += 1
            continue
        out[f"features.{index}.weight"] = draw(step, inputs, 3, 3, seed=index)
        out[f"features.{index}.bias"] = draw(step, seed=index)
        index, inputs = index + 2, step
    return out


@pytest.mark.parametrize("writer", [zip_pth, legacy_pth])
def test_torchvision_vgg19(tmp_path, writer):
    state = torchvision_vgg19() | {"classifier.0.weight": draw(4, 8)}
    path = writer(tmp_path / "vgg19.pth", state)
    folder = weights.convert(path, directory=tmp_path / "store")
    (manifest,) = weights.list_weights(tmp_path / "store")
    assert folder == tmp_path / "store" / "vgg19"
    assert (manifest.network, manifest.deepest_layer) == ("vgg19", "conv4_4")
    assert (manifest.channel_order, manifest.licence) == ("RGB", "unknown")
    params = weights.load_params("vgg19", directory=tmp_path / "store")
    check_params(Backbone(network="vgg19", layers=("conv4_4",)), params)
    raw = weights.load_params(path)
    assert jax.tree.structure(raw) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, raw, params)
    kernel, bias = state["features.0.weight"], state["features.0.bias"]
    # Zero padding is applied to normalised values, so the rim counts too.
    expected = conv((IMAGE / 255 - MEAN) / STD, kernel.astype(np.float64)) + bias
    np.testing.assert_allclose(first_layer(params, IMAGE), expected, atol=1e-4)
    np.testing.assert_array_equal(
        params["conv4_4"]["kernel"],
        state["features.25.weight"].transpose(2, 3, 1, 0),
    )
    np.testing.assert_array_equal(params["conv2_1"]["bias"], state["features.5.bias"])


@pytest.mark.parametrize(
    ("version", "fires", "network"),
    [
        ("1.0", [3, 4, 5, 7, 8, 9, 10, 12], "squeezenet"),
        ("1.1", [3, 4, 6, 7, 9, 10, 11, 12], "squeezenet1_1"),
    ],
)
def test_torchvision_squeezenet(tmp_path, version, fires, network):
    size, inputs = (7, 96) if version == "1.0" else (3, 64)
    kernels = {"features.0": (inputs, 3, size, size)}
    for i, half in zip(fires, [64, 64, 128, 128, 192, 192, 256, 256], strict=True):
        kernels[f"features.{i}.squeeze"] = (half // 4, inputs, 1, 1)
        kernels[f"features.{i}.expand1x1"] = (half, half // 4, 1, 1)
        kernels[f"features.{i}.expand3x3"] = (half, half // 4, 3, 3)
        inputs = 2 * half
    kernels["classifier.1"] = (1000, 512, 1, 1)
    state = {}
    for key, shape in kernels.items():
        state[f"{key}.weight"], state[f"{key}.bias"] = draw(*shape), draw(shape[0])
    params = weights.load_params(zip_pth(tmp_path / "a.pth", state))
    backbone = Backbone(network=network, layers=("conv10",))
    check_params(backbone, params)
    np.testing.assert_array_equal(
        params["fire9"]["expand3x3"]["kernel"],
        state["features.12.expand3x3.weight"].transpose(2, 3, 1, 0),
    )
    expected = conv((IMAGE / 255 - MEAN) / STD, state["features.0.weight"], pad=0, stride=2)
    found = first_layer(params, IMAGE, name="conv1", pad=0, stride=2)
    np.testing.assert_allclose(found, expected + state["features.0.bias"], atol=1e-4)
    del state[f"features.{fires[2]}.expand3x3.bias"]
    with pytest.raises(InputError, match="missing inside fire4"):
        weights.load_params(zip_pth(tmp_path / "a.pth", state))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("packed", [True, False])
def test_caffe_vgg19(tmp_path, version, packed):
    layers = {
        "conv1_1": [draw(64, 3, 3, 3), draw(64)],
        "relu1_1": [],
        "conv1_2": [draw(64, 64, 3, 3), draw(64)],
        "fc6": [draw(4, 10), draw(4)],
    }
    path = caffemodel(
        tmp_path / "vgg.caffemodel",
        layers,
        version=version,
        packed=packed,
        legacy_shape=version == 1,
    )
    converted = convert_file(path)
    assert (converted.deepest, converted.order) == ("conv1_2", "BGR")
    params = converted.params
    bgr = IMAGE[..., ::-1] - np.array([103.939, 116.779, 123.68])
    expected = conv(bgr, layers["conv1_1"][0]) + layers["conv1_1"][1]
    np.testing.assert_allclose(first_layer(params, IMAGE), expected, atol=2e-3)
    np.testing.assert_array_equal(
        params["conv1_2"]["kernel"], layers["conv1_2"][0].transpose(2, 3, 1, 0)
    )


@pytest.mark.parametrize("old", [True, False])
def test_matconvnet_vgg_m(tmp_path, old):
    mean = np.random.default_rng(1).uniform(90, 130, (6, 5, 3)).astype(np.float32)
    layers = {
        "conv1": (draw(7, 7, 3, 96), draw(96)),
        "relu1": None,
        "conv2": (draw(5, 5, 96, 256), draw(256)),
        "fc6": (draw(2, 2, 256, 3), draw(3)),
    }
    path = matconvnet(tmp_path / "m.mat", layers, mean, old=old)
    converted = convert_file(path)
    assert (converted.table.network, converted.deepest) == ("vgg_m", "conv2")
    np.testing.assert_allclose(converted.params["mean"], mean.mean((0, 1)), rtol=1e-6)
    for name in ("conv1", "conv2"):
        kernel, bias = layers[name]
        np.testing.assert_array_equal(converted.params[name]["kernel"], kernel)
        np.testing.assert_array_equal(converted.params[name]["bias"], bias)
    raw = path.read_bytes()
    for size in (130, 200, len(raw) // 2):
        path.write_bytes(raw[:size])
        with pytest.raises(InputError, match=r"m\.mat"):
            convert_file(path)


def test_matconvnet_without_scipy(tmp_path, monkeypatch):
    path = tmp_path / "m.mat"
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(128))
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "scipy" else find(name),
    )
    with pytest.raises(InputError, match=r"pip install 'cdjax\[convert\]'"):
        convert_file(path)
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(128))
    with pytest.raises(InputError, match="HDF5"):
        convert_file(path)


@pytest.mark.data
def test_normalised_vgg19(data_dir, parity_dir):
    path = data_dir / "weights/vgg_normalised_conv3_1.pth"
    converted = convert_file(path)
    assert converted.table.name == "vgg19_normalised"
    assert (converted.deepest, converted.order) == ("conv3_1", "BGR")
    np.testing.assert_allclose(converted.mean, [123.68, 116.779, 103.939], rtol=1e-6)
    with np.load(parity_dir / "vgg19n.npz") as oracle:
        sums = dict(zip(oracle["weight_names"], oracle["weight_sums"], strict=True))
        key = next(k for k in sums if k.startswith("16") and "b" not in k)
    found = converted.params["conv3_1"]["kernel"].sum(dtype=np.float64)
    np.testing.assert_allclose(found, sums[key], rtol=1e-5)


@pytest.mark.data
def test_deep_compression(data_dir, parity_dir):
    from cdjax.weights._formats import read_deep_compression

    arrays = read_deep_compression(data_dir / "weights/compressed_SqueezeNet.net")
    table = next(table for table in TABLES if table.format == "deep_compression")
    with np.load(parity_dir / "squeezenet.npz") as oracle:
        for i, row in enumerate(table.rows):
            kernel = arrays[f"{row.key}.weight"].astype(np.float64)
            assert kernel.shape == tuple(oracle["layer_shapes"][i])
            assert (kernel != 0).sum() == oracle["layer_nonzero"][i]
            flat = kernel.reshape(-1)
            places = 1 + np.arange(flat.size) % 1009
            for name, value in (
                ("weight_sum", flat.sum()),
                ("weight_abs_sum", np.abs(flat).sum()),
                ("weight_sq_sum", (flat**2).sum()),
                ("weight_position_sum", (flat * places).sum()),
                ("bias_sum", arrays[f"{row.key}.bias"].sum(dtype=np.float64)),
            ):
                np.testing.assert_allclose(
                    value, oracle[name][i], rtol=1e-9, atol=1e-6, err_msg=row.key
                )
        np.testing.assert_array_equal(arrays["conv1.weight"], oracle["conv1_weight"])
        np.testing.assert_array_equal(
            arrays["fire2/expand3x3.weight"], oracle["fire2_expand3x3_weight"]
        )


@pytest.mark.data
def test_damaged_deep_compression(data_dir, tmp_path):
    raw = (data_dir / "weights/compressed_SqueezeNet.net").read_bytes()
    path = tmp_path / "a.net"
    for damaged in (raw[:50], raw[:5000], raw[:-1], raw + b"\0"):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"a\.net.*expected"):
            convert_file(path)


def test_damaged_caffe(tmp_path):
    path = caffemodel(tmp_path / "a.caffemodel", {"x": [draw(2, 3, 1, 1), draw(2)]})
    raw = path.read_bytes()
    rng = np.random.default_rng(0)
    for i in range(300):
        damaged = bytearray(raw[: i % len(raw)] if i % 2 else raw)
        if damaged:
            damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"a\.caffemodel"):
            convert_file(path)


def vgg_start():
    return {k: v for k, v in torchvision_vgg19().items() if int(k.split(".")[1]) < 8}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features.2.weight": draw(64, 32, 3, 3)}, r"\[64, 32, 3, 3\], expected \[64"),
        ({"features.0.bias": draw(3)}, r"features.0.bias has shape \[3\]"),
        ({"features.40.weight": draw(9, 9, 3, 3)}, "features.40.weight is unexpected"),
        ({"features.2.weight": np.full((64, 64, 3, 3), np.nan, "f4")}, "not finite"),
    ],
)
def test_wrong_arrays(tmp_path, change, message):
    path = zip_pth(tmp_path / "a.pth", vgg_start() | change)
    with pytest.raises(InputError, match=rf"a\.pth.*{message}"):
        convert_file(path)


def test_wrong_networks(tmp_path):
    path = zip_pth(tmp_path / "a.pth", vgg_start())
    assert convert_file(path, network="vgg19").deepest == "conv2_2"
    with pytest.raises(InputError, match="expected a torch file of squeezenet"):
        convert_file(path, network="squeezenet")
    with pytest.raises(InputError, match="no vgg_m is known in a torch file"):
        convert_file(path, network="vgg_m")
    with pytest.raises(InputError, match="choose from vgg19"):
        convert_file(path, network="alexnet")
    with pytest.raises(InputError, match="no such file"):
        convert_file(tmp_path / "b.pth")
    (tmp_path / "c.bin").write_bytes(b"something else")
    with pytest.raises(InputError, match="not a weight file of a known kind"):
        convert_file(tmp_path / "c.bin")


def test_tables_agree_with_the_networks():
    assert set(NETWORKS) == set(_LAYERS) - {"hog", "colornames"}
    for table in TABLES:
        params = {"mean": jnp.zeros(3)}
        for row in table.rows:
            node = params
            for part in row.path:
                node = node.setdefault(part, {})
            node["kernel"] = jax.ShapeDtypeStruct(row.shape, jnp.float32)
            node["bias"] = jax.ShapeDtypeStruct(row.shape[-1:], jnp.float32)
        deepest = list(_LAYERS[table.network])[-1]
        check_params(Backbone(network=table.network, layers=(deepest,)), params)
