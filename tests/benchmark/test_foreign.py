import io
import zipfile

import numpy as np
import pytest

from cdjax._errors import InputError
from cdjax.benchmark._foreign import read_results, read_vot_results
from cdjax.benchmark._sequence import Sequence

ROWS = np.array([[1, 2, 30, 40], [1.5, 2.25, 30, 40], [3, 4, 31, 41]])
OURS = ROWS - [1, 1, 0, 0]


def sequences(*names):
    return [Sequence(name, (), OURS) for name in names]


KNOWN = sequences("Basketball", "CarDark", "Jogging-1", "Jogging-2")


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def text(delimiter):
    return "".join(delimiter.join(f"{v:g}" for v in row) + "\n" for row in ROWS)


@pytest.mark.parametrize("delimiter", [",", "\t", " ", "  ", ", ", ";"])
def test_any_delimiter(tmp_path, delimiter):
    write(tmp_path, {"Basketball.txt": text(delimiter)})
    np.testing.assert_array_equal(read_results(tmp_path, KNOWN)["Basketball"], OURS)
    raw = read_results(tmp_path, KNOWN, origin=0)["Basketball"]
    np.testing.assert_array_equal(raw, ROWS)


def test_mixed_delimiters_and_results_that_are_no_boxes(tmp_path):
    mixed = "\ufeff1,2\t30 40\r\n\r\nNaN NaN NaN NaN\r\n-1e3;inf,0,-2\r\n\r\n"
    write(tmp_path, {"Basketball.txt": mixed})
    boxes = read_results(tmp_path, KNOWN)["Basketball"]
    nan = [np.nan] * 4
    np.testing.assert_array_equal(boxes, [[0, 1, 30, 40], nan, nan, [-1001, np.inf, 0, -2]])


def test_layouts_and_their_names(tmp_path):
    files = {
        "basketball.txt": text("\t"),
        "basketball_time.txt": "0.1\n",  # pytracking
        "times/carDark_time.txt": "0.1\n",  # got10k
        "carDark.txt": text(","),
        "Jogging.1.txt": text(","),
        "Jogging_2.csv": text(","),
        "notes.md": "seen",
        "Unknown.txt": "read me",
    }
    boxes = read_results(write(tmp_path, files), KNOWN)
    assert list(boxes) == ["Jogging-1", "Jogging-2", "Basketball", "CarDark", "Unknown"]
    assert len(boxes["Unknown"]) == 0


def test_npz(tmp_path):
    path = tmp_path / "T.npz"
    np.savez(path, **{"Basketball": ROWS.astype(np.float32), "jogging.1": ROWS[:0]})
    boxes = read_results(path, KNOWN)
    np.testing.assert_array_equal(boxes["Basketball"], OURS)
    assert boxes["Jogging-1"].shape == (0, 4)
    np.savez(path, Basketball=ROWS[:, :3])
    with pytest.raises(InputError, match=r"T.npz:Basketball: an array \[3, 3\] of float64"):
        read_results(path, KNOWN)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"T.npz: is not a whole .npz"):
        read_results(path, KNOWN)


def test_damaged_npz(tmp_path):
    path = tmp_path / "T.npz"
    np.savez_compressed(path, Basketball=np.random.default_rng(0).normal(size=(200, 4)))
    whole = path.read_bytes()
    header = npy_header(ROWS)
    method = bytearray(whole)
    method[whole.index(b"PK\x01\x02") + 10] = 99
    method[8] = 99
    damaged = {
        "zlib": whole[:80] + b"\xff" * 40 + whole[120:],
        "NotImplementedError": bytes(method),
        "zip of a bad header": zipped("Basketball.npy", header.replace(b"}", b"(")),
    }
    for content in damaged.values():
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"T.npz: is not a whole .npz") as caught:
            read_results(path, KNOWN)
        assert "\n" not in str(caught.value)


def npy_header(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def zipped(name, content):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr(name, content)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "no results .* check the path"),
        ({"times/a.txt": "1"}, "no results .* check the path"),
        ({"A.txt": "1,2,3,4", "B.txt": ""}, r"none of its 2 results \(A, B\) .* 4 sequences"),
        ({"KCF/Basketball.txt": "1,2,3,4", "x/A.txt": ""}, "give one of its folders: KCF$"),
        ({"Basketball.txt": "1,2,3,4\n1,2,3\n"}, "Basketball.txt:2: 3 numbers instead of x,y,w,h$"),
        ({"Basketball.txt": "1\n1,2,3,4\n"}, "Basketball.txt:1: 1 numbers .*; is it a VOT result"),
        ({"Basketball.txt": "1,2,3,4\nx,y,w,h\n"}, "Basketball.txt:2: 'x,y,w,h' is not a row of"),
        ({"Jogging.1.txt": "1,2,3,4", "Jogging-1.txt": "1,2,3,4"}, "are both Jogging-1"),
        ({"CarDark.csv": "1,2,3,4", "CarDark.txt": "1,2,3,4"}, "CarDark.csv and CarDark.txt are"),
    ],
)
def test_bad_folders(tmp_path, files, words):
    write(tmp_path, files)
    with pytest.raises(InputError, match=words) as caught:
        read_results(tmp_path, KNOWN)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_bad_paths(tmp_path):
    for name in ("none", "none.npz"):
        with pytest.raises(InputError, match=r"no such folder or .npz"):
            read_results(tmp_path / name, KNOWN)
    (tmp_path / "Basketball.txt").write_bytes(b"\xff\xfe1,2")
    with pytest.raises(InputError, match=r"Basketball.txt: result cannot be read"):
        read_results(tmp_path, KNOWN)
    with pytest.raises(InputError, match="origin 2"):
        read_results(tmp_path, KNOWN, origin=2)


def test_vot_layout(tmp_path):
    rows = "1\n1,2,3,4\n2\n"
    files = {
        "T/baseline/ants1/ants1_001.txt": rows,
        "T/baseline/ants1/ants1_002.txt": rows,
        "T/baseline/ants1/ants1_001_time.value": "1",
        "T/baseline/new/new_001.txt": rows,
    }
    known = sequences("ants1", "bag")
    folder = write(tmp_path, files) / "T"
    runs = read_vot_results(folder, known)
    assert {name: len(repetitions) for name, repetitions in runs.items()} == {"ants1": 2, "new": 1}
    assert runs["ants1"][1][0] == 1
    np.testing.assert_array_equal(runs["ants1"][0][1], [1, 2, 3, 4])
    with pytest.raises(InputError, match="none of its 2 results"):
        read_vot_results(folder / "baseline", sequences("bag"))
    with pytest.raises(InputError, match="no results"):
        read_vot_results(folder / "baseline" / "new", known)
    with pytest.raises(InputError, match="no such folder"):
        read_vot_results(folder / "none", known)
