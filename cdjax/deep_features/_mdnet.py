"""MDNet's candidate features: conv3 of small patches, flattened; no head, no crops."""

from cdjax._errors import InputError
from cdjax._types import Array, Float, Int, Params
from cdjax.deep_features._extract import Backbone, check_params, check_rgb, forward


def candidate_features(
    backbone: Backbone,
    params: Params,
    patches: Float[Array, "n p p 3"],
    *,
    selected: Int[Array, " k"] | None = None,
) -> Float[Array, "n f"]:
    """Computes the deepest layer of each patch, flattened channel by channel.

    Channel i of the result owns the h w entries from h w i, row by row, as in [1, §3]'s PyTorch
    form; `maps_of` turns them back into maps.

    Args:
      backbone: "mdnet" or "mdnet_matlab" with one layer, conv3 as a rule.
      params: its weights; "mean" is 128 for MDNet's own.
      patches: RGB, 0..255; 107 px give 3x3 cells.
      selected: channels to compute; all of them if None.

    Returns:
      Features after ReLU, f = h w c or h w k.

    References:
      [1] Nam and Han, Learning multi-domain convolutional networks, 2016.
    """
    if len(backbone.layers) != 1:
        raise InputError(f"candidates need one layer, found {', '.join(backbone.layers)}")
    check_rgb(backbone, patches)
    check_params(backbone, params)
    (maps,) = forward(backbone, params, patches, selected)
    return maps.transpose(0, 3, 1, 2).reshape(maps.shape[0], -1)


def maps_of(features: Float[Array, "n f"], *, hw: tuple[int, int]) -> Float[Array, "n h w c"]:
    """Turns flat candidate features back into maps.

    Args:
      features: what `candidate_features` gave.
      hw: height and width of the maps, cells; (3, 3) for conv3 of 107 px.

    Returns:
      The maps.
    """
    return features.reshape(features.shape[0], -1, *hw).transpose(0, 2, 3, 1)
