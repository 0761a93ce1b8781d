"""Reports of invented trackers: figures that can be told by hand."""

import csv
import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from cdjax._errors import InputError
from cdjax.benchmark import (
    Attempt,
    Entrant,
    Interval,
    Sequence,
    Unit,
    draw_report,
    entrants_of,
    import_entrant,
    make_report,
    render_html,
    score_entrant,
)
from cdjax.benchmark._entrants import VOT_PROTOCOLS, score_vot
from cdjax.benchmark._grids import Column, Grid, to_csv, to_markdown, to_records
from cdjax.benchmark._report import compare_grids
from cdjax.benchmark._robustness import tre_starts
from cdjax.benchmark._workdir import Experiment, Run

TAGS = {"A": ("OCC", "SV"), "B": ("OCC",), "C": ("SV",), "D": ()}
SEQUENCES = [
    Sequence(name, (), np.tile([10.0, 10.0, 20.0, 20.0], (40, 1)), tags)
    for name, tags in TAGS.items()
]
HIT = SEQUENCES[0].boxes
MISS = np.concatenate([HIT[:1], HIT[1:] + [100.0, 0.0, 0.0, 0.0]])
HALF = np.concatenate([HIT[:20], MISS[20:]])
GOOD, HALF_GOOD, BAD = 20 / 21, 20 / 21 * 0.5, 20 / 21 / 40
"""AUC of these boxes: no overlap exceeds 1; the first frame is the ground truth."""


def entrant(label, boxes, **more):
    return Entrant(label, {name: [Attempt(some)] for name, some in boxes.items()}, **more)


GIVEN = [
    entrant("bad", {"A": MISS, "B": MISS, "C": HALF, "D": HIT}, fps=100.0),
    entrant(
        "good",
        {"A": HIT, "B": HIT, "C": HIT},
        fps=10.0,
        mean_channels=3.5,
        num_candidates=8,
        channels_by_layer={"one": 1.5, "two": 2.0},
        paper={"success": 0.9, "fps": 12},
        missing={"D": "failed: ValueError: <no frame>"},
    ),
]


def report_of(entrants=GIVEN, **options):
    scored = [score_entrant(one, SEQUENCES) for one in entrants]
    return make_report(scored, SEQUENCES, title="T", facts={"dataset": "d"}, **options)


def rows_of(report, title):
    grid = next(grid for grid in report.grids if grid.title == title)
    return {row["Tracker"]: row for row in to_records(grid)["rows"]}


def test_means_are_over_the_targets_that_all_have():
    report = report_of()
    assert report.common == ["A", "B", "C"]
    assert [one.label for one in report.scored] == ["good", "bad"]
    rows = rows_of(report, "Overall")
    assert rows["good"]["AUC"]["mean"] == pytest.approx(GOOD)
    assert rows["bad"]["AUC"]["mean"] == pytest.approx((2 * BAD + HALF_GOOD) / 3)
    assert rows["bad"]["AUC"]["low"] < rows["bad"]["AUC"]["mean"] < rows["bad"]["AUC"]["high"]
    assert (rows["good"]["Targets"], rows["bad"]["Targets"]) == ("3 of 4", "4 of 4")
    assert "over the 3 of 4 targets that all 2 trackers have" in report.grids[0].notes[0]
    own = rows_of(report, "Each on its own targets")
    assert own["bad"]["AUC"] == pytest.approx((2 * BAD + HALF_GOOD + GOOD) / 4)
    assert rows_of(report, "Left out of the means") == {
        "good": {
            "Tracker": "good",
            "Why": "failed: ValueError: <no frame>",
            "Targets": 1,
            "Which": "D",
        }
    }


def test_speed_channels_and_the_papers_figures_stand_beside():
    row = rows_of(report_of(), "Overall")["good"]
    assert (row["fps"], row["Channels"], row["of"]) == (10.0, 3.5, 8)
    assert (row["Paper: AUC"], row["Paper: fps"]) == (0.9, 12)
    assert rows_of(report_of(), "Channels kept by layer")["good"]["two"] == 2.0


def test_attributes_and_subsets_count_their_common_targets():
    subsets = {"half": ["A", "B"], "none": ["D"], "whole": ["A", "B", "C", "D"]}
    report = report_of(attributes=True, subsets=subsets)
    bad = rows_of(report, "Attributes: AUC")["bad"]
    assert bad["OCC (2)"] == pytest.approx(BAD)
    assert bad["SV (2)"] == pytest.approx((BAD + HALF_GOOD) / 2)
    assert set(rows_of(report, "Subsets: AUC")["bad"]) == {"Tracker", "all (3)", "half (2)"}


