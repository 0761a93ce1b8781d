"""The shape of the library: public names, docstrings, imports, and what importing it does."""

import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cdjax

ROOT = Path(cdjax.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))
STAGES = ("classifier", "crop", "deep_features", "distill", "filters", "locate")
PUBLIC = ("cdjax", *(f"cdjax.{name}" for name in (*STAGES, "trackers", "benchmark", "weights")))


def module_name(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path):
    """Modules of cdjax that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "cdjax":
                yield from (f"cdjax.{alias.name}" for alias in node.names)
            elif node.module.startswith("cdjax."):
                yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("cdjax."))


def part(module):
    """The part of the library that a module belongs to: "filters" for cdjax.filters._dcf."""
    names = module.split(".")
    return names[1] if len(names) > 1 else ""


# Public names


@pytest.mark.parametrize("module", PUBLIC)
def test_all_is_complete_and_sorted(module):
    package = importlib.import_module(module)
    tree = ast.parse(Path(package.__file__).read_text())
    # `from cdjax.x._y import name as name` is what makes a name public.
    public = {
        alias.asname
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname and alias.asname == alias.name
    }
    assert public == set(package.__all__)
    assert len(package.__all__) == len(set(package.__all__))
    # Classes and constants first, as ruff sorts.
    case = lambda name: (0 if name.isupper() else 1 if name[0].isupper() else 2, name)
    assert list(package.__all__) == sorted(package.__all__, key=case)
    assert all(hasattr(package, name) for name in package.__all__)


@pytest.mark.parametrize("module", PUBLIC)
def test_packages_hold_imports_and_all_and_nothing_else(module):
    tree = ast.parse(Path(importlib.import_module(module).__file__).read_text())
    allowed = (ast.Import, ast.ImportFrom, ast.Assign, ast.Expr)
    assert all(isinstance(node, allowed) for node in tree.body)
    names = {node.targets[0].id for node in tree.body if isinstance(node, ast.Assign)}
    assert names == ({"__all__", "__version__"} if module == "cdjax" else {"__all__"})


def public_callables():
    for module in PUBLIC:
        package = importlib.import_module(module)
        for name in package.__all__:
            value = inspect.unwrap(getattr(package, name))
            if callable(value) and (module == "cdjax" or part(value.__module__) == part(module)):
                yield pytest.param(value, id=f"{module}.{name}")


def public_functions():
    yield from (param for param in public_callables() if inspect.isfunction(param.values[0]))


# One line says it all.
ONE_LINERS = {"as_rgb", "rfft2", "irfft2", "wrapped_offsets"}
# Its one option may be given by place.
POSITIONAL = {"list_weights"}


@pytest.mark.parametrize("function", list(public_functions()))
def test_docstrings_have_their_parts(function):
    text = inspect.getdoc(function)
    assert text
    assert text.splitlines()[0].endswith((".", ":"))
    parameters = inspect.signature(function).parameters
    if not parameters or function.__name__ in ONE_LINERS:
        return
    described = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", text, re.S | re.M)
    described = described.group(1) if described else ""
    missing = [
        name for name in parameters if not re.search(rf"^\s+\*{{0,2}}{name}: ", described, re.M)
    ]
    assert not missing, f"{function.__name__}: no Args for {missing}"
    returns = inspect.signature(function).return_annotation
    if returns not in (None, inspect.Signature.empty):
        assert re.search(r"^(Returns|Yields):$", text, re.M), f"{function.__name__}: no Returns"


@pytest.mark.parametrize("value", list(public_callables()))
def test_public_classes_have_docstrings(value):
    assert inspect.getdoc(value)


@pytest.mark.parametrize("function", list(public_functions()))
def test_options_are_keyword_only(function):
    positional = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is not inspect.Parameter.empty
        and parameter.kind is not inspect.Parameter.KEYWORD_ONLY
    ]
    if function.__name__ in POSITIONAL:
        assert positional == ["directory"]
        return
    assert not positional, f"{function.__name__}: {positional} have defaults and may be positional"


# Import direction


BASE = ("_errors", "_turns", "_types", "boxes")
# What each part may import; nothing points back.
MAY_IMPORT = {
    "_errors": (),
    "_folders": (),
    "_turns": (),
    "_types": (),
    "boxes": ("_errors", "_types"),
    **{stage: BASE for stage in STAGES},
    "trackers": (*BASE, *STAGES),
    "weights": (*BASE, "_folders", "deep_features"),
    "lanes": (*BASE, "trackers"),
    "benchmark": (*BASE, "deep_features", "lanes", "trackers", "weights"),
}


def test_imports_point_one_way():
    wrong = []
    for path in SOURCES:
        here = part(module_name(path))
        if here in ("", "cli", "__main__"):
            continue
        allowed = (*MAY_IMPORT[here], here)
        for module in imports_of(path):
            if part(module) not in allowed:
                wrong.append(f"{module_name(path)} imports {module}")
    assert not wrong


def test_the_parser_of_imports_sees_them():
    composed = {part(module) for module in imports_of(ROOT / "trackers" / "_deepcd.py")}
    assert set(STAGES) - {"classifier"} <= composed  # MDNet's
    assert {part(module) for module in imports_of(ROOT / "__init__.py")} >= {"trackers", "weights"}


# What the library does to the process


_FRESH = """
import json, sys, warnings
warnings.simplefilter("error")
import jax
before = dict(jax.config.values)
import cdjax
from jax._src import xla_bridge
tracker = cdjax.make("DeepCD-V-11+12+21")
print(json.dumps({
    "modules": sorted(sys.modules),
    "backends": xla_bridge.backends_are_initialized(),
    "config": [key for key, value in jax.config.values.items() if before.get(key, value) != value],
}))
"""


@pytest.fixture(scope="module")
def fresh():
    run = subprocess.run(
        [sys.executable, "-c", _FRESH], capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "package",
    [
        "cv2",
        "flax",
        "optax",
        "orbax",
        "matplotlib",
        "scipy.io",
        "torch",
        "ml_collections",
        "absl.app",
        "cdjax.benchmark",
    ],
)
def test_import_leaves_out(package, fresh):
    found = [name for name in fresh["modules"] if f"{name}.".startswith(f"{package}.")]
    assert not found


def test_import_starts_no_backend_and_changes_no_setting(fresh):
    assert "jax" in fresh["modules"]
    assert not fresh["backends"]
    assert not fresh["config"]


def calls_of(path):
    """Dotted names of everything that a file calls, and of everything it assigns to."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node.lineno
        elif isinstance(node, ast.Assign):
            yield from ((ast.unparse(target), node.lineno) for target in node.targets)


