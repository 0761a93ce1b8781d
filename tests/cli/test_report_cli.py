import csv
import json
import re

import numpy as np
import pytest

from cdjax.benchmark import write_json
from cdjax.cli import main

pytestmark = pytest.mark.usefixtures("fake_api")

NAMES = ("DeepCD-H", "DeepCD-V-11+12+21")


@pytest.fixture
def workdir(otb, tmp_path, capsys):
    """Two trackers on three targets of six frames."""
    place = tmp_path / "work"
    words = ["evaluate", "--dataset", "otb", "--root", str(otb), "--results", str(place)]
    words += ["--weights", "moves"]
    assert main([*words, *(word for name in NAMES for word in ("--tracker", name))]) == 0
    capsys.readouterr()
    return place


def report(workdir, *words):
    return main(["report", str(workdir), *words])


def test_markdown_is_printed(workdir, capsys):
    assert report(workdir, "--baseline", "DeepCD-H", "--attributes") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "- runs: 6 of 6 done, 0 pending, 0 failed" in out
    assert "overlap > 21 thresholds" in out
    assert "## Overall" in out
    assert "## Against DeepCD-H" in out
    assert "Means with 95 % bootstrap intervals over targets, over all 3 targets." in out


def test_other_rules(workdir, capsys):
    assert report(workdir, "--preset", "got10k") == 0
    assert "- rules: got10k (" in capsys.readouterr().out


def test_a_run_in_progress(workdir, capsys):
    (workdir / NAMES[1] / "Two-1.json").unlink()
    (workdir / NAMES[1] / "A.json").unlink()
    failure = {"label": NAMES[1], "sequence": "A", "start": None, "seed": 0}
    failure |= {"kind": "ValueError", "error": "no frame", "traceback": "Traceback: deep"}
    write_json(workdir / NAMES[1] / "A.failure.json", failure)
    assert report(workdir) == 0
    out = capsys.readouterr().out
    assert "- runs: 4 of 6 done, 1 pending, 1 failed" in out
    assert "1 of 3" in out
    assert re.search(r"not run yet +\| +1 \| Two-1", out)
    assert re.search(r"failed: ValueError: no frame +\| +1 \| A", out)
    assert report(workdir, "--format", "html") == 0
    assert "Traceback: deep" in (workdir / "report.html").read_text()


def test_nothing_done_yet(workdir, capsys):
    for name in NAMES:
        for record in (workdir / name).glob("[AT]*.json"):
            record.unlink()
    assert report(workdir) == 0
    assert "No tracker has a result yet" in capsys.readouterr().out


def test_files(workdir, tmp_path, capsys):
    plots = tmp_path / "plots"
    for form in ("csv", "json", "html"):
        out = tmp_path / f"r.{form}"
        drawn = ["--plots", str(plots)] if form == "json" else []
        assert report(workdir, "--format", form, "--out", str(out), *drawn) == 0
    assert not list(tmp_path.glob("**/*.part"))
    rows = list(csv.DictReader((tmp_path / "r.csv").read_text().splitlines()))
    content = json.loads((tmp_path / "r.json").read_text())
    overall = next(table for table in content["tables"] if table["title"] == "Overall")
    auc = next(row for row in rows if row["table"] == "Overall" and row["column"] == "AUC")
    assert float(auc["value"]) == pytest.approx(overall["rows"][0]["AUC"]["mean"])
    assert {path.name for path in plots.iterdir()} >= {"success.png", "success.pdf"}
    html = (tmp_path / "r.html").read_text()
    assert not re.search(r"(src|href)=\"(?!data:)", html)


def test_imported_results_stand_beside(workdir, tmp_path, capsys):
    boxes = {"A": np.ones((6, 4)), "Two.1": np.ones((6, 4)), "Zebra": np.ones((6, 4))}
    np.savez(tmp_path / "other.npz", **boxes)
    assert report(workdir, "--import", f"other={tmp_path / 'other.npz'}") == 0
    out = capsys.readouterr().out
    assert re.search(r"\| other +\| .*other.npz \| +1 \| Zebra", out)
    assert re.search(r"\| other +\| +2 of 3", out)


