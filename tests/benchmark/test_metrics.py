import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdjax._errors import InputError
from cdjax.benchmark import _metrics
from cdjax.benchmark._metrics import PRESETS
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


# Ground truth by kind, from 0: whole, none, no width, a corner left of the frame, whole.
ODD = np.array([[5, 5, 4, 4], [np.nan] * 4, [5, 5, 0, 4], [-3, 5, 4, 4], [5, 5, 4, 4.0]])
FAR = np.array([[5, 5, 4, 4], *[[50, 50, 4, 4]] * 3, [5, 5, 4, 4.0]])


@pytest.mark.parametrize(
    ("preset", "success", "precision", "norm_precision", "num_frames"),
    [
        ("otb", 2 / 5, 5 / 5, 5 / 5, 5),  # misses, and hits at every threshold
        ("got10k", 2 / 4, 2 / 4, 2 / 4, 4),  # NaN is left out
        ("pytracking", 2 / 5, 2 / 5, 4 / 5, 5),
        ("pysot", 2 / 5, 4 / 5, 4 / 5, 5),  # the centre, not the size, must be positive
    ],
)
def test_absent_ground_truth_by_preset(preset, success, precision, norm_precision, num_frames):
    truth = ODD.copy()
    if preset == "pysot":
        truth[3] = [-4, 5, 4, 4]  # its centre, from 1, is -1.5
    result = _metrics.score(FAR, truth, preset=preset)
    assert result.num_frames == num_frames
    assert result.success[0] == result.success_50 == success
    assert result.precision[0] == result.precision_20 == precision
    assert result.norm_precision[0] == result.norm_precision_20 == norm_precision


def test_a_corner_at_the_first_pixel_is_ground_truth():
    truth = np.array([[5, 5, 4, 4], [0, 0, 4, 4], [-1, 0, 4, 4.0]])
    result = _metrics.score(np.array([[5, 5, 4, 4], [0, 0, 4, 4], [-1, 0, 4, 4.0]]), truth)
    assert result.success[0] == 2 / 3  # -1 from 0 is 0 in the file


def test_nothing_to_score_is_nan():
    nothing = _metrics.score(FAR[1:2], ODD[1:2], preset="got10k")
    assert nothing.num_frames == 0
    assert np.isnan([getattr(nothing, name) for name in _metrics.FIGURES]).all()


def test_results_that_are_no_boxes():
    boxes = np.array([[0, 0, 4, 4], [np.nan] * 4, [9, 9, 0, 4], [1, 0, 4, 4.0]])
    np.testing.assert_array_equal(_metrics.repair(boxes), boxes[[0, 0, 0, 3]])
    truth = np.array([[1, 1, 4, 4.0]] * 4)
    hits = {
        name: _metrics.score(boxes, truth, preset=name).success[0]
        for name in ("otb", "got10k", "pysot")
    }
    assert hits == {"otb": 1.0, "got10k": 0.5, "pysot": 0.5}
    with pytest.raises(InputError, match="1 results are not finite or of negative size"):
        _metrics.score(boxes, truth, preset="pytracking")
    empty = boxes[[0, 2, 3]]
    assert _metrics.score(empty, truth[:3], preset="pytracking").success[0] == 1.0
    endless = np.array([[0, 0, 4, 4], [np.inf, 0, 4, 4.0]])
    assert _metrics.score(endless, truth[:2], preset="got10k").precision[50] == 0.5


def test_the_first_frame_is_the_ground_truth_except_for_pysot():
    truth = np.array([[5, 5, 4, 4], [5, 5, 4, 4.0]])
    boxes = truth + np.array([[30, 0, 0, 0], [0, 0, 0, 0.0]])
    shares = {name: _metrics.score(boxes, truth, preset=name).precision_20 for name in PRESETS}
    assert shares == {"otb": 1.0, "got10k": 1.0, "pytracking": 1.0, "pysot": 0.5}


def test_missing_rows_are_padded_after_the_repair():
    truth = np.array([[5, 5, 4, 4.0]] * 4)
    result = _metrics.score(truth[:2], truth, preset="pytracking")
    assert result.success[0] == 0.5
    with pytest.raises(InputError, match="5 result boxes for 4 frames"):
        _metrics.score(np.ones((5, 4)), truth, preset="pytracking")


def test_errors_by_hand():
    truth = np.array([[10, 10, 20, 40], [10, 10, 20, 40.0]])
    boxes = np.array([[0, 0, 1, 1], [12, 18, 24, 40.0]])  # centre +4, +8
    frames = _metrics.frame_errors(boxes, truth)
    np.testing.assert_allclose(frames.errors, [0, np.hypot(4, 8)])
    np.testing.assert_allclose(frames.norm_errors, [0, np.hypot(4 / 20, 8 / 40)])
    np.testing.assert_allclose(frames.overlaps, [1, 18 * 32 / (800 + 960 - 18 * 32)])


def test_presets_tell_their_rules():
    assert {name: preset.name for name, preset in PRESETS.items()} == {n: n for n in PRESETS}
    told = [tuple(preset.describe().items()) for preset in PRESETS.values()]
    assert len(set(told)) == 4
    assert "a value <= 0: a miss for success" in dict(told[0])["absent_ground_truth"]
    fine = dataclasses.replace(PRESETS["got10k"], thresholds=tuple(np.linspace(0, 1, 101)))
    assert _metrics.score(FAR, ODD, preset=fine).success.shape == (101,)
    with pytest.raises(InputError, match="no preset 'OTB'; there are: otb, got10k"):
        _metrics.score(FAR, ODD, preset="OTB")


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
