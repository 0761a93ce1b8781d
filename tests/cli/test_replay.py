import json

import numpy as np
import pytest

from cdjax.cli import main

pytestmark = pytest.mark.usefixtures("fake_api")


@pytest.fixture
def results(otb, tmp_path, capsys):
    """Results of an evaluation on the scene."""
    where = ["--dataset", "otb", "--root", str(otb), "--results", str(tmp_path / "r")]
    assert main(["evaluate", *where, "--tracker", "DeepCD-H"]) == 0
    capsys.readouterr()
    return tmp_path / "r" / "DeepCD-H"


def test_identical(results, capsys):
    for name in ("A.json", "Two-2.txt"):
        assert main(["replay", str(results / name)]) == 0
    out, err = capsys.readouterr()
    assert out == "DeepCD-H on A: identical, 6 frames\nDeepCD-H on Two-2: identical, 6 frames\n"
    assert err == ""


def test_the_first_frame_that_differs(results, capsys):
    rows = np.loadtxt(results / "A.txt", delimiter=",")
    rows[2:, 1] += [0.5, 0.25, 0, 0.125]
    np.savetxt(results / "A.txt", rows, delimiter=",", fmt="%.4f")
    assert main(["replay", str(results / "A.json")]) == 1
    assert "differs from frame 3 of 6, by up to 0.5 px" in capsys.readouterr().out
    (results / "A.txt").write_text("6.0000,7.0000,10.0000,12.0000\n")
    assert main(["replay", str(results / "A.txt")]) == 1
    assert "differs from frame 2 of 1, by up to inf px" in capsys.readouterr().out


def test_other_versions_are_named(results, capsys):
    record = json.loads((results / "A.json").read_text())
    record["versions"]["jax"] = "0.1"
    (results / "A.json").write_text(json.dumps(record))
    assert main(["replay", str(results / "A.json")]) == 0
    assert "note: jax 0.1 then, " in capsys.readouterr().out


def test_moved_data_and_bad_requests(results, otb, capsys):
    otb.rename(otb.with_name("moved"))
    assert main(["replay", str(results / "A.json")]) == 2
    assert "otb: no such folder" in capsys.readouterr().err
    moved = ["--dataset-root", str(otb.with_name("moved"))]
    assert main(["replay", str(results / "A.json"), *moved]) == 0
    capsys.readouterr()
    tracker = json.loads((results / "tracker.json").read_text())
    for name, words in (
        ("B.json", "B.json: there is no such file"),
        ("tracker.json", "not a result; give WORKDIR/TRACKER/SEQUENCE.json"),
    ):
        assert main(["replay", str(results / name), *moved]) == 2
        assert words in capsys.readouterr().err
    tracker["config"]["reg"] = 7
    (results / "tracker.json").write_text(json.dumps(tracker))
    assert main(["replay", str(results / "A.json"), *moved]) == 2
    assert "config.reg is 7 there, 0.0001 here" in capsys.readouterr().err
