import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdjax import classifier
from cdjax._errors import InputError

SLOTS, PER_FRAME, FIRST = 4, 3, 8
store = jax.jit(functools.partial(classifier.store_frame, num_slots=SLOTS))


def samples(frame, count):
    """Features that say which frame and sample they are; sample 1 of odd frames does not count."""
    features = np.stack([np.full(count, frame), np.arange(count)], axis=1).astype(np.float32)
    valid = ~((np.arange(count) == 1) & (frame % 2 == 1))
    return jnp.asarray(features), jnp.asarray(valid)


def start():
    return classifier.start_ring(*samples(0, FIRST), num_slots=SLOTS, per_frame=PER_FRAME)


def listed(ring, num_frames):
    rows = np.asarray(classifier.recent_samples(ring, num_frames=num_frames))
    return sorted(map(tuple, np.asarray(ring.features)[rows].astype(int)))


def test_matches_py_mdnets_lists():
    """A list of frames from which the oldest goes once it is longer than the slots."""
    lists = [[(0, i) for i in range(FIRST)]]
    ring = start()
    for frame in range(1, 12):
        accept = frame not in (3, 4, 9)
        ring = store(ring, *samples(frame, PER_FRAME), accept=jnp.asarray(accept))
        if accept:
            kept = np.flatnonzero(samples(frame, PER_FRAME)[1])
            lists = [*lists, [(frame, int(i)) for i in kept]][-SLOTS:]
        for count in (1, 2, SLOTS):
            assert listed(ring, count) == sorted(sum(lists[-count:], []))
    assert int(ring.num_frames) == 1 + 8


def test_shapes_stay():
    ring = start()
    assert ring.features.shape == (SLOTS * PER_FRAME + FIRST - PER_FRAME, 2)
    after = store(ring, *samples(1, PER_FRAME))
    shapes = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), tree)
    assert shapes(after) == shapes(ring)


def test_first_frame_may_have_no_more_than_the_others():
    ring = classifier.start_ring(*samples(0, PER_FRAME), num_slots=SLOTS, per_frame=PER_FRAME)
    assert ring.features.shape == (SLOTS * PER_FRAME, 2)
    assert listed(ring, SLOTS) == [(0, 0), (0, 1), (0, 2)]


def test_wrong_numbers_of_samples_are_refused():
    with pytest.raises(InputError, match=f"per_frame={PER_FRAME}"):
        classifier.start_ring(*samples(0, PER_FRAME - 1), num_slots=SLOTS, per_frame=PER_FRAME)
    with pytest.raises(InputError, match="the memory has"):
        store(start(), *samples(1, FIRST))


def test_training_draws_from_the_ring():
    ring = store(start(), *samples(1, PER_FRAME))
    recent = classifier.recent_samples(ring, num_frames=1)
    stream = classifier.index_stream(jax.random.key(0), recent, num_iters=3, batch=4)
    drawn = np.asarray(ring.features)[np.asarray(stream)]
    assert (drawn[..., 0] == 1).all()
    assert set(drawn[..., 1].ravel()) == {0.0, 2.0}
