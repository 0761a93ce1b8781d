"""A tracker cut down to its channels: the same boxes, less to hold and to compute."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tracker_cases import (
    DEEPCD_V,
    HW,
    all_finite,
    at,
    compacted,
    gap,
    num_bytes,
    programs,
    same_bits,
    stack,
    step_through,
    video,
)

import cdjax
from cdjax.trackers._choose import round_up

NUM_FRAMES = 17
AUTO = ["DeepCD-H", DEEPCD_V]


def equations(jaxpr):
    """Equations of a jaxpr and of all inside it."""
    for eqn in jaxpr.eqns:
        yield eqn
        for inner in jax.tree.leaves(
            list(eqn.params.values()), is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")
        ):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from equations(inner)


@pytest.mark.parametrize("name", AUTO)
def test_each_step_equals_that_of_the_wide_tracker(name):
    # From the wide tracker's state in every frame, so that errors cannot pile up or cancel.
    few, state, _ = compacted(name)
    wide, (frames, _) = programs(name), video(1, NUM_FRAMES)
    boxes = []
    for frame in frames[2:]:
        _, found = few.step(few.params, wide.tracker.compact(state)[1], frame)
        state, expected = wide.step(wide.params, state, frame)
        np.testing.assert_allclose(found.box, expected.box, atol=1e-3)
        np.testing.assert_allclose(found.score, expected.score, atol=1e-4)
        np.testing.assert_allclose(found.trust, expected.trust, rtol=1e-3)
        boxes.append(np.asarray(found.box))
    assert len(boxes) == 15
    assert np.ptp(boxes, axis=0)[:2].max() > 10


def test_boxes_equal_those_of_the_wide_tracker():
    # Not with HOG over this many frames: its hard orientation bins turn the last bit of a box
    # into another vote, and once in a while that into another scale.
    few, wide_state, state = compacted(DEEPCD_V)
    frames, _ = video(1, NUM_FRAMES)
    wide_states, expected = step_through(programs(DEEPCD_V), wide_state, frames[2:])
    states, found = step_through(few, state, frames[2:])
    np.testing.assert_allclose(found.box, expected.box, atol=1e-3)
    np.testing.assert_allclose(found.score, expected.score, atol=1e-4)
    small = programs(DEEPCD_V).tracker.compact(wide_states[-1])[1]
    assert gap(states[-1], small) < 1e-4


@pytest.mark.parametrize("name", AUTO)
def test_state_shrinks_to_the_channels(name):
    _, wide, small = compacted(name)
    count, slots = int(wide.num_channels), len(small.selected)
    assert count < slots + 1 <= len(wide.selected)
    assert slots - count < max(4, count / 4)
    assert int(small.num_channels) == count
    assert small.gain.shape == small.offset.shape == (slots,)
    assert small.model.template_f.shape[0] == slots
    np.testing.assert_array_equal(small.selected[slots - count :], wide.selected[-count:])
    assert np.all(small.gain[: slots - count] == 0)
    # What only the distillation needed is gone, and the spectra shrink with the channels.
    assert small.first_patches == small.key == ()
    saved = num_bytes(wide) - num_bytes(small)
    spare = len(wide.selected) - slots
    assert saved >= num_bytes(wide.first_patches) + spare * small.model.template_f[0].nbytes


def test_sizes_come_from_a_small_set():
    for most in (31, 64, 256, 3656):
        sizes = [round_up(count, most) for count in range(1, most + 1)]
        assert all(size >= count for count, size in enumerate(sizes, 1))
        assert all(size - count < max(4, count / 4) for count, size in enumerate(sizes, 1))
        assert sizes == sorted(sizes)
        assert sizes[-1] == most
        # 4, 8, 12, 16, then four to the octave.
        assert len(set(sizes)) <= 4 * np.ceil(np.log2(most / 16) + 1)
    assert round_up(0, 128) == 0


def distilled(kept):
    """A wide state that keeps these channels."""
    frames, boxes = video(1)
    state = programs(DEEPCD_V).loop(frames[:2], boxes[0])[0][0]
    slots = len(state.selected)
    used = np.arange(slots) >= slots - len(kept)
    selected = np.zeros(slots, np.int32)
    selected[used] = kept
    return state._replace(
        selected=jnp.asarray(selected),
        num_channels=jnp.int32(len(kept)),
        gain=state.gain * used,
        model=state.model._replace(template_f=state.model.template_f * used[:, None, None]),
    )


def choosing(kept):
    """A tracker for such a state, and the state, compacted."""
    return programs(DEEPCD_V).tracker.compact(distilled(kept))


def shapes_used(tracker, state):
    """Shapes of what every operation of a step takes, and of what is gathered of conv2_1."""
    frames, _ = video(1)
    jaxpr = jax.make_jaxpr(tracker.step)(programs(DEEPCD_V).params, state, jnp.asarray(frames[2]))
    used, gathered = set(), set()
    for eqn in equations(jaxpr.jaxpr):
        shapes = [getattr(var.aval, "shape", None) for var in eqn.invars]
        used |= {(eqn.primitive.name, shape) for shape in shapes}
        if eqn.primitive.name == "gather" and shapes[0] == (3, 3, 64, 128):
            gathered.add(eqn.outvars[0].aval.shape)
    return used, gathered


def test_deepest_layer_computes_few_outputs_or_all():
    # 5/9 of 128 are 71; sizes go 56, 64, 80.
    whole = ("conv_general_dilated", (3, 3, 64, 128))
    for in_deepest, computed in ((5, 8), (64, 64), (65, 128), (128, 128)):
        kept = [3, *range(128, 128 + in_deepest)]
        tracker, state = choosing(kept)
        used, gathered = shapes_used(tracker, state)
        assert (whole in used) == (computed == 128)
        assert gathered == (set() if computed == 128 else {(3, 3, 64, computed)})
    # The programs of 80 and of 128 outputs are one.
    some, all_ = [*range(80), *range(128, 208)], [*range(32), *range(128, 256)]
    assert choosing(some)[0] == choosing(all_)[0]


def test_the_network_stops_at_the_deepest_layer_in_use():
    used, _ = shapes_used(*choosing(range(9)))  # nine channels of conv1_1, none deeper
    shapes = {shape for _, shape in used}
    assert (3, 3, 3, 64) in shapes
    assert not shapes & {(3, 3, 64, 64), (3, 3, 64, 128)}


@pytest.mark.parametrize("junk", [1e6, np.nan])
@pytest.mark.parametrize("in_deepest", [40, 100])  # computed one by one, and with all
def test_unselected_outputs_of_the_deepest_layer_do_not_matter(in_deepest, junk):
    tracker, state = choosing([3, *range(128, 128 + in_deepest)])
    frames, _ = video(1)
    step, params = jax.jit(tracker.step), programs(DEEPCD_V).params
    unused = np.arange(128) >= in_deepest
    last = {
        key: jnp.where(unused, junk, leaf.reshape(-1, 128)).reshape(leaf.shape)
        for key, leaf in params["conv2_1"].items()
    }
    expected = step(params, state, frames[2])
    found = step(params | {"conv2_1": last}, state, frames[2])
    assert all_finite(found)
    assert same_bits(found, expected)


def test_a_room_of_others_changes_no_box():
    # Lanes of a batch share the largest room, in which a few outputs may be computed with all.
    kept = [3, *range(128, 168)]
    (few, own), frame = choosing(kept), video(1)[0][2]
    wide, params = programs(DEEPCD_V), programs(DEEPCD_V).params
    _, expected = jax.jit(few.step)(params, own, frame)
    for room in ((48, 3, 64), (160, 3, 128)):
        tracker, state = wide.tracker.compact(distilled(kept), room)
        assert len(state.selected) == room[0]
        _, found = jax.jit(tracker.step)(params, state, frame)
        np.testing.assert_allclose(found.box, expected.box, atol=1e-4)
        np.testing.assert_allclose(found.score, expected.score, atol=1e-5)


def test_a_new_target_starts_with_all_candidates():
    wide = programs("DeepCD-H")
    few, _, state = compacted("DeepCD-H")
    assert few.tracker.init is wide.tracker.init
    assert few.tracker.compact is not None
    # The same size again is the same program.
    assert wide.tracker.compact(compacted("DeepCD-H")[1])[0].step is few.tracker.step
    assert len(state.selected) < 31


def test_lanes_of_a_compacted_tracker():
    few, _, state = compacted("DeepCD-H")
    frames, _ = video(1)
    states, outputs = step_through(few, state, frames[2:])
    # Three windows of the video, each from its own state.
    batch = stack([jax.tree.map(np.asarray, s) for s in (state, states[0], states[1])])
    batch = batch._replace(frame_index=batch.frame_index[0])
    axes = jax.tree.map(lambda _: 0, batch)._replace(frame_index=None)
    windows = np.stack([frames[2 + i : 5 + i] for i in range(3)])
    many = jax.jit(
        jax.vmap(
            lambda state, window: cdjax.resume(few.tracker, {}, state, window)[1],
            in_axes=(axes, 0),
        )
    )(batch, windows)
    for i in range(3):
        np.testing.assert_allclose(many.box[i], outputs.box[i : i + 3], atol=0.02)


# The random control


def test_random_channels_follow_the_key():
    tracker = programs("DeepCD-H:select=random")
    frames, boxes = video(1)

    def chosen(key):
        states, _ = tracker.loop(frames[:2], boxes[0], key=key)
        return np.asarray(states[0].selected).tolist()

    first = chosen(jax.random.key(1))
    assert chosen(jax.random.key(1)) == first
    assert chosen(jax.random.PRNGKey(1)) == first
    others = [chosen(jax.random.key(seed)) for seed in range(2, 6)]
    assert first not in others
    assert len({tuple(other) for other in others}) == 4
    # Without a key the config's seed decides, 0 by default.
    assert chosen(None) == chosen(jax.random.key(0))


def test_seed_is_the_key_where_none_is_given():
    frame, box = jnp.zeros((*HW, 3), jnp.uint8), jnp.array([50.0, 40, 20, 20])
    for seed in (0, 3):
        tracker = cdjax.make("DeepCD-H:select=random", seed=seed)
        state = jax.jit(lambda frame, box, init=tracker.init: init({}, frame, box))(frame, box)
        np.testing.assert_array_equal(state.key, jax.random.key_data(jax.random.key(seed)))
    assert at(state, ...).key.dtype == np.uint32


def test_a_compacted_tracker_starts_a_second_target():
    few = compacted("DeepCD-H:num_channels=12")[0].tracker
    frames, boxes = video(2)
    fresh = cdjax.make("DeepCD-H:num_channels=12")
    run = lambda tracker: jax.jit(lambda f, b: cdjax.track(tracker, {}, f, b))(frames, boxes[0])
    found, expected = run(few), run(fresh)
    assert expected.score[1:].min() > 0.1
    np.testing.assert_allclose(found.box, expected.box, atol=1e-3)


def test_compact_needs_the_second_frame():
    tracker = cdjax.make("DeepCD-H")
    frames, boxes = video(1)
    state = tracker.init({}, jnp.asarray(frames[0]), jnp.asarray(boxes[0]))
    with pytest.raises(cdjax.InputError, match="call step first"):
        tracker.compact(state)
