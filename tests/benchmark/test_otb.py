import json
import re
from pathlib import Path

import numpy as np
import pytest

from cdjax._errors import InputError
from cdjax.benchmark import _sequence
from cdjax.benchmark._otb import list_otb, load_otb
from cdjax.benchmark._sequence import select_targets


def make_folder(root, name, numbers, rows, *, truth="groundtruth_rect.txt", width=4):
    """Writes empty frames (readers never open them) and ground truth."""
    (root / name / "img").mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (root / name / "img" / f"{number:0{width}d}.jpg").touch()
    lines = rows if isinstance(rows, list) else [f"{i},2,3,4" for i in range(1, rows + 1)]
    (root / name / truth).write_text("\n".join(lines) + "\n")


def numbers_of(sequence):
    return [_sequence.frame_number(path) for path in sequence.frame_paths]


def test_delimiters_may_be_mixed_and_boxes_start_at_zero(tmp_path):
    make_folder(tmp_path, "A", range(1, 5), ["1,2,3,4", "2\t3\t4\t5", "3 4  5 6", "4, 5,6\t7"])
    (sequence,) = load_otb(tmp_path)
    np.testing.assert_array_equal(
        sequence.boxes, [[0, 1, 3, 4], [1, 2, 4, 5], [2, 3, 5, 6], [3, 4, 6, 7]]
    )


def test_two_targets_share_a_folder_and_an_empty_file_is_none(tmp_path):
    for i in (1, 2):
        make_folder(tmp_path, "Jogging", range(1, 4), 3, truth=f"groundtruth_rect.{i}.txt")
    make_folder(tmp_path, "Human4", range(1, 4), 3, truth="groundtruth_rect.2.txt")
    (tmp_path / "Human4" / "groundtruth_rect.1.txt").touch()
    targets = list_otb(tmp_path)
    assert [t.name for t in targets] == ["Human4-2", "Jogging-1", "Jogging-2"]
    picked = select_targets(targets, ["jogging.2", "Human4", "Jogging"])
    assert [t.name for t in picked] == ["Jogging-2", "Human4-2", "Jogging-1"]


@pytest.mark.parametrize(
    ("name", "numbers", "rows", "first"),
    [
        ("David", range(1, 771), 471, 300),
        ("David", range(300, 320), 20, 300),
        ("Football1", range(1, 80), 74, 1),
        ("Diving", range(1, 232), 215, 1),
        ("BlurCar1", range(247, 989), 742, 247),
        ("BlurCar4", range(1, 398), 380, 18),
        ("Tiger1", range(1, 355), 354, 1),
        ("Tiger1", range(1, 355), 349, 6),
        ("Tiger1", range(1, 350), 349, 1),
        ("Freeman3", range(1, 466), 460, 1),
        ("Freeman4", range(1, 298), 283, 1),
        ("Board", range(1, 11), 10, 1),
        ("david", range(1, 771), 471, 300),
    ],
)
def test_frames_start_where_the_annotation_does(tmp_path, name, numbers, rows, first):
    make_folder(tmp_path, name, numbers, rows, width=5 if name == "Board" else 4)
    (sequence,) = load_otb(tmp_path)
    assert numbers_of(sequence) == list(range(first, first + rows))
    assert all(path.exists() for path in sequence.frame_paths)


def test_a_missing_frame_shifts_no_row(tmp_path):
    make_folder(tmp_path, "A", [1, 2, 4, 5], 5)
    make_folder(tmp_path, "B", [1, 2, 3], 5)
    for sequence in load_otb(tmp_path):
        assert numbers_of(sequence) == [1, 2, 3, 4, 5]
    assert [p.name for p in sequence.frame_paths if not p.exists()] == [
        "0004.jpg",
        "0005.jpg",
    ]


