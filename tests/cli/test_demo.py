"""`cdjax demo` from start to end, on a few frames."""

import cv2
import numpy as np
import pytest

from cdjax.cli import _demo, main


def test_demo_tracks_and_writes_what_it_says(tmp_path, capsys):
    out = tmp_path / "new" / "folder"
    assert main(["demo", "--frames", "5", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    rows = {
        line.split()[0]: line.split()[1:]
        for line in printed.splitlines()
        if line.startswith(("DeepCD-H:num_channels=16  ", "CF2-H  "))
    }
    assert set(rows) == {"DeepCD-H:num_channels=16", "CF2-H"}
    for mean, least, kept, of, total, scales, fps, compile_s in rows.values():
        assert 0.5 < float(least) <= float(mean) <= 1
        assert (of, total) == ("of", "31")
        assert 1 <= int(kept) <= 31
        assert int(scales) >= 1
        assert float(fps) > 0
        assert float(compile_s) > 0
    assert str(out / "demo.mp4") in printed
    assert str(out / "demo.png") in printed

    video, count = cv2.VideoCapture(str(out / "demo.mp4")), 0
    while (read := video.read())[0]:
        assert read[1].shape == (480, 640, 3)
        count += 1
    assert count == 5
    strip = cv2.imread(str(out / "demo.png"))
    assert strip is not None
    assert strip.shape[1] > 5 * 240


def test_a_lost_target_is_shown_not_hidden():
    overlaps = np.array([0.9, 0.05, 0.0, 0.4])
    result = _demo._Run("DeepCD-H", None, overlaps, 12, 31, 3, 50.0, 2.0, {})
    assert "0.338" in _demo._table([result])
    assert "0.000" in _demo._table([result])
    assert _demo._lost_line(result) == ("DeepCD-H lost the target (IoU below 0.1) in 2 of 4 frames")
    assert _demo._lost_line(result._replace(overlaps=overlaps[:1])) is None


@pytest.mark.parametrize("num_frames", [3, 4, 5, 30, 120, 300])
def test_strip_shows_frames_that_exist(num_frames):
    shown = _demo._shown(num_frames)
    assert list(shown) == sorted(set(shown))
    assert shown[0] >= 1
    assert shown[-1] == num_frames - 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--frames", "2"], "at least 3"), (["--out", "{file}/x"], "file")],
)
def test_bad_input_is_one_line(tmp_path, capsys, arguments, words):
    (tmp_path / "file").write_text("")
    arguments = [text.format(file=tmp_path / "file") for text in arguments]
    assert main(["demo", *arguments]) == 2
    message = capsys.readouterr().err.strip()
    assert words in message
    assert "\n" not in message
