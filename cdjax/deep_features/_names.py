"""The networks' layers by name; no networks, so that naming one does not import Flax."""

_VGG19_BLOCKS = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))

VGG19_LAYERS = {
    f"conv{block}_{i}": channels
    for block, (count, channels) in enumerate(_VGG19_BLOCKS, 1)
    for i in range(1, count + 1)
}
"""Channels of each layer, in network order."""

VGG_M_LAYERS = {
    "conv1": 96,
    "norm1": 96,
    "conv2": 256,
    "norm2": 256,
    "conv3": 512,
    "conv4": 512,
    "conv5": 512,
}
"""Channels of each layer, in network order; the norms are conv1 and conv2 after LRN."""

MDNET_LAYERS = dict(list(VGG_M_LAYERS.items())[: list(VGG_M_LAYERS).index("conv4")])
"""Channels of MDNet's layers: VGG-M's to conv3, and its norms."""

_FIRE_CHANNELS = (128, 128, 256, 256, 384, 384, 512, 512)

SQUEEZENET_LAYERS = {
    "conv1": 96,
    **{f"fire{i}": channels for i, channels in enumerate(_FIRE_CHANNELS, 2)},
    "conv10": 1000,
}
"""Channels of each layer of v1.0, in network order."""

SQUEEZENET1_1_LAYERS = SQUEEZENET_LAYERS | {"conv1": 64}
"""Channels of each layer of v1.1, in network order."""


def padding_reach(layer: str) -> tuple[int, int]:
    """How far VGG-19's padding shows in a layer.

    Args:
      layer: its name, as in `VGG19_LAYERS`.

    Returns:
      How far from the border of a patch, and the step of the layer's cells; px.

    >>> padding_reach("conv1_2"), padding_reach("conv2_1")
    ((2, 1), (4, 2))
    """
    reach, step = 0, 1
    for name in list(VGG19_LAYERS)[: list(VGG19_LAYERS).index(layer) + 1]:
        if name.endswith("_1") and name != "conv1_1":
            step *= 2
            reach = -(-reach // step) * step  # the pool's cells show it as wholes
        reach += step
    return reach, step
