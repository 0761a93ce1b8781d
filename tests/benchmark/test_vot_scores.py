import numpy as np
import pytest

from cdjax._errors import InputError
from cdjax.benchmark._entrants import weighted_figures
from cdjax.benchmark._sequence import Sequence
from cdjax.benchmark._statistics import bootstrap, draw_counts
from cdjax.benchmark._vot_scores import accuracy_parts, score_supervised, score_unsupervised

BOX = np.array([10.0, 10.0, 20.0, 20.0])
POLYGON = np.array([10.0, 10.0, 30.0, 10.0, 30.0, 30.0, 10.0, 30.0])  # BOX
HALF = np.array([10.0, 10.0, 20.0, 10.0])  # overlap 1/2


def make_sequence(name, num_frames, **tags):
    boxes = np.tile(BOX, (num_frames, 1))
    flags = {tag: np.isin(np.arange(num_frames), where) for tag, where in tags.items()}
    return Sequence(name, (), boxes, regions=tuple(boxes), frame_tags=flags, hw=(100, 100))


def score_one(rows, preset, **options):
    truth = [make_sequence("a", len(rows))]
    return score_supervised({"a": rows}, truth, preset=preset, overlap="raster", **options)


def test_burn_in_and_failures_by_hand():
    # start, 11 good (9 burnt in), failure, 4 skipped, start, 12 halves (9 burnt in)
    rows = [1, *[BOX] * 11, 2, 0, 0, 0, 0, 1, *[HALF] * 12]
    truth = [make_sequence("a", 30, dark=[11, 12, 27])]
    score = score_supervised({"a": rows}, truth, overlap="raster")
    figures = score.per_sequence["a"]
    assert (figures.num_counted, figures.failures, figures.num_frames) == (5, 1, 30)
    np.testing.assert_allclose(figures.accuracy, (2 * 1 + 3 * 0.5) / 5)
    np.testing.assert_allclose(score.robustness, 100 / 30)
    np.testing.assert_allclose(score.reliability, np.exp(-30 / 30))
    dark, empty = score.per_tag["dark"], score.per_tag["empty"]
    assert (dark.accuracy, dark.failures, dark.num_frames) == (0.75, 1, 3)
    assert (empty.failures, empty.num_frames, empty.num_counted) == (0, 27, 3)
    # runs: 11 ones then zeros, and 12 halves
    curve = score.eao_curve
    np.testing.assert_allclose(curve[[0, 1, 11, 12]], [0, 0.75, 0.75, (11 / 12 + 0.5) / 2])
    assert len(curve) == 13


def test_a_failure_too_late_to_start_again():
    rows = [1, *[BOX] * 9, 2, 0, 0, 0, 0, 1, *[BOX] * 3, 2]
    lengths = {p: score_one(rows, p).eao_curve for p in ("challenge", "vot-toolkit")}
    np.testing.assert_allclose(lengths["vot-toolkit"][4], (1 + 3 / 4) / 2)
    np.testing.assert_allclose(lengths["vot-toolkit"][6], (1 + 3 / 6) / 2)
    np.testing.assert_allclose(lengths["challenge"][4], (1 + 3 / 4) / 2)
    np.testing.assert_allclose(lengths["challenge"][6], 1)  # the late run has ended


def test_means_over_frames_or_over_sequences():
    truth = [make_sequence("a", 110), make_sequence("b", 11), make_sequence("c", 10)]
    runs = {"a": [1, *[BOX] * 109], "b": [1, *[HALF] * 10], "c": [1, *[HALF] * 9]}
    pooled = score_supervised(runs, truth, overlap="raster")
    weighted = score_supervised(runs, truth, preset="vot-toolkit")
    np.testing.assert_allclose(pooled.accuracy, 100.5 / 101)
    np.testing.assert_allclose(weighted.accuracy, (110 + 0.5 * 11 + 0) / 131)
    assert np.isnan(pooled.per_sequence["c"].accuracy)


@pytest.mark.parametrize("preset", ["challenge", "vot-toolkit"])
def test_interval_is_of_the_statistic_of_the_preset(preset):
    truth = [make_sequence("a", 110), make_sequence("b", 21), make_sequence("c", 10)]
    failing = [1, *[HALF] * 10, 2, 0, 0, 0, 0, 1, *[BOX] * 4]
    runs = {"a": [[1, *[BOX] * 109]], "b": [[1, *[HALF] * 20], failing], "c": [[1, *[HALF] * 9]]}
    score = score_supervised(runs, truth, preset=preset)
    values, weights = accuracy_parts(score)
    np.testing.assert_allclose(np.average(values, weights=weights), score.accuracy)
    interval = weighted_figures(score)["accuracy"]
    assert interval == bootstrap(values, weights=weights)._replace(mean=score.accuracy)
    assert (interval.low == 0.0) == (preset == "vot-toolkit")  # c has no frame that counts


