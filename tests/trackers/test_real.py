"""Real weights on the first frames of real videos."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tracker_cases import jit_to_run_long

import cdjax
from cdjax import benchmark, boxes, classifier, crop, locate
from cdjax.benchmark import load_otb, read_images
from cdjax.deep_features import init_params
from cdjax.trackers._names import config_of

NUM_FRAMES = 25


@pytest.fixture(scope="module")
def vgg19(data_dir):
    return cdjax.load_params(data_dir / "weights" / "vgg_normalised_conv3_1.pth")


def track(data_dir, sequence, name, params):
    """Records of the first frames, and the overlaps with the truth."""
    (target,) = load_otb(data_dir / "otb" / sequence)
    frames = read_images(target.frame_paths[:NUM_FRAMES])
    records = list(benchmark.run(cdjax.make(name), params, frames, target.boxes[0]))
    assert len(records) == NUM_FRAMES
    found = np.stack([record.box for record in records]).astype(np.float64)
    return records, boxes.iou(found, target.boxes[:NUM_FRAMES])


# Mean overlap, channels; measured: 0.85, 56; 0.89, 50; 0.84, 31; 0.88, 31.
CASES = [
    ("DeepCD-V-11+12+21", "Crossing", 0.75, 115),
    pytest.param("DeepCD-V-11+12+21", "David", 0.8, 115, marks=pytest.mark.slow),
    ("DeepCD-H", "Crossing", 0.72, 31),
    pytest.param("DeepCD-H", "David", 0.78, 31, marks=pytest.mark.slow),
]


@pytest.mark.data
@pytest.mark.as_shipped
@pytest.mark.parametrize(("name", "sequence", "floor", "most"), CASES)
def test_real_videos(data_dir, request, name, sequence, floor, most):
    params = request.getfixturevalue("vgg19") if "-V-" in name else {}
    records, overlaps = track(data_dir, sequence, name, params)
    assert overlaps[0] > 0.999
    assert overlaps.mean() > floor
    assert overlaps.min() > 0.5
    assert min(record.trust for record in records[1:]) > 10
    # All candidates in the first frame; from the second on those kept, at most 45 in 100 of VGG's.
    kept = {record.num_channels for record in records[1:]}
    assert records[0].num_channels == (256 if "-V-" in name else 31)
    assert len(kept) == 1
    assert 4 <= kept.pop() <= most


FEWER = "MDNet:first_negatives=600,first_positives=100,first_samples=300"


@pytest.fixture(scope="module")
def half_trained(data_dir):
    """MDNet's weights where nobody trained them: edges of SqueezeNet, then random layers."""
    params = init_params(jax.random.key(0), config_of("MDNet").backbone)
    given = cdjax.load_params(data_dir / "weights" / "compressed_SqueezeNet.net")
    return params | {"conv1": given["conv1"], "mean": given["mean"]}


@functools.cache
def first_training(name):
    return jit_to_run_long(cdjax.make(name).init)


@functools.cache
def features(name):
    config = config_of(name)
    cut = lambda frame, some: crop.mdnet_crop(frame, some)
    return jax.jit(lambda params, frame, some: config.extract(params, cut(frame, some)))


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "sequence"),
    [
        (FEWER, "Crossing"),
        *(
            pytest.param("MDNet", sequence, marks=pytest.mark.slow)
            for sequence in (
                *("Bird2", "Car1", "Couple", "Crossing", "David", "Diving", "Football1", "Girl"),
                *("Jogging", "Jumping", "MotorRolling", "Soccer"),
            )
        ),
    ],
)
def test_mdnet_learns_the_first_frame(data_dir, half_trained, name, sequence):
    for target in load_otb(data_dir / "otb" / sequence):
        frame = jnp.asarray(next(iter(read_images(target.frame_paths[:1]))))
        box, hw = jnp.asarray(target.boxes[0], jnp.float32), jnp.array(frame.shape[:2])
        state = first_training(name)(half_trained, frame, box)
        draw = functools.partial(crop.draw_boxes, box=box, frame_hw=hw, kind="uniform")
        # Other draws than those that it learnt from.
        near, _ = draw(jax.random.key(7), num=400, scale=1.6, overlap=(0.0, 0.5))
        far, _ = draw(jax.random.key(8), num=200, trans=2.0, scale=1.3, overlap=(0.0, 0.5))
        fit, valid = draw(
            jax.random.key(9), num=400, trans=0.3, scale=1.6, aspect=1.1, overlap=(0.6, 1.0)
        )
        seen = features(name)(half_trained, frame, jnp.concatenate([box[None], near, far, fit]))
        logits = np.asarray(classifier.score(state.head, seen)[:, 1])
        assert logits[0] > 0
        assert logits[0] > logits[1:601].max()
        moved = locate.regress_boxes(state.regression, seen[601:], fit, hw)
        chosen = np.asarray(valid & crop.regression_samples(fit, box))
        assert chosen.sum() > 20
        before, after = (
            np.asarray(crop.box_overlaps(some, box))[chosen].mean() for some in (fit, moved)
        )
        assert after > before + 0.02
