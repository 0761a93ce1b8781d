"""What a sequence is, and how its frames are matched with ground truth; no pixels."""

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Sequence as AnySequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from cdjax._errors import InputError
from cdjax.boxes import Boxes

IMAGE_SUFFIXES = frozenset(
    (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)

ALIASES = {"human4": "Human4-2"}
"""Names of other toolkits that differ by more than case and punctuation, lower case."""


class Sequence(NamedTuple):
    """A target in a run of frames; the frames are read when they are needed.

    Attributes:
      name: as the benchmark calls it.
      frame_paths: the frames in order; none where only annotations are at hand. A frame
        that should exist but does not is listed too, so that reading stops there and
        names it.
      boxes: a row a frame, corner index from 0, NaN where there is no target.
      tags: attributes.
      regions: VOT: each frame's region, pixels from 0: a rectangle x,y,w,h or a polygon
        x1,y1,x2,y2,...; four NaN where there is no target. None elsewhere.
      frame_tags: VOT: for each attribute, in which frames it holds.
      hw: height and width of the frames, px, where the annotations say.
    """

    name: str
    frame_paths: tuple[Path, ...]
    boxes: Boxes
    tags: tuple[str, ...] = ()
    regions: tuple[np.ndarray, ...] | None = None
    frame_tags: Mapping[str, Bool[np.ndarray, " t"]] = {}
    hw: tuple[int, int] | None = None


def first_frames(sequence: Sequence, num_frames: int | None) -> Sequence:
    """Returns a sequence's first frames, with all that is said of them.

    Args:
      sequence: the sequence.
      num_frames: how many; all of them if None or if there are fewer.

    Returns:
      The shorter sequence.
    """
    span = slice(num_frames)
    return sequence._replace(
        frame_paths=sequence.frame_paths[span],
        boxes=sequence.boxes[span],
        regions=None if sequence.regions is None else sequence.regions[span],
        frame_tags={tag: where[span] for tag, where in sequence.frame_tags.items()},
    )


class Target(NamedTuple):
    """A sequence as found on disk, not yet read.

    Attributes:
      name: as the benchmark calls it.
      folder: the sequence's folder.
      truth: its ground-truth file.
      reader: what reads it.
    """

    name: str
    folder: Path
    truth: Path
    reader: Callable[["Target"], Sequence]

    def read(self) -> Sequence:
        """Reads annotations and lists frames; raises InputError where they disagree."""
        return self.reader(self)


def natural_key(path: Path) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which frame 10 follows frame 9."""
    return tuple(
        (0, int(part), "") if part.isdigit() else (1, 0, part.lower())
        for part in re.split(r"([0-9]+)", path.name)
        if part
    )


def list_images(folder: Path) -> list[Path]:
    """Lists the images of a folder in natural order; none if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(
        (
            path
            for path in folder.iterdir()
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
        ),
        key=natural_key,
    )


def frame_number(path: Path) -> int | None:
    """Returns the last number in a file's name, or None."""
    digits = re.findall(r"[0-9]+", path.stem)
    return int(digits[-1]) if digits else None


def sibling(path: Path, number: int) -> Path:
    """Returns the path that the frame of another number would have."""
    match = list(re.finditer(r"[0-9]+", path.stem))[-1]
    digits = f"{number:0{len(match.group())}d}"
    stem = path.stem[: match.start()] + digits + path.stem[match.end() :]
    return path.with_name(stem + path.suffix)


def check_numbers(frames: AnySequence[Path]) -> None:
    """Raises InputError for an image that would slip in among numbered frames.

    That is one without a number, or with the number of another that is named otherwise;
    names alike but for their digits may share the last number, as times of day do.
    """
    numbers = [frame_number(path) for path in frames]
    if len(set(numbers) - {None}) < 2:
        return  # they count nothing: any name will do
    held: dict[int, tuple[str, Path]] = {}
    for path, number in zip(frames, numbers, strict=True):
        if number is None:
            raise InputError(f"{path}: image without a number among numbered ones; move it away")
        words = re.sub(r"[0-9]+", "#", path.name.lower())
        others, other = held.setdefault(number, (words, path))
        if others != words:
            raise InputError(f"{path} and {other.name}: both frame {number}; move one away")


def with_gaps(frames: AnySequence[Path]) -> tuple[Path, ...]:
    """Inserts the first missing frame of each gap in the numbering.

    The step of the numbering is its smallest difference, where all others are multiples
    of it; otherwise the numbers are time stamps and a gap means nothing.

    Raises:
      InputError: as `check_numbers`.
    """
    check_numbers(frames)
    numbers = [number for path in frames if (number := frame_number(path)) is not None]
    steps = [b - a for a, b in pairwise(numbers)]
    step = min((s for s in steps if s > 0), default=0)
    if not step or any(s % step for s in steps):
        return tuple(frames)
    filled = [frames[0]]
    for path, number, gap in zip(frames[1:], numbers, steps, strict=False):
        if gap > step:
            filled.append(sibling(filled[-1], number + step))
        filled.append(path)
    return tuple(filled)


def match_frames(
    target: Target,
    frames: AnySequence[Path],
    num_rows: int,
    *,
    span: tuple[int, int] | None = None,
) -> tuple[Path, ...]:
    """Says which frame each ground-truth row belongs to.

    Frames are matched by the number in their name, so that a missing one shifts
    nothing.

    Args:
      target: named in errors.
      frames: the images, in natural order.
      num_rows: rows of the ground truth. One row is a start box: all frames belong.
      span: numbers of the first and last annotated frame, if known. It counts where
        there are as many rows, and not just as many frames.

    Returns:
      The frames, a row each, missing ones included.

    Raises:
      InputError: if frames and rows cannot be matched, or as `check_numbers`.
    """
    if not frames:
        raise InputError(
            f"{target.truth}: ground truth without frames: no images in {target.folder}; "
            "put the sequence's frames there"
        )
    if num_rows == 1:
        return with_gaps(frames)
    check_numbers(frames)
    by_number = {frame_number(path): path for path in frames}
    problem = InputError(
        f"{target.folder}: {len(frames)} frames ({frames[0].name} to "
        f"{frames[-1].name}) but {num_rows} rows in {target.truth.name}; complete the "
        "folder or mend the file"
    )
    if None in by_number or len(by_number) != len(frames):
        if len(frames) != num_rows:
            raise problem
        return tuple(frames)
    first, last = frame_number(frames[0]), frame_number(frames[-1])
    assert first is not None
    assert last is not None
    available = last - first + 1
    starts = {0, 1} | ({span[0]} if span else set())
    if available == num_rows:
        start = first
    elif (
        span is not None
        and num_rows == span[1] - span[0] + 1
        and first <= span[0]
        and (available > num_rows or span[0] > 1)
    ):
        start = span[0]
    elif available < num_rows and first in starts:
        start = first
    elif len(frames) == num_rows:
        return tuple(frames)
    else:
        raise problem
    return tuple(
        by_number.get(number) or sibling(frames[0], number)
        for number in range(start, start + num_rows)
    )


def read_rows(path: Path, *, columns: slice = slice(None)) -> list[list[float]]:
    """Reads rows of numbers apart by commas, tabs, blanks or semicolons, mixed or not.

    Args:
      path: a text file. An empty line stands for an absent target, unless it is the
        last.
      columns: which words of a row to read.

    Returns:
      The numbers of each row; an empty list for an empty line.

    Raises:
      InputError: naming the file and the line that cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: ground truth cannot be read ({error}); restore the file"
        ) from error
    rows = []
    for index, line in enumerate(lines, start=1):
        try:
            words = [word for word in re.split(r"[,;\s]+", line) if word]
            rows.append([float(word) for word in words[columns]])
        except ValueError as error:
            raise InputError(
                f"{path}:{index}: {line.strip()[:40]!r} is not a row of numbers"
            ) from error
    if not rows:
        raise InputError(f"{path}: ground truth is empty; restore the file")
    return rows


def read_rectangles(path: Path, *, columns: slice = slice(None)) -> Float[np.ndarray, "n 4"]:
    """Reads rows of four numbers as they are; an empty line becomes four NaN.

    Args:
      path: the file.
      columns: as for `read_rows`.

    Returns:
      A row a frame.

    Raises:
      InputError: naming the line that has more or fewer numbers.
    """
    rows = read_rows(path, columns=columns)
    for index, row in enumerate(rows, start=1):
        if len(row) not in (0, 4):
            raise InputError(f"{path}:{index}: {len(row)} numbers instead of x,y,w,h")
    return np.array([row or [np.nan] * 4 for row in rows], np.float64)


def read_flags(path: Path, num_frames: int, *, padded: bool = False) -> Bool[np.ndarray, " t"]:
    """Reads a 0 or 1 (or a grade) for each frame, a line each or all in one.

    Args:
      path: the file.
      num_frames: frames of the sequence.
      padded: whether the file may be shorter, even empty: the rest is 0. Then numbers
        beyond the last frame are left out, as of a sequence cut short.

    Returns:
      Where the number is not 0.

    Raises:
      InputError: naming the file that cannot be read or has another length.
    """
    if padded and not path.read_bytes().strip():
        return np.zeros(num_frames, bool)
    flags = np.array([number for row in read_rows(path) for number in row]) != 0
    if padded:
        return np.concatenate([flags, np.zeros(num_frames, bool)])[:num_frames]
    if len(flags) != num_frames:
        raise InputError(
            f"{path}: {len(flags)} flags for {num_frames} rows of ground truth; restore the file"
        )
    return flags


def spread(boxes: Boxes, num_frames: int) -> Float[np.ndarray, "t 4"]:
    """Pads boxes with NaN rows for the frames without annotation."""
    missing = np.full((num_frames - len(boxes), 4), np.nan)
    return np.concatenate([boxes, missing])


def check_root(root: Path) -> Path:
    """Returns the folder, absolute, or raises InputError if there is none."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the folder that holds sequences")
    return Path(os.path.abspath(root))  # "." and ".." have no name of their own


