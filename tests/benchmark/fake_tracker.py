"""A tracker that moves its box by the brightness of the frame's first pixel."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from cdjax.trackers._base import Tracker, TrackOutput


class FakeState(NamedTuple):
    box: jax.Array
    frame_index: jax.Array
    num_channels: jax.Array
    features: jax.Array


@functools.cache
def make_tracker(channels: int = 8, kept: int | None = None, on_trace=None) -> Tracker:
    """`channels` features in the state, of which `compact` leaves `kept`.

    `on_trace` is called with "init", "step" or "distil" whenever one of them is traced.
    """

    def init(params, frame, box, *, frame_hw=None, key=None):
        if on_trace:
            on_trace("init")
        assert frame_hw is not None
        return FakeState(
            jnp.asarray(box, jnp.float32),
            jnp.int32(0),
            jnp.int32(channels),
            jnp.zeros(channels, jnp.float32),
        )

    def step(params, state, frame, name="step"):
        if on_trace:
            on_trace(name)
        move = frame[0, 0, 0].astype(jnp.float32) * params["gain"]
        state = FakeState(
            state.box.at[0].add(move),
            state.frame_index + 1,
            jnp.int32(kept or channels),
            state.features + 1,
        )
        return state, TrackOutput(state.box, jnp.float32(0.5), jnp.float32(9), jnp.float32(1), ())

    def room(state):
        return (kept,)

    def compact(state, room=None):
        size = kept if room is None else room[0]
        smaller = make_tracker(size, None, on_trace)
        return smaller._replace(init=init), state._replace(features=state.features[:size])

    distil = functools.partial(step, name="distil")
    return Tracker(init, step, compact, room, distil=distil) if kept else Tracker(init, step)
