import collections
import os
import pickle
import zipfile

import numpy as np
import pytest
from weight_files import legacy_pth, state_pickle, text, zip_pth

from cdjax._errors import InputError
from cdjax.weights._torch import read_torch

WRITERS = {"zip": zip_pth, "legacy": legacy_pth}


def arrays():
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(4, 3, 3, 3)).astype(np.float32)
    return {"a.weight": kernel, "a.bias": kernel[0, 0, 0]}


@pytest.mark.parametrize("kind", WRITERS)
def test_reads_what_was_written(tmp_path, kind):
    found = read_torch(WRITERS[kind](tmp_path / "a.pth", arrays()))
    assert list(found) == list(arrays())
    for key, expected in arrays().items():
        np.testing.assert_array_equal(found[key], expected)


def test_strides_are_followed(tmp_path):
    plain = arrays()["a.weight"]
    turned = {"a": np.lib.stride_tricks.as_strided(plain, (3, 4), (36, 108))}
    written = dict.fromkeys(turned, plain)
    raw = state_pickle(turned).replace(b"J\x0c\0\0\0tQ", b"J\x6c\0\0\0tQ")
    found = read_torch(zip_pth(tmp_path / "a.pth", written, data_pickle=raw))
    np.testing.assert_array_equal(found["a"], turned["a"])


@pytest.mark.data
def test_reads_files_of_torch(data_dir):
    found = read_torch(data_dir / "weights/dcfnet_param.pth")
    assert found["feature.0.weight"].shape == (32, 3, 3, 3)
    assert all(np.isfinite(x).all() for x in found.values())


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def evil_pickles(marker):
    for protocol in range(6):
        evil = Evil(marker)
        for value in (evil, {"a": evil}, collections.OrderedDict(a=[evil])):
            yield pickle.dumps(value, protocol=protocol)
    path = text(str(marker))
    yield b"\x80\x02cos\nmkdir\n(" + path + b"tR."
    yield b"\x80\x02(ios\nmkdir\n" + b"."
    yield b"\x80\x02(cos\nmkdir\n" + path + b"o."
    yield b"\x80\x04" + text("os") + text("mkdir") + b"\x93" + path + b"\x85R."
    yield b"\x80\x02cbuiltins\neval\n" + text("1") + b"\x85R."
    yield b"\x80\x02ctorch._utils\n__builtins__\n."
    yield b"\x80\x02c__main__\nx\n}b."
    yield b"\x80\x02\x82\x01."  # the copyreg extension registry
    yield b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}" + text("x") + b"Nsb."
    yield b"\x80\x02ccollections\nOrderedDict\n)\x81."


@pytest.mark.parametrize("kind", WRITERS)
def test_nothing_in_a_file_runs(tmp_path, kind):
    marker = tmp_path / "marker"
    for raw in evil_pickles(marker):
        path = WRITERS[kind](tmp_path / "evil.pth", arrays(), data_pickle=raw)
        with pytest.raises(InputError, match=r"evil\.pth"):
            read_torch(path)
        assert not marker.exists()


@pytest.mark.parametrize("kind", WRITERS)
def test_damaged_files_are_refused(tmp_path, kind):
    path = WRITERS[kind](tmp_path / "a.pth", arrays())
    raw = path.read_bytes()
    for size in range(12, len(raw) - 1, 23):
        path.write_bytes(raw[:size])
        with pytest.raises(InputError, match=r"a\.pth"):
            read_torch(path)
    rng = np.random.default_rng(0)
    for _ in range(300):
        flipped = bytearray(raw)
        flipped[rng.integers(4, len(raw))] ^= 1 << rng.integers(8)
        path.write_bytes(flipped)
        try:
            read_torch(path)
        except InputError:
            pass


def test_tensors_stay_inside_their_storage(tmp_path):
    big = {"a": np.lib.stride_tricks.as_strided(np.zeros(4, "<f4"), (4, 8), (4, 0))}
    raw = state_pickle(big).replace(b"J\x20\0\0\0tQ", b"J\x04\0\0\0tQ")
    path = zip_pth(tmp_path / "a.pth", {"a": np.zeros(4, "<f4")}, data_pickle=raw)
    with pytest.raises(InputError, match="beyond its 4 numbers"):
        read_torch(path)


def test_compressed_members_are_refused(tmp_path):
    path = zip_pth(tmp_path / "a.pth", arrays(), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match="compressed"):
        read_torch(path)


def test_other_objects_are_refused(tmp_path):
    for value in ([1, 2], {"a": 1}, {}, "text"):
        raw = pickle.dumps(value, protocol=2)
        with pytest.raises(InputError, match="state dict"):
            read_torch(zip_pth(tmp_path / "a.pth", {}, data_pickle=raw))
