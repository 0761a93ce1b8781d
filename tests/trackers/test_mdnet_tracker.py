"""MDNet's loop: what it draws, when it learns, and what MDNet-CD keeps."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tracker_cases import (
    HW,
    MDNET,
    MDNET_CD,
    all_finite,
    at,
    gap,
    params_of,
    programs,
    programs_for,
    same_bits,
    step_through,
    video,
)

import cdjax
from cdjax import InputError, classifier, crop, deep_features, locate
from cdjax.trackers import _mdnet
from cdjax.trackers._choose_features import _surrogate, choose_features
from cdjax.trackers._names import config_of

AUTO = MDNET_CD.replace("num_channels=64", "num_channels=none,min_channels=40")


@functools.cache
def started(name=MDNET):
    """Programs, frames and the state after the first of video 1."""
    frames, boxes = video(1)
    return programs(name), frames, programs(name).start(frames[0], boxes[0])


def with_bias(state, target):
    """A state whose classifier calls everything target, or nothing."""
    bias = jnp.array([0.0, 1e4 if target else -1e4])
    last = state.head["fc6"] | {"bias": bias}
    return state._replace(head=state.head | {"fc6": last})


# Seeds


def test_the_seed_decides_what_is_drawn():
    tracker, frames, state = started()
    _, boxes = video(1)
    runs = {}
    for seed in (0, 1):
        key = jax.random.key(seed)
        first = tracker.start(frames[0], boxes[0], key=key)
        runs[seed] = step_through(tracker, first, frames[1:3])
    # Without a key `init` takes the config's seed, 0.
    _, output = tracker.step(tracker.params, state, frames[1])
    np.testing.assert_allclose(output.box, runs[0][1].box[0], atol=1e-3)
    assert gap(runs[0][1], runs[1][1]) > 1e-2


def test_each_frame_draws_anew():
    tracker, frames, state = started()
    state = with_bias(state, False)  # it stays at its place
    seen = set()
    for frame in frames[1:4]:
        state, output = tracker.step(tracker.params, state, frame)
        seen.add(tuple(np.asarray(output.box - output.box[0]).round(3)))
    assert len(seen) == 3


# What it draws and learns from


@pytest.fixture
def calls(monkeypatch):
    """What the tracker asks of its parts: (name, positional arguments, options) of each call."""
    made = []

    def listen(module, name, instead=None):
        plain = getattr(module, name)

        def call(*args, **options):
            made.append((name, args, options))
            # Where a test runs op by op, this is one of the ops.
            with jax.disable_jit(False):
                return (instead or plain)(*args, **options)

        monkeypatch.setattr(module, name, call)

    def untrained(head, opt_state, positives, negatives, pos_index, neg_index, **options):
        # Momentum that tells how often it was trained.
        more = jax.tree.map(lambda leaf: leaf + 1, opt_state)
        head = jax.tree.map(lambda leaf: leaf * 1.5, head)
        iters = pos_index.shape[0]
        return classifier.TrainResult(
            head, more, jnp.zeros(iters), jnp.zeros(iters), jnp.zeros((iters, 1), jnp.int32)
        )

    network = jax.jit(deep_features.candidate_features, static_argnums=0)
    listen(deep_features, "candidate_features", network)
    listen(crop, "mdnet_crop", jax.jit(crop.mdnet_crop, static_argnames="out_px"))
    listen(crop, "draw_boxes")
    listen(crop, "regression_samples")
    listen(locate, "fit_box_regression")
    listen(classifier, "index_stream")
    listen(classifier, "train_head", untrained)
    listen(_mdnet, "choose_features")
    return made


def few(name):
    """A name with fewer patches, for steps op by op."""
    return name.replace("num_boxes=24", "num_boxes=6").replace("tives=40", "tives=16")


def named(calls, name):
    return [(args, options) for found, args, options in calls if found == name]


def test_draws_and_rates_are_those_of_py_mdnet(calls):
    tracker, params = _mdnet.build_mdnet(config_of("MDNet")), params_of("MDNet")
    frame, box = jax.ShapeDtypeStruct((*HW, 3), jnp.uint8), jax.ShapeDtypeStruct((4,), jnp.float32)

    def draws():
        fields = ("kind", "num", "trans", "scale", "aspect", "overlap")
        return [tuple(o.get(f) for f in fields) for _, o in named(calls, "draw_boxes")]

    state = jax.eval_shape(tracker.init, params, frame, box)
    assert draws() == [
        ("gaussian", 500, 0.1, 1.3, None, (0.7, 1.0)),
        ("uniform", 2500, None, 1.6, None, (0.0, 0.5)),
        ("whole", 2500, None, None, None, (0.0, 0.5)),
        ("uniform", 1000, 0.3, 1.6, 1.1, (0.6, 1.0)),
        ("uniform", 200, 2.0, 1.3, None, (0.0, 0.5)),
    ]
    assert len(named(calls, "regression_samples")) == 1
    ((_, fit),) = named(calls, "fit_box_regression")
    assert fit["reg"] == 1000
    ((args, options),) = named(calls, "train_head")
    assert [x.shape for x in args[2:]] == [(500, 4608), (5000, 4608), (50, 32), (50, 1024)]
    found = (options["learning_rate"], options["num_hard"], options["last_rate_factor"])
    assert found == (5e-4, 96, 10)
    assert options["masks"].fc5.shape == (50, 128, 512)

    calls.clear()
    jax.eval_shape(tracker.step, params, state, frame)
    first, *others = draws()
    assert (first[0], first[1], first[3], first[5]) == ("gaussian", 256, 1.05, None)
    # The shapes of what a branch returns are traced once more.
    assert set(others) == {
        ("gaussian", 50, 0.1, 1.3, None, (0.7, 1.0)),
        ("uniform", 200, 2.0, 1.3, None, (0.0, 0.3)),
    }
    args, options = named(calls, "train_head")[0]
    assert [x.shape for x in args[2:]] == [(5450, 4608), (6000, 4608), (15, 32), (15, 1024)]
    assert options["learning_rate"] == 1e-3


def test_updates_take_the_frames_that_they_should(calls):
    tracker, (frames, boxes) = _mdnet.build_mdnet(config_of(few(MDNET))), video(1)
    frames, params = jnp.asarray(frames), params_of(MDNET)
    state, seen = jax.jit(tracker.init)(params, frames[0], jnp.asarray(boxes[0])), []
    with jax.disable_jit():
        # Training the first frame leaves no momentum to the updates.
        assert max(np.abs(x).max() for x in jax.tree.leaves(state.opt_state)) == 0
        for index in range(1, 8):
            calls.clear()
            # The seventh is not found.
            state, _ = tracker.step(params, with_bias(state, index < 7), frames[index % 7])
            streams = named(calls, "index_stream")
            assert len(streams) == (2 if index in (3, 6, 7) else 0)
            if streams:
                rings = (state.positives, state.negatives)
                seen.append(
                    [
                        np.unique(np.asarray(ring.frames)[np.asarray(args[1])]).tolist()
                        for ring, (args, _) in zip(rings, streams, strict=True)
                    ]
                )
    assert seen == [
        [[0, 1, 2, 3], [1, 2, 3]],
        [[3, 4, 5, 6], [4, 5, 6]],
        [[4, 5, 6], [4, 5, 6]],
    ]
    assert all((np.asarray(leaf) == 3).all() for leaf in jax.tree.leaves(state.opt_state))


class _Head(NamedTuple):
    """A head by itself."""

    head: Any


@pytest.mark.parametrize("found", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_distillation_cuts_what_it_was_given(calls, monkeypatch, found):
    tracker, (frames, boxes) = _mdnet.build_mdnet(config_of(few(MDNET_CD))), video(1)
    frames, params = jnp.asarray(frames), params_of(MDNET_CD)
    # How the target scores is decided here.
    start = lambda key, params: with_bias(_Head(classifier.init_head(key)), found).head
    monkeypatch.setattr(classifier, "start_head", start)
    state = tracker.init(params, frames[0], jnp.asarray(boxes[0]))
    with jax.disable_jit():
        after, output = tracker.step(params, state, frames[1])
    assert (output.score > 0) == found
    rows = (np.asarray(after.selected)[:, None] * 9 + np.arange(9)).reshape(-1)
    (first, _), (second, options) = named(calls, "train_head")
    # The head that the first training returned, cut; and without its momentum.
    whole = 1.5 * np.asarray(first[0]["fc4"]["kernel"])
    np.testing.assert_array_equal(second[0]["fc4"]["kernel"], whole[rows])
    np.testing.assert_array_equal(second[0]["fc5"]["kernel"], 1.5 * first[0]["fc5"]["kernel"])
    assert max(np.abs(x).max() for x in jax.tree.leaves(second[1])) == 0
    assert options["learning_rate"] == 1e-3
    np.testing.assert_array_equal(after.head["fc4"]["kernel"], 1.5 * whole[rows])
    # It is trained on the samples of both frames, or of the first alone.
    assert set(np.unique(after.positives.frames)) == ({-1, 0, 1} if found else {-1, 0})
    np.testing.assert_array_equal(after.positives.features[:5], np.asarray(first[2])[:5, rows])
    # The regression learns from the first frame alone, at last with the channels kept.
    (fit, _), (again, _) = named(calls, "fit_box_regression")
    np.testing.assert_array_equal(again[0], np.asarray(fit[0])[:, rows])
    for args in (fit, again):
        np.testing.assert_array_equal(args[2], state.box)
    # Friendliness sees the target in both frames.
    ((args, _),) = named(calls, "choose_features")
    history, _, labels, weights, told = args[1:6]
    look = lambda frame, box: deep_features.maps_of(
        config_of(MDNET_CD).extract(params, crop.mdnet_crop(frame, box[None])), hw=(3, 3)
    )[0]
    np.testing.assert_allclose(history[0], look(frames[0], state.box), rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(history[1], look(frames[1], after.box), rtol=1e-3, atol=1e-2)
    assert np.abs(history[0] - history[1]).max() > 1
    assert bool(told) == found
    # 20 and 5 of the target, 8 and 8 of the background; the second frame's count if it is found.
    assert labels.tolist() == [1] * 25 + [0] * 16
    used = np.asarray(weights) > 0
    assert (used[20:25].any(), used[33:].any()) == (found, found)
    for label in (0, 1):
        np.testing.assert_allclose(weights[labels == label].sum(), 0.5, rtol=1e-5)


def test_the_box_that_is_carried_on_is_not_regressed():
    tracker, (frames, boxes) = programs(MDNET + ",aux=true"), video(1)
    state = with_bias(tracker.start(frames[0], boxes[0]), True)
    after, output = tracker.step(tracker.params, state, frames[1])
    best = np.argsort(-np.asarray(output.aux["logits"]))[:5]
    np.testing.assert_allclose(after.box, output.aux["boxes"][best].mean(0), rtol=1e-5)
    assert np.abs(output.box - after.box).max() > 1e-3


# When it learns


def test_a_failure_widens_the_search_and_trains_on_what_there_is():
    tracker, frames, state = started()
    state = with_bias(state, False)
    after, output = tracker.step(tracker.params, state, frames[1])
    assert output.score < 0
    np.testing.assert_allclose(after.trans, 1.1 * 0.3, rtol=1e-6)
    assert same_bits((after.positives, after.negatives), (state.positives, state.negatives))
    assert gap(after.head, state.head) > 1e-4
    # What is not sure is not regressed.
    np.testing.assert_array_equal(output.box, after.box)
    for _ in range(20):
        after = with_bias(after, False)
        after, _ = tracker.step(tracker.params, after, frames[1])
    np.testing.assert_allclose(after.trans, 1.5, rtol=1e-6)


def test_a_success_stores_samples_and_trains_every_few_frames():
    tracker, frames, state = started()
    state = with_bias(state, True)._replace(trans=jnp.float32(1.5))
    for index, frame in enumerate([*frames[1:], *frames[1:]], 1):
        after, output = tracker.step(tracker.params, state, frame)
        assert output.score > 0
        assert int(after.frame_index) == index
        np.testing.assert_allclose(after.trans, 0.3, rtol=1e-6)
        assert int(after.positives.num_frames) == int(state.positives.num_frames) + 1
        # MDNet's tenth frame is the third here.
        assert same_bits(after.head, state.head) == (index % 3 != 0)
        state = with_bias(after, True)
    # The last four frames' target samples, and the last three's of the background.
    assert np.unique(state.positives.frames).tolist() == [0, 9, 10, 11, 12]
    assert np.unique(state.negatives.frames).tolist() == [10, 11, 12]


def test_lanes_train_where_one_needs_it():
    tracker, frames, state = started()
    axes = jax.tree.map(lambda _: 0, state)._replace(frame_index=None)
    lanes = jax.jit(jax.vmap(tracker.tracker.step, in_axes=(None, axes, None), out_axes=(axes, 0)))
    pair = [with_bias(state, False), with_bias(state, True)]
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *pair)
    after, _ = lanes(tracker.params, batch._replace(frame_index=state.frame_index), frames[1])
    for lane, before in enumerate(pair):
        alone, _ = tracker.step(tracker.params, before, frames[1])
        assert gap(at(after.head, lane), alone.head) < 1e-5
    assert gap(at(after.head, 0), pair[0].head) > 1e-4
    assert same_bits(at(after.head, 1), pair[1].head)


@pytest.mark.parametrize("name", [MDNET, MDNET_CD])
def test_frames_of_one_colour_teach_nothing(name):
    tracker, frames, state = started(name)
    state, _ = tracker.step(tracker.params, state, frames[1])
    state = state._replace(trans=jnp.float32(1.2))
    blank = np.full_like(frames[0], 90)
    after, output = tracker.step(tracker.params, state, blank)
    np.testing.assert_allclose(output.box, state.box, atol=1e-4)
    kept = ("head", "opt_state", "positives", "negatives", "trans")
    for field in kept:
        assert same_bits(getattr(after, field), getattr(state, field))


def test_identical_frames_are_tracked():
    tracker, frames, state = started()
    states, outputs = step_through(tracker, state, [frames[0]] * 4)
    assert all_finite((states, outputs))


# Small and odd targets


def test_a_target_smaller_than_a_candidate_keeps_its_size():
    # MDNet's candidates have sides of 10 px or more, which none of this target's samples has.
    tracker, (frames, boxes) = programs(MDNET), video(1)
    small = np.array([boxes[0][0] + 6, boxes[0][1] + 8, 5, 4], np.float32)
    state = tracker.start(frames[0], small)
    assert (np.asarray(state.positives.frames) == 0).sum() == 20
    _, outputs = step_through(tracker, state, frames[1:4])
    assert (outputs.box[:, 2] >= 5 - 1e-4).all()
    assert (outputs.box[:, 2:] < 10).all()


def test_a_target_that_left_keeps_its_centre_in_the_frame():
    tracker, frames, state = started()
    gone = state._replace(box=jnp.array([500.0, 400.0, 20.0, 20.0]))
    states, outputs = step_through(tracker, gone, frames[1:4])
    assert all_finite((states, outputs))
    centres = outputs.box[:, :2] + (outputs.box[:, 2:] - 1) / 2
    assert (centres <= [127, 95]).all()


def test_nan_in_weights_is_seen_in_the_box():
    # Commands stop at a box that is not finite; the library hands it on.
    tracker, frames, state = started()
    kernel = tracker.params["conv3"]["kernel"].at[0, 0, 0, 0].set(jnp.nan)
    bad = tracker.params | {"conv3": tracker.params["conv3"] | {"kernel": kernel}}
    _, output = tracker.step(bad, state, frames[1])
    assert np.isnan(output.score)
    assert np.isnan(output.box).all()


# Distillation


def test_distilled_state_holds_the_channels_kept_alone():
    tracker, frames, state = started(MDNET_CD)
    wide = started(MDNET)[2]
    after, _ = tracker.step(tracker.params, state, frames[1])
    assert int(after.num_channels) == 64
    selected = np.asarray(after.selected)
    assert (np.diff(selected) > 0).all()
    for small, whole in ((after, wide), (state, wide)):
        assert small.head["fc4"]["kernel"].shape == (64 * 9, 512)
        assert whole.head["fc4"]["kernel"].shape == (512 * 9, 512)
        assert small.positives.features.shape[1] * 8 == whole.positives.features.shape[1]
        assert small.negatives.features.shape[1] * 8 == whole.negatives.features.shape[1]
        assert small.regression.coef.shape == (64 * 9, 4)
    cut, few = tracker.tracker.compact(after)
    assert few.first_frame == ()
    assert same_bits(few.head, after.head)
    assert cut is tracker.tracker


@pytest.mark.slow
def test_a_wide_distilled_state_equals_the_compacted_one():
    tracker, frames, state = started(AUTO)
    wide, _ = tracker.step(tracker.params, state, frames[1])
    count = int(wide.num_channels)
    assert 40 <= count < 512
    assert (np.asarray(wide.selected)[: 512 - count] == 0).all()
    few, small = tracker.tracker.compact(wide)
    assert small.selected.size < 512
    assert small.head["fc4"]["kernel"].shape[0] == 9 * small.selected.size
    few = programs_for(few, tracker.params, trains=True)
    for frame in frames[2:5]:
        small, found = few.step(few.params, small, frame)
        wide, expected = tracker.step(tracker.params, wide, frame)
        np.testing.assert_allclose(found.box, expected.box, atol=1e-3)
        np.testing.assert_allclose(found.score, expected.score, rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match="room"):
        tracker.tracker.compact(wide, (4,))


def test_compact_needs_two_frames():
    tracker, _, state = started(MDNET_CD)
    with pytest.raises(InputError, match="second|two"):
        tracker.tracker.compact(state)


@functools.cache
def toy():
    """A head of 12 channels with 2 x 2 cells, and samples that a few channels tell apart."""
    rng = np.random.default_rng(0)
    labels = np.repeat([1, 0], 20)
    samples = rng.uniform(size=(40, 12, 4)) * rng.uniform(0.2, 2, size=(1, 12, 1))
    samples[:, [2, 5, 7]] *= 1 + 2 * labels[:, None, None]
    head = classifier.init_head(jax.random.key(0), num_features=48, num_units=16)
    head = jax.tree.map(lambda leaf: 20 * leaf if leaf.ndim == 2 else leaf, head)
    history = rng.uniform(size=(2, 2, 2, 12))
    history[..., 11] = 0
    return (
        head,
        jnp.asarray(history, jnp.float32),
        jnp.asarray(samples.reshape(40, 48), jnp.float32),
        jnp.asarray(labels, jnp.int32),
        jnp.full(40, 1 / 40, jnp.float32),
    )


def choose(select, num_channels, **options):
    plain = {
        "friendliness": "ratio",
        "min_channels": None,
        "max_rounds": 5,
        "decay": 5e-4,
        "key": None,
    }
    found = jnp.bool_(options.pop("found", True))
    return choose_features(
        *toy(), found, select=select, num_channels=num_channels, **(plain | options)
    )


def test_surrogate_is_what_fc4_loses():
    head, _, samples, _, weights = toy()
    energy = _surrogate(head["fc4"]["kernel"], samples, weights, 12)
    kernel = np.asarray(head["fc4"]["kernel"], np.float64)
    whole = np.asarray(samples, np.float64) @ kernel
    for seed in range(4):
        mask = np.random.default_rng(seed).uniform(size=12) < 0.5
        part = (np.asarray(samples) * np.repeat(mask, 4)) @ kernel
        expected = (np.asarray(weights)[:, None] * (whole - part) ** 2).sum() / 16
        found = mask @ energy.gram @ mask - 2 * energy.linear @ mask + energy.constant
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * energy.constant)
    np.testing.assert_allclose(energy.penalty, (kernel.reshape(12, -1) ** 2).sum(1), rtol=1e-5)


def test_search_lowers_the_loss_and_never_raises_it():
    gains = []
    for count in range(2, 11):
        ranked, found = choose("friendliness", count), choose("swap", count)
        assert int(ranked.mask.sum()) == int(found.mask.sum()) == count
        assert found.energy <= ranked.energy + 1e-6
        gains.append(float(ranked.energy - found.energy))
    assert max(gains) > 0.01


def test_search_lowers_the_surrogate():
    head, _, samples, _, weights = toy()
    energy = _surrogate(head["fc4"]["kernel"], samples, weights, 12)
    value = lambda mask: float(mask @ energy.gram @ mask - 2 * energy.linear @ mask)
    drops = []
    for count in range(2, 11):
        masks = [np.asarray(choose(select, count).mask) for select in ("swap", "friendliness")]
        drops.append(value(masks[1]) - value(masks[0]))
    # Where the loss of the swapped set is larger, the ranking's stays.
    assert min(drops) >= 0
    assert np.sum(np.array(drops) > 1e-3) >= 3


def test_dead_channels_go_first():
    assert not choose("friendliness", 11).mask[11]
    assert int(choose("swap", None).mask.sum()) == 11
    assert int(choose("friendliness", None, min_channels=12).mask.sum()) == 12


def test_a_lost_second_frame_ranks_by_strength():
    lost = choose("friendliness", 5, found=False)
    np.testing.assert_array_equal(lost.mask, choose("energy", 5).mask)
    assert not np.array_equal(lost.mask, choose("friendliness", 5).mask)


def test_keys_of_another_kind_are_refused():
    frames, boxes = video(1)
    key = jax.random.key(0, impl="rbg")
    with pytest.raises(InputError, match="key of .*rbg"):
        cdjax.make(MDNET_CD).init(
            params_of(MDNET), jnp.asarray(frames[0]), jnp.asarray(boxes[0]), key=key
        )


@pytest.mark.parametrize("select", ["energy", "random"])
def test_controls_keep_as_many(select):
    found = choose(select, 5, key=jax.random.key(1))
    assert int(found.mask.sum()) == 5
    assert not np.array_equal(found.mask, choose("friendliness", 5).mask)


# Names and options


def test_names():
    assert config_of("MDNet").select == "all"
    assert config_of("MDNet").num_held == 512
    assert (config_of("MDNet-CD").select, config_of("MDNet-CD").num_channels) == ("swap", 239)
    assert cdjax.network_of("MDNet") == "mdnet"
    assert cdjax.network_of("MDNet:network=mdnet_matlab") == "mdnet_matlab"
    assert cdjax.make("MDNet").compact is None
    assert cdjax.make("MDNet").cycle == (1, 10)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("network=vgg19", "use one of mdnet, mdnet_matlab"),
        ("select=exact", "use one of all, swap"),
        ("num_best=300", "use at most 256"),
        ("num_boxes=0", "use 1 or more"),
        ("first_positives=49", "use positives=50 or more"),
        ("batch_candidates=95", "use batch_negatives=96 or more"),
        ("short_frames=101", "use at most long_frames=100"),
        ("trans_most=0.5", "use trans=0.6 or more"),
        ("box_step=1", "use a ratio above 1"),
        ("momentum=1", "below 1"),
        ("seed=none", "a whole number"),
        ("num_channels=513", "use 1 to 512"),
    ],
)
def test_bad_options_are_refused(option, words):
    with pytest.raises(InputError, match=words):
        cdjax.make(f"MDNet-CD:{option}")


@pytest.mark.slow
def test_aux_tells_what_was_seen():
    tracker, (frames, boxes) = programs(MDNET_CD + ",aux=true"), video(1)
    state = tracker.start(frames[0], boxes[0])
    _, outputs = step_through(tracker, state, frames[1:3])
    aux = outputs.aux
    assert aux["boxes"].shape == (2, 24, 4)
    best = np.sort(aux["logits"], axis=1)[:, -5:].mean(1)
    np.testing.assert_allclose(best, outputs.score, rtol=1e-5)
    assert aux["mask"].sum(1).tolist() == [64, 64]
    assert np.isfinite(aux["energy"]).all()
    assert np.isfinite(aux["friendliness"]).all()


def test_weights_of_another_network_are_refused():
    frames, boxes = video(1)
    with pytest.raises(InputError, match="weights"):
        cdjax.make(MDNET).init(params_of("CF2-V-11"), jnp.asarray(frames[0]), jnp.asarray(boxes[0]))
