"""Steps of many targets in one program: pure functions of stacked states and frames."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from cdjax._types import Array, Int, Params, UInt8
from cdjax.trackers._base import Tracker, TrackOutput


def step_in_turn(
    tracker: Tracker,
    params: Params,
    states: Any,
    frames: UInt8[Array, "#b t H W *ch"],
    counts: Int[Array, " b"],
) -> tuple[Any, TrackOutput]:
    """Tracks each lane through its next frames, one lane after the other.

    What suits a CPU, whose caches hold the work of one lane and not that of many. Lanes do not
    wait for each other and may be at any frame: a branch that a lane does not take costs nothing.

    Args:
      tracker: the tracker.
      params: weights of its network, shared.
      states: a state a lane, stacked: every leaf has a leading axis.
      frames: the next frames of each lane, or of one video that all share.
      counts: how many of them each lane takes, from the first on; its state is that after them.

    Returns:
      The states, and outputs with axes lane and frame; zero beyond a lane's count.
    """
    one = frames.shape[0] < counts.shape[0]
    traced_once = jax.jit(tracker.step, inline=True)

    def lane(taken: Any) -> tuple[Any, TrackOutput]:
        state, own, count = taken
        seen = frames[0] if one else own

        def step(index: Int[Array, ""], carry: Any) -> tuple[Any, TrackOutput]:
            state, outputs = carry
            frame = jax.lax.dynamic_index_in_dim(seen, index, keepdims=False)
            state, output = traced_once(params, state, frame)
            return state, jax.tree.map(lambda all_, new: all_.at[index].set(new), outputs, output)

        # A loop that ends, rather than a branch in one that goes on: of a state that a branch
        # may hand on as it is, every frame would make a copy.
        _, output = jax.eval_shape(traced_once, params, state, seen[0])
        nothing = jax.tree.map(lambda leaf: jnp.zeros((len(seen), *leaf.shape), leaf.dtype), output)
        return jax.lax.fori_loop(0, jnp.minimum(count, len(seen)), step, (state, nothing))

    return jax.lax.map(lane, (states, () if one else frames, counts))


@functools.lru_cache(maxsize=64)
def step_alone(tracker: Tracker) -> Callable[..., tuple[Any, TrackOutput]]:
    """Makes the step of a single target as `step_in_turn` of one lane.

    XLA compiles a step within loops into other instructions than one by itself, so that their
    last bits differ now and then. By this a target alone and a lane of many in turn have the same
    bits.

    Args:
      tracker: the tracker.

    Returns:
      `(params, state, frame, count)` -> state and output, where count is np.ones(1, np.int32): an
      argument, since XLA would see through a constant. The same function for equal trackers.
    """

    def step(params: Params, state: Any, frame: Any, count: Any) -> tuple[Any, TrackOutput]:
        one = jax.tree.map(lambda leaf: leaf[None], state)
        after, output = step_in_turn(tracker, params, one, frame[None, None], count)
        return jax.tree.map(lambda leaf: leaf[0], after), jax.tree.map(lambda x: x[0, 0], output)

    return step


def step_at_once(
    tracker: Tracker,
    params: Params,
    states: Any,
    frames: UInt8[Array, "#b t H W *ch"],
    counts: Int[Array, " b"],
    frame_index: Int[Array, ""],
) -> tuple[Any, TrackOutput]:
    """Tracks all lanes through their next frames, frame by frame in one batch.

    What suits a GPU or TPU: one network call and one batch of FFTs for all lanes.

    Args:
      tracker: the tracker.
      params: weights of its network, shared.
      states: a state a lane, stacked, with () in place of `frame_index`.
      frames: the next frames of each lane, or of one video that all share.
      counts: how many of them each lane takes; its state is that after them.
      frame_index: index of the last frame, not batched, so that what a tracker does in some
        frames only stays a branch. All lanes agree with it in `Tracker.cycle`.

    Returns:
      The states, and outputs with axes lane and frame; without meaning beyond a lane's count.
    """

    def lane(state: Any, frame: Any, goes: Any, index: Any) -> tuple[Any, TrackOutput]:
        state = state._replace(frame_index=index)
        after, output = tracker.step(params, state, frame)
        after = jax.tree.map(lambda new, old: jnp.where(goes, new, old), after, state)
        return after._replace(frame_index=()), output

    one = frames.shape[0] < counts.shape[0]
    many = jax.vmap(lane, in_axes=(0, None if one else 0, 0, None))

    def step(states: Any, at: Any) -> tuple[Any, TrackOutput]:
        # A frame of every lane is sliced out, rather than all frames transposed.
        frame = jax.lax.dynamic_index_in_dim(frames, at, axis=1, keepdims=False)
        return many(states, frame[0] if one else frame, at < counts, frame_index + at)

    states, outputs = jax.lax.scan(step, states, jnp.arange(frames.shape[1], dtype=jnp.int32))
    return states, jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), outputs)
