"""ECO-HC against pyECO from images, step by step; what config and params decide; distillation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from eco_oracle import SEQUENCES, Oracle, memory_after, model_after, rel
from tracker_cases import (
    ECO_CD_S,
    ECO_HC,
    ECO_HC_CD,
    HW,
    compacted,
    num_bytes,
    programs,
    video,
)

import cdjax
from cdjax import boxes as boxes_module
from cdjax.trackers import ECOConfig, backbone_of, eco, model_bytes
from cdjax.trackers._eco import _trains
from cdjax.trackers._names import config_of
from cdjax.weights import load_params

# pyECO's departures from the specification (parity/README.md).
PYECO = ECOConfig(fits=True, sigma=1 / 14, init_rounds=5, skip_after=11)


@pytest.fixture(
    params=[SEQUENCES[0], *(pytest.param(s, marks=pytest.mark.slow) for s in SEQUENCES[1:])]
)
def oracle(parity_dir, request):
    return Oracle(parity_dir / f"eco_hc_{request.param}.npz")


@pytest.fixture
def table(data_dir):
    return load_params(data_dir / "weights" / "CNnorm.mat")


def box_after(oracle, t):
    """The reference's box, from 0."""
    wh = oracle["init_box"][2:] * oracle["scale"][t] / oracle["scale"][0]
    centre = oracle["pos"][t][::-1] - 1
    return np.concatenate([centre - (wh - 1) / 2, wh]).astype(np.float32)


def state_after(oracle, t, state):
    """Puts the reference's state after frame t in place of ours; the scale filter stays."""
    # Intensities take the first of the ten channels of colours.
    projection = []
    for ours, theirs in zip(state.projection, oracle.raw("proj"), strict=True):
        wide = np.zeros(ours.shape, np.float32)
        wide[: len(theirs)] = theirs
        projection.append(jnp.asarray(wide))
    return state._replace(
        box=jnp.asarray(box_after(oracle, t)),
        frame_index=jnp.int32(t),
        scale=jnp.float32(oracle["scale"][t] / oracle["scale"][0]),
        projection=tuple(projection),
        model=model_after(oracle, t),
        memory=memory_after(oracle, t),
    )


# Sides of boxes and what they ask for: sample and region by the specification's tables (2.1), the
# scale model by aspect where there is a scale filter.
FITS = [
    ("ECO-HC", (17, 50), 164, 4 * 164 / 150, (9, 3)),
    ("ECO-HC", (34, 50), 174, 4 * 174 / (4 * np.sqrt(1700)), (7, 4)),
    ("ECO-HC", (45, 45), 188, 4 * 188 / 180, (5, 5)),
    ("ECO-HC-CD", (64, 36), 198, 4 * 198 / 192, (4, 7)),
    ("ECO-HC-CD", (300, 200), 212, 4 * 212 / 200, (4, 7)),
    ("ECO", (40, 40), 217, 4.5 * 208 / 200, (5, 5)),
    ("ECO-CD", (50, 50), 249, 4.5 * 240 / 225, (5, 5)),
    ("ECO-S-Fire2+Fire5:fits=true", (100, 90), 275, 4.5 * 264 / 250, (5, 5)),
    ("ECO-V-11+21:fits=true", (40, 40), 104, 4.5 * 104 / 100, (5, 5)),
    ("ECO-CD-V-11+21:fits=true", (48, 48), 120, 4.5 * 120 / 108, (5, 5)),
    ("ECO-CD-V-11+21:fits=true", (32, 72), 120, 4.5 * 120 / 108, (5, 5)),
    ("ECO-S-Fire2:fits=true,num_scales=1", (20, 80), 211, 4.5 * 204 / 200, (9, 3)),
    ("ECO-HC:hog_cell=8", (45, 45), 188, 4 * 188 / 180, (5, 5)),
]


@pytest.mark.parametrize(("name", "wh", "sample_px", "region_scale", "cells"), FITS)
def test_fit_gives_a_target_the_shapes_of_the_specification(
    name, wh, sample_px, region_scale, cells
):
    config = config_of(name).fitted(wh)
    assert (config.sample_px, config.scale_cells, config.fits) == (sample_px, cells, False)
    side = region_scale * np.sqrt(wh[0] * wh[1])
    np.testing.assert_allclose(config.region_side(jnp.array(wh, jnp.float32)), side, rtol=1e-6)
    wide = cdjax.make(name)
    assert wide.fit((5, 6, *wh)) == wide.fit((50, 60, *wh)) == eco(config) != wide
    assert wide.fit((5, 6, *wh)).fit is None
    assert config.fitted((500, 500)) == config


