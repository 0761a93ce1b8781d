import json

import numpy as np
import pytest
from fake_tracker import make_tracker

from cdjax.benchmark import Entry, evaluate, list_otb, read_boxes, track_sequence
from cdjax.benchmark._ope import Totals
from cdjax.benchmark._runner import FrameRecord

MOVES = {"gain": np.float32(1)}
STAYS = {"gain": np.float32(0)}


def test_one_sequence(dataset):
    sequence = list_otb(dataset / "data")[0].read()
    outcome = track_sequence(make_tracker(8, 4), MOVES, sequence)
    np.testing.assert_array_equal(outcome.boxes, sequence.boxes)
    assert outcome.totals.num_channels == 4
    short = track_sequence(make_tracker(8, 4), MOVES, sequence, max_frames=2)
    assert len(short.boxes) == short.totals.num_frames == 2


def test_summary_has_a_row_a_tracker_and_files_a_sequence(dataset):
    results = dataset / "results"
    results.mkdir()
    entries = [
        Entry("good", make_tracker(8, 4), MOVES),
        Entry("still", make_tracker(6), STAYS),
    ]
    returned = evaluate(entries, list_otb(dataset / "data"), results, dataset="otb")
    summary = json.loads((results / "summary.json").read_text())
    assert summary == json.loads(json.dumps(returned))
    good, still = summary["trackers"]
    assert (good["tracker"], still["tracker"]) == ("good", "still")
    assert good["success_auc"] == pytest.approx(20 / 21)
    assert good["precision_20"] == still["precision_20"] == 1.0
    assert still["success_auc"] < good["success_auc"]
    assert (good["mean_channels"], still["mean_channels"]) == (4, 6)
    assert good["frames"] == 12
    assert set(good["sequences"]) == {"A", "B"}
    assert set(good["sequences"]["A"]) == {
        "success_auc",
        "precision_20",
        "mean_channels",
        "fps",
        "frames",
    }
    text = (results / "good" / "A.txt").read_text()
    assert text.startswith("5.0000,6.0000,10.0000,12.0000\n6.0000,")
    assert len(read_boxes(results / "still" / "B.txt")) == 6


def test_one_bad_sequence_loses_nothing_else(dataset):
    results = dataset / "results"
    results.mkdir()
    bad = dataset / "data" / "A" / "img" / "0004.png"
    bad.unlink()
    summary = evaluate(
        [Entry("good", make_tracker(8, 4), MOVES)],
        list_otb(dataset / "data"),
        results,
        dataset="otb",
    )
    (failure,) = summary["failures"]
    assert failure["sequence"] == "A"
    assert failure["kind"] == ""
    assert "0004.png: frame is missing" in failure["error"]
    assert set(summary["trackers"][0]["sequences"]) == {"B"}
    assert len(read_boxes(results / "good" / "A.txt.part")) == 3
    assert not (results / "good" / "A.txt").exists()


def test_a_tracker_that_fails_everywhere_has_a_row_of_nulls(dataset):
    results = dataset / "results"
    results.mkdir()
    broken = Entry("broken", make_tracker(), {})
    evaluate([broken], list_otb(dataset / "data"), results, dataset="otb", max_frames=2)
    summary = json.loads((results / "summary.json").read_text())
    assert summary["trackers"][0]["success_auc"] is None
    assert [f["kind"] for f in summary["failures"]] == ["KeyError", "KeyError"]


def record(index, seconds):
    return FrameRecord(
        frame_index=index,
        frame=np.zeros((1, 1, 3), np.uint8),
        box=np.zeros(4, np.float32),
        score=0.0,
        trust=0.0,
        scale=1.0,
        num_channels=3,
        seconds=seconds,
        compile_seconds=0.5,
        aux=(),
    )


def test_clocks():
    totals = Totals()
    assert np.isnan([totals.fps, totals.step_ms_median]).all()
    for index, seconds in enumerate([3.0, 2.0, 0.1, 0.3, 0.2]):
        totals.add(record(index, seconds))
    assert totals.fps == pytest.approx(5 / 5.6)
    assert totals.step_ms_median == pytest.approx(200)
    assert totals.step_ms_p95 == pytest.approx(290)
    assert totals.compile_seconds == 2.5
