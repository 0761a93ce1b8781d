"""The datasets that can be run, by name, and what of them is missing on disk."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from cdjax._errors import InputError
from cdjax.benchmark._flat import list_got10k, list_lasot, list_nfs, list_uav123
from cdjax.benchmark._folder import list_folder
from cdjax.benchmark._otb import VERSIONS, list_otb
from cdjax.benchmark._sequence import (
    Target,
    check_root,
    list_images,
    read_list,
    subfolders,
    unknown,
)
from cdjax.benchmark._sequence import canonical_name as canonical_name
from cdjax.benchmark._tables import read_subset
from cdjax.benchmark._tc128 import list_tc128
from cdjax.benchmark._vot import list_vot

DATASETS: dict[str, Callable[[Path], list[Target]]] = {
    "otb": list_otb,
    **{name: partial(list_otb, version=version) for version, name in VERSIONS.items()},
    "tc128": list_tc128,
    "vot": list_vot,
    "lasot": list_lasot,
    "got10k": list_got10k,
    "uav123": list_uav123,
    "nfs": list_nfs,
    "folder": list_folder,
}
"""What lists the targets of each kind of dataset."""

TABLED = ("otb2013", "otb50", "otb100", "tc128", "uav123")
"""Datasets whose targets are known, so that each one missing can be named."""


def list_targets(dataset: str, root: Path) -> list[Target]:
    """Lists the targets of a dataset as found on disk; reads no annotation and no frame.

    Args:
      dataset: a key of `DATASETS`.
      root: its folder.

    Returns:
      The targets there are; `missing_targets` names the others.

    Raises:
      InputError: for an unknown dataset, or if there is none.
    """
    if dataset not in DATASETS:
        raise InputError(unknown("dataset", dataset, list(DATASETS)))
    return DATASETS[dataset](root)


def missing_targets(dataset: str, root: Path) -> list[str]:
    """Names what `list_targets` leaves out though it belongs to the dataset.

    Args:
      dataset: a key of `DATASETS`.
      root: its folder.

    Returns:
      Targets of the benchmark (otb2013, otb50, otb100, tc128, uav123) or of list.txt
      (vot, got10k) that are not there. Without such a table: folders that have frames
      and no ground truth.

    Raises:
      InputError: as `list_targets`.
    """
    root = check_root(root)  # targets have absolute folders
    if dataset in ("vot", "got10k") and (names := read_list(root)):
        return [name for name in names if not (root / name / "groundtruth.txt").is_file()]
    targets = list_targets(dataset, root)
    if dataset in TABLED:
        there = {target.name for target in targets}
        return [name for name in read_subset(dataset) if name not in there]
    used = {target.folder for target in targets}
    if root in used:
        return []
    return [
        folder.name
        for folder in subfolders(root)
        if folder not in used and any(list_images(folder / sub) for sub in (".", "img", "color"))
    ]


def attributes_of(benchmark: str) -> dict[str, tuple[str, ...]]:
    """Returns the attributes of a benchmark's targets from the bundled tables.

    Args:
      benchmark: "otb" or "otb100", "otb50", "otb2013" or "tc128".

    Returns:
      Codes such as "SV" and "OCC" by target, in the benchmark's order.

    Raises:
      InputError: for another benchmark.
    """
    name = "otb100" if benchmark == "otb" else benchmark
    if name not in ("otb100", "otb50", "otb2013", "tc128"):
        raise InputError(
            f"no table of attributes for {benchmark!r}; there are: otb, otb2013, otb50, "
            "otb100, tc128"
        )
    return {target: known.tags for target, known in read_subset(name).items()}