def test_sizes_that_are_given_are_kept():
    for option in ("sample_px=164", "region_scale=4.0", "scale_cells=4x7", "fits=false"):
        assert cdjax.make(f"ECO-HC:{option}").fit is None
    assert cdjax.make("ECO:hog_cell=8").fit is None
    assert cdjax.make("ECO-V-11+21").fit is cdjax.make("ECO-CD-S-Fire2").fit is None
    assert cdjax.vary("ECO-HC", {"learning_rate": jnp.float32(0.01)}).fit is None
    for option in ("learning_rate=0.01", "hog_cell=8"):
        assert cdjax.make(f"ECO-HC:{option}").fit is not None
    with pytest.raises(cdjax.InputError, match="leave out sample_px"):
        cdjax.make("ECO-HC:fits=true,sample_px=164")


def test_a_box_of_less_than_a_pixel_is_one_of_a_pixel():
    wide = cdjax.make("ECO-HC")
    assert wide.fit((5, 6, 0.3, 0.2)) == wide.fit((5, 6, 1, 1))


@pytest.mark.data
def test_follows_the_reference(oracle, table):
    config = PYECO.fitted(oracle["init_box"][2:])
    assert config.sample_px == 164
    tracker = eco(config)
    init, step = jax.jit(tracker.init), jax.jit(tracker.step)
    state = start = init(table, oracle["frames"][0], box_after(oracle, 0))
    found, expected = [], []
    for t in range(10):
        # On its own: the boxes of the reference.
        state, output = step(table, state, oracle["frames"][t + 1])
        found.append(output.box)
        expected.append(box_after(oracle, t + 1))
        # From the reference's state and its patch, which is cut out whole if taken for the frame:
        # OpenCV's resize rounds otherwise, by a level in an eighth of the pixels.
        patch = state_after(oracle, t, start)
        wh = np.asarray(patch.first_wh)
        scale = 164 / float(config.region_side(patch.first_wh))
        corner = 81 - (wh * scale - 1) / 2
        patch = patch._replace(
            box=jnp.asarray([*corner, *(wh * scale)], jnp.float32),
            scale=jnp.float32(scale),
            frame_hw=jnp.array([164, 164], jnp.int32),
        )
        after, output = step(table, patch, oracle["patch"][t + 1])
        centre = output.box[:2] + (output.box[2:] - 1) / 2
        shift = oracle["disp"][t + 1] * 4
        np.testing.assert_allclose(centre[::-1] - 81, shift, atol=0.01)
        np.testing.assert_allclose(output.score, oracle["max_score"][t + 1], rtol=2e-3)
        np.testing.assert_allclose(after.memory.weights, oracle["weights"][t + 1], atol=1e-6)
        assert rel(after.model.filter_f, oracle.blocks("filter", t + 1)) < 2e-4
    overlap = np.asarray(boxes_module.iou(np.stack(found), np.stack(expected)))
    assert overlap.mean() > 0.9


def test_table_is_checked_and_optional():
    tracker = cdjax.make("ECO-HC")
    frame, box = jax.ShapeDtypeStruct((*HW, 3), jnp.uint8), jnp.ones(4)
    raw = [jax.eval_shape(tracker.init, {}, frame, box).projection[0].shape[0]]
    table = {"table": jax.ShapeDtypeStruct((32**3, 10), jnp.float32)}
    for ch in (3, 1):
        frame = jax.ShapeDtypeStruct((*HW, ch), jnp.uint8)
        raw.append(jax.eval_shape(tracker.init, table, frame, box).projection[0].shape[0])
    assert raw == [5, 10, 10]
    with pytest.raises(cdjax.InputError, match="CNnorm.mat"):
        tracker.init({"table": jnp.zeros((5, 10))}, jnp.asarray(video(1)[0][0]), box)


