import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdjax import weights
from cdjax.deep_features import Backbone, extract, init_params, padding_reach
from cdjax.deep_features._extract import forward as eager_forward
from cdjax.deep_features._layers import (
    convolve,
    convolve_by_products,
    local_response_norm,
    max_pool,
)
from cdjax.deep_features._vgg import VGGM

_forward = jax.jit(eager_forward, static_argnums=0)

VGG_LAYERS = ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1")


@pytest.mark.data
@pytest.mark.parametrize("padding", ["zero", "reflect"])
@pytest.mark.parametrize("crop", ["crossing112", "diving224"])
def test_normalised_vgg19(data_dir, parity_dir, crop, padding):
    params = weights.load_params(data_dir / "weights/vgg_normalised_conv3_1.pth")
    backbone = Backbone(network="vgg19", layers=VGG_LAYERS, padding=padding)
    with np.load(parity_dir / "vgg19n.npz") as oracle:
        image = jnp.asarray(oracle[f"{crop}_image"], jnp.float32)[None]
        for layer, maps in zip(VGG_LAYERS, _forward(backbone, params, image), strict=True):
            rows = oracle[f"{crop}_{layer}_rows"]
            expected = oracle[f"{crop}_{layer}_{padding}"]
            mean = oracle[f"{crop}_{layer}_{padding}_channel_mean"]
            found = np.asarray(maps[0], np.float64)
            scale = expected.max()
            np.testing.assert_allclose(
                found[np.ix_(rows, rows)], expected, rtol=0, atol=3e-5 * scale
            )
            np.testing.assert_allclose(found.mean((0, 1)), mean, rtol=0, atol=3e-5 * mean.max())


