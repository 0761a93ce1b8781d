"""The trackers of an experiment, and what is recorded of each."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from cdjax import deep_features
from cdjax._types import Params
from cdjax.benchmark._opencv import OPENCV_VERSION, PREFIX, OpenCVTracker, opencv_tracker
from cdjax.benchmark._results import finite
from cdjax.benchmark._workdir import config_hash
from cdjax.trackers._base import Tracker
from cdjax.trackers._names import config_of, optional_weights_of
from cdjax.weights._store import hash_params, list_weights


class Entry(NamedTuple):
    """A tracker that takes part.

    Attributes:
      name: of its results folder and row.
      tracker: from `cdjax.make`, or a peer.
      params: its weights.
      description: how to make it again, as `make_entries` notes it; {} where that is not known.
    """

    name: str
    tracker: Tracker | OpenCVTracker
    params: Params
    description: Mapping[str, Any] = {}


def weights_for(name: str, *, weights: str | None = None) -> str | None:
    """Names the weights that a tracker is run with.

    Args:
      name: the tracker's name, as for `cdjax.make`.
      weights: name or path of weights to use where it needs some, instead of its network's.

    Returns:
      What `cdjax.load_params` takes: the weights that the tracker needs, or those that it can do
      without where they are stored; None for none.

    Raises:
      InputError: for an unknown name.
    """
    import cdjax  # as users call it

    network = cdjax.network_of(name)
    if network is not None:
        return weights or network
    extra = optional_weights_of(name)
    stored = {known for each in list_weights() for known in (each.name, each.network)}
    return extra if extra in stored else None


def make_entries(
    names: Iterable[str],
    *,
    weights: str | None = None,
    papers: Mapping[str, Any] | None = None,
) -> list[Entry]:
    """Makes trackers and loads their weights, each set of weights once.

    Args:
      names: names of `cdjax.make`'s grammar, options included, or peers, such as "opencv:CSRT";
        they become the labels.
      weights: for all that need some, instead of their own.
      papers: published figures, by name, to be shown beside ours.

    Returns:
      An entry a name.

    Raises:
      InputError: for an unknown name or option, or weights that are not there, of another
        network, or do not reach its layers.
    """
    import cdjax  # as users call it

    loaded: dict[str, Params] = {}
    entries = []
    for name in dict.fromkeys(names):
        if name.startswith(PREFIX):
            paper = (papers or {}).get(name)
            description = {"name": name, "config": {"opencv": OPENCV_VERSION}, "paper": paper}
            entries.append(Entry(name, opencv_tracker(name), {}, description))
            continue
        config = config_of(name)
        tracker, chosen = cdjax.make(name), weights_for(name, weights=weights)
        if chosen is not None and chosen not in loaded:
            loaded[chosen] = cdjax.load_params(chosen)
        if cdjax.network_of(name) is not None:
            deep_features.check_params(config.backbone, loaded.get(chosen or "", {}))
        layers = config.candidates
        description = {
            "name": name,
            "config": dataclasses.asdict(config),
            "weights": chosen,
            "layers": layers,
            "num_candidates": sum(layers.values()),
            "paper": (papers or {}).get(name),
        }
        entries.append(Entry(name, tracker, loaded.get(chosen or "", {}), description))
    return entries


def describe(entry: Entry) -> dict[str, Any]:
    """Returns what tracker.json says of an entry, with its hash."""
    empty = dict.fromkeys(("name", "config", "weights", "layers", "paper"))
    described = {"label": entry.name, **empty, "num_candidates": None, **entry.description}
    described["weights_sha256"] = hash_params(entry.params)
    described["config_hash"] = config_hash(described)
    return finite(described)
