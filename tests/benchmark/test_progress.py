import io
import sys

import pytest

from cdjax.benchmark import Progress, Unit
from cdjax.benchmark import _progress as progress

UNITS = [Unit("t", name) for name in "ABCD"]


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until told otherwise."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_has_a_line_a_unit(clock):
    log = io.StringIO()
    with Progress(log) as watch:
        watch.begin(UNITS)
        watch.unit(UNITS[0], "found")
        clock[0] = 50.0
        watch.frame(UNITS[1], 1, 2)
        watch.unit(UNITS[1], "done")
        clock[0] = 160.0
        watch.unit(UNITS[2], "failed")
        watch.unit(UNITS[3], "done")
    assert log.getvalue().splitlines() == [
        "2/4  t  B  done, about 1 min 40 s left",
        "3/4  t  C  failed, about 1 min 20 s left",
        "4/4  t  D  done",
    ]


def test_a_terminal_has_one_line(clock, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    with Progress(None) as watch:
        watch.begin(UNITS)
        clock[0] = 3600.0
        watch.frame(UNITS[0], 5, 10)
        watch.frame(UNITS[0], 6, 10)  # at the same moment: not shown
    wipe = "\r\x1b[K"
    assert sys.stderr.getvalue() == f"{wipe}1/4  t  A  5/10, about 7 h 00 min left{wipe}"
