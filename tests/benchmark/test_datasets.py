"""Datasets by name: layouts on disk, tables, aliases, and annotations without frames."""

import json
from pathlib import Path

import numpy as np
import pytest

from cdjax._errors import InputError
from cdjax.benchmark import (
    DATASETS,
    attributes_of,
    canonical_name,
    list_otb,
    list_targets,
    load_annotations,
    missing_targets,
    select_targets,
)
from cdjax.benchmark._sequence import frame_number
from cdjax.benchmark._tables import ATTRIBUTES, read_subset, read_table


def write(path, text="5,6,7,8\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_frames(folder, numbers, *, width=4):
    """Empty files: readers never look into frames."""
    for number in numbers:
        write(folder / f"{number:0{width}d}.jpg", "")


def numbers_of(sequence):
    return [frame_number(path) for path in sequence.frame_paths]


# Tables


def test_the_subsets_are_the_benchmarks():
    sizes = {name: len(read_subset(name)) for name in ("otb2013", "otb50", "otb100", "tc128")}
    assert sizes == {"otb2013": 51, "otb50": 50, "otb100": 100, "tc128": 129}
    frames = {
        name: sum(k.frames for k in read_table(name).values()) for name in ("otb100", "tc128")
    }
    assert frames == {"otb100": 59_035, "tc128": 55_346}
    assert len(read_table("uav123")) == 123
    assert read_table("otb100")["David"].span == (300, 770)
    assert read_table("uav123")["bird1_2"].span == (775, 1477)
    for name in ("otb", "tc128"):
        assert {tag for tags in attributes_of(name).values() for tag in tags} == set(ATTRIBUTES)
    with pytest.raises(InputError, match="no table of attributes for 'vot'"):
        attributes_of("vot")


@pytest.mark.data
@pytest.mark.parametrize("benchmark", ["otb100", "tc128"])
def test_tables_agree_with_the_annotations(data_dir, benchmark):
    table = read_table(benchmark)
    known = json.loads((data_dir / "annotations" / f"{benchmark}.json").read_text())
    assert list(table) == list(known)
    for name, entry in known.items():
        row = table[name]
        assert row.folder == entry.get("dir", name)
        assert row.first == int(entry.get("first_image", "1.jpg").split(".")[0])
        assert row.frames == entry["frames"] == len(entry["gt_rect"])
        assert ("otb50" in row.subsets, "otb2013" in row.subsets) == (
            entry.get("tb50", False),
            entry.get("cvpr13", False),
        )
        assert row.tags == tuple(entry["attr"] or ()) == attributes_of(benchmark)[name]


# Names


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("Jogging-1", "Jogging-1"),
        ("Jogging.1", "Jogging-1"),
        ("Jogging_2", "Jogging-2"),
        ("jogging2", "Jogging-2"),
        ("Skating2_1", "Skating2-1"),
        ("Human4", "Human4-2"),
        ("Human4.2", "Human4-2"),
        ("human4_2", "Human4-2"),
        ("carDark", "CarDark"),
        ("faceocc1", "FaceOcc1"),
        ("Jogging", None),
        ("Car", None),
        ("", None),
    ],
)
def test_names_of_other_toolkits(name, ours):
    assert canonical_name(name, read_table("otb100")) == ours


def test_the_closest_form_of_a_name_counts():
    table = read_table("uav123")
    assert canonical_name("car1_1", table) == "car1_1"
    assert canonical_name("Car1-1", table) == "car1_1"
    assert canonical_name("uav_car11", table) == "car11"
    assert canonical_name("car-1-1", ["car11", "car1_1"]) is None
    assert canonical_name("car.1.1", ["car11", "car1_1", "car-1_1"]) == "car-1_1"
    for name in table:
        assert canonical_name(name, table) == name


# OTB


def test_a_subset_is_what_is_there_and_the_rest_is_named(tmp_path, monkeypatch):
    for name in ("Soccer", "carDark", "Mine"):
        write(tmp_path / name / "groundtruth_rect.txt")
        write_frames(tmp_path / name / "img", [1])
    for i in (1, 2):
        write(tmp_path / "jogging" / f"groundtruth_rect.{i}.txt")
    write(tmp_path / "human4" / "groundtruth_rect.1.txt", "\n")
    write(tmp_path / "human4" / "groundtruth_rect.2.txt")
    write_frames(tmp_path / "NoTruth" / "img", [1])
    names = {
        name: [t.name for t in list_targets(name, tmp_path)] for name in DATASETS if "otb" in name
    }
    assert names["otb100"] == ["CarDark", "Human4-2", "Jogging-1", "Jogging-2", "Soccer"]
    assert names["otb50"] == ["CarDark", "Human4-2", "Soccer"]
    assert names["otb2013"] == ["CarDark", "Jogging-1", "Jogging-2", "Soccer"]
    assert set(names["otb"]) == {*names["otb100"], "Mine"}
    missing = missing_targets("otb2013", tmp_path)
    assert len(missing) == 51 - 4
    assert missing[0] == "Basketball"
    assert missing_targets("otb", tmp_path) == ["NoTruth"]
    monkeypatch.chdir(tmp_path / "Mine")
    assert missing_targets("otb", Path("..")) == ["NoTruth"]
    assert select_targets(list_otb(tmp_path), ["Human4"])[0].name == "Human4-2"
    sequence = select_targets(list_otb(tmp_path), ["carDark"])[0].read()
    assert sequence.tags == ("IV", "BC")
    with pytest.raises(InputError, match="no OTB version '15'; there are: 2013, 50, 100"):
        list_otb(tmp_path, version="15")
    with pytest.raises(InputError, match="none of the 50 targets of otb50"):
        list_otb(tmp_path / "jogging", version="50")


