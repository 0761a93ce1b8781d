"""Slots: what runs in some frames only, devices, phases."""

import functools
import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tracker_cases import ECO_HC, HW, all_finite, programs, video

import cdjax
from cdjax.lanes import Slots, step_at_once, step_in_turn
from cdjax.lanes._programs import Programs
from cdjax.lanes._slots import phase_of
from cdjax.trackers._base import TrackOutput

SHORT = ECO_HC.replace("num_slots=4", "num_slots=4,skip_after=4,train_gap=2")
COUNTS = np.array([2, 2], np.int32)


def loops_outside_branches(jaxpr):
    """Loops that run in every step, and those within conditionals."""
    outside = inside = 0
    for eqn in jaxpr.eqns:
        parts = [
            getattr(p, "jaxpr", p)
            for p in jax.tree.leaves(
                list(eqn.params.values()),
                is_leaf=lambda x: hasattr(x, "jaxpr") or hasattr(x, "eqns"),
            )
        ]
        counted = [loops_outside_branches(part) for part in parts if hasattr(part, "eqns")]
        own = eqn.primitive.name in ("scan", "while")
        total = own + sum(map(sum, counted))
        if eqn.primitive.name == "cond":
            inside += total
        else:
            outside += own + sum(one for one, _ in counted)
            inside += sum(other for _, other in counted)
    return outside, inside


def lanes_of(name, form):
    """A program of two lanes, compiled, and its jaxpr."""
    tracker = cdjax.make(name)
    frame = jax.ShapeDtypeStruct((*HW, 3), jnp.uint8)
    state = jax.eval_shape(tracker.init, {}, frame, jnp.ones(4))
    lanes = jax.tree.map(lambda x: jax.ShapeDtypeStruct((2, *x.shape), x.dtype), state)
    frames = jax.ShapeDtypeStruct((2, 2, *HW, 3), jnp.uint8)
    counts = jax.ShapeDtypeStruct((2,), jnp.int32)
    if form == "batched":  # what a batched index would do
        axes = jax.tree.map(lambda _: 0, state)
        step = jax.vmap(tracker.step, in_axes=(None, axes, 0))
        args = ({}, lanes, jax.ShapeDtypeStruct((2, *HW, 3), jnp.uint8))
    else:
        function = step_at_once if form == "at once" else step_in_turn
        step = functools.partial(function, tracker)
        args = ({}, lanes, frames, counts)
        if form == "at once":
            index = jax.ShapeDtypeStruct((), jnp.int32)
            args = ({}, lanes._replace(frame_index=()), frames, counts, index)
    return jax.make_jaxpr(step)(*args).jaxpr, functools.partial(jax.jit(step).lower, *args)


def test_training_stays_a_branch_in_a_batch():
    # ECO's training is loops of conjugate gradients; a batched index would run them every frame.
    always, never = loops_outside_branches(lanes_of(SHORT, "batched")[0])
    assert never == 0
    at_once, lower = lanes_of(SHORT, "at once")
    outside, trains = loops_outside_branches(at_once)
    assert trains > 0
    assert outside == always - trains + 1  # one more, over the frames
    # Lane by lane there are two more, over the lanes and over the frames of each.
    in_turn, _ = lanes_of(SHORT, "in turn")
    assert loops_outside_branches(in_turn) == (always - trains + 2, trains)
    assert re.search(r"= .* conditional\(", lower().compile().as_text())


def test_lanes_in_turn_take_the_frames_that_are_there():
    def step(params, state, frame):
        box = jnp.full(4, frame[0, 0, 0], jnp.float32)
        one = jnp.float32(1)
        return state + 1, TrackOutput(box, one, one, one, ())

    tracker = cdjax.Tracker(init=step, step=step)
    frames = jnp.arange(1, 13, dtype=jnp.uint8).reshape(3, 4, 1, 1, 1)
    counts = jnp.array([0, 2, 9])
    states, outputs = step_in_turn(tracker, {}, jnp.zeros(3, jnp.int32), frames, counts)
    assert states.tolist() == [0, 2, 4]
    assert outputs.box[..., 0].tolist() == [[0, 0, 0, 0], [5, 6, 0, 0], [9, 10, 11, 12]]
    assert outputs.score.tolist() == [[0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]]


def test_phases_follow_the_cycle():
    tracker = cdjax.make(SHORT)
    assert tracker.cycle == (2, 3)
    assert [phase_of(tracker, index) for index in range(9)] == [0, 1, 2, 3, 4, 2, 3, 4, 2]
    assert [phase_of(cdjax.make("CACF-CD"), index) for index in range(4)] == [0, 1, 1, 1]


