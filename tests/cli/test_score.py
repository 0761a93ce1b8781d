import json
import shutil

import numpy as np
import pytest

from cdjax.cli import main

BOXES = np.array([[10 + i, 20, 30, 40] for i in range(8)], float)  # from 1
NAMES = ("Basketball", "CarDark", "Jogging-1", "Jogging-2")


@pytest.fixture
def annotations(tmp_path):
    """An annotation file of four targets."""
    folder = tmp_path / "annotations"
    folder.mkdir()
    entry = {"gt_rect": BOXES.tolist(), "attr": ["SV", "OCC"]}
    entries = {name: entry for name in NAMES}
    entries["CarDark"] = {**entry, "attr": []}
    (folder / "tc128.json").write_text(json.dumps(entries))
    return folder


def write(folder, boxes):
    folder.mkdir()
    for name, rows in boxes.items():
        np.savetxt(folder / f"{name}.txt", rows, delimiter=",")
    return folder


@pytest.fixture
def good(tmp_path):
    return write(tmp_path / "good", dict.fromkeys(NAMES, BOXES))


@pytest.fixture
def odd(tmp_path):
    away = BOXES + [[0, 0, 0, 0]] + np.arange(8)[:, None] * [[6, 0, 0, 0]]
    some = {"basketball": away, "Jogging.2": BOXES[:5], "Human": BOXES}
    return write(tmp_path / "odd", some)


def score(annotations, *words):
    where = ["--dataset", "tc128", "--annotations", str(annotations)]
    return main(["score", *where, *map(str, words)])


def test_table_and_what_is_left_out(annotations, good, odd, capsys):
    assert score(annotations, "--results", good, "--results", odd, "--attributes") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "absent ground truth: a value <= 0: a miss for success" in out
    rows = [line.split() for line in out.splitlines()]
    assert ["good", "TC-128", "4", "0.9524", "[0.9524,", "0.9524]"] in [row[:6] for row in rows]
    assert ["odd", "TC-128", "2", "of", "4"] in [row[:5] for row in rows]
    assert ["good", "OCC", "3"] in [row[:3] for row in rows]
    assert all(row[-1] == "otb" for row in rows if row[:1] == ["good"] and row[1] == "TC-128")
    assert ["odd", "-", "good", "TC-128", "2", "P@20"] in [row[:6] for row in rows]
    text = " ".join(out.split())
    assert "odd: left out of every mean, 2 of 4, for no result: CarDark, Jogging-1" in text
    assert "odd: Jogging-2: 5 of 8 rows: only these frames are scored" in text
    assert "odd: of no sequence of the dataset: Human" in text
    assert "without attributes, in no mean of one: CarDark" in text


