import threading

import cv2
import numpy as np
import pytest

from cdjax._errors import InputError
from cdjax.benchmark import _frames
from cdjax.lanes import _canvas


def picture(seed=0, hw=(48, 64)):
    """A smooth picture, which survives JPEG."""
    small = np.random.default_rng(seed).integers(0, 255, (6, 8, 3)).astype(np.uint8)
    return cv2.resize(small, (hw[1], hw[0]), interpolation=cv2.INTER_CUBIC)


def write_video(path, num_frames, codec):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 25, (64, 48))
    for i in range(num_frames):
        writer.write(picture(i))
    writer.release()


def test_images_are_rgb_and_gray_has_three_equal_channels(tmp_path):
    bgr = picture()
    cv2.imwrite(str(tmp_path / "a.png"), bgr)
    cv2.imwrite(str(tmp_path / "gray.png"), bgr[..., 0])
    cv2.imwrite(str(tmp_path / "deep.png"), bgr.astype(np.uint16) * 257)
    np.testing.assert_array_equal(_frames.read_image(tmp_path / "a.png"), bgr[..., ::-1])
    np.testing.assert_array_equal(_frames.read_image(tmp_path / "deep.png"), bgr[..., ::-1])
    gray = _frames.read_image(tmp_path / "gray.png")
    assert gray.shape == (48, 64, 3)
    np.testing.assert_array_equal(gray, np.repeat(bgr[..., :1], 3, axis=2))


@pytest.mark.parametrize("kind", [".jpg", ".png", ".bmp", "progressive"])
@pytest.mark.parametrize("keep", [0.05, 0.5, 0.95])
def test_cut_images_are_found(tmp_path, kind, keep):
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1] if kind == "progressive" else []
    suffix = ".jpg" if kind == "progressive" else kind
    data = cv2.imencode(suffix, picture(), options)[1].tobytes()
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    assert _frames.read_image(path).shape == (48, 64, 3)
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(InputError, match=f"{path.name}: image is truncated"):
        _frames.read_image(path)


def test_jpeg_end_marks_elsewhere_do_not_mislead(tmp_path):
    whole = cv2.imencode(".jpg", picture())[1].tobytes()
    thumbnail = b"\xff\xe1" + (len(whole) + 2).to_bytes(2, "big") + whole
    data = whole[:2] + thumbnail + whole[2:]
    assert _frames.is_complete(data)
    assert _frames.is_complete(data + b"\0\0 padding")
    assert not _frames.is_complete(data[:-2])
    assert not _frames.is_complete(data[: len(data) - len(whole) // 2])
    assert not _frames.is_complete(b"")


def test_bytes_after_a_png_do_not_matter():
    whole = cv2.imencode(".png", picture())[1].tobytes()
    assert _frames.is_complete(whole + bytes(100))
    # The letters may come up in a picture; here in a comment before it.
    comment = b"\0\0\0\x04tEXtIEND\0\0\0\0"
    assert not _frames.is_complete(whole[:33] + comment + whole[33:60])
    assert not _frames.is_complete(whole[:-1])


def test_frames_that_cannot_be_read_are_named(tmp_path):
    cv2.imwrite(str(tmp_path / "1.png"), picture())
    cv2.imwrite(str(tmp_path / "2.png"), picture(hw=(50, 64)))
    (tmp_path / "3.png").write_text("not an image")
    (tmp_path / "5.png").mkdir()
    paths = [tmp_path / f"{i}.png" for i in (1, 2, 3, 4, 5)]
    for bad, words in (
        (1, "2.png: frame is 64x50 but the first is 64x48"),
        (2, "3.png: image cannot be decoded"),
        (3, "4.png: frame is missing"),
        (4, r"5.png: frame cannot be read \(Is a directory\); restore"),
    ):
        frames = _frames.read_images([paths[0], paths[bad]])
        next(frames)
        with pytest.raises(InputError, match=words):
            next(frames)


def test_video_is_read_to_its_end(tmp_path):
    write_video(tmp_path / "v.mp4", 7, "mp4v")
    frames = list(_frames.read_video(tmp_path / "v.mp4"))
    assert len(frames) == 7
    assert np.abs(frames[3].astype(int) - picture(3)[..., ::-1]).mean() < 12


@pytest.mark.parametrize(("name", "codec"), [("v.avi", "MJPG"), ("v.mkv", "mp4v")])
def test_cut_video_delivers_what_it_has_then_complains(tmp_path, name, codec):
    path = tmp_path / name
    write_video(path, 20, codec)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames = _frames.read_video(path)
    seen = []
    with pytest.raises(InputError, match=r"video ends after frame \d+ of 20"):
        seen.extend(frames)
    assert 2 <= len(seen) <= 15


def test_what_is_no_video_is_named(tmp_path, capfd):
    write_video(tmp_path / "v.mp4", 5, "mp4v")
    data = (tmp_path / "v.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    for name, words in (("cut.mp4", "truncated"), ("none.mp4", "no such file")):
        with pytest.raises(InputError, match=words):
            next(_frames.read_video(tmp_path / name))
    capfd.readouterr()  # FFmpeg's own words


def counting(n, closed, error=None):
    try:
        for i in range(n):
            yield np.full((2, 2, 3), i, np.uint8)
        if error:
            raise error
    finally:
        closed.append(threading.current_thread().name)


def test_prefetch_keeps_order_and_raises_in_place():
    closed = []
    seen = []
    with _frames.Prefetch(counting(20, closed, InputError("bad frame"))) as frames:
        with pytest.raises(InputError, match="bad frame"):
            seen.extend(frames)
    assert [int(frame[0, 0, 0]) for frame in seen] == list(range(20))
    assert len(closed) == 1
    with _frames.Prefetch(counting(3, closed)) as frames:
        assert len(list(frames)) == 3
        assert list(frames) == []


def test_leaving_early_stops_the_thread_and_closes_the_source():
    closed = []
    before = threading.active_count()
    with _frames.Prefetch(counting(10**6, closed), depth=2) as frames:
        next(frames)
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
    assert closed
    assert closed != [threading.current_thread().name]


def test_canvas_sizes_are_few():
    sides = {_canvas.canvas_side(n) for n in range(1, 2161)}
    assert sides == {128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072}
    assert all(n <= _canvas.canvas_side(n) < 1.5 * n for n in range(129, 2161))
    assert _canvas.canvas_hw(240, 320) == (256, 384)


def test_padding_is_at_the_bottom_and_right():
    frame = picture()
    padded = _canvas.pad_to_canvas(frame, (128, 128))
    np.testing.assert_array_equal(padded[:48, :64], frame)
    assert padded.sum() == frame.sum()
    assert _canvas.pad_to_canvas(frame, (48, 64)) is frame
