"""Sequences side by side: the same records as one after the other."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from fake_tracker import make_tracker
from tracker_cases import ECO_HC_CD, video

import cdjax
from cdjax._errors import InputError
from cdjax.benchmark import run
from cdjax.benchmark._batch import Job, run_batch
from cdjax.benchmark._side_by_side import _Sized, buckets_of
from cdjax.benchmark._workdir import Unit

PARAMS = {"gain": np.float32(1)}
BOX = np.array([5.0, 6.0, 10.0, 12.0], np.float32)
CANVAS = (128, 128)


def frames_of(seed, count, hw=(48, 64)):
    """Frames whose brightness moves the fake tracker's box."""
    for index in range(count):
        yield np.full((*hw, 3), (seed + index) % 7, np.uint8)


def side_by_side(tracker, params, runs, **options):
    """Records and the error of each run, and the order in which they end."""
    records, jobs = [[] for _ in runs], []
    for index, (frames, box) in enumerate(runs):
        jobs.append(Job(iter(frames), box, None, records[index].append))
    over = list(run_batch(tracker, params, iter(jobs), **{"canvas": CANVAS, **options}))
    order = [[job is one for one in jobs].index(True) for job, _ in over]
    errors = {index: error for index, (_, error) in zip(order, over, strict=True)}
    assert sorted(order) == list(range(len(runs)))
    return records, errors, order


def boxes_of(records):
    return np.array([record.box for record in records])


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("kept", [4, None])
def test_lanes_of_any_length_have_the_records_of_single_runs(at_once, kept):
    lengths = [1, 2, 3, 40, 14, 13, 12, 30, 5]
    runs = [(list(frames_of(seed, n)), BOX + seed) for seed, n in enumerate(lengths)]
    tracker = make_tracker(8, kept)
    records, errors, order = side_by_side(tracker, PARAMS, runs, num_slots=3, at_once=at_once)
    assert errors == dict.fromkeys(range(len(runs)))
    for found, (frames, box) in zip(records, runs, strict=True):
        alone = list(run(tracker, PARAMS, frames, box))
        np.testing.assert_array_equal(boxes_of(found), boxes_of(alone))
        for name in ("frame_index", "score", "trust", "scale", "num_channels"):
            assert [getattr(r, name) for r in found] == [getattr(r, name) for r in alone]
        assert all(r.frame is frame for r, frame in zip(found, frames, strict=True))
        assert all(r.seconds > 0 for r in found)
        assert len(found) < 2 or found[1].state.frame_index == 1  # tells what was kept
    assert order.index(3) > order.index(6)  # slots were refilled while the longest went on


def test_a_second_batch_compiles_nothing():
    traced = []
    tracker = make_tracker(8, 4, traced.append)

    def play(seed):
        runs = [(frames_of(seed + i, 20 + i), BOX) for i in range(5)]
        records, _, _ = side_by_side(tracker, PARAMS, runs, num_slots=2)
        return sum(record.compile_seconds for some in records for record in some)

    assert play(0) > 0
    assert sorted(traced) == ["distil", "init", "step"]  # the last is that of the slots
    assert play(1) == 0
    assert len(traced) == 3


def test_a_bad_sequence_ends_alone_with_the_frames_it_has():
    def breaks():
        yield from frames_of(1, 16)
        raise InputError("frame 17 is missing")

    grows = itertools.chain(frames_of(0, 4), frames_of(0, 4, hw=(50, 64)))
    good = list(frames_of(2, 30))
    runs = [(breaks(), BOX), (good, BOX), (grows, BOX), ([], BOX), (good, BOX * 0), (good, BOX + 1)]
    records, errors, _ = side_by_side(make_tracker(8, 4), PARAMS, runs, num_slots=2)
    assert [len(some) for some in records] == [16, 30, 4, 0, 0, 30]
    words = ["frame 17 is missing", None, "frame 5 is 64x50", "no frames", "no area", None]
    for index, expected in enumerate(words):
        assert (expected is None) == (errors[index] is None)
        assert expected is None or expected in str(errors[index])


@pytest.mark.parametrize("where", ["alone", "room", "together"])
def test_a_program_that_fails_ends_the_lanes_it_ran(where):
    fake = make_tracker(8, 4)

    def fail(*_):
        raise RuntimeError("out of memory")

    def step(params, state, frame):
        # Traced anew for the slots, whose states have fewer features.
        if where == "alone" or (where == "together" and len(state.features) < 8):
            fail()
        return fake.step(params, state, frame)

    def compact(state, room=None):
        smaller, state = fake.compact(state, room)
        return smaller._replace(step=step), state

    tracker = fake._replace(step=step, distil=step, compact=compact)
    tracker = tracker._replace(room=fail) if where == "room" else tracker
    runs = [(list(frames_of(i, 20)), BOX) for i in range(5)]
    records, errors, _ = side_by_side(tracker, PARAMS, runs, num_slots=2)
    assert {str(error) for error in errors.values()} == {"out of memory"}
    assert [len(some) for some in records] == [1 if where == "alone" else 2] * 5


