"""Shared fixtures: the data folder, and the strictness that every test runs under."""

import os
import subprocess
import sys
from pathlib import Path

# Several test processes share a GPU.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

ROOT = Path(__file__).resolve().parents[1]


# CDJAX_AS_SHIPPED=1 compiles every test as users do; slower.
_QUICKLY = os.environ.get("CDJAX_AS_SHIPPED") != "1"
# Without XLA's newer code generators a program compiles in less than half of the time.
_OLD_EMITTERS = "--xla_cpu_use_fusion_emitters=false"


def pytest_configure(config):
    """Makes the programs of this process and of those it starts without dear passes."""
    given = os.environ.get("XLA_FLAGS", "")
    if not _QUICKLY:
        return
    jax.config.update("jax_disable_most_optimizations", True)
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    if "xla_cpu_use_fusion_emitters" not in given and _is_known(_OLD_EMITTERS):
        os.environ["XLA_FLAGS"] = f"{given} {_OLD_EMITTERS}".strip()


def _is_known(flag: str) -> bool:
    """Whether XLA knows a flag; it ends a process that gives it another."""
    command = [sys.executable, "-c", "import jax; jax.devices()"]
    environment = {**os.environ, "XLA_FLAGS": flag, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    return done.returncode == 0


_MAPS = Path("/proc/self/maps")
_MANY_MAPS = 35_000


@pytest.fixture(scope="module", autouse=True)
def _drop_programs():
    """Drops compiled programs before they run out of memory maps, of which Linux grants 65 530.

    Each holds some hundreds; without room for more, XLA's compiler crashes.
    """
    yield
    if _MAPS.exists() and _MAPS.read_bytes().count(b"\n") > _MANY_MAPS:
        jax.clear_caches()


@pytest.fixture(autouse=True)
def _compile_as_shipped(request, monkeypatch):
    """Makes the programs of whole sequences with all of the compiler's passes, `as_shipped`."""
    from tracker_cases import ShippedJax

    from cdjax.lanes import _programs

    if not _QUICKLY or not request.node.get_closest_marker("as_shipped"):
        yield
        return
    monkeypatch.setattr(_programs, "jax", ShippedJax())
    # None that another test has made quickly.
    monkeypatch.setattr(_programs.programs, "_held", {})
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


def find_data() -> Path | None:
    """Returns the data folder: CDJAX_DATA, else ../shared/data beside the checkout."""
    if "CDJAX_DATA" in os.environ:
        return Path(os.environ["CDJAX_DATA"])
    default = ROOT.parent / "shared" / "data"
    return default if default.is_dir() else None


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The data folder; skips the test where there is none."""
    folder = find_data()
    if folder is None or not folder.is_dir():
        pytest.skip("no data folder: set CDJAX_DATA to a folder with otb/, weights/ and parity/")
    return folder


@pytest.fixture(scope="session")
def parity_dir(data_dir: Path) -> Path:
    """The folder of numerical oracles."""
    return data_dir / "parity"


def pytest_make_parametrize_id(config, val, argname):
    """Names a case by its tracker: pytest numbers strings of more than 100 characters."""
    return f"{val[:60]}..." if isinstance(val, str) and len(val) > 100 else None
