"""Shows how far an experiment is, on a terminal or in a log."""

import time
from collections.abc import Sequence
from typing import Any

from cdjax.benchmark._units import Watch
from cdjax.benchmark._workdir import Unit


class Progress(Watch):
    """Writes a line that is replaced as frames pass, or, for a log, a line a unit."""

    def __init__(self, stream: Any, *, replaces: bool):
        """Takes where to write, and whether its lines can be replaced.

        Args:
          stream: where to write.
          replaces: whether it is a terminal.
        """
        self._stream = stream
        self._replaces = replaces
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
            self._show(f"{self._where(unit)}  {done}/{of} {self._left(done / max(of, 1))}")

    def unit(self, unit: Unit, how: str) -> None:
        """Counts a unit; found ones cost nothing and are not shown."""
        self._num_over += 1
        if how == "found":
            return
        self._num_run += 1
        if not self._replaces:
            self._stream.write(f"{self._where(unit)}  {how}{self._left(0.0)}\n")
            self._stream.flush()

    def end(self) -> None:
        """Wipes the line."""
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
