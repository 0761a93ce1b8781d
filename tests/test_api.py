"""What importing cdjax does, what it offers, and which way its parts may look."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import cdjax

PACKAGE = Path(cdjax.__file__).parent
STAGES = ("crop", "deep_features", "distill", "filters", "locate")
# What each part may import of cdjax, besides itself and the private _types and _errors.
MAY_IMPORT = {
    **dict.fromkeys(STAGES, set()),
    "weights": {"deep_features"},
    "trackers": set(STAGES),
    "benchmark": {"boxes", "trackers", "deep_features"},
}


def imports_of(path):
    """The parts of cdjax that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "cdjax":
                yield from (alias.name for alias in node.names)
            elif node.module.startswith("cdjax."):
                yield node.module.split(".")[1]


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_parts_look_one_way(part):
    allowed = MAY_IMPORT[part] | {part, "_types", "_errors"}
    for path in (PACKAGE / part).glob("*.py"):
        assert set(imports_of(path)) <= allowed, path.name


@pytest.mark.parametrize("part", ["", *STAGES, "trackers", "benchmark", "weights"])
def test_all_lists_what_an_init_imports(part):
    module = importlib.import_module(f"cdjax.{part}".rstrip("."))
    tree = ast.parse(Path(inspect.getfile(module)).read_text(encoding="utf-8"))
    imported = {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname and not alias.asname.startswith("_")
    }
    assert set(module.__all__) == imported


@pytest.mark.parametrize("name", cdjax.__all__)
def test_public_names_are_documented(name):
    documented = getattr(cdjax, name)
    assert inspect.getdoc(documented)
    if inspect.isfunction(documented) and inspect.signature(documented).parameters:
        assert "Args:" in documented.__doc__
        assert "Returns:" in documented.__doc__


def test_import_has_no_side_effects():
    code = """
import sys, jax
before = dict(jax.config.values)
import cdjax
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized()
assert dict(jax.config.values) == before
heavy = {"cv2", "orbax", "matplotlib", "scipy.io", "absl.app"} & set(sys.modules)
assert not heavy, heavy
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_library_sets_no_config_and_prints_nothing():
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "config.update(" not in text, path
        assert "callback" not in text, path
        if path.parent.name != "cli":
            assert "print(" not in text.replace("jax.debug.print(", ""), path