def test_steps_agree_within_a_phase():
    # A step does the same at two indices of one phase, and not at two of others.
    tracker = programs(SHORT)
    frames, boxes = video(1)
    states, _ = tracker.loop(frames, boxes[0])
    state = states[-1]
    ends = {}
    for index in range(2, 8):
        after, _ = tracker.step(
            tracker.params, state._replace(frame_index=jnp.int32(index)), frames[3]
        )
        ends[index] = np.asarray(after.model.filter_f[0])
    for index in range(2, 5):
        np.testing.assert_array_equal(ends[index], ends[index + 3])
    assert not np.array_equal(ends[2], ends[4])


def start(name, seeds=(1, 2, 3, 4)):
    tracker = programs(name)
    videos = [video(seed) for seed in seeds]
    states = [tracker.start(frames[0], boxes[0]) for frames, boxes in videos]
    return tracker, states, [frames for frames, _ in videos]


@pytest.mark.parametrize("at_once", [False, True])
def test_slots_take_as_many_frames_as_they_are_given(at_once):
    tracker, states, videos = start("CF2-H")
    slots = Slots(tracker.tracker, {}, num=4, at_once=at_once)
    for slot, state in enumerate(states):
        slots.put(slot, state)
    frames = np.stack([frames[1:4] for frames in videos])
    outputs, compiled = slots.step(frames, {0: 3, 1: 1, 3: 2})
    assert compiled > 0
    assert sorted(outputs) == [0, 1, 3]
    for slot, count in enumerate((3, 1, 0, 2)):
        last, expected = tracker.resume({}, states[slot], videos[slot][1 : 1 + count])
        if count:
            assert all_finite(outputs[slot])
            np.testing.assert_allclose(outputs[slot].box[:count], expected.box, atol=0.02)
        taken = slots.take(slot)
        assert int(taken.frame_index) == count
        np.testing.assert_allclose(taken.box, last.box, atol=0.02)
    assert slots.step(frames, {0: 0}) == ({}, 0.0)
    assert slots.step(frames, {2: 1})[1] == 0, "compiled anew"


def test_slots_at_once_must_be_in_phase():
    tracker, states, videos = start(SHORT, (1, 2))
    slots = Slots(tracker.tracker, {}, num=2, at_once=True)
    slots.put(0, states[0])
    slots.put(1, states[1]._replace(frame_index=jnp.int32(3)))
    frames = np.stack([frames[1:2] for frames in videos])
    with pytest.raises(ValueError, match=r"must be in phase, these are at \[0, 3\]"):
        slots.step(frames, {0: 1, 1: 1})


def test_a_compacted_target_is_stepped_by_its_own_tracker():
    # Also where those before it in the slot, or beside it, have other sizes.
    tracker, states, videos = start("CACF-CD:num_channels=none", (3, 1))
    frames = np.stack([frames[1:4] for frames in videos])
    distilled = [tracker.step({}, *one)[0] for one in zip(states, frames[:, 0], strict=True)]
    own = [tracker.tracker.compact(state) for state in distilled]
    wide = tracker.tracker.compact(distilled[1], (31,))
    assert own[0][1].selected.size < wide[1].selected.size
    slots = Slots(tracker.tracker, {}, num=2, at_once=False)
    for slot, (its_tracker, state) in enumerate([own[0], wide]):
        slots.put(slot, state, its_tracker)
    assert slots.step(frames[:, 1:], {0: 2, 1: 1})[1] > 0
    assert slots.step(frames[:, 1:], {1: 1})[1] == 0, "compiled anew"
    slots.put(1, own[1][1], own[1][0])
    outputs, _ = slots.step(frames[:, 1:], {1: 2})
    _, expected = tracker.resume({}, distilled[1], frames[1, 1:])
    np.testing.assert_allclose(outputs[1].box, expected.box, atol=0.02)
    assert not own[0][1].selected.is_deleted(), "the state that was put is its owner's still"

    at_once = Slots(tracker.tracker, {}, num=2, at_once=True)
    at_once.put(0, own[0][1], own[0][0])
    with pytest.raises(ValueError, match="have one size: compact all"):
        at_once.put(1, *own[1][::-1])


