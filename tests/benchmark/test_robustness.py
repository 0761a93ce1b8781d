import json

import numpy as np
import pytest

from cdjax._errors import InputError
from cdjax.benchmark._frames import read_image
from cdjax.benchmark._otb import list_otb
from cdjax.benchmark._robustness import SRE_NAMES, sre_boxes, tre_starts
from cdjax.boxes import from_otb, to_otb


def test_boxes_by_hand():
    boxes = dict(zip(SRE_NAMES, sre_boxes([99, 199, 25, 50], (480, 640)).tolist(), strict=True))
    assert boxes["left"] == [96, 199, 25, 50]  # 2.5 rounded up
    assert boxes["down"] == [99, 204, 25, 50]
    assert boxes["topLeft"] == [97, 194, 27, 55]  # 100 - 2.5 is 98 from 1, right side kept
    assert boxes["topRight"] == [99, 194, 28, 55]  # 124 + 2.5 is 127 from 1
    assert boxes["bottomLeft"] == [97, 199, 27, 55]
    assert boxes["bottomRight"] == [99, 199, 28, 55]
    assert boxes["scale_8"] == [102, 204, 20, 40]  # 102.5 is 103 from 1
    assert boxes["scale_12"] == [97, 194, 30, 60]  # 97.5 is 98 from 1


def test_boxes_stay_in_the_frame():
    boxes = sre_boxes([0, 1, 40, 40], (40, 42))
    np.testing.assert_array_equal(boxes[0], [0, 1, 40, 39])  # kept on the left, cut below
    np.testing.assert_array_equal(boxes[1], [4, 1, 38, 39])
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= [42, 40]).all()
    with pytest.raises(InputError, match="positive w and h"):
        sre_boxes([0, 0, 0, 4], (40, 40))


def test_starts():
    truth = np.full((40, 4), 5.0)
    assert tre_starts(truth) == [
        0,
        1,
        2,
        3,
        4,
        5,
        6,
        7,
        8,
        9,
        11,
        12,
        13,
        14,
        15,
        16,
        17,
        18,
        19,
        20,
    ]
    truth[20:] = np.nan  # no start there
    assert max(tre_starts(truth)) == 19
    truth[3] = [-1, 5, 4, 4]  # 0 in the file
    assert 3 not in tre_starts(truth)
    assert tre_starts(truth[:21]) == [0, 1]  # each once
    assert tre_starts(truth[:19]) == []
    rows_61_to_83 = set(range(60, 83))
    assert rows_61_to_83 & set(tre_starts(np.full((101, 4), 5.0)))
    assert not rows_61_to_83 & set(tre_starts(np.full((101, 4), 5.0), name="Jogging-1"))


@pytest.fixture(scope="module")
def published(data_dir):
    runs = json.loads((data_dir / "results" / "otb100" / "C-COT_sre_tre.json").read_text())
    truths = json.loads((data_dir / "annotations" / "otb100.json").read_text())
    return runs, {name: from_otb(np.array(truths[name]["gt_rect"], float)) for name in runs["SRE"]}


@pytest.mark.data
def test_published_starts_in_space(data_dir, published):
    runs, truths = published
    targets = {target.name: target for target in list_otb(data_dir / "otb")}
    equal = 0
    for name, truth in truths.items():
        folder = targets[name].folder / "img"
        hw = read_image(sorted(folder.iterdir())[0]).shape[:2]
        ours = to_otb(sre_boxes(truth[0], hw))
        theirs = np.array([run["boxes"][0] for run in runs["SRE"][name]], float)
        assert [run["shift"] for run in runs["SRE"][name]] == list(SRE_NAMES)
        assert np.abs(ours - theirs).max() <= 1
        equal += int((ours == theirs).all(axis=1).sum())
        # What differs has lost a pixel of its size, as C-COT's own first boxes do (below).
        assert ((ours - theirs)[:, 2:] >= 0).all()
    assert equal == 151  # of 156


@pytest.mark.data
def test_published_starts_in_time(published):
    runs, truths = published
    equal = 0
    for name, truth in truths.items():
        starts = [run["start"] for run in runs["TRE"][name]]
        assert [start - starts[0] for start in starts] == tre_starts(truth, name=name)
        firsts = np.array([run["boxes"][0] for run in runs["TRE"][name]], float)
        ours = to_otb(truth[[start - starts[0] for start in starts]])
        assert np.abs(ours - firsts).max() <= 1
        assert ((ours - firsts)[:, 2:] >= 0).all()
        equal += int((ours == firsts).all(axis=1).sum())
    assert equal == 255  # of 260
