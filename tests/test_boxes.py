import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdjax import boxes
from cdjax._errors import InputError

number = st.floats(-1000, 1000).map(lambda v: round(v, 3))
size = st.floats(0.5, 500).map(lambda v: round(v, 3))
box = st.tuples(number, number, size, size).map(lambda b: np.array([b], np.float64))


@given(box)
def test_conversions_go_there_and_back(b):
    np.testing.assert_allclose(boxes.from_centers(boxes.to_centers(b), b[:, 2:]), b, atol=1e-9)
    np.testing.assert_allclose(boxes.from_corners(boxes.to_corners(b)), b, atol=1e-9)
    np.testing.assert_allclose(boxes.from_otb(boxes.to_otb(b)), b, atol=1e-9)


def test_otb_origin_moves_the_corner_only():
    ours = boxes.from_otb(np.array([[1.0, 1.0, 30.0, 40.0]]))
    np.testing.assert_array_equal(ours, [[0, 0, 30, 40]])
    np.testing.assert_array_equal(boxes.to_centers(ours), [[14.5, 19.5]])


@given(box, box)
def test_iou_is_symmetric_and_bounded(a, b):
    value = boxes.iou(a, b)
    np.testing.assert_allclose(value, boxes.iou(b, a), rtol=1e-12)
    assert 0 <= value[0] <= 1 + 1e-12
    np.testing.assert_allclose(boxes.iou(a, a), 1.0, rtol=1e-9)


def test_iou_by_hand():
    a = np.array([[0, 0, 2, 2], [0, 0, 2, 2], [5, 5, 1, 1], [np.nan, 0, 1, 1.0]])
    b = np.array([[1, 1, 2, 2], [2, 0, 2, 2], [5, 5, 1, 1], [0, 0, 1, 1.0]])
    np.testing.assert_array_equal(boxes.iou(a, b), [1 / 7, 0, 1, np.nan])
    np.testing.assert_array_equal(boxes.iou(np.zeros((1, 4)), np.zeros((1, 4))), [0])


def test_polygons_of_upright_rectangles():
    corners = np.array([[10, 20, 30, 20, 30, 50, 10, 50.0]])
    np.testing.assert_allclose(boxes.polygon_bounds(corners), [[10, 20, 20, 30]])
    np.testing.assert_allclose(boxes.polygon_area_box(corners), [[10, 20, 21, 31]])


def test_polygon_area_box_of_a_diamond():
    diamond = np.array([[10, 0, 20, 10, 10, 20, 0, 10.0]])
    np.testing.assert_allclose(boxes.polygon_bounds(diamond), [[0, 0, 20, 20]])
    side = np.sqrt(200)
    np.testing.assert_allclose(
        boxes.polygon_area_box(diamond),
        [[10 - side / 2, 10 - side / 2, side + 1, side + 1]],
    )


@pytest.mark.parametrize("text", ["1,2,3", "1,2,3,4,5", "a,b,c,d", "", "1,2,3,"])
def test_parse_box_wants_four_numbers(text):
    with pytest.raises(InputError, match="not four numbers"):
        boxes.parse_box(text)


def test_parse_box_reads_commas_and_blanks():
    np.testing.assert_array_equal(boxes.parse_box("1, 2.5 3,4"), [1, 2.5, 3, 4])


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ([1.0, 2.0, 3.0], "has 3 numbers"),
        ([1.0, 2.0, np.nan, 4.0], "not finite"),
        ([1.0, 2.0, np.inf, 4.0], "not finite"),
        ([1.0, 2.0, 0.0, 4.0], "no area"),
        ([1.0, 2.0, 3.0, -4.0], "no area"),
        ([1.0, 2.0, 1e-50, 4.0], "no area"),
        ([0.0, 0.0, 1e39, 1e39], "larger than any frame"),
        ([-1e30, 0.0, 2e30, 10.0], "larger than any frame"),
        ([64.0, 2.0, 3.0, 4.0], "outside the 64x48 frame"),
        ([1.0, 48.0, 3.0, 4.0], "outside the 64x48 frame"),
        ([-3.0, 2.0, 3.0, 4.0], "outside the 64x48 frame"),
    ],
)
def test_check_box_names_what_is_wrong(bad, words):
    with pytest.raises(InputError, match=words):
        boxes.check_box(bad, (48, 64))


def test_check_box_accepts_a_box_across_the_border():
    checked = boxes.check_box([-2.0, 40.0, 5.0, 20.0], (48, 64))
    assert checked.dtype == np.float32
    np.testing.assert_array_equal(checked, [-2, 40, 5, 20])
