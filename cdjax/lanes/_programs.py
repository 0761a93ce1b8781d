"""Compiled programs, made ahead of time and kept while there is room."""

import functools
import threading
import time
from collections.abc import Callable
from typing import Any

import jax

_MAX_PROGRAMS = 64


class Programs:
    """Compiled programs by function and argument shapes; the oldest make room."""

    def __init__(self, size: int = _MAX_PROGRAMS):
        """Starts empty.

        Args:
          size: how many are kept.
        """
        self._size = size
        self._held: dict[Any, _Program] = {}
        self._lock = threading.Lock()

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
        leaves, treedef = jax.tree.flatten(args)
        places = tuple(getattr(leaf, "sharding", None) for leaf in leaves)
        default = jax.config.values["jax_default_device"]
        key = (fn, treedef, tuple(jax.typeof(leaf) for leaf in leaves), places, default)
        with self._lock:
            held = self._held.get(key)
            if held is None:
                while len(self._held) >= self._size:
                    self._held.pop(next(iter(self._held)))
                held = self._held[key] = _Program()
        return held.compiled(fn, args, donate)


class _Program:
    """A program that the first who needs it compiles, while others that need it wait."""

    def __init__(self):
        self._lock = threading.Lock()
        self._program: Callable[..., Any] | None = None

    def compiled(
        self, fn: Callable[..., Any], args: tuple[Any, ...], donate: tuple[int, ...]
    ) -> tuple[Callable[..., Any], float]:
        with self._lock:
            if self._program is not None:
                return self._program, 0.0
            start = time.perf_counter()
            # A function of its own: jax keeps programs as long as their function lives, and a
            # tracker lives on. Each holds some 340 memory maps, of which Linux grants a process
            # 65 530.
            own = functools.partial(fn)
            self._program = jax.jit(own, donate_argnums=donate).lower(*args).compile()
            return self._program, time.perf_counter() - start


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
