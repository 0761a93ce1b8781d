import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdjax import locate

find_peak = jax.jit(locate.find_peak, static_argnames="scale_penalty")
peak_to_sidelobe = jax.jit(locate.peak_to_sidelobe, static_argnames="radius_cell")

GRIDS = [(12, 15), (15, 12)]
BOTH = pytest.mark.parametrize("hw", GRIDS)


def wrapped(hw, shift):
    """Distance of every cell from a point on the circle, along rows and columns."""
    return [
        (np.arange(size) - at + size / 2) % size - size / 2
        for size, at in zip(hw, shift, strict=True)
    ]


def gaussian(hw, shift, sigma=1.5):
    rows, cols = wrapped(hw, shift)
    return np.exp(-(rows[:, None] ** 2 + cols**2) / (2 * sigma**2)).astype(np.float32)


def near(hw, shift, expected):
    """Difference of two shifts on the circle."""
    difference = np.asarray(shift) - expected
    return difference - np.round(difference / hw) * hw


# Whole cells


@BOTH
def test_every_cell_is_found_and_negative_shifts_wrap(hw):
    cells = list(np.ndindex(*hw))
    maps = np.zeros((len(cells), 1, *hw), np.float32)
    for lane, cell in enumerate(cells):
        maps[(lane, 0, *cell)] = 1
    peaks = jax.jit(jax.vmap(locate.find_peak))(maps)
    expected = [
        [i if 2 * i <= size else i - size for i, size in zip(cell, hw, strict=True)]
        for cell in cells
    ]
    np.testing.assert_array_equal(peaks.shift_cell, expected)
    np.testing.assert_array_equal(peaks.score, 1)
    np.testing.assert_array_equal(peaks.best, 0)
    np.testing.assert_array_equal(peaks.scale_index, 0)


# Fractions of a cell


def parabola(before, at, after):
    return 0.5 * (before - after) / (before - 2 * at + after)


@BOTH
def test_fractions_match_the_parabola_and_come_close_to_the_gaussian(hw):
    errors = []
    for shift in np.random.default_rng(0).uniform(-7, 7, (30, 2)):
        response = gaussian(hw, shift)
        found = find_peak(response[None])
        row, col = np.unravel_index(response.argmax(), hw)
        exact = response.astype(np.float64)
        down, right = (row + 1) % hw[0], (col + 1) % hw[1]
        expected = [
            row + parabola(exact[row - 1, col], exact[row, col], exact[down, col]),
            col + parabola(exact[row, col - 1], exact[row, col], exact[row, right]),
        ]
        # Second differences of about 0.3 between samples of about 1.
        np.testing.assert_allclose(near(hw, found.shift_cell, expected), 0, atol=3e-6)
        np.testing.assert_array_less(found.shift_cell, np.array(hw) / 2 + 0.5)
        np.testing.assert_array_less(-np.array(hw) / 2, found.shift_cell)
        errors.append(near(hw, found.shift_cell, shift))
    # What a parabola makes of this Gaussian, sampled at whole cells.
    assert 0.01 < np.abs(errors).max() < 0.03


@pytest.mark.parametrize("shift", [(-0.25, 0.4), (0.25, -0.4), (-6.2, -5.75), (5.75, 3.0)])
def test_a_parabola_is_found_exactly(shift):
    hw = GRIDS[0]
    rows, cols = wrapped(hw, shift)
    response = np.maximum(20 - rows[:, None] ** 2 - 2 * cols**2, 0).astype(np.float32)
    found = find_peak(response[None])
    np.testing.assert_allclose(near(hw, found.shift_cell, shift), 0, atol=3e-6)
    assert found.score == response.max()


def test_small_negative_fractions_do_not_wrap():
    found = find_peak(gaussian(GRIDS[0], (-0.3, -0.2))[None])
    np.testing.assert_allclose(found.shift_cell, [-0.3, -0.2], atol=0.03)
    across = find_peak(gaussian(GRIDS[0], (-1.3, -1.2))[None])
    np.testing.assert_allclose(across.shift_cell, [-1.3, -1.2], atol=0.03)


