import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdjax import boxes as host_boxes
from cdjax import crop
from cdjax._errors import InputError

FRAME_HW = jnp.asarray([240, 320], jnp.int32)
BOX = jnp.asarray([120.0, 90.0, 60.0, 40.0])

# The table of py-MDNet; the halves of the first negatives apart.
PURPOSES = {
    "candidates": {"kind": "gaussian", "num": 256, "trans": 0.6, "scale": 1.05},
    "positives": {
        "kind": "gaussian",
        "num": 500,
        "trans": 0.1,
        "scale": 1.3,
        "overlap": (0.7, 1.0),
    },
    "near negatives": {
        "kind": "uniform",
        "num": 500,
        "trans": 1.0,
        "scale": 1.6,
        "overlap": (0.0, 0.5),
    },
    "far negatives": {"kind": "whole", "num": 500, "overlap": (0.0, 0.5)},
    "box regression": {
        "kind": "uniform",
        "num": 1000,
        "trans": 0.3,
        "scale": 1.6,
        "aspect": 1.1,
        "overlap": (0.6, 1.0),
    },
    "update negatives": {
        "kind": "uniform",
        "num": 200,
        "trans": 2.0,
        "scale": 1.3,
        "overlap": (0.0, 0.3),
    },
}


@functools.cache
def drawer(purpose, **changes):
    return jax.jit(functools.partial(crop.draw_boxes, **(PURPOSES[purpose] | changes)))


def draw(purpose, seed=0, box=BOX, **changes):
    found, valid = drawer(purpose, **changes)(jax.random.key(seed), box, FRAME_HW)
    return np.asarray(found, np.float64), np.asarray(valid)


def overlap_with(found, box=BOX):
    return host_boxes.iou(found, np.tile(np.asarray(box, np.float64), (len(found), 1)))


@pytest.mark.parametrize("purpose", PURPOSES)
def test_draws_keep_to_range_and_frame(purpose):
    found, valid = draw(purpose)
    options = PURPOSES[purpose]
    assert found.shape == (options["num"], 4)
    assert valid.all()
    low, high = options.get("overlap", (0.0, 1.0))
    shared = overlap_with(found)
    assert shared.min() >= low - 1e-6
    assert shared.max() <= high + 1e-6
    centre = found[:, :2] + found[:, 2:] / 2
    assert (centre >= -1e-3).all()
    assert (centre <= [320.001, 240.001]).all()
    assert (found[:, 2:] >= 10).all()
    assert (found[:, 2:] <= [310, 230]).all()
    assert len(np.unique(found, axis=0)) == len(found)


