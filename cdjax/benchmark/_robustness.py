"""Starts of OTB's robustness runs: shifted and scaled boxes (SRE), later frames (TRE).

Both follow the benchmark's toolkit, whose boxes count from 1. Checked against published
C-COT runs on 13 targets: all 260 start frames are equal, and 151 of 156 boxes. The other
five differ by the pixel that C-COT's first box loses now and then (an even size less one):
it does so in 5 of the 260 later starts, too, whose boxes are the ground truth's.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from cdjax._errors import InputError
from cdjax.boxes import Boxes, from_otb, to_otb

SRE_NAMES = (
    ("left", "right", "up", "down")
    + ("topLeft", "topRight", "bottomLeft", "bottomRight")
    + ("scale_8", "scale_9", "scale_11", "scale_12")
)
"""The toolkit's names of the 12 boxes of `sre_boxes`."""

_NUM_SEGMENTS = 20
_MIN_FRAMES = 20  # that are left after the last start

# Rows of the annotation, from 1, in which a target is occluded or out of view and no run
# may start: initOmit of the benchmark's toolkit (jwlim/tracker_benchmark @ 6c48d05).
# Tiger1's numbers there count images, of which the annotation begins with the sixth.
_OMITTED = {
    "Basketball": "8-27 619-628 639-659",
    "CarScale": "155-177 202-225",
    "Coke": "7-44 71-78 162-167 183-192 197-201 219-227 250-275",
    "David3": "22-31 78-91 179-193 236-244",
    "Doll": "2552-2573 2632-2643 3714-3771",
    "Dudek": "204-218 357-372 971-988 1090-1116",
    "FaceOcc1": "23-75 81-148 168-239 272-325 349-411 437-593 613-783 814-892",
    "FaceOcc2": "79-90 128-185 247-278 391-520 681-740",
    "Football": "58-65 76-84 279-305 319-362",
    "Freeman4": "7-8 16-17 25-26 34-38 42-51 61-74 81-82 102-103 116-117 126-130 142-148 "
    "156-168 181-181 184-188 205-207 239-256 268-297",
    "Girl": "421-443 451-469",
    "Ironman": "102-114 144-145 156-164",
    "Jogging-1": "61-83",
    "Jogging-2": "40-63",
    "Lemming": "299-379 427-460 552-560",
    "Liquor": "383-410 502-510 604-608 723-735 768-779 1181-1187 1236-1238 1286-1289 "
    "1318-1321 1351-1358 1502-1507 1515-1521 1606-1609",
    "Matrix": "36-40",
    "RedTeam": "1521-1527",
    "Skating1": "154-189",
    "Soccer": "93-231 350-392",
    "Subway": "37-45 52-59 92-101",
    "Suv": "28-58 189-241 506-572 669-693 768-792",
    "Tiger1": "4-10 13-24 35-41 51-61 95-108 114-123 129-150 162-181 198-213 221-236 243-250 "
    "283-309 313-317 327-349",
    "Tiger2": "72-76 80-118 124-153 165-190 196-203 207-225 233-276 285-321 325-340 346-365",
    "Walking": "81-94",
    "Walking2": "188-233 370-378",
    "Woman": "106-172 189-247 262-334 356-413 457-525 544-597",
}


def sre_boxes(box: Any, hw: tuple[int, int]) -> Float[np.ndarray, "12 4"]:
    """Returns the 12 start boxes of spatial robustness evaluation.

    Four shifts by a tenth of the size, rounded up; four boxes with one corner (`SRE_NAMES`
    says which) moved outwards by a tenth, rounded; four scales 0.8, 0.9, 1.1 and 1.2 about
    the centre, corner and size rounded. Halves are rounded away from 0, in pixels from 1.
    What reaches beyond the frame is cut; on the left and at the top the size is kept.

    Args:
      box: the true box of the first frame, x, y, w, h, from 0.
      hw: height and width of the frame, px.

    Returns:
      The boxes in the order of `SRE_NAMES`, from 0.

    Raises:
      InputError: if the box is not four finite numbers with an area.

    Example:
      >>> sre_boxes([204, 150, 17, 50], (240, 360))[0].tolist()
      [202.0, 150.0, 17.0, 50.0]
    """
    values = np.asarray(box, np.float64)
    if values.shape != (4,) or not np.isfinite(values).all() or (values[2:] <= 0).any():
        raise InputError(f"box {box}: give x,y,w,h with positive w and h")
    x, y, w, h = to_otb(values[None])[0]
    dx, dy = np.ceil(0.1 * w), np.ceil(0.1 * h)
    boxes = [[x - dx, y, w, h], [x + dx, y, w, h], [x, y - dy, w, h], [x, y + dy, w, h]]
    right, bottom = x + w - 1, y + h - 1
    for move_left, move_top in ((1, 1), (0, 1), (1, 0), (0, 0)):
        left = _round(x - 0.1 * w) if move_left else x
        top = _round(y - 0.1 * h) if move_top else y
        r = right if move_left else _round(right + 0.1 * w)
        b = bottom if move_top else _round(bottom + 0.1 * h)
        boxes.append([left, top, r - left + 1, b - top + 1])
    for ratio in (0.8, 0.9, 1.1, 1.2):
        size_x, size_y = ratio * w, ratio * h
        corner = [x + w / 2 - size_x / 2, y + h / 2 - size_y / 2]
        boxes.append([_round(v) for v in (*corner, size_x, size_y)])
    return from_otb(_cut(np.array(boxes, np.float64), hw))


def _round(value: float) -> float:
    """Rounds as MATLAB does: halves away from 0."""
    return float(np.copysign(np.floor(abs(value) + 0.5), value))


def _cut(boxes: Float[np.ndarray, "12 4"], hw: tuple[int, int]) -> Float[np.ndarray, "12 4"]:
    """Moves corners (from 1) into the frame and cuts what is beyond its far sides."""
    corner = np.maximum(boxes[:, :2], 1.0)
    room = np.array([hw[1], hw[0]], np.float64) - corner + 1.0
    return np.concatenate([corner, np.minimum(boxes[:, 2:], room)], axis=1)


def tre_starts(truth: Boxes, *, name: str | None = None) -> list[int]:
    """Returns the start frames of temporal robustness evaluation.

    The first is the sequence itself; the others are spread evenly over the frames that may
    start a run, up to the last one with 20 frames to go. Frames without ground truth (a
    value of zero or less, counted from 1) may not, nor may those in which an OTB target is
    hidden.

    Args:
      truth: the ground truth, a row a frame, from 0.
      name: of the sequence as in OTB-100, or None: none of its frames is known as hidden.

    Returns:
      Up to 20 frame indices from 0, rising; fewer in a short sequence, and none where no
      frame has 20 to go.

    Example:
      >>> tre_starts(np.full((120, 4), 5.0))[:5]
      [0, 5, 10, 15, 21]
    """
    allowed = np.asarray((to_otb(truth) > 0).all(axis=1))
    for span in _OMITTED.get(name or "", "").split():
        first, last = map(int, span.split("-"))
        allowed[first - 1 : last] = False
    frames = np.nonzero(allowed)[0]
    count = int((frames <= len(truth) - _MIN_FRAMES).sum())
    if not count:
        return []
    steps = np.arange(_NUM_SEGMENTS - 1) * (count / (_NUM_SEGMENTS - 1))  # from 0, below count
    picked = np.append(np.floor(steps + 1).astype(int) - 1, count - 1)
    return [int(frames[index]) for index in dict.fromkeys(picked.tolist())]
