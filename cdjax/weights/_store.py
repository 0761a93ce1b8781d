"""The folder of converted weights: Orbax checkpoints with a manifest each."""

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from math import isfinite
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cdjax._errors import InputError
from cdjax._folders import cache_folder
from cdjax._types import Params
from cdjax.deep_features import Backbone, check_color_table, check_params, layers_of
from cdjax.weights._convert import convert_file
from cdjax.weights._sources import UNKNOWN, known_sources, licence_of
from cdjax.weights._tables import COLOR_TABLE, NETWORKS

_MANIFEST = "manifest.json"
_ARRAYS = "params"
_VERSION = 1
_TRAINED = "trained"
_STORED = (*NETWORKS, COLOR_TABLE.network)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """Where stored weights come from and what they are.

    Attributes:
      name: name in the store.
      network: the network as `cdjax.deep_features.Backbone` calls it, or "colornames".
      deepest_layer: the last layer with weights; "table" of colour names.
      source_file: name of the file that was converted.
      source_sha256: its hash.
      format: "torch", "matconvnet", "caffe", "deep_compression" or "color_table"; "trained" of
        weights that were trained here.
      licence: of the source, "unknown" where the file is not a known one.
      channel_order: of the source's input, folded into the first kernel.
      mean: RGB 0..255, kept as the leaf "mean"; 0 for colour names, which have no such leaf.
      std: RGB, divided the source's input; folded into the first kernel.
      padding: what the source was trained with.
      arrays_sha256: of the converted arrays, checked on loading.
      files_sha256: of the checkpoint's files, checked before they are decoded.
      version: of this layout.
    """

    name: str
    network: str
    deepest_layer: str
    source_file: str
    source_sha256: str
    format: str
    licence: str
    channel_order: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    padding: str
    arrays_sha256: str
    files_sha256: str
    version: int = _VERSION


def weights_dir() -> Path:
    """Returns the folder of converted weights.

    Returns:
      CDJAX_WEIGHTS, else cdjax/weights in the user's cache folder; it may not exist.
    """
    if chosen := os.environ.get("CDJAX_WEIGHTS"):
        return Path(chosen)
    return cache_folder() / "weights"


def list_weights(directory: Path | None = None) -> list[Manifest]:
    """Lists what is stored.

    Args:
      directory: the store; `weights_dir()` if None.

    Returns:
      The manifests, by name; folders whose manifest cannot be read are left out.
    """
    return _scan(weights_dir() if directory is None else directory)[0]


def _scan(root: Path) -> tuple[list[Manifest], list[str]]:
    """Reads the manifests of a store; second, the folders of those that are damaged."""
    found, damaged = [], []
    for path in sorted(root.glob(f"[!.]*/{_MANIFEST}")):
        try:
            found.append(read_manifest(path.parent))
        except InputError:
            damaged.append(path.parent.name)
    return found, damaged


def convert(
    source: Path,
    *,
    network: str | None = None,
    name: str | None = None,
    directory: Path | None = None,
) -> Path:
    """Converts a weight file and stores the result.

    Args:
      source: a `.pth`, `.mat`, `.caffemodel` or `.net` file.
      network: what it must be, such as "vgg19"; found out if None.
      name: name in the store; the kind of file decides if None.
      directory: the store; `weights_dir()` if None.

    Returns:
      The folder of the stored weights. What had the same name is replaced, but a known file
      (`known_sources`) only by another.

    Raises:
      InputError: the file is damaged or of no known network, or the name is another's.
    """
    converted = convert_file(source, network=network)
    _check_known(source, converted.sha256, name=name)
    name = converted.table.name if name is None else name
    table, licence = converted.table, licence_of(converted.sha256)
    if name in _STORED and name != table.network:
        raise InputError(f"{source} is of {table.network}, not {name}: give another name")
    _check_name(name, table.network)
    root = weights_dir() if directory is None else directory
    for other in list_weights(root):
        if other.name == name and licence == UNKNOWN != licence_of(other.source_sha256):
            raise InputError(
                f"{root / name}: holds {other.source_file}, a known file, and {source} is none: "
                "give another name"
            )
    manifest = Manifest(
        name=name,
        network=table.network,
        deepest_layer=converted.deepest,
        source_file=source.name,
        source_sha256=converted.sha256,
        format=table.format,
        licence=licence,
        channel_order=converted.order,
        mean=converted.mean,
        std=table.std,
        padding="zero",
        arrays_sha256=hash_params(converted.params),
        files_sha256="",
    )
    return _save(converted.params, manifest, root)


