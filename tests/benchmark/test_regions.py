import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdjax._errors import InputError
from cdjax.benchmark._regions import overlaps
from cdjax.boxes import iou

L_SHAPE = np.array([0, 0, 60, 0, 60, 20, 20, 20, 20, 50, 0, 50.0])  # area 1800
numbers = st.floats(-20, 60, allow_nan=False)


def corners(box):
    x, y, w, h = box
    return np.array([x, y, x + w, y, x + w, y + h, x, y + h])


@pytest.mark.parametrize(
    ("a", "b", "hw", "raster", "challenge", "exact"),
    [
        ([0, 0, 4, 4], [2, 0, 4, 4], None, 8 / 24, 15 / 35, 1 / 3),
        ([0, 0, 4, 4], [4, 0, 4, 4], None, 0, 5 / 45, 0),  # only the challenges' touch
        ([-6, 0, 10, 4], [0, 0, 10, 4], (20, 20), 16 / 40, 25 / 55, 16 / 40),  # cut at 0
        ([16, 0, 10, 4], [12, 0, 8, 4], (20, 20), 16 / 32, 20 / 40, 16 / 32),  # and at 20
        ([30, 0, 4, 4], [31, 0, 4, 4], (20, 20), 0, 0, 0),  # both outside
        ([0.5, 0, 4, 4], [1.5, 0, 4, 4], None, 8 / 24, 15 / 35, 3 / 5),  # half to even
        ([0, 0, 1, 1], [0, 0, 1, 1], None, 1, 1, 1),
        (L_SHAPE, [20, 20, 40, 30], (60, 70), 69 / 3042, 71 / 3111, 0),
        (L_SHAPE, corners([0, 0, 20, 50]), None, 1071 / 1911, 1071 / 1911, 1000 / 1800),
        ([5, np.nan, 4, 4], [2, 0, 4, 4], None, np.nan, np.nan, np.nan),
    ],
)
def test_hand_worked_overlaps(a, b, hw, raster, challenge, exact):
    a, b = np.array(a, float), np.array(b, float)
    for kind, value in (("raster", raster), ("raster_challenge", challenge), ("polygon", exact)):
        for p, q in ((a, b), (b, a)):
            np.testing.assert_allclose(overlaps([p], [q], hw=hw, kind=kind), [value], err_msg=kind)


def masks_of(points, shape):
    """Pixels of a polygon, by a rule of its own: even-odd test on a grid of points."""
    x, y = np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5)
    inside = np.zeros(shape, bool)
    for (x1, y1), (x2, y2) in zip(points, np.roll(points, 1, axis=0), strict=True):
        with np.errstate(divide="ignore", invalid="ignore"):
            cut = x1 + (y - y1) / (y2 - y1) * (x2 - x1)
        inside ^= ((y1 > y) != (y2 > y)) & (x < cut)
    return inside


def test_all_kinds_tend_to_the_area_of_concave_polygons():
    rng = np.random.default_rng(0)
    angles = np.sort(rng.uniform(0, 2 * np.pi, (2, 12, 9)), axis=2)  # stars: simple, concave
    radii = rng.uniform(100, 500, (2, 12, 9))
    stars = 600 + np.stack([np.cos(angles), np.sin(angles)], axis=-1) * radii[..., None]
    masks = [[masks_of(star, (900, 1000)) for star in side] for side in stars]
    brute = [(p & q).sum() / (p | q).sum() for p, q in zip(*masks, strict=True)]
    flat = stars.reshape(2, 12, 18)
    for kind, tolerance in (("polygon", 1e-3), ("raster", 0.02), ("raster_challenge", 0.02)):
        found = overlaps(list(flat[0]), list(flat[1]), hw=(900, 1000), kind=kind)
        np.testing.assert_allclose(found, brute, atol=tolerance)


@given(st.lists(st.tuples(*[numbers] * 2, *[st.floats(2, 50)] * 2), min_size=2, max_size=9))
def test_rectangles_written_as_polygons_agree(boxes):
    a, b = np.array(boxes, np.float32).astype(float)[:-1], np.array(boxes, np.float32)[1:]
    b = b.astype(float)
    polygons = [corners(box) for box in a]
    for hw in (None, (40, 50)):
        upright = overlaps(list(a), list(b), hw=hw, kind="polygon")
        np.testing.assert_allclose(overlaps(polygons, list(b), hw=hw, kind="polygon"), upright)
        if hw is None:
            np.testing.assert_allclose(upright, iou(a, b))
        wide = overlaps(list(a), list(b), hw=hw, kind="raster_challenge")
        drawn = overlaps(polygons, [corners(box) for box in b], hw=hw, kind="raster")
        np.testing.assert_array_equal(wide, drawn)


@pytest.mark.parametrize(
    ("a", "kind", "words"),
    [
        ([np.zeros(4)], "rast", "no overlap 'rast'; there are: raster, raster_challenge, polygon"),
        ([], "raster", "0 regions against 1"),
        ([np.zeros(5)], "raster", "a region of 5 numbers; give x,y,w,h"),
    ],
)
def test_bad_regions_are_named(a, kind, words):
    with pytest.raises(InputError, match=words):
        overlaps(a, [np.zeros(4)], hw=None, kind=kind)
