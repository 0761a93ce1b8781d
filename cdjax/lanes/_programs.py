"""Compiled programs, made ahead of time and kept while there is room."""

import functools
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax

_MAX_PROGRAMS = 64


class Programs:
    """Compiled programs by function and argument shapes; those not used for longest make room."""

    def __init__(self, size: int = _MAX_PROGRAMS):
        """Starts empty.

        Args:
          size: how many are kept.
        """
        self._size = size
        self._held: dict[Any, Callable[..., Any]] = {}
        self._lock = threading.Lock()  # lanes alone and the batch compile on threads of their own

    def compiled(
        self, fn: Callable[..., Any], *args: Any, donate: tuple[int, ...] = ()
    ) -> tuple[Callable[..., Any], float]:
        """Returns the program of a function for these arguments.

        Args:
          fn: the function, which must be the same object for the program to be found again.
          *args: arguments, or their `jax.ShapeDtypeStruct`s.
          donate: positions of arguments whose memory the program may take over.

        Returns:
          The program, and the seconds its making took.
        """
        (program,), seconds = self.compiled_each([(fn, args)], donate=donate)
        return program, seconds

    def compiled_each(
        self,
        calls: Sequence[tuple[Callable[..., Any], tuple[Any, ...]]],
        *,
        donate: tuple[int, ...],
    ) -> tuple[list[Callable[..., Any]], float]:
        """Returns the programs of several calls, which are compiled at the same time.

        Args:
          calls: functions and arguments, see `compiled`.
          donate: as there.

        Returns:
          The programs, and the seconds their making took.
        """
        keys = [(_key_of(fn, args), donate) for fn, args in calls]
        with self._lock:
            start = time.perf_counter()
            # Traced here, since jax's contexts, of precision for one, are a thread's own. Functions
            # of their own: jax keeps programs as long as their function lives, and a tracker lives
            # on. Each holds some 340 memory maps, of which Linux grants a process 65 530.
            lowered = {
                key: jax.jit(functools.partial(fn), donate_argnums=donate).lower(*args)
                for key, (fn, args) in zip(keys, calls, strict=True)
                if key not in self._held
            }
            if lowered:
                with ThreadPoolExecutor(min(len(lowered), os.cpu_count() or 1)) as threads:
                    made = list(threads.map(lambda one: one.compile(), lowered.values()))
                self._held.update(zip(lowered, made, strict=True))
            seconds = time.perf_counter() - start if lowered else 0.0
            for key in keys:
                self._held[key] = self._held.pop(key)  # to the end: used last
            found = [self._held[key] for key in keys]
            while len(self._held) > max(self._size, len(set(keys))):
                self._held.pop(next(iter(self._held)))
            return found, seconds


def _key_of(fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """What a program depends on."""
    leaves, treedef = jax.tree.flatten(args)
    places = tuple(getattr(leaf, "sharding", None) for leaf in leaves)
    names = ("jax_default_device", "jax_default_matmul_precision", "jax_enable_x64")
    settings = tuple(getattr(jax.config, name) for name in names)  # with those of contexts
    return fn, treedef, tuple(jax.typeof(leaf) for leaf in leaves), places, settings


@functools.lru_cache(maxsize=_MAX_PROGRAMS)
def start_of(init: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a tracker's `init` positional arguments, for compilation ahead of time.

    Args:
      init: the function.

    Returns:
      `(params, frame, box, frame_hw, key)` -> state; the same function for the same `init`.
    """

    def positional(params, frame, box, frame_hw, key):
        return init(params, frame, box, frame_hw=frame_hw, key=key)

    return positional


programs = Programs()
"""Those of this process."""
