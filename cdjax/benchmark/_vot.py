"""Reads VOT folders: frames (in color/, or beside it) and groundtruth.txt.

Pixels count from 0, as in the VOT toolkit's region masks.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from cdjax._errors import InputError
from cdjax.benchmark._sequence import (
    Sequence,
    Target,
    find_targets,
    list_images,
    match_frames,
    read_flags,
    read_rows,
)
from cdjax.boxes import Boxes, polygon_bounds

ToBox = Callable[[Float[np.ndarray, "n p"]], Boxes]
"""Turns polygons into boxes: `boxes.polygon_bounds` or `boxes.polygon_area_box`."""

TAGS = ("camera_motion", "illum_change", "motion_change", "occlusion", "size_change")
"""VOT's attributes, in files NAME.tag (NAME.label before 2016)."""


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
    regions = []
    for index, row in enumerate(read_rows(target.truth), start=1):
        if len(row) < 2:  # an empty line, or a number that marks a special frame: no target
            row = [np.nan] * 4
        elif len(row) != 4 and (len(row) < 6 or len(row) % 2):
            raise InputError(
                f"{target.truth}:{index}: {len(row)} numbers instead of x,y,w,h or "
                "the corners of a polygon"
            )
        regions.append(np.array(row))
    color = target.folder / "color"
    frames = match_frames(
        target, list_images(color if color.is_dir() else target.folder), len(regions)
    )
    regions += [np.full(4, np.nan)] * (len(frames) - len(regions))
    flags = {
        path.stem: read_flags(path, len(frames), padded=True)
        for path in sorted(target.folder.iterdir())
        if path.suffix == ".tag" or (path.suffix == ".label" and path.stem in TAGS)
    }
    return make_sequence(target.name, regions, flags, to_box=to_box)._replace(frame_paths=frames)


def make_sequence(
    name: str,
    regions: list[np.ndarray],
    flags: dict[str, Bool[np.ndarray, " t"]],
    *,
    to_box: ToBox = polygon_bounds,
) -> Sequence:
    """Makes a sequence without frames of its regions and flags; its tags are those set."""
    boxes = np.full((len(regions), 4), np.nan)
    sizes = np.array([len(region) for region in regions])
    for size in np.unique(sizes):
        of_size = np.stack([regions[index] for index in np.flatnonzero(sizes == size)])
        boxes[sizes == size] = of_size if size == 4 else to_box(of_size)
    tags = tuple(sorted(tag for tag, where in flags.items() if where.any()))
    return Sequence(name, (), boxes, tags, tuple(regions), flags)


def list_vot(root: Path, *, to_box: ToBox = polygon_bounds) -> list[Target]:
    """Lists the targets of a VOT folder (of sequence folders, or one of them).

    Args:
      root: the folder; its list.txt, if any, says which sequences there are, and the
        order.
      to_box: what turns a polygon into a box; by default its bounding rectangle, which
        the VOT toolkit hands to trackers that ask for rectangles.

    Returns:
      The targets.

    Raises:
      InputError: if there is none, or naming those listed but not there.
    """
    return find_targets(
        root,
        partial(vot_targets_in, to_box=to_box),
        "folders with groundtruth.txt and frames (or color/)",
        listed=True,
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
