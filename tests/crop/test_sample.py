import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdjax import crop

STATIC = ("out_hw", "supersample")
crop_patch = jax.jit(crop.crop_patch, static_argnames=STATIC)
whole_pixels = jax.jit(crop.whole_pixels)
scale_pyramid = jax.jit(crop.scale_pyramid, static_argnames=STATIC)

FRAME_HW = (17, 23)
EPS = np.finfo(np.float32).eps
# A position of at most 23 px is off by about one rounding, and pixels differ by at most 255.
ATOL = 23 * EPS * 255


@functools.cache
def frame_of(dtype):
    pixels = np.random.default_rng(0).integers(0, 256, (*FRAME_HW, 3))
    return pixels.astype(dtype)


def pair(*values):
    return np.array(values, np.float32)


def reference(frame, centre, region_hw, out_hw):
    """Bilinear samples at the centres of equal cells, one by one, in float64."""
    size = frame.shape[:2]
    patch = np.zeros((*out_hw, frame.shape[2]))
    for index in np.ndindex(*out_hw):
        taps = []
        for axis in (0, 1):
            extent, middle = float(region_hw[axis]), float(centre[1 - axis])
            start = middle - extent / 2  # left edge of the region, where cells begin
            position = start + (index[axis] + 0.5) * extent / out_hw[axis]
            low = int(np.floor(position))
            ends = [min(max(i, 0), size[axis] - 1) for i in (low, low + 1)]
            taps.append((*ends, position - low))
        (top, bottom, v), (left, right, u) = taps
        patch[index] += (1 - v) * (1 - u) * frame[top, left] + (1 - v) * u * frame[top, right]
        patch[index] += v * (1 - u) * frame[bottom, left] + v * u * frame[bottom, right]
    return patch


@pytest.mark.parametrize("out_hw", [(6, 9), (9, 6)])
@pytest.mark.parametrize("corner", [(4, 3), (0, 0), (-5, -4), (20, 14), (-40, 90)])
def test_integer_shifts_copy_pixels(corner, out_hw):
    """Also what CF2's crop does: clamped indices around a whole pixel."""
    x, y = corner
    centre = pair(x + (out_hw[1] - 1) / 2, y + (out_hw[0] - 1) / 2)
    rows = np.clip(np.arange(y, y + out_hw[0]), 0, FRAME_HW[0] - 1)
    cols = np.clip(np.arange(x, x + out_hw[1]), 0, FRAME_HW[1] - 1)
    frame = frame_of(np.uint8)
    patch = crop_patch(frame, centre, pair(*out_hw), out_hw=out_hw)
    assert patch.dtype == np.float32
    np.testing.assert_array_equal(patch, frame[np.ix_(rows, cols)])


def random_regions(count):
    """Fractional regions inside, across the border and beyond it, enlarged and reduced."""
    rng = np.random.default_rng(1)
    centres = rng.uniform(-0.3, 1.3, (count, 2)) * FRAME_HW[::-1]
    regions = np.exp(rng.uniform(np.log(1.5), np.log(40), (count, 2)))
    return zip(centres.astype(np.float32), regions.astype(np.float32), strict=True)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_fractional_regions_match_the_reference(dtype):
    frame, out_hw = frame_of(dtype), (6, 9)
    for centre, region_hw in random_regions(25):
        found = crop_patch(frame, centre, region_hw, out_hw=out_hw)
        expected = reference(frame.astype(np.float64), centre, region_hw, out_hw)
        np.testing.assert_allclose(found, expected, rtol=0, atol=ATOL)


@pytest.mark.parametrize("supersample", [1, 2])
def test_padding_never_leaks(supersample):
    """The canvas beyond the frame is NaN: one touched pixel would show."""
    frame = frame_of(np.float32)
    canvas = np.full((20, 32, 3), np.nan, np.float32)
    canvas[: FRAME_HW[0], : FRAME_HW[1]] = frame
    size = np.array(FRAME_HW, np.int32)
    options = {"out_hw": (6, 9), "supersample": supersample}
    for centre, region_hw in random_regions(25):
        padded = crop_patch(canvas, centre, region_hw, frame_hw=size, **options)
        alone = crop_patch(frame, centre, region_hw, **options)
        np.testing.assert_allclose(padded, alone, rtol=0, atol=ATOL)


