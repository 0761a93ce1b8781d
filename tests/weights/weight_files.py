"""Writes small weight files in the formats that the converters read."""

import io
import pickle
import struct
import zipfile

import numpy as np


def text(value):
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value):
    return b"J" + struct.pack("<i", value)


def numbers(values):
    return b"(" + b"".join(map(number, values)) + b"t"


ORDERED_DICT = b"ccollections\nOrderedDict\n)R"


def state_pickle(arrays):
    """The pickle that torch.save makes of an OrderedDict of float tensors."""
    out = [b"\x80\x02", ORDERED_DICT, b"("]
    for i, (key, array) in enumerate(arrays.items()):
        strides = [step // array.itemsize for step in array.strides]
        out += [
            *(text(key), b"ctorch._utils\n_rebuild_tensor_v2\n", b"("),
            *(b"(", text("storage"), b"ctorch\nFloatStorage\n", text(str(i))),
            *(text("cpu"), number(array.size), b"tQ", number(0)),
            *(numbers(array.shape), numbers(strides), b"\x89", ORDERED_DICT, b"tR"),
        ]
    return b"".join(out) + b"u}" + text("_metadata") + ORDERED_DICT + b"sb."


def zip_pth(path, arrays, *, data_pickle=None, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", data_pickle or state_pickle(arrays))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
        for i, array in enumerate(arrays.values()):
            archive.writestr(f"archive/data/{i}", array.astype("<f4").tobytes())
    return path


def legacy_pth(path, arrays, *, data_pickle=None):
    out = io.BytesIO()
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    for part in (0x1950A86A20F9469CFC6C, 1001, system):
        out.write(pickle.dumps(part, protocol=2))
    # Legacy references to storages end with a view, None as a rule.
    out.write(data_pickle or state_pickle(arrays).replace(b"tQ", b"NtQ"))
    out.write(pickle.dumps([str(i) for i in range(len(arrays))], protocol=2))
    for array in arrays.values():
        out.write(struct.pack("<q", array.size) + array.astype("<f4").tobytes())
    path.write_bytes(out.getvalue())
    return path


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number, payload):
    """A field of bytes."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def caffemodel(path, layers, *, version=2, packed=True, legacy_shape=False):
    """Layers by name: lists of blobs."""
    out = field(1, b"net") + varint(3 << 3 | 0) + varint(1)
    for name, blobs in layers.items():
        message = b""
        for blob in blobs:
            data = blob.astype("<f4").tobytes()
            if packed:
                inner = field(5, data)
            else:
                tag = varint(5 << 3 | 5)
                inner = b"".join(tag + data[i : i + 4] for i in range(0, len(data), 4))
            if legacy_shape:
                shape = (1,) * (4 - blob.ndim) + blob.shape
                inner += b"".join(varint(i << 3) + varint(n) for i, n in enumerate(shape, 1))
            else:
                inner += field(7, field(1, b"".join(map(varint, blob.shape))))
            message += field(7 if version == 2 else 6, inner)
        named = field(1 if version == 2 else 4, name.encode())
        kind = field(2, b"Convolution") if version == 2 else varint(5 << 3) + varint(4)
        out += field(100 if version == 2 else 2, named + kind + message)
    path.write_bytes(out)
    return path


def struct_of(**fields):
    """A MATLAB 1x1 struct."""
    out = np.empty((1, 1), [(name, object) for name in fields])
    for name, value in fields.items():
        out[name][0, 0] = value
    return out


def cell_of(*items):
    """A MATLAB row of cells."""
    out = np.empty((1, len(items)), object)
    for i, item in enumerate(items):
        out[0, i] = item
    return out


def matconvnet(path, layers, mean, *, old=False):
    """Layers by name: (kernel HWIO, bias) or None for one without weights."""
    import scipy.io

    cells = []
    for name, arrays in layers.items():
        if arrays is None:
            cells.append(struct_of(name=name, type="relu"))
            continue
        kernel, bias = arrays
        if old:
            fields = {"filters": kernel, "biases": bias[None, :]}
        else:
            fields = {"weights": cell_of(kernel, bias[:, None])}
        cells.append(struct_of(name=name, type="conv", **fields))
    normalization = struct_of(averageImage=mean, imageSize=np.array([224.0, 224, 3]))
    top = {"normalization": normalization} if old else {}
    if not old:
        top["meta"] = struct_of(normalization=normalization)
    scipy.io.savemat(path, {"layers": cell_of(*cells)} | top)
    return path
