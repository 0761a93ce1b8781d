import json

import pytest

from cdjax.benchmark import load_workdir, read_boxes
from cdjax.cli import main

pytestmark = pytest.mark.usefixtures("fake_api")


def evaluate(root, results, *more, dataset="otb", trackers=("DeepCD-H",)):
    named = [word for name in trackers for word in ("--tracker", name)]
    where = ["--dataset", dataset, "--root", str(root), "--results", str(results)]
    return main(["evaluate", *where, *named, *more])


def test_table_summary_and_boxes(otb, tmp_path, capsys):
    results = tmp_path / "deep" / "results"
    trackers = ("DeepCD-H", "DeepCD-V-11+12+21", "DeepCD-H")
    assert evaluate(otb, results, "--weights", "moves", trackers=trackers) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("mean") == 2
    summary = json.loads((results / "summary.json").read_text())
    assert summary["dataset"] == "otb"
    assert summary["failures"] == []
    assert [row["tracker"] for row in summary["trackers"]] == list(trackers[:2])
    for row in summary["trackers"]:
        assert set(row["sequences"]) == {"A", "Two-1", "Two-2"}
        assert row["success_auc"] == pytest.approx(20 / 21)
        assert row["mean_channels"] == 4
        assert row["frames"] == 18
    assert len(read_boxes(results / "DeepCD-V-11+12+21" / "Two-2.txt")) == 6


def test_some_sequences_and_frames(otb, tmp_path):
    more = ["--sequences", "Two,two.1", "--max-frames", "2"]
    assert evaluate(otb, tmp_path / "r", *more) == 0
    summary = json.loads((tmp_path / "r" / "summary.json").read_text())
    frames = {n: f["frames"] for n, f in summary["trackers"][0]["sequences"].items()}
    assert frames == {"Two-1": 2, "Two-2": 2}
    assert summary["protocol"]["max_frames"] == 2


@pytest.mark.parametrize("dataset", ["vot", "folder"])
def test_other_layouts(images, tmp_path, dataset):
    rows = "".join(f"{5 + i},6,10,12\n" for i in range(6))
    (images / "groundtruth.txt").write_text(rows)
    assert evaluate(tmp_path, tmp_path / "r", dataset=dataset) == 0
    assert (tmp_path / "r" / "DeepCD-H" / "images.txt").exists()


def test_a_bad_sequence_is_reported_after_the_others(otb, tmp_path, capsys):
    (otb / "A" / "img" / "0003.png").write_bytes(b"")
    (otb / "Two" / "groundtruth_rect.1.txt").write_text("1,2,3\n")
    assert evaluate(otb, tmp_path / "r") == 2
    out, err = capsys.readouterr()
    assert err.startswith("cdjax: error: 2 of 3 runs failed")
    assert err.count("\n") == 1
    assert "failed: DeepCD-H on A: " in out
    summary = json.loads((tmp_path / "r" / "summary.json").read_text())
    assert set(summary["trackers"][0]["sequences"]) == {"Two-2"}
    assert [f["sequence"] for f in summary["failures"]] == ["A", "Two-1"]


def test_resume_keeps_finished_runs_and_a_plain_call_does_not(otb, tmp_path, capsys):
    assert evaluate(otb, tmp_path / "r", "--sequences", "A") == 0
    assert "1/1  DeepCD-H  A  done" in capsys.readouterr().out
    times = tmp_path / "r" / "DeepCD-H" / "times" / "A.json"
    first = times.stat().st_mtime_ns
    assert evaluate(otb, tmp_path / "r", "--resume") == 0
    assert times.stat().st_mtime_ns == first
    summary = json.loads((tmp_path / "r" / "summary.json").read_text())
    assert set(summary["trackers"][0]["sequences"]) == {"A", "Two-1", "Two-2"}
    assert len(load_workdir(tmp_path / "r").runs) == 3
    times.unlink()
    assert evaluate(otb, tmp_path / "r", "--resume") == 0
    (row,) = json.loads((tmp_path / "r" / "summary.json").read_text())["trackers"]
    assert (row["sequences"]["A"]["fps"], row["frames"]) == (None, 18)
    assert row["fps"] > 0  # of the other two
    assert evaluate(otb, tmp_path / "r", "--sequences", "A") == 0
    assert times.stat().st_mtime_ns != first
    capsys.readouterr()
    assert evaluate(otb, tmp_path / "r", "--max-frames", "2") == 2
    assert "max_frames is None there, 2 here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--sequences", "Tow-1"], "did you mean Two-1"),
        (["--sequences", ","], "names none"),
        (["--tracker", "DeepCD-X"], "nearest is DeepCD-H"),
        (["--tracker", "DeepCD-V-11+12+21"], "run cdjax weights fetch"),
        (["--max-frames", "0"], "not a number of at least 1"),
    ],
)
def test_bad_requests_do_no_work(otb, tmp_path, capsys, more, words):
    assert evaluate(otb, tmp_path / "r", *more) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.startswith("cdjax: error: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_bad_places(otb, tmp_path, capsys):
    (tmp_path / "file").write_text("kept")
    assert evaluate(otb, tmp_path / "file") == 2
    assert "file: cannot be written" in capsys.readouterr().err
    assert evaluate(tmp_path / "none", tmp_path / "r") == 2
    assert "none: no such folder" in capsys.readouterr().err
    assert evaluate(otb / "A" / "img", tmp_path / "r") == 2
    assert "no sequences found" in capsys.readouterr().err
