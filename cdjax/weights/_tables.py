"""Which array of which kind of file is which layer: explicit tables, no guesses."""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

RGB_MEAN = (123.68, 116.779, 103.939)
"""ImageNet's mean colour as the VGG networks subtract it."""


class Row(NamedTuple):
    """One convolution.

    Attributes:
      path: where its kernel and bias go in the params.
      key: its name in the source; the arrays are `key.weight` and `key.bias`.
      shape: kernel height, width, inputs, outputs.
    """

    path: tuple[str, ...]
    key: str
    shape: tuple[int, int, int, int]


class Dense(NamedTuple):
    """One fully connected layer; its kernel is stored as [inputs, outputs], channel by channel.

    Attributes:
      name: its name in the params.
      key: its name in the source.
      shape: height and width of the maps it sees, their channels, outputs.
      required: whether a file without it is of another kind.
    """

    name: str
    key: str
    shape: tuple[int, int, int, int]
    required: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """One kind of file: its convolutions in network order and its input.

    Attributes:
      name: name that a converted file gets by default.
      network: the network as `cdjax.deep_features.Backbone` calls it.
      format: "torch", "matconvnet", "caffe" or "deep_compression".
      rows: the convolutions in network order.
      order: channel order of the network's input, "RGB" or "BGR".
      mean: RGB, subtracted from values 0..255; None where the file holds it.
      std: RGB, divides the values 0..255 after the mean; 1 for most.
      colour: key of a 1x1 convolution on RGB / 255 that does all of that instead.
      ignored: beginnings of the keys of layers that the trackers have no use for.
      head: fully connected layers that a tracker starts from; empty for a backbone alone.
    """

    name: str
    network: str
    format: str
    rows: tuple[Row, ...]
    order: str = "RGB"
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    colour: str | None = None
    ignored: tuple[str, ...] = ()
    head: tuple[Dense, ...] = ()


_VGG19 = tuple(
    (f"conv{block}_{i}", channels)
    for block, (count, channels) in enumerate(((2, 64), (2, 128), (4, 256), (4, 512), (4, 512)), 1)
    for i in range(1, count + 1)
)

# torchvision's `features`: convolution, ReLU, ..., pool.
_VGG19_TORCHVISION = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)

# The style-transfer Sequential: colour, then padding, convolution, ReLU, ..., pool.
_VGG19_NORMALISED = (2, 5, 9, 12, 16, 19, 22, 25, 29, 32, 35, 38, 42, 45, 48, 51)

_VGG_M = (
    Row(("conv1",), "conv1", (7, 7, 3, 96)),
    Row(("conv2",), "conv2", (5, 5, 96, 256)),
    Row(("conv3",), "conv3", (3, 3, 256, 512)),
    Row(("conv4",), "conv4", (3, 3, 512, 512)),
    Row(("conv5",), "conv5", (3, 3, 512, 512)),
)

_MDNET_MEAN = (128.0, 128.0, 128.0)


def _mdnet_head(fc4: str, fc5: str, *, last: bool) -> tuple[Dense, ...]:
    """MDNet's head under the given names; a binary layer only where a file may hold one."""
    fc6 = (Dense("fc6", "fc6", (1, 1, 512, 2), required=False),) if last else ()
    return (Dense("fc4", fc4, (3, 3, 512, 512)), Dense("fc5", fc5, (1, 1, 512, 512)), *fc6)


# torchvision's `features`: fire2 to fire9.
_FIRES_TORCHVISION = {
    "1.0": (3, 4, 5, 7, 8, 9, 10, 12),
    "1.1": (3, 4, 6, 7, 9, 10, 11, 12),
}


def _vgg19(keys: list[str]) -> tuple[Row, ...]:
    """The rows of VGG-19 under the given names."""
    rows, num_inputs = [], 3
    for (name, channels), key in zip(_VGG19, keys, strict=True):
        rows.append(Row((name,), key, (3, 3, num_inputs, channels)))
        num_inputs = channels
    return tuple(rows)


