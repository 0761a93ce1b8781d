"""Axis letters and the array types that more than one module uses.

Axes:
  H, W   height and width of a frame, px (of the canvas, where frames are padded)
  t      frames
  p      side of a square patch, px
  s      scales
  n      samples, patches or candidates
  h, w   height and width of a feature map, cells
  wf     w // 2 + 1, width of a half spectrum
  c      candidate channels of the backbone
  k      channels in use (distilled)
  m      slots of a sample memory
"""

from typing import Any

from jaxtyping import Array, Bool, Complex, Float, Int, Shaped, UInt8

Params = Any
"""Weights of a network: a nested dict of arrays (empty for hand-crafted features)."""

Box = Float[Array, "4"]
"""(x, y, w, h), px: index from 0 of the top-left pixel, then size; centre xy + (wh - 1) / 2."""

Number = Float[Array, ""] | float
"""A number of a tracker's config; an array where lanes of one program differ in it."""

Blocks = tuple[Complex[Array, "_ _ _"], ...]
"""Coefficients k h wf of feature blocks, each with channels and a resolution of its own."""

__all__ = [
    "Array",
    "Blocks",
    "Bool",
    "Box",
    "Complex",
    "Float",
    "Int",
    "Number",
    "Params",
    "Shaped",
    "UInt8",
]
