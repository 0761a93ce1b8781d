"""The backbone's candidate channels on one grid; no window, no spectra."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cdjax._errors import InputError
from cdjax._turns import in_turn
from cdjax._types import Array, Float, Int, Params
from cdjax.deep_features._color_names import (
    COLOR_NAME_CHANNELS,
    check_color_table,
    color_names,
)
from cdjax.deep_features._names import (
    MDNET_LAYERS,
    SQUEEZENET1_1_LAYERS,
    SQUEEZENET_LAYERS,
    VGG19_LAYERS,
    VGG_M_LAYERS,
    padding_reach,
)
from cdjax.deep_features._resample import resize
from cdjax.deep_features._shallow import FHOG_CHANNELS, fhog

_LAYERS = {
    "vgg19": VGG19_LAYERS,
    "vgg_m": VGG_M_LAYERS,
    "squeezenet": SQUEEZENET_LAYERS,
    "squeezenet1_1": SQUEEZENET1_1_LAYERS,
    "mdnet": MDNET_LAYERS,
    "mdnet_matlab": MDNET_LAYERS,
    "hog": {"fhog": FHOG_CHANNELS},
    "colornames": {"fhog": FHOG_CHANNELS, "cn": COLOR_NAME_CHANNELS},
}

_PADDED = ("vgg19", "vgg_m")  # networks whose padding can be chosen
_HAND_CRAFTED = ("hog", "colornames")

_LABELS = {"vgg19": "VGG-19", "vgg_m": "VGG-M", "mdnet": "MDNet", "mdnet_matlab": "MDNet"}


def layers_of(network: str) -> tuple[str, ...]:
    """Lists the layers that a network offers as candidates.

    Args:
      network: name of the network, see `Backbone`.

    Returns:
      The layers, in network order.

    Raises:
      InputError: for an unknown network.
    """
    if network not in _LAYERS:
        raise InputError(f"no network {network!r}: choose from {', '.join(_LAYERS)}")
    return tuple(_LAYERS[network])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Backbone:
    """Which network's layers offer the candidate channels.

    Attributes:
      network: "vgg19", "vgg_m", "mdnet" (py-MDNet's norm), "mdnet_matlab" (VGG-M's norm; takes
        VGG-M's weights too), "squeezenet" (v1.0), "squeezenet1_1", "hog", or "colornames" (HOG
        and colour names, whose table is its weights).
      layers: candidate layers, such as ("conv1_1", "conv1_2", "conv2_1"), ("fire3",) or
        ("fhog",); kept in network order.
      padding: "zero", or "reflect" for the VGG networks.

    >>> Backbone(network="vgg19", layers=("conv2_1", "conv1_2")).layer_channels
    (64, 128)
    """

    network: str
    layers: tuple[str, ...]
    padding: str = "zero"

    def __post_init__(self):
        """Checks the names and sorts the layers."""
        known = layers_of(self.network)
        unknown = [layer for layer in self.layers if layer not in known]
        if unknown or not self.layers or len(set(self.layers)) < len(self.layers):
            raise InputError(
                f"layers {list(self.layers)} of {self.network}: choose one or more, "
                f"each once, from {', '.join(known)}"
            )
        paddings = ("zero", "reflect") if self.network in _PADDED else ("zero",)
        if self.padding not in paddings:
            raise InputError(
                f"padding {self.padding!r} of {self.network}: choose from {', '.join(paddings)}"
            )
        ordered = tuple(sorted(self.layers, key=known.index))
        object.__setattr__(self, "layers", ordered)

    @property
    def layer_channels(self) -> tuple[int, ...]:
        """Channels of each layer."""
        return tuple(_LAYERS[self.network][layer] for layer in self.layers)

    @property
    def num_channels(self) -> int:
        """Channels of all layers together."""
        return sum(self.layer_channels)

    @property
    def needs_weights(self) -> bool:
        """Whether `extract` reads params."""
        return self.network != "hog"


def extract(
    backbone: Backbone,
    params: Params,
    patches: Float[Array, "n p p ch"],
    *,
    grid_hw: tuple[int, int],
    selected: Int[Array, " k"] | None = None,
    num_last: int | None = None,
) -> Float[Array, "n h w k"]:
    """Computes candidate channels: after ReLU, before pooling, resized to one grid.

    With `selected` the deepest layer computes `num_last` of its outputs, or all where that is
    cheaper (`num_outputs`); earlier layers are computed in full where deeper ones need them, and
    gathered.

    Args:
      backbone: network and layers.
      params: its weights (`cdjax.weights.load_params`); ignored for "hog".
      patches: RGB 0..255, gray replicated ("hog" also takes one channel).
      grid_hw: height and width of the result, cells. For "hog" it divides the patch.
      selected: ascending indices into the concatenated candidates; all of them if None.
        Spare slots at the front may repeat an index.
      num_last: how many entries at the end of `selected` may lie in the deepest layer;
        as many as fit if None. Those of them that lie before it cost as much, no more.

    Returns:
      The channels in the order of `selected`, or of the layers; neither windowed nor
      normalised.

    >>> hog = Backbone(network="hog", layers=("fhog",))
    >>> extract(hog, {}, jnp.zeros((2, 16, 16, 3)), grid_hw=(4, 4)).shape
    (2, 4, 4, 31)
    """
    compute, index = _needed(backbone, params, grid_hw, selected, num_last)

    def gathered(patches: Float[Array, "m p p ch"]) -> Float[Array, "m h w k"]:
        maps = jnp.concatenate(compute(patches), axis=-1)
        return maps if index is None else jnp.take(maps, index, axis=-1, mode="clip")

    if backbone.network in _HAND_CRAFTED:
        return gathered(patches)
    check_rgb(backbone, patches)
    return patch_by_patch(gathered, patches)


def extract_needed(
    backbone: Backbone,
    params: Params,
    patches: Float[Array, "n p p ch"],
    *,
    grid_hw: tuple[int, int],
    selected: Int[Array, " k"] | None = None,
    num_last: int | None = None,
    rim: int = 0,
) -> tuple[list[Float[Array, "n _ _ _"]], Int[Array, " k"] | None]:
    """As `extract`, but leaves it to the caller to join layers and to gather selected channels.

    Both are passes over all maps; after they are cut, where they are transposed, they cost less.

    Args:
      backbone: network and layers.
      params: its weights.
      patches: see `extract`.
      grid_hw: height and width of the grid, cells.
      selected: see `extract`.
      num_last: see `extract`.
      rim: cells of the grid to leave out at each side. Where no padding shows in what is left,
        and VGG-19's layers lie before its second pool, what only the rim needs is not computed.

    Returns:
      Maps of each layer without the rim, the earlier in full and what the deepest computed; and
      where among all their channels each of `selected` lies (None for all, in order).

    Raises:
      InputError: the rim leaves nothing of the grid.
    """
    if not 0 <= 2 * rim < min(grid_hw):
        raise InputError(
            f"rim={rim} of a grid of {grid_hw[0]}x{grid_hw[1]}: choose one that leaves cells"
        )
    compute, index = _needed(backbone, params, grid_hw, selected, num_last, rim)
    if backbone.network in _HAND_CRAFTED:
        return compute(patches), index
    check_rgb(backbone, patches)
    return patch_by_patch(compute, patches), index


def _needed(
    backbone: Backbone,
    params: Params,
    grid_hw: tuple[int, int],
    selected: Int[Array, " k"] | None,
    num_last: int | None,
    rim: int = 0,
) -> tuple[Callable[[Float[Array, "m p p ch"]], list[Float[Array, "m h w _"]]], Any]:
    """What computes the maps of `extract_needed`, and its index."""
    inner_hw = grid_hw[0] - 2 * rim, grid_hw[1] - 2 * rim

    def without_rim(maps: Float[Array, "m h w c"]) -> Float[Array, "m _ _ c"]:
        return maps[:, rim:, rim:][:, : inner_hw[0], : inner_hw[1]] if rim else maps

    if backbone.network in _HAND_CRAFTED:
        blocks = {"fhog": fhog, "cn": functools.partial(color_names, params)}

        def hand_crafted(patches: Float[Array, "m p p ch"]) -> list[Float[Array, "m h w _"]]:
            cell = _hog_cell(patches.shape[1], grid_hw)
            return [without_rim(blocks[layer](patches, cell=cell)) for layer in backbone.layers]

        return hand_crafted, selected
    index, outputs = selected, None
    if selected is not None:
        *earlier, deepest = backbone.layer_channels
        num_earlier, num_selected = sum(earlier), selected.shape[0]
        if num_last is None:
            num_last = min(num_selected, deepest)
        if not 1 <= num_last <= num_selected:
            raise InputError(
                f"num_last is {num_last}: choose from 1 to the {num_selected} selected"
            )
        if not earlier:
            num_last = num_selected
        if num_outputs(num_last, deepest) < deepest:
            split = num_selected - num_last
            outputs = jnp.clip(selected[split:] - num_earlier, 0, deepest - 1)
            slots = num_earlier - split + np.arange(num_selected)
            index = jnp.where(selected < num_earlier, selected, slots) if earlier else None
    check_params(backbone, params)

    def of_layers(patches: Float[Array, "m p p 3"]) -> list[Float[Array, "m h w _"]]:
        inner = _inner_pixels(backbone, patches.shape[1], grid_hw, rim)
        layers = forward(backbone, params, patches, outputs, padded=inner is None)
        if inner is None:
            return [without_rim(resize(maps, grid_hw)) for maps in layers]
        layers = [maps[:, part, part] for maps, part in zip(layers, inner, strict=True)]
        return [resize(maps, inner_hw) for maps in layers]

    return of_layers, index


def _inner_pixels(
    backbone: Backbone, side: int, grid_hw: tuple[int, int], rim: int
) -> list[slice] | None:
    """Which pixels of each layer, computed without padding, make up the grid without its rim.

    None where the rim does not hold all that padding reaches, or where pixels are not those with
    padding: behind VGG-19's second pool, which then takes others together.
    """
    cell, rest = divmod(side, grid_hw[0])
    fits = rim and not rest and grid_hw[0] == grid_hw[1]
    if not fits or (backbone.network, backbone.padding) != ("vgg19", "zero"):
        return None
    inner = []
    for layer in backbone.layers:
        reach, step = padding_reach(layer)
        if step > 2 or cell % step or rim * cell < reach:
            return None
        start = (rim * cell - reach) // step
        inner.append(slice(start, start + (side - 2 * rim * cell) // step))
    return inner


def num_outputs(num_needed: int, num_all: int) -> int:
    """Tells how many outputs of its deepest layer `extract` computes where some are needed.

    Args:
      num_needed: how many are needed.
      num_all: how many the layer has.

    Returns:
      `num_needed`; `num_all` where more than 5/9 are needed, since a convolution is then faster
      than the products by which chosen outputs are computed (3x3, 56x56 maps of 64 channels, two
      cores: all of 128 take 2.5 ms, 72 of them 2.4, 104 of them 3.2). Layers of strides or 1x1,
      where any number pays, follow the same rule.

    >>> num_outputs(40, 128), num_outputs(72, 128)
    (40, 128)
    """
    return num_all if 9 * num_needed > 5 * num_all else num_needed


def patch_by_patch(
    function: Callable[[Float[Array, "m p p 3"]], Any], patches: Float[Array, "n p p 3"]
) -> Any:
    """Runs a network over patches, in turn on a CPU: five take 5 to 15 % less time, same bits."""

    def one(patch: Float[Array, "p p 3"]) -> Any:
        return jax.tree.map(lambda maps: maps[0], function(patch[None]))

    return in_turn(one, patches, at_once=function)


def init_params(key: Array, backbone: Backbone) -> Params:
    """Draws the weights of a network to its deepest layer, to train it from.

    Args:
      key: random key.
      backbone: network and layers.

    Returns:
      Kernels of He's normal distribution; biases and "mean" of zero.
    """
    shapes = _param_shapes(backbone.network, backbone.layers[-1])
    leaves, tree = jax.tree_util.tree_flatten_with_path(shapes)
    keys = jax.random.split(key, len(leaves))
    draw = jax.nn.initializers.he_normal()

    def one(key: Array, path: Any, leaf: Any) -> Array:
        if path[-1].key == "kernel":
            return draw(key, leaf.shape, leaf.dtype)
        return jnp.zeros(leaf.shape, leaf.dtype)

    return jax.tree.unflatten(
        tree, [one(key, *leaf) for key, leaf in zip(keys, leaves, strict=True)]
    )


def check_params(backbone: Backbone, params: Params) -> None:
    """Checks that weights reach the backbone's layers and have its shapes.

    Args:
      backbone: network and layers.
      params: weights, or their `jax.ShapeDtypeStruct`s.

    Raises:
      InputError: a layer or an array is missing, or a shape is wrong.
    """
    if not backbone.needs_weights:
        return
    if backbone.network == "colornames":
        return check_color_table(params)
    deepest = backbone.layers[-1]
    expected = _param_shapes(backbone.network, deepest)
    if not isinstance(params, dict):
        raise InputError(
            f"{backbone.network} needs its weights as a dict, found "
            f"{type(params).__name__}: load them with cdjax.weights.load_params"
        )
    missing = [name for name in expected if name not in params]
    if missing:
        known = [name for name in _LAYERS[backbone.network] if name in params]
        label = _LABELS.get(backbone.network, "SqueezeNet")
        reach = f"reach {known[-1]}" if known else f"have no {missing[0]}"
        raise InputError(
            f"{deepest} needs weights to {deepest}, these {reach}: "
            f"convert a full {label} file with `cdjax weights convert`"
        )
    for name, tree in expected.items():
        for path, shape in _flat_shapes(tree):
            found = dict(_flat_shapes(params[name])).get(path)
            if found != shape:
                raise InputError(
                    f"weights {name}{path} have shape {found}, {backbone.network} "
                    f"needs {shape}: convert the file of that network"
                )


def check_rgb(backbone: Backbone, patches: Float[Array, "n p p ch"]) -> None:
    """Stops patches of other than three channels."""
    if patches.shape[-1] != 3:
        raise InputError(
            f"{backbone.network} takes RGB patches, these have {patches.shape[-1]} "
            "channels: replicate gray to three"
        )


def _hog_cell(side: int, grid_hw: tuple[int, int]) -> int:
    """The cell that divides a patch into the grid, px."""
    cell = side // max(grid_hw[0], 1)
    if (cell * grid_hw[0], cell * grid_hw[1]) != (side, side):
        raise InputError(
            f"HOG cells of a {side} px patch do not fit a grid of "
            f"{grid_hw[0]}x{grid_hw[1]}: choose a square grid that divides the patch"
        )
    return cell


def network_module(backbone: Backbone, *, padded: bool = True) -> Any:
    """The network of a backbone, a linen module; Flax is imported with the first.

    Args:
      backbone: network and layers.
      padded: whether VGG-19's maps keep the size of the patch.

    Returns:
      The module.
    """
    from cdjax.deep_features._squeezenet import SqueezeNet
    from cdjax.deep_features._vgg import PY_MDNET_NORM, VGG19, VGGM

    if backbone.network == "vgg19":
        return VGG19(backbone.layers, backbone.padding if padded else "none")
    if backbone.network == "vgg_m":
        return VGGM(backbone.layers, backbone.padding)
    if backbone.network == "mdnet":
        return VGGM(backbone.layers, "none", PY_MDNET_NORM)
    if backbone.network == "mdnet_matlab":
        return VGGM(backbone.layers, "none")
    version = "1.0" if backbone.network == "squeezenet" else "1.1"
    return SqueezeNet(backbone.layers, version)


@functools.partial(jax.jit, static_argnums=0, static_argnames="padded", inline=True)
def forward(
    backbone: Backbone,
    params: Params,
    patches: Float[Array, "n p p 3"],
    outputs: Int[Array, " k"] | None = None,
    *,
    padded: bool = True,
) -> list[Float[Array, "n _ _ _"]]:
    """Runs the network; one array of maps a layer."""
    # Inlined: of the jit only its memory is wanted, since a step traces the same network often.
    network = network_module(backbone, padded=padded)
    maps: Any = network.apply({"params": params}, patches, outputs)
    return [maps[layer] for layer in backbone.layers]


@functools.cache
def _param_shapes(network: str, deepest: str) -> dict[str, Any]:
    """The shapes of a network's weights up to one layer."""
    if network == "colornames":
        return {"table": jax.ShapeDtypeStruct((32**3, COLOR_NAME_CHANNELS), jnp.float32)}
    module = network_module(Backbone(network=network, layers=(deepest,)))
    patches = jax.ShapeDtypeStruct((1, 256, 256, 3), jnp.float32)
    key = jax.ShapeDtypeStruct((2,), jnp.uint32)
    return jax.eval_shape(module.init, key, patches)["params"]


def _flat_shapes(tree: Any) -> list[tuple[str, tuple[int, ...]]]:
    """The path and shape of each array of a tree."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [(jax.tree_util.keystr(path), tuple(x.shape)) for path, x in leaves]
