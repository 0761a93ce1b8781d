"""Streams: targets come and go, each with the boxes that it has alone."""

import functools

import jax
import numpy as np
import pytest
from tracker_cases import ECO_HC, video

import cdjax
from cdjax import StreamPool
from cdjax.lanes import pad_to_canvas, step_alone

ONE = np.ones(1, np.int32)
NUM = 10
CANVAS = (128, 128)
SHORT = ECO_HC.replace("num_slots=4", "num_slots=4,skip_after=4,train_gap=2")


@functools.cache
def alone(name, seed, shift=0.0):
    """Boxes of a video tracked by itself."""
    tracker = cdjax.make(name)
    init, step = jax.jit(tracker.init), jax.jit(step_alone(tracker))
    frames, boxes = video(seed, NUM)
    hw = np.array(frames.shape[1:3], np.int32)
    start = boxes[0].astype(np.float32) + np.float32(shift)
    state = init({}, pad_to_canvas(frames[0], CANVAS), start, frame_hw=hw)
    found = [start]
    for frame in frames[1:]:
        state, output = step({}, state, pad_to_canvas(frame, CANVAS), ONE)
        found.append(np.asarray(output.box))
    return np.array(found)


@pytest.mark.parametrize(
    ("name", "at_once"),
    [
        ("CACF-CD", False),
        ("CACF-CD", True),
        pytest.param(SHORT, True, marks=pytest.mark.slow),
    ],
)
def test_targets_that_come_and_go_have_their_own_boxes(name, at_once):
    pool = StreamPool(cdjax.make(name), {}, slots=2, at_once=at_once)
    videos = {seed: video(seed, NUM) for seed in (1, 2, 3)}
    target, found, shown = {}, {seed: [] for seed in videos}, dict.fromkeys(videos, 0)

    def add(seed):
        frames, boxes = videos[seed]
        target[seed] = pool.add(frames[0], boxes[0])

    def step(*seeds):
        for seed in seeds:
            shown[seed] += 1
        outputs = pool.step({target[s]: videos[s][0][shown[s]] for s in seeds})
        assert list(outputs) == [target[s] for s in seeds]
        for seed in seeds:
            found[seed].append(outputs[target[seed]].box)

    add(1)
    step(1)
    step(1)
    add(2)
    step(2, 1)
    step(1)  # 2 has no frame yet
    step(1, 2)
    pool.drop(target[1])
    add(3)  # where 1 was
    for _ in range(5):
        step(2, 3)
    assert len(pool) == 2
    for seed, boxes in found.items():
        expected = alone(name, seed)[1 : len(boxes) + 1]
        if at_once:
            np.testing.assert_allclose(boxes, expected, atol=0.02)
        else:
            np.testing.assert_array_equal(boxes, expected)
    assert int(pool.state(target[3]).frame_index) == 5
    assert len(found[3]) == 5


@pytest.mark.parametrize("at_once", [False, True])
def test_targets_of_one_video_share_its_frames(at_once):
    frames, boxes = video(1, NUM)
    pool = StreamPool(cdjax.make("CACF-CD"), {}, slots=3, at_once=at_once)
    targets = [pool.add(frames[0], boxes[0] + shift) for shift in (0.0, 2.0)]
    found = []
    for frame in frames[1:5]:
        outputs = pool.step(dict.fromkeys(targets, frame))
        found.append([outputs[target].box for target in targets])
    for index, shift in enumerate((0.0, 2.0)):
        expected = alone("CACF-CD", 1, shift)[1:5]
        atol = 0.02 if at_once else 0
        np.testing.assert_allclose([row[index] for row in found], expected, rtol=0, atol=atol)


def test_nothing_is_compiled_for_another_target():
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: compiled.append(event) if "backend_compile" in event else None
    )
    frames, boxes = video(1, NUM)
    pool = StreamPool(cdjax.make("CF2-H"), {}, slots=2, at_once=False)

    def play():
        one, two = pool.add(frames[0], boxes[0]), pool.add(frames[0][:90], boxes[0])
        for index in (1, 2):
            pool.step({one: frames[index], two: frames[index][:90]})
            pool.step({one: frames[index]})
        pool.state(two)
        pool.drop(one)
        pool.drop(two)

    play()
    assert compiled
    before = len(compiled)
    play()
    assert len(compiled) == before


def test_gray_frames_are_taken():
    frames, boxes = video(1, NUM)
    pool = StreamPool(cdjax.make("CF2-H"), {}, slots=1)
    target = pool.add(frames[0][..., 0], boxes[0])
    output = pool.step({target: frames[1][..., :1]})[target]
    assert np.isfinite(output.box).all()


def test_bad_input_names_what_is_wrong():
    frames, boxes = video(1, NUM)
    with pytest.raises(cdjax.InputError, match="slots=0: use 1 or more"):
        StreamPool(cdjax.make("CF2-H"), {}, slots=0)
    pool = StreamPool(cdjax.make("CF2-H"), {}, slots=1)
    assert pool.step({}) == {}
    with pytest.raises(cdjax.InputError, match="no target 7 in the pool; there are: none"):
        pool.step({7: frames[0]})
    with pytest.raises(cdjax.InputError, match="outside"):
        pool.add(frames[0], [900, 1, 5, 5])
    with pytest.raises(cdjax.InputError, match=r"give uint8 \[H, W, 3\]"):
        pool.add(frames[0][..., :2], boxes[0])
    assert len(pool) == 0
    target = pool.add(frames[0], boxes[0])
    with pytest.raises(cdjax.InputError, match=r"give uint8 \[H, W, 3\]"):
        pool.step({target: frames[1][..., :2]})
    assert int(pool.state(target).frame_index) == 0
    with pytest.raises(cdjax.InputError, match="all 1 slots are taken"):
        pool.add(frames[0], boxes[0])
    with pytest.raises(cdjax.InputError, match=rf"target {target}: its frames are 128x96"):
        pool.step({target: frames[1][:50]})
    pool.drop(target)
    with pytest.raises(cdjax.InputError, match=f"no target {target} in the pool"):
        pool.drop(target)