def test_baseline_is_compared_in_pairs():
    row = rows_of(report_of(baseline="good"), "Against good")["bad"]
    assert row["Δ AUC"]["mean"] == pytest.approx((2 * BAD + HALF_GOOD) / 3 - GOOD)
    assert row["Δ AUC"]["high"] < 0
    assert row["win/tie/loss"] == "0/0/3"
    assert row["Targets"] == "3 of 4"
    with pytest.raises(InputError, match=r"no tracker 'godo'; did you mean good\?"):
        report_of(baseline="godo")


def test_gains_and_losses_by_target():
    scored = [score_entrant(one, SEQUENCES) for one in GIVEN]
    _, gains, losses = compare_grids(*scored, [s.name for s in SEQUENCES], report_of().measures)
    assert gains.rows == ()
    assert losses.rows[-1][0] == "C"
    assert {row[0] for row in losses.rows} == {"A", "B", "C"}
    assert losses.rows[-1][1] == pytest.approx(HALF_GOOD - GOOD)


def test_seeds_are_averaged_and_their_spread_told():
    attempts = {n: [Attempt(HIT, 0), Attempt(MISS, 1)] for n in ("A", "B")}
    attempts["C"] = [Attempt(HIT, 0)]
    report = report_of([Entrant("drawn", attempts)])
    assert report.scored[0].values["A"]["success_auc"] == pytest.approx((GOOD + BAD) / 2)
    row = rows_of(report, "Seeds")["drawn"]
    assert row["Seeds"] == 2
    assert row["AUC mean"] == pytest.approx((GOOD + BAD) / 2)  # over A and B only
    assert row["by seed"] == "1.000 0.025"  # the last, of P@20


def test_later_starts_are_weighted_by_their_frames():
    attempts = {"A": [Attempt(HIT), Attempt(HIT[30:] + [100.0, 0.0, 0.0, 0.0], 0, 30)]}
    value = score_entrant(Entrant("tre", attempts), SEQUENCES).values["A"]["success_auc"]
    assert value == pytest.approx(20 / 21 * (40 + 1) / 50)


def test_first_frames_only():
    scored = score_entrant(entrant("half", {"A": HALF, "B": HALF[:20]}), SEQUENCES, max_frames=20)
    assert scored.values["A"]["success_auc"] == pytest.approx(GOOD)
    assert scored.values["B"]["success_auc"] == pytest.approx(GOOD)
    assert scored.omitted == {"C": "no result", "D": "no result"}


def test_no_common_target_and_no_result_at_all():
    report = report_of([entrant("a", {"A": HIT}), entrant("b", {"B": HIT}), entrant("c", {})])
    assert report.common == []
    assert "no common mean" in report.grids[0].notes[0]
    assert rows_of(report, "Each on its own targets")["a"]["AUC"] == pytest.approx(GOOD)
    empty = report_of([entrant("c", {})])
    assert "No tracker has a result yet" in to_markdown(empty.grids[0])
    assert draw_report(empty, formats=("svg",)) == {}
    assert "No tracker has a result yet" in render_html(empty, {})


def test_formats_agree():
    report = report_of(attributes=True, baseline="bad")
    lines = list(csv.reader(io.StringIO(to_csv(report.grids))))
    assert {len(line) for line in lines} == {6}
    value = next(line for line in lines if line[:3] == ["Overall", "good", "AUC"])
    assert float(value[3]) == pytest.approx(GOOD)
    text = to_markdown(report.grids[0])
    assert "| good    |  3 of 4 | **0.952 [0.952, 0.952]** |" in text
    assert len({len(line) for line in text.splitlines() if line.startswith("|")}) == 1


def test_best_is_marked_only_where_there_is_a_choice():
    columns = (Column("Tracker", words=True), Column("x", best=1), Column("y", best=-1))
    grid = Grid(
        "t", columns, (("a|b", 1.0, 2.0), ("c", Interval(2.0, 1.0, 3.0), 2.0), ("d", None, 2.0))
    )
    assert (grid.marked(1), grid.marked(2)) == ({1}, set())
    assert "a\\|b" in to_markdown(grid)
    assert to_markdown(grid).splitlines()[-1].split() == ["|", "d", "|", "–", "|", "2.000", "|"]