def save_params(
    params: Params, *, network: str, name: str, source: str, directory: Path | None = None
) -> Path:
    """Stores weights that were trained here.

    Args:
      params: as `load_params` returns them.
      network: the network as `cdjax.deep_features.Backbone` calls it.
      name: name in the store; weights that were trained here are replaced.
      source: what the weights come from, for the manifest.
      directory: the store; `weights_dir()` if None.

    Returns:
      The folder of the stored weights.

    Raises:
      InputError: an array has another shape or is not finite, or the name is another network's or
        a converted file's.
    """
    check_name(name, network, directory=directory)
    arrays: Any = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), params)
    deepest = [layer for layer in layers_of(network) if layer in arrays][-1:]
    check_params(Backbone(network=network, layers=tuple(deepest) or layers_of(network)), arrays)
    for path, leaf in jax.tree_util.tree_flatten_with_path(arrays)[0]:
        if not np.isfinite(leaf).all():
            where = jax.tree_util.keystr(path)
            raise InputError(f"weights {where} of {name} are not finite: train with a lower rate")
    digest = hash_params(arrays)
    manifest = Manifest(
        name=name,
        network=network,
        deepest_layer=deepest[0],
        source_file=source,
        source_sha256=digest,
        format=_TRAINED,
        licence=UNKNOWN,
        channel_order="RGB",
        mean=tuple(float(x) for x in arrays["mean"]),
        std=(1.0, 1.0, 1.0),
        padding="zero",
        arrays_sha256=digest,
        files_sha256="",
    )
    return _save(arrays, manifest, weights_dir() if directory is None else directory)


def check_name(name: str, network: str, *, directory: Path | None = None) -> None:
    """Refuses a name for weights trained here: no folder's, another network's or a file's."""
    _check_name(name, network)
    root = weights_dir() if directory is None else directory
    for other in list_weights(root):
        if other.name == name and other.format != _TRAINED:
            raise InputError(f"{root / name}: holds {other.source_file}: give another name")


def _check_name(name: str, network: str) -> None:
    """Refuses a name that is no folder's, or another network's."""
    if not name or Path(name).name != name or name.startswith("."):
        raise InputError(
            f"{name!r} cannot name stored weights: use letters, digits and underscores"
        )
    if name in _STORED and name != network:
        raise InputError(f"weights of {network} cannot be called {name}: give another name")


def _check_known(source: Path, sha256: str, *, name: str | None = None) -> None:
    """Refuses a file that is called as a known one but differs, unless for another name."""
    for known in known_sources().values():
        differs = known.file == source.name and not sha256.startswith(known.sha256)
        if differs and name in (None, known.name):
            raise InputError(
                f"{source}: sha256 {sha256[:12]}, expected {known.sha256[:12]}; the file is "
                f"damaged: `cdjax weights fetch {known.name}`, or rename it if it is another"
            )


def load_params(name_or_path: str | Path, *, directory: Path | None = None) -> Params:
    """Loads weights, checking their hash.

    Args:
      name_or_path: a stored name ("vgg19_normalised"), the name of a network, for whatever is
        stored of it, or else the folder of stored weights or a raw weight file, which is
        converted in memory.
      directory: the store; `weights_dir()` if None.

    Returns:
      Nested dict of float32 arrays: "mean" (RGB), and "kernel" and "bias" of each
      layer; of colour names "table".

    Raises:
      InputError: there is no such thing, or it is damaged.
    """
    path = find_weights(name_or_path, directory=directory)
    if path.is_file():
        converted = convert_file(path)
        _check_known(path, converted.sha256)
        params = converted.params
    else:
        params = read_params(path)
    return jax.device_put(params)


def find_weights(name_or_path: str | Path, *, directory: Path | None = None) -> Path:
    """Finds stored weights by name, then by network, then a folder or file by path."""
    path, name = Path(name_or_path), str(name_or_path)
    root = weights_dir() if directory is None else directory
    bare = path.name == name
    if bare and (root / name / _MANIFEST).is_file():
        return root / name
    stored, damaged = _scan(root)
    # A network's name stands for whatever is stored of that network: of several the one with the
    # most layers, and of those one whose file is known.
    same = [found for found in stored if found.network == name]
    if same:
        known = {source.sha256 for source in known_sources().values()}
        depth = lambda found: _layers_of(name).index(found.deepest_layer)
        rank = lambda found: (depth(found), found.source_sha256 in known)
        return root / max(same, key=rank).name
    if path.is_file() or (path.is_dir() and not (bare and name in _STORED)):
        return path
    names = ", ".join(manifest.name for manifest in stored) or "nothing"
    if damaged:
        names += f", and damaged {', '.join(damaged)} (`cdjax weights check` says more)"
    raise InputError(
        f"no weights {name!r}: {root} holds {names}; convert a file with "
        "`cdjax weights convert FILE`, or see `cdjax weights fetch`"
    )