def test_json(annotations, good, odd, tmp_path, capsys):
    path = tmp_path / "out.json"
    words = ["--results", good, "--results", odd, "--preset", "pytracking", "--json", path]
    assert score(annotations, *words) == 0
    assert capsys.readouterr().out.endswith(f"wrote {path}\n")
    content = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert content["preset"]["name"] == "pytracking"
    first, second = content["results"]
    assert first["means"]["TC-128"]["precision_20"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert set(second["left_out"]) == {"CarDark", "Jogging-1"}
    assert second["unknown"] == ["Human"]
    sequence = second["sequences"]["Jogging-2"]
    assert sequence["note"].startswith("5 of 8 rows: the others count as boxes of zeros")
    assert sequence["success_50"] == 5 / 8
    assert len(sequence["success"]) == 21
    assert [p["figure"] for p in content["compared_with_first"]] == ["success_auc", "precision_20"]
    assert content["compared_with_first"][0]["num_sequences"] == 2
    assert not list(tmp_path.glob("*.part"))


def test_origins_and_labels(annotations, good, tmp_path, capsys):
    write(tmp_path / "zero", dict.fromkeys(NAMES, BOXES - [1, 1, 0, 0]))
    assert score(annotations, "--results", tmp_path / "zero", "--origin", "0") == 0
    assert "0.9524 [0.9524" in capsys.readouterr().out
    other = tmp_path / "x"
    other.mkdir()
    write(other / "good", dict.fromkeys(NAMES, BOXES))
    assert score(annotations, "--results", good, "--results", other / "good") == 0
    out = capsys.readouterr().out
    assert f"{other / 'good'} - {good}" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--results", "{tmp}/none"], "none: no such folder or .npz of results"),
        (["--results", "{tmp}/annotations"], "annotations: no results"),
        (["--results", "{tmp}"], "no results here; give one of its folders: good, odd"),
        (["--results", "{tmp}/good", "--preset", "OTB"], "no preset 'OTB'; there are: otb"),
        (["--results", "{tmp}/good", "--json", "{tmp}/no/a.json"], "no does not exist"),
        (["--results", "{tmp}/good", "--no-reset"], "--no-reset is VOT's"),
        ([], "the following arguments are required: --results"),
    ],
)
def test_bad_input_is_one_line(annotations, good, odd, tmp_path, capsys, words, message):
    assert score(annotations, *(word.format(tmp=tmp_path) for word in words)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.startswith("cdjax: error: ")
    assert err.count("\n") == 1


@pytest.fixture
def vot(tmp_path):
    """A VOT year of one sequence, and a result with one failure."""
    boxes = BOXES[:, [0, 1, 2, 3]].repeat(4, axis=0)
    entry = {"gt": boxes.tolist(), "tags": {"occlusion": "1" * 32}, "width": 99, "height": 99}
    (tmp_path / "vot2018.json").write_text(json.dumps({"ants1": entry}))
    lines = ["1", *[",".join(map(str, box)) for box in boxes[1:20].tolist()], "2", "0", "0"]
    lines += ["0", "0", "1", *[",".join(map(str, box)) for box in boxes[26:].tolist()]]
    folder = tmp_path / "T" / "baseline" / "ants1"
    folder.mkdir(parents=True)
    (folder / "ants1_001.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_vot(vot, capsys):
    where = ["score", "--dataset", "vot2018", "--annotations", str(vot)]
    path = vot / "out.json"
    more = ["--results", str(vot / "T" / "baseline"), "--attributes", "--json", str(path)]
    assert main([*where, *more]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    (row,) = [row for row in rows if row[:4] == ["T", "1", "of", "1"]]
    assert row[5] == "1.0000"  # accuracy
    assert row[-2:] == ["1", "challenge"]  # failures
    assert ["T", "occlusion", "1.0000", "1", "challenge"] in rows
    (result,) = json.loads(path.read_text())["results"]
    assert result["failures"] == 1
    assert result["robustness"] == pytest.approx(100 / 32)
    assert main([*where, "--results", str(vot)]) == 2
    assert "no results" in capsys.readouterr().err
    assert main([*where, "--results", str(vot / "T"), "--no-reset", "--attributes"]) == 2
    assert "--attributes: results without restarts" in capsys.readouterr().err


def test_vot_pairs_and_intervals(vot, capsys):
    whole = "1\n" + "".join(f"{','.join(map(str, box))}\n" for box in BOXES.repeat(4, 0)[1:])
    folder = vot / "U" / "ants1"
    folder.mkdir(parents=True)
    (folder / "ants1_001.txt").write_text(whole)
    words = ["score", "--dataset", "vot2018", "--annotations", str(vot)]
    words += ["--json", str(vot / "out.json"), "--results", str(vot / "U"), "--results"]
    assert main([*words, str(vot / "T")]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["T", "-", "U", "vot2018", "1", "failures", "+1.0000"] in [row[:7] for row in rows]
    content = json.loads((vot / "out.json").read_text())
    accuracy, failures = content["compared_with_first"]
    assert (accuracy["figure"], accuracy["ties"]) == ("accuracy", 1)
    assert (failures["wins"], failures["losses"]) == (0, 1)  # fewer are better
    intervals = content["results"][1]["intervals"]
    assert set(intervals) == {"eao", "accuracy", "robustness"}
    assert intervals["accuracy"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    shutil.copytree(vot / "U", vot / "V")
    assert main([*words, str(vot / "V"), "--no-reset"]) == 0
    content = json.loads((vot / "out.json").read_text())
    assert content["results"][0]["intervals"]["average_overlap"]["mean"] == 1.0
    assert [pair["figure"] for pair in content["compared_with_first"]] == ["overlap"]


@pytest.mark.parametrize("more", [[], ["--no-reset"]])
def test_an_empty_vot_result_is_left_out(vot, capsys, more):
    entries = json.loads((vot / "vot2018.json").read_text())
    entries["ants3"] = entries["ants1"]
    (vot / "vot2018.json").write_text(json.dumps(entries))
    (vot / "T" / "baseline" / "ants3").mkdir()
    (vot / "T" / "baseline" / "ants3" / "ants3_001.txt").write_text("\n")
    whole = "1\n" + "5,5,30,40\n" * 31
    (vot / "T" / "baseline" / "ants1" / "ants1_001.txt").write_text(whole)
    words = ["score", "--dataset", "vot2018", "--annotations", str(vot)]
    assert main([*words, "--results", str(vot / "T"), *more]) == 0
    assert "T: left out, ants3: no rows" in capsys.readouterr().out


@pytest.mark.data
@pytest.mark.parametrize(("results", "auc"), [("KCF.npz", "0.4771"), ("DaSiamRPN", "0.6578")])
def test_published_results(data_dir, results, auc, capsys):
    where = data_dir / "results" / "otb100" / results
    words = ["--dataset", "otb100", "--results", str(where), "--annotations", str(data_dir)]
    assert main(["score", *words]) == 0
    out = capsys.readouterr().out
    (row,) = [line for line in out.splitlines() if "OTB-100" in line]
    assert row.split()[2:4] == ["100", auc]
    assert {"TB-50", "CVPR-13"} <= set(out.split())
