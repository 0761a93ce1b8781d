import numpy as np
import pytest

from cdjax import boxes
from cdjax._errors import InputError
from cdjax.benchmark import load_annotations, missing_targets
from cdjax.benchmark._folder import list_folder, list_frames
from cdjax.benchmark._vot import list_vot, load_vot

POLYGON = "10,0,20,10,10,20,0,10"


def make_folder(folder, rows, *, frames=None):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, 1 + (len(rows) if frames is None else frames)):
        (folder / f"{number:08d}.jpg").touch()
    truth = folder.parent if folder.name == "color" else folder
    (truth / "groundtruth.txt").write_text("\n".join(rows) + "\n")


def test_rectangles_polygons_and_absence_mix(tmp_path):
    make_folder(tmp_path / "a", ["1,2,3,4", POLYGON, "nan,nan,nan,nan", "0"])
    (tmp_path / "a" / "occlusion.tag").write_text("0\n1\n0\n0\n")
    (tmp_path / "a" / "camera_motion.tag").write_text("0\n0\n0\n0\n")
    (sequence,) = load_vot(tmp_path)
    np.testing.assert_array_equal(sequence.boxes[:2], [[1, 2, 3, 4], [0, 0, 20, 20]])
    assert np.isnan(sequence.boxes[2:]).all()
    assert sequence.tags == ("occlusion",)
    assert [len(region) for region in sequence.regions] == [4, 8, 4, 4]
    assert sequence.regions[1].tolist() == [10, 0, 20, 10, 10, 20, 0, 10]
    assert np.isnan(sequence.regions[2:]).all()
    (other,) = load_vot(tmp_path, to_box=boxes.polygon_area_box)
    np.testing.assert_allclose(other.boxes[1, 2:], np.sqrt(200) + 1)


def test_frames_may_lie_in_color(tmp_path):
    make_folder(tmp_path / "a" / "color", ["1,2,3,4"] * 3)
    (sequence,) = load_vot(tmp_path)
    assert [p.parent.name for p in sequence.frame_paths] == ["color"] * 3


def test_tags_may_be_short_long_empty_or_labels(tmp_path):
    make_folder(tmp_path / "a", ["1,2,3,4"] * 3)
    files = {"short.tag": "1\n", "long.tag": "0\n" * 3 + "1\n", "empty.tag": "\n"}
    files |= {"size_change.label": "0\n1\n0\n", "absence.label": "1\n1\n1\n"}
    for name, text in files.items():
        (tmp_path / "a" / name).write_text(text)
    (sequence,) = load_vot(tmp_path)
    assert {tag: where.astype(int).tolist() for tag, where in sequence.frame_tags.items()} == {
        "short": [1, 0, 0],
        "long": [0, 0, 0],
        "empty": [0, 0, 0],
        "size_change": [0, 1, 0],
    }
    assert sequence.tags == ("short", "size_change")


def test_a_start_box_is_followed_by_absent_regions(tmp_path):
    make_folder(tmp_path / "a", [POLYGON], frames=3)
    (sequence,) = load_vot(tmp_path)
    assert len(sequence.regions) == len(sequence.boxes) == 3
    assert np.isnan(sequence.regions[2]).all()


def test_the_list_gives_the_order_and_what_is_missing(tmp_path):
    for name in ("a", "b", "unlisted"):
        make_folder(tmp_path / name, ["1,2,3,4"] * 2)
    (tmp_path / "list.txt").write_text("b\na\n\n")
    assert [target.name for target in list_vot(tmp_path)] == ["b", "a"]
    (tmp_path / "list.txt").write_text("b\nc\na\nd\n")
    with pytest.raises(InputError, match="list.txt names 2 .* not there: c, d; complete"):
        list_vot(tmp_path)
    assert missing_targets("vot", tmp_path) == ["c", "d"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["m0,0,4,4,3,2"], "masks are not supported"),
        (["1,2,3,4", "1,2,3,4,5"], "txt:2: 5 numbers"),
    ],
)
def test_other_regions_are_refused(tmp_path, rows, words):
    make_folder(tmp_path / "a", rows)
    (target,) = list_vot(tmp_path)
    with pytest.raises(InputError, match=words):
        target.read()


def test_a_folder_may_hold_both_layouts(tmp_path):
    make_folder(tmp_path / "a", ["5,6,7,8"])
    (tmp_path / "b" / "img").mkdir(parents=True)
    (tmp_path / "b" / "img" / "1.png").touch()
    (tmp_path / "b" / "groundtruth_rect.txt").write_text("5,6,7,8")
    starts = [target.read().boxes[0].tolist() for target in list_folder(tmp_path)]
    assert starts == [[5, 6, 7, 8], [4, 5, 7, 8]]


def test_plain_folders_of_images(tmp_path):
    with pytest.raises(InputError, match="no images"):
        list_frames(tmp_path)
    (tmp_path / "img").mkdir()
    for name in ("9.png", "10.png", "8.png"):
        (tmp_path / "img" / name).touch()
    names = [path.name for path in list_frames(tmp_path)]
    assert names == ["8.png", "9.png", "10.png"]


@pytest.mark.data
def test_public_sequence(data_dir):
    (sequence,) = load_vot(data_dir / "vot")
    assert sequence.name == "ball1"
    assert len(sequence.frame_paths) == len(sequence.boxes) == 105
    np.testing.assert_allclose(sequence.boxes[0], [492, 417, 47, 46])


@pytest.mark.data
def test_the_polygons_of_a_folder_are_those_of_the_annotation(data_dir, tmp_path):
    source = data_dir / "vot" / "ball1"
    make_folder(tmp_path / "ball1", (source / "groundtruth_vot2018.txt").read_text().split())
    (sequence,) = load_vot(tmp_path)
    known = {s.name: s for s in load_annotations("vot2018", folder=data_dir)}["ball1"]
    np.testing.assert_allclose(sequence.boxes, known.boxes, atol=1e-9)
    np.testing.assert_allclose(np.stack(sequence.regions), np.stack(known.regions), atol=0.006)
