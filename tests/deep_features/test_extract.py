import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdjax import deep_features
from cdjax._errors import InputError
from cdjax.deep_features import Backbone, check_params, extract_blocks, num_outputs
from cdjax.deep_features._extract import _param_shapes, patch_by_patch

jit = functools.partial(jax.jit, static_argnums=0)
extract = jit(deep_features.extract, static_argnames=("grid_hw", "num_last"))
extract_needed = jit(deep_features.extract_needed, static_argnames=("grid_hw", "num_last", "rim"))

CASES = [
    ("vgg19", ("conv2_1", "conv1_1", "conv1_2"), 16, (4, 4)),
    ("vgg19", ("conv1_1",), 12, (4, 4)),  # chosen outputs of three input channels
    ("vgg_m", ("conv1", "norm1"), 24, (5, 5)),
    ("squeezenet", ("conv1", "fire2", "fire3"), 40, (6, 6)),
    ("squeezenet1_1", ("fire2",), 20, (6, 6)),
]


def random_params(backbone):
    shapes = _param_shapes(backbone.network, backbone.layers[-1])
    rng = np.random.default_rng(0)
    draw = lambda x: jnp.asarray(
        rng.normal(size=x.shape) / np.sqrt(np.prod(x.shape[:-1])), jnp.float32
    )
    return jax.tree.map(draw, shapes)


def patches_of(side, n=2, ch=3):
    pixels = np.random.default_rng(side).uniform(0, 255, (n, side, side, ch))
    return jnp.asarray(pixels, jnp.float32)


def same(a, b):
    np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * np.abs(b).max())


def convolved_columns(function, patches):
    """Columns of what each convolution gives; on a GPU, as on a CPU spare rows come to it."""
    text = jax.jit(function).trace(patches).lower(lowering_platforms=("cuda",)).as_text()
    lines = [line for line in text.splitlines() if "stablehlo.convolution" in line]
    return [int(re.search(r"-> tensor<\d+x\d+x(\d+)x", line).group(1)) for line in lines]


@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize(("network", "layers", "side", "grid_hw"), CASES)
def test_selected_equals_gathered(network, layers, side, grid_hw, few):
    backbone = Backbone(network=network, layers=layers)
    params, patches = random_params(backbone), patches_of(side)
    run = functools.partial(extract, backbone, grid_hw=grid_hw)
    full = run(params, patches)
    assert full.shape == (2, *grid_hw, backbone.num_channels)
    rng = np.random.default_rng(0)
    # A few of the deepest layer's outputs are computed by themselves, more with all the others.
    num = 20 if few else backbone.num_channels * 3 // 4
    some = np.sort(rng.choice(backbone.num_channels, num, replace=False))
    some[:3] = 0  # spare slots
    some[-1] = backbone.num_channels - 1
    deepest = backbone.layer_channels[-1]
    in_last = int((some >= backbone.num_channels - deepest).sum())
    assert (num_outputs(in_last, deepest) < deepest) == few
    got = run(params, patches, selected=jnp.asarray(some), num_last=in_last)
    same(got, full[..., some])
    maps, index = extract_needed(
        backbone, params, patches, grid_hw=grid_hw, selected=jnp.asarray(some), num_last=in_last
    )
    assert len(maps) == len(layers)
    joined = jnp.concatenate(maps, axis=-1)
    same(joined if index is None else joined[..., index], full[..., some])


