"""Reads benchmarks of plain rectangle files: LaSOT, GOT-10k, UAV123 and NFS, as a table."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cdjax.benchmark._sequence import (
    Sequence,
    Target,
    find_targets,
    list_images,
    match_frames,
    natural_key,
    read_flags,
    read_rectangles,
    spread,
    subfolders,
)
from cdjax.benchmark._tables import Known, read_table
from cdjax.boxes import OTB_ORIGIN, from_corners, from_origin


class Layout(NamedTuple):
    """How a benchmark lays out a sequence.

    Attributes:
      truth: pattern of the ground-truth files in the sequence's folder (UAV123: the root).
      images: folder of the frames in there; {} stands for the file's stem.
      origin: number of the first pixel.
      absent: files whose flags say that there is no target.
      columns: which words of a row are the rectangle.
      corners: whether it is left, top, right, bottom, and may be annotated at eight times
        the rate of the frames.
    """

    truth: str
    images: str
    origin: int
    absent: tuple[str, ...] = ()
    columns: slice = slice(None)
    corners: bool = False


LAYOUTS = {
    "lasot": Layout(
        "groundtruth.txt", "img", OTB_ORIGIN, absent=("full_occlusion.txt", "out_of_view.txt")
    ),
    "got10k": Layout("groundtruth.txt", ".", OTB_ORIGIN, absent=("absence.label",)),
    "uav123": Layout("anno/UAV123/*.txt", ".", OTB_ORIGIN),
    # Annotated with VATIC, which counts from 0: "track left top right bottom frame ..."
    "nfs": Layout("30/*.txt", "30/{}", 0, columns=slice(1, 5), corners=True),
}
"""The layouts by dataset."""


def targets_in(folder: Path, *, dataset: str) -> list[Target]:
    """Lists the targets of one sequence folder; NFS names them by their files."""
    layout = LAYOUTS[dataset]
    return [
        Target(
            path.stem if layout.corners else folder.name,
            folder,
            path,
            partial(read_flat, layout=layout),
        )
        for path in sorted(folder.glob(layout.truth))
    ]


def read_flat(target: Target, *, layout: Layout, known: Known | None = None) -> Sequence:
    """Reads one target's rows and matches them with its frames."""
    rows = read_rectangles(target.truth, columns=layout.columns)
    images = list_images(target.folder / layout.images.format(target.truth.stem))
    if layout.corners:
        for rate in (rows, rows[::8]):
            if abs(len(rate) - len(images)) <= 1:  # 240 frames/s do not always divide by 8
                images, rows = images[: len(rate)], rate[: len(images)]
                break
        rows = from_corners(rows)
    boxes = from_origin(rows, layout.origin)
    for name in layout.absent:
        if len(boxes) > 1 and (path := target.truth.with_name(name)).is_file():
            boxes[read_flags(path, len(boxes))] = np.nan
    frames = match_frames(target, images, len(boxes), span=known and known.span)
    return Sequence(target.name, frames, spread(boxes, len(frames)))


def list_lasot(root: Path) -> list[Target]:
    """Lists the targets of a LaSOT folder: CLASS/CLASS-N/, or CLASS-N/ at once.

    Fully occluded and out-of-view targets count as absent.

    Args:
      root: the folder.

    Returns:
      The targets.

    Raises:
      InputError: if there is none.
    """
    wanted = "CLASS/CLASS-N/ with img/ and groundtruth.txt"
    own = partial(targets_in, dataset="lasot")
    in_class = lambda folder: own(folder) or [t for sub in subfolders(folder) for t in own(sub)]
    return find_targets(root, in_class, wanted)


def list_got10k(root: Path) -> list[Target]:
    """Lists the targets of a GOT-10k split: SEQUENCE/ with frames and groundtruth.txt.

    Args:
      root: the split's folder, whose list.txt, if any, says which sequences there are.

    Returns:
      The targets.

    Raises:
      InputError: if there is none, or naming those listed but not there.
    """
    wanted = "folders with frames and groundtruth.txt; give one of train/, val/ and test/"
    return find_targets(root, partial(targets_in, dataset="got10k"), wanted, listed=True)


def list_uav123(root: Path) -> list[Target]:
    """Lists the targets of a UAV123 folder: anno/UAV123/NAME.txt, data_seq/UAV123/.

    Args:
      root: the folder that holds anno/ and data_seq/.

    Returns:
      The targets there are; `missing_targets` names the others.

    Raises:
      InputError: if there is none.
    """
    return find_targets(
        root, _uav123_targets_in, "anno/UAV123/NAME.txt and data_seq/UAV123/FOLDER/"
    )


def _uav123_targets_in(root: Path) -> list[Target]:
    """Lists a target an annotation file, in the frames that the table says."""
    table, targets = read_table("uav123"), []
    for path in sorted(root.glob(LAYOUTS["uav123"].truth), key=natural_key):
        known = table.get(path.stem)
        folder = root / "data_seq" / "UAV123" / (known.folder if known else path.stem)
        reader = partial(read_flat, layout=LAYOUTS["uav123"], known=known)
        targets.append(Target(path.stem, folder, path, reader))
    return targets


def list_nfs(root: Path) -> list[Target]:
    """Lists the targets of NFS at 30 frames/s: SEQUENCE/30/NAME.txt and 30/NAME/.

    Args:
      root: the folder.

    Returns:
      The targets; of annotations at 240 frames/s every eighth row counts, and where there
      is a row more than frames, or a frame more than rows, the last one is left out.

    Raises:
      InputError: if there is none.
    """
    wanted = "SEQUENCE/30/NAME.txt and SEQUENCE/30/NAME/ with frames"
    return find_targets(root, partial(targets_in, dataset="nfs"), wanted)
