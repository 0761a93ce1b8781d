"""Boxes on frames, videos and strips of panels, drawn with OpenCV; no windows."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from cdjax._errors import InputError
from cdjax.benchmark._results import check_writable, named_errors

GREEN, ORANGE, CYAN = (60, 220, 60), (255, 150, 20), (40, 200, 255)
WHITE = (255, 255, 255)
"""Colours, RGB: the truth is always green, a tracker's box one of the others."""

_FARTHEST_PX = 1e5  # beyond it OpenCV's fixed-point drawing overflows


def draw_frame(
    rgb: UInt8[np.ndarray, "H W 3"],
    box: Any,
    *,
    truth: Any = None,
    text: str | None = None,
    color: tuple[int, int, int] = ORANGE,
) -> UInt8[np.ndarray, "H W 3"]:
    """Draws a box, and where known the true one, on a copy of a frame.

    Args:
      rgb: the frame, RGB.
      box: (x, y, w, h), px, corner index from 0; may leave the frame. Where a number
        is not finite or the size not positive, nothing is drawn for it.
      truth: the true box, drawn on top, thinner and in green, or None.
      text: a line for the upper left corner, or None.
      color: the box's colour, RGB.

    Returns:
      The annotated frame.
    """
    image = np.ascontiguousarray(rgb).copy()
    thick = max(1, round(min(image.shape[:2]) / 240))
    if box is not None:
        _rectangle(image, box, color, 2 * thick)
    if truth is not None:
        _rectangle(image, truth, GREEN, thick)
    return draw_lines(image, [(text, WHITE)]) if text else image


def draw_lines(
    rgb: UInt8[np.ndarray, "H W 3"], lines: Sequence[tuple[str, tuple[int, int, int]]]
) -> UInt8[np.ndarray, "H W 3"]:
    """Writes lines on dark bars into the upper left corner of a copy of a frame.

    Args:
      rgb: the frame, RGB.
      lines: (text, RGB colour) pairs from top to bottom; a line too long is shrunk.

    Returns:
      The annotated frame.
    """
    image, y = np.ascontiguousarray(rgb).copy(), 4
    for text, color in lines:
        y = _write(image, text, (4, y), color)
    return image


class VideoWriter:
    """Writes RGB frames to an mp4 (codec mp4v); see `open_video`."""

    def __init__(self, path: str | os.PathLike[str], hw: tuple[int, int], fps: float | int):
        import cv2

        self.path, self.hw = Path(path), tuple(hw)
        self._writer = None
        if self.path.suffix.lower() not in (".mp4", ".m4v", ".mov", ".avi"):
            raise InputError(f"{self.path}: video output needs the suffix .mp4")
        check_writable(self.path)  # before OpenCV does: it would only warn
        place = Path(os.path.realpath(self.path))
        existed = place.exists()
        even = (hw[1] + hw[1] % 2, hw[0] + hw[0] % 2)
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        writer = cv2.VideoWriter(str(self.path), codec, float(fps), even)
        if not writer.isOpened():
            if not existed:
                place.unlink(missing_ok=True)
            with named_errors(self.path), tempfile.TemporaryFile(dir=place.parent) as file:
                file.write(bytes(4096))  # no room would be another reason
            raise InputError(
                f"{self.path}: this OpenCV cannot encode mp4v video of "
                f"{even[0]}x{even[1]} px at {fps} frames/s; install opencv-python "
                "from PyPI, or leave the video out"
            )
        self._writer, self._num_frames = writer, 0

    def write(self, rgb: UInt8[np.ndarray, "H W 3"]) -> None:
        """Appends a frame."""
        if self._writer is None:
            raise InputError(f"{self.path}: the video is already closed")
        if rgb.shape[:2] != self.hw:
            raise InputError(
                f"{self.path}: a frame of {rgb.shape[1]}x{rgb.shape[0]} px in a video "
                f"of {self.hw[1]}x{self.hw[0]}; all frames must have one size"
            )
        odd = [(0, size % 2) for size in self.hw]
        bgr = np.pad(rgb, [*odd, (0, 0)], mode="edge")[..., ::-1]
        self._writer.write(np.ascontiguousarray(bgr))
        self._num_frames += 1

    def close(self) -> None:
        """Finishes the file; a second call does nothing.

        Raises:
          InputError: the file does not hold the frames written. OpenCV itself says nothing.
        """
        import cv2

        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        capture = cv2.VideoCapture(str(self.path))
        announced = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        capture.set(cv2.CAP_PROP_POS_FRAMES, self._num_frames - 1)  # .avi announces in advance
        whole = announced >= self._num_frames and capture.grab()
        capture.release()
        if self._num_frames and not whole:
            raise InputError(
                f"{self.path}: the last of {self._num_frames} frames is not in the video (disk "
                "full?); make room, or choose another path"
            )

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_video(path: str | os.PathLike[str], hw: tuple[int, int], fps: float | int) -> VideoWriter:
    """Opens an mp4 for writing; the result is a context manager.

    Args:
      path: the file; its folder must exist.
      hw: size of every frame, px. The codec wants even sizes, so an odd one gets its
        last row or column twice.
      fps: frames a second.

    Returns:
      An object with `write(rgb)` and `close()`.

    Raises:
      InputError: the file cannot be written, or OpenCV has no encoder for it.
    """
    return VideoWriter(path, hw, fps)


