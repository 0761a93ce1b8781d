"""Bytes and layers of a model, counted by hand."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tracker_cases import params_of

import cdjax
from cdjax.filters import DCFModel
from cdjax.trackers import backbone_of, model_bytes
from cdjax.trackers._model import channels_by_layer

MEAN = 12  # bytes of the mean colour
CELLS = 28 * 15  # half spectrum of the 28 x 28 grid


def sized(name, kept, slots=None):
    """Model bytes with the given channels, in a state as large as `slots`."""
    backbone, _, _, _ = backbone_of(name)
    slots = slots or len(kept)
    tracker = cdjax.make(name)
    state = jax.eval_shape(
        tracker.init, params_of(name), jnp.zeros((64, 64, 3), jnp.uint8), jnp.ones(4)
    )
    state = state._replace(
        num_channels=jnp.int32(len(kept)),
        selected=jnp.array([0] * (slots - len(kept)) + sorted(kept), jnp.int32),
        model=DCFModel(
            jnp.zeros((slots, 28, 15), jnp.complex64), jnp.zeros((1, 28, 15), jnp.float32)
        ),
    )
    return model_bytes(backbone, params_of(name), state)


@pytest.mark.parametrize(
    ("name", "kept", "conv"),
    [
        # 3 x 3 kernels of 3, 64 and 64 inputs, and a bias, float32.
        ("DeepCD-V-11", range(64), 7168),
        ("DeepCD-V-11", (5, 63), 2 * (27 + 1) * 4),
        ("DeepCD-V-11+12+21", range(256), 450_304),
        ("DeepCD-V-11+12+21", range(128), 7168 + 147_712),
        ("DeepCD-V-11+12+21", (3,), (27 + 1) * 4),
        # conv1 layers in full, of conv2_1 the outputs in use.
        ("DeepCD-V-11+12+21", (1, 70, 130, 140, 255), 7168 + 147_712 + 3 * (576 + 1) * 4),
        # conv1, 7 x 7; squeeze 96 -> 16; expand 1 x 1 and 3 x 3, 16 -> 64 each.
        ("DeepCD-S-Fire2", range(128), 56_832 + 6208 + 4352 + 37_120),
        ("DeepCD-S-Fire2", (0, 63, 64), 56_832 + 6208 + 2 * 17 * 4 + 145 * 4),
        ("DeepCD-S-Conv1+Fire2", range(10), 10 * 148 * 4),
        # The norms of VGG-M have no weights but need their convolution whole.
        ("DeepCD-M-norm1", (0, 95), 96 * 148 * 4),
    ],
)
def test_bytes_by_hand(name, kept, conv):
    found = sized(name, list(kept))
    filters = len(kept) * CELLS * 8 + CELLS * 4
    expected = {"filter_bytes": filters, "conv_bytes": conv + MEAN, "total": filters + conv + MEAN}
    assert found == expected


def test_spare_slots_do_not_count():
    assert sized("DeepCD-V-11+12+21", [1, 130], slots=256) == sized("DeepCD-V-11+12+21", [1, 130])


def test_order_of_the_weights_does_not_count():
    # conv10 comes before the fire layers by name, as stored weights are sorted.
    name = "DeepCD-S-Fire2+Conv10"
    params = params_of(name)
    assert list(params) == sorted(params)
    squeezes = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    conv10 = 1000 * 513 * 4
    assert sized(name, [128])["conv_bytes"] == squeezes - conv10 + 513 * 4
    assert sized(name, [1])["conv_bytes"] == 56_832 + 6208 + 17 * 4 + MEAN


def test_hog_has_no_weights():
    found = sized("DeepCD-H", [0, 3, 30], slots=31)
    assert found == {
        "filter_bytes": 3 * CELLS * 8 + CELLS * 4,
        "conv_bytes": 0,
        "total": 3 * CELLS * 8 + CELLS * 4,
    }


def test_a_filter_a_layer_counts_each_denominator():
    name = "CF2-V-11+12"
    frame, box = jnp.zeros((64, 64, 3), jnp.uint8), jnp.full(4, 20.0)
    tracker = cdjax.make(name, grid=16, patch_px=32)
    shapes = jax.eval_shape(tracker.init, params_of(name), frame, box)
    state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    state = state._replace(num_channels=jnp.int32(128), selected=jnp.arange(128))
    found = model_bytes(backbone_of(name)[0], params_of(name), state)
    assert found["filter_bytes"] == 128 * 16 * 9 * 8 + 2 * 16 * 9 * 4
    assert found["conv_bytes"] == 7168 + 147_712 + MEAN


def test_channels_by_layer_leave_out_spare_slots():
    class State(NamedTuple):
        selected: np.ndarray
        num_channels: np.ndarray

    layers = {"conv1_1": 64, "conv1_2": 64, "conv2_1": 128}
    state = State(np.array([0, 0, 3, 63, 64, 128, 255]), np.array(5))
    assert channels_by_layer(layers, state) == {"conv1_1": 2, "conv1_2": 1, "conv2_1": 2}


@pytest.mark.parametrize(("kept", "table"), [((0, 30), 0), ((3, 40), 32768 * 10 * 4)])
def test_colour_names_count_by_their_table(kept, table):
    name = "CACF-CD:colors=true,num_channels=2"
    frame = jnp.zeros((64, 64, 3), jnp.uint8)
    state = jax.jit(cdjax.make(name).init)(params_of(name), frame, jnp.ones(4))
    state = state._replace(num_channels=jnp.int32(2), selected=jnp.array(kept, jnp.int32))
    found = model_bytes(backbone_of(name)[0], params_of(name), state)
    filters = 2 * 30 * 16 * 8
    assert found == {"filter_bytes": filters, "conv_bytes": table, "total": filters + table}


def test_projections_count_by_the_channels_in_use():
    name = "ECO-CD-S-Fire2+Fire5:compressed=6x8x4,num_channels=7"
    frame = jnp.zeros((64, 64, 3), jnp.uint8)
    shapes = jax.eval_shape(cdjax.make(name).init, params_of(name), frame, jnp.ones(4))
    state = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)
    fire2, fire5, hog = state.projection
    assert (fire2.shape, fire5.shape, hog.shape) == ((128, 6), (256, 8), (31, 4))
    fire2[:, 2:], fire5[:, 5:] = 0, 0
    found = model_bytes(backbone_of(name)[0], params_of(name), state)
    fine, coarse = 51 * 26 * 8, 25 * 13 * 8
    filters = 2 * (fine + 512) + 5 * (coarse + 1024) + 4 * (fine + 124)
    # Projections mix all outputs: conv1 and four fire modules, whole.
    weights = jax.tree.map(lambda leaf: leaf.nbytes, params_of(name))
    conv = sum(jax.tree.leaves(weights))
    assert found == {"filter_bytes": filters, "conv_bytes": conv, "total": filters + conv}
    fire5[:] = 0
    less = model_bytes(backbone_of(name)[0], params_of(name), state)["conv_bytes"]
    dropped = sum(sum(jax.tree.leaves(weights[layer])) for layer in ("fire3", "fire4", "fire5"))
    assert less == conv - dropped
