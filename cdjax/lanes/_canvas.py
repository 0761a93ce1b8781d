"""Pads frames to a canvas of one of a few sizes, so that few programs are compiled."""

import numpy as np
from jaxtyping import UInt8


def canvas_side(length: int) -> int:
    """Rounds a side up to 2^n or 3 * 2^(n - 1), at least 128."""
    side = 128
    while side < length:
        side = side * 3 // 2 if side & (side - 1) == 0 else side * 4 // 3
    return side


def canvas_hw(height: int, width: int) -> tuple[int, int]:
    """Returns the size of the canvas that a frame is padded to.

    Each side is rounded up to 128, 192, 256, 384, 512, ..., so that a whole benchmark
    needs few compilations.

    Args:
      height: of the frame, px.
      width: of the frame, px.

    Returns:
      Height and width of the canvas.

    Example:
      >>> canvas_hw(240, 320)
      (256, 384)
    """
    return canvas_side(height), canvas_side(width)


def pad_to_canvas(
    frame: UInt8[np.ndarray, "H W 3"], hw: tuple[int, int]
) -> UInt8[np.ndarray, "canvas_h canvas_w 3"]:
    """Pads a frame with zeros at the bottom and right.

    Args:
      frame: the frame.
      hw: size of the canvas.

    Returns:
      The canvas; the frame itself where it has that size already.
    """
    height, width = frame.shape[:2]
    if (height, width) == hw:
        return frame
    canvas = np.zeros((*hw, 3), np.uint8)
    canvas[:height, :width] = frame
    return canvas
