import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tracker_cases import jit_as_shipped

from cdjax import crop

mdnet_crop = jax.jit(crop.mdnet_crop, static_argnames="out_px")
FRAME_HW = (30, 41)


@functools.cache
def frame():
    return np.random.default_rng(0).integers(0, 256, (*FRAME_HW, 3)).astype(np.uint8)


def reference(pixels, box, out_px):
    """Sample by sample in float64; outside, all channels are 128."""
    height, width = pixels.shape[:2]
    x, y, w, h = (float(v) for v in box)
    big_w, big_h = (side * (1 + 32 / out_px) for side in (w, h))
    value = lambda i, j: (
        pixels[i, j].astype(np.float64) if 0 <= i < height and 0 <= j < width else np.full(3, 128.0)
    )
    patch = np.zeros((out_px, out_px, 3))
    for v, u in np.ndindex(out_px, out_px):
        at_x = x + w / 2 + (u - out_px / 2) * big_w / out_px
        at_y = y + h / 2 + (v - out_px / 2) * big_h / out_px
        j, i = int(np.floor(at_x)), int(np.floor(at_y))
        a, b = at_x - j, at_y - i
        above = (1 - a) * value(i, j) + a * value(i, j + 1)
        below = (1 - a) * value(i + 1, j) + a * value(i + 1, j + 1)
        patch[v, u] = (1 - b) * above + b * below
    return patch


@pytest.mark.data
@pytest.mark.parametrize("name", ["a", "b"])
def test_matches_py_mdnet(parity_dir, name):
    with np.load(parity_dir / "mdnet.npz") as oracle:
        pixels, box = oracle[f"frame_{name}"], oracle[f"box_{name}"]
        exact, cut = oracle[f"crop_{name}_exact"], oracle[f"crop_{name}"]
    (found,) = np.asarray(mdnet_crop(pixels, box[None]))
    # Beyond the border the oracle's second and third channels hold 0, by an oversight.
    inside = np.ones((107, 107), bool)
    height, width = pixels.shape[:2]
    for axis, (start, side, size) in enumerate(((box[1], box[3], height), (box[0], box[2], width))):
        at = start + side / 2 + (np.arange(107) - 53.5) * side * (1 + 32 / 107) / 107
        within = (at >= 0) & (at <= size - 1)
        inside &= within[:, None] if axis == 0 else within[None, :]
    assert inside.all() == (name == "a")
    np.testing.assert_allclose(found[..., 0], exact[..., 0], rtol=0, atol=0.01)
    np.testing.assert_allclose(found[inside], exact[inside], rtol=0, atol=0.01)
    assert np.abs(found[inside] - cut[inside]).max() < 1.01  # 0.5 grey level and rounding


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_boxes_inside_across_and_beyond_the_border(dtype):
    boxes = np.array(
        [[8, 6, 20, 15], [-9, 3.5, 14, 31], [33.3, 22, 25, 17], [-80, -70, 12, 9], [4, 50, 9, 9]],
        np.float32,
    )
    found = mdnet_crop(frame().astype(dtype), boxes, out_px=13)
    assert found.dtype == np.float32
    for patch, box in zip(found, boxes, strict=True):
        # A position of at most 100 px is off by about one rounding, pixels differ by 255.
        np.testing.assert_allclose(
            patch, reference(frame(), box, 13), rtol=0, atol=100 * 2**-23 * 255
        )
    np.testing.assert_array_equal(found[3], np.full((13, 13, 3), 128.0))


def test_padding_of_a_canvas_is_not_seen():
    canvas = np.full((50, 60, 3), 255, np.uint8)
    canvas[: FRAME_HW[0], : FRAME_HW[1]] = frame()
    boxes = np.array([[25, 18, 18, 14], [38, 28, 20, 9]], np.float32)
    size = jnp.asarray(FRAME_HW, jnp.int32)
    # Other code generators round otherwise for another size of array.
    cut = jit_as_shipped(mdnet_crop, static_argnames="out_px")
    np.testing.assert_array_equal(
        cut(canvas, boxes, frame_hw=size, out_px=21), cut(frame(), boxes, out_px=21)
    )


def test_constant_border_is_one_of_the_crops_options():
    """Inside the frame both borders give the same bits; beyond it only one gives the constant."""
    patch = functools.partial(crop.crop_patch, out_hw=(9, 11))
    patch = jax.jit(patch, static_argnames=("border", "supersample"))
    inside = (np.array([20.2, 14.7], np.float32), np.array([13.0, 17.0], np.float32))
    same = patch(frame(), *inside, border=7.0), patch(frame(), *inside)
    np.testing.assert_array_equal(*same)
    across = (np.array([2.0, 3.0], np.float32), np.array([9.0, 11.0], np.float32))
    found = np.asarray(patch(frame(), *across, border=7.0, supersample=1))
    assert (found[0] == 7.0).all()
    assert (found[:, :3] == 7.0).all()
    np.testing.assert_array_equal(found[1:, 3:], frame()[:8, :8])
