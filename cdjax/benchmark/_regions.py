"""Overlap of image regions, by rasterised masks or by exact polygons; NumPy, no files.

A region is a vector: a rectangle (x, y, w, h) or a polygon (x1, y1, x2, y2, ...), pixels
counted from 0. Both kinds of overlap are intersection over union inside the frame.

"raster" is the rule of vot-toolkit (0.9): numbers are float32 and rounded, half to even.
A rectangle is the pixels x ... x + w - 1. A polygon is filled row by row, ends included,
the crossings of its edges with the row cut to whole pixels. Only intervals are kept here,
no masks, and all frames are done at once.

"raster_challenge" is the rule behind the figures that the VOT challenges published up to
2019: the same, but a rectangle is the polygon of its corners, and so reaches to x + w.

"polygon" is exact, in float64: a rectangle reaches from x to x + w and a frame from 0 to
its width. It needs no mask and moves with every decimal, but is not what the toolkit
reports.
"""

from collections.abc import Callable
from collections.abc import Sequence as AnySequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from cdjax._errors import InputError
from cdjax.boxes import from_corners, iou, polygon_bounds, to_corners

Region = Float[np.ndarray, "_"]
"""A rectangle, 4 numbers, or a polygon, 6 or more."""

_Regions = Float[np.ndarray, "n _"]
_PerFrame = Float[np.ndarray, " n"]

_EMPTY = (1, 0)


def overlaps(
    a: AnySequence[Any],
    b: AnySequence[Any],
    *,
    hw: tuple[int, int] | None,
    kind: str = "raster",
) -> _PerFrame:
    """Returns intersection over union, region by region.

    Args:
      a: regions, each a rectangle or a polygon, mixed at will.
      b: as many.
      hw: height and width of the frame that both are cut to, or None for no cut.
      kind: "raster", "raster_challenge" or "polygon".

    Returns:
      Overlaps from 0 to 1; NaN where a region has a NaN.

    Raises:
      InputError: for an unknown kind, different numbers of regions, or a vector that is
        neither a rectangle nor a polygon.

    Example:
      >>> overlaps([np.array([0, 0, 4, 4.0])], [np.array([2, 0, 4, 4.0])], hw=(9, 9))
      array([0.33333333])
    """
    if kind not in _KINDS:
        raise InputError(f"no overlap {kind!r}; there are: {', '.join(_KINDS)}")
    if len(a) != len(b):
        raise InputError(f"{len(a)} regions against {len(b)}; give one for each frame")
    found = np.full(len(a), np.nan)
    sizes = np.array([(len(p), len(q)) for p, q in zip(a, b, strict=True)]).reshape(-1, 2)
    for size in np.unique(sizes, axis=0):
        if wrong := [n for n in size.tolist() if n < 4 or n % 2]:
            raise InputError(
                f"a region of {wrong[0]} numbers; give x,y,w,h or the corners of a polygon"
            )
        rows = np.flatnonzero((sizes == size).all(axis=1))
        first = np.array([a[int(i)] for i in rows], np.float64)
        second = np.array([b[int(i)] for i in rows], np.float64)
        good = np.isfinite(first).all(axis=1) & np.isfinite(second).all(axis=1)
        found[rows[good]] = _KINDS[kind](first[good], second[good], hw)
    return found


def bounds_of(regions: AnySequence[Any]) -> Float[np.ndarray, "n 4"]:
    """Returns the upright boxes around regions, x, y, w, h."""
    boxes = [r if len(r) == 4 else polygon_bounds(np.asarray(r)[None])[0] for r in regions]
    return np.array(boxes, np.float64).reshape(-1, 4)


# --- rasterised ---------------------------------------------------------------------


