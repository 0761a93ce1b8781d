"""Shared fixtures: the data folder, and the strictness that every test runs under."""

import os
from pathlib import Path

# Several test processes share a GPU.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
# See `_compile_quickly`; CDJAX_AS_SHIPPED=1 compiles every test as users do; slower.
_QUICKLY = os.environ.get("CDJAX_AS_SHIPPED") != "1"
jax.config.update("jax_disable_most_optimizations", _QUICKLY)

ROOT = Path(__file__).resolve().parents[1]


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
def _compile_quickly(request, monkeypatch):
    """Makes this process's programs without the compiler's dear passes, but for `as_shipped`."""
    from tracker_cases import QuickJax

    from cdjax.lanes import _programs

    if not _QUICKLY:
        yield
        return
    if not request.node.get_closest_marker("as_shipped"):
        monkeypatch.setattr(_programs, "jax", QuickJax())
        yield
        return
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
