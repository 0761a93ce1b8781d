import numpy as np
import pytest

from cdjax._errors import InputError
from cdjax.benchmark._metrics import FIGURES
from cdjax.benchmark._scoring import score_results
from cdjax.benchmark._sequence import Sequence

BOXES = np.array([[5, 5, 10, 10.0]] * 4)
AWAY = BOXES + np.array([[0, 0, 0, 0], *[[30, 0, 0, 0]] * 3])
DATASET = [Sequence(name, (), BOXES) for name in ("A", "B", "C")]


def test_means_and_what_they_leave_out():
    table = score_results({"A": BOXES, "B": AWAY, "X": BOXES}, DATASET)
    assert table.preset == "otb"
    assert table.omitted == {"C": "no result"}
    assert table.extra == ("X",)
    assert table.notes == {}
    mean = table.mean()
    assert set(mean) == set(FIGURES)
    assert mean["precision_20"] == pytest.approx((1 + 1 / 4) / 2)
    assert mean["success_auc"] == pytest.approx((1 + 1 / 4) / 2 * 20 / 21)
    assert table.mean(["B", "C"])["success_50"] == 1 / 4
    assert np.isnan(table.mean(["C"])["success_auc"])
    assert table.values("precision_20", ["A", "C"]) == {"A": 1.0}
    curves = table.curves(["A", "B"])
    assert curves is not None
    assert curves.success_auc == pytest.approx(mean["success_auc"])
    assert curves.num_frames == 8
    assert table.curves(["C"]) is None
    for names, words in ((["X"], "'X' is not in the table"), (["D"], "'D' is not in")):
        with pytest.raises(InputError, match=words):
            table.mean(names)
    with pytest.raises(InputError, match="no figure 'auc'; there are: success_auc"):
        table.values("auc")


@pytest.mark.parametrize(
    ("preset", "rows", "success", "words"),
    [
        ("otb", 2, 2 / 2, "2 of 4 rows: only these frames are scored"),
        ("got10k", 2, 2 / 2, "2 of 4 rows: only these"),
        ("pytracking", 2, 2 / 4, "2 of 4 rows: the others count as boxes of zeros"),
        ("pysot", 2, None, "2 rows for 4 frames, and pysot wants all"),
        ("otb", 6, 4 / 4, "6 rows for 4 frames: the last are cut"),
        ("pytracking", 6, 4 / 4, "6 rows for 4 frames: the last"),
        ("pysot", 6, None, "6 rows for 4 frames, and pysot"),
        ("otb", 0, None, "no rows in the result"),
        ("pytracking", 0, None, "no rows in the result"),
    ],
)
def test_numbers_of_rows(preset, rows, success, words):
    results = {"A": np.repeat(BOXES[:1], rows, axis=0)}
    table = score_results(results, DATASET[:1], preset=preset)
    if success is None:
        assert words in table.omitted["A"]
        assert not table.scores
    else:
        assert words in table.notes["A"]
        assert table.scores["A"].success_50 == success


def test_rows_before_the_annotation_of_tiger1():
    truth = np.arange(7)[:, None] * np.array([[9, 0, 0, 0]]) + BOXES[:1]
    early = np.concatenate([np.full((5, 4), 77.0), truth])
    table = score_results({"Tiger1": early}, [Sequence("Tiger1", (), truth)])
    assert table.scores["Tiger1"].success_50 == 1
    assert "without those before the annotation" in table.notes["Tiger1"]


def test_results_that_are_no_boxes_are_counted():
    boxes = BOXES.copy()
    boxes[1], boxes[2, 2] = np.nan, -1
    table = score_results({"A": boxes, "B": boxes[:3]}, DATASET[:2])
    assert table.notes["A"] == "2 of 4 results are no boxes (NaN or no size)"
    assert table.notes["B"].startswith("3 of 4 rows: only these frames are scored; 2 of 3")
    refused = score_results({"A": boxes}, DATASET[:1], preset="pytracking")
    assert "2 results are not finite or of negative size" in refused.omitted["A"]


def test_nothing_to_score():
    absent = Sequence("A", (), np.full((4, 4), np.nan))
    table = score_results({"A": BOXES}, [absent], preset="got10k")
    assert table.omitted == {"A": "no frame with ground truth"}
    with pytest.raises(InputError, match="no preset"):
        score_results({}, DATASET, preset="vot")