def test_an_edge_moves_by_half_a_cell_at_most():
    """Neighbours as high as the peak, or nearly, leave the vertex between them."""
    response = np.zeros((1, *GRIDS[0]), np.float32)
    response[0, 4, 5:7] = 1  # a plateau of two cells
    np.testing.assert_array_equal(find_peak(response).shift_cell, [4, 5.5])
    response[0, 4, 7] = 1  # of three: the first has its right neighbour as high
    np.testing.assert_array_equal(find_peak(response).shift_cell, [4, 5.5])


@pytest.mark.parametrize("value", [0.0, 0.1, -3.0])
def test_flat_maps_are_finite(value):
    found = find_peak(np.full((3, *GRIDS[0]), value, np.float32), scale_penalty=0.5)
    np.testing.assert_array_equal(found.shift_cell, [0, 0])
    assert found.score == np.float32(value)
    assert found.best == found.scale_index == 1
    assert all(np.isfinite(x).all() for x in found)


def test_rounding_on_a_flat_response_moves_nothing():
    noise = np.random.default_rng(0).uniform(size=(3, *GRIDS[0])).astype(np.float32)
    found = find_peak(1e-7 * noise, scale_penalty=0.98)
    np.testing.assert_array_equal(found.shift_cell, [0, 0])
    assert found.best == found.scale_index == 1
    assert np.any(np.asarray(find_peak(1e-4 * noise).shift_cell) != 0)


def test_a_penalty_lowers_negative_peaks():
    response = np.full((3, *GRIDS[0]), -2.0, np.float32)
    response[:, 0, 0] = -1.0
    assert find_peak(response, scale_penalty=0.98).best == 1


@pytest.mark.parametrize("hw", [(1, 1), (1, 6), (2, 3)])
def test_tiny_maps_are_finite(hw):
    response = np.zeros((1, *hw), np.float32)
    response[0, -1, -1] = 1
    found = find_peak(response)
    np.testing.assert_array_equal(found.shift_cell, [hw[0] - 1, 0 if hw[1] == 1 else -1])


# Scales


def stack(*heights):
    """Maps whose peaks have these heights, each at a place of its own."""
    hw = GRIDS[0]
    return np.stack(
        [np.float32(height) * gaussian(hw, (i, -i)) for i, height in enumerate(heights)]
    )


@pytest.mark.parametrize(
    ("heights", "penalty", "best", "index"),
    [
        ((1, 2, 1), 1.0, 1, 1.0),
        ((1, 3, 2), 1.0, 1, 1 + 1 / 6),
        ((2.5, 3, 1), 1.0, 1, 1 - 0.3),
        ((3, 2, 1), 1.0, 0, 0.0),  # the ends have one neighbour: no fraction
        ((1, 2, 3), 1.0, 2, 2.0),
        ((1, 1, 1), 1.0, 1, 1.0),  # a tie goes to the middle
        ((1, 1, 1), 0.5, 1, 1.0),
        ((2, 1, 1), 0.5, 1, 0.5),  # after the penalty too: 1, 1, 1/2
        ((1, 1.5, 2), 0.5, 1, 1 + 0.5 * (1 - 0.5) / (3 - 1.5)),  # the fraction feels it too
        ((1, 1.5, 3.5), 0.5, 2, 2.0),  # too small a penalty
        ((1, 2, 2, 1, 1), 0.5, 2, 2 - 0.1),  # 1/2, 1, 2, 1/2, 1/2
        ((0, 0, 1, 4, 2), 0.5, 3, 3.0),
        ((3, 1, 1, 1, 3), 0.5, 0, 0.0),  # a tie among others: the first
        ((1, 3), 0.5, 1, 1.0),  # of an even number, the upper one is in the middle
        ((3, 2), 0.5, 1, 1.0),
    ],
)
def test_scales(heights, penalty, best, index):
    found = find_peak(stack(*heights), scale_penalty=penalty)
    assert found.best == best
    np.testing.assert_allclose(found.scale_index, index, rtol=1e-6)
    # Place and score are the best map's own, without the penalty.
    np.testing.assert_allclose(found.shift_cell, [best, -best], atol=1e-5)
    assert found.score == np.float32(heights[best])