def test_enlarging_equals_the_linear_resampler():
    """CF2's resampler: source coordinate (j + 0.5) / s - 0.5, on each axis."""
    frame = frame_of(np.float32)
    old, new = (5, 7), (6, 9)
    top, left = 3, 4
    centre = pair(left + (old[1] - 1) / 2, top + (old[0] - 1) / 2)
    found = crop_patch(frame, centre, pair(*old), out_hw=new)

    def source(axis):
        return (np.arange(new[axis]) + 0.5) * old[axis] / new[axis] - 0.5

    # Inside the region; at its border the crop sees the pixels around it.
    rows, cols = source(0), source(1)
    inner = np.ix_(
        np.flatnonzero((rows >= 0) & (rows <= old[0] - 1)),
        np.flatnonzero((cols >= 0) & (cols <= old[1] - 1)),
    )
    region = frame[top : top + old[0], left : left + old[1], 0].astype(np.float64)
    along = np.stack([np.interp(cols, np.arange(old[1]), line) for line in region])
    both = np.stack([np.interp(rows, np.arange(old[0]), line) for line in along.T], 1)
    assert inner[0].size * inner[1].size >= 24
    np.testing.assert_allclose(np.asarray(found)[..., 0][inner], both[inner], rtol=0, atol=ATOL)


def test_supersampling_is_the_mean_of_the_finer_crop():
    frame = frame_of(np.uint8)
    for centre, region_hw in random_regions(6):
        found = crop_patch(frame, centre, region_hw, out_hw=(6, 9), supersample=2)
        fine = reference(frame.astype(np.float64), centre, region_hw, (12, 18))
        expected = fine.reshape(6, 2, 9, 2, 3).mean((1, 3))
        np.testing.assert_allclose(found, expected, rtol=0, atol=ATOL)


def test_supersampling_a_whole_ratio_is_the_block_mean():
    frame = frame_of(np.uint8)
    found = crop_patch(frame, pair(10.5, 7.5), pair(12, 18), out_hw=(6, 9), supersample=2)
    block = frame[2:14, 2:20].astype(np.float64).reshape(6, 2, 9, 2, 3).mean((1, 3))
    np.testing.assert_array_equal(found, block)


@pytest.mark.parametrize(
    ("centre", "region_hw", "expected"),
    [
        ((-1e6, -1e6), (20, 20), lambda f: f[0, 0]),
        ((1e6, -1e6), (20, 20), lambda f: f[0, -1]),
        ((1e30, 1e30), (20, 20), lambda f: f[-1, -1]),
        ((11, 8), (1e-6, 1e-6), lambda f: f[8, 11]),
        ((11, 8), (0, 0), lambda f: f[8, 11]),
    ],
)
def test_lost_regions_show_one_pixel(centre, region_hw, expected):
    frame = frame_of(np.uint8)
    patch = crop_patch(frame, pair(*centre), pair(*region_hw), out_hw=(6, 9))
    pixel = np.broadcast_to(expected(frame), patch.shape)
    np.testing.assert_allclose(patch, pixel, rtol=0, atol=ATOL)


def test_huge_regions_are_finite():
    frame = frame_of(np.uint8)
    for size in (1e6, 1e30):
        patch = crop_patch(frame, pair(11, 8), pair(size, size), out_hw=(6, 9))
        corners = frame[[0, 0, -1, -1], [0, -1, 0, -1]]
        np.testing.assert_array_equal(patch[[0, 0, -1, -1], [0, -1, 0, -1]], corners)
        assert np.isfinite(patch).all()


def test_jit_changes_nothing():
    frame, out_hw = jnp.asarray(frame_of(np.uint8)), (6, 9)
    given = (frame, jnp.array([9.3, 5.2]), jnp.array([12.7, 30.1]))
    eager = crop.crop_patch(*given, out_hw=out_hw)
    # Compiled code may fuse a product and a sum, with one rounding less.
    np.testing.assert_allclose(crop_patch(*given, out_hw=out_hw), eager, rtol=0, atol=ATOL)


@pytest.mark.parametrize("supersample", [1, 2])
def test_double_precision_changes_nothing(supersample):
    given = (frame_of(np.uint8), pair(9.3, 5.2), pair(12.7, 30.1))
    expected = crop_patch(*given, out_hw=(6, 9), supersample=supersample)
    with jax.enable_x64(True):
        found = crop_patch(*given, out_hw=(6, 9), supersample=supersample)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=ATOL)


