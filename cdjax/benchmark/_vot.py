"""Reads VOT folders: frames (in color/, or beside it) and groundtruth.txt.

Pixels count from 0, as in the VOT toolkit's region masks.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float

from cdjax._errors import InputError
from cdjax.benchmark._sequence import (
    Sequence,
    Target,
    find_targets,
    list_images,
    match_frames,
    read_rows,
    spread,
)
from cdjax.boxes import Boxes, polygon_bounds

ToBox = Callable[[Float[np.ndarray, "n p"]], Boxes]
"""Turns polygons into boxes: `boxes.polygon_bounds` or `boxes.polygon_area_box`."""


def vot_targets_in(folder: Path, *, to_box: ToBox = polygon_bounds) -> list[Target]:
    """Lists the one target of a sequence folder; none if it is not a VOT folder."""
    truth = folder / "groundtruth.txt"
    if not truth.is_file():
        return []
    return [Target(folder.name, folder, truth, partial(read_vot, to_box=to_box))]


def read_vot(target: Target, *, to_box: ToBox = polygon_bounds) -> Sequence:
    """Reads one target: rectangles as they are, polygons through `to_box`."""
    if target.truth.read_bytes()[:1] == b"m":
        raise InputError(
            f"{target.truth}: masks are not supported; use a VOT year with rectangles "
            "or polygons (2013 to 2019)"
        )
    rows = read_rows(target.truth)
    boxes = np.full((len(rows), 4), np.nan)
    for index, row in enumerate(rows):
        if len(row) == 4:
            boxes[index] = row
        elif len(row) >= 6 and len(row) % 2 == 0:
            boxes[index] = to_box(np.array([row], np.float64))[0]
        elif len(row) > 1:  # a single number marks a special frame: no box
            raise InputError(
                f"{target.truth}:{index + 1}: {len(row)} numbers instead of x,y,w,h or "
                "the corners of a polygon"
            )
    color = target.folder / "color"
    frames = match_frames(
        target, list_images(color if color.is_dir() else target.folder), len(rows)
    )
    tags = sorted(p.stem for p in target.folder.glob("*.tag") if b"1" in p.read_bytes())
    return Sequence(target.name, frames, spread(boxes, len(frames)), tuple(tags))


def list_vot(root: Path, *, to_box: ToBox = polygon_bounds) -> list[Target]:
    """Lists the targets of a VOT folder (of sequence folders, or one of them).

    Args:
      root: the folder.
      to_box: what turns a polygon into a box; by default its bounding rectangle, which
        the VOT toolkit hands to trackers that ask for rectangles.

    Returns:
      The targets.

    Raises:
      InputError: if there is none.
    """
    return find_targets(
        root,
        partial(vot_targets_in, to_box=to_box),
        "folders with groundtruth.txt and frames (or color/)",
    )


def load_vot(root: Path, *, to_box: ToBox = polygon_bounds) -> list[Sequence]:
    """Reads every target of a VOT folder.

    Args:
      root: the folder.
      to_box: as for `list_vot`.

    Returns:
      The sequences.

    Raises:
      InputError: naming the first folder that is incomplete.
    """
    return [target.read() for target in list_vot(root, to_box=to_box)]
