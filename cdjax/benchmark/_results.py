"""Writes results as they come: boxes as OTB's text, figures as JSON; no scoring.

Files are written beside their place with the suffix .part and renamed when complete,
unless the reader is meant to follow along.
"""

import json
import math
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from jaxtyping import Float

from cdjax._errors import InputError
from cdjax.benchmark._sequence import read_rows
from cdjax.boxes import Boxes, from_otb, to_otb


def renamed_onto(path: Path) -> Path:
    """Returns the file that a finished result is renamed onto: the target of a link.

    Args:
      path: the file as given.

    Raises:
      InputError: for a device, pipe or folder, which the rename would destroy.
    """
    with named_errors(path):
        path = Path(os.path.realpath(path))  # resolve() raises for a link onto itself
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: is not a regular file; give the name of a file")
    return path


def check_writable(path: Path, *, renamed: bool = False) -> None:
    """Raises InputError unless a file can be written there; leaves no trace.

    Args:
      path: the file; its folder must exist. Devices pass; a named pipe would wait for a
        reader.
      renamed: the file is made beside its place and renamed onto it.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise InputError(f"{path}: folder {path.parent} does not exist; make it first")
    place = Path(os.path.realpath(path))  # a link stays, also one that leads nowhere
    if renamed:
        check_writable(part_of(renamed_onto(path)))
        if not os.path.lexists(path):
            return  # not made, even for a moment: killed then, we would leave an empty result
    elif place.is_fifo():
        raise InputError(f"{path}: is a pipe; give the name of a file")
    existed = path.exists()
    with named_errors(path), path.open("ab"):
        pass
    if not existed:
        place.unlink(missing_ok=True)  # another process may be checking too


def make_folder(path: Path) -> Path:
    """Returns the folder, made if need be, after checking that it can be written to.

    Args:
      path: the folder.

    Raises:
      InputError: if it cannot be made or written to.
    """
    with named_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    check_writable(path / ".cdjax-check")
    return path


class WriteError(InputError):
    """A file that cannot be written: a full or read-only disk, which no other input mends."""


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Turns an OSError into a WriteError that names the file."""
    try:
        yield
    except OSError as error:
        raise WriteError(
            f"{path}: cannot be written ({error.strerror or error}); choose another place"
        ) from error


def part_of(path: Path) -> Path:
    """Returns where a file lies until it is complete."""
    return path.with_name(path.name + ".part")


class BoxWriter:
    """Writes boxes a line each, x,y,w,h from 1 with four decimals, flushed at once.

    A context manager. With `atomic` the file lies under .part, and takes its name only
    if the context is left without an exception. What was written always stays.
    """

    def __init__(self, path: Path, *, atomic: bool = False):
        """Opens the file.

        Args:
          path: the file.
          atomic: whether it takes its name only when complete.
        """
        self.path = path
        self._place = part_of(path) if atomic else path
        with named_errors(path):
            self._file: IO[str] = self._place.open("w", encoding="ascii", newline="\n")

    def write(self, box: Float[np.ndarray, "4"]) -> None:
        """Appends a box, corner index from 0."""
        line = ",".join(f"{v:.4f}" for v in to_otb(box.astype(np.float64)[None])[0])
        self.write_text(line + "\n")

    def write_text(self, text: str) -> None:
        """Appends lines of another format as they are."""
        with named_errors(self.path):
            self._file.write(text)
            self._file.flush()

    def close(self, *, complete: bool = True) -> None:
        """Closes the file; a second call does nothing.

        Args:
          complete: whether an atomic file takes its name.
        """
        if self._file.closed:
            return
        with named_errors(self.path):
            self._file.close()
            if complete and self._place != self.path:
                os.replace(self._place, self.path)

    def __enter__(self) -> "BoxWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(complete=kind is None)


def read_boxes(path: Path) -> Boxes:
    """Reads boxes from a text file in OTB's format, whatever its delimiters.

    Args:
      path: the file, pixels from 1.

    Returns:
      Boxes from 0.

    Raises:
      InputError: naming the line that is not a box.
    """
    rows = read_rows(path)
    for index, row in enumerate(rows, start=1):
        if len(row) != 4:
            raise InputError(f"{path}:{index}: {len(row)} numbers instead of x,y,w,h")
    return from_otb(np.array(rows, np.float64))


def finite(value: Any) -> Any:
    """Returns the value with NumPy scalars as Python's and NaN and infinity as None."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return finite(value.tolist())
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, np.generic):
        return finite(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_json(path: Path, content: Any) -> None:
    """Writes finite JSON by atomic rename.

    Args:
      path: the file.
      content: NaN in it becomes null.
    """
    text = json.dumps(finite(content), indent=1, allow_nan=False)
    path = renamed_onto(path)
    with named_errors(path):
        try:
            part_of(path).write_text(text + "\n", encoding="utf-8")
            os.replace(part_of(path), path)
        except OSError:
            part_of(path).unlink(missing_ok=True)
            raise


class JsonWriter:
    """Streams a JSON object: its boxes as they come, its other keys at the end.

    A context manager; a long video costs no memory. The file takes its name when
    `close` completes it; left before that, it stays under .part.
    """

    def __init__(self, path: Path):
        """Opens the file under .part."""
        self.path = path = renamed_onto(path)
        with named_errors(path):
            self._file: IO[str] = part_of(path).open("w", encoding="utf-8")
            self._file.write('{\n "boxes": [')
        self._separator = "\n  "

    def __enter__(self) -> "JsonWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with named_errors(self.path):
            self._file.close()

    def write(self, box: Float[np.ndarray, "4"]) -> None:
        """Appends a box, corner index from 0."""
        numbers = [round(float(v), 4) for v in box]
        with named_errors(self.path):
            self._file.write(self._separator + json.dumps(numbers, allow_nan=False))
        self._separator = ",\n  "

    def close(self, others: dict[str, Any]) -> None:
        """Writes the other keys and completes the file.

        Args:
          others: keys beside "boxes"; NaN becomes null.
        """
        rest = json.dumps(finite(others), indent=1, allow_nan=False)
        with named_errors(self.path):
            with self._file:  # closed even if the disk is full
                self._file.write("\n ],")
                self._file.write(rest.removeprefix("{") + "\n")
            os.replace(part_of(self.path), self.path)


def versions() -> dict[str, str]:
    """Returns the versions and the device that numbers may depend on."""
    from importlib.metadata import version

    import cv2
    import jax

    return {
        "cdjax": version("cdjax"),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "device": jax.devices()[0].device_kind,
    }