def enlarge_frame(rgb: UInt8[np.ndarray, "H W 3"], factor: int) -> UInt8[np.ndarray, "H2 W2 3"]:
    """Enlarges a frame by a whole factor, so that labels and thin lines are legible."""
    import cv2

    size = (rgb.shape[1] * factor, rgb.shape[0] * factor)
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_CUBIC))


def enlarge_box(box: Any, factor: int) -> Float[np.ndarray, "4"]:
    """Moves a box along with `enlarge_frame`: a pixel becomes factor x factor pixels.

    >>> enlarge_box((2, 1, 4, 3), 2).tolist()
    [4.0, 2.0, 8.0, 6.0]
    """
    return np.asarray(box, np.float64).reshape(4) * factor


def response_panel(response: Float[np.ndarray, "h w"], *, size: int = 240) -> np.ndarray:
    """Colours a response map, zero shift in the middle.

    Args:
      response: map with zero shift at cell [0, 0], as the tracker's `aux` has it.
      size: side of the longer edge of the picture, px.

    Returns:
      uint8 RGB picture, blue (lowest) to red (highest).
    """
    return _heat(np.fft.fftshift(np.asarray(response, np.float32)), size=size)


def channel_montage(
    features: Float[np.ndarray, "k h w"],
    mask: Any = None,
    *,
    size: int = 240,
    most: int = 16,
) -> np.ndarray:
    """Tiles the first channels into a square picture, each scaled by its own range.

    Args:
      features: channels of the template patch.
      mask: bool [k], which of them count, or None for all.
      size: side of the picture, px.
      most: channels shown at most.

    Returns:
      uint8 RGB picture [size, size, 3]; unused tiles are grey.
    """
    features = np.asarray(features, np.float32)
    if mask is not None:
        features = features[np.asarray(mask, bool)]
    features = features[:most]
    side = max(1, int(np.ceil(np.sqrt(len(features)))))
    picture = np.full((size, size, 3), 40, np.uint8)
    step = size // side
    for i, channel in enumerate(features):
        row, column = divmod(i, side)
        tile = _heat(channel, size=step - 2)
        y, x = row * step + 1, column * step + 1
        picture[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    return picture


def save_strip(
    path: str | os.PathLike[str],
    *panels: tuple[str, np.ndarray],
    height: int = 240,
    columns: int | None = None,
) -> None:
    """Writes labelled pictures side by side as a PNG.

    Args:
      path: the file; its folder must exist.
      *panels: (label, RGB picture) pairs, left to right; sizes may differ.
      height: height of every picture in the strip, px.
      columns: pictures a row; None puts all into one row.

    Raises:
      InputError: the file cannot be written.
    """
    import cv2

    cells = [_panel(label, picture, height) for label, picture in panels]
    columns = min(columns or len(cells), len(cells))
    blank = np.full((cells[0].shape[0], 1, 3), 255, np.uint8)
    cells += [blank] * (-len(cells) % columns)
    widths = [max(c.shape[1] for c in cells[i::columns]) for i in range(columns)]
    cells = [_pad_right(c, widths[i % columns]) for i, c in enumerate(cells)]
    rows = [np.concatenate(cells[i : i + columns], axis=1) for i in range(0, len(cells), columns)]
    strip = np.concatenate(rows)[..., ::-1]
    _, png = cv2.imencode(".png", np.ascontiguousarray(strip))
    try:
        Path(path).write_bytes(png.tobytes())
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); choose another path"
        ) from error


