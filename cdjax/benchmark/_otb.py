"""Reads OTB folders: img/ and groundtruth_rect.txt, with their odd starts and names."""

import re
from pathlib import Path

import numpy as np

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
from cdjax.boxes import from_otb

# Annotated frames of the folders that hold more frames than rows, by the numbers in the
# file names (benchmark's configSeqs; Tiger1 as in the file of 349 rows).
FRAME_SPANS = {
    "BlurCar1": (247, 988),
    "BlurCar3": (3, 359),
    "BlurCar4": (18, 397),
    "David": (300, 770),
    "Diving": (1, 215),
    "Football1": (1, 74),
    "Freeman3": (1, 460),
    "Freeman4": (1, 283),
    "Tiger1": (6, 354),
}


def otb_targets_in(folder: Path) -> list[Target]:
    """Lists the targets of one sequence folder; none if it is not an OTB folder.

    Ground truth in groundtruth_rect.1.txt, .2.txt, ... makes a target each, named
    Jogging-1, Jogging-2; an empty one makes none, which leaves Human4-2.
    """
    numbered = sorted(
        (int(match.group(1)), path)
        for path in folder.glob("groundtruth_rect.*.txt")
        if (match := re.fullmatch(r"groundtruth_rect\.([0-9]+)\.txt", path.name))
        and path.stat().st_size
    )
    targets = [
        Target(f"{folder.name}-{number}", folder, path, read_otb) for number, path in numbered
    ]
    plain = folder / "groundtruth_rect.txt"
    if not targets and plain.is_file():
        targets = [Target(folder.name, folder, plain, read_otb)]
    return targets


def read_otb(target: Target) -> Sequence:
    """Reads one target's rows and matches them with its frames."""
    rows = read_rows(target.truth)
    for index, row in enumerate(rows, start=1):
        if len(row) not in (0, 4):
            raise InputError(f"{target.truth}:{index}: {len(row)} numbers instead of x,y,w,h")
    boxes = from_otb(np.array([row or [np.nan] * 4 for row in rows], np.float64))
    images = target.folder / "img"
    frames = match_frames(
        target,
        list_images(images if images.is_dir() else target.folder),
        len(rows),
        span=FRAME_SPANS.get(target.folder.name),
    )
    return Sequence(target.name, frames, spread(boxes, len(frames)))


def list_otb(root: Path) -> list[Target]:
    """Lists the targets of an OTB folder (of sequence folders, or one of them).

    Args:
      root: the folder.

    Returns:
      The targets; two for a folder such as Jogging.

    Raises:
      InputError: if there is none.
    """
    return find_targets(root, otb_targets_in, "folders with img/ and groundtruth_rect.txt")


def load_otb(root: Path) -> list[Sequence]:
    """Reads every target of an OTB folder.

    Args:
      root: the folder.

    Returns:
      The sequences, boxes from 0.

    Raises:
      InputError: naming the first folder that is incomplete.
    """
    return [target.read() for target in list_otb(root)]
