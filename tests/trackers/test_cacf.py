"""CACF against DCF_CA, frame by frame, and what CACF-CD's distillation does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tracker_cases import programs, step_through, video

import cdjax
from cdjax import filters
from cdjax.trackers._cacf import _gray


@pytest.fixture(params=["Crossing", "Jumping"])
def reference(parity_dir, request):
    """The oracle, and CACF on its grid."""
    with np.load(parity_dir / f"dcf_ca_{request.param}.npz") as file:
        data = {key: file[key] for key in file.files}
    tracker = cdjax.make(
        "CACF", grid_hw=data["label"].shape, region="pixels", shared=False, aux=True
    )
    return data, tracker


def box_at(data, t):
    """A box whose window is cut where the reference cuts it at frame t."""
    grid_px = 4 * np.array(data["label"].shape)
    # Its window, of 3 sides, may be larger than the cells in it, which start at its corner.
    centre = data["pos"][t] - 1 - data["window_sz"] // 2 + grid_px // 2
    size = data["target_sz"].astype(np.float64)
    return np.concatenate([(centre - (size - 1) / 2)[::-1], size[::-1]]).astype(np.float32)


def start(data, tracker, t=0):
    """State after frame t, as the reference has it."""
    state = jax.jit(tracker.init)({}, data["gray"][t], box_at(data, t))
    # Ours is conjugated in use, the reference's as it is stored.
    model = np.conj(np.moveaxis(data["filter"][t], -1, 0))
    return state, state._replace(model=jnp.asarray(model))


@pytest.mark.data
def test_first_frame_equals_dcf_ca(reference):
    data, tracker = reference
    state, expected = start(data, tracker)
    label = filters.irfft2(state.label_f, hw=data["label"].shape)
    np.testing.assert_allclose(label, data["label"], atol=1e-6)
    # FHOG with exact roots and angles: see the oracle's README.
    np.testing.assert_allclose(
        state.model, expected.model, atol=0.03 * np.abs(expected.model).max()
    )


@pytest.mark.data
def test_each_step_equals_dcf_ca(reference):
    data, tracker = reference
    step = jax.jit(tracker.step)
    for t in range(len(data["gray"]) - 1):
        _, state = start(data, tracker, t)
        after, output = step({}, state, data["gray"][t + 1])
        expected = data["response"][t + 1]
        response = output.aux["response"]
        np.testing.assert_allclose(response, expected, atol=5e-3 * np.abs(expected).max())
        if data["peak_margin"][t + 1] > 0.02:
            moved = np.asarray(after.box[:2] - state.box[:2])[::-1]
            np.testing.assert_array_equal(moved, 4 * data["delta_cells"][t + 1])
        model = start(data, tracker, t + 1)[1].model
        np.testing.assert_allclose(after.model, model, atol=0.03 * np.abs(model).max())


@pytest.mark.data
def test_gray_levels_are_matlabs(parity_dir):
    with np.load(parity_dir / "dcf_ca_Crossing.npz") as data:
        np.testing.assert_array_equal(
            _gray(jnp.asarray(data["rgb_first"]))[..., 0], data["gray"][0]
        )


@pytest.mark.parametrize(("side", "px"), [(99, 4), (100, 8)])
def test_large_targets_are_halved(side, px):
    tracker = cdjax.make("CACF", grid_hw=(12, 9), region="pixels", shared=False)
    frame, box = jnp.zeros((240, 320, 1), jnp.uint8), jnp.array([50.0, 50.0, side, side])
    state = jax.jit(tracker.init)({}, frame, box)
    np.testing.assert_allclose(side * state.region_ratio, [12 * px, 9 * px], rtol=1e-6)


def test_shared_features_are_those_of_the_patches_apart():
    # The border cells of a patch see less of their surroundings; the window hides them.
    frames, boxes = video(1)
    box = np.array([50, 40, 20, 20], np.float32) + np.array([0.5, 0.5, 0, 0], np.float32)
    shared, apart = (
        programs("CACF", shared=shared, grid_hw=(15, 15)).start(frames[0], box).model
        for shared in (True, False)
    )
    assert np.abs(shared - apart).max() < 0.05 * np.abs(apart).max()
    assert len(boxes)


def test_distillation_keeps_the_number_asked_for():
    frames, boxes = video(1)
    states, _ = programs("CACF-CD:num_channels=12").loop(frames[:3], boxes[0])
    assert int(states[0].num_channels) == 12
    selected = np.asarray(states[0].selected)
    assert np.all(np.diff(selected) > 0)
    np.testing.assert_array_equal(selected, states[1].selected)


def test_all_channels_distilled_are_cacf():
    frames, boxes = video(1)
    _, found = programs("CACF-CD:num_channels=31").loop(frames, boxes[0])
    _, expected = programs("CACF").loop(frames, boxes[0])
    np.testing.assert_allclose(found.box, expected.box, atol=1e-3)
    np.testing.assert_allclose(found.score, expected.score, rtol=1e-3)


def test_compaction_changes_no_box():
    wide = programs("CACF-CD:num_channels=none")
    frames, boxes = video(1)
    states, _ = wide.loop(frames[:2], boxes[0])
    small, state = wide.tracker.compact(states[0])
    count = int(state.num_channels)
    assert len(state.selected) == len(state.model) < 31
    assert len(state.selected) - count < 4
    assert state.first_patches == ()
    few = wide._replace(step=jax.jit(small.step))
    _, expected = step_through(wide, states[0], frames[2:])
    _, found = step_through(few, state, frames[2:])
    np.testing.assert_allclose(found.box, expected.box, atol=1e-3)
    with pytest.raises(cdjax.InputError, match="call step first"):
        wide.tracker.compact(wide.start(frames[0], boxes[0]))
    with pytest.raises(cdjax.InputError, match=r"room=\(32,\) is more than the \(31,\)"):
        wide.tracker.compact(states[0], (32,))


def test_a_black_frame_is_not_learnt():
    tracker = programs("CACF")
    frames, boxes = video(1)
    state = tracker.start(frames[0], boxes[0])
    after, _ = tracker.step({}, state, np.zeros_like(frames[0]))
    np.testing.assert_array_equal(after.model, state.model)
    np.testing.assert_allclose(after.box, state.box, atol=1e-3)


@pytest.mark.parametrize("side", [6, 720])
def test_frames_of_4k(side):
    # Gray levels are computed where pixels are sampled, whatever the size of the frame.
    small = np.random.default_rng(0).integers(0, 256, (2160 // side, 3840 // side), dtype=np.uint8)
    frame = np.kron(small, np.ones((side, side), np.uint8))
    second = np.roll(frame, (side // 3, -(side // 3)), axis=(0, 1))
    box = np.array([1880, 700, side, side], np.float32)
    step = jax.jit(cdjax.make("CACF").step)
    state = jax.jit(cdjax.make("CACF").init)({}, frame, box)
    state, output = step({}, state, second)
    cell_px = 3 * side / 30
    expected = box + np.array([-(side // 3), side // 3, 0, 0])
    np.testing.assert_allclose(output.box, expected, atol=cell_px)


def test_colour_names_are_further_candidates():
    frames, boxes = video(1)
    name = "CACF-CD:colors=true,num_channels=38"
    states, outputs = programs(name).loop(frames[:3], boxes[0])
    assert cdjax.network_of(name) == "colornames"
    assert np.asarray(states[0].selected).max() >= 31
    assert np.isfinite(outputs.box).all()
    gray = frames[:3].mean(-1).astype(np.uint8)
    states, _ = programs(name).loop(gray, boxes[0])
    assert int(states[-1].num_channels) == 38
    with pytest.raises(cdjax.InputError, match="colour names need their table"):
        cdjax.make(name).init({}, jnp.asarray(frames[0]), jnp.asarray(boxes[0]))
