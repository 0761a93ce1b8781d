"""What is known of a benchmark's targets without its files: names, frames, attributes."""

import csv
import functools
from importlib import resources
from typing import NamedTuple

ATTRIBUTES = ("IV", "SV", "OCC", "DEF", "MB", "FM", "IPR", "OPR", "OV", "BC", "LR")
"""The 11 attributes of OTB, which TC128 shares, in the benchmark's order."""


class Known(NamedTuple):
    """A target as the benchmark defines it.

    Attributes:
      name: ours, as in the annotations.
      folder: name of the sequence's folder.
      first: number of the first annotated frame.
      frames: how many are annotated.
      subsets: smaller benchmarks it belongs to, "otb50" or "otb2013".
      tags: attributes.
    """

    name: str
    folder: str
    first: int
    frames: int
    subsets: tuple[str, ...]
    tags: tuple[str, ...]

    @property
    def span(self) -> tuple[int, int]:
        """Numbers of the first and last annotated frame."""
        return self.first, self.first + self.frames - 1


@functools.cache
def read_table(name: str) -> dict[str, Known]:
    """Reads a bundled table: "otb100", "tc128" or "uav123"."""
    subsets = {"tb50": "otb50", "cvpr13": "otb2013"}
    text = resources.files("cdjax.benchmark").joinpath(f"{name}.csv").read_text("ascii")
    table = {}
    for row in csv.DictReader(text.splitlines()):
        table[row["name"]] = Known(
            row["name"],
            row.get("dir", row["name"]),
            int(row.get("first_image", "1").split(".")[0]),
            int(row["frames"]),
            tuple(subset for column, subset in subsets.items() if row.get(column) == "1"),
            tuple(row.get("attributes", "").split()),
        )
    return table


def read_subset(benchmark: str) -> dict[str, Known]:
    """Reads the table of "otb100", "otb50", "otb2013", "tc128" or "uav123"."""
    if benchmark in ("otb50", "otb2013"):
        everything = read_table("otb100")
        return {name: known for name, known in everything.items() if benchmark in known.subsets}
    return read_table(benchmark)