def test_the_pyramid_crops_at_every_scale():
    frame, out_hw = frame_of(np.uint8), (6, 9)
    canvas = np.pad(frame, ((0, 3), (0, 9), (0, 0)), constant_values=255)
    centre, region_hw = pair(3.3, 12.1), pair(11.5, 8.25)
    scales = pair(0.9, 1.0, 1.25)
    size = np.array(FRAME_HW, np.int32)
    options = {"out_hw": out_hw, "frame_hw": size, "supersample": 2}
    pyramid = scale_pyramid(canvas, centre, region_hw, scales, **options)
    assert pyramid.shape == (3, *out_hw, 3)
    for scale, patch in zip(scales, pyramid, strict=True):
        fine = reference(frame.astype(np.float64), centre, region_hw * np.float64(scale), (12, 18))
        expected = fine.reshape(6, 2, 9, 2, 3).mean((1, 3))
        np.testing.assert_allclose(patch, expected, rtol=0, atol=ATOL)


def test_lanes_are_independent():
    frame = frame_of(np.uint8)
    centres, regions = map(np.stack, zip(*random_regions(4), strict=True))
    crop_lanes = jax.vmap(functools.partial(crop.crop_patch, out_hw=(6, 9)), in_axes=(None, 0, 0))
    lanes = jax.jit(crop_lanes)(frame, centres, regions)
    for lane in range(4):
        alone = crop_patch(frame, centres[lane], regions[lane], out_hw=(6, 9))
        np.testing.assert_allclose(lanes[lane], alone, rtol=0, atol=ATOL)


def test_gray_frames():
    colour = frame_of(np.uint8)
    gray = jnp.asarray(colour[..., 1])
    assert crop.as_rgb(gray).shape == (*FRAME_HW, 1)
    assert crop.as_rgb(gray).dtype == np.uint8
    assert crop.as_rgb(jnp.asarray(colour)).shape == (*FRAME_HW, 3)
    given = (pair(9.3, 5.2), pair(12.7, 30.1))
    patch = crop_patch(crop.as_rgb(gray), *given, out_hw=(6, 9))
    expected = reference(colour.astype(np.float64), *given, (6, 9))[..., 1:2]
    np.testing.assert_allclose(patch, expected, rtol=0, atol=ATOL)


def test_whole_pixels_cut_the_pixels_that_eco_cuts():
    """Rows c + (1..m) - floor((m + 1) / 2) of its sample_patch.m, from 0 here."""
    frame = frame_of(np.uint8)
    for centre, region in (((11.4, 8.6), (5.2, 6.4)), ((9.5, 7.5), (4.5, 3.49)), ((5, 6), (0, 1))):
        (x, y), (height, width) = whole_pixels(pair(*centre), pair(*region))
        shape = int(height), int(width)
        assert shape == tuple(max(int(np.floor(side + 0.5)), 2) for side in region)
        rows, cols = (
            int(np.floor(c + 0.5)) + np.arange(1, m + 1) - (m + 1) // 2
            for c, m in zip(centre[::-1], shape, strict=True)
        )
        patch = crop_patch(frame, pair(x, y), pair(height, width), out_hw=shape)
        np.testing.assert_array_equal(patch, frame[np.ix_(rows, cols)])


@pytest.mark.data
@pytest.mark.parametrize("name", ["Crossing", "Jumping"])
def test_samples_match_the_oracle(parity_dir, name):
    with np.load(parity_dir / f"eco_hc_{name}.npz") as oracle:
        frames, patches = oracle["frames"], oracle["patch"]
        places, scales = oracle["sample_pos"], oracle["sample_scale"]
    for frame, expected, place, scale in zip(frames, patches, places, scales, strict=True):
        # Places count pixels from 1, (row, column).
        centre, region = whole_pixels(pair(*(place[::-1] - 1)), pair(*2 * [164 * scale]))
        found = crop_patch(frame, centre, region, out_hw=(164, 164))
        difference = np.abs(found - expected.astype(np.float32))
        # The oracle rounds to whole levels; its rim repeats the cut's last pixels.
        assert difference[2:-2, 2:-2].max() < 0.8
        assert difference.mean() < 0.35