@pytest.mark.parametrize(
    ("numbers", "rows", "words"),
    [
        ([], 3, "no images"),
        (range(1, 10), 3, r"9 frames .* but 3 rows"),
        (range(2, 10), 9, r"8 frames .* but 9 rows"),
        (range(1, 3), ["1,2,3,4", "1,2,3"], "txt:2: 3 numbers"),
        (range(1, 3), ["1,2,3,4", "a,b"], "txt:2: 'a,b' is not a row"),
        (range(1, 3), [], "empty"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, numbers, rows, words):
    make_folder(tmp_path, "A", numbers, rows)
    (target,) = list_otb(tmp_path)
    with pytest.raises(InputError, match=words):
        target.read()


def test_one_row_is_a_start_box(tmp_path):
    make_folder(tmp_path, "A", range(1, 4), 1)
    (sequence,) = load_otb(tmp_path / "A")
    assert len(sequence.frame_paths) == 3
    assert np.isfinite(sequence.boxes).all(axis=1).tolist() == [True, False, False]


def test_unknown_names_get_the_nearest(tmp_path):
    make_folder(tmp_path, "Crossing", [1], 1)
    targets = list_otb(tmp_path)
    with pytest.raises(InputError, match="'Crosing'; did you mean Crossing"):
        select_targets(targets, ["Crosing"])
    with pytest.raises(InputError, match="no sequences found"):
        list_otb(tmp_path / "Crossing" / "img")
    with pytest.raises(InputError, match="no such folder"):
        list_otb(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("numbers", "filled"),
    [
        ([1, 2, 4], [1, 2, 3, 4]),
        ([0, 5, 10, 20, 25], [0, 5, 10, 15, 20, 25]),
        ([1, 2, 3, 9, 10], [1, 2, 3, 4, 9, 10]),
        ([1, 3, 4], [1, 2, 3, 4]),
        ([1, 3, 5, 6], [1, 2, 3, 4, 5, 6]),
        ([3, 17, 44, 91], [3, 17, 44, 91]),
        ([0, 33, 66, 100, 133, 200], [0, 33, 66, 100, 133, 200]),
        ([1, 9], [1, 9]),
    ],
)
def test_gaps_are_told_from_time_stamps(tmp_path, numbers, filled):
    paths = [tmp_path / f"frame_{n}.png" for n in numbers]
    found = [_sequence.frame_number(p) for p in _sequence.with_gaps(paths)]
    assert found == filled


@pytest.mark.parametrize(
    "stray", ["thumb.jpg", "thumb_1.jpg", "0002.png", "0002 (1).jpg", "0002_copy.jpg"]
)
def test_images_that_slip_in_among_the_frames_are_named(tmp_path, stray):
    for numbers in ([1, 2, 3], [1, 2, 4]):
        make_folder(tmp_path, f"A{numbers[-1]}", numbers, len(numbers) + 1)
        folder = tmp_path / f"A{numbers[-1]}"
        (folder / "img" / stray).touch()
        with pytest.raises(InputError, match=re.escape(stray)):
            load_otb(folder)
        with pytest.raises(InputError, match=re.escape(stray)):
            _sequence.with_gaps(_sequence.list_images(folder / "img"))


@pytest.mark.parametrize(
    "names",
    [
        ["a.png", "b.png", "c.png"],
        ["clip7_a.png", "clip7_b.png"],
        ["10-00-58.png", "10-00-59.png", "10-01-58.png", "10-01-59.png"],
    ],
)
def test_names_that_count_otherwise_stay(tmp_path, names):
    paths = [tmp_path / name for name in names]
    assert list(_sequence.with_gaps(paths)) == paths


def test_the_working_folder_has_a_name(tmp_path, monkeypatch):
    for i in (1, 2):
        make_folder(tmp_path, "Two", range(1, 4), 3, truth=f"groundtruth_rect.{i}.txt")
    monkeypatch.chdir(tmp_path / "Two")
    assert [target.name for target in list_otb(Path("."))] == ["Two-1", "Two-2"]
    monkeypatch.chdir("img")
    assert [target.name for target in list_otb(Path(".."))] == ["Two-1", "Two-2"]


def test_natural_order(tmp_path):
    for name in ("f10.jpg", "f9.jpg", "F1.JPG", ".f2.jpg", "notes.txt"):
        (tmp_path / name).touch()
    names = [p.name for p in _sequence.list_images(tmp_path)]
    assert names == ["F1.JPG", "f9.jpg", "f10.jpg"]


@pytest.mark.data
def test_public_targets_agree_with_the_annotation_of_the_benchmark(data_dir):
    sequences = load_otb(data_dir / "otb")
    annotation = json.loads((data_dir / "annotations" / "otb100.json").read_text())
    assert len(sequences) == 13
    for sequence in sequences:
        known = annotation[sequence.name]
        boxes = np.array(known["gt_rect"])[: len(sequence.boxes)]
        np.testing.assert_array_equal(sequence.boxes, boxes - [1, 1, 0, 0])
        assert sequence.boxes[0].tolist() == [
            known["init_rect"][0] - 1,
            known["init_rect"][1] - 1,
            *known["init_rect"][2:],
        ]
        assert sequence.frame_paths[0].name == known["first_image"]
        assert all(path.exists() for path in sequence.frame_paths)
    lengths = {s.name: len(s.frame_paths) for s in sequences}
    assert lengths["Bird2"] == 99
    assert lengths["Soccer"] == 150
    assert lengths["Jogging-1"] == lengths["Jogging-2"] == lengths["David"] == 200