def _squeezenet(version: str, *, torchvision: bool) -> tuple[Row, ...]:
    """The rows of SqueezeNet as Caffe or torchvision name them."""
    size, num_inputs = (7, 96) if version == "1.0" else (3, 64)
    conv1 = "features.0" if torchvision else "conv1"
    rows = [Row(("conv1",), conv1, (size, size, 3, num_inputs))]
    for i, half in enumerate((64, 64, 128, 128, 192, 192, 256, 256), 2):
        fire = f"fire{i}"
        prefix = f"{fire}/"
        suffixes = "squeeze1x1", "expand1x1", "expand3x3"
        if torchvision:
            prefix = f"features.{_FIRES_TORCHVISION[version][i - 2]}."
            suffixes = "squeeze", "expand1x1", "expand3x3"
        squeeze = half // 4
        shapes = (
            (1, 1, num_inputs, squeeze),
            (1, 1, squeeze, half),
            (3, 3, squeeze, half),
        )
        leaves = "squeeze", "expand1x1", "expand3x3"
        for leaf, suffix, shape in zip(leaves, suffixes, shapes, strict=True):
            rows.append(Row((fire, leaf), prefix + suffix, shape))
        num_inputs = 2 * half
    conv10 = "classifier.1" if torchvision else "conv10"
    return (*rows, Row(("conv10",), conv10, (1, 1, 512, 1000)))


def _tables() -> Iterator[Table]:
    """Every kind of file that is known."""
    torchvision = {
        "format": "torch",
        "mean": (0.485 * 255, 0.456 * 255, 0.406 * 255),
        "std": (0.229 * 255, 0.224 * 255, 0.225 * 255),
    }
    yield Table(
        name="vgg19",
        network="vgg19",
        rows=_vgg19([f"features.{i}" for i in _VGG19_TORCHVISION]),
        ignored=("classifier.",),
        **torchvision,
    )
    yield Table(
        name="vgg19_normalised",
        network="vgg19",
        format="torch",
        rows=_vgg19([str(i) for i in _VGG19_NORMALISED]),
        colour="0",
    )
    for version, network in (("1.0", "squeezenet"), ("1.1", "squeezenet1_1")):
        yield Table(
            name=network,
            network=network,
            rows=_squeezenet(version, torchvision=True),
            **torchvision,
        )
        yield Table(
            name=network,
            network=network,
            format="caffe",
            rows=_squeezenet(version, torchvision=False),
            order="BGR",
            mean=(123.0, 117.0, 104.0),
        )
    yield Table(
        name="squeezenet",
        network="squeezenet",
        format="deep_compression",
        rows=_squeezenet("1.0", torchvision=False),
        order="BGR",
        mean=(123.0, 117.0, 104.0),
    )
    # py-MDNet: Sequentials of a dropout, in older files before fc4 too, and a layer.
    for fc4 in ("fc4.0", "fc4.1"):
        yield Table(
            name="mdnet",
            network="mdnet",
            format="torch",
            rows=tuple(row._replace(key=f"{row.key}.0") for row in _VGG_M[:3]),
            mean=_MDNET_MEAN,
            head=_mdnet_head(fc4, "fc5.1", last=False),
        )
    # Before VGG-M, whose first layers it has; VGG-M has no fc4. Pretraining's fc6 has two outputs
    # a domain and is left out.
    yield Table(
        name="mdnet_matlab",
        network="mdnet_matlab",
        format="matconvnet",
        rows=_VGG_M[:3],
        mean=_MDNET_MEAN,
        ignored=("fc6",),
        head=_mdnet_head("fc4", "fc5", last=True),
    )
    for source in ("caffe", "matconvnet"):
        of_file = source == "matconvnet"
        for network, rows in (
            ("vgg19", _vgg19([name for name, _ in _VGG19])),
            ("vgg_m", _VGG_M),
        ):
            yield Table(
                name=network,
                network=network,
                format=source,
                rows=rows,
                order="RGB" if of_file else "BGR",
                mean=None if of_file else RGB_MEAN,
                ignored=("fc", "prob"),
            )


TABLES = tuple(_tables())

NETWORKS = tuple(dict.fromkeys(table.network for table in TABLES))

COLOR_TABLE = Table(name="colornames", network="colornames", format="color_table", rows=())
"""The table of colour names, which is stored like a network's weights."""

COLOR_TABLE_SHAPE = (32768, 10)
"""Colours, 32 levels of each of R, G and B, and channels."""
