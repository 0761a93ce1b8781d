"""Compiled programs are kept on disk by the command, and by nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cdjax.cli import _cache

CODE = """
import sys
sys.argv = ["cdjax", "{command}", "--help"]
from cdjax import cli
try:
    cli.command()
except SystemExit:
    pass
import jax
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.jit(lambda x: x * 3 + 1)(2.0)
"""


def files_after(folder, command, **environment):
    """Programs on disk after a process that ran a command and compiled something."""
    kept = {k: v for k, v in os.environ.items() if "COMPIL" not in k}
    places = {"CDJAX_COMPILED": str(folder)} | environment
    code = CODE.format(command=command)
    done = subprocess.run(
        [sys.executable, "-c", code], env=kept | places, capture_output=True, text=True, check=True
    )
    assert "rror" not in done.stderr
    return [path for path in Path(folder).rglob("*-cache")]


def test_the_command_keeps_programs(tmp_path):
    assert files_after(tmp_path / "a", "track")
    assert not files_after(tmp_path / "b", "speed")
    assert not files_after(tmp_path / "c", "track", CDJAX_COMPILED="off")
    (tmp_path / "d").write_text("no folder")
    assert not files_after(tmp_path / "d", "track")


def test_the_library_configures_nothing():
    code = "import jax; before = dict(jax.config.values); import cdjax; cdjax.make('CACF')\n"
    code += "assert cdjax.__version__ and jax.config.values == before"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_place(tmp_path, monkeypatch):
    for name in ("JAX_COMPILATION_CACHE_DIR", "CDJAX_COMPILED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    default = _cache.compiled_folder()
    assert default.parent == tmp_path / "cdjax" / "compiled"
    monkeypatch.setattr(_cache, "_processor", lambda: "another")
    assert _cache.compiled_folder() != default
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "jax"))
    assert _cache.compiled_folder() == tmp_path / "jax"


@pytest.mark.parametrize(
    ("most", "left"), [(100, [1, 2, 3]), (30, [1, 2, 3]), (29, [2, 3]), (5, [])]
)
def test_the_oldest_programs_go_first(tmp_path, most, left):
    for age in (3, 1, 2):
        path = tmp_path / str(age)
        path.write_bytes(bytes(10))
        os.utime(path, (age, age))
    _cache.prune(tmp_path, most)
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == left