def test_annotations_without_frames(workdir, otb, tmp_path, capsys):
    otb.rename(tmp_path / "moved")
    assert report(workdir, "--root", str(tmp_path / "moved")) == 0
    place = tmp_path / "annotations"
    place.mkdir()
    rows = [[6 + i, 7, 10, 12] for i in range(6)]
    write_json(place / "otb100.json", {"A": {"gt_rect": rows, "attr": ["SV"]}})
    capsys.readouterr()
    assert report(workdir, "--annotations", str(place)) == 0
    out = capsys.readouterr().out
    assert "- ground truth: annotation files of otb100" in out
    assert "no ground truth: not in otb100" in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--baseline", "DeepCD-K"], "did you mean DeepCD-H"),
        (["--import", "x"], "is not LABEL=PATH"),
        (["--import", "x=none"], "none: no such folder or .npz"),
        (["--import", "DeepCD-H=none"], "there is a tracker 'DeepCD-H' already"),
        (["--out", "none/r.md"], "folder none does not exist"),
        (["--preset", "oth"], "no preset 'oth'"),
        (["--root", "none"], "none: no such folder"),
        (["--annotations", "none"], "no annotation file none/annotations/otb100.json"),
    ],
)
def test_bad_words(workdir, capsys, words, told):
    assert report(workdir, *words) == 2
    err = capsys.readouterr().err
    assert told in err
    assert err.count("\n") == 1


def test_bad_places(workdir, tmp_path, capsys):
    assert report(tmp_path) == 2
    assert "experiment.json" in capsys.readouterr().err
    assert main(["report"]) == 2
    assert "nothing to report: give a WORKDIR" in capsys.readouterr().err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "Zebra.txt").write_text("1,2,3,4\n")
    assert report(workdir, "--import", f"x={tmp_path / 'other'}") == 2
    assert "Zebra" in capsys.readouterr().err
    (tmp_path / "file").write_text("kept")
    assert report(workdir, "--plots", str(tmp_path / "file")) == 2
    assert "file: cannot be written" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "kept"


def test_damaged_files_of_an_experiment(workdir, capsys):
    first = workdir / NAMES[0]
    compared = ["compare", str(first), str(workdir / NAMES[1])]
    record = json.loads((first / "A.json").read_text())
    del record["versions"]
    write_json(first / "A.json", record)
    (first / "Two-1.json").unlink()
    write_json(first / "Two-1.failure.json", {})
    assert report(workdir) == 0
    out = capsys.readouterr().out
    assert "- runs: 4 of 6 done, 0 pending, 2 failed" in out
    assert "A.json: lacks versions; remove it and run again" in out
    assert "Two-1.failure.json: lacks label, sequence" in out
    assert main(compared) == 0
    capsys.readouterr()
    for path in (first / "tracker.json", workdir / "experiment.json"):
        write_json(path, {})
        for words in (["report", str(workdir)], compared):
            assert main(words) == 2
            err = capsys.readouterr().err
            assert f"{path.name}: lacks " in err
            assert err.count("\n") == 1


def test_compare(workdir, capsys):
    a, b = (str(workdir / name) for name in NAMES)
    assert main(["compare", a, b]) == 0
    out = capsys.readouterr().out
    assert f"## Against {NAMES[1]}" in out
    assert "0/3/0" in out
    assert main(["compare", a, b, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["tables"][1]["title"] == f"Against {NAMES[1]}"


def test_compare_with_results_from_elsewhere(workdir, tmp_path, capsys):
    np.savez(tmp_path / "other.npz", A=np.ones((6, 4)), Zebra=np.ones((6, 4)))
    assert main(["compare", str(workdir / NAMES[0]), str(tmp_path / "other.npz")]) == 0
    out = capsys.readouterr().out
    assert re.search(r"\| other +\| +1 of 3", out)
    assert re.search(r"Largest gains of DeepCD-H: AUC\n\n.*\n.*\n\| A ", out)


def test_bad_comparisons(workdir, tmp_path, capsys):
    def told(*words):
        assert main(["compare", *map(str, words)]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        return err

    one = workdir / NAMES[0]
    assert "compared with itself" in told(one, one)
    assert "did you mean DeepCD-H" in told(workdir / "DeepCD-K", one)
    assert "has several trackers" in told(workdir, one)
    assert "no such folder or file" in told(tmp_path / "none", one)
    settings = json.loads((workdir / "experiment.json").read_text())
    other = tmp_path / "copy"
    (other / NAMES[0]).mkdir(parents=True)
    (other / NAMES[0] / "tracker.json").write_text((one / "tracker.json").read_text())
    write_json(other / "experiment.json", {**settings, "max_frames": 3, "units": {NAMES[0]: []}})
    assert "max_frames is 3, in" in told(one, other)