@pytest.mark.parametrize(
    ("layers", "side", "grid", "rim", "padded"),
    [
        (("conv1_1", "conv1_2", "conv2_1"), 48, 24, 2, False),
        (("conv1_1", "conv2_2"), 80, 20, 2, False),  # more is left out than padding reaches
        (("conv1_1", "conv2_1"), 48, 24, 1, True),  # less
        (("conv1_2", "conv3_1"), 64, 16, 4, True),  # behind the second pool
        (("conv1_2",), 40, 16, 1, True),  # a cell is no whole number of pixels
    ],
)
def test_without_a_rim_maps_are_what_is_left(layers, side, grid, rim, padded):
    backbone = Backbone(network="vgg19", layers=layers)
    params, patches = random_params(backbone), patches_of(side)
    whole = extract(backbone, params, patches, grid_hw=(grid, grid))
    run = functools.partial(extract_needed, backbone, params, grid_hw=(grid, grid), rim=rim)
    some = jnp.asarray([1, 60, backbone.num_channels - 2])
    for selected in (None, some):
        maps, index = run(patches=patches, selected=selected)
        maps = jnp.concatenate(maps, axis=-1)
        found = maps if index is None else maps[..., index]
        left = whole[:, rim:-rim, rim:-rim]
        same(found, left if selected is None else left[..., selected])
    # What only the rim needs is not computed.
    columns = convolved_columns(lambda patches: run(patches=patches)[0], patches)
    assert columns[0] == (side if padded else side - 2)


@pytest.mark.parametrize("rim", [-1, 8, 9])
def test_a_rim_that_leaves_nothing_is_refused(rim):
    hog = Backbone(network="hog", layers=("fhog",))
    with pytest.raises(InputError, match=f"rim={rim} of a grid of 16x16"):
        deep_features.extract_needed(hog, {}, patches_of(64), grid_hw=(16, 16), rim=rim)


def test_hog_without_a_rim():
    hog, patches = Backbone(network="hog", layers=("fhog",)), patches_of(64)
    [maps], _ = extract_needed(hog, {}, patches, grid_hw=(16, 16), rim=3)
    same(maps, extract(hog, {}, patches, grid_hw=(16, 16))[:, 3:-3, 3:-3])


def test_more_than_needed_of_the_deepest_layer():
    backbone = Backbone(network="vgg19", layers=("conv1_1", "conv1_2"))
    params, patches = random_params(backbone), patches_of(8)
    full = extract(backbone, params, patches, grid_hw=(4, 4))
    some = jnp.asarray([0, 0, 7, 60, 64, 127])
    for num_last in (None, 5):
        got = extract(backbone, params, patches, grid_hw=(4, 4), selected=some, num_last=num_last)
        same(got, full[..., some])


def test_layers_come_in_network_order():
    backbone = Backbone(network="vgg19", layers=("conv2_1", "conv1_1"))
    params, patches = random_params(backbone), patches_of(16)
    assert backbone.layers == ("conv1_1", "conv2_1")
    assert backbone.layer_channels == (64, 128)
    both = extract(backbone, params, patches, grid_hw=(4, 4))
    for layer, part in (("conv1_1", both[..., :64]), ("conv2_1", both[..., 64:])):
        single = Backbone(network="vgg19", layers=(layer,))
        same(extract(single, params, patches, grid_hw=(4, 4)), part)


@pytest.mark.parametrize("selected", [None, jnp.asarray([0, 3, 95, 200])])
def test_one_patch_after_the_other_changes_nothing(selected):
    backbone = Backbone(network="squeezenet", layers=("conv1", "fire2"))
    params, patches = random_params(backbone), patches_of(40, n=3)
    run = functools.partial(
        deep_features.extract, backbone, params, grid_hw=(4, 4), selected=selected
    )
    at_once = run(patches)  # outside of jit
    same(jax.jit(run)(patches), at_once)
    for i in range(3):
        same(run(patches[i : i + 1]), at_once[i : i + 1])


def test_patch_by_patch_is_a_loop_on_a_cpu():
    double = lambda maps: {"maps": 2 * maps, "rows": maps[:, :, 0]}
    run = jax.jit(functools.partial(patch_by_patch, double))
    patches = patches_of(4, n=3)
    jax.tree.map(np.testing.assert_array_equal, run(patches), double(patches))
    text = run.trace(patches).lower(lowering_platforms=("cpu",)).as_text()
    assert "stablehlo.while" in text
    assert "stablehlo.while" not in run.trace(patches).lower(lowering_platforms=("cuda",)).as_text()