def test_the_same_target_twice_is_refused(tmp_path):
    for name in ("CarDark", "carDark2", "cardark"):
        write(tmp_path / name / "groundtruth_rect.txt")
    with pytest.raises(InputError, match="cardark.* are both CarDark; take one away"):
        list_otb(tmp_path)


def test_truncated_ground_truth_is_no_shorter_sequence(tmp_path):
    write(tmp_path / "Crossing" / "groundtruth_rect.txt", "1,2,3,4\n" * 100)
    write_frames(tmp_path / "Crossing" / "img", range(1, 121))
    with pytest.raises(InputError, match=r"Crossing: 120 frames .* but 100 rows"):
        list_otb(tmp_path)[0].read()


# The other layouts


def test_tc128(tmp_path):
    for name in ("David", "Thunder_ce", "Own"):
        write(tmp_path / name / f"{name}_gt.txt", "11,21,3,4\n" * 3)
        write(tmp_path / name / f"{name}_frames.txt", "300,302\n")
        write(tmp_path / name / f"{name}_att.txt", "OPR, bc\n")
        write_frames(tmp_path / name / "img", range(1, 304))
    write_frames(tmp_path / "Ball_ce1" / "img", [1])
    david, own, thunder = (t.read() for t in list_targets("tc128", tmp_path))
    assert numbers_of(david) == [300, 301, 302]
    assert david.boxes[0].tolist() == [10, 20, 3, 4]
    assert david.tags == attributes_of("tc128")["David"]
    assert own.tags == thunder.tags == ("OPR", "BC")
    assert "Ball_ce1" in missing_targets("tc128", tmp_path)
    assert len(missing_targets("tc128", tmp_path)) == 127
    for text in ("300\n", "nan,302\n"):
        write(tmp_path / "Own" / "Own_frames.txt", text)
        with pytest.raises(InputError, match="Own_frames.txt: not the two numbers first,last"):
            list_targets("tc128", tmp_path)[1].read()


@pytest.mark.parametrize("depth", ["cat", "."])
def test_lasot(tmp_path, depth):
    for name in ("cat-1", "cat-20"):
        folder = tmp_path / depth / name
        write(folder / "groundtruth.txt", "5,6,7,8\n" * 4)
        write(folder / "full_occlusion.txt", "0,1,0,0")
        write(folder / "out_of_view.txt", "0,0,0,1")
        write_frames(folder / "img", range(1, 5), width=8)
    targets = list_targets("lasot", tmp_path)
    assert [t.name for t in targets] == ["cat-1", "cat-20"]
    boxes = targets[0].read().boxes
    assert boxes[0].tolist() == [4, 5, 7, 8]
    assert np.isnan(boxes).all(axis=1).tolist() == [False, True, False, True]
    write(targets[0].folder / "out_of_view.txt", "0,0")
    with pytest.raises(InputError, match="out_of_view.txt: 2 flags for 4 rows"):
        targets[0].read()


def test_got10k(tmp_path):
    for name in ("GOT-10k_Val_000001", "GOT-10k_Val_000002"):
        write(tmp_path / name / "groundtruth.txt", "5.5,6,7,8\n" * 3)
        write(tmp_path / name / "absence.label", "0\n0\n1\n")
        write_frames(tmp_path / name, range(1, 4), width=8)
    write(tmp_path / "list.txt", "GOT-10k_Val_000002\nGOT-10k_Val_000001\n")
    targets = list_targets("got10k", tmp_path)
    assert [t.name[-1] for t in targets] == ["2", "1"]
    sequence = targets[0].read()
    assert sequence.boxes[0].tolist() == [4.5, 5, 7, 8]
    assert np.isnan(sequence.boxes[2]).all()
    write(targets[0].folder / "groundtruth.txt", "5,6,7,8\n")  # as in the test split
    assert np.isfinite(targets[0].read().boxes).all(axis=1).tolist() == [True, False, False]


