"""Decodes images, video and cameras to RGB, ahead of use.

The only module that decodes. Every source is an iterator of uint8 [H, W, 3] RGB arrays
of one size; gray images have three equal channels. A frame that cannot be read raises
InputError in its place, after all frames before it.
"""

import queue
import re
import struct
import threading
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from jaxtyping import UInt8

from cdjax._errors import InputError

Frame = UInt8[np.ndarray, "H W 3"]
"""An RGB frame."""

VIDEO_SLACK = 0.01
"""Share of a video's announced frames that may be missing at its end; one always may.

Containers that store no count announce duration times rate, which is off by one or two;
a cut file lacks more.
"""

_JPEG_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])", re.DOTALL)


def is_complete(data: bytes) -> bool:
    """Returns False for a JPEG, PNG or BMP file that ends too early.

    Decoders fill the rest of a cut JPEG with gray and merely warn. A JPEG's markers and
    a PNG's chunks are walked here, so that neither the end mark of an embedded thumbnail
    nor bytes after the picture's own end mislead.
    """
    if data.startswith(b"\xff\xd8"):
        position = 2
        while match := _JPEG_MARKER.search(data, position):
            marker = match.group(1)[0]
            if marker == 0xD9:
                return True
            length = data[match.end() : match.end() + 2]
            if len(length) < 2:
                return False
            position = match.end() + int.from_bytes(length, "big")
        return False
    if data.startswith(b"\x89PNG"):
        position = 8
        while head := data[position : position + 8]:
            position += 12 + int.from_bytes(head[:4], "big")
            if head[4:] == b"IEND":
                return position <= len(data)
        return False
    if data.startswith(b"BM") and len(data) >= 6:
        return len(data) >= struct.unpack_from("<I", data, 2)[0]
    return len(data) > 0


def read_image(path: Path) -> Frame:
    """Decodes an image file.

    Args:
      path: any format that OpenCV reads; 16-bit images are brought to 8.

    Returns:
      RGB; three equal channels for a gray file.

    Raises:
      InputError: if the file is missing, cut short or not an image.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: frame is missing; restore it, or renumber the frames after it"
        ) from error
    except OSError as error:
        raise InputError(
            f"{path}: frame cannot be read ({error.strerror}); restore the file"
        ) from error
    if not is_complete(data):
        raise InputError(f"{path}: image is truncated; restore the file")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise InputError(f"{path}: image cannot be decoded; restore the file")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def read_images(paths: Iterable[Path]) -> Generator[Frame, None, None]:
    """Decodes image files one by one.

    Args:
      paths: the files.

    Yields:
      RGB frames, all of the first one's size.

    Raises:
      InputError: if a file cannot be read, or its size differs.
    """
    first_hw = None
    for path in paths:
        frame = read_image(path)
        first_hw = first_hw or frame.shape[:2]
        if frame.shape[:2] != first_hw:
            raise InputError(
                f"{path}: frame is {frame.shape[1]}x{frame.shape[0]} but the first is "
                f"{first_hw[1]}x{first_hw[0]}; bring all frames to one size"
            )
        yield frame


def read_video(path: Path) -> Generator[Frame, None, None]:
    """Decodes a video file to its end.

    The announced number of frames is unreliable, so it allocates nothing; but decoding
    that stops short of it by more than `VIDEO_SLACK` is an error, after the last frame.

    Args:
      path: any container and codec that OpenCV's FFmpeg reads.

    Yields:
      RGB frames.

    Raises:
      InputError: if the file cannot be opened or ends too early.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise InputError(
                f"{path}: not a video that can be opened (truncated, or of an unknown "
                "format); restore or convert the file"
            )
        announced = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        count = 0
        for frame in _decoded(capture):
            yield frame
            count += 1
    finally:
        capture.release()
    if count == 0 or announced - count > max(1, VIDEO_SLACK * announced):
        raise InputError(
            f"{path}: video ends after frame {count} of {announced} (truncated or "
            "damaged); restore the file"
        )


def read_camera(index: int) -> Generator[Frame, None, None]:
    """Reads a camera until the consumer stops.

    Args:
      index: OpenCV's number of the camera.

    Yields:
      RGB frames.

    Raises:
      InputError: if there is no such camera.
    """
    capture = cv2.VideoCapture(index)
    try:
        if not capture.isOpened():
            raise InputError(f"camera {index} cannot be opened; try another index")
        yield from _decoded(capture)
    finally:
        capture.release()


def _decoded(capture: cv2.VideoCapture) -> Iterator[Frame]:
    """Yields what a capture delivers, as RGB."""
    while True:
        done, image = capture.read()
        if not done or image is None:
            return
        code = cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB
        yield np.asarray(cv2.cvtColor(image, code), np.uint8)


class Prefetch:
    """Runs an iterator of frames some frames ahead, on a thread of its own.

    A context manager and an iterator: leaving the context stops the thread and closes
    the iterator. What the iterator raises is raised here, in its place.

    Example:
      >>> with Prefetch(iter([np.zeros((2, 2, 3), np.uint8)])) as frames:
      ...     sum(1 for _ in frames)
      1
    """

    def __init__(self, frames: Iterator[Frame], *, depth: int = 4):
        """Starts decoding.

        Args:
          frames: the source.
          depth: frames held ready.
        """
        self._frames = frames
        self._queue: queue.Queue[tuple[Frame | None, BaseException | None]]
        self._queue = queue.Queue(maxsize=depth)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._decode, daemon=True)
        self._thread.start()

    def _put(self, item: tuple[Frame | None, BaseException | None]) -> bool:
        """Waits for room; returns False once stopped."""
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=0.05)
            except queue.Full:
                continue
            return True
        return False

    def _decode(self) -> None:
        """Body of the thread."""
        error = None
        try:
            for frame in self._frames:
                if not self._put((frame, None)):
                    break
        except BaseException as raised:  # handed over
            error = raised
        finally:
            close = getattr(self._frames, "close", None)
            if close is not None:
                close()
        self._put((None, error))

    def __iter__(self) -> "Prefetch":
        return self

    def __next__(self) -> Frame:
        if self._stopped.is_set():
            raise StopIteration
        frame, error = self._queue.get()
        if frame is not None:
            return frame
        self._stopped.set()
        if error is not None:
            raise error
        raise StopIteration

    def close(self) -> None:
        """Stops the thread, and waits for it unless it hangs in a device."""
        self._stopped.set()
        self._thread.join(timeout=5.0)

    def __enter__(self) -> "Prefetch":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