@pytest.mark.parametrize("side", [6, pytest.param(720, marks=pytest.mark.slow)])
def test_frames_of_4k(side):
    small = np.random.default_rng(0).integers(0, 256, (2160 // side, 3840 // side), dtype=np.uint8)
    frame = np.kron(small, np.ones((side, side), np.uint8))
    second = np.roll(frame, (side // 3, -(side // 3)), axis=(0, 1))
    box = np.array([1880, 700, side, side], np.float32)
    tracker = programs(ECO_HC)
    state = tracker.start(frame, box)
    _, output = tracker.step({}, state, second)
    cell_px = 4 * 4.3 * side / 102
    expected = box + np.array([-(side // 3), side // 3, 0, 0])
    np.testing.assert_allclose(output.box[:2], expected[:2], atol=cell_px)


@pytest.mark.slow
def test_hog_may_be_finer_than_the_layers():
    # One deep layer, as in ECO-M-5: the response has the cells of HOG.
    name = "ECO-CD-S-Fire5:compressed=6x4,sample_px=115,num_slots=4,init_rounds=3,whole=false"
    tracker = programs(name)
    frames, boxes = video(1)
    states, outputs = tracker.loop(frames[:4], boxes[0])
    assert states[-1].label_f.shape == (27, 14)
    overlap = np.asarray(boxes_module.iou(outputs.box, boxes[1:4].astype(np.float32)))
    assert overlap.min() > 0.5
    assert int(states[-1].num_channels) == 4 + 4


def test_schedule_of_the_specification():
    # Frames 1 to 9, then every sixth; the first one is trained by `init`.
    trained = [t + 1 for t in range(30) if _trains(ECOConfig(), t)]
    assert trained == [1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 21, 27]
    assert [t + 1 for t in range(20) if _trains(ECOConfig(skip_after=1), t)] == [1, 7, 13, 19]


@pytest.mark.parametrize("name", [pytest.param(ECO_HC, marks=pytest.mark.slow), ECO_HC_CD])
def test_a_batch_trains_by_the_schedule_too(name):
    # A conditional on a batched index would become a selection, and both its branches run.
    many = jax.vmap(functools.partial(cdjax.track, cdjax.make(name)), in_axes=(None, 0, 0))
    frames, boxes = (jnp.asarray(np.stack([part] * 2)) for part in video(1))
    jaxpr = jax.make_jaxpr(many)({}, frames, boxes[:, 0]).jaxpr
    steps = [eqn for eqn in jaxpr.eqns if eqn.params.get("length") == len(video(1)[0]) - 1]
    (body,) = [eqn.params["jaxpr"].jaxpr for eqn in steps]
    conds = lambda inner: [eqn for eqn in inner.eqns if eqn.primitive.name == "cond"]
    sorts = lambda branch: "= sort[" in str(branch)
    if name == ECO_HC_CD:
        # The second frame distils, the others learn.
        (second,) = [eqn for eqn in conds(body) if any(map(sorts, eqn.params["branches"]))]
        (body,) = [b.jaxpr for b in second.params["branches"] if not sorts(b)]
    # Conjugate gradients go through the samples in each of their steps; no other loop holds one.
    trains = lambda inner: any(
        eqn.primitive.name == "scan" and "scan[" in str(eqn.params["jaxpr"]) for eqn in inner.eqns
    )
    branches = [sorted(trains(b.jaxpr) for b in eqn.params["branches"]) for eqn in conds(body)]
    assert [each for each in branches if any(each)] == [[False, True]]
    assert not trains(body)


@pytest.mark.parametrize("name", [ECO_HC_CD, ECO_CD_S])
def test_distilled_state_holds_only_the_channels_in_use(name):
    few, wide, small = compacted(name)
    config = config_of(name)
    count = int(wide.num_channels)
    stay = sum(config.compressed) - config.num_candidates
    assert count == config.num_channels + stay == int(small.num_channels)
    in_use = np.asarray(wide.selected)[-count:]
    assert (np.diff(in_use) > 0).all()
    np.testing.assert_array_equal(np.asarray(small.selected)[-count:], in_use)
    # The slots of the others, all zero, in the wide state; in the small one few are left.
    frames, boxes = video(1)
    learnt = programs(name).start(frames[0], boxes[0]).projection
    ends = np.cumsum(config.compressed)
    for block, (first, last) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        used = np.isin(np.arange(first, last), in_use)
        np.testing.assert_array_equal(wide.projection[block], np.asarray(learnt[block]) * used)
        for state, spare in ((wide, ~used), (small, None)):
            model, memory = state.model, state.memory
            parts = [
                np.moveaxis(np.asarray(state.projection[block]), -1, 0),
                *(np.asarray(part[block]) for part in (model.filter_f, model.energy)),
                *(np.asarray(part[block]) for part in (model.cg.direction, model.cg.residual)),
                np.moveaxis(np.asarray(memory.samples_f[block]), 1, 0),
            ]
            zero = np.stack([np.abs(part).reshape(len(part), -1).max(1) == 0 for part in parts])
            if spare is not None:
                np.testing.assert_array_equal(zero, np.tile(spare, (len(parts), 1)))
            assert (~zero).sum(1).tolist() == [used.sum()] * len(parts)
            assert state is wide or zero.shape[1] - used.sum() < 4
    assert num_bytes(small) < num_bytes(wide)


@pytest.mark.parametrize("name", [ECO_HC_CD, pytest.param(ECO_CD_S, marks=pytest.mark.slow)])
def test_compacted_steps_equal_those_of_the_wide_tracker(name):
    # From the wide tracker's state in every frame; long enough to train, and to merge samples. On
    # whole pixels, whose rounding keeps last bits of a crop from HOG's votes.
    name = name.replace("whole=false", "whole=true")
    few, state, _ = compacted(name)
    wide, (frames, _) = programs(name), video(1, 12)
    for frame in frames[2:]:
        _, found = few.step(few.params, wide.tracker.compact(state)[1], frame)
        state, expected = wide.step(wide.params, state, frame)
        np.testing.assert_allclose(found.box, expected.box, atol=1e-4)
        np.testing.assert_allclose(found.score, expected.score, atol=1e-5)
    assert int(state.memory.num_samples) == 4


@pytest.mark.slow
def test_a_block_may_lose_all_its_channels():
    name = ECO_HC_CD + ",num_channels=3,select=energy"
    tracker = programs(name)
    frames, boxes = video(1)
    state = tracker.start(frames[0], boxes[0])
    state, _ = tracker.step({}, state, frames[1])
    matrices = [np.asarray(matrix) for matrix in state.projection]
    # As if all three had been of HOG.
    none = jax.tree.map(lambda leaf: leaf, state)._replace(
        projection=(jnp.zeros_like(state.projection[0]), state.projection[1])
    )
    used = int((matrices[1] != 0).any(0).sum())
    assert 0 < used
    _, small = tracker.tracker.compact(none)
    assert small.projection[0].shape == (5, 0)
    found = model_bytes(backbone_of(name)[0], {}, small)
    block = small.model.filter_f[1]
    assert found["total"] == used * (31 * 4 + block[0].nbytes)
    few = cdjax.make(name)
    _, output = jax.jit(few.step)({}, small, frames[2])
    assert np.isfinite(output.box).all()


@pytest.mark.parametrize("name", [ECO_HC, ECO_CD_S])
def test_a_black_frame_moves_nothing(name):
    # A network sees its own borders there; whole pixels would round the place.
    tracker = programs(name.replace("whole=false", "whole=true"))
    frames, boxes = video(1)
    start = boxes[0] + np.array([0.3, 0.4, 0, 0])
    state = tracker.start(frames[0], start)
    _, output = tracker.step(tracker.params, state, np.zeros_like(frames[0]))
    np.testing.assert_allclose(output.box, start, atol=1e-4)


def test_compaction_needs_two_frames():
    tracker = programs(ECO_HC_CD)
    frames, boxes = video(1)
    with pytest.raises(cdjax.InputError, match="needs two"):
        tracker.tracker.compact(tracker.start(frames[0], boxes[0]))


@pytest.mark.slow
def test_diagnostics_of_the_distillation():
    name = ECO_HC_CD + ",aux=true"
    tracker = programs(name)
    frames, boxes = video(1)
    _, outputs = tracker.loop(frames[:3], boxes[0])
    assert outputs.aux["friendliness"].shape == (2, 13)
    assert (outputs.aux["energy"] > 0).all()
    assert outputs.aux["mask"].sum(1).tolist() == [9, 9]
    assert outputs.aux["response"].shape == (2, *config_of(name).grid_hw)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("compressed", (3,)),
        ("compressed", (3, 40)),
        ("sample_px", 20),
        ("color_cell", 0),
        ("learning_rate", 1.0),
        ("num_scales", 2),
        ("num_slots", 1),
        ("reg_sparsity", 0.0),
        ("scale_cells", (1, 5)),
        ("region", None),
        ("select", "exact"),
        ("num_channels", 14),
        ("min_channels", 0),
        ("friendliness", "none"),
    ],
)
def test_bad_options_are_refused(option, value):
    with pytest.raises(cdjax.InputError, match=option):
        cdjax.make("ECO-HC", **{option: value})
