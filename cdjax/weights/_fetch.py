"""Downloads of the known weight files, on request only."""

import hashlib
import http.client
import io
import tempfile
import urllib.request
from pathlib import Path

from cdjax._errors import InputError
from cdjax.weights._sources import Source, known_sources
from cdjax.weights._store import convert, weights_dir


def fetch(name: str, *, directory: Path | None = None) -> Path:
    """Downloads a known weight file, checks its hash, converts and stores it.

    Args:
      name: a name of `known_sources()`; the weights are stored under it.
      directory: the store; `weights_dir()` if None.

    Returns:
      The folder of the stored weights.

    Raises:
      InputError: no such name, no connection (the message says what to get by other
        means), or another file than expected.
    """
    known = known_sources()
    if name not in known:
        raise InputError(f"no known weights {name!r}: choose from {', '.join(known)}")
    source = known[name]
    root = weights_dir() if directory is None else directory
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=root) as scratch:
            path = Path(scratch) / source.file
            with path.open("wb") as file:
                digest = _download(source, file)
            _check_hash(source, digest)
            return convert(path, network=source.network, name=name, directory=root)
    except (OSError, http.client.HTTPException) as error:
        raise InputError(
            f"cannot fetch {name}: {error}; get {source.file} from {source.url} by "
            "other means, then run `cdjax weights convert "
            f"{source.file} --name {name}`, which stores it in {root}"
        ) from error


def _download(source: Source, file: io.BufferedIOBase) -> str:
    """Copies the remote file and returns its sha256."""
    digest = hashlib.sha256()
    with urllib.request.urlopen(source.url, timeout=30) as reply:
        while block := reply.read(1 << 20):
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def _check_hash(source: Source, digest: str) -> None:
    """Refuses a file other than the known one."""
    if not digest.startswith(source.sha256):
        raise InputError(
            f"{source.url}: expected sha256 {source.sha256}, found {digest}; the file "
            "was changed or cut short: try again, or get it from elsewhere"
        )