def subfolders(root: Path) -> list[Path]:
    """Lists the folders in a folder in natural order, hidden ones left out."""
    folders = (p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    return sorted(folders, key=natural_key)


def read_list(root: Path) -> list[str]:
    """Reads the names in a dataset's list.txt; none if there is no such file."""
    path = root / "list.txt"
    if not path.is_file():
        return []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); restore the file") from error
    return [line.strip() for line in lines if line.strip()]


def find_targets(
    root: Path,
    targets_in: Callable[[Path], list[Target]],
    wanted: str,
    *,
    listed: bool = False,
) -> list[Target]:
    """Lists the targets of a folder of sequences, or of a sequence's own folder.

    Args:
      root: the folder.
      targets_in: lists the targets of one sequence folder.
      wanted: what a sequence folder looks like, for the error.
      listed: whether a list.txt in the root says which folders count, and their order.

    Returns:
      At least one target; in natural order if there is no list.

    Raises:
      InputError: if there is none, if two have the same name, or if the list names
        sequences that are not there.
    """
    root = check_root(root)
    found = targets_in(root)
    if not found:
        names = read_list(root) if listed else []
        folders = [root / name for name in names] or subfolders(root)
        by_folder = {folder: targets_in(folder) for folder in folders}
        missing = [name for name in names if not by_folder[root / name]]
        if missing:
            raise InputError(
                f"{root / 'list.txt'} names {len(missing)} sequences that are not there: "
                f"{', '.join(missing)}; complete the folder or take them out of the list"
            )
        found = [target for targets in by_folder.values() for target in targets]
    if not found:
        raise InputError(f"{root}: no sequences found; expected {wanted}")
    by_name: dict[str, Target] = {}
    for target in found:
        other = by_name.setdefault(target.name, target)
        if other is not target:
            raise InputError(
                f"{target.truth} and {other.truth} are both {target.name}; take one away"
            )
    return found


