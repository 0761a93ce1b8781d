"""How large the model of a target is, and from which layers it comes."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from cdjax import deep_features
from cdjax._types import Params


def channels_by_layer(layers: Mapping[str, int], state: Any) -> dict[str, int]:
    """Counts the channels in use of each layer.

    On the host.

    Args:
      layers: the candidate layers with their channels, in network order.
      state: a tracker's state, whose `selected` indexes all candidates.

    Returns:
      The counts, by layer.
    """
    ends = np.cumsum(list(layers.values()))
    owners = np.searchsorted(ends, _selected(state), side="right")
    counts = np.bincount(owners, minlength=len(layers))
    return dict(zip(layers, counts.tolist(), strict=True))


def model_bytes(backbone: deep_features.Backbone, params: Params, state: Any) -> dict[str, int]:
    """Counts the bytes that tracking one target needs, besides the frame.

    On the host. The network counts up to the deepest layer in use: whole before it, in that layer
    only the outputs in use; whole too under a projection, which mixes all of them. The filter
    counts its complex half spectra over the channels in use and, where it has them, its real
    denominators or the projection's columns; MDNet's classifier with its box regression takes its
    place.

    Args:
      backbone: the tracker's network and candidate layers.
      params: its weights.
      state: state after distillation.

    Returns:
      "filter_bytes", "conv_bytes" and their sum "total".
    """
    if hasattr(state, "projection"):
        filter_bytes, conv_bytes = _projected_bytes(backbone, params, state)
    else:
        filter_bytes, conv_bytes = _direct_bytes(backbone, params, state)
    return {
        "filter_bytes": filter_bytes,
        "conv_bytes": conv_bytes,
        "total": filter_bytes + conv_bytes,
    }


def _direct_bytes(backbone: deep_features.Backbone, params: Params, state: Any) -> tuple[int, int]:
    """Bytes of a filter or classifier on the network's own channels, and of the network."""
    count = int(state.num_channels)
    slots = len(state.selected)
    learnt, rows = getattr(state, "model", None), slots
    if learnt is None:
        learnt, rows = (state.head, state.regression), state.regression.coef.shape[0]
    # What has a slot a channel counts by the channels in use, the rest whole.
    filter_bytes = sum(
        leaf.nbytes * count // slots if leaf.shape[:1] == (rows,) else leaf.nbytes
        for leaf in jax.tree.leaves(learnt)
    )
    conv_bytes = 0
    if backbone.needs_weights:
        selected = _selected(state)
        ends = np.cumsum(backbone.layer_channels)
        last = int(np.searchsorted(ends, selected.max(), side="right"))
        start = int(ends[last]) - backbone.layer_channels[last]
        deepest, outputs = backbone.layers[last], selected[selected >= start] - start
        if backbone.network == "colornames":
            conv_bytes = _num_bytes(params["table"]) if deepest == "cn" else 0
        else:
            conv_bytes = params["mean"].nbytes + _used_bytes(backbone, params, deepest, outputs)
    return filter_bytes, conv_bytes


def _projected_bytes(
    backbone: deep_features.Backbone, params: Params, state: Any
) -> tuple[int, int]:
    """Bytes of projections with their filters, and of the network."""
    filter_bytes, used = 0, []
    for matrix, block in zip(state.projection, state.model.filter_f, strict=True):
        # Columns of channels not in use are zero.
        count = int(np.any(np.asarray(matrix) != 0, axis=0).sum())
        filter_bytes += (matrix.nbytes + block.nbytes) * count // max(matrix.shape[1], 1)
        used.append(count > 0)
    if not backbone.needs_weights:
        return filter_bytes, _num_bytes(params) if params and used[0] else 0
    deepest = max((i for i in range(len(backbone.layers)) if used[i]), default=None)
    if deepest is None:
        return filter_bytes, 0
    outputs = np.arange(backbone.layer_channels[deepest])
    conv_bytes = _used_bytes(backbone, params, backbone.layers[deepest], outputs)
    return filter_bytes, conv_bytes + params["mean"].nbytes


def _selected(state: Any) -> np.ndarray:
    """Indices of the channels in use; spare slots lie in front of them."""
    return np.asarray(state.selected)[len(state.selected) - int(state.num_channels) :]


def _used_bytes(
    backbone: deep_features.Backbone, params: Params, deepest: str, outputs: np.ndarray
) -> int:
    """Bytes of a network's layers to the deepest in use, and of that its outputs in use."""
    total = 0
    # In network order: a stored dict is sorted by name.
    for name in deep_features.layers_of(backbone.network):
        if name in params:
            whole = name != deepest
            total += _num_bytes(params[name]) if whole else _selected_bytes(params[name], outputs)
        if name == deepest:
            break
    return total


def _num_bytes(layer: Params) -> int:
    """Bytes of all arrays of a layer."""
    if isinstance(layer, dict):
        return sum(_num_bytes(part) for part in layer.values())
    return layer.nbytes


def _selected_bytes(layer: Params, outputs: np.ndarray) -> int:
    """Bytes of a layer whose last convolutions compute only some outputs."""
    if "kernel" in layer:
        return _num_bytes(layer) * len(outputs) // layer["kernel"].shape[-1]
    # A fire module: the squeeze convolution in full, then the two that are concatenated.
    split = layer["expand1x1"]["kernel"].shape[-1]
    return (
        _num_bytes(layer["squeeze"])
        + _selected_bytes(layer["expand1x1"], outputs[outputs < split])
        + _selected_bytes(layer["expand3x3"], outputs[outputs >= split])
    )