def test_html_is_one_file_and_escapes():
    failures = [{"label": "good", "sequence": "D", "error": "<b>", "traceback": "<tr>\n at x"}]
    report = report_of(attributes=True, failures=failures, baseline="bad")
    plots = {name: files["svg"] for name, files in draw_report(report, formats=("svg",)).items()}
    assert set(plots) == {"success", "precision", "attributes", "speed_accuracy", "channels"}
    html = render_html(report, plots)
    assert html.count("<img ") == len(plots)
    assert not re.search(r"(src|href)=\"(?!data:)", html)
    assert "<script" not in html
    assert "&lt;tr&gt;" in html
    assert "&lt;no frame&gt;" in html
    assert html == render_html(report, plots)
    again = draw_report(report, formats=("svg",))
    assert {name: files["svg"] for name, files in again.items()} == plots


def test_plots_tell_how_to_get_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install 'cdjax\[plot\]'"):
        draw_report(report_of(), formats=("svg",))


def run_of(label, sequence, boxes, *, seed=0, start=None, **more):
    record = {"frames": 40, "num_channels": 4, "channels_by_layer": {"one": 4}} | more
    return Run(label, sequence, start, seed, boxes, record, {"fps": 20.0})


def test_entrants_of_a_run_in_progress():
    settings = {"dataset": "otb", "protocol": "tre", "max_frames": None, "preset": "otb"}
    runs = [
        run_of("t", "A", HIT, start=0),
        run_of("t", "A", HIT[30:], start=1, first_frame=30),
        run_of("t", "B", HIT, start=0),
    ]
    failure = {"label": "t", "sequence": "C", "start": 0, "seed": 0, "kind": "E", "error": "x"}
    trackers = {"t": {"num_candidates": 8, "paper": {"otb100": {"success": 0.5}}}}
    pending = [Unit("t", "B", 1, 0)]
    experiment = Experiment(Path("w"), settings, trackers, runs, [failure], pending)
    (one,) = entrants_of(experiment, SEQUENCES, benchmark="otb100")
    assert one.paper == {}  # papers give figures of one pass
    assert set(one.attempts) == {"A"}  # B lacks a start
    assert [attempt.first_frame for attempt in one.attempts["A"]] == [0, 30]
    assert one.missing == {"B": "not run yet", "C": "failed: E: x"}
    assert one.fps == pytest.approx(20.0)
    assert (one.mean_channels, one.channels_by_layer) == (4.0, {"one": 4.0})
    ope = experiment._replace(settings={**settings, "protocol": "ope"})
    assert entrants_of(ope, SEQUENCES, benchmark="otb100")[0].paper == {"success": 0.5}


@pytest.mark.parametrize("protocol", ["ope", "vot_supervised", "tre"])
def test_seeds_that_are_not_there_are_listed(protocol):
    settings = {"dataset": "otb", "protocol": protocol, "max_frames": None, "preset": "otb"}
    boxes = [1, *([HIT[0]] * 39)] if protocol == "vot_supervised" else HIT
    starts = {"first_frame": 0} if protocol == "tre" else {}
    runs = [run_of("t", n, boxes, **starts) for n in ("A", "B", "C")]
    runs.append(run_of("t", "C", boxes, seed=1, **starts))
    failure = {"label": "t", "sequence": "A", "start": None, "seed": 1, "kind": "", "error": "boom"}
    pending = [Unit("t", "B", 0, 1)]
    experiment = Experiment(Path("w"), settings, {"t": {}}, runs, [failure], pending)
    entrants = entrants_of(experiment, SEQUENCES)
    if protocol == "vot_supervised":
        truth = [s._replace(hw=(200, 200)) for s in SEQUENCES]
        ((scored,), _) = score_vot(entrants, truth, protocol=protocol)
    else:
        scored = score_entrant(entrants[0], SEQUENCES)
    assert set(scored.values) == {"A", "B", "C"}
    assert scored.notes == {
        "A": "1 of 2 seeds: seed 1 failed: boom",
        "B": "1 of 2 seeds: seed 1 not run yet",
    }


def moving(num_frames):
    return np.array([[10.0 + 5 * i, 10, 20, 20] for i in range(num_frames)])


def tre_of(runs):
    settings = {"dataset": "otb", "protocol": "tre", "max_frames": None, "preset": "otb"}
    experiment = Experiment(Path("w"), settings, {"t": {}}, runs, [], [])
    return lambda truth: entrants_of(experiment, [Sequence("A", (), truth)])[0]


