"""`cdjax info`: what is installed and what was found."""

import argparse
import importlib.metadata
import json
import os
import platform
from typing import Any

from cdjax.cli import _cache

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def add_parser(subparsers: Any) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "info",
        help="show versions, devices, weights and data",
        description="Shows versions, devices, and the weights and data found.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    facts = gather()
    print(json.dumps(facts, indent=2) if args.json else _text(facts))
    return 0


def gather() -> dict[str, Any]:
    """The facts, as JSON has them."""
    import cv2
    import jax

    import cdjax

    versions = {name: _version(name) for name in _PACKAGES}
    return {
        "cdjax": cdjax.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions | {"cv2": cv2.__version__},
        "devices": [f"{d.platform}:{d.id} ({d.device_kind})" for d in jax.devices()],
        "cpu_cores": cpu_cores(),
        "compiled_programs": str(_cache.compiled_folder() or "off"),
        "weights": _weights(),
        "data": _data(),
        "trackers": list(cdjax.list_trackers()),
    }


def cpu_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _weights() -> dict[str, Any]:
    """The weights folder and what is in it."""
    from cdjax import weights

    found = [
        {"name": m.name, "network": m.network, "deepest_layer": m.deepest_layer}
        for m in weights.list_weights()
    ]
    return {"directory": str(weights.weights_dir()), "found": found}


def _data() -> dict[str, Any]:
    """The data folder and what is in it."""
    from cdjax.benchmark._annotations import data_places

    candidates = data_places()
    folder = next((path for path in candidates if path.is_dir()), None)
    return {
        "directory": str(folder or candidates[0]),
        "found": folder is not None,
        "folders": sorted(path.name for path in folder.iterdir() if path.is_dir())
        if folder
        else [],
    }


def _text(facts: dict[str, Any]) -> str:
    """The facts for a reader."""
    packages = [f"{k} {v or '(missing)'}" for k, v in facts["packages"].items()]
    weights, data = facts["weights"], facts["data"]
    lines = [
        ("cdjax", facts["cdjax"]),
        ("python", f"{facts['python']} on {facts['platform']}"),
        ("packages", ", ".join(packages)),
        ("devices", ", ".join(facts["devices"])),
        ("CPU cores", str(facts["cpu_cores"])),
        ("compiled", facts["compiled_programs"]),
        ("weights", weights["directory"]),
    ]
    lines += [
        ("", f"{m['name']}: {m['network']} to {m['deepest_layer']}") for m in weights["found"]
    ] or [("", "none yet; `cdjax weights fetch` or `cdjax weights convert FILE`")]
    if data["found"]:
        lines += [("data", data["directory"]), ("", ", ".join(data["folders"]))]
    else:
        lines += [("data", "none found; set CDJAX_DATA to a folder with otb/")]
    lines += [("trackers", facts["trackers"][0])]
    lines += [("", name) for name in facts["trackers"][1:]]
    return "\n".join(f"{label:10}{text}".rstrip() for label, text in lines)
