"""The one kind of table that reports are made of, and its formats."""

import csv
import io
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from cdjax.benchmark._results import finite
from cdjax.benchmark._statistics import Interval

Cell = None | str | int | float | Interval


class Column(NamedTuple):
    """A column of a table.

    Attributes:
      name: its heading.
      digits: decimals of its numbers.
      signed: whether a plus is printed.
      best: 1 if the highest is to be marked, -1 the lowest, 0 none.
      heat: whether cells are to be coloured by value, 0 to 1.
      words: whether it holds text, which is set from the left.
      long: whether the table has a row a target.
    """

    name: str
    digits: int = 3
    signed: bool = False
    best: int = 0
    heat: bool = False
    words: bool = False
    long: bool = False

    def text(self, cell: Cell) -> str:
        """Returns a cell in words; a missing figure is a dash."""
        if isinstance(cell, Interval) and not math.isnan(cell.mean):
            low, high = self.text(cell.low), self.text(cell.high)
            return f"{self.text(cell.mean)} [{low}, {high}]"
        value = cell.mean if isinstance(cell, Interval) else cell
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return "–"
        if isinstance(cell, float):
            return f"{cell:{'+' * self.signed}.{self.digits}f}"
        return str(cell)


class Grid(NamedTuple):
    """A table; the first column names the row.

    Attributes:
      title: its heading.
      columns: the columns.
      rows: the cells, as many as columns.
      notes: what has to be known to read it.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    @property
    def is_long(self) -> bool:
        """Whether it has a row a target, too many to print."""
        return any(column.long for column in self.columns)

    def marked(self, index: int) -> set[int]:
        """Returns the rows that hold the best figure of a column, if there is a choice."""
        sign = self.columns[index].best
        shown = [number_of(row[index]) for row in self.rows]
        known = [sign * value for value in shown if value is not None]
        if not sign or len(set(known)) < 2:
            return set()
        best = max(known)
        return {i for i, v in enumerate(shown) if v is not None and sign * v == best}


def number_of(cell: Cell) -> float | None:
    """Returns the number in a cell, the mean of an interval, or None."""
    value = cell.mean if isinstance(cell, Interval) else cell
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def to_markdown(grid: Grid) -> str:
    """Renders a table in Markdown, aligned for a terminal; the best figures are bold."""
    texts = [[column.name for column in grid.columns]]
    best = [grid.marked(index) for index in range(len(grid.columns))]
    for i, row in enumerate(grid.rows):
        cells = [column.text(cell) for column, cell in zip(grid.columns, row, strict=True)]
        texts.append([f"**{t}**" if i in best[j] else t for j, t in enumerate(cells)])
    texts = [[text.replace("|", "\\|").replace("\n", " ") for text in row] for row in texts]
    widths = [max(len(row[j]) for row in texts) for j in range(len(grid.columns))]
    left = [column.words for column in grid.columns]

    def line(cells: list[str]) -> str:
        padded = [
            cell.ljust(width) if is_left else cell.rjust(width)
            for cell, width, is_left in zip(cells, widths, left, strict=True)
        ]
        return f"| {' | '.join(padded)} |".rstrip()

    rule = [
        "-" * width if is_left else "-" * (width - 1) + ":"
        for width, is_left in zip(widths, left, strict=True)
    ]
    body = [line(texts[0]), line(rule), *map(line, texts[1:])]
    notes = [f"\n{note}" for note in grid.notes]
    return "\n".join([f"## {grid.title}\n", *body, *notes]) + "\n"


def to_csv(grids: Iterable[Grid]) -> str:
    """Renders tables as one CSV file, a line a figure: table, row, column, value, low, high."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("table", "row", "column", "value", "low", "high"))
    for grid in grids:
        for row in grid.rows:
            for column, cell in zip(grid.columns[1:], row[1:], strict=True):
                numbers = cell if isinstance(cell, Interval) else (cell, None, None)
                cells = ["" if finite(number) is None else number for number in numbers]
                writer.writerow((grid.title, row[0], column.name, *cells))
    return file.getvalue()


def to_records(grid: Grid) -> dict[str, Any]:
    """Returns a table as plain values for JSON; an interval is {mean, low, high}."""
    plain = lambda cell: cell._asdict() if isinstance(cell, Interval) else cell
    names = [column.name for column in grid.columns]
    rows = [dict(zip(names, map(plain, row), strict=True)) for row in grid.rows]
    return {"title": grid.title, "columns": names, "rows": rows, "notes": list(grid.notes)}