def test_later_starts_stay_where_they_were_in_longer_ground_truth():
    starts = tre_starts(moving(40))
    cut = [(start, moving(40)[first:], first) for start, first in enumerate(starts)]
    told = {"sequence_frames": 40}
    runs = [run_of("t", "A", b, start=s, first_frame=f, **told) for s, b, f in cut]
    scored = score_entrant(tre_of(runs)(moving(60)), [Sequence("A", (), moving(60))])
    assert scored.values["A"]["success_auc"] == pytest.approx(GOOD)
    assert scored.notes == {"A": "ran over 40 of 60 frames: only these are scored"}
    old = tre_of([run_of("t", "A", boxes, start=start) for start, boxes, _ in cut])
    assert [attempt.first_frame for attempt in old(moving(40)).attempts["A"]] == starts
    refused = old(moving(60))
    assert not refused.attempts
    assert "does not say where the run starts" in refused.missing["A"]


def test_imported_results_name_what_belongs_nowhere(tmp_path):
    for name in ("A", "Zebra"):
        np.savetxt(tmp_path / f"{name}.txt", HIT + [1, 1, 0, 0], delimiter=",")
    one, others = import_entrant("x", tmp_path, SEQUENCES)
    assert others == ["Zebra"]
    assert score_entrant(one, SEQUENCES).values["A"]["success_auc"] == pytest.approx(GOOD)


@pytest.mark.parametrize("protocol", ["sre", "tre"])
def test_one_pass_is_not_compared_with_many_starts(tmp_path, protocol):
    np.savetxt(tmp_path / "A.txt", HIT, delimiter=",")
    with pytest.raises(InputError, match=f"one pass .* over the starts of {protocol}"):
        import_entrant("x", tmp_path, SEQUENCES, protocol=protocol)


def test_vot_figures_are_over_the_common_sequences():
    sequences = [s._replace(hw=(200, 200)) for s in SEQUENCES[:2]]
    tracked = [1, *([HIT[0]] * 39)]
    failed = [1, *([HIT[0]] * 9), 2, 0, 0, 0, 0, 1, *([HIT[0]] * 24)]
    both = Entrant("both", {"A": [Attempt(tracked)], "B": [Attempt(failed)]})
    one = Entrant("one", {"A": [Attempt(tracked)]})
    protocol = "vot_supervised"
    scored, rules = score_vot([both, one], sequences, protocol=protocol)
    assert scored[0].values["B"]["failures"] == 1
    assert scored[0].whole["failures"] == 0  # B is not common
    assert rules["year"] == 2017
    measures, whole = VOT_PROTOCOLS[protocol]
    report = make_report(
        scored, sequences, title="v", facts={}, measures=measures, whole=whole, protocol=protocol
    )
    assert rows_of(report, "Overall")["one"]["Accuracy"]["mean"] == pytest.approx(1.0)
    # All runs are shorter than EAO's interval.
    grid = next(grid for grid in report.grids if grid.title == "Overall")
    place = [column.name for column in grid.columns].index("EAO")
    assert [grid.columns[place].text(row[place]) for row in grid.rows] == ["–", "–"]
    assert {"accuracy_robustness", "eao"} <= set(draw_report(report, formats=("png",)))


def test_eao_has_an_interval_over_sequences():
    truth = np.tile(HIT[:1], (300, 1))
    sequences = [
        s._replace(hw=(200, 200), boxes=truth, frame_paths=s.frame_paths[:1] * 300)
        for s in SEQUENCES[:2]
    ]
    shifted = HIT[0] + [HIT[0][2] / 2, 0, 0, 0]
    runs = {"A": [Attempt([1, *([HIT[0]] * 299)])], "B": [Attempt([1, *([shifted] * 299)])]}
    scored, _ = score_vot([Entrant("x", runs)], sequences, protocol="vot_supervised")
    eao = scored[0].whole["eao"]
    assert 0.3 < eao.low < eao.mean < eao.high <= 1
    measures, whole = VOT_PROTOCOLS["vot_supervised"]
    report = make_report(
        scored, sequences, title="v", facts={}, measures=measures, whole=whole,
        protocol="vot_supervised",
    )  # fmt: skip
    assert rows_of(report, "Overall")["x"]["EAO"]["low"] == pytest.approx(eao.low)
