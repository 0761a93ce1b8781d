"""The paper's names of trackers, and the configs behind them."""

import dataclasses
import difflib
import numbers
import re
import types
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, get_args, get_origin, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from cdjax import crop, deep_features
from cdjax._errors import InputError
from cdjax._types import Array, Float, Params, Shaped
from cdjax.trackers._base import Tracker
from cdjax.trackers._cacf import CACFConfig, build_cacf, cacf
from cdjax.trackers._deepcd import DeepCDConfig, build_deepcd, deepcd
from cdjax.trackers._eco import ECOConfig, build_eco, eco
from cdjax.trackers._mdnet import build_mdnet, mdnet
from cdjax.trackers._mdnet_config import MDNetConfig

_NETWORKS = {
    "V": "vgg19",
    "M": "vgg_m",
    "S": "squeezenet",
    "S1.1": "squeezenet1_1",
    "H": "hog",
}
# The deepest layers that a 112-pixel input still feeds with more than a few cells.
_SHALLOW = (
    "conv1_1",
    "conv1_2",
    "conv2_1",
    "conv2_2",
    "conv3_1",
    "conv3_2",
    "conv3_3",
    "conv3_4",
)
# Those of them out of whose maps scales can be cut, at a third of the time: two cells or more to
# each of the filter's, and padding shows only where the window hides it (BUILD_NOTES.md).
_FINE = _SHALLOW[:3]


@runtime_checkable
class TrackerConfig(Protocol):
    """What is asked of the config of any tracker, which is a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def backbone(self) -> deep_features.Backbone:
        """The network and its candidate layers."""
        ...

    @property
    def candidates(self) -> dict[str, int]:
        """The channels that the filter may use, by layer."""
        ...

    @property
    def patch_px(self) -> int:
        """Side of a patch, px."""
        ...

    @property
    def grid_hw(self) -> tuple[int, int]:
        """Rows and columns of the feature maps, cells."""
        ...

    @property
    def num_patches(self) -> int:
        """Patches whose features a frame needs."""
        ...

    def fitted(self, wh: Any) -> "TrackerConfig":
        """The config whose shapes suit a target's width and height."""
        ...

    def extract(self, params: Params, patches: Float[Array, "n p p ch"]) -> Float[Array, "n *_"]:
        """Computes what of patches a frame needs at least: all candidate features."""
        ...

    def extract_around(
        self, params: Params, frame: Shaped[Array, "H W 3"], box: Float[Array, "4"]
    ) -> Any:
        """Cuts what a frame needs at least around a box, and computes all candidate features."""
        ...


class _Family(NamedTuple):
    """Trackers of one config class.

    Attributes:
      pattern: what their names look like.
      config_class: their config.
      named: the config's fields that are no options: the name gives them, or `fitted`.
      defaults: (name, match, options) -> options that the name stands for, beside those given.
      factory: config -> tracker, the same one for equal configs.
      build: config -> a new tracker; the config may hold arrays.
      examples: names to show.
    """

    pattern: str
    config_class: Any
    named: tuple[str, ...]
    defaults: Callable[[str, re.Match[str], Mapping[str, Any]], dict[str, Any]]
    factory: Callable[[Any], Tracker]
    build: Callable[[Any], Tracker]
    examples: tuple[str, ...]


# What an option of each type is called, since options come typed by hand too.
_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a word",
    tuple: "a tuple, as in 30x30",
    type(None): "none",
}


def _kinds(annotation: Any) -> tuple[type, ...]:
    """The plain types that a field's annotation allows."""
    options = get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    return tuple(get_origin(option) or option for option in options)


def _is_a(value: Any, kind: type) -> bool:
    """Whether a value is of a plain type; whole numbers are numbers, truth values are not."""
    if kind in (int, float):
        allowed = numbers.Integral if kind is int else numbers.Real
        return isinstance(value, allowed) and not isinstance(value, bool)
    return isinstance(value, kind)


def list_trackers() -> tuple[str, ...]:
    """Names that `make` knows; any set of a network's layers works in place of those shown."""
    return tuple(name for family in _FAMILIES for name in family.examples)


def _unknown(name: str, why: str) -> InputError:
    listed = list_trackers()
    near = difflib.get_close_matches(name, listed, n=1, cutoff=0.0)
    return InputError(
        f"unknown tracker {name!r}: {why}; nearest is {near[0]}; there are {', '.join(listed)}"
        " (any layers, e.g. V-11+22, S-Fire2+Fire5, M-1+5)"
    )


