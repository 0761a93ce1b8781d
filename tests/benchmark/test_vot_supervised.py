from pathlib import Path

import cv2
import jax
import numpy as np
import pytest
from fake_tracker import make_tracker

import cdjax
from cdjax._errors import InputError
from cdjax.benchmark._sequence import Sequence
from cdjax.benchmark._vot_supervised import format_rows, parse_rows, run_supervised

PARAMS = {"gain": np.float32(1)}
POLYGON = np.array([10, 12, 28, 10, 30, 38, 12, 40.0])  # bounds 10,10,20,30


def make_sequence(folder, values, regions=None):
    """Frames whose first pixel says how far the fake tracker moves."""
    paths = []
    for index, value in enumerate(values):
        paths.append(folder / f"{index:03d}.png")
        cv2.imwrite(str(paths[-1]), np.full((48, 64, 3), value, np.uint8))
    regions = regions or [POLYGON] * len(values)
    boxes = np.array([[10, 10, 20, 30] if np.isfinite(r).all() else [np.nan] * 4 for r in regions])
    return Sequence("a", tuple(paths), boxes.astype(float), regions=tuple(regions))


def test_restarts_from_the_bounds_five_frames_after_each_failure(tmp_path):
    traced, seen = [], []
    values = [9, 1, 60, 9, 9, 9, 9, 9, 2, 60, 9, 9, 9, 9, 9, 3, 4]
    sequence = make_sequence(tmp_path, values)
    result = run_supervised(
        make_tracker(8, None, traced.append), PARAMS, sequence, on_record=seen.append
    )
    codes = [row if isinstance(row, int) else row[0] for row in result.rows]
    assert codes == [1, 11, 2, 0, 0, 0, 0, 1, 12, 2, 0, 0, 0, 0, 1, 13, 17]
    np.testing.assert_array_equal(result.rows[-1], [17, 10, 20, 30])
    assert traced == ["init", "step"]  # once, for three starts
    assert [record.frame_index for record in seen] == [0, 1, 2, 7, 8, 9, 14, 15, 16]
    assert [record.compile_seconds > 0 for record in seen] == [True, True] + [False] * 7
    assert result.totals.num_frames == 9


def test_ends_and_frames_without_target(tmp_path):
    absent = np.full(4, np.nan)
    regions = [POLYGON] * 6 + [absent, absent] + [POLYGON] * 3
    sequence = make_sequence(tmp_path, [0, 60] + [0] * 9, regions)
    rows = run_supervised(make_tracker(), PARAMS, sequence).rows
    codes = [row if isinstance(row, int) else 9 for row in rows]
    assert codes == [1, 2, 0, 0, 0, 0, 0, 0, 1, 9, 9]  # frames 6 and 7 cannot start
    cut = run_supervised(make_tracker(), PARAMS, sequence, max_frames=4).rows
    assert cut == [1, 2, 0, 0]
    with pytest.raises(InputError, match="a: no box in the first row"):
        run_supervised(make_tracker(), PARAMS, sequence._replace(boxes=sequence.boxes[6:]))


def test_second_and_later_restarts_compile_nothing(tmp_path):
    rng = np.random.default_rng(0)
    background = rng.integers(0, 255, (96, 128, 3), np.uint8)
    target = rng.integers(0, 255, (20, 20, 3), np.uint8)
    paths, boxes = [], []
    for index in range(24):
        frame = background.copy()
        frame[10:30, 8 + index : 28 + index] = target
        paths.append(tmp_path / f"{index:03d}.png")
        cv2.imwrite(str(paths[-1]), frame)
        lost = index % 8 == 3  # the ground truth is, not the tracker
        boxes.append([100, 60, 8, 8] if lost else [8 + index, 10, 20, 20])
    sequence = Sequence("lost", tuple(paths), np.array(boxes, float))
    compiled, after = [], {}

    def listen(name, seconds, **_):
        if "backend_compile" in name:
            compiled.append(name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    result = run_supervised(
        cdjax.make("DeepCD-H:patch_px=48,grid=12,num_channels=8"),
        {},
        sequence,
        on_record=lambda record: after.update({record.frame_index: len(compiled)}),
    )
    assert [row for row in result.rows if isinstance(row, int)] == [1, 2, 0, 0, 0, 0] * 3
    assert after[0] >= 1
    assert after[3] > after[1]  # a program of its own for the compacted state
    assert after[19] == after[3]  # two restarts later


def test_text_reads_back(tmp_path):
    rows = [1, np.array([0.1, 2, 3, 4]).astype(np.float32).astype(float), POLYGON / 3, 2, 0]
    text = format_rows(rows)
    assert text.splitlines()[1] == "0.1,2.0,3.0,4.0"
    for row, again in zip(rows, parse_rows(text, path=tmp_path), strict=True):
        np.testing.assert_array_equal(np.float32(row), np.float32(again))
    assert format_rows(parse_rows(text, path=tmp_path)) == text
    assert parse_rows("1.0\n nan,nan,nan,nan\n2.0\n\n", path=tmp_path) == [1, 0, 2]


@pytest.mark.parametrize("line", ["3", "1,2,3", "a,b,c,d", "", "1,2,3,4,5"])
def test_bad_rows_are_named(line):
    with pytest.raises(InputError, match=r"^r\.txt:2: '.*' is not 0, 1, 2, x,y,w,h"):
        parse_rows(f"1\n{line}\n1,2,3,4\n", path=Path("r.txt"))
    with pytest.raises(InputError, match=r"r\.txt: no rows"):
        parse_rows("\n", path=Path("r.txt"))
