"""Work of several alike parts: one after the other, or all at once."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.core import Tracer


def in_turn(
    one: Callable[[Any], Any], items: Any, *, at_once: Callable[[Any], Any] | None = None
) -> Any:
    """Maps a function over the first axis of arrays: item by item on a CPU, else all at once.

    A CPU's cache then holds what an item needs, and what comes out is stored before it is read:
    otherwise the compiler computes simple parts anew for each reader. What is not traced runs at
    once: a loop would be compiled by every call.

    Args:
      one: takes an item, gives arrays.
      items: arrays whose first axis counts the items.
      at_once: what does the same for all items; by default `one`, vmapped.

    Returns:
      What `one` gives, stacked.
    """
    leaves = jax.tree.leaves(items)
    single = leaves[0].shape[0] == 1
    if single and at_once is None:
        # What `one` gathers is gathered faster without an axis for it.
        result = one(jax.tree.map(lambda x: x[0], items))
        return jax.tree.map(lambda x: x[None], result)
    at_once = at_once or jax.vmap(one)
    if single or not any(isinstance(leaf, Tracer) for leaf in leaves):
        return at_once(items)
    loop = functools.partial(jax.lax.map, one)
    return jax.lax.platform_dependent(items, cpu=loop, default=at_once)