BANNED = re.compile(
    r"jax\.config|config\.update|debug\.print|debug\.callback|pure_callback|io_callback"
    r"|os\.environ\[|set_default_device|random\.seed"
)


def test_no_settings_prints_or_callbacks():
    # But for where the commands keep programs, and their CPU devices, which no import sets.
    found = [
        f"{module_name(path)}:{line}: {name}"
        for path in SOURCES
        for name, line in calls_of(path)
        if module_name(path) not in ("cdjax.cli._cache", "cdjax.cli._devices")
        if BANNED.search(name) or (name == "print" and part(module_name(path)) != "cli")
    ]
    assert not found


# In traced code nothing may wait for the host.
HOST = re.compile(r"(^|\.)(item|tolist|block_until_ready|device_get)$|^np\.asarray$|^float$")
# Host code by design: compaction, shapes that suit a box, sizes of models and layers, options typed
# into a name.
HOST_FUNCTIONS = {
    "_compact",
    "_fit",
    "_room",
    "_in_use",
    "require_distilled",
    "model_bytes",
    "_projected_bytes",
    "channels_by_layer",
    "_selected",
    "_cast",
}


def test_traced_code_never_waits_for_the_host():
    found, skipped = [], set()
    for path in SOURCES:
        if part(module_name(path)) not in (*STAGES, "trackers"):
            continue
        tree = ast.parse(path.read_text())
        host = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef) and node.name in HOST_FUNCTIONS
        ]
        skipped |= {node.name for node in host}
        lines = {id(inner) for node in host for inner in ast.walk(node)}
        found += [
            f"{module_name(path)}:{node.lineno}: {ast.unparse(node.func)}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and id(node) not in lines
            and HOST.search(ast.unparse(node.func))
        ]
    assert not found
    assert skipped == HOST_FUNCTIONS


def test_states_and_outputs_are_named_tuples():
    for record in (cdjax.Tracker, cdjax.TrackOutput, cdjax.DeepCDState):
        assert issubclass(record, tuple)
        assert record._fields
    assert issubclass(cdjax.InputError, ValueError)


def test_version_is_that_of_the_package():
    assert re.fullmatch(r"\d+\.\d+\.\d+", cdjax.__version__)
    assert cdjax.__version__ in (ROOT.parent / "pyproject.toml").read_text()