def _raster(a: _Regions, b: _Regions, hw: tuple[int, int] | None) -> _PerFrame:
    """Overlaps by the VOT toolkit's rules."""
    a, b = (np.round(region.astype(np.float32)).astype(np.float64) for region in (a, b))
    extent_a, extent_b = _extent(a), _extent(b)
    low = np.minimum(extent_a[:, :2], extent_b[:, :2])
    high = np.maximum(extent_a[:, 2:], extent_b[:, 2:])
    empty = (low >= high).any(axis=1)  # there, one pixel of width counts as none
    if hw is not None:
        low, high = np.maximum(low, 0.0), np.minimum(high, [hw[1] - 1, hw[0] - 1])
    outside = (low >= high).any(axis=1)
    high = np.maximum(high, low)
    if a.shape[1] == b.shape[1] == 4:
        inside, area_a, area_b = (
            _pixels(np.maximum(p[:, :2], low), np.minimum(q[:, 2:], high))
            for p, q in (
                (np.maximum(extent_a, extent_b), np.minimum(extent_a, extent_b)),
                (extent_a, extent_a),
                (extent_b, extent_b),
            )
        )
    else:
        inside, area_a, area_b = _count_rows(a, b, low, high)
    union = area_a + area_b - inside
    ratio = np.where(union > 0, inside / np.maximum(union, 1.0), 0.0)
    return np.where(empty, 1.0, np.where(outside, 0.0, ratio))


def _raster_challenge(a: _Regions, b: _Regions, hw: tuple[int, int] | None) -> _PerFrame:
    """Overlaps by the rules of the challenges up to 2019."""
    return _raster(_widened(a), _widened(b), hw)


def _widened(regions: _Regions) -> _Regions:
    """Turns rectangles into those of the pixels that their corner polygons fill."""
    if regions.shape[1] != 4:
        return regions
    corners = np.round(to_corners(regions).astype(np.float32)).astype(np.float64)
    return from_corners(corners + [0.0, 0.0, 1.0, 1.0])


def _corners(regions: _Regions) -> _Regions:
    """Turns rectangles into polygons; leaves polygons."""
    if regions.shape[1] != 4:
        return regions
    left, top, right, bottom = to_corners(regions).T
    return np.stack([left, top, right, top, right, bottom, left, bottom], axis=1)


def _extent(regions: _Regions) -> Float[np.ndarray, "n 4"]:
    """First and last pixel of rounded regions: left, top, right, bottom."""
    if regions.shape[1] == 4:
        return to_corners(regions) - [0.0, 0.0, 1.0, 1.0]
    return to_corners(polygon_bounds(regions))


def _pixels(low: Float[np.ndarray, "n 2"], high: Float[np.ndarray, "n 2"]) -> _PerFrame:
    """Number of pixels from one to another, both included."""
    return np.prod(np.maximum(high - low + 1.0, 0.0), axis=1)


