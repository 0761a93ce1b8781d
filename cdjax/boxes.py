"""Box formats, conversions and overlaps; the only file that knows about 1-based files.

A box is (x, y, w, h) in pixels: the index of its top-left pixel, counted from 0, and
its size. It covers the pixels x ... x + w - 1, so its centre is xy + (wh - 1) / 2.
Host code, NumPy float64.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from cdjax._errors import InputError

Boxes = Float[np.ndarray, "n 4"]
"""Boxes (x, y, w, h), corner index from 0; NaN where the target is absent."""

OTB_ORIGIN = 1
"""OTB (with it TC128, LaSOT, GOT-10k and UAV123) counts pixels from 1, as MATLAB does."""


def from_origin(boxes: Boxes, origin: int) -> Boxes:
    """Turns boxes of a file that counts pixels from `origin` (0 or 1) into ours."""
    return boxes - np.array([origin, origin, 0.0, 0.0])


def from_otb(boxes: Boxes) -> Boxes:
    """Turns boxes of an OTB file, which counts pixels from 1, into ours."""
    return from_origin(boxes, OTB_ORIGIN)


def to_otb(boxes: Boxes) -> Boxes:
    """Turns our boxes into those of an OTB file, which counts pixels from 1."""
    return boxes + np.array([OTB_ORIGIN, OTB_ORIGIN, 0.0, 0.0])


def to_centers(boxes: Boxes) -> Float[np.ndarray, "n 2"]:
    """Returns the centres (x, y), xy + (wh - 1) / 2, px."""
    return boxes[:, :2] + (boxes[:, 2:] - 1.0) / 2.0


def from_centers(centers: Float[np.ndarray, "n 2"], sizes: Float[np.ndarray, "n 2"]) -> Boxes:
    """Returns the boxes with these centres and sizes (w, h); undoes `to_centers`."""
    return np.concatenate([centers - (sizes - 1.0) / 2.0, sizes], axis=1)


def to_corners(boxes: Boxes) -> Float[np.ndarray, "n 4"]:
    """Returns (left, top, right, bottom), the last two exclusive: right = x + w."""
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def from_corners(corners: Float[np.ndarray, "n 4"]) -> Boxes:
    """Returns the boxes with these (left, top, right, bottom); undoes `to_corners`."""
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)


def iou(a: Boxes, b: Boxes) -> Float[np.ndarray, " n"]:
    """Returns intersection over union, row by row.

    Sizes count as continuous lengths; OTB's whole pixels give the same value.

    Args:
      a: boxes.
      b: as many boxes of the same origin.

    Returns:
      Overlap from 0 to 1; NaN where either box has a NaN, 0 where both are empty.

    Example:
      >>> iou(np.array([[0.0, 0.0, 2.0, 2.0]]), np.array([[1.0, 0.0, 2.0, 2.0]]))
      array([0.33333333])
    """
    corner_a, corner_b = to_corners(a), to_corners(b)
    low = np.maximum(corner_a[:, :2], corner_b[:, :2])
    high = np.minimum(corner_a[:, 2:], corner_b[:, 2:])
    inside = np.prod(np.maximum(high - low, 0.0), axis=1)
    union = np.prod(a[:, 2:], axis=1) + np.prod(b[:, 2:], axis=1) - inside
    return np.where(union == 0.0, 0.0, inside / np.where(union == 0.0, 1.0, union))


def polygon_bounds(polygons: Float[np.ndarray, "n p"]) -> Boxes:
    """Turns polygons into bounding rectangles, as the VOT toolkit does for trackers.

    Width is max - min: no pixel is added (got10k adds one, which moves the first box).

    Args:
      polygons: (x1, y1, x2, y2, ...) per row, from 0.

    Returns:
      The upright boxes.
    """
    x, y = polygons[:, 0::2], polygons[:, 1::2]
    left, top = x.min(axis=1), y.min(axis=1)
    return np.stack([left, top, x.max(axis=1) - left, y.max(axis=1) - top], axis=1)


def polygon_area_box(polygons: Float[np.ndarray, "n 8"]) -> Boxes:
    """Turns quadrilaterals into upright boxes of the same area and centre.

    The rule of C-COT's and PySOT's start boxes: the bounding rectangle, shrunk to the
    area of the quadrilateral about the mean of its corners, one pixel added to each
    side.

    Args:
      polygons: (x1, y1, ..., x4, y4) per row, from 0.

    Returns:
      The upright boxes.
    """
    points = polygons.reshape(-1, 4, 2)
    size = points.max(axis=1) - points.min(axis=1)
    area = np.prod(
        np.linalg.norm(points[:, 0:2] - points[:, 1:3], axis=2), axis=1
    )  # side 1-2 times side 2-3, as there
    bounds = np.prod(size, axis=1)
    shrink = np.sqrt(area / np.where(bounds == 0.0, 1.0, bounds))
    return from_centers(points.mean(axis=1), shrink[:, None] * size + 1.0)


def parse_box(text: str) -> Float[np.ndarray, "4"]:
    """Reads a box typed as "X,Y,W,H", corner index from 0.

    Args:
      text: four numbers, apart by commas or blanks.

    Returns:
      The box, not yet compared with a frame (`check_box`).

    Raises:
      InputError: if it is not four numbers.
    """
    words = text.replace(",", " ").split()
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) != 4:
        raise InputError(f"box {text!r} is not four numbers; give x,y,w,h, as in 10,20,30,40")
    return np.array(numbers)


SIZES_PX = 1e-3, 1e6
"""Least and largest side of a start box: areas and their inverses are float32 numbers."""


def check_box(box: Any, frame_hw: tuple[int, int]) -> Float[np.ndarray, "4"]:
    """Returns the box as float32 if a tracker can start from it.

    Args:
      box: x, y, w, h, corner index from 0; a list or an array.
      frame_hw: height and width of the frame, px.

    Returns:
      The box, float32; it may reach beyond the frame, but not lie outside.

    Raises:
      InputError: if it is not four finite numbers, has no area, misses the frame or is
        larger than any frame.
    """
    values = np.asarray(box, np.float64)
    shown = ",".join(f"{v:g}" for v in values.ravel())
    height, width = frame_hw
    if values.shape != (4,):
        raise InputError(f"box {shown} has {values.size} numbers; give x,y,w,h")
    if not np.isfinite(values).all():
        raise InputError(f"box {shown} is not finite; give x,y,w,h as plain numbers")
    x, y, w, h = values
    if min(w, h) < SIZES_PX[0]:
        raise InputError(f"box {shown} has no area; give x,y,w,h with positive w and h")
    if max(w, h) > SIZES_PX[1]:
        raise InputError(f"box {shown} is larger than any frame; give x,y,w,h in pixels")
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise InputError(
            f"box {shown} lies outside the {width}x{height} frame; give x,y,w,h in "
            "pixels, corner counted from 0"
        )
    return values.astype(np.float32)
