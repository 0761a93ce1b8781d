import gc
import itertools

import jax
import numpy as np
import pytest
from fake_tracker import make_tracker

from cdjax._errors import InputError
from cdjax.benchmark import run
from cdjax.lanes._programs import Programs

PARAMS = {"gain": np.float32(1)}
BOX = [5.0, 6.0, 10.0, 12.0]


def frames_of(values, hw=(48, 64)):
    for value in values:
        yield np.full((*hw, 3), value, np.uint8)


def test_first_box_is_the_given_one_and_the_rest_the_trackers():
    tracker = make_tracker(8, None, [].append)  # of its own: nothing of it is compiled yet
    records = list(run(tracker, PARAMS, frames_of([9, 1, 2, 3]), BOX))
    assert [r.frame_index for r in records] == [0, 1, 2, 3]
    np.testing.assert_array_equal([r.box for r in records], [[x, 6, 10, 12] for x in (5, 6, 8, 11)])
    assert [r.score for r in records] == [1.0, 0.5, 0.5, 0.5]
    assert records[2].frame.shape == (48, 64, 3)
    assert all(r.seconds > 0 for r in records)
    assert [r.compile_seconds > 0 for r in records[1:]] == [True, False, False]


def test_second_sequence_of_the_canvas_compiles_nothing():
    traced = []
    tracker = make_tracker(8, 4, traced.append)
    first = list(run(tracker, PARAMS, frames_of([1] * 5), BOX))
    assert traced == ["init", "distil", "step"]  # the last for the compacted state
    assert [r.num_channels for r in first] == [8, 4, 4, 4, 4]
    list(run(tracker, PARAMS, frames_of([2] * 5, hw=(50, 100)), BOX))
    assert len(traced) == 3
    list(run(tracker, PARAMS, frames_of([2] * 5, hw=(50, 200)), BOX))
    assert len(traced) == 6


def test_a_state_lasts_until_the_next_record():
    states = [record.state for record in run(make_tracker(8, 4), PARAMS, frames_of([1] * 5), BOX)]
    gone = [[leaf.is_deleted() for leaf in jax.tree.leaves(state)] for state in states]
    assert all(map(any, gone[:-1]))
    assert not any(gone[-1])
    assert states[-1].frame_index == 4


def test_a_tracker_that_is_not_compacted_distils_once():
    traced = []
    tracker = make_tracker(8, 4, traced.append)._replace(compact=None, room=None)
    records = list(run(tracker, PARAMS, frames_of([1] * 5), BOX))
    assert traced == ["init", "step"]
    assert [r.num_channels for r in records] == [8, 4, 4, 4, 4]


def test_programs_that_made_room_are_freed():
    # Though their function, as a tracker's, lives on: each holds memory maps, which are limited.
    programs, fn = Programs(2), lambda x: x + 1
    alive = jax.devices()[0].client.live_executables
    before = len(alive())
    for size in range(1, 7):
        programs.compiled(fn, np.zeros(size, np.float32))
    gc.collect()
    assert len(alive()) - before <= 2


def test_old_programs_make_room():
    programs = Programs(2)
    for size in (1, 2, 3, 3):
        program, seconds = programs.compiled(abs, np.zeros(size))
        assert program(np.full(size, -1.0)).sum() == size
    assert seconds == 0.0
    assert len(programs._held) == 2


def test_frames_are_read_one_at_a_time_and_no_further_than_asked():
    read = []

    def source():
        for i in itertools.count():
            read.append(i)
            yield np.zeros((48, 64, 3), np.uint8)

    records = run(make_tracker(), PARAMS, source(), BOX, max_frames=3)
    next(records)
    assert read == [0]
    assert len(list(records)) == 2
    assert read == [0, 1, 2]


@pytest.mark.parametrize(
    ("frames", "box", "params", "count", "words"),
    [
        (frames_of([1]), [80, 1, 2, 3], PARAMS, 0, "outside the 64x48 frame"),
        (frames_of([]), BOX, PARAMS, 0, "no frames"),
        (
            frames_of([1, 1]),
            BOX,
            {"gain": np.float32(np.nan)},
            1,
            "frame 2: the tracker's box is not finite; do the weights contain NaN",
        ),
        (
            itertools.chain(frames_of([1] * 3), frames_of([1], hw=(40, 64))),
            BOX,
            PARAMS,
            3,
            "frame 4 is 64x40 but the first is 64x48",
        ),
    ],
)
def test_bad_input_stops_after_the_good_frames(frames, box, params, count, words):
    seen = []
    with pytest.raises(InputError, match=words):
        seen.extend(run(make_tracker(), params, frames, box))
    assert len(seen) == count
