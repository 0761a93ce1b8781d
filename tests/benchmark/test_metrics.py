import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdjax._errors import InputError
from cdjax.benchmark import _metrics
from cdjax.benchmark._otb import list_otb
from cdjax.benchmark._results import read_boxes
from cdjax.boxes import from_otb

# Mean success AUC and precision at 20 px on the 13 targets, from peers/README.md.
PEERS = {
    "pyeco_ECO_HC": (0.620, 0.822),
    "opencv_CSRT": (0.593, 0.804),
    "SAMF_CA": (0.576, 0.768),
    "dcfnet_DCFNet": (0.567, 0.738),
    "pycf_Staple_CA": (0.557, 0.720),
    "MOSSE_CA": (0.513, 0.720),
    "pycf_Staple": (0.511, 0.632),
    "DCF_CA": (0.477, 0.674),
    "pycf_KCF_HOG": (0.463, 0.669),
    "pycf_DCF_HOG": (0.459, 0.659),
    "pycf_DSST": (0.415, 0.529),
    "opencv_MIL": (0.387, 0.620),
    "opencv_MOSSE": (0.310, 0.489),
    "opencv_KCF": (0.243, 0.372),
}


def test_thresholds_are_strict_for_overlap_and_not_for_distance():
    success = _metrics.success_curve(np.array([0.0, 0.5, 0.15, 1.0]))
    np.testing.assert_array_equal(success[[0, 3, 10, 20]], [0.75, 0.5, 0.25, 0.0])
    precision = _metrics.precision_curve(np.array([0.0, 20.0, 20.001, 50.0]))
    np.testing.assert_array_equal(precision[[0, 19, 20, 21, 50]], [0.25, 0.25, 0.5, 0.75, 1])


def test_a_perfect_run_has_auc_20_of_21():
    truth = np.array([[1, 2, 30, 40.0]] * 5)
    result = _metrics.score(truth, truth)
    assert result.success_auc == pytest.approx(20 / 21)
    assert result.precision_20 == 1.0


def test_frames_without_ground_truth_are_left_out():
    truth = np.array([[0, 0, 4, 4], [np.nan] * 4, [0, 0, 0, 4], [0, 0, 4, -1], [-3, 0, 4, 4.0]])
    boxes = np.array([[0, 0, 4, 4], *[[50, 50, 4, 4]] * 3, [-3, 0, 4, 4.0]])
    result = _metrics.score(boxes, truth)
    assert result.num_frames == 2
    assert result.precision_20 == 1.0
    nothing = _metrics.score(boxes[1:3], truth[1:3])
    assert np.isnan([nothing.success_auc, nothing.precision_20]).all()


def test_results_that_are_no_boxes_repeat_the_one_before():
    boxes = np.array([[0, 0, 4, 4], [np.nan] * 4, [9, 9, 0, 4], [1, 0, 4, 4.0]])
    np.testing.assert_array_equal(_metrics.repair(boxes), boxes[[0, 0, 0, 3]])
    lost = _metrics.score(boxes[1:2], boxes[:1])
    assert lost.precision_20 == lost.success_auc == 0.0


def test_lengths_must_agree():
    with pytest.raises(InputError, match="2 result boxes for 3 frames"):
        _metrics.score(np.ones((2, 4)), np.ones((3, 4)))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_curves_are_monotone(values):
    overlaps = np.array(values)
    assert (np.diff(_metrics.success_curve(overlaps)) <= 0).all()
    assert (np.diff(_metrics.precision_curve(50 * overlaps)) >= 0).all()
    assert abs(_metrics.success_curve(overlaps).mean() - overlaps.mean()) <= 0.05


@pytest.mark.data
@pytest.mark.parametrize("folder", PEERS)
def test_published_boxes_get_their_published_scores(data_dir, truths, folder):
    scores = []
    for name, truth in truths.items():
        boxes = read_boxes(data_dir / "peers" / folder / f"{name}.txt")
        scores.append(_metrics.score(boxes, truth[: len(boxes)]))
    auc = np.mean([s.success_auc for s in scores])
    precision = np.mean([s.precision_20 for s in scores])
    assert (auc, precision) == pytest.approx(PEERS[folder], abs=0.0005 + 1e-9)


@pytest.fixture(scope="module")
def truths(data_dir):
    """Full annotations: for Soccer there are 200 boxes, but 150 frames here."""
    text = (data_dir / "annotations" / "otb100.json").read_text()
    annotation = json.loads(text)
    return {
        target.name: from_otb(np.array(annotation[target.name]["gt_rect"], np.float64))
        for target in list_otb(data_dir / "otb")
    }
