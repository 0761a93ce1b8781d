"""The weight files that are known, by name and hash."""

import functools
import importlib.resources
import tomllib
from typing import NamedTuple

UNKNOWN = "unknown"
"""Licence of a file that is not known by its hash."""


class Source(NamedTuple):
    """A weight file that can be had from its makers.

    Attributes:
      name: name in the store after conversion.
      network: the network as `cdjax.deep_features.Backbone` calls it, or "colornames".
      file: its usual file name.
      url: where it is.
      sha256: of the file, or its first digits; empty if not known.
      licence: SPDX name, or words.
      note: what it is.
    """

    name: str
    network: str
    file: str
    url: str
    sha256: str
    licence: str
    note: str


@functools.cache
def known_sources() -> dict[str, Source]:
    """The files of sources.toml, by name."""
    text = importlib.resources.files("cdjax.weights").joinpath("sources.toml").read_text()
    return {name: Source(name, **entry) for name, entry in tomllib.loads(text).items()}


def licence_of(sha256: str) -> str:
    """The licence of a file that is known by its hash, else UNKNOWN."""
    for source in known_sources().values():
        if source.sha256 and sha256.startswith(source.sha256):
            return source.licence
    return UNKNOWN