def test_a_box_that_is_not_finite_ends_its_lane_only():
    # By a frame that no other lane has.
    tracker = make_tracker(8)

    def breaking(params, state, frame):
        state, output = tracker.step(params, state, frame)
        lost = jnp.where(frame[0, 0, 0] == 99, jnp.nan, 0.0)
        return state, output._replace(box=output.box + lost)

    frames = list(frames_of(0, 30))
    broken = [*frames[:7], np.full_like(frames[0], 99), *frames[8:]]
    runs = [(frames, BOX), (broken, BOX), (frames, BOX + 1)]
    records, errors, _ = side_by_side(tracker._replace(step=breaking), PARAMS, runs, num_slots=3)
    assert [len(some) for some in records] == [30, 7, 30]
    assert "frame 8: the tracker's box is not finite" in str(errors[1])
    assert errors[0] is errors[2] is None


@pytest.mark.parametrize("at_once", [False, True])
def test_targets_at_once_that_keep_more_wait_for_larger_slots(at_once):
    fake = make_tracker(8, 4)
    rooms = []

    def compact(state, room=None):
        rooms.append(room)
        assert room is None or room >= (int(state.box[2]),)
        return fake.compact(state, room)

    tracker = fake._replace(room=lambda state: (int(state.box[2]),), compact=compact)
    widths = [2, 2, 5, 3, 2, 7]
    runs = [(list(frames_of(i, 20 + i)), [5, 6, w, 9]) for i, w in enumerate(widths)]
    records, errors, _ = side_by_side(tracker, PARAMS, runs, num_slots=2, at_once=at_once)
    assert not any(errors.values())
    for found, (frames, box) in zip(records, runs, strict=True):
        alone = run(fake, PARAMS, frames, box)
        np.testing.assert_array_equal(boxes_of(found), boxes_of(list(alone)))
    assert set(rooms) == ({(2,), (5,), (7,)} if at_once else {None})


ECO = ECO_HC_CD.replace("num_slots=4", "num_slots=4,skip_after=4,train_gap=2")


@pytest.mark.as_shipped
@pytest.mark.parametrize(
    "name", ["CACF-CD:num_channels=none", pytest.param(ECO, marks=pytest.mark.slow)]
)
def test_trackers_in_turn_equal_single_runs_bit_for_bit(name):
    # Of the first form each keeps another number of channels.
    tracker = cdjax.make(name)
    videos = [video(seed, 14) for seed in (1, 2, 3)]
    runs = [(frames[: 14 - 3 * i], boxes[0]) for i, (frames, boxes) in enumerate(videos)]
    records, errors, _ = side_by_side(tracker, {}, runs, num_slots=2, at_once=False)
    assert not any(errors.values())
    for found, (frames, box) in zip(records, runs, strict=True):
        alone = list(run(tracker, {}, frames, box))
        np.testing.assert_array_equal(boxes_of(found), boxes_of(alone))
        assert [r.num_channels for r in found] == [r.num_channels for r in alone]
    if name != ECO:
        assert len({tracker.room(found[1].state) for found in records}) == 3


@pytest.mark.parametrize("name", ["CACF-CD", ECO])
def test_trackers_at_once_equal_single_runs(name):
    # The second joins when the first ends, at another frame: it trains in its own frames.
    tracker = cdjax.make(name)
    runs = [(video(1, 14)[0][:11], video(1, 14)[1][0]), (video(2, 14)[0], video(2, 14)[1][0])]
    records, errors, _ = side_by_side(tracker, {}, runs, num_slots=1, at_once=True)
    assert not any(errors.values())
    for found, (frames, box) in zip(records, runs, strict=True):
        alone, together = boxes_of(list(run(tracker, {}, frames, box))), boxes_of(found)
        np.testing.assert_allclose(together[:, :2], alone[:, :2], atol=0.02)
        # HOG's bins are hard: one of the scale filter's patches may vote otherwise. Training in
        # other frames moves a size by 0.06 px or more.
        atol = 0.05 if name == ECO else 0.02
        np.testing.assert_allclose(together[:, 2:], alone[:, 2:], atol=atol)
        assert np.ptp(alone, axis=0).max() > 5


def test_buckets_are_long_ones_first_and_small_ones_merged():
    def sized(name, canvas, count):
        return _Sized(Unit("t", name, None, 0), canvas, count)

    some = [
        sized("a", (256, 384), 10),
        sized("b", (512, 768), 5),
        sized("c", (256, 384), 30),
        sized("d", (128, 192), 7),
        sized("e", (512, 768), 50),
        sized("f", (384, 256), 8),
    ]
    shown = [(canvas, "".join(u.sequence for u in units)) for canvas, units in buckets_of(some, 2)]
    assert shown == [((256, 384), "cad"), ((512, 768), "efb")]
    assert [canvas for canvas, _ in buckets_of(some, 1)] == [
        (128, 192),
        (256, 384),
        (384, 256),
        (512, 768),
    ]
