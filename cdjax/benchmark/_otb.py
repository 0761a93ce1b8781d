"""Reads OTB folders: img/ and groundtruth_rect.txt, with their odd starts and names."""

import re
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
    spread,
)
from cdjax.benchmark._tables import read_subset, read_table
from cdjax.boxes import OTB_ORIGIN, from_origin

VERSIONS = {"2013": "otb2013", "50": "otb50", "100": "otb100"}
"""The benchmark's subsets: CVPR-13 (51 targets), TB-50 and all 100 (also called 2015)."""


def otb_targets_in(folder: Path) -> list[Target]:
    """Lists the targets of one sequence folder; none if it is not an OTB folder.

    Ground truth in groundtruth_rect.1.txt, .2.txt, ... makes a target each, named
    Jogging-1, Jogging-2; an empty one makes none, which leaves Human4-2. A folder named
    as elsewhere (carDark, jogging) gives targets named as in the benchmark.
    """
    numbered = sorted(
        (int(match.group(1)), path)
        for path in folder.glob("groundtruth_rect.*.txt")
        if (match := re.fullmatch(r"groundtruth_rect\.([0-9]+)\.txt", path.name))
        and path.read_bytes().strip()
    )
    table = read_table("otb100")
    if numbered:
        folders = {known.folder for known in table.values()}
        base = canonical_name(folder.name, folders) or folder.name
        return [Target(f"{base}-{number}", folder, path, read_otb) for number, path in numbered]
    plain = folder / "groundtruth_rect.txt"
    if not plain.is_file():
        return []
    return [Target(canonical_name(folder.name, table) or folder.name, folder, plain, read_otb)]


def read_otb(target: Target) -> Sequence:
    """Reads one target's rows and matches them with its frames."""
    boxes = from_origin(read_rectangles(target.truth), OTB_ORIGIN)
    images = target.folder / "img"
    known = read_table("otb100").get(target.name)
    frames = match_frames(
        target,
        list_images(images if images.is_dir() else target.folder),
        len(boxes),
        span=known and known.span,
    )
    tags = known.tags if known else ()
    return Sequence(target.name, frames, spread(boxes, len(frames)), tags)


def list_otb(root: Path, *, version: str | None = None) -> list[Target]:
    """Lists the targets of an OTB folder (of sequence folders, or one of them).

    Args:
      root: the folder.
      version: "2013" (CVPR-13), "50" (TB-50) or "100" for the targets of that benchmark,
        in its order, as far as they are there (`missing_targets` names the others); None
        for all there are.

    Returns:
      The targets; two for a folder such as Jogging.

    Raises:
      InputError: if there is none, or no such version.
    """
    targets = find_targets(root, otb_targets_in, "folders with img/ and groundtruth_rect.txt")
    if version is None:
        return targets
    if version not in VERSIONS:
        raise InputError(f"no OTB version {version!r}; there are: {', '.join(VERSIONS)}")
    by_name = {target.name: target for target in targets}
    table = read_subset(VERSIONS[version])
    found = [by_name[name] for name in table if name in by_name]
    if not found:
        raise InputError(
            f"{root}: none of the {len(table)} targets of {VERSIONS[version]}; give the "
            "folder that holds Basketball, Bolt and so on, or take the dataset otb"
        )
    return found


def load_otb(root: Path, *, version: str | None = None) -> list[Sequence]:
    """Reads every target of an OTB folder.

    Args:
      root: the folder.
      version: as for `list_otb`.

    Returns:
      The sequences, boxes from 0.

    Raises:
      InputError: naming the first folder that is incomplete.
    """
    return [target.read() for target in list_otb(root, version=version)]