def test_uav123_shares_folders_between_targets(tmp_path):
    write(tmp_path / "anno" / "UAV123" / "uav1_2.txt", "5,6,7,8\n" * 822 + "NaN,NaN,NaN,NaN\n")
    write(tmp_path / "anno" / "UAV123" / "bike3.txt", "5,6,7,8\n" * 433)
    write_frames(tmp_path / "data_seq" / "UAV123" / "uav1", range(1550, 2400), width=6)
    bike, uav = list_targets("uav123", tmp_path)
    sequence = uav.read()
    assert numbers_of(sequence)[::822] == [1555, 2377]
    assert sequence.boxes[0].tolist() == [4, 5, 7, 8]
    assert np.isnan(sequence.boxes[-1]).all()
    assert select_targets([bike, uav], ["uav1"]) == [uav]
    with pytest.raises(InputError, match="bike3.txt: ground truth without frames: no images in"):
        bike.read()
    assert len(missing_targets("uav123", tmp_path)) == 121


@pytest.mark.parametrize("rows", [17, 16, 24, 3])
def test_nfs_takes_every_eighth_corner_box(tmp_path, rows):
    row = '0 {0} 6 {1} 26 {0} 0 0 0 "car door"\n'
    write(
        tmp_path / "car" / "30" / "car.txt",
        "".join(row.format(i, i + 10) for i in range(rows)),
    )
    write_frames(tmp_path / "car" / "30" / "car", range(1, 4), width=5)
    (target,) = list_targets("nfs", tmp_path)
    sequence = target.read()
    step, count = (1, 3) if rows == 3 else (8, len(range(0, rows, 8)))
    assert sequence.boxes.tolist() == [[step * i, 6, 10, 20] for i in range(count)]
    assert numbers_of(sequence) == list(range(1, count + 1))


@pytest.mark.parametrize("dataset", sorted(DATASETS))
def test_an_empty_folder_and_an_unknown_name(tmp_path, dataset):
    for call in (list_targets, missing_targets):
        with pytest.raises(InputError, match=f"{tmp_path.name}: no sequences found; expected"):
            call(dataset, tmp_path)
        with pytest.raises(InputError, match="nowhere: no such folder"):
            call(dataset, tmp_path / "nowhere")
    with pytest.raises(InputError, match="no dataset 'otb200'; did you mean"):
        list_targets("otb200", tmp_path)


# Annotations without frames


@pytest.mark.data
def test_benchmarks_without_frames(data_dir, monkeypatch):
    monkeypatch.setenv("CDJAX_DATA", str(data_dir))
    otb = {s.name: s for s in load_annotations("otb100")}
    assert sum(len(s.boxes) for s in otb.values()) == 59_035
    assert {name: s.tags for name, s in otb.items()} == attributes_of("otb100")
    assert otb["Jogging-1"].boxes[0].tolist() == [110, 97, 25, 101]
    assert all(s.frame_paths == () for s in otb.values())
    for benchmark in ("otb2013", "otb50", "tc128"):
        assert [s.name for s in load_annotations(benchmark)] == list(read_subset(benchmark))
    vot = {s.name: s for s in load_annotations("vot2018", folder=data_dir / "annotations")}
    assert list(vot) == [s.name for s in load_annotations("vot2017")]
    assert sum(len(s.regions) for s in vot.values()) == 21_356
    ball = vot["ball1"]
    assert ball.hw == (720, 1280)
    assert not ball.frame_tags["occlusion"].any()
    assert {len(where) for where in ball.frame_tags.values()} == {105}
    assert len(vot["conduction1"].regions[0]) == 4
    np.testing.assert_array_equal(vot["conduction1"].boxes[0], vot["conduction1"].regions[0])
    short = {s.name: s for s in load_annotations("vot2019")}["graduate"]
    assert len(short.frame_tags["camera_motion"]) == len(short.boxes) == 844


@pytest.mark.data
def test_the_folder_of_public_frames_is_part_of_the_benchmark(data_dir):
    targets = list_targets("otb100", data_dir / "otb")
    missing = missing_targets("otb100", data_dir / "otb")
    assert sorted([t.name for t in targets] + missing) == sorted(read_table("otb100"))
    annotation = {s.name: s for s in load_annotations("otb100", folder=data_dir)}
    for target in targets:
        sequence = target.read()
        known = annotation[target.name]
        np.testing.assert_array_equal(sequence.boxes, known.boxes[: len(sequence.boxes)])
        assert sequence.tags == known.tags


def test_missing_and_broken_annotations_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("CDJAX_DATA", str(tmp_path))
    with pytest.raises(InputError, match="no annotation file .*otb100.json; set CDJAX_DATA"):
        load_annotations("otb50")
    with pytest.raises(InputError, match="no benchmark 'otb101'; did you mean"):
        load_annotations("otb101")
    for text in ("{", "[]", '{"Bolt": {}}', '{"Bolt": {"gt_rect": [[1, 2], [3]], "attr": []}}'):
        write(tmp_path / "annotations" / "otb100.json", text)
        with pytest.raises(InputError, match="otb100.json: not the annotations of otb100"):
            load_annotations("otb100")