def read_manifest(folder: Path) -> Manifest:
    """Reads and checks a manifest; the name is the folder's, which may have been renamed."""
    path = folder / _MANIFEST
    remedy = "convert the source file again with `cdjax weights convert`"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: unreadable manifest: {error}; {remedy}") from error
    kinds: dict[str, type] = dict.fromkeys(Manifest.__dataclass_fields__, str)
    kinds |= {"mean": list, "std": list, "version": int}
    if not isinstance(raw, dict) or raw.keys() != kinds.keys():
        raise InputError(f"{path}: expected the fields {', '.join(kinds)}; {remedy}")
    for key, kind in kinds.items():
        if not isinstance(raw[key], kind):
            raise InputError(f"{path}: {key} is {raw[key]!r}; {remedy}")
    if raw["version"] != _VERSION:
        raise InputError(f"{path}: version {raw['version']}, expected {_VERSION}; {remedy}")
    if raw["network"] not in _STORED or raw["deepest_layer"] not in _layers_of(raw["network"]):
        raise InputError(
            f"{path}: there is no {raw['deepest_layer']!r} in a {raw['network']!r}; {remedy}"
        )
    for key in ("mean", "std"):
        raw[key] = tuple(raw[key])
        if len(raw[key]) != 3 or not all(isinstance(x, float) and isfinite(x) for x in raw[key]):
            raise InputError(f"{path}: {key} is {raw[key]!r}; {remedy}")
    raw["name"] = folder.resolve().name
    return Manifest(**raw)


def read_params(folder: Path) -> dict[str, Any]:
    """Reads stored arrays and compares their hash with the manifest's."""
    import orbax.checkpoint as ocp

    manifest = read_manifest(folder)
    path = (folder / _ARRAYS).resolve()
    remedy = "convert the source file again with `cdjax weights convert`"
    try:
        files = _hash_files(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error}; {remedy}") from error
    if files != manifest.files_sha256:
        raise InputError(
            f"{folder}: damaged checkpoint: its files have sha256 {files[:12]}, "
            f"expected {manifest.files_sha256[:12]}; {remedy}"
        )
    try:
        with ocp.PyTreeCheckpointer() as checkpointer:
            tree = checkpointer.metadata(path).item_metadata.tree
            restore = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
            params = checkpointer.restore(path, restore_args=restore)
    except Exception as error:  # whatever Orbax and its storage raise on damaged files
        reason = str(error).split("\n", 1)[0][:200]
        raise InputError(f"{folder}: damaged checkpoint: {reason}; {remedy}") from error
    found = hash_params(params)
    if found != manifest.arrays_sha256:
        raise InputError(
            f"{folder}: the arrays differ from the manifest (sha256 {found[:12]}, "
            f"expected {manifest.arrays_sha256[:12]}); {remedy}"
        )
    try:
        _check_arrays(manifest, params)
    except InputError as error:
        raise InputError(f"{folder / _MANIFEST}: {error}; {remedy}") from error
    return params


def _check_arrays(manifest: Manifest, params: dict[str, Any]) -> None:
    """Stops arrays that are not what the manifest calls them."""
    if manifest.network == COLOR_TABLE.network:
        check_color_table(params)
        return
    backbone = Backbone(network=manifest.network, layers=(manifest.deepest_layer,))
    layers = [layer for layer in layers_of(backbone.network) if layer in params]
    if layers[-1:] != list(backbone.layers) or not np.allclose(params["mean"], manifest.mean):
        raise InputError("its deepest layer or mean is not the arrays'")
    check_params(backbone, params)


def _layers_of(network: str) -> tuple[str, ...]:
    """The layers that stored weights may reach."""
    return ("table",) if network == COLOR_TABLE.network else layers_of(network)


def hash_params(params: Params) -> str:
    """Hashes names, shapes and numbers."""
    digest = hashlib.sha256()
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    for path, leaf in leaves:
        array = np.asarray(leaf)
        label = f"{jax.tree_util.keystr(path)} {array.dtype.name} {array.shape}"
        digest.update(label.encode())
        digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def _hash_files(folder: Path) -> str:
    """Hashes the names and contents of all files below a folder."""
    digest = hashlib.sha256()
    paths = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*")}
    for name in sorted(paths):
        if paths[name].is_file():
            with paths[name].open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"{name} {content}\n".encode())
    return digest.hexdigest()


def _save(params: Params, manifest: Manifest, root: Path) -> Path:
    """Writes a checkpoint beside its final place, then moves it there."""
    import orbax.checkpoint as ocp

    final = root / manifest.name
    try:
        root.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{manifest.name}-", dir=root))
        try:
            fresh = scratch / "new"
            fresh.mkdir()
            with ocp.PyTreeCheckpointer() as checkpointer:
                checkpointer.save((fresh / _ARRAYS).resolve(), params)
            digest = _hash_files(fresh / _ARRAYS)
            manifest = dataclasses.replace(manifest, files_sha256=digest)
            text = json.dumps(dataclasses.asdict(manifest), indent=2)
            (fresh / _MANIFEST).write_text(text + "\n", encoding="utf-8")
            if final.exists():
                final.rename(scratch / "old")
            fresh.rename(final)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise InputError(
            f"{root}: cannot store weights: {error}; set CDJAX_WEIGHTS to a folder "
            "that can be written"
        ) from error
    return final
