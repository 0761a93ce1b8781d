"""Weight files to named arrays, by content; nothing in a file is executed."""

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from cdjax._errors import InputError
from cdjax.weights._caffe import read_caffe
from cdjax.weights._tables import COLOR_TABLE, COLOR_TABLE_SHAPE, TABLES
from cdjax.weights._torch import is_torch, read_torch


def read_arrays(path: Path) -> tuple[str, dict[str, np.ndarray]]:
    """Reads any known kind of weight file.

    Args:
      path: a `.pth`, `.mat`, `.caffemodel` or `.net` file.

    Returns:
      The kind as `Table.format` names it, and arrays by `layer.weight` and
      `layer.bias`; kernels are OIHW but HWIO in a MatConvNet file. Of colour names "table".

    Raises:
      InputError: not a known kind, or damaged.
    """
    try:
        with path.open("rb") as file:
            head = file.read(128)
        if is_torch(head):
            return "torch", read_torch(path)
        if head.startswith(b"MATLAB") or path.suffix == ".mat":
            return read_matlab(path, head)
        if path.suffix == ".net":
            return "deep_compression", read_deep_compression(path)
        if path.suffix == ".caffemodel":
            return "caffe", read_caffe(path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror}; check its permissions"
        ) from error
    raise InputError(
        f"{path}: not a weight file of a known kind (starts with {head[:8]!r}); "
        "expected PyTorch .pth, MatConvNet .mat, Caffe .caffemodel or Deep Compression "
        ".net: download it again or rename it"
    )


def read_matlab(path: Path, head: bytes) -> tuple[str, dict[str, np.ndarray]]:
    """Reads a `.mat` file: a MatConvNet simplenn, or a table of colour names."""
    if head.startswith(b"MATLAB 7.3"):
        raise InputError(
            f"{path}: a MATLAB 7.3 (HDF5) file, expected version 5; save it in MATLAB "
            "with save(..., '-v7')"
        )
    if importlib.util.find_spec("scipy") is None:
        raise InputError(
            f"{path}: reading .mat files needs scipy; install it with "
            "`pip install 'cdjax[convert]'`"
        )
    scipy_io = importlib.import_module("scipy.io")
    try:
        net = scipy_io.loadmat(str(path), squeeze_me=False, struct_as_record=False)
    except Exception as error:  # scipy raises many kinds on damaged files
        raise InputError(
            f"{path}: not a readable MATLAB version 5 file: {str(error)[:200]}; "
            "download the file again"
        ) from error
    for value in net.values():
        if isinstance(value, np.ndarray) and value.shape == COLOR_TABLE_SHAPE:
            return COLOR_TABLE.format, {"table": value}
    return "matconvnet", _matconvnet(path, net)


def _matconvnet(path: Path, net: dict[str, Any]) -> dict[str, np.ndarray]:
    """Finds the convolutions and the mean colour of a MatConvNet simplenn.

    Both the `weights` cell of newer files and the `filters` and `biases` of older ones.
    """
    if "layers" not in net and "net" in net:
        net = vars(_scalar(net["net"]))
    arrays = {}
    for item in _items(net.get("layers")):
        layer = _scalar(item)
        name = str(_scalar(getattr(layer, "name", "")))
        kernel, bias = getattr(layer, "filters", None), getattr(layer, "biases", None)
        weights = _items(getattr(layer, "weights", None))
        if len(weights) >= 2:
            kernel, bias = weights[:2]
        if isinstance(kernel, np.ndarray) and isinstance(bias, np.ndarray):
            # MATLAB drops trailing axes of length 1.
            shape = kernel.shape + (1,) * (4 - kernel.ndim)
            arrays[f"{name}.weight"] = kernel.reshape(shape)
            arrays[f"{name}.bias"] = bias.reshape(-1)
    if not arrays:
        raise InputError(
            f"{path}: expected MatConvNet's simplenn `layers` with weights, found "
            f"{', '.join(key for key in net if not key.startswith('_')) or 'nothing'}; "
            "use a file of MatConvNet's model collection, or a table of "
            f"{COLOR_TABLE_SHAPE[0]} x {COLOR_TABLE_SHAPE[1]} colour names"
        )
    normalization = getattr(_scalar(net.get("meta")), "normalization", None)
    if normalization is None:
        normalization = net.get("normalization")
    image = getattr(_scalar(normalization), "averageImage", None)
    if isinstance(image, np.ndarray) and image.dtype.kind in "fiu" and image.size:
        image = image.reshape(-1) if image.size == 3 else image
        arrays["averageImage"] = image.astype(np.float64)
    return arrays


def _items(cell: Any) -> list[Any]:
    """The items of a MATLAB cell array."""
    is_cell = isinstance(cell, np.ndarray) and cell.dtype == object
    return list(cell.reshape(-1)) if is_cell else []


def _scalar(value: Any) -> Any:
    """Unwraps what MATLAB keeps in 1x1 arrays."""
    while isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    return value


def read_deep_compression(path: Path) -> dict[str, np.ndarray]:
    """Reads SqueezeNet v1.0 from the Deep Compression format [1].

    Counts of all layers, then of each layer a codebook of 256, the bias, an index into
    the codebook for each stored weight and the gaps between them, 4 bits each.

    References:
      [1] songhan/SqueezeNet-Deep-Compression, decode.py.
    """
    table = next(table for table in TABLES if table.format == "deep_compression")
    raw = path.read_bytes()
    position = 0

    def take(dtype: str, count: int, what: str) -> np.ndarray:
        nonlocal position
        size = np.dtype(dtype).itemsize * count
        if position + size > len(raw):
            raise InputError(
                f"{path}: expected {size} bytes of {what} at byte {position}, found "
                f"{len(raw) - position}; download the file again"
            )
        out = np.frombuffer(raw, dtype, count, position)
        position += size
        return out

    counts = take("<u4", len(table.rows), "counts")
    arrays = {}
    for row, count in zip(table.rows, counts.tolist(), strict=True):
        height, width, num_inputs, num_outputs = row.shape
        codebook = take("<f4", 256, f"{row.key} codebook")
        bias = take("<f4", num_outputs, f"{row.key} bias")
        index = take("u1", count, f"{row.key} indices")
        pairs = take("u1", (count + 1) // 2, f"{row.key} gaps")
        gaps = np.stack([pairs & 15, pairs >> 4], axis=-1).reshape(-1)[:count]
        places = np.cumsum(gaps.astype(np.int64) + 1) - 1
        weights = np.zeros(height * width * num_inputs * num_outputs, np.float32)
        if count and places[-1] >= weights.size:
            raise InputError(
                f"{path}: {row.key} has {weights.size} weights, found one at place "
                f"{places[-1]}; the file is damaged or not SqueezeNet v1.0"
            )
        weights[places] = codebook[index]
        shape = num_outputs, num_inputs, height, width
        arrays[f"{row.key}.weight"] = weights.reshape(shape)
        arrays[f"{row.key}.bias"] = bias
    if position != len(raw):
        raise InputError(
            f"{path}: expected {position} bytes, found {len(raw)}; the file is damaged "
            "or not SqueezeNet v1.0"
        )
    return arrays
