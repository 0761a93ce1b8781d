"""Ctrl-C and SIGTERM as KeyboardInterrupt: at once, but while tracking, between two frames."""

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, TypeVar

T = TypeVar("T")

_state = SimpleNamespace(asked=False, waits=False)


@contextmanager
def handled() -> Iterator[None]:
    """Handles SIGINT and SIGTERM where they have their default handlers."""
    _state.asked = False
    ours = threading.current_thread() is threading.main_thread()
    defaults = (signal.default_int_handler, signal.SIG_DFL)
    signals = (signal.SIGINT, signal.SIGTERM) if ours else ()
    before = {s: h for s in signals if (h := signal.getsignal(s)) in defaults}
    for number in before:
        signal.signal(number, _ask)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check() -> None:
    """Raises KeyboardInterrupt if there was a signal.

    What the handler raises surfaces wherever Python is, now and then in a callback of the
    garbage collector (jax has one), which drops it. Hence loops ask.
    """
    if _state.asked:
        raise KeyboardInterrupt


def between(items: Iterable[T]) -> Iterator[T]:
    """Yields items; a signal takes effect between two of them, a second one at once."""
    _state.waits = True
    try:
        check()
        for item in items:
            yield item
            check()
    finally:
        _state.waits = False


def _ask(number: int, frame: Any) -> None:
    """Handles a signal."""
    again, _state.asked = _state.asked, True
    if again or not _state.waits:
        raise KeyboardInterrupt
