"""Weight files to canonical params: RGB 0..255 minus a mean, then convolutions; or a table."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cdjax._errors import InputError
from cdjax.weights._formats import read_arrays
from cdjax.weights._tables import COLOR_TABLE, NETWORKS, TABLES, Dense, Row, Table

_MEAN_KEY = "averageImage"
_ALL = (*TABLES, COLOR_TABLE)


class Converted(NamedTuple):
    """A converted file.

    Attributes:
      params: nested dict of float32 arrays.
      table: the kind of file it was.
      deepest: name of the last layer that it has weights for.
      order: channel order that the network itself sees.
      mean: RGB, what the network subtracted.
      sha256: of the file.
    """

    params: dict[str, Any]
    table: Table
    deepest: str
    order: str
    mean: tuple[float, ...]
    sha256: str


def convert_file(source: Path, *, network: str | None = None) -> Converted:
    """Reads a weight file and brings it into the canonical form, in memory."""
    known = (*NETWORKS, COLOR_TABLE.network)
    if network is not None and network not in known:
        raise InputError(f"no network {network!r}: choose from {', '.join(known)}")
    if not source.is_file():
        raise InputError(f"{source}: no such file; give the path of a weight file")
    kind, arrays = read_arrays(source)
    if kind == COLOR_TABLE.format and network in (None, COLOR_TABLE.network):
        params = {"table": _float32(source, "the table", arrays["table"])}
        return Converted(params, COLOR_TABLE, "table", "RGB", (0.0, 0.0, 0.0), _sha256(source))
    table, rows = _find_table(source, kind, arrays, network)
    matrix, offset = _input(source, table, arrays)
    mean = -np.linalg.solve(matrix, offset)
    order = "".join("RGB"[i] for i in np.abs(matrix).argmax(1))
    params = _params(source, table, rows, arrays, matrix, mean)
    mean = tuple(float(x) for x in params["mean"])
    return Converted(params, table, rows[-1].path[0], order, mean, _sha256(source))


def _sha256(source: Path) -> str:
    """Hashes a file."""
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _find_table(
    source: Path, kind: str, arrays: dict[str, np.ndarray], network: str | None
) -> tuple[Table, tuple[Row, ...]]:
    """Finds the one table that fits, and how far down the file goes."""
    closest, most, wanted = "", -1, []
    for table in TABLES:
        if table.format != kind or network not in (None, table.network):
            continue
        wanted.append(table)
        count, problem = _fit(table, arrays)
        if not problem:
            return table, table.rows[:count]
        if count > most:
            closest, most = f"{table.network}: {problem}", count
    if not wanted:
        raise InputError(
            f"{source}: no {network} is known in a {kind} file; known are "
            f"{', '.join(sorted({t.network for t in _ALL if t.format == kind}))}"
        )
    kernels = [f"{k} {list(v.shape)}" for k, v in arrays.items() if v.ndim == 4]
    raise InputError(
        f"{source}: expected a {kind} file of "
        f"{', '.join(dict.fromkeys(table.network for table in wanted))}, found kernels "
        f"{', '.join(kernels[:3]) or 'none'} ({len(kernels)} in all); closest is "
        f"{closest}; convert the original file of one of these networks"
    )


def _fit(table: Table, arrays: dict[str, np.ndarray]) -> tuple[int, str]:
    """Counts the rows that fit from the top, and says what does not fit."""
    for dense in table.head:
        problem = _dense_problem(table, dense, arrays)
        if problem and dense.required:
            return 0, problem
    count = 0
    for row in table.rows:
        shape = row.shape if table.format == "matconvnet" else _oihw(row.shape)
        kernel, bias = arrays.get(f"{row.key}.weight"), arrays.get(f"{row.key}.bias")
        if kernel is None or bias is None:
            break
        for array, name, expected in (
            (kernel, "weight", shape),
            (bias, "bias", shape[-1:] if table.format == "matconvnet" else shape[:1]),
        ):
            if array.shape != expected:
                return count, (
                    f"{row.key}.{name} has shape {list(array.shape)}, expected {list(expected)}"
                )
        count += 1
    if count < len(table.rows) and count:
        row = table.rows[count]
        if row.path[0] == table.rows[count - 1].path[0]:
            return count, f"{row.key}.weight or .bias is missing inside {row.path[0]}"
    if count == 0:
        return 0, f"{table.rows[0].key}.weight and .bias are missing"
    if table.head and count < len(table.rows):
        return count, f"{table.rows[count].key}.weight or .bias is missing before the head"
    used = {f"{row.key}.weight" for row in (*table.rows[:count], *table.head)}
    used.add(f"{table.colour}.weight")
    for key, array in arrays.items():
        ignored = any(key.startswith(start) for start in table.ignored)
        if array.ndim == 4 and key not in used and not ignored and key != _MEAN_KEY:
            missing = table.rows[count].key if count < len(table.rows) else "nothing"
            return count, f"{key} is unexpected, {missing}.weight is missing"
    if table.colour is not None:
        found = arrays.get(f"{table.colour}.weight")
        if found is None or found.shape != (3, 3, 1, 1):
            return count, f"{table.colour}.weight [3, 3, 1, 1] is missing"
        bias = arrays.get(f"{table.colour}.bias")
        if bias is None or bias.shape != (3,):
            return count, f"{table.colour}.bias [3] is missing"
    return count, ""


def _dense_problem(table: Table, dense: Dense, arrays: dict[str, np.ndarray]) -> str:
    """Says what is wrong with a fully connected layer, if anything."""
    kernel, bias = arrays.get(f"{dense.key}.weight"), arrays.get(f"{dense.key}.bias")
    if kernel is None or bias is None:
        return f"{dense.key}.weight or .bias is missing"
    height, width, channels, outputs = dense.shape
    shape = dense.shape if table.format == "matconvnet" else (outputs, height * width * channels)
    for array, name, expected in ((kernel, "weight", shape), (bias, "bias", (outputs,))):
        if array.shape != expected:
            return f"{dense.key}.{name} has shape {list(array.shape)}, expected {list(expected)}"
    return ""


def _dense_kernel(table: Table, dense: Dense, kernel: np.ndarray) -> np.ndarray:
    """The kernel as [inputs, outputs]; channel c owns the consecutive h w inputs from h w c on."""
    if table.format == "matconvnet":
        return kernel.transpose(2, 0, 1, 3).reshape(-1, dense.shape[-1])
    return kernel.T


def _oihw(shape: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """The shape of a kernel as PyTorch and Caffe store it."""
    return shape[3], shape[2], shape[0], shape[1]


def _params(
    source: Path,
    table: Table,
    rows: tuple[Row, ...],
    arrays: dict[str, np.ndarray],
    matrix: np.ndarray,
    mean: np.ndarray,
) -> dict[str, Any]:
    """Lays out the params and folds the network's own input into the first kernel."""
    params: dict[str, Any] = {"mean": _float32(source, _MEAN_KEY, mean)}
    for row in rows:
        kernel = arrays[f"{row.key}.weight"]
        if table.format != "matconvnet":
            kernel = kernel.transpose(2, 3, 1, 0)
        if row is rows[0]:
            kernel = np.einsum("hwjo,ji->hwio", kernel.astype(np.float64), matrix)
        node = params
        for part in row.path:
            node = node.setdefault(part, {})
        node["kernel"] = _float32(source, f"{row.key}.weight", kernel)
        node["bias"] = _float32(source, f"{row.key}.bias", arrays[f"{row.key}.bias"])
    for dense in table.head:
        if _dense_problem(table, dense, arrays):
            continue  # not required, or `_fit` had refused the file
        kernel = _dense_kernel(table, dense, arrays[f"{dense.key}.weight"])
        params[dense.name] = {
            "kernel": _float32(source, f"{dense.key}.weight", kernel),
            "bias": _float32(source, f"{dense.key}.bias", arrays[f"{dense.key}.bias"]),
        }
    return params


