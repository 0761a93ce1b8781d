"""Reads folders of either layout, and plain folders of images."""

from pathlib import Path

from cdjax._errors import InputError
from cdjax.benchmark._otb import otb_targets_in
from cdjax.benchmark._sequence import Target, find_targets, list_images, with_gaps
from cdjax.benchmark._vot import vot_targets_in


def targets_in(folder: Path) -> list[Target]:
    """Lists the targets of one sequence folder in the layout that its files show.

    groundtruth_rect.txt is OTB's (pixels from 1), groundtruth.txt VOT's (from 0).
    """
    return otb_targets_in(folder) or vot_targets_in(folder)


def list_folder(root: Path) -> list[Target]:
    """Lists the targets of a folder of sequences, each in OTB's or VOT's layout.

    Args:
      root: the folder.

    Returns:
      The targets.

    Raises:
      InputError: if there is none.
    """
    return find_targets(
        root,
        targets_in,
        "folders with frames and groundtruth_rect.txt (pixels from 1) or groundtruth.txt (from 0)",
    )


def list_frames(folder: Path) -> tuple[Path, ...]:
    """Lists the images of a folder, or of its img/ or color/, in natural order.

    Args:
      folder: a folder of numbered images.

    Returns:
      The paths, with the first missing one of each gap, so that reading stops there.

    Raises:
      InputError: if there are no images.
    """
    for place in (folder, folder / "img", folder / "color"):
        if place.is_dir() and (frames := list_images(place)):
            return with_gaps(frames)
    raise InputError(f"{folder}: no images in this folder; give a folder of .jpg or .png frames")
