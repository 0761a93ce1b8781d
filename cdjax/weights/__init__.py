"""Pre-trained weights: conversion, storage, loading."""

from cdjax.weights._fetch import fetch as fetch
from cdjax.weights._sources import Source as Source
from cdjax.weights._sources import known_sources as known_sources
from cdjax.weights._store import Manifest as Manifest
from cdjax.weights._store import convert as convert
from cdjax.weights._store import list_weights as list_weights
from cdjax.weights._store import load_params as load_params
from cdjax.weights._store import save_params as save_params
from cdjax.weights._store import weights_dir as weights_dir

__all__ = [
    "Manifest",
    "Source",
    "convert",
    "fetch",
    "known_sources",
    "list_weights",
    "load_params",
    "save_params",
    "weights_dir",
]
