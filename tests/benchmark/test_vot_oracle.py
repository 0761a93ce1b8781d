"""VOT2018's published results give their published figures."""

import time

import numpy as np
import pytest

from cdjax.benchmark._annotations import load_annotations
from cdjax.benchmark._vot_scores import score_supervised, score_unsupervised
from cdjax.benchmark._vot_supervised import format_rows, parse_rows, read_vot_rows

pytestmark = pytest.mark.data

# EAO, accuracy, failures per 100 frames, failures: published, and recomputed with exact polygons
PUBLISHED = {
    "Ocean-online": ((0.489, 0.592, 0.117, 25), (0.488, 0.591)),
    "SiamFC": ((0.188, 0.502, 0.585, 125), (0.185, 0.498)),
}


@pytest.fixture(scope="module")
def truth(data_dir):
    return load_annotations("vot2018", folder=data_dir)


def results_of(data_dir, truth, tracker, experiment):
    folder = data_dir / "results" / "vot2018" / tracker / experiment
    return {s.name: read_vot_rows(folder / s.name / f"{s.name}_001.txt") for s in truth}


@pytest.mark.parametrize("tracker", PUBLISHED)
def test_supervised(data_dir, truth, tracker):
    runs = results_of(data_dir, truth, tracker, "baseline")
    start = time.perf_counter()
    score = score_supervised(runs, truth, year=2018)
    assert time.perf_counter() - start < 20  # 2 s on an idle core
    exact = score_supervised(runs, truth, year=2018, overlap="polygon")
    (eao, accuracy, robustness, failures), (exact_eao, exact_accuracy) = PUBLISHED[tracker]
    assert score.failures == exact.failures == failures
    assert round(score.robustness, 3) == robustness
    np.testing.assert_allclose(score.eao, eao, atol=0.0006)
    np.testing.assert_allclose(score.accuracy, accuracy, atol=0.001)
    np.testing.assert_allclose(exact.eao, exact_eao, atol=0.002)
    np.testing.assert_allclose(exact.accuracy, exact_accuracy, atol=0.0006)
    assert score.omitted == {}
    assert len(score.per_sequence) == 60
    assert sum(s.failures for s in score.per_sequence.values()) == failures
    assert set(score.per_tag) == {
        "camera_motion",
        "empty",
        "illum_change",
        "motion_change",
        "occlusion",
        "size_change",
    }


def test_vot_toolkit_preset(data_dir, truth):
    # what vot-toolkit 0.9.0 computes from the same file
    score = score_supervised(
        results_of(data_dir, truth, "SiamFC", "baseline"), truth, year=2018, preset="vot-toolkit"
    )
    figures = (score.accuracy, score.weighted_failures, score.reliability, score.eao)
    np.testing.assert_allclose(figures, FIGURES_OF_0_9, atol=1e-6)


def test_no_reset_average_overlap(data_dir, truth):
    results = results_of(data_dir, truth, "SiamFC", "unsupervised")
    score = score_unsupervised(results, truth)
    np.testing.assert_allclose(score.average_overlap, 0.345, atol=0.0006)  # VOT2018 report
    assert len(score.per_sequence) == 60


def test_results_survive_reading_and_writing(data_dir, truth):
    path = data_dir / "results/vot2018/SiamFC/baseline/ball1/ball1_001.txt"
    assert format_rows(parse_rows(path.read_text(), path=path)).split() == [
        line if "," not in line else ",".join(str(float(v)) for v in line.split(","))
        for line in path.read_text().split()
    ]