def _input(
    source: Path, table: Table, arrays: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The affine map from RGB 0..255 to what the source's first kernel sees."""
    if table.colour is not None:
        matrix = arrays[f"{table.colour}.weight"][:, :, 0, 0].astype(np.float64) / 255
        offset = arrays[f"{table.colour}.bias"].astype(np.float64)
        if not np.isfinite(matrix).all() or np.linalg.cond(matrix) > 1e6:
            raise InputError(
                f"{source}: {table.colour}.weight is no map of colours (it cannot be "
                "inverted); download the file again"
            )
        return matrix, offset
    mean = table.mean
    if mean is None:
        image = arrays.get(_MEAN_KEY)
        if image is None:
            raise InputError(
                f"{source}: meta.normalization.averageImage is missing; use the "
                "original file of MatConvNet's collection"
            )
        if image.shape[-1] != 3 and image.size != 3:
            raise InputError(
                f"{source}: averageImage has shape {list(image.shape)}, expected "
                "[h, w, 3] or 3 numbers; use the original file of MatConvNet"
            )
        # Differs from VGG-M's full mean image: one colour, so that any patch size fits.
        mean = image.reshape(-1, 3).mean(0, dtype=np.float64)
    matrix = np.diag(1 / np.asarray(table.std))
    offset = -np.asarray(mean, np.float64) / np.asarray(table.std)
    if table.order == "BGR":
        matrix, offset = matrix[::-1], offset[::-1]
    return matrix, offset


def _float32(source: Path, key: str, array: np.ndarray) -> np.ndarray:
    """Casts, refusing what is not a finite number."""
    if array.dtype.kind != "f":
        raise InputError(
            f"{source}: {key} holds {array.dtype}, expected floating point; convert "
            "the original file"
        )
    with np.errstate(over="ignore"):
        out = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(out).all():
        raise InputError(f"{source}: {key} holds numbers that are not finite; download it again")
    return out
