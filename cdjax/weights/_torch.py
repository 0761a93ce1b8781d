"""PyTorch files, zip and legacy form, read without PyTorch; nothing in them runs."""

import dataclasses
import io
import math
import pickletools
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from cdjax._errors import InputError

_DTYPES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}

_FUNCTIONS = {
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
}

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


@dataclasses.dataclass(frozen=True)
class _Name:
    """A global that a pickle names; never looked up."""

    module: str
    name: str


@dataclasses.dataclass(frozen=True)
class _Storage:
    """A block of numbers that a pickle refers to."""

    key: str
    dtype: np.dtype
    num_elements: int


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """A view of a storage, counted in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Unreadable(Exception):
    """What is wrong with a pickle, without the file's name."""


def is_torch(head: bytes) -> bool:
    """Tells a PyTorch file by its first bytes."""
    return head.startswith((b"PK\x03\x04", b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20"))


def read_torch(path: Path) -> dict[str, np.ndarray]:
    """Reads the state dict of a `.pth` file.

    Args:
      path: a file of `torch.save`, zip or legacy form.

    Returns:
      Every tensor by its key, in the file's order.

    Raises:
      InputError: not a state dict, damaged, or naming anything but tensors and
        containers.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(4) == b"PK\x03\x04"
            file.seek(0)
            state, read = _open_zip(file) if zipped else _open_legacy(file)
            return _tensors(state, read)
    except (
        _Unreadable,
        zipfile.BadZipFile,
        NotImplementedError,
        ArithmeticError,
        LookupError,
        OSError,
        MemoryError,
        RecursionError,
        RuntimeError,
        TypeError,
        ValueError,
        struct.error,
        EOFError,
    ) as error:
        raise InputError(
            f"{path}: not a readable PyTorch state dict: {error}; download the file "
            "again, or save `model.state_dict()` with torch.save"
        ) from error


def _open_zip(file: io.BufferedIOBase) -> tuple[Any, Callable[[_Storage], np.ndarray]]:
    """Reads the object of a zip file; storages are read when asked for."""
    archive = zipfile.ZipFile(file)
    infos = {info.filename: info for info in archive.infolist()}
    pickles = [name for name in infos if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise _Unreadable(f"expected one data.pkl in the zip, found {len(pickles)}")
    folder = pickles[0].removesuffix("data.pkl")

    def member(name: str) -> bytes:
        info = infos.get(folder + name)
        if info is None:
            raise _Unreadable(f"{name} is missing from the zip")
        if info.compress_type != zipfile.ZIP_STORED:
            raise _Unreadable(f"{name} is compressed, which torch.save never does")
        return archive.read(info)

    if f"{folder}byteorder" in infos and member("byteorder").strip() != b"little":
        raise _Unreadable("big-endian numbers")
    state = _unpickle(io.BytesIO(member("data.pkl")))

    def read(storage: _Storage) -> np.ndarray:
        raw = member(f"data/{storage.key}")
        needed = storage.num_elements * storage.dtype.itemsize
        if len(raw) < needed:
            raise _Unreadable(f"storage {storage.key} has {len(raw)} of {needed} bytes")
        return np.frombuffer(raw, storage.dtype, storage.num_elements)

    return state, read


def _open_legacy(
    file: io.BufferedIOBase,
) -> tuple[Any, Callable[[_Storage], np.ndarray]]:
    """Reads the object of a legacy file and the storages that follow it."""
    if _unpickle(file) != _LEGACY_MAGIC:
        raise _Unreadable("the magic number of torch.save is missing")
    if (version := _unpickle(file)) != 1001:
        raise _Unreadable(f"protocol version {version}, expected 1001")
    system = _unpickle(file)
    if not isinstance(system, dict) or not system.get("little_endian"):
        raise _Unreadable("big-endian numbers")
    seen: dict[str, _Storage] = {}
    state = _unpickle(file, seen)
    keys = _unpickle(file)
    if not isinstance(keys, list):
        raise _Unreadable("no list of storages")
    data = {}
    for key in keys:
        storage = seen.get(key) if isinstance(key, str) else None
        if storage is None:
            raise _Unreadable(f"storage {key!r} belongs to no tensor")
        (count,) = struct.unpack("<q", file.read(8))
        if count != storage.num_elements:
            raise _Unreadable(
                f"storage {key} has {count} elements, expected {storage.num_elements}"
            )
        needed = count * storage.dtype.itemsize
        raw = file.read(needed)
        if len(raw) != needed:
            raise _Unreadable(f"truncated: storage {key} has {len(raw)} of {needed} bytes")
        data[key] = np.frombuffer(raw, storage.dtype)
    return state, lambda storage: data[storage.key]


def _tensors(state: Any, read: Callable[[_Storage], np.ndarray]) -> dict[str, np.ndarray]:
    """Turns the views of a state dict into arrays."""
    for wrapped in ("state_dict", "shared_layers"):  # the second is py-MDNet's
        if isinstance(state, dict) and isinstance(state.get(wrapped), dict):
            state = state[wrapped]
    if not isinstance(state, dict):
        raise _Unreadable(f"holds a {type(state).__name__}, expected a dict of tensors")
    arrays = {}
    for key, view in state.items():
        if isinstance(key, str) and isinstance(view, _Tensor):
            arrays[key] = _view(view, read(view.storage))
    if not arrays:
        raise _Unreadable("a dict without tensors")
    return arrays


def _view(view: _Tensor, data: np.ndarray) -> np.ndarray:
    """Copies a strided view out of a storage, inside its bounds."""
    size = math.prod(view.shape)
    last = view.offset + sum(
        (n - 1) * step for n, step in zip(view.shape, view.strides, strict=True)
    )
    if size == 0:
        return np.zeros(view.shape, data.dtype)
    if size > data.size or last >= data.size:
        raise _Unreadable(f"a tensor of shape {view.shape} reaches beyond its {data.size} numbers")
    strides = tuple(step * data.itemsize for step in view.strides)
    return np.lib.stride_tricks.as_strided(
        data[view.offset :], view.shape, strides, writeable=False
    ).copy()


def _unpickle(file: io.BufferedIOBase, seen: dict[str, _Storage] | None = None) -> Any:
    """Interprets one pickle: containers, numbers, text and tensors, no classes."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}
    storages = {} if seen is None else seen

    def pop_mark() -> list[Any]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    argument: Any
    for opcode, argument, _ in pickletools.genops(cast(IO[bytes], file)):
        name = opcode.name
        if name in _LITERALS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in ("PROTO", "FRAME"):
            pass
        elif name == "MARK":
            marks.append(len(stack))
        elif name == "STOP":
            return stack.pop()
        elif name == "POP":
            stack.pop()
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "TUPLE":
            stack.append(tuple(pop_mark()))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            items = tuple(stack[-count:])
            if len(items) < count:
                raise _Unreadable("the pickle's stack runs empty")
            stack[-count:] = [items]
        elif name == "LIST":
            stack.append(pop_mark())
        elif name == "DICT":
            stack.append(_pairs(pop_mark()))
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else pop_mark()
            _expect(stack[-1], list).extend(items)
        elif name == "SETITEM":
            items = [stack.pop(-2), stack.pop()]
            _expect(stack[-1], dict).update(_pairs(items))
        elif name == "SETITEMS":
            items = pop_mark()
            _expect(stack[-1], dict).update(_pairs(items))
        elif name == "GLOBAL":
            stack.append(_global(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            qualified = stack.pop(-2), stack.pop()
            stack.append(_global(*(_expect(part, str) for part in qualified)))
        elif name == "BINPERSID":
            storage = _storage(stack.pop())
            stack.append(storages.setdefault(storage.key, storage))
        elif name == "REDUCE":
            arguments = stack.pop()
            stack.append(_call(_expect(stack.pop(), _Name), _expect(arguments, tuple)))
        elif name == "BUILD":
            stack.pop()  # attributes of an OrderedDict (its version numbers)
            _expect(stack[-1], dict)
        else:
            raise _Unreadable(f"opcode {name}, which no state dict needs")
    raise _Unreadable("truncated pickle")


_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
    *("FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}

_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
}


def _expect(value: Any, kind: type) -> Any:
    """Checks the type of an operand."""
    if not isinstance(value, kind):
        raise _Unreadable(f"a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def _pairs(items: list[Any]) -> dict[Any, Any]:
    """Makes a dict of alternating keys and values; containers cannot be keys."""
    return dict(zip(items[::2], items[1::2], strict=True))


def _global(module: str, name: str) -> _Name:
    """Admits the few names of a state dict."""
    is_storage = module == "torch" and name in _DTYPES
    if not is_storage and (module, name) not in _FUNCTIONS:
        raise _Unreadable(f"names {module}.{name}, which is refused")
    return _Name(module, name)


def _storage(persistent_id: Any) -> _Storage:
    """Reads a reference to a storage."""
    match persistent_id:
        case ("storage", _Name("torch", kind), str(key), _, int(count)) | (
            "storage",
            _Name("torch", kind),
            str(key),
            _,
            int(count),
            None,
        ) if count >= 0 and kind in _DTYPES:
            return _Storage(key, _DTYPES[kind], count)
    raise _Unreadable("an unknown kind of storage")


def _call(function: _Name, arguments: tuple[Any, ...]) -> Any:
    """Builds what one of the known functions would."""
    match function.name, arguments:
        case "OrderedDict", ():
            return {}
        case "OrderedDict", (list(pairs),):
            return dict(tuple(_expect(pair, list)) for pair in pairs)
        case "_rebuild_parameter", (_Tensor() as tensor, *_):
            return tensor
        case (
            "_rebuild_tensor" | "_rebuild_tensor_v2",
            (_Storage() as storage, int(offset), tuple(shape), tuple(strides), *_),
        ) if len(shape) == len(strides) and all(
            isinstance(n, int) and n >= 0 for n in (offset, *shape, *strides)
        ):
            return _Tensor(storage, offset, shape, strides)
    raise _Unreadable(f"a call of {function.name} with unknown arguments")
