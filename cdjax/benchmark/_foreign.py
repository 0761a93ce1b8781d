"""Reads result files of any toolkit: folders of text files, or one .npz."""

import glob
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from cdjax._errors import InputError
from cdjax.benchmark._sequence import Sequence, canonical_name
from cdjax.boxes import Boxes, from_otb

_SUFFIXES = (".txt", ".csv")


def read_results(path: Path, sequences: Iterable[Sequence], *, origin: int = 1) -> dict[str, Boxes]:
    """Reads a tracker's boxes, a file or array a sequence.

    Text files hold a row x,y,w,h a frame, apart by commas, tabs, blanks or semicolons,
    mixed or not, and are named after the sequence: so do OTB's, got10k's (whose times/ is
    not read), pytracking's and PySOT's. An empty line is a result that is no box. A .npz
    has an array [frames, 4] a sequence.

    Args:
      path: the folder or the .npz.
      sequences: of the dataset; other toolkits' names for them are understood (Jogging.1,
        Jogging_1, jogging1).
      origin: what the first pixel of a row counts as: 1, as in all these toolkits, or 0.

    Returns:
      Boxes from 0 by the sequence's name here, as many as there are in the file (there may
      be none). Results of unknown sequences come last, under their own names and without
      boxes: they are not read.

    Raises:
      InputError: naming the file, the line and what is wrong; or if there is no result of
        any of the sequences.
    """
    path, known = Path(path), [sequence.name for sequence in sequences]
    if origin not in (0, 1):
        raise InputError(f"origin {origin}: pixels count from 0 or from 1")
    if path.is_dir():
        found = [(f.stem, f.name, partial(_read_text, f)) for f in _text_files(path)]
    elif path.suffix.lower() == ".npz" and path.is_file():
        arrays = _load_npz(path)
        found = [(name, name, partial(_check, a, f"{path}:{name}")) for name, a in arrays.items()]
    else:
        raise InputError(f"{path}: no such folder or .npz of results; check the path")
    boxes, sources, unknown = {}, {}, []
    for text, source, read in found:
        name = canonical_name(text, known)
        if name is None:
            unknown.append(text)
        elif name in sources:
            raise InputError(f"{path}: {sources[name]} and {source} are both {name}; remove one")
        else:
            rows, sources[name] = read(), source
            boxes[name] = from_otb(rows) if origin == 1 else rows
    if not boxes:
        raise InputError(_nothing_known(path, unknown, known))
    return boxes | {name: np.empty((0, 4)) for name in unknown}


def _text_files(folder: Path) -> list[Path]:
    """Lists the result files of a folder; not the times that lie beside them."""
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in _SUFFIXES
        and file.is_file()
        and not file.stem.lower().endswith(("_time", "_times"))
    )


def _read_text(path: Path) -> Float[np.ndarray, "n 4"]:
    """Reads the rows of a text file; none if it is empty."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: result cannot be read ({error}); restore it") from error
    lines = text.replace(",", " ").replace(";", " ").rstrip().splitlines()
    rows = [line.split() or ["nan"] * 4 for line in lines]
    for index, row in enumerate(rows, start=1):
        if len(row) != 4:
            hint = "; is it a VOT result?" if len(row) == 1 else ""
            raise InputError(f"{path}:{index}: {len(row)} numbers instead of x,y,w,h{hint}")
    try:
        return np.array(rows, np.float64).reshape(-1, 4)
    except ValueError:
        line = next(i for i, row in enumerate(rows) if not all(map(_is_number, row)))
        shown = text.splitlines()[line].strip()[:40]
        raise InputError(f"{path}:{line + 1}: {shown!r} is not a row of numbers") from None


def _is_number(word: str) -> bool:
    """Says whether NumPy would read a word."""
    try:
        np.array([word], np.float64)
    except ValueError:
        return False
    return True


def _load_npz(path: Path) -> dict[str, np.ndarray]:
    """Loads all arrays of a .npz."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # zlib's, zipfile's, and whatever a header's words make of Python
        words = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{path}: is not a whole .npz ({words}); restore it") from error


def _check(array: np.ndarray, where: str) -> Float[np.ndarray, "n 4"]:
    """Returns the array as boxes, or raises InputError."""
    if array.ndim != 2 or array.shape[1] != 4 or array.dtype.kind not in "fiu":
        raise InputError(
            f"{where}: an array {list(array.shape)} of {array.dtype} instead of [frames, 4] numbers"
        )
    return array.astype(np.float64)


def _nothing_known(path: Path, unknown: list[str], known: list[str]) -> str:
    """Words the error about results of which none can be used."""
    if path.is_dir():
        inside = [
            folder.name
            for folder in sorted(path.iterdir())
            if folder.is_dir() and any(canonical_name(f.stem, known) for f in _text_files(folder))
        ]
        if inside:
            return f"{path}: no results here; give one of its folders: {_few(inside)}"
    if not unknown:
        return f"{path}: no results (.txt files named after the sequences); check the path"
    return (
        f"{path}: none of its {len(unknown)} results ({_few(unknown)}) is of one of the "
        f"{len(known)} sequences ({_few(known)}); check the dataset"
    )


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def read_vot_results(path: Path, sequences: Iterable[Sequence]) -> dict[str, list[Any]]:
    """Reads a tracker's results in VOT's layout, a folder a sequence.

    Args:
      path: the folder that holds `<sequence>/<sequence>_001.txt` and further repetitions;
        or the one above, if that folder is its baseline/.
      sequences: of the year.

    Returns:
      The repetitions of each sequence, rows as `parse_rows` gives them, none for an empty
      file. Results of unknown sequences keep their own names.

    Raises:
      InputError: naming the file and the line that is none, or if there is no result of
        any of the sequences.
    """
    from cdjax.benchmark._vot_supervised import read_vot_rows

    path, known = Path(path), [sequence.name for sequence in sequences]
    if not path.is_dir():
        raise InputError(f"{path}: no such folder of results; check the path")
    if (path / "baseline").is_dir():
        path = path / "baseline"
    runs: dict[str, list[Any]] = {}
    for folder in sorted(folder for folder in path.iterdir() if folder.is_dir()):
        if files := sorted(folder.glob(f"{glob.escape(folder.name)}_[0-9][0-9][0-9].txt")):
            name = canonical_name(folder.name, known) or folder.name
            if name in runs:
                raise InputError(f"{path}: two folders are {name}; remove one")
            runs[name] = [read_vot_rows(f) if f.read_bytes().strip() else [] for f in files]
    if not set(runs) & set(known):
        if not runs:
            raise InputError(f"{path}: no results (<sequence>/<sequence>_001.txt); check the path")
        raise InputError(_nothing_known(path, list(runs), known))
    return runs
