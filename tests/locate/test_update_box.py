import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdjax import locate

clamp_scale = jax.jit(locate.clamp_scale, static_argnames="min_px")
update_box = jax.jit(locate.update_box)

FRAME_HW = np.array([48, 64], np.int32)


def move(box, shift_px, wh):
    values = (np.array(x, np.float32) for x in (box, shift_px, wh))
    return update_box(*values, FRAME_HW)


def limit(scale, first_wh, **options):
    return clamp_scale(np.float32(scale), np.array(first_wh, np.float32), FRAME_HW, **options)


def test_shifts_are_row_and_column_and_boxes_x_and_y():
    np.testing.assert_array_equal(move([10, 20, 9, 7], [3, -2], [9, 7]), [8, 23, 9, 7])


def test_size_changes_about_the_centre():
    # Centre (14, 23), pixel i at i: a box of 3 x 5 reaches from 13 to 15 and from 21 to 25.
    np.testing.assert_array_equal(move([10, 20, 9, 7], [0, 0], [3, 5]), [13, 21, 3, 5])
    np.testing.assert_array_equal(move([10, 20, 9, 7], [0, 0], [4, 6]), [12.5, 20.5, 4, 6])


@pytest.mark.parametrize(
    ("shift_px", "centre"),
    [
        ((-1000, -1000), (0, 0)),
        ((1000, 1000), (63, 47)),
        ((-1000, 1000), (63, 0)),
        ((1e30, -1e30), (0, 47)),
        ((-23, 49), (63, 0)),  # just there
        ((-22.5, 48.5), (62.5, 0.5)),
    ],
)
def test_the_centre_stays_in_the_frame(shift_px, centre):
    expected = [centre[0] - 4, centre[1] - 3, 9, 7]
    np.testing.assert_array_equal(move([10, 20, 9, 7], shift_px, [9, 7]), expected)


def test_a_box_may_reach_beyond_the_frame():
    np.testing.assert_array_equal(move([-4, 0, 9, 7], [-3, 0], [30, 20]), [-14.5, -9.5, 30, 20])


def test_no_shift_changes_nothing():
    box = [10.25, 20.5, 8.5, 7.75]
    np.testing.assert_allclose(move(box, [0, 0], box[2:]), box, rtol=1e-7)


@pytest.mark.parametrize(
    ("scale", "first_wh", "expected"),
    [
        (1.3, (16, 8), 1.3),
        (0.1, (16, 8), 0.5),  # 8 px high: half of it is 4 px
        (0.1, (8, 16), 0.5),
        (100, (16, 8), 4),  # 64 px wide
        (100, (8, 16), 3),  # 48 px high
        (0.5, (3, 20), 1),  # it starts below 4 px: no smaller
        (2, (3, 20), 2),  # but larger
        (2, (80, 20), 1),  # it starts wider than the frame: no larger
        (0.5, (80, 20), 0.5),
        (7, (80, 2), 1),  # both: fixed
        (0.1, (80, 2), 1),
        (0, (16, 8), 0.5),
        (np.inf, (16, 8), 4),
    ],
)
def test_limits_of_scale(scale, first_wh, expected):
    np.testing.assert_allclose(limit(scale, first_wh), expected, rtol=1e-7)


def test_the_least_side_is_an_option():
    np.testing.assert_allclose(limit(0.1, (16, 8), min_px=2.0), 0.25, rtol=1e-7)


side = st.floats(4, 48, width=32)


@settings(deadline=None, derandomize=True)
@given(st.floats(0, 1000, width=32), side, side)
def test_limited_sizes_lie_between_the_least_side_and_the_frame(scale, width, height):
    found = limit(scale, (width, height))
    size = np.array([width, height]) * float(found)
    assert (size >= 4 - 1e-5).all()
    assert (size <= FRAME_HW[::-1] * (1 + 1e-6)).all()
    # Nothing between the limits is touched, and no limit is stricter than it need be.
    if found > scale:
        assert size.min() < 4 + 1e-5
    if found < scale:
        assert (size > FRAME_HW[::-1] * (1 - 1e-6)).any()
