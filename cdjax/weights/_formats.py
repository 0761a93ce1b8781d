"""Weight files to named arrays, by content; nothing in a file is executed."""

from pathlib import Path

import numpy as np

from cdjax._errors import InputError
from cdjax.weights._torch import is_torch, read_torch


def read_arrays(path: Path) -> tuple[str, dict[str, np.ndarray]]:
    """Reads any known kind of weight file.

    Args:
      path: a `.pth`, `.mat`, `.caffemodel` or `.net` file.

    Returns:
      The kind as `Table.format` names it, and arrays by `layer.weight` and `layer.bias`;
      kernels are OIHW but HWIO in a MatConvNet file.

    Raises:
      InputError: not a known kind, or damaged.
    """
    with path.open("rb") as file:
        head = file.read(128)
    if is_torch(head):
        return "torch", read_torch(path)
    raise InputError(
        f"{path}: not a weight file of a known kind (starts with {head[:8]!r}); expected "
        "PyTorch .pth, MatConvNet .mat, Caffe .caffemodel or Deep Compression .net"
    )
