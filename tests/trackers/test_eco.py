"""ECO-HC against pyECO from images, step by step, and what its config and params decide."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from eco_oracle import SEQUENCES, SLOTS, Oracle, rel
from tracker_cases import HW, jit, video

import cdjax
from cdjax import boxes, filters
from cdjax.trackers import ECOConfig, eco
from cdjax.trackers._eco import _trains
from cdjax.weights import load_params

# pyECO's sizes and its departures from the specification (parity/README.md).
PYECO = ECOConfig(
    sample_px=164, region_scale=4 * 164 / 150, sigma=1 / 14, init_rounds=5, skip_after=11
)


@pytest.fixture(params=SEQUENCES)
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
    samples_f = []
    for block in oracle.blocks("sample"):
        stored = np.zeros((SLOTS, *block.shape[1:]), np.complex64)
        stored[: t + 1] = block[: t + 1]
        samples_f.append(jnp.asarray(stored))
    gram = np.zeros((SLOTS, SLOTS), np.float32)
    gram[: t + 1, : t + 1] = oracle["gram"][t, : t + 1, : t + 1]
    filter_f, energy = (
        jax.tree.map(jnp.asarray, oracle.blocks(n, t)) for n in ("filter", "energy")
    )
    cg = filters.fresh_cg(filter_f)
    if t > 0:
        rho = jnp.float32(oracle["cg_rho"][t])
        cg = filters.CGState(oracle.blocks("cg_p", t), oracle.blocks("cg_rprev", t), rho)
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
        model=filters.ECOModel(filter_f, energy, cg),
        memory=filters.SampleMemory(
            tuple(samples_f),
            jnp.asarray(oracle["weights"][t]),
            jnp.asarray(gram),
            jnp.int32(t + 1),
            jnp.int32(t),
            jnp.int32(-1),
        ),
    )


@pytest.mark.data
def test_follows_the_reference(oracle, table):
    tracker = eco(PYECO)
    init, step = jit(tracker.init), jit(tracker.step)
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
        scale = 164 / (PYECO.region_scale * np.sqrt(wh.prod()))
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
    overlap = np.asarray(boxes.iou(np.stack(found), np.stack(expected)))
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


def test_schedule_of_the_specification():
    # Frames 1 to 9, then every sixth; the first one is trained by `init`.
    trained = [t + 1 for t in range(30) if _trains(ECOConfig(), t)]
    assert trained == [1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 21, 27]
    assert [t + 1 for t in range(20) if _trains(ECOConfig(skip_after=1), t)] == [1, 7, 13, 19]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("compressed", (3,)),
        ("compressed", (3, 40)),
        ("sample_px", 20),
        ("color_cell", 8),
        ("learning_rate", 1.0),
        ("num_scales", 2),
        ("num_slots", 1),
        ("reg_sparsity", 0.0),
        ("scale_cells", (1, 5)),
    ],
)
def test_bad_options_are_refused(option, value):
    with pytest.raises(cdjax.InputError, match=option):
        cdjax.make("ECO-HC", **{option: value})