def _panel(label: str, picture: np.ndarray, height: int) -> np.ndarray:
    """A picture at the strip's height with its label above, in a margin."""
    import cv2

    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    shrinks = height < picture.shape[0]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST
    picture = np.asarray(cv2.resize(picture, (width, height), interpolation=how))
    head = np.full((26, width, 3), 255, np.uint8)
    scale = _fitting(label, 0.45, width - 4)
    cv2.putText(
        head,
        label,
        (2, 18),
        cv2.FONT_HERSHEY_SIMPLEX,
        scale,
        (20, 20, 20),
        1,
        cv2.LINE_AA,
    )
    panel = np.concatenate([head, picture])
    return np.pad(panel, [(4, 4), (4, 4), (0, 0)], constant_values=255)


def _pad_right(row: np.ndarray, width: int) -> np.ndarray:
    return np.pad(row, [(0, 0), (0, width - row.shape[1]), (0, 0)], constant_values=255)


def _heat(values: np.ndarray, *, size: int) -> np.ndarray:
    """Colours an array by its own range, cells enlarged without smoothing."""
    import cv2

    values = np.nan_to_num(np.asarray(values, np.float32), posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    level = (values - low) / max(high - low, 1e-12)
    colours = cv2.applyColorMap((255 * level).astype(np.uint8), cv2.COLORMAP_TURBO)
    factor = size / max(values.shape)
    hw = [max(1, round(side * factor)) for side in values.shape]
    picture = cv2.resize(colours, hw[::-1], interpolation=cv2.INTER_NEAREST)
    return np.ascontiguousarray(np.asarray(picture)[..., ::-1])


def _rectangle(image: np.ndarray, box: Any, color: tuple[int, int, int], thick: int) -> None:
    """Outlines a box in place; cuts what leaves the frame, skips what is not finite."""
    import cv2

    x, y, w, h = np.asarray(box, np.float64).reshape(-1)
    if not np.isfinite([x, y, w, h]).all() or w <= 0 or h <= 0:
        return
    corners = np.array([x, y, x + w - 1, y + h - 1])
    x0, y0, x1, y1 = np.rint(np.clip(corners, -_FARTHEST_PX, _FARTHEST_PX)).astype(int)
    first, last = (int(x0), int(y0)), (int(max(x0, x1)), int(max(y0, y1)))
    cv2.rectangle(image, first, last, (0, 0, 0), thick + 2)
    cv2.rectangle(image, first, last, color, thick)


def _fitting(text: str, scale: float, room: int) -> float:
    """A scale of OpenCV's font, `scale` or less, at which text takes `room` px, if any does."""
    import cv2

    def width(scale: float) -> int:
        return cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0]

    # From OpenCV 5.1 on letters have whole pixels: widths do not grow in proportion.
    while width(scale) > room and scale > 0.02:
        scale *= 0.95
    return scale


def _write(
    image: np.ndarray, text: str, corner: tuple[int, int], color: tuple[int, int, int]
) -> int:
    """Writes a line on a dark bar in place; returns where the next one may start."""
    import cv2

    h, w = image.shape[:2]
    font = cv2.FONT_HERSHEY_SIMPLEX
    scale = _fitting(text, max(0.3, h / 900), w - 2 * corner[0] - 8)
    (width, height), below = cv2.getTextSize(text, font, scale, 1)
    x, y = corner
    stop = y + height + below + 4
    bar = image[y:stop, x : x + width + 8]
    bar[...] = bar // 4
    base = (x + 4, y + height + 2)
    cv2.putText(image, text, base, font, scale, color, 1, cv2.LINE_AA)
    return stop