def _parse_layers(name: str, network: str, text: str) -> tuple[str, ...]:
    """Layer names from the paper's short ones."""
    known = deep_features.layers_of(network)
    if network == "hog":
        if text:
            raise _unknown(name, "H takes no layers")
        return known
    if text.lower() == "all":
        return known
    short = {}
    for layer in known:
        digits = re.fullmatch(r"conv(\d)_(\d)", layer)
        short["".join(digits.groups()) if digits else layer] = layer
        if network == "vgg_m":
            short[layer.removeprefix("conv")] = layer
    chosen = []
    for part in text.split("+"):
        if part.lower() not in short:
            raise _unknown(name, f"no layer {part!r} in {network}, which has {', '.join(short)}")
        chosen.append(short[part.lower()])
    if len(set(chosen)) < len(chosen):
        raise _unknown(name, "a layer is named twice")
    return tuple(layer for layer in known if layer in chosen)


def _cast(config: Any, option: str, text: str) -> Any:
    """An option's value from text, by the type of the default."""
    default = getattr(config, option)
    if text.lower() in ("none", "true", "false"):
        return {"none": None, "true": True, "false": False}[text.lower()]
    if isinstance(default, tuple) and re.fullmatch(r"\d+(x\d+)+", text):
        return tuple(int(part) for part in text.split("x"))
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        return float(value) if isinstance(default, float) else value
    return text


def _resolve(name: str, options: dict[str, Any]) -> tuple[_Family, Any]:
    """The family of a tracker's name, and the config behind it; see `make`."""
    base, _, tail = name.partition(":")
    for family in _FAMILIES:
        if match := re.fullmatch(family.pattern, base):
            break
    else:
        raise _unknown(
            name,
            "names are FAMILY-NETWORK-LAYERS, CACF, CACF-CD, ECO, ECO-CD, ECO-HC, ECO-HC-CD,"
            " MDNet, MDNet-CD",
        )
    config = family.config_class(**family.defaults(name, match, {}))
    known = {field.name: field for field in dataclasses.fields(config)}
    for field in family.named:
        del known[field]
    if tail:
        pairs = [part.partition("=") for part in tail.split(",")]
        options = {
            key.strip(): _cast(config, key.strip(), value) if key.strip() in known else value
            for key, _, value in pairs
        } | options
    for option, value in options.items():
        if option not in known:
            near = difflib.get_close_matches(option, sorted(known), n=1, cutoff=0.0)[0]
            raise InputError(
                f"tracker {base} has no option {option!r}: nearest is {near};"
                f" there are {', '.join(sorted(known))}"
            )
        kinds = _kinds(known[option].type)
        if not any(_is_a(value, kind) for kind in kinds):
            remedy = " or ".join(_WORDS[kind] for kind in kinds)
            raise InputError(f"{option}={value!r}: use {remedy}")
    return family, family.config_class(**(family.defaults(name, match, options) | options))


def config_of(name: str, **options: Any) -> TrackerConfig:
    """The config behind a tracker's name; see `make`."""
    return _resolve(name, options)[1]