_SHARDED = """
import hashlib, json, sys
import jax
jax.config.update("jax_num_cpu_devices", 4)
import numpy as np
sys.path.insert(0, sys.argv[1])
from tracker_cases import ShippedJax, programs, video
from cdjax.lanes import Slots, _programs
found = {}
for at_once in (False, True):
    # XLA compiles ECO for a mesh of devices into other last bits.
    tracker = programs("CACF:num_scales=3" if at_once else sys.argv[2])
    _programs.jax = jax if at_once else ShippedJax()
    for count in (1, 4 if at_once else 3):
        videos = [video(seed) for seed in (1, 2, 3, 4)]
        states = [tracker.start(frames[0], boxes[0]) for frames, boxes in videos]
        devices = jax.devices()[:count]
        slots = Slots(tracker.tracker, {}, num=4, devices=devices, at_once=at_once)
        for slot, state in enumerate(states):
            slots.put(slot, state)
        frames = np.stack([frames[1:] for frames, _ in videos])
        outputs, _ = slots.step(frames, dict.fromkeys(range(4), 6))
        states = [slots.take(slot) for slot in range(4)]
        bits = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(states))
        digest = hashlib.sha256(bits).hexdigest()
        boxes = [outputs[slot].box.tolist() for slot in range(4)]
        found[f"{at_once} {count}"] = [len(slots.devices), boxes, digest]
        one, *_, two = states
        assert (one.box - two.box).shape == (4,), "states of several devices lie in one place"
        assert int(two.frame_index) == 6
print(json.dumps(found))
"""


@pytest.mark.parametrize(
    "name", ["CACF:num_scales=3", pytest.param(ECO_HC, marks=pytest.mark.slow)]
)
def test_lanes_spread_over_devices_equal_those_of_one(name):
    command = [sys.executable, "-c", _SHARDED, str(Path(__file__).parents[1]), name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    for at_once in (False, True):
        one = np.array(found[f"{at_once} 1"][1])
        assert np.ptp(one, axis=1).max() > 2
        count = 4 if at_once else 3
        used, boxes, digest = found[f"{at_once} {count}"]
        assert used == count
        if at_once:  # batches of another size: other instructions
            np.testing.assert_allclose(boxes, one, atol=0.02)
        else:
            np.testing.assert_array_equal(boxes, one)
            assert digest == found[f"{at_once} 1"][2], "states differ in a bit"


def test_a_program_that_cannot_be_made_moves_no_target(monkeypatch):
    tracker, states, videos = start("CF2-H", (1, 2))
    slots = Slots(tracker.tracker, {}, num=2, devices=jax.devices() * 2, at_once=False)
    for slot, state in enumerate(states):
        slots.put(slot, state)

    def fail(*_, **__):
        raise MemoryError("no room")

    frames = np.stack([frames[1:2] for frames in videos])
    with monkeypatch.context() as patched:
        patched.setattr("cdjax.lanes._slots.programs.compiled_each", fail)
        with pytest.raises(MemoryError):
            slots.step(frames, {0: 1, 1: 1})
    assert [int(slots.take(slot).frame_index) for slot in (0, 1)] == [0, 0]
    outputs, _ = slots.step(frames, {0: 1, 1: 1}, aux=False)
    assert [output.aux for output in outputs.values()] == [(), ()]
    assert all_finite(outputs)


def test_programs_are_kept_by_their_last_use_and_by_precision():
    held = Programs(2)
    functions = [lambda x, i=i: x @ x + i for i in range(3)]
    square = jnp.ones((2, 2))
    first, second, third = functions
    one, _ = held.compiled(first, square)
    held.compiled(second, square)
    assert held.compiled(first, square) == (one, 0.0)
    held.compiled(third, square)  # in place of the second
    assert held.compiled(first, square) == (one, 0.0)
    with jax.default_matmul_precision("float32"):
        assert held.compiled(first, square)[0] is not one

    def fail(x):
        raise ValueError("not traced")

    kept, _ = held.compiled(first, square)
    with pytest.raises(ValueError, match="not traced"):
        held.compiled(fail, square)
    assert held.compiled(first, square) == (kept, 0.0)


def test_a_program_that_takes_over_memory_is_another():
    held, square = Programs(2), jnp.ones((2, 2))
    plain, taking = (held.compiled(jnp.negative, square, donate=given)[0] for given in ((), (0,)))
    plain(square)
    assert not square.is_deleted()
    taking(square)
    assert square.is_deleted()


def test_devices_and_slots_that_there_are():
    tracker, states, _ = start("CF2-H", (1,))
    make = functools.partial(Slots, tracker.tracker, {}, num=3, devices=jax.devices() * 2)
    assert len(make(at_once=True).devices) == 1, "as many as divide the slots"
    slots = make(at_once=False)
    assert len(slots.devices) == 2
    with pytest.raises(IndexError, match="slot 3 of 3"):
        slots.put(3, states[0])
    with pytest.raises(IndexError, match="slot 2 of 3 has had no target"):
        slots.take(2)
    frames = np.zeros((3, 1, *HW, 3), np.uint8)
    with pytest.raises(IndexError, match="slot 2 of 3 has had no target"):
        slots.step(frames, {2: 1})
    with pytest.raises(ValueError, match="frames of 2 slots: give those of all 3"):
        slots.step(frames[:2], {})
    for count in (2, -1):
        with pytest.raises(ValueError, match=rf"counts \[{count}\]: there are 1 frames"):
            slots.step(frames, {0: count})
