"""Where things are kept between runs."""

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """Returns the user's cache folder of cdjax; it may not exist."""
    if sys.platform == "win32":
        cache = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    else:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "cdjax"
