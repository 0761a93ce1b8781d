"""MDNet's sample memory: the features of the last frames that were tracked well; no training."""

from typing import NamedTuple

import jax.numpy as jnp

from cdjax._errors import InputError
from cdjax._types import Array, Bool, Float, Int


class SampleRing(NamedTuple):
    """Samples of the last frames, a fixed number each; the first frame may have more.

    Row s n + i holds sample i of slot s, n samples a frame; rows after the slots hold what the
    first frame has beyond n.

    Attributes:
      features: a row a sample.
      frames: count of the frame that each row is of, -1 where it holds none.
      num_frames: frames stored so far.
    """

    features: Float[Array, "r f"]
    frames: Int[Array, " r"]
    num_frames: Int[Array, ""]


def start_ring(
    features: Float[Array, "l f"], valid: Bool[Array, " l"], *, num_slots: int, per_frame: int
) -> SampleRing:
    """Stores the first frame's samples.

    Args:
      features: of the samples, `per_frame` or more.
      valid: samples that count.
      num_slots: frames that are kept.
      per_frame: samples of each later frame.

    Returns:
      The memory of one frame.
    """
    if features.shape[0] < per_frame:
        raise InputError(f"{features.shape[0]} first samples: give per_frame={per_frame} or more")
    spare = (num_slots - 1) * per_frame
    frames = jnp.where(valid, 0, -1).astype(jnp.int32)

    def place(first: Array, empty: Array) -> Array:
        return jnp.concatenate([first[:per_frame], empty, first[per_frame:]])

    return SampleRing(
        place(features, jnp.zeros((spare, features.shape[1]), features.dtype)),
        place(frames, jnp.full(spare, -1, jnp.int32)),
        jnp.int32(1),
    )


def store_frame(
    ring: SampleRing,
    features: Float[Array, "n f"],
    valid: Bool[Array, " n"],
    *,
    num_slots: int,
    accept: Bool[Array, ""] | bool = True,
) -> SampleRing:
    """Stores a frame's samples in the place of the oldest frame's.

    Args:
      ring: the memory.
      features: of the samples, as many as `start_ring` was told.
      valid: samples that count.
      num_slots: as of `start_ring`.
      accept: whether the frame is stored at all.

    Returns:
      The new memory. Of the first frame's further samples, `recent_samples` stops listing those
      that lie too far back.
    """
    count = features.shape[0]
    if count * num_slots > ring.frames.size:
        raise InputError(
            f"{count} samples in each of {num_slots} slots: the memory has {ring.frames.size} rows"
        )
    rows = ring.num_frames % num_slots * count + jnp.arange(count, dtype=jnp.int32)
    # Writes beyond the end are dropped; choosing between old and new rows would copy the memory.
    rows = jnp.where(accept, rows, ring.frames.size)
    frames = jnp.where(valid, ring.num_frames, -1)
    return SampleRing(
        ring.features.at[rows].set(features, mode="drop"),
        ring.frames.at[rows].set(frames, mode="drop"),
        ring.num_frames + jnp.asarray(accept, jnp.int32),
    )


def recent_samples(ring: SampleRing, *, num_frames: int | Int[Array, ""]) -> Bool[Array, " r"]:
    """Marks the samples of the frames that were stored last.

    Args:
      ring: the memory.
      num_frames: how many frames; at most the memory's slots.

    Returns:
      Which rows of `ring.features` hold one.
    """
    return (ring.frames >= 0) & (ring.frames >= ring.num_frames - num_frames)
