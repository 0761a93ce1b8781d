"""The paper's grammar of tracker names, and what a config refuses."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tracker_cases import MDNET, params_of, video

import cdjax
from cdjax import InputError, crop
from cdjax.deep_features import layers_of
from cdjax.trackers import backbone_of, candidates_of, optional_weights_of
from cdjax.trackers._names import config_of

NAMES = [
    ("CF2-V-34+44+54", "vgg19", ("conv3_4", "conv4_4", "conv5_4")),
    ("CF2-V-11+12+21", "vgg19", ("conv1_1", "conv1_2", "conv2_1")),
    ("DeepCD-V-11+12+21", "vgg19", ("conv1_1", "conv1_2", "conv2_1")),
    ("DeepCD-V-11", "vgg19", ("conv1_1",)),
    ("DeepCD-V-11+12+21+54", "vgg19", ("conv1_1", "conv1_2", "conv2_1", "conv5_4")),
    ("DeepCD-V-54", "vgg19", ("conv5_4",)),
    ("CF2-V-54", "vgg19", ("conv5_4",)),
    ("DeepCD-S-All", "squeezenet", layers_of("squeezenet")),
    ("DeepCD-S-all", "squeezenet", layers_of("squeezenet")),
    ("CF2-S-Fire3", "squeezenet", ("fire3",)),
    ("CF2-S-fire3", "squeezenet", ("fire3",)),
    ("DeepCD-S-Conv1+Fire2+Conv10", "squeezenet", ("conv1", "fire2", "conv10")),
    ("DeepCD-S1.1-All", "squeezenet1_1", layers_of("squeezenet1_1")),
    ("DeepCD-S1.1-Fire9", "squeezenet1_1", ("fire9",)),
    ("DeepCD-M-1+5", "vgg_m", ("conv1", "conv5")),
    ("DeepCD-M-conv1+Norm2", "vgg_m", ("conv1", "norm2")),
    ("DeepCD-H", "hog", ("fhog",)),
    ("CF2-H", "hog", ("fhog",)),
    ("DeepCD-V-43+22+31", "vgg19", ("conv2_2", "conv3_1", "conv4_3")),
    ("CF2-V-54+34+44", "vgg19", ("conv3_4", "conv4_4", "conv5_4")),
]


@pytest.mark.parametrize(("name", "network", "layers"), NAMES)
def test_names_parse(name, network, layers):
    config = config_of(name)
    assert (config.network, config.layers) == (network, layers)
    assert config.select == ("all" if name.startswith("CF2") else "swap")
    assert config.joint == name.startswith("DeepCD")
    weights = None if network == "hog" else network
    assert cdjax.network_of(name) == weights
    assert isinstance(cdjax.make(name), cdjax.Tracker)


def test_every_pair_of_vgg19_layers_has_a_name():
    layers = layers_of("vgg19")
    assert len(layers) == 16
    for i, first in enumerate(layers):
        for second in layers[i + 1 :]:
            digits = [layer.removeprefix("conv").replace("_", "") for layer in (second, first)]
            assert config_of(f"DeepCD-V-{'+'.join(digits)}").layers == (first, second)


def test_listed_names_work():
    listed = cdjax.list_trackers()
    assert len(set(listed)) == len(listed)
    for name in listed:
        assert isinstance(cdjax.make(name), cdjax.Tracker)
    required = {name for name, *_ in NAMES[:6]} | {"DeepCD-S-All", "CF2-S-Fire3", "DeepCD-H"}
    assert required <= set(listed)


@pytest.mark.parametrize("name", ["CF2-V-34+44+54", "CF2-V-54+44+34"])
def test_cf2_is_the_iccv_form(name):
    config = config_of(name)
    # Weights 1, 0.5, 0.02 for conv5_4, conv4_4, conv3_4; in network order here.
    assert dict(zip(config.layers, config.layer_weights, strict=True)) == {
        "conv3_4": 0.02,
        "conv4_4": 0.5,
        "conv5_4": 1.0,
    }
    assert (config.patch_px, config.num_scales, config.joint) == (224, 1, False)
    assert (config.reg, config.learning_rate, config.sigma) == (1e-4, 0.01, 0.1)
    assert (config.region, config.region_scale, config.update) == ("cf2", 2.8, "cf2")
    assert (config.normalise, config.power, config.padding) == (False, 1.0, "zero")


def test_early_layers_take_small_patches():
    assert config_of("DeepCD-V-11+12+21").patch_px == 112
    assert config_of("DeepCD-V-11+12+21+54").patch_px == 224
    assert config_of("DeepCD-S-Fire3").patch_px == 227


def test_fine_layers_are_searched_at_scales_of_one_patch():
    found = {
        name: config_of(name).pyramid
        for name in (
            "DeepCD-V-11+12+21",
            "DeepCD-V-21:select=all",
            "DeepCD-V-11+22",
            "DeepCD-V-11+31",
            "DeepCD-V-11+54",
            "DeepCD-S-Fire2",
            "DeepCD-H",
            "CF2-V-11+12+21",
            "DeepCD-V-11:pyramid=image",
        )
    }
    assert [name for name, pyramid in found.items() if pyramid == "features"] == list(found)[:2]


def test_deepcd_searches_scales():
    assert config_of("DeepCD-V-11").num_scales == 3
    assert config_of("CF2-V-11").num_scales == 1
    assert config_of("CF2-V-11:num_scales=3").num_scales == 3


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("num_channels=12", "num_channels", 12),
        ("num_channels=None", "num_channels", None),
        ("reg=1e-3", "reg", 1e-3),
        ("reg=1", "reg", 1.0),
        ("scale_step=2,pyramid=image", "scale_step", 2.0),
        ("select=exact", "select", "exact"),
        ("aux=true", "aux", True),
        ("gain_free=False", "gain_free", False),
        (" seed = 3 , aux=true", "seed", 3),
    ],
)
def test_options_in_names_have_their_types(text, field, value):
    found = getattr(config_of(f"DeepCD-V-11+12:{text}"), field)
    assert found == value
    assert type(found) is type(value)


def test_options_as_keywords():
    assert config_of("DeepCD-H", reg=1e-3) == config_of("DeepCD-H:reg=1e-3")
    assert config_of("DeepCD-H:reg=1", reg=2.0).reg == 2.0
    config = config_of("CF2-V-11+12", layer_weights=(1.0, 0.5))
    assert config.layer_weights == (1.0, 0.5)


@pytest.mark.parametrize(
    ("name", "culprit", "nearest"),
    [
        ("DepCD-V-11", "'DepCD-V-11'", "nearest is DeepCD-V-11;"),
        ("deepcd-h", "'deepcd-h'", "nearest is DeepCD-H;"),
        ("CF3-S-Fire3", "'CF3-S-Fire3'", "nearest is CF2-S-Fire3;"),
        ("CF2-X-Fire3", "'CF2-X-Fire3'", "nearest is CF2-S-Fire3;"),
        ("CF2-V-34+44+55", "'55' in vgg19", "nearest is CF2-V-34+44+54;"),
        ("CF2-V", "names no layers", "nearest is CF2-"),
        ("CF2-V-", "'CF2-V-'", "nearest is CF2-"),
        ("DeepCD-V-11+", "''", "nearest is DeepCD-V-11;"),
        ("DeepCD-V-11+12+11", "named twice", "nearest is DeepCD-V-11+12+21;"),
        ("DeepCD-M-1+conv1", "named twice", "nearest is DeepCD-"),
        ("CF2-S-Fire1", "'Fire1' in squeezenet", "nearest is CF2-S-Fire3;"),
        ("DeepCD-H-11", "H takes no layers", "nearest is DeepCD-V-11;"),
        ("", "''", "nearest is "),
    ],
)
def test_unknown_names_say_what_exists(name, culprit, nearest):
    with pytest.raises(InputError) as caught:
        cdjax.make(name)
    message = str(caught.value)
    assert culprit in message
    assert nearest in message
    assert "\n" not in message
    for known in cdjax.list_trackers():
        assert known in message


@pytest.mark.parametrize("call", [cdjax.network_of, backbone_of, config_of])
def test_all_entries_refuse_unknown_names(call):
    with pytest.raises(InputError, match="nearest is DeepCD-H"):
        call("DeepCF-H")


@pytest.mark.parametrize(
    "text", ["num_chanels=3", "num_chanels", "layers=conv1_1", "network=hog", "=3", "reg=1,,"]
)
def test_unknown_options_say_what_exists(text):
    with pytest.raises(InputError, match="has no option") as caught:
        cdjax.make(f"DeepCD-H:{text}")
    assert "num_channels" in str(caught.value)
    if text.startswith("num_chanels"):
        assert "nearest is num_channels" in str(caught.value)
    with pytest.raises(InputError, match="no option 'layers'"):
        cdjax.make("DeepCD-V-11", layers=("conv1_1",))


@pytest.mark.parametrize(
    "option",
    [
        "select=best",
        "select=none",
        "region=round",
        "friendliness=kind",
        "padding=wrap",
        "padding=reflect",
        "update=never",
        "num_scales=2",
        "num_scales=0",
        "num_scales=-1",
        "num_scales=3.0",
        "scale_step=1",
        "scale_step=x",
        "learning_rate=-0.1",
        "learning_rate=1.1",
        "learning_rate=nan",
        "reg=0",
        "reg=x",
        "sigma=0",
        "region_scale=1",
        "power=0",
        "power=1.1",
        "power=none",
        "supersample=0",
        "patch_px=15",
        "patch_px=112.0",
        "grid=7",
        "grid=28.5",
        "joint=false",
        "normalise=no",
        "aux=1",
        "gain_free=0",
        "num_channels=0",
        "num_channels=32",
        "num_channels=many",
        "num_channels=true",
        "num_channels=",
        "num_channels",
        "min_channels=0",
        "min_channels=2.5",
        "prefix_slack=-1",
        "max_rounds=0",
        "seed=x",
        "layer_weights=1",
        "scale_step=1.6,pyramid=features",
        "scale_rate=1.5",
    ],
)
def test_bad_options_name_field_and_remedy(option):
    field = option.partition("=")[0]
    with pytest.raises(InputError, match=rf"^({field}=.*: |padding .*: )(use|give|choose|dist)"):
        cdjax.make(f"DeepCD-H:{option}")


@pytest.mark.parametrize(
    ("name", "config"), [("DeepCD-V-11", cdjax.DeepCDConfig), ("CACF", cdjax.CACFConfig)]
)
def test_every_option_is_checked_for_its_type(name, config):
    # A new field without a check would let a typing slip through.
    fields = {field.name for field in dataclasses.fields(config)}
    for field in sorted(fields - {"network", "layers"}):
        with pytest.raises(InputError, match=f"^{field}=.*: use "):
            config_of(name, **{field: object()})


def test_layer_weights_follow_their_layers():
    options = {"select": "all", "joint": False}
    config = cdjax.DeepCDConfig(
        layers=("conv5_4", "conv4_4", "conv3_4"), layer_weights=(1.0, 0.5, 0.02), **options
    )
    assert config.layers == ("conv3_4", "conv4_4", "conv5_4")
    assert config.layer_weights == (0.02, 0.5, 1.0)
    assert dataclasses.replace(config) == config
    assert dataclasses.replace(config, reg=1e-3).layer_weights == (0.02, 0.5, 1.0)
    with pytest.raises(InputError, match="one weight for each of 2 layers"):
        cdjax.DeepCDConfig(layers=("conv1_1", "conv1_2"), layer_weights=(1.0,), **options)


def test_configs_hash_by_value():
    one, two = config_of("DeepCD-H:reg=1"), config_of("DeepCD-H", reg=1.0)
    assert one == two
    assert hash(one) == hash(two)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.reg = 2.0


@pytest.mark.parametrize(
    "option",
    [
        "grid_hw=30",
        "grid_hw=30x",
        "grid_hw=1x30",
        "grid_hw=28x30",
        "shared=1",
        "region=cf2",
        "region=pixels",
        "form=dual",
        "select=exact",
        "select=best",
        "reg=0",
        "context_reg=-1",
        "joint_reg=x",
        "joint_context_reg=-0.1",
        "learning_rate=2",
        "num_scales=2",
        "cell=0",
        "subcell=1",
        "num_channels=32",
        "num_channels=0",
        "min_channels=0",
    ],
)
@pytest.mark.parametrize("name", ["CACF", "CACF-CD"])
def test_bad_options_of_cacf_name_field_and_remedy(name, option):
    field = option.partition("=")[0]
    field = "shared" if option in ("grid_hw=28x30", "region=pixels") else field
    with pytest.raises(InputError, match=rf"^{field}=.*: use "):
        cdjax.make(f"{name}:{option}")


def test_cacf_takes_no_network():
    assert cdjax.network_of("CACF") is cdjax.network_of("CACF-CD:num_scales=3") is None
    assert config_of("CACF").select == "all"
    assert config_of("CACF-CD").select == "swap"
    assert config_of("CACF-CD").num_channels == 16
    assert config_of("CACF-CD:colors=true").num_channels == 28
    assert config_of("CACF-CD", colors=True, num_channels=9).num_channels == 9
    assert config_of("CACF:grid_hw=24x36") == config_of("CACF", grid_hw=(24, 36))
    assert backbone_of("CACF-CD:num_scales=3,grid_hw=24x36")[1:] == (144, (24, 36), 6)
    with pytest.raises(InputError, match="nearest is CACF"):
        cdjax.make("CACF-H")


@pytest.mark.parametrize(
    ("name", "network", "layers", "kept"),
    [
        ("ECO-HC", "hog", ("fhog",), None),
        ("ECO-HC-CD", "hog", ("fhog",), 9),
        ("ECO", "vgg_m", ("norm1", "conv5"), None),
        ("ECO-CD", "vgg_m", ("norm1", "conv5"), 55),
        ("ECO-M-norm1+5", "vgg_m", ("norm1", "conv5"), None),
        ("ECO-V-11+21", "vgg19", ("conv1_1", "conv2_1"), None),
        ("ECO-CD-S-Fire5+Fire2", "squeezenet", ("fire2", "fire5"), 55),
        ("ECO-CD-S1.1-Fire3", "squeezenet1_1", ("fire3",), 44),
    ],
)
def test_names_of_eco(name, network, layers, kept):
    config = config_of(name)
    assert (config.network, config.layers) == (network, layers)
    assert config.select == ("all" if kept is None else "swap")
    assert config.num_channels == kept
    if kept:
        # The paper keeps 55 of 80; HOG's ten stay beside a network's.
        assert 0.6 * config.num_candidates < kept < 0.7 * config.num_candidates
    assert cdjax.network_of(name) == (None if network == "hog" else network)
    assert optional_weights_of(name) == ("colornames" if network == "hog" else None)
    assert sum(candidates_of(name).values()) == sum(config.compressed)


def test_eco_has_the_settings_of_its_specification():
    deep, shallow = config_of("ECO"), config_of("ECO-V-11+21")
    assert deep.layout == ((208, (4, 16, 4), (52, 13, 52)))
    assert (deep.compressed, deep.num_slots, deep.num_scales) == ((16, 64, 10), 50, 5)
    assert (deep.skip_after, deep.train_gap, deep.forgetting) == (1, 5, 75)
    assert (deep.data_weight, deep.reg_weight, deep.projection_weight) == (0.3, 0.015, 35)
    assert (shallow.sample_px, shallow.block_sides) == (104, (52, 52, 52))
    assert config_of("ECO-V-11+31").sample_px == 208
    assert config_of("ECO-HC").layout == ((198, (4, 6), (49, 33)))
    # Two thirds of what there is to choose from, and not of what the name would have.
    assert config_of("ECO-CD:compressed=6x9x4").num_channels == 10
    assert config_of("ECO-HC-CD", compressed=(2, 4)).num_channels == 4
    assert config_of("ECO-V-54").grid_hw == (53, 53)
    for name in ("ECO-HC-V-11", "ECO-V", "ECO-H", "ECO-CD-H", "ECO-CD-HC"):
        with pytest.raises(InputError, match="nearest is ECO"):
            cdjax.make(name)


def test_features_around_a_box_are_of_patches_as_a_step_cuts_them():
    frames, boxes = video(1)
    frame, box = jnp.asarray(frames[0]), jnp.asarray(boxes[0], jnp.float32)
    config = config_of("DeepCD-H")
    found, template = jax.jit(config.extract_around)({}, frame, box)
    assert (found.shape, template.shape) == ((3, 28, 28, 31), (1, 28, 28, 31))
    centre, size = box[:2] + (box[2:] - 1) / 2, 3 * box[:1:-1]
    patch = crop.crop_patch(frame, centre, size, out_hw=(112, 112))
    np.testing.assert_allclose(found[0], jax.jit(config.extract)({}, patch[None])[0], atol=1e-4)
    assert np.all(np.abs(np.diff(found, axis=0)).max(axis=(1, 2, 3)) > 0.01)  # three scales
    # CACF's patches are gray; the context's has the search patch in its middle.
    search, context = jax.jit(config_of("CACF").extract_around)({}, frame, box)
    assert (search.shape, context.shape) == ((1, 30, 30, 31), (1, 50, 50, 31))
    inside = np.s_[:, 1:-1, 1:-1]
    # Gray levels are whole: one that is rounded otherwise moves its votes.
    pair = [np.asarray(x)[inside].ravel() for x in (context[:, 10:-10, 10:-10], search)]
    assert np.corrcoef(pair)[0, 1] > 0.99
    config, table = config_of("CACF:shared=false,num_scales=3,colors=true"), jnp.zeros((32768, 10))
    shapes = [x.shape for x in jax.eval_shape(config.extract_around, {"table": table}, frame, box)]
    assert shapes == [(3, 30, 30, 41), (5, 30, 30, 41)]
    found = jax.eval_shape(config_of("CACF:grid_hw=24x36").extract_around, {}, frame, box)
    assert [x.shape for x in found] == [(1, 24, 36, 31), (1, 40, 60, 31)]
    assert jax.jit(config_of("ECO-HC").extract_around)({}, frame, box).shape == (1, 33, 33, 31)
    for wh in ((16, 20), (30, 30), (40, 60), (90, 20)):
        config = config_of("ECO-HC").fitted(np.array(wh, np.float32))
        side = config.patch_px // 6
        found = jax.eval_shape(config.extract_around, {}, frame, box).shape
        assert found == (1, side, side, 31), wh
    config = config_of(MDNET)
    shape = jax.eval_shape(config.extract_around, params_of(MDNET), frame, box).shape
    assert shape == (config.num_patches, 4608)


def test_backbone_of_tells_the_cost_of_a_frame():
    backbone, patch_px, grid_hw, num_patches = backbone_of("DeepCD-V-11+12+21")
    assert backbone.layers == ("conv1_1", "conv1_2", "conv2_1")
    assert (patch_px, grid_hw, num_patches) == (112, (28, 28), 1)
    assert backbone_of("DeepCD-V-11+12+21", pyramid="image")[3] == 4
    assert backbone_of("CF2-V-34+44+54")[1:] == (224, (56, 56), 2)
    assert backbone_of("DeepCD-H:num_scales=5", grid=14)[1:] == (112, (14, 14), 6)