def canonical_name(name: str, existing: Iterable[str]) -> str | None:
    """Finds a sequence under the name that another toolkit gives it.

    Known forms: Jogging.1 (got10k), Jogging_1 and uav_bike1 (pytracking), Jogging-1
    (pysot), Jogging1 (VOT toolkit), carDark (others), Human4 for its one target.

    Args:
      name: the name.
      existing: the names there are.

    Returns:
      The one that is meant; None if there is none, or more than one. The closest form
      counts: car1_1 is not car11 where both exist.

    Example:
      >>> canonical_name("skating2_1", ["Skating1", "Skating2-1", "Skating2-2"])
      'Skating2-1'
    """
    existing = list(existing)
    forms: list[Callable[[str], str]] = [
        str,
        lambda text: re.sub("[^a-z0-9]+", "-", text.lower()),
        lambda text: re.sub("[^a-z0-9]+", "", text.lower()),
    ]
    for form in forms:
        found = [other for other in existing if form(other) == form(name)]
        if found:
            return found[0] if len(found) == 1 else None
    if name.lower() in ALIASES:
        return canonical_name(ALIASES[name.lower()], existing)
    if prefix := re.match("(uav|nfs)_", name):
        return canonical_name(name[prefix.end() :], existing)
    return None


def select_targets(targets: list[Target], names: Iterable[str]) -> list[Target]:
    """Picks targets by name.

    Args:
      targets: what there is.
      names: names, also as other toolkits write them (see `canonical_name`), or folders,
        which stand for all their targets (Jogging).

    Returns:
      The targets, in the order asked for, each once.

    Raises:
      InputError: naming the unknown name and the nearest that exist.
    """
    by_name = {target.name: target for target in targets}
    by_folder: dict[str, list[Target]] = {}
    for target in targets:
        by_folder.setdefault(target.folder.name, []).append(target)
    picked: dict[str, Target] = {}
    for name in names:
        if (known := canonical_name(name, by_name)) is not None:
            found = [by_name[known]]
        elif (folder := canonical_name(name, by_folder)) is not None:
            found = by_folder[folder]
        else:
            raise InputError(unknown("sequence", name, list(by_name)))
        picked.update({target.name: target for target in found})
    return list(picked.values())


def unknown(kind: str, name: str, existing: AnySequence[str]) -> str:
    """Words an error about a name that does not exist."""
    lowered = {other.lower(): other for other in existing}
    near = difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.5)
    nearest = f"; did you mean {', '.join(lowered[n] for n in near)}?" if near else ""
    shown = ", ".join(existing[:20]) + (", ..." if len(existing) > 20 else "")
    return f"no {kind} {name!r}{nearest or ';'} there are: {shown}"
