"""Drawing never moves a box, never fails on a bad one, and files come out readable."""

import contextlib
import resource

import cv2
import numpy as np
import pytest

from cdjax._errors import InputError
from cdjax.benchmark import _draw


def gray(h=60, w=80):
    return np.full((h, w, 3), 128, np.uint8)


def test_box_covers_its_pixels_and_the_frame_is_left_alone():
    frame = gray()
    image = _draw.draw_frame(frame, [20, 10, 30, 25], color=(255, 0, 0))
    assert (frame == 128).all()
    red = (image == [255, 0, 0]).all(2)
    for y, x in ((10, 20), (34, 49), (10, 49), (34, 20)):
        assert red[y, x]
    assert not red[15:30, 25:45].any()
    assert not red[:8].any()
    assert not red[:, :18].any()


@pytest.mark.parametrize(
    "box",
    [
        [np.nan, 1, 2, 3],
        [1, 1, np.inf, 3],
        [1, 1, -4, 3],
        [1, 1, 0, 3],
        [-1e12, -1e12, 10, 10],
        None,
    ],
)
def test_nothing_to_see_draws_nothing(box):
    np.testing.assert_array_equal(_draw.draw_frame(gray(), box, truth=box), gray())


@pytest.mark.parametrize(
    "box", [[-20, -10, 40, 30], [70, 50, 40, 30], [-1e12, -1e12, 2e12, 1e12 + 30]]
)
def test_a_box_that_leaves_the_frame_is_cut(box):
    image = _draw.draw_frame(gray(), np.float32(box), truth=np.array(box), text="t")
    assert image.shape == (60, 80, 3)
    assert (image != 128).any()


def test_long_text_stays_in_the_frame():
    image = _draw.draw_frame(gray(), None, text="a very long line " * 5)
    assert (image[:, -4:] == 128).all()


@pytest.mark.parametrize("hw", [(48, 64), (47, 65)])
def test_video_comes_back(tmp_path, hw):
    path = tmp_path / "a.mp4"
    with _draw.open_video(path, hw, 25) as video:
        for level in (40, 120, 200):
            frame = np.zeros((*hw, 3), np.uint8)
            frame[..., 0] = level  # red, so a swap with blue shows
            video.write(frame)
    video.close()
    read = cv2.VideoCapture(str(path))
    seen = []
    while (got := read.read())[0]:
        seen.append(got[1][..., ::-1].mean((0, 1)))
    assert len(seen) == 3
    np.testing.assert_allclose([s[0] for s in seen], [40, 120, 200], atol=12)
    assert max(s[2] for s in seen) < 20


def test_video_of_mixed_sizes_is_refused(tmp_path):
    with _draw.open_video(tmp_path / "a.mp4", (48, 64), 25) as video:
        with pytest.raises(InputError, match="80x60 px in a video of 64x48"):
            video.write(gray())
    with pytest.raises(InputError, match="closed"):
        video.write(gray(48, 64))


@pytest.mark.parametrize("name", ["missing/a.mp4", "a.mp4/", "a.txt"])
def test_unwritable_video_is_one_clear_line(tmp_path, name):
    (tmp_path / "a.mp4").mkdir()
    with pytest.raises(InputError, match=r"a\.(mp4|txt)") as caught:
        _draw.open_video(tmp_path / name, (48, 64), 25)
    assert "\n" not in str(caught.value)


def test_failing_codec_leaves_no_file(tmp_path, monkeypatch):
    class Deaf:
        fourcc = staticmethod(cv2.VideoWriter.fourcc)

        def __init__(self, *_):
            pass

        def isOpened(self):
            return False

    monkeypatch.setattr(cv2, "VideoWriter", Deaf)
    (tmp_path / "link.mp4").symlink_to(tmp_path / "nowhere.mp4")
    for name in ("a.mp4", "link.mp4"):
        with pytest.raises(InputError, match="cannot encode"):
            _draw.open_video(tmp_path / name, (48, 64), 25)
        assert [path.name for path in tmp_path.iterdir()] == ["link.mp4"]


@contextlib.contextmanager
def full_disk(num_bytes):
    """Files cannot grow beyond some bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_a_full_disk_is_said(tmp_path, name):
    frames = np.random.default_rng(0).integers(0, 256, (4, 48, 64, 3)).astype(np.uint8)
    with full_disk(6000):
        video = _draw.open_video(tmp_path / name, (48, 64), 25)
        for frame in frames:
            video.write(frame)
        with pytest.raises(InputError, match=f"{name}: the last of 4 frames is not in"):
            video.close()
    with full_disk(0), pytest.raises(InputError, match="b.mp4: cannot be written .*large"):
        _draw.open_video(tmp_path / "b.mp4", (48, 64), 25)


def test_response_panel_puts_zero_shift_in_the_middle():
    response = np.zeros((21, 21), np.float32)
    response[0, 0] = 1
    picture = _draw.response_panel(response, size=210)
    reddest = np.argmax(picture[..., 0].astype(int) - picture[..., 2])
    y, x = np.unravel_index(reddest, picture.shape[:2])
    assert (y // 10, x // 10) == (10, 10)


def test_montage_shows_masked_channels_only():
    features = np.random.default_rng(0).random((6, 9, 7), np.float32)
    mask = np.array([True, False, True, True, False, True])
    both = _draw.channel_montage(features, mask, size=80)
    np.testing.assert_array_equal(both, _draw.channel_montage(features[mask], size=80))
    assert both.shape == (80, 80, 3)
    assert (_draw.channel_montage(features, np.zeros(6, bool), size=80) == 40).all()


def test_strip_is_a_readable_png_and_bad_paths_are_clear(tmp_path):
    flat = np.full((5, 5), np.nan, np.float32)
    panels = [("frame", gray()), ("response", _draw.response_panel(flat))]
    _draw.save_strip(tmp_path / "s.png", *panels, ("odd", gray(33, 17)), columns=2)
    strip = cv2.imread(str(tmp_path / "s.png"))
    assert strip is not None
    assert strip.shape[0] == 2 * (240 + 26 + 8)
    with pytest.raises(InputError, match="missing"):
        _draw.save_strip(tmp_path / "missing" / "s.png", *panels)


def test_enlarged_box_keeps_its_pixels():
    frame = gray()
    frame[10:35, 20:50] = 255
    big = _draw.enlarge_frame(frame, 3)
    x, y, w, h = _draw.enlarge_box([20, 10, 30, 25], 3).astype(int)
    assert big[y + 2 : y + h - 2, x + 2 : x + w - 2].min() >= 250
    assert big[:, : x - 2].max() < 140