def test_dtypes():
    found = find_peak(stack(1, 2, 1))
    assert found.shift_cell.dtype == found.scale_index.dtype == found.score.dtype == jnp.float32
    assert found.best.dtype == jnp.int32
    assert not any(x.weak_type for x in found)


# Peak to sidelobe


def reference_psr(response, shift, radius):
    """Bolme's ratio, with the square around the peak left out cell by cell."""
    height, width = response.shape
    sidelobe = []
    for row, col in np.ndindex(height, width):
        away = []
        for index, at, size in ((row, shift[0], height), (col, shift[1], width)):
            away.append(min(abs(index - at + n * size) for n in (-1, 0, 1)))
        if max(away) > radius:
            sidelobe.append(float(response[row, col]))
    return (response.max() - np.mean(sidelobe)) / np.std(sidelobe)


def noisy(hw, shift):
    noise = np.random.default_rng(1).normal(size=hw) / 20
    return (gaussian(hw, shift) + noise).astype(np.float32)


@pytest.mark.parametrize("shift", [(0, 0), (-5, 3), (4, -6), (-0.4, 5.3)])
@BOTH
def test_ratio_matches_the_definition(hw, shift):
    response, at = noisy(hw, shift), np.array(shift, np.float32)
    for radius, used in ((5.0, 2), (1.0, 1)):  # at most (12 - 1) // 4 cells
        expected = reference_psr(response, shift, used)
        assert expected > 5
        found = peak_to_sidelobe(response, at, radius_cell=radius)
        np.testing.assert_allclose(found, expected, rtol=3e-6)


def test_ratio_on_a_map_with_room_for_the_whole_square():
    hw, shift = (24, 26), (-3, 7)
    response = noisy(hw, shift)
    found = peak_to_sidelobe(response, np.array(shift, np.float32))
    np.testing.assert_allclose(found, reference_psr(response, shift, 5), rtol=3e-6)


def test_ratio_knows_neither_gain_nor_offset():
    hw, shift = GRIDS[0], np.array([2, -3], np.float32)
    response = noisy(hw, shift)
    plain = peak_to_sidelobe(response, shift)
    np.testing.assert_array_equal(peak_to_sidelobe(response * 1024, shift), plain)
    # An offset of 1 costs the sidelobe, of about 0.05, some of its digits.
    np.testing.assert_allclose(peak_to_sidelobe(3 * response + 1, shift), plain, rtol=1e-5)
    assert peak_to_sidelobe(response + gaussian(hw, (-4, 3)), shift) < plain / 2


@pytest.mark.parametrize("hw", [*GRIDS, (1, 6), (1, 1)])
@pytest.mark.parametrize("value", [0.0, 0.1, -2.7])
def test_ratio_of_a_flat_map_is_zero(hw, value):
    response = np.full(hw, value, np.float32)
    assert peak_to_sidelobe(response, np.zeros(2, np.float32)) == 0


def test_lanes_are_independent():
    hw = GRIDS[0]
    shifts = np.array([[0, 0], [-3, 4], [5, -6]], np.float32)
    maps = np.stack([[noisy(hw, s) * k for k in (1, 2, 1.5)] for s in shifts]).astype(np.float32)
    peaks = jax.jit(jax.vmap(functools.partial(locate.find_peak, scale_penalty=0.9)))(maps)
    ratios = jax.jit(jax.vmap(locate.peak_to_sidelobe))(maps[:, 1], shifts)
    for lane in range(3):
        alone = find_peak(maps[lane], scale_penalty=0.9)
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-6),
            jax.tree.map(lambda x, lane=lane: x[lane], peaks),
            alone,
        )
        ratio = peak_to_sidelobe(maps[lane, 1], shifts[lane])
        np.testing.assert_allclose(ratios[lane], ratio, rtol=1e-6)
