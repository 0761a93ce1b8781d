import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdjax._errors import InputError
from cdjax.crop import DEEP_SAMPLE_PX
from cdjax.deep_features import Backbone, block_layout, extract, extract_blocks
from cdjax.deep_features._extract import _param_shapes


def random_params(backbone):
    shapes = _param_shapes(backbone.network, backbone.layers[-1])
    rng = np.random.default_rng(0)
    draw = lambda x: jnp.asarray(
        rng.normal(size=x.shape) / np.sqrt(np.prod(x.shape[:-1])), jnp.float32
    )
    return jax.tree.map(draw, shapes)


def patches_of(side):
    pixels = np.random.default_rng(side).uniform(0, 255, (1, side, side, 3))
    return jnp.asarray(pixels, jnp.float32)


# Sides and supports of eco.md 2.1.
@pytest.mark.parametrize(
    ("sample", "support", "sides"),
    [(217, 208, (52, 13)), (249, 240, (60, 15)), (281, 272, (68, 17))],
)
def test_vgg_m_has_the_sizes_of_eco(sample, support, sides):
    layout = block_layout(Backbone(network="vgg_m", layers=("norm1", "conv5")), sample)
    assert layout == (support, (4, 16), sides)
    assert sample in DEEP_SAMPLE_PX["vgg_m"]


def test_vgg_m_is_cropped_and_pooled_as_in_eco():
    """conv1's map: 106 -> 104 from the second row on -> means of 2x2."""
    backbone = Backbone(network="vgg_m", layers=("norm1", "conv5"))
    params, patches = random_params(backbone), patches_of(217)
    run = jax.jit(functools.partial(extract_blocks, backbone))
    fine, deep = run(params, patches)
    assert (fine.shape, deep.shape) == ((1, 52, 52, 96), (1, 13, 13, 512))
    shallow = Backbone(network="vgg_m", layers=("norm1",))
    whole = np.asarray(extract(shallow, params, patches, grid_hw=(106, 106)))[:, 1:105, 1:105]
    expected = whole.reshape(1, 52, 2, 52, 2, 96).mean((2, 4))
    np.testing.assert_allclose(fine, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("network", "layers", "cells"),
    [
        ("vgg19", ("conv1_1", "conv2_1"), (4, 4)),
        ("vgg19", ("conv2_2", "conv3_1", "conv5_4"), (4, 4, 16)),
        ("squeezenet", ("conv1", "fire2"), (4, 4)),
        ("squeezenet", ("fire2", "fire5"), (4, 8)),
        ("squeezenet1_1", ("conv1", "fire2", "fire4"), (4, 4, 8)),
    ],
)
def test_every_layer_covers_the_support(network, layers, cells):
    backbone = Backbone(network=network, layers=layers)
    for sample in DEEP_SAMPLE_PX[network]:
        layout = block_layout(backbone, sample)
        assert layout.cell_px == cells
        assert sample - 2 * max(cells) < layout.support_px <= sample
        for size, side in zip(layout.cell_px, layout.sides, strict=True):
            assert size * side == layout.support_px


@pytest.mark.parametrize(
    ("network", "layers", "side"),
    [
        ("vgg19", ("conv1_1", "conv1_2", "conv2_1"), 24),
        ("vgg19", ("conv1_1", "conv3_1"), 27),
        ("squeezenet", ("conv1", "fire2", "fire3"), 43),
        ("squeezenet1_1", ("conv1", "fire2", "fire4"), 47),
    ],
)
def test_shapes_are_those_of_the_layout(network, layers, side):
    backbone = Backbone(network=network, layers=layers)
    blocks = extract_blocks(backbone, random_params(backbone), patches_of(side))
    sides = block_layout(backbone, side).sides
    expected = zip(sides, backbone.layer_channels, strict=True)
    assert [maps.shape for maps in blocks] == [(1, n, n, c) for n, c in expected]


def test_what_does_not_fit_is_refused():
    backbone = Backbone(network="vgg19", layers=("conv2_1",))
    with pytest.raises(InputError, match="larger sample"):
        block_layout(backbone, 3)
    with pytest.raises(InputError, match="use fhog"):
        block_layout(Backbone(network="hog", layers=("fhog",)), 64)
    with pytest.raises(InputError, match="replicate gray"):
        extract_blocks(backbone, random_params(backbone), jnp.zeros((1, 16, 16, 1)))
    with pytest.raises(InputError, match="cdjax weights convert"):
        extract_blocks(backbone, {"mean": jnp.zeros(3)}, jnp.zeros((1, 16, 16, 3)))