def _count_rows(
    a: _Regions, b: _Regions, low: Float[np.ndarray, "n 2"], high: Float[np.ndarray, "n 2"]
) -> tuple[_PerFrame, _PerFrame, _PerFrame]:
    """Pixels of the intersection, of `a` and of `b`, summed over the rows of each frame."""
    heights = (high[:, 1] - low[:, 1] + 1).astype(int)
    frame = np.repeat(np.arange(len(a)), heights)
    row = np.arange(len(frame)) - np.repeat(np.cumsum(heights) - heights, heights)
    edge = (high[:, 0] - low[:, 0]).astype(int)[frame]
    spans = []
    for regions in (a, b):  # shifted to the corner of the window, as cutting to pixels needs
        if regions.shape[1] == 4:
            shifted = regions - np.pad(low, ((0, 0), (0, 2)))
            starts, ends = _rectangle_spans(shifted, frame, row)
        else:
            starts, ends = _polygon_spans(regions - np.tile(low, regions.shape[1] // 2), frame, row)
        spans.append((np.maximum(starts, 0), np.minimum(ends, edge)))

    def total(start: Int[np.ndarray, "s r"], end: Int[np.ndarray, "s r"]) -> _PerFrame:
        lengths = np.maximum(end - start + 1, 0).sum(axis=0)
        return np.bincount(frame, lengths, minlength=len(a))

    (start_a, end_a), (start_b, end_b) = spans
    starts = np.maximum(start_a[:, None], start_b[None]).reshape(-1, len(frame))
    ends = np.minimum(end_a[:, None], end_b[None]).reshape(-1, len(frame))
    return total(starts, ends), total(start_a, end_a), total(start_b, end_b)


def _rectangle_spans(
    rectangles: Float[np.ndarray, "n 4"], frame: Int[np.ndarray, " r"], row: Int[np.ndarray, " r"]
) -> tuple[Int[np.ndarray, "1 r"], Int[np.ndarray, "1 r"]]:
    """First and last pixel of a rectangle in a row; the last before the first for none."""
    x, y, w, h = rectangles.T.astype(int)[:, frame]
    hit = (y <= row) & (row < y + h)
    return np.where(hit, x, _EMPTY[0])[None], np.where(hit, x + w - 1, _EMPTY[1])[None]


def _polygon_spans(
    polygons: Float[np.ndarray, "n _"], frame: Int[np.ndarray, " r"], row: Int[np.ndarray, " r"]
) -> tuple[Int[np.ndarray, "s r"], Int[np.ndarray, "s r"]]:
    """Intervals of a polygon in a row, disjoint; the last before the first for none."""
    x, y = polygons.T[0::2], polygons.T[1::2]
    before_x, before_y = np.roll(x, 1, axis=0), np.roll(y, 1, axis=0)
    rise, run = before_y - y, before_x - x
    low, high = np.minimum(y, before_y)[:, frame], np.maximum(y, before_y)[:, frame]
    crosses = (low <= row) & (row <= high)
    share = (row - y[:, frame]) / np.where(rise == 0, 1.0, rise)[:, frame]
    at = np.trunc(x[:, frame] + share * np.where(rise == 0, 0.0, run)[:, frame])
    first = np.where(crosses, at, np.inf).min(axis=0)
    last = np.where(crosses, at, -np.inf).max(axis=0)
    plain = (~crosses | (at == first) | (at == last)).all(axis=0)  # as in convex polygons
    filled = plain & (first <= last)
    starts = np.where(filled, first, _EMPTY[0]).astype(int)[None]
    ends = np.where(filled, last, _EMPTY[1]).astype(int)[None]
    if not plain.all():
        rest = np.flatnonzero(~plain)
        more = np.stack(_pair_crossings(np.where(crosses[:, rest], at[:, rest], np.inf)))
        wide = np.zeros((2, more.shape[1] - 1, len(row)), int) + np.reshape(_EMPTY, (2, 1, 1))
        starts, ends = np.concatenate([[starts, ends], wide], axis=1)
        starts[:, rest], ends[:, rest] = more
    return starts, ends


def _pair_crossings(
    crossings: Float[np.ndarray, "e r"],
) -> tuple[Int[np.ndarray, "s r"], Int[np.ndarray, "s r"]]:
    """Pairs crossings of a row in order, infinite where there are no more.

    Of two equal ones, which a corner gives, the first is passed over, unless they are the
    last two.
    """
    count = np.isfinite(crossings).sum(axis=0)
    at = np.sort(crossings, axis=0)
    at = np.where(np.isfinite(at), at, 0.0).astype(int)
    columns = np.arange(at.shape[1])
    place = np.zeros_like(count)
    past = np.full(at.shape[1], -1)  # end of the interval before; the window starts at 0
    starts, ends = [], []
    for _ in range(len(at) - 1):
        start = at[np.minimum(place, len(at) - 1), columns]
        end = at[np.minimum(place + 1, len(at) - 1), columns]
        left = place < count - 1
        double = left & (start == end) & (place < count - 2)
        fills = left & ~double
        starts.append(np.where(fills, np.maximum(start, past + 1), _EMPTY[0]))
        ends.append(np.where(fills, end, _EMPTY[1]))
        past = np.where(fills, end, past)
        place = place + np.where(double, 1, 2)
    return np.array(starts), np.array(ends)


# --- exact --------------------------------------------------------------------------


def _exact(a: _Regions, b: _Regions, hw: tuple[int, int] | None) -> _PerFrame:
    """Overlaps of exact areas.

    A polygon is the sum of its triangles from its first corner, with the sign of their
    orientation, so that concave ones need no other treatment.
    """
    if a.shape[1] == b.shape[1] == 4:
        return _exact_boxes(a, b, hw)
    frame = None
    if hw is not None:
        frame = np.array([[0, 0], [hw[1], 0], [hw[1], hw[0]], [0, hw[0]]], np.float64)
    area_a, area_b, inside = np.zeros((3, len(a)))
    triangles_b = [_oriented(t) for t in _triangles(b)]
    for triangle_a in _triangles(a):
        sign_a, piece_a = _oriented(triangle_a)
        if frame is not None:
            piece_a = _clip(piece_a, frame[None])
        area_a += sign_a * _area(piece_a)
        for sign_b, triangle_b in triangles_b:
            inside += sign_a * sign_b * _area(_clip(piece_a, triangle_b))
    for sign_b, triangle_b in triangles_b:
        piece_b = triangle_b if frame is None else _clip(triangle_b, frame[None])
        area_b += sign_b * _area(piece_b)
    inside = np.abs(inside)
    union = np.abs(area_a) + np.abs(area_b) - inside
    return np.where(union > 0, inside / np.where(union > 0, union, 1.0), 0.0)


def _exact_boxes(a: _Regions, b: _Regions, hw: tuple[int, int] | None) -> _PerFrame:
    """Overlaps of upright boxes."""
    if hw is None:
        return iou(a, b)
    edge = np.array([hw[1], hw[0], hw[1], hw[0]], np.float64)
    return iou(*(from_corners(np.clip(to_corners(box), 0.0, edge)) for box in (a, b)))


def _triangles(regions: _Regions) -> list[Float[np.ndarray, "n 3 2"]]:
    """Triangles from the first corner to each side that does not touch it."""
    points = _corners(regions).reshape(len(regions), -1, 2)
    return [points[:, [0, i, i + 1]] for i in range(1, points.shape[1] - 1)]


def _cross(u: Any, v: Any) -> Any:
    """Cross product of vectors in the plane."""
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]


def _area(polygons: Float[np.ndarray, "n m 2"]) -> _PerFrame:
    """Signed area, positive from x to y."""
    points = polygons - polygons[:, :1]  # near the origin, no digits cancel
    return 0.5 * _cross(points, np.roll(points, -1, axis=1)).sum(axis=1)


def _oriented(
    triangles: Float[np.ndarray, "n 3 2"],
) -> tuple[_PerFrame, Float[np.ndarray, "n 3 2"]]:
    """The sign of each triangle, and the triangle turned to a positive one."""
    sign = np.sign(_area(triangles))
    return sign, np.where(sign[:, None, None] < 0, triangles[:, ::-1], triangles)


def _clip(
    subject: Float[np.ndarray, "n m 2"], clipper: Float[np.ndarray, "k q 2"]
) -> Float[np.ndarray, "n o 2"]:
    """Cuts convex polygons to convex ones of positive area (Sutherland, Hodgman 1974).

    Each side of the clipper cuts all frames at once and adds at most a corner; free places
    repeat the last corner, and what is cut away altogether becomes a point.
    """
    for i in range(clipper.shape[1]):
        start, end = clipper[:, None, i], clipper[:, None, (i + 1) % clipper.shape[1]]
        depth = _cross(end - start, subject - start)
        following, next_depth = np.roll(subject, -1, axis=1), np.roll(depth, -1, axis=1)
        through = depth * next_depth < 0
        share = depth / np.where(through, depth - next_depth, 1.0)
        crossing = subject + share[..., None] * (following - subject)
        corners = np.stack([subject, crossing], axis=2).reshape(len(subject), -1, 2)
        kept = np.stack([depth >= 0, through], axis=2).reshape(len(subject), -1)
        order = np.argsort(~kept, axis=1, kind="stable")[:, : subject.shape[1] + 1]
        place = np.minimum(np.arange(order.shape[1]), kept.sum(axis=1, keepdims=True) - 1)
        order = np.take_along_axis(order, np.maximum(place, 0), axis=1)
        subject = np.take_along_axis(corners, order[..., None], axis=1)
    return subject


_KINDS: dict[str, Callable[[Any, Any, Any], _PerFrame]] = {
    "raster": _raster,
    "raster_challenge": _raster_challenge,
    "polygon": _exact,
}
