"""Where the commands keep compiled programs; the library itself configures nothing."""

import hashlib
import os
import platform
from pathlib import Path

from cdjax._folders import cache_folder

MAX_BYTES = 2**30
"""The folder is pruned to this at the start of a command, oldest programs first."""

_SETTING = "CDJAX_COMPILED"


def compiled_folder() -> Path | None:
    """Returns the folder of compiled programs, which may not exist.

    Returns:
      JAX_COMPILATION_CACHE_DIR if set, else CDJAX_COMPILED, else cdjax/compiled in the user's cache
      folder, in a folder of its own for each kind of processor: programs for one may not run on
      another. None where CDJAX_COMPILED is "off".
    """
    if chosen := os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return Path(chosen)
    chosen = os.environ.get(_SETTING)
    if chosen == "off":
        return None
    root = Path(chosen) if chosen else cache_folder() / "compiled"
    return root / hashlib.sha256(_processor().encode()).hexdigest()[:12]


def enable() -> None:
    """Has jax keep compiled programs on disk; without a word where it cannot."""
    folder = compiled_folder()
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        prune(folder, MAX_BYTES)
    except OSError:
        return  # a read-only home: commands work without
    import jax

    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def prune(folder: Path, max_bytes: int) -> None:
    """Removes the oldest files of a folder until the rest fits.

    Args:
      folder: the folder.
      max_bytes: most bytes to leave.
    """
    files = []
    for path in folder.iterdir():
        try:
            files.append((path.stat().st_mtime, path.stat().st_size, path))
        except FileNotFoundError:  # another process prunes too
            continue
    left = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if left <= max_bytes:
            break
        path.unlink(missing_ok=True)
        left -= size


def _processor() -> str:
    """What tells kinds of processors apart."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    kinds = ("flags", "Features", "model name", "CPU part")
    found = {line for line in lines if line.startswith(kinds)}
    return "\n".join([platform.machine(), *sorted(found)])