@pytest.mark.parametrize("purpose", PURPOSES)
def test_keys_decide(purpose):
    a, b, c = (draw(purpose, seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)
    with jax.disable_jit():
        plain, _ = crop.draw_boxes(jax.random.key(1), BOX, FRAME_HW, **PURPOSES[purpose])
    np.testing.assert_allclose(a, plain, rtol=0, atol=1e-3)


def test_shifts_and_scales_of_a_gaussian():
    """Limits and moments of N: deviation of a normal of 0.5 cut at two deviations, 0.478."""
    found, _ = draw("candidates", num=20000)
    shift = (found[:, :2] + found[:, 2:] / 2 - [150, 110]) / (0.6 * 50)
    assert np.abs(shift).max() == pytest.approx(1, abs=1e-4)
    normal = np.clip(np.random.default_rng(0).normal(0, 0.5, 200000), -1, 1).std()
    np.testing.assert_allclose(shift.std(0), normal, rtol=0.02)
    assert abs(np.corrcoef(shift.T)[0, 1]) < 0.03
    power = np.log(found[:, 2:] / [60, 40]) / np.log(1.05)
    np.testing.assert_allclose(power[:, 0], power[:, 1], atol=1e-4)  # one draw for both sides
    np.testing.assert_allclose(power.std(), normal, rtol=0.02)
    assert abs(np.corrcoef(power[:, 0], shift[:, 0])[0, 1]) < 0.03


def test_shifts_and_scales_of_a_uniform():
    found, _ = draw("near negatives", overlap=None, num=20000, aspect=1.1, scale=1.2)
    shift = (found[:, :2] + found[:, 2:] / 2 - [150, 110]) / 50
    assert 0.999 < np.abs(shift).max() < 1.0001
    np.testing.assert_allclose(shift.std(0), 1 / np.sqrt(3), rtol=0.02)
    power = np.log(found[:, 2:] / [60, 40])
    # Each side by itself within 1.1, and both within 1.2.
    assert np.abs(power).max() < np.log(1.1 * 1.2) + 1e-4
    assert np.log(1.1 * 1.2) - 0.03 < np.abs(power).max()
    sides = power[:, 0] - power[:, 1]
    assert sides.std() == pytest.approx(np.log(1.1) * np.sqrt(2 / 3), rel=0.02)


def test_whole_covers_the_frame():
    found, _ = draw("far negatives", overlap=None, num=400)
    centre = found[:, :2] + found[:, 2:] / 2
    assert len(np.unique(np.round(centre, 3), axis=0)) == 400
    grid = (centre - [30, 20]) / (np.array([320, 240]) - [30, 20] - 1) * 39
    np.testing.assert_allclose(grid, np.round(grid), atol=1e-3)
    assert grid.min() == pytest.approx(0, abs=1e-3)
    assert grid.max() == pytest.approx(39, abs=1e-3)
    np.testing.assert_allclose(found[:, 2:], [[60, 40]] * 400)


def test_inside_keeps_whole_boxes():
    corner = jnp.asarray([280.0, 215.0, 60.0, 40.0])
    found, _ = draw("near negatives", box=corner, overlap=None, inside=True)
    assert (found[:, :2] >= -1e-4).all()
    assert (found[:, :2] + found[:, 2:] <= [320, 240]).all()
    loose, _ = draw("near negatives", box=corner, overlap=None)
    assert (loose[:, 0] + loose[:, 2] > 320).any()


def test_sizes_are_limited():
    found, _ = draw("near negatives", box=jnp.asarray([10.0, 10, 3, 400]), overlap=None)
    assert (found[:, 2] == 10).all()
    assert found[:, 3].max() == 230


@pytest.mark.parametrize("hw", [(8, 100), (12, 12), (1, 1)])
def test_frames_smaller_than_the_least_box(hw):
    for inside in (False, True):
        found, _ = crop.draw_boxes(
            jax.random.key(0),
            jnp.array([2.0, 2.0, 5.0, 5.0]),
            jnp.array(hw, jnp.int32),
            kind="uniform",
            num=20,
            trans=2.0,
            scale=1.6,
            inside=inside,
        )
        found = np.asarray(found)
        assert (found[:, 2:] > 0).all()
        assert (found[:, 2:] <= np.array(hw)[::-1]).all()


def test_short_sets_repeat_and_say_so():
    """Of 20 draws a few overlap enough."""
    found, valid = draw("box regression", num=20, oversample=1)
    count = valid.sum()
    assert 0 < count < 20
    np.testing.assert_array_equal(valid, np.arange(20) < count)
    assert overlap_with(found).min() >= 0.6 - 1e-6
    np.testing.assert_array_equal(found, found[np.arange(20) % count])
    assert len(np.unique(found, axis=0)) == count


def test_without_any_all_are_marked():
    _, valid = draw("near negatives", num=20, overlap=(1.5, 2.0))
    assert not valid.any()


def test_unknown_kind():
    with pytest.raises(InputError, match="gaussian, uniform, whole"):
        crop.draw_boxes(jax.random.key(0), BOX, FRAME_HW, kind="normal", num=3)


def test_overlaps_are_the_hosts():
    rng = np.random.default_rng(0)
    found = np.asarray(BOX) + rng.normal(0, 20, (50, 4)) * [1, 1, 0.5, 0.5]
    found[0] = [300, 2, 4, 4]
    expected = overlap_with(found.astype(np.float32).astype(np.float64))
    shared = crop.box_overlaps(jnp.asarray(found, jnp.float32), BOX)
    np.testing.assert_allclose(shared, expected, rtol=1e-5, atol=1e-6)
    assert expected[0] == 0
    assert expected.max() > 0.4
