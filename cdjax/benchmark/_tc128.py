"""Reads Temple Color 128 folders: img/, NAME_gt.txt and NAME_frames.txt."""

from pathlib import Path

from cdjax._errors import InputError
from cdjax.benchmark._sequence import (
    Sequence,
    Target,
    canonical_name,
    find_targets,
    list_images,
    match_frames,
    read_rectangles,
    read_rows,
    spread,
)
from cdjax.benchmark._tables import ATTRIBUTES, read_table
from cdjax.boxes import OTB_ORIGIN, from_origin

_TRUTH = "_gt.txt"


def tc128_targets_in(folder: Path) -> list[Target]:
    """Lists the targets of one sequence folder, one a file NAME_gt.txt."""
    table = read_table("tc128")
    names = {path: path.name.removesuffix(_TRUTH) for path in sorted(folder.glob("*" + _TRUTH))}
    return [
        Target(canonical_name(name, table) or name, folder, path, read_tc128)
        for path, name in names.items()
    ]


def read_tc128(target: Target) -> Sequence:
    """Reads one target's rows and matches them with its frames."""
    boxes = from_origin(read_rectangles(target.truth), OTB_ORIGIN)
    stem = target.truth.name.removesuffix(_TRUTH)
    span = None
    if (path := target.truth.with_name(f"{stem}_frames.txt")).is_file():
        numbers = [number for row in read_rows(path) for number in row]
        if len(numbers) != 2 or not all(number.is_integer() for number in numbers):
            raise InputError(f"{path}: not the two numbers first,last frame; restore the file")
        span = (int(numbers[0]), int(numbers[1]))
    frames = match_frames(target, list_images(target.folder / "img"), len(boxes), span=span)
    known = read_table("tc128").get(target.name)
    tags = known.tags if known else ()
    path = target.truth.with_name(f"{stem}_att.txt")
    if not tags and path.is_file():  # the table has none for two of the targets
        words = path.read_text(errors="replace").upper().replace(",", " ").split()
        tags = tuple(word for word in words if word in ATTRIBUTES)
    return Sequence(target.name, frames, spread(boxes, len(frames)), tags)


def list_tc128(root: Path) -> list[Target]:
    """Lists the targets of a TC128 folder (of sequence folders, or one of them).

    Args:
      root: the folder.

    Returns:
      The targets there are; `missing_targets` names the others.

    Raises:
      InputError: if there is none.
    """
    return find_targets(root, tc128_targets_in, "folders with img/ and NAME_gt.txt")
