"""Builds benchmarks from their annotation files, without frames: enough to score results."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from cdjax._errors import InputError
from cdjax.benchmark._sequence import Sequence, unknown
from cdjax.benchmark._tables import read_subset
from cdjax.benchmark._vot import make_sequence
from cdjax.boxes import from_otb

FILES = {
    "otb100": "otb100.json",
    "otb50": "otb100.json",
    "otb2013": "otb100.json",
    "tc128": "tc128.json",
    "vot2017": "vot2018.json",  # the two years share sequences and annotations
    "vot2018": "vot2018.json",
    "vot2019": "vot2019.json",
}
"""The file that holds each benchmark's annotations."""


def data_places() -> list[Path]:
    """Returns where the data folder may be: CDJAX_DATA, else ../shared/data.

    The latter beside the checkout, or beside the working directory.
    """
    if chosen := os.environ.get("CDJAX_DATA"):
        return [Path(chosen)]
    checkout = Path(__file__).resolve().parents[2]
    return [root.parent / "shared" / "data" for root in (checkout, Path.cwd())]


def load_annotations(benchmark: str, *, folder: Path | None = None) -> list[Sequence]:
    """Reads a benchmark's annotations, for scoring results without frames.

    Args:
      benchmark: "otb100", "otb50" (TB-50), "otb2013" (CVPR-13, 51 targets), "tc128",
        "vot2017", "vot2018" or "vot2019".
      folder: folder of the annotation files, or the data folder that holds it; found by
        CDJAX_DATA (default ../shared/data) if None.

    Returns:
      The sequences in the benchmark's order, `frame_paths` empty; for VOT with regions,
      frame tags and the frame size.

    Raises:
      InputError: for an unknown benchmark, or naming the file that is missing or broken.
    """
    if benchmark not in FILES:
        raise InputError(unknown("benchmark", benchmark, list(FILES)))
    path = _find(FILES[benchmark], [folder] if folder is not None else data_places())
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        if benchmark.startswith("vot"):
            return [_read_vot(name, entry) for name, entry in entries.items()]
        if benchmark in ("otb50", "otb2013"):
            entries = {name: entries[name] for name in read_subset(benchmark)}
        return [_read_otb(name, entry) for name, entry in entries.items()]
    except (OSError, UnicodeDecodeError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(
            f"{path}: not the annotations of {benchmark} "
            f"({type(error).__name__}: {error}); restore the file"
        ) from error


def _find(name: str, places: list[Path]) -> Path:
    """The annotation file in the first of the places that has it."""
    paths = [place / sub / name for place in places for sub in ("annotations", ".")]
    for path in paths:
        if path.is_file():
            return path
    raise InputError(
        f"no annotation file {paths[0]}; set CDJAX_DATA to the folder that holds annotations/{name}"
    )


def _read_otb(name: str, entry: dict[str, Any]) -> Sequence:
    """A target of OTB or TC128: rectangles from 1."""
    boxes = from_otb(np.array(entry["gt_rect"], np.float64).reshape(-1, 4))
    return Sequence(name, (), boxes, tuple(entry["attr"] or ()))


def _read_vot(name: str, entry: dict[str, Any]) -> Sequence:
    """A VOT sequence: polygons or rectangles from 0, tags as strings of 0 and 1."""
    regions = [np.array(region, np.float64) for region in entry["gt"]]
    flags = {}
    for tag, text in sorted(entry["tags"].items()):
        flags[tag] = np.zeros(len(regions), bool)
        flags[tag][: len(text)] = [flag == "1" for flag in text]
    hw = (entry["height"], entry["width"])
    return make_sequence(name, regions, flags)._replace(hw=hw)