def _deepcd_defaults(name: str, match: re.Match[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Network, layers, and what they and CF2 change."""
    del options
    family, letter, layers_text = match.groups()
    network = _NETWORKS[letter]
    if layers_text is None and network != "hog":
        raise _unknown(name, "it names no layers")
    layers = _parse_layers(name, network, layers_text or "")
    return {"network": network, "layers": layers, **_defaults(family, network, layers)}


def _cacf_defaults(name: str, match: re.Match[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """CACF distils nothing."""
    del name
    if not match[1]:
        return {}
    # With colours fewer than CACF has without: the share of 41 that ECO-CD keeps of its own.
    return {"select": "swap", "num_channels": 28 if options.get("colors") else 16}


def _mdnet_defaults(name: str, match: re.Match[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """MDNet distils nothing; MDNet-CD keeps as many channels as the paper does on average."""
    del name, options
    return {"select": "swap", "num_channels": 239} if match[1] else {}


_ECO_SHAPES = ("sample_px", "region_scale", "scale_cells")


def _eco_defaults(name: str, match: re.Match[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """The config's own defaults are those of the hand-crafted features."""
    hand_crafted, distils, letter, layers_text = match.groups()
    if hand_crafted and letter:
        raise _unknown(name, "HC takes no network")
    network = "hog" if hand_crafted else _NETWORKS[letter or "M"]
    defaults: dict[str, Any] = {}
    if not hand_crafted:
        layers = _parse_layers(name, network, layers_text or "norm1+5")
        defaults = {"network": network, "layers": layers, **_eco_deep(network, layers)}
    if distils:
        compressed = options.get("compressed", defaults.get("compressed", ECOConfig.compressed))
        candidates = sum(compressed if hand_crafted else compressed[:-1])
        # The paper keeps 55 of the 80 that two layers have.
        defaults |= {"select": "swap", "num_channels": max(round(55 / 80 * candidates), 1)}
    # Whoever gives a size means it, and cells of a network's blocks need not divide other sizes.
    shapes = _ECO_SHAPES if hand_crafted else (*_ECO_SHAPES, "hog_cell", "least_cell")
    given = [option for option in shapes if option in options]
    if given and options.get("fits"):
        raise InputError(f"fits=True: leave out {', '.join(given)}, or fits")
    # ECO's own sizes. On SqueezeNet they cost time and gained nothing (BUILD_NOTES.md).
    defaults["fits"] = network in ("hog", "vgg_m") and not given
    return defaults


def _eco_deep(network: str, layers: tuple[str, ...]) -> dict[str, Any]:
    """Options of ECO on a network's layers [`OTB_DEEP_settings.m`]."""
    sides = {"sample_px": crop.DEEP_SAMPLE_PX[network][0], "least_cell": 4, "hog_cell": 4}
    if network == "vgg19" and max(layers) < "conv3":
        # Early layers keep their accuracy on half the side, at a third of the time.
        sides = {name: side // 2 for name, side in sides.items()}
    return {
        **sides,
        # As many as ECO gives VGG-M's two layers, then HOG.
        "compressed": (*(16,) * (len(layers) - 1), 64, 10),
        "region_scale": 4.5,
        "sigma": 1 / 12,
        "num_slots": 50,
        "skip_after": 1,
        "forgetting": 75.0,
        "data_weight": 0.3,
        "reg_weight": 0.015,
        "projection_weight": 35.0,
        "projection_reg": 5e-8,
        "num_scales": 5,
    }


def _defaults(family: str, network: str, layers: tuple[str, ...]) -> dict[str, Any]:
    """Options in which a family or network differs from `DeepCDConfig`'s defaults."""
    options: dict[str, Any] = {}
    if network in ("squeezenet", "squeezenet1_1"):
        options |= {"patch_px": 227}
    elif network == "vgg_m":
        options |= {"patch_px": 224}
    elif network == "vgg19" and not set(layers) <= set(_SHALLOW):
        options |= {"patch_px": 224}
    if family == "CF2" or not (network == "vgg19" and set(layers) <= set(_FINE)):
        options |= {"pyramid": "image"}
    if network == "hog":
        # HOG's cells are normalised against contrast already, and average pixels themselves.
        options |= {"power": 1.0, "supersample": 1}
    if family == "CF2":
        # The ICCV form: raw features, a filter a layer, the first frame's size throughout.
        options |= {
            "select": "all",
            "joint": False,
            "normalise": False,
            "power": 1.0,
            "num_scales": 1,
            "learning_rate": 0.01,
            "update": "cf2",
            "region": "cf2",
            "region_scale": 2.8,
            "sigma": 0.1,
            "supersample": 1,
        }
        if network not in ("hog", "squeezenet", "squeezenet1_1"):
            options |= {"patch_px": 224, "grid": 56}
        if layers == ("conv3_4", "conv4_4", "conv5_4"):
            options |= {"layer_weights": (0.02, 0.5, 1.0)}
    return options


_FAMILIES = (
    _Family(
        pattern=r"(CF2|DeepCD)-(V|M|S1\.1|S|H)(?:-(.+))?",
        config_class=DeepCDConfig,
        named=("network", "layers"),
        defaults=_deepcd_defaults,
        factory=deepcd,
        build=build_deepcd,
        examples=(
            "CF2-V-34+44+54",
            "CF2-V-11+12+21",
            "CF2-S-Fire3",
            "CF2-H",
            "DeepCD-V-11+12+21",
            "DeepCD-V-11",
            "DeepCD-V-11+12+21+54",
            "DeepCD-V-54",
            "DeepCD-S-All",
            "DeepCD-H",
        ),
    ),
    _Family(
        pattern=r"CACF(-CD)?",
        config_class=CACFConfig,
        named=(),
        defaults=_cacf_defaults,
        factory=cacf,
        build=build_cacf,
        examples=("CACF", "CACF-CD"),
    ),
    _Family(
        pattern=r"ECO(-HC)?(-CD)?(?:-(V|M|S1\.1|S)-(.+))?",
        config_class=ECOConfig,
        named=("network", "layers", "region"),
        defaults=_eco_defaults,
        factory=eco,
        build=build_eco,
        examples=("ECO-HC", "ECO-HC-CD", "ECO", "ECO-CD", "ECO-V-11+21", "ECO-CD-S-Fire2+Fire5"),
    ),
    _Family(
        pattern=r"MDNet(-CD)?",
        config_class=MDNetConfig,
        named=(),
        defaults=_mdnet_defaults,
        factory=mdnet,
        build=build_mdnet,
        examples=("MDNet", "MDNet-CD"),
    ),
)


def make(name: str, **options: Any) -> Tracker:
    """Builds a tracker from its name in the paper's grammar.

    FAMILY-NETWORK-LAYERS: FAMILY is CF2, DeepCD, ECO or ECO-CD; NETWORK is V (VGG-19), M (VGG-M), S
    (SqueezeNet 1.0) or S1.1, and for CF2 and DeepCD also H (HOG, no layers); LAYERS joins layers by
    +, as 11 for conv1_1, Fire3, or All. ECO and ECO-CD alone stand for VGG-M's norm1 and conv5;
    CACF, CACF-CD, ECO-HC, ECO-HC-CD, MDNet and MDNet-CD take no network. Options of the config
    (`DeepCDConfig`, `CACFConfig`, `ECOConfig`, `MDNetConfig`) follow as keywords or in the name, as
    in "DeepCD-V-11+12+21:select=random,seed=1" and "CACF:grid_hw=24x36".

    Args:
      name: the name.
      **options: fields of the config that differ from the name's defaults; `layer_weights`
        in network order, however the name orders the layers.

    Returns:
      The tracker; the same name and options give the same object.

    Raises:
      InputError: for an unknown name or option; the message lists what exists and what is nearest.
    """
    family, config = _resolve(name, options)
    return family.factory(config)


def vary(name: str, values: Mapping[str, Any], **options: Any) -> Tracker:
    """Builds a tracker some of whose numbers are arrays: traced ones, of which lanes differ.

    One program then tracks with many values side by side:

        def run(rate):
            return cdjax.track(cdjax.vary("CACF", {"learning_rate": rate}), {}, frames, box)

        jax.vmap(run)(jnp.array([0.01, 0.02, 0.04]))

    Args:
      name: the name, see `make`.
      values: scalars by field of the config, instead of those in the name. Numbers are checked as
        in `make`, arrays are not: a traced one has no value yet.
      **options: other fields of the config, as in `make`.

    Returns:
      A new tracker with each call; its `compact`, `room`, `fit` and `distil` are None.

    Raises:
      InputError: as `make`, and for a field that fixes shapes or is not there; the message lists
        those that can be varied.
    """
    family, config = _resolve(name, options)
    for field in values:
        if field not in config.traceable:
            listed = ", ".join(sorted(config.traceable))
            raise InputError(f"{name} cannot vary {field!r}: use {listed}")
    arrays, plain = {}, {}
    for field, value in values.items():
        if not isinstance(value, jax.Array | np.ndarray):
            plain[field] = value
        elif value.shape:
            raise InputError(
                f"{field} has shape {value.shape}: use a scalar, and jax.vmap over many"
            )
        else:
            arrays[field] = jnp.asarray(value, jnp.float32)
    _, config = _resolve(name, options | plain)
    built = family.build(config.with_arrays(arrays))
    return built._replace(compact=None, room=None, fit=None, distil=None)


def network_of(name: str) -> str | None:
    """Names the weights that a tracker needs.

    Args:
      name: the tracker's name, see `make`.

    Returns:
      The network, as `load_params` names it; None where the tracker needs no weights.

    Raises:
      InputError: for an unknown name.
    """
    backbone = config_of(name).backbone
    return backbone.network if backbone.needs_weights else None


def optional_weights_of(name: str) -> str | None:
    """Names weights that a tracker makes use of but can do without.

    Args:
      name: the tracker's name, see `make`.

    Returns:
      The weights, as `load_params` names them, such as "colornames"; None where there are none.

    Raises:
      InputError: for an unknown name.
    """
    return getattr(config_of(name), "optional_weights", None)


def candidates_of(name: str) -> dict[str, int]:
    """Counts the channels that a tracker's filter may use, before distillation.

    Args:
      name: the tracker's name, see `make`.

    Returns:
      The counts, by layer in the order of `State.selected`; ECO's after projection.

    Raises:
      InputError: for an unknown name.
    """
    return config_of(name).candidates


def backbone_of(
    name: str, **options: Any
) -> tuple[deep_features.Backbone, int, tuple[int, int], int]:
    """What a tracker asks of its network in every frame.

    Args:
      name: the tracker's name, as in `make`.
      **options: options, as in `make`.

    Returns:
      The backbone, the side of a patch in px, the grid in cells, and the patches in a frame.
    """
    config = config_of(name, **options)
    return config.backbone, config.patch_px, config.grid_hw, config.num_patches
