"""Caffe models, read field by field from the protobuf wire format."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cdjax._errors import InputError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def read_caffe(path: Path) -> dict[str, np.ndarray]:
    """Reads the layers of a `.caffemodel` that have weights and a bias.

    Args:
      path: a serialised NetParameter with V1 or V2 layers.

    Returns:
      `layer.weight` [out, in, h, w] and `layer.bias` [out] of each.

    Raises:
      InputError: damaged, or no Caffe model.
    """
    try:
        arrays = dict(_layers(memoryview(path.read_bytes())))
    except (ValueError, IndexError, OverflowError) as error:
        raise InputError(
            f"{path}: not a readable Caffe model: {error}; download the file again"
        ) from error
    if not arrays:
        raise InputError(
            f"{path}: a Caffe model without weights; use the .caffemodel, not the "
            "prototxt or the solver state"
        )
    return arrays


def _layers(net: memoryview) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the arrays of each layer of a NetParameter."""
    for field, value in _fields(net):
        if field not in (2, 100) or not isinstance(value, memoryview):
            continue
        # V1LayerParameter: name 4, blobs 6; LayerParameter: name 1, blobs 7.
        name_field, blob_field = (4, 6) if field == 2 else (1, 7)
        name, blobs = "", []
        for inner, part in _fields(value):
            if inner == name_field:
                name = bytes(_message(part)).decode()
            elif inner == blob_field:
                blobs.append(_blob(_message(part)))
        for blob, suffix in zip(blobs, ("weight", "bias"), strict=False):
            yield f"{name}.{suffix}", blob if suffix == "weight" else blob.reshape(-1)


def _blob(message: memoryview) -> np.ndarray:
    """Reads a BlobProto: shape 7, or its four old sizes 1 to 4; data 5 or 8."""
    legacy, shape, parts = {}, None, []
    for field, value in _fields(message):
        if field in (1, 2, 3, 4) and isinstance(value, int):
            legacy[field] = value
        elif field == 7:
            shape = _shape(_message(value))
        elif field in (5, 8):
            dtype = np.dtype("<f4" if field == 5 else "<f8")
            parts.append(np.frombuffer(_message(value), dtype))
    data = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if shape is None:
        shape = tuple(legacy.get(field, 1) for field in (1, 2, 3, 4))
    if math.prod(shape) != data.size:
        raise ValueError(f"a blob of shape {list(shape)} has {data.size} numbers")
    return data.reshape(shape)


def _shape(message: memoryview) -> tuple[int, ...]:
    """Reads a BlobShape, packed or not."""
    dims = []
    for field, value in _fields(message):
        if field == 1 and isinstance(value, int):
            dims.append(value)
        elif field == 1:
            position, packed = 0, _message(value)
            while position < len(packed):
                dim, position = _varint(packed, position)
                dims.append(dim)
    return tuple(dims)


def _message(value: Any) -> memoryview:
    """Checks that a field holds bytes."""
    if not isinstance(value, memoryview):
        raise ValueError("a number where a message belongs")
    return value


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yields number and value of each field; fixed-size values stay bytes."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        field, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, position = _varint(message, position)
            yield field, value
            continue
        if kind == _BYTES:
            size, position = _varint(message, position)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind} at byte {position}")
        if field == 0 or position + size > len(message):
            raise ValueError(
                f"field {field} of {size} bytes at byte {position} exceeds the "
                f"{len(message)} there are"
            )
        yield field, message[position : position + size]
        position += size


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """Reads a number of 7 bits a byte; returns it and where the next field starts."""
    value = 0
    for shift in itertools.count(0, 7):
        if shift > 63 or position >= len(message):
            raise ValueError(f"a broken number at byte {position}")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
    return value, position
