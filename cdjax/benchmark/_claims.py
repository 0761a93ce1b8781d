"""Lock files, by which processes share a folder: the kernel frees those of the dead."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cdjax._errors import InputError
from cdjax.benchmark._results import named_errors

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_BUSY = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}


@contextmanager
def claim(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Holds a lock file while the context lasts.

    The file is never removed: a process that waits for a removed file would hold a lock
    that nobody else sees. A process that dies, however, loses its locks at once.

    Args:
      path: the file, made with its folder if need be.
      wait: whether to wait until it is free.

    Yields:
      Whether it is held; always True with `wait`.

    Raises:
      InputError: if the file cannot be made, or the system has no such locks.
    """
    with named_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    with file:
        held = _lock(path, file.fileno(), wait=wait)
        yield held


def _lock(path: Path, number: int, *, wait: bool) -> bool:
    """Takes the lock of an open file, which closing frees; returns whether it could."""
    if fcntl is None:
        raise InputError(
            f"{path}: this system has no flock, which keeps processes apart; run on Linux or macOS"
        )
    try:
        fcntl.flock(number, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in _BUSY and not wait:
            return False
        raise InputError(
            f"{path}: this file system refuses locks ({error.strerror}); "
            "put the results on a disk with flock"
        ) from error
    return True