def dense_convolution(maps, kernel, bias, *, stride, pad):
    """The definition, place by place, in float64."""
    maps = np.pad(np.float64(maps), ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    size = kernel.shape[0]
    ends = [n - size + 1 for n in maps.shape[1:3]]
    out = [
        [
            np.tensordot(maps[:, i : i + size, j : j + size], kernel, axes=3)
            for j in range(0, ends[1], stride)
        ]
        for i in range(0, ends[0], stride)
    ]
    return np.maximum(np.moveaxis(np.array(out), 2, 0) + bias, 0)


@pytest.mark.parametrize(
    ("size", "stride", "pad", "inputs", "rows"),
    [
        (3, 1, 1, 24, 9),
        (5, 1, 2, 24, 9),
        (3, 1, 0, 24, 9),
        (3, 1, 0, 24, 33),
        (3, 1, 2, 3, 9),
        (3, 2, 1, 24, 9),
        (1, 1, 0, 24, 9),
    ],
)
def test_convolutions_equal_the_definition(size, stride, pad, inputs, rows):
    rng = np.random.default_rng(size + stride + pad)
    maps = rng.normal(size=(2, 3, rows, 7, inputs)).astype(np.float32)
    kernel = rng.normal(size=(2, size, size, inputs, 20)).astype(np.float32)
    bias = rng.normal(size=(2, 20)).astype(np.float32)
    ways = [lambda *args: convolve(*args, stride=stride, pad=pad)]
    if stride == 1:
        ways.append(lambda *args: convolve_by_products(*args, pad=pad))
    expected = [
        dense_convolution(*lane, stride=stride, pad=pad)
        for lane in zip(maps, kernel, bias, strict=True)
    ]
    for way in ways:
        # Alone, and as lanes with a kernel each.
        found = [
            jax.jit(way)(maps[0], kernel[0], bias[0]),
            *jax.jit(jax.vmap(way))(maps, kernel, bias),
        ]
        for one, dense in zip(found, [expected[0], *expected], strict=True):
            np.testing.assert_allclose(one, dense, rtol=0, atol=2e-6 * dense.max())


@pytest.mark.parametrize(("pad", "rows"), [(1, 6), (0, 33)])
def test_slopes_of_a_convolution_are_those_of_products(pad, rows):
    rng = np.random.default_rng(0)
    shapes = (2, rows, 5, 24), (3, 3, 24, 20), (20,)
    args = [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]
    slopes = []
    for way in (convolve, convolve_by_products):
        total = lambda *args, way=way: jnp.sum(way(*args, pad=pad) ** 2)
        slopes.append(jax.jit(jax.grad(total, argnums=(0, 1, 2)))(*args))
    for one, other in zip(*slopes, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.abs(other).max())


@pytest.mark.data
@pytest.mark.parametrize("crop", ["coffee", "ball"])
def test_squeezenet(data_dir, parity_dir, crop):
    params = weights.load_params(data_dir / "weights/compressed_SqueezeNet.net")
    layers = ("conv1", "fire2", "fire3", "fire5", "fire9", "conv10")
    backbone = Backbone(network="squeezenet", layers=layers)
    with np.load(parity_dir / "squeezenet.npz") as oracle:
        image = jnp.asarray(oracle[f"{crop}_image"], jnp.float32)[None]
        found = _forward(backbone, params, image)
        for layer, maps in zip(layers, found, strict=True):
            rows = oracle[f"{layer}_rows"]
            expected = oracle[f"{crop}_{layer}"]
            maps = np.asarray(maps[0], np.float64)
            np.testing.assert_allclose(
                maps[np.ix_(rows, rows)], expected, rtol=0, atol=3e-5 * expected.max()
            )
            for name, value in (
                ("mean", maps.mean((0, 1))),
                ("max", maps.max((0, 1))),
            ):
                whole = oracle[f"{crop}_{layer}_channel_{name}"]
                np.testing.assert_allclose(value, whole, rtol=0, atol=3e-5 * whole.max())
        logits = np.asarray(found[-1][0]).mean((0, 1))
        best = np.argsort(-logits)[:5]
        np.testing.assert_array_equal(best, oracle[f"{crop}_top5"])


@pytest.mark.data
def test_local_response_norm(parity_dir):
    with np.load(parity_dir / "mdnet.npz") as oracle:
        before = oracle["conv1_relu_position_10_20"]
        after = oracle["conv1_lrn_position_10_20"]
    got = local_response_norm(
        jnp.asarray(before)[:, None, None, :],
        window=2,
        kappa=1.0,
        alpha=1e-4 / 2,  # that framework averages
        beta=0.75,
    )
    np.testing.assert_allclose(got[:, 0, 0], after, rtol=1e-5)


def test_wide_norm_is_centred():
    maps = np.random.default_rng(0).normal(size=(1, 1, 1, 7)) * 100
    got = local_response_norm(
        jnp.asarray(maps, jnp.float32), window=5, kappa=2.0, alpha=1e-4, beta=0.75
    )
    for c in range(7):
        total = (maps[0, 0, 0, max(c - 2, 0) : c + 3] ** 2).sum()
        expected = maps[0, 0, 0, c] / (2 + 1e-4 * total) ** 0.75
        np.testing.assert_allclose(got[0, 0, 0, c], expected, rtol=1e-5)


@pytest.mark.parametrize("side", [5, 6, 7, 8, 54, 109, 111])
def test_ceil_pool(side):
    maps = np.random.default_rng(side).normal(size=(1, side, side, 1))
    got = max_pool(jnp.asarray(maps, jnp.float32), size=3, stride=2, ceil=True)
    count = -(-(side - 3) // 2) + 1
    for i in range(count):
        expected = maps[0, 2 * i : 2 * i + 3, 0:3, 0].max()
        np.testing.assert_allclose(got[0, i, 0, 0], expected, rtol=1e-6)
    assert got.shape == (1, count, count, 1)


def test_vgg_m_sizes():
    layers = ("conv1", "norm1", "conv2", "norm2", "conv5")
    module = VGGM(layers)
    shapes = jax.eval_shape(
        lambda key, x: module.init_with_output(key, x)[0],
        jax.random.key(0),
        jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32),
    )
    assert [shapes[name].shape[1:] for name in layers] == [
        (109, 109, 96),
        (109, 109, 96),
        (26, 26, 256),
        (26, 26, 256),
        (13, 13, 512),
    ]


def test_all_layers_of_squeezenet():
    layers = ("conv1", *(f"fire{i}" for i in range(2, 10)), "conv10")
    assert Backbone(network="squeezenet", layers=layers).num_channels == 3656
    assert Backbone(network="squeezenet1_1", layers=layers).num_channels == 3624


def test_padding_changes_the_rim_only():
    zero = Backbone(network="vgg19", layers=("conv1_1",))
    reflect = Backbone(network="vgg19", layers=("conv1_1",), padding="reflect")
    rng = np.random.default_rng(1)
    params = {
        "mean": jnp.zeros(3),
        "conv1_1": {
            "kernel": jnp.asarray(rng.normal(size=(3, 3, 3, 64)), jnp.float32),
            "bias": jnp.ones(64),
        },
    }
    patches = jnp.asarray(rng.uniform(0, 255, (1, 8, 8, 3)), jnp.float32)
    a, b = (extract(bb, params, patches, grid_hw=(8, 8)) for bb in (zero, reflect))
    np.testing.assert_allclose(a[:, 1:-1, 1:-1], b[:, 1:-1, 1:-1], atol=1e-3)
    padded = jnp.pad(patches, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    c = extract(zero, params, padded, grid_hw=(10, 10))[:, 1:-1, 1:-1]
    np.testing.assert_allclose(b, c, atol=1e-3)


def test_padding_reaches_as_far_as_is_told():
    layers = ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2")
    backbone = Backbone(network="vgg19", layers=layers)
    params = init_params(jax.random.key(0), backbone)
    flat = jnp.full((1, 80, 80, 3), 99.0)
    for layer, maps in zip(layers, _forward(backbone, params, flat), strict=True):
        row = np.asarray(maps[0])[maps.shape[1] // 2]
        middle = row[len(row) // 2][None]
        shown = np.abs(row - middle).max(1) > 1e-4 * np.abs(middle).max()
        reach, step = padding_reach(layer)
        assert step == 80 // len(row)
        assert shown.argmin() * step == reach, layer
        assert shown[::-1].argmin() * step == reach, layer