@pytest.mark.parametrize("preset", ["challenge", "vot-toolkit"])
def test_interval_of_eao_is_that_of_drawn_sequences(preset):
    truth = [make_sequence("a", 30), make_sequence("b", 21), make_sequence("c", 9)]
    failing = [1, *[HALF] * 10, 2, 0, 0, 0, 0, 1, *[BOX] * 4]
    runs = {"a": [1, *[BOX] * 29], "b": failing, "c": [1, *[HALF] * 8]}
    options = {"preset": preset, "interval": (6, 25)}
    score = score_supervised(runs, truth, **options)
    drawn = []
    patterns, times = np.unique(draw_counts(3), axis=0, return_counts=True)
    for counts in patterns.astype(int):
        some = [(f"{s.name}{i}", s) for s, n in zip(truth, counts, strict=True) for i in range(n)]
        copies = [s._replace(name=name) for name, s in some]
        drawn.append(score_supervised({n: runs[s.name] for n, s in some}, copies, **options).eao)
    whole = np.repeat(drawn, times)
    expected = np.quantile(whole, [0.025, 0.975])
    np.testing.assert_allclose(score.eao_bounds[1:], expected, rtol=1e-6)
    assert score.eao_bounds.mean == score.eao


def test_interval_of_the_year():
    rows = [1, *[BOX] * 49, 2, *[0] * 4, 1, *[BOX] * 400]  # one run of 49, one of 400
    curve = (1 + 49 / np.maximum(np.arange(401), 49)) / 2
    for year, low, high in ((2016, 108, 371), (2018, 100, 356), (2019, 46, 291)):
        toolkit = score_one(rows, "vot-toolkit", year=year)
        challenge = score_one(rows, "challenge", year=year)
        np.testing.assert_allclose(toolkit.eao, curve[low : high + 1].mean())
        np.testing.assert_allclose(challenge.eao, curve[low - 1 : high].mean())


def test_repetitions_are_averaged():
    good, bad = [1, *[BOX] * 14], [1, *[HALF] * 13, 2]
    score = score_supervised({"a": [good, bad]}, [make_sequence("a", 15)], overlap="raster")
    assert (score.failures, score.per_sequence["a"].num_counted) == (0.5, 4.5)
    np.testing.assert_allclose(score.accuracy, (5 + 4 * 0.5) / 9)
    np.testing.assert_allclose(score.eao_curve[14], (1 + 0.5 * 13 / 14) / 2)


def test_what_is_left_out_is_said():
    truth = [make_sequence(name, 12) for name in "abcde"]
    truth.append(make_sequence("f", 12)._replace(hw=None))
    whole = [1, *[BOX] * 11]
    runs = {"a": whole, "b": whole[:-1], "c": [BOX, *whole[1:]], "d": [0] * 12, "f": whole}
    score = score_supervised({**runs, "x": whole}, truth)
    assert list(score.per_sequence) == ["a"]
    assert score.omitted == {
        "b": "11 rows for 12 frames",
        "c": "row 1 without a start before it; not a supervised result?",
        "d": "no start",
        "e": "no result",
        "f": "no frame size to cut regions to, and no frame to read it from",
        "x": "no such sequence in the ground truth",
    }
    assert np.isnan(score.eao)  # too short for the interval
    with pytest.raises(InputError, match=r"nothing to score \(1 left out; a: no result\)"):
        score_supervised({}, truth[:1])
    with pytest.raises(InputError, match="no EAO interval for VOT2014; there are: 2015"):
        score_supervised(runs, truth, year=2014)
    with pytest.raises(InputError, match="no VOT preset 'toolkit'; did you mean vot-toolkit"):
        score_supervised(runs, truth, preset="toolkit")


def test_results_of_the_other_experiment_are_left_out():
    away = BOX + [50, 0, 0, 0]
    truth = [make_sequence(name, 12) for name in "abc"]
    truth[1] = truth[1]._replace(regions=(*truth[1].regions[:-3], *[POLYGON] * 3))
    truth[2] = truth[2]._replace(regions=(*truth[2].regions[:-1], np.full(4, np.nan)))
    runs = {"a": [1, *[BOX] * 11], "b": [1, *[BOX] * 8, *[away] * 3], "c": [1, *[BOX] * 10, away]}
    score = score_supervised(runs, truth)
    assert list(score.per_sequence) == ["a", "c"]
    assert score.omitted["b"].startswith("row 10 is off the target but no failure")
    touching = [1, *[BOX] * 8, *[BOX + [20.5, 0, 0, 0]] * 3]
    assert not score_supervised({"a": touching}, truth[:1]).omitted
    failing = [1, *[BOX] * 4, 2, 0, 0, 0, 0, 1, BOX]
    plain = score_unsupervised({"a": runs["a"], "b": failing}, truth[:2])
    assert list(plain.per_sequence) == ["a"]
    assert plain.omitted["b"].startswith("row 6 is a failure: a supervised result")


def test_without_restarts():
    truth = [make_sequence("a", 21), make_sequence("b", 12)]
    truth[1] = truth[1]._replace(regions=(*truth[1].regions[:-1], np.full(4, np.nan)))
    results = {"a": np.tile(HALF, (21, 1)), "b": [1, *[BOX] * 9, 0, BOX]}
    score = score_unsupervised(results, truth, overlap="raster")
    np.testing.assert_allclose(score.average_overlap, (20 * 0.5 + 9) / 30)
    toolkit = score_unsupervised(results, truth, preset="vot-toolkit")
    assert toolkit.per_sequence == {"a": 0.5, "b": 0.0}
    np.testing.assert_allclose(toolkit.average_overlap, 0.5 * 21 / 33)
