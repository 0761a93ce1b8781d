"""What a sequence is, and how its frames are matched with ground truth; no pixels."""

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterable
from collections.abc import Sequence as AnySequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from cdjax._errors import InputError
from cdjax.boxes import Boxes

IMAGE_SUFFIXES = frozenset(
    (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)


class Sequence(NamedTuple):
    """A target in a run of frames; the frames are read when they are needed.

    Attributes:
      name: as the benchmark calls it.
      frame_paths: the frames in order. A frame that should exist but does not is listed
        too, so that reading stops there and names it.
      boxes: a row a frame, corner index from 0, NaN where there is no target
      tags: attributes.
    """

    name: str
    frame_paths: tuple[Path, ...]
    boxes: Boxes
    tags: tuple[str, ...] = ()


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
    """Lists the images of a folder in natural order."""
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


def with_gaps(frames: AnySequence[Path]) -> tuple[Path, ...]:
    """Inserts the first missing frame of each gap in the numbering.

    The step of the numbering is its commonest difference, where that accounts for at
    least half of all; otherwise the numbers are time stamps and a gap means nothing.
    """
    numbers = [frame_number(path) for path in frames]
    steps = [b - a for a, b in pairwise(numbers) if a is not None and b is not None]
    if len(steps) < 2 or len(steps) + 1 < len(frames):
        return tuple(frames)
    step, count = Counter(steps).most_common(1)[0]
    if step < 1 or 2 * count < len(steps):
        return tuple(frames)
    filled = [frames[0]]
    for path, gap in zip(frames[1:], steps, strict=True):
        if gap > step:
            number = frame_number(filled[-1])
            assert number is not None
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
      span: numbers of the first and last annotated frame, used only where there are
        more frames than rows.

    Returns:
      The frames, a row each, missing ones included.

    Raises:
      InputError: if frames and rows cannot be matched.
    """
    if not frames:
        raise InputError(f"{target.folder}: no images; put the sequence's frames there")
    if num_rows == 1:
        return with_gaps(frames)
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
    if available == num_rows or (available < num_rows and first in starts):
        start = first
    elif (
        span is not None
        and first <= span[0]
        and num_rows <= span[1] - span[0] + 1
        and available > num_rows
    ):
        start = span[0]
    elif len(frames) == num_rows:
        return tuple(frames)
    else:
        raise problem
    return tuple(
        by_number.get(number) or sibling(frames[0], number)
        for number in range(start, start + num_rows)
    )


def read_rows(path: Path) -> list[list[float]]:
    """Reads rows of numbers apart by commas, tabs, blanks or semicolons, mixed or not.

    Args:
      path: a text file. An empty line stands for an absent target, unless it is the
        last.

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
            rows.append([float(word) for word in re.split(r"[,;\s]+", line) if word])
        except ValueError as error:
            raise InputError(
                f"{path}:{index}: {line.strip()[:40]!r} is not a row of numbers"
            ) from error
    if not rows:
        raise InputError(f"{path}: ground truth is empty; restore the file")
    return rows


def spread(boxes: Boxes, num_frames: int) -> Float[np.ndarray, "t 4"]:
    """Pads boxes with NaN rows for the frames without annotation."""
    missing = np.full((num_frames - len(boxes), 4), np.nan)
    return np.concatenate([boxes, missing])


def check_root(root: Path) -> Path:
    """Returns the folder, or raises InputError if there is none."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the folder that holds sequences")
    return root


def find_targets(
    root: Path, targets_in: Callable[[Path], list[Target]], wanted: str
) -> list[Target]:
    """Lists the targets of a folder of sequences, or of a sequence's own folder.

    Args:
      root: the folder.
      targets_in: lists the targets of one sequence folder.
      wanted: what a sequence folder looks like, for the error.

    Returns:
      At least one target, in natural order.

    Raises:
      InputError: if there is none.
    """
    check_root(root)
    found = targets_in(root)
    if not found:
        folders = sorted((p for p in root.iterdir() if p.is_dir()), key=natural_key)
        found = [target for folder in folders for target in targets_in(folder)]
    if not found:
        raise InputError(f"{root}: no sequences found; expected {wanted}")
    return found


def select_targets(targets: list[Target], names: Iterable[str]) -> list[Target]:
    """Picks targets by name.

    Args:
      targets: what there is.
      names: names, in which case and punctuation do not matter (Jogging.1, jogging_1),
        or folders, which stand for all their targets (Jogging).

    Returns:
      The targets, in the order asked for, each once.

    Raises:
      InputError: naming the unknown name and the nearest that exist.
    """

    def plain(name: str) -> str:
        return re.sub(r"[^a-z0-9]", "", name.lower())

    picked: dict[str, Target] = {}
    for name in names:
        found = [t for t in targets if plain(t.name) == plain(name)]
        found = found or [t for t in targets if plain(t.folder.name) == plain(name)]
        if not found:
            raise InputError(unknown("sequence", name, [target.name for target in targets]))
        picked.update({target.name: target for target in found})
    return list(picked.values())


def unknown(kind: str, name: str, existing: AnySequence[str]) -> str:
    """Words an error about a name that does not exist."""
    lowered = {other.lower(): other for other in existing}
    near = difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.5)
    nearest = f"; did you mean {', '.join(lowered[n] for n in near)}?" if near else ""
    shown = ", ".join(existing[:20]) + (", ..." if len(existing) > 20 else "")
    return f"no {kind} {name!r}{nearest or ';'} there are: {shown}"
