"""The synthetic video: its boxes are true to its pixels, and it does what it says."""

import numpy as np
import pytest

from cdjax.benchmark import _synthetic
from cdjax.benchmark._synthetic import synthetic_frames, synthetic_video


@pytest.mark.parametrize("hw", [(240, 320), (121, 203)])
@pytest.mark.parametrize("t", [0, 33, 58, 92])
def test_box_bounds_the_pixels_that_the_target_changes(hw, t):
    scene = _synthetic._make_scene(hw, 3)
    x, y, w, h = _synthetic._target_box(scene, t)
    drawn = _synthetic._render(scene, t).astype(int)
    bare = _synthetic._render(scene, t, with_target=False).astype(int)
    rows, columns = np.nonzero(np.abs(drawn - bare).max(2) > 4)
    # edge pixels are covered in part, so what is seen ends within a pixel of the box
    np.testing.assert_allclose(columns.min(), x, atol=1)
    np.testing.assert_allclose(rows.min(), y, atol=1)
    np.testing.assert_allclose(columns.max(), x + w - 1, atol=1)
    np.testing.assert_allclose(rows.max(), y + h - 1, atol=1)


def test_painted_coverage_matches_the_box_below_a_pixel():
    texture = np.full((8, 8, 3), 255, np.float32)
    for box in ([10.0, 7.0, 12.0, 9.0], [10.3, 6.6, 11.5, 9.25]):
        image = np.zeros((30, 40, 3), np.float32)
        x, y, w, h = box
        _synthetic._paste(image, texture, np.float32(box), corner=0.0)
        cover = image[..., 0] / 255
        np.testing.assert_allclose(cover.sum(0).max(), h, atol=1e-3)
        np.testing.assert_allclose(cover.sum(1).max(), w, atol=1e-3)
        centre = (cover.sum(0) * np.arange(40)).sum() / cover.sum()
        np.testing.assert_allclose(centre, x + (w - 1) / 2, atol=0.01)


def test_same_seed_same_video_and_longer_continues_shorter():
    frames, boxes = synthetic_video(3, (60, 80), 5)
    for t, (frame, box) in enumerate(synthetic_frames(4, (60, 80), 5)):
        if t < 3:
            np.testing.assert_array_equal(frame, frames[t])
            np.testing.assert_array_equal(box, boxes[t])
    assert frames.dtype == np.uint8
    assert boxes.dtype == np.float32
    assert (synthetic_video(3, (60, 80), 6)[0] != frames).any()


@pytest.mark.parametrize("seed", [0, 1])
def test_target_stays_inside_moves_smoothly_and_changes_size(seed):
    scene = _synthetic._make_scene((240, 320), seed)
    boxes = np.stack([_synthetic._target_box(scene, t) for t in range(240)])
    assert (boxes[:, :2] > 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] < [320, 240]).all()
    centre = boxes[:, :2] + (boxes[:, 2:] - 1) / 2
    assert np.abs(np.diff(centre, axis=0)).max() < 6
    growth = boxes[:, 2] / boxes[0, 2]
    np.testing.assert_allclose([growth.min(), growth.max()], [0.8, 1.3], atol=0.01)


def test_trials_happen_when_the_docstring_says():
    scene = _synthetic._make_scene((240, 320), 0)
    middle = lambda box: box[:2] + (box[2:] - 1) / 2
    target = [_synthetic._target_box(scene, t) for t in range(120)]
    for index, when in ((0, range(13, 27)), (1, range(38, 52))):
        gaps = [
            np.linalg.norm(middle(target[t]) - middle(_synthetic._distractor_box(scene, t, index)))
            for t in range(120)
        ]
        assert set(np.nonzero(np.array(gaps) < 50)[0]) <= set(when)
        assert min(gaps) < 25
        assert gaps[0] > 80
    post = _synthetic._post_box(scene, 0)
    low = np.maximum([box[0] for box in target], post[0])
    high = np.minimum([box[0] + box[2] for box in target], post[0] + post[2])
    hidden = np.maximum(high - low, 0) / [box[2] for box in target]
    assert 0.3 < hidden.max() < 0.5
    assert hidden[64:80].min() > 0
    assert hidden[:64].max() == 0
    gain = [_synthetic._light(scene, t).mean() for t in (0, 79, 91, 103)]
    np.testing.assert_allclose(gain[0:2] + gain[3:], 1)
    assert gain[2] < 0.6
