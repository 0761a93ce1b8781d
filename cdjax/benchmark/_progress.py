"""Shows how far an experiment is, on a terminal or in a log."""

import sys
import time
from collections.abc import Sequence
from typing import Any

from cdjax.benchmark._unit_run import Watch
from cdjax.benchmark._workdir import Unit


class Progress(Watch):
    """A line on stderr that is replaced as frames pass; where that is no terminal, a line a unit.

    A context manager, which wipes the line in the end.
    """

    def __init__(self, log: Any):
        """Takes where lines go that stay.

        Args:
          log: a text stream.
        """
        self._replaces = sys.stderr.isatty()
        self._stream = sys.stderr if self._replaces else log
        self._num_units = self._num_over = self._num_run = 0
        self._since = self._shown = time.monotonic()

    def begin(self, units: Sequence[Unit]) -> None:
        """Starts counting."""
        self._num_units = len(units)
        self._since = time.monotonic()

    def frame(self, unit: Unit, done: int, of: int) -> None:
        """Shows the frame, some times a second."""
        now = time.monotonic()
        if self._replaces and (now - self._shown > 0.1 or done == of):
            self._shown = now
            self._show(f"{self._where(unit)}  {done}/{of}{self._left(done / max(of, 1))}")

    def unit(self, unit: Unit, how: str) -> None:
        """Counts a unit; found ones cost nothing and are not shown."""
        self._num_over += 1
        if how == "found":
            return
        self._num_run += 1
        if not self._replaces:
            self._stream.write(f"{self._where(unit)}  {how}{self._left(0.0)}\n")
            self._stream.flush()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._replaces:
            self._show("")

    def _where(self, unit: Unit) -> str:
        """The unit and its number, that of a unit that runs being the next one."""
        number = self._num_over + (1 if self._replaces else 0)
        return f"{number}/{self._num_units}  {unit.label}  {unit.stem}"

    def _left(self, fraction: float) -> str:
        """An estimate from the mean time of the units run here, this part of one included."""
        run = self._num_run + fraction
        if run < 0.05 or self._num_over >= self._num_units:
            return ""
        each = (time.monotonic() - self._since) / run
        seconds = each * (self._num_units - self._num_over - fraction)
        minutes, seconds = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        text = f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"
        return f", about {text} left"

    def _show(self, text: str) -> None:
        """Replaces the line."""
        self._stream.write(f"\r\x1b[K{text}")
        self._stream.flush()
