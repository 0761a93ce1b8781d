"""Real weights on the first frames of real videos."""

import numpy as np
import pytest

import cdjax
from cdjax import benchmark, boxes
from cdjax.benchmark import load_otb, read_images

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
    ("DeepCD-V-11+12+21", "David", 0.8, 115),
    ("DeepCD-H", "Crossing", 0.72, 31),
    ("DeepCD-H", "David", 0.78, 31),
]


@pytest.mark.data
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