def test_blocks_one_patch_after_the_other():
    backbone = Backbone(network="squeezenet", layers=("conv1", "fire2"))
    params, patches = random_params(backbone), patches_of(40, n=3)
    run = functools.partial(extract_blocks, backbone, params)
    jax.tree.map(same, jax.jit(run)(patches), run(patches))


def test_lanes_are_independent():
    backbone = Backbone(network="squeezenet", layers=("conv1", "fire2"))
    params, patches = random_params(backbone), patches_of(40, n=3)
    picks = jnp.asarray([[0, 0, 3, 100], [1, 95, 96, 97], [5, 100, 200, 223]])
    one = functools.partial(extract, backbone, params, grid_hw=(4, 4))
    many = jax.vmap(lambda x, s: one(x[None], selected=s))(patches, picks)
    for lane in range(3):
        single = one(patches[lane : lane + 1], selected=picks[lane])
        same(many[lane], single)


def test_hog():
    backbone = Backbone(network="hog", layers=("fhog",))
    assert not backbone.needs_weights
    assert backbone.num_channels == 31
    check_params(backbone, {})
    patches = patches_of(24, ch=1)
    full = extract(backbone, {}, patches, grid_hw=(6, 6))
    some = jnp.asarray([0, 0, 4, 30])
    got = extract(backbone, {}, patches, grid_hw=(6, 6), selected=some)
    np.testing.assert_array_equal(got, full[..., some])
    with pytest.raises(InputError, match="24 px patch do not fit a grid of 5x5"):
        extract(backbone, {}, patches, grid_hw=(5, 5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "vgg16", "layers": ("conv1_1",)}, "vgg19, vgg_m, squeezenet"),
        ({"network": "vgg19", "layers": ("conv9_1",)}, "conv1_1, conv1_2, .*conv5_4"),
        ({"network": "vgg19", "layers": ()}, "one or more"),
        ({"network": "vgg19", "layers": ("conv1_1",) * 2}, "each once"),
        ({"network": "vgg19", "layers": ("conv1_1",), "padding": "wrap"}, "reflect"),
        ({"network": "hog", "layers": ("fhog",), "padding": "reflect"}, "zero"),
    ],
)
def test_unknown_names(options, message):
    with pytest.raises(InputError, match=message):
        Backbone(**options)


def test_weights_that_do_not_fit():
    shallow = random_params(Backbone(network="vgg19", layers=("conv1_2",)))
    deep = Backbone(network="vgg19", layers=("conv5_4",))
    with pytest.raises(InputError, match="conv5_4 needs weights to conv5_4, these reach"):
        check_params(deep, shallow)
    with pytest.raises(InputError, match="reach conv1_2: convert a full VGG-19 file"):
        extract(deep, shallow, patches_of(32), grid_hw=(2, 2))
    first = Backbone(network="vgg19", layers=("conv1_1",))
    check_params(first, shallow)
    wrong = shallow | {"conv1_1": {"kernel": jnp.zeros((3, 3, 1, 64))}}
    with pytest.raises(InputError, match="conv1_1"):
        check_params(first, wrong)
    with pytest.raises(InputError, match="load_params"):
        check_params(first, None)
    with pytest.raises(InputError, match="have no conv1_1"):
        check_params(first, {})


def test_patches_that_do_not_fit():
    backbone = Backbone(network="vgg19", layers=("conv1_1",))
    params = random_params(backbone)
    with pytest.raises(InputError, match="replicate gray"):
        extract(backbone, params, patches_of(8, ch=1), grid_hw=(2, 2))
    with pytest.raises(InputError, match="num_last"):
        extract(
            backbone,
            params,
            patches_of(8),
            grid_hw=(2, 2),
            selected=jnp.asarray([0, 1]),
            num_last=3,
        )
    net = Backbone(network="squeezenet", layers=("conv1",))
    with pytest.raises(InputError, match="too small"):
        extract(net, random_params(net), patches_of(5), grid_hw=(1, 1))
