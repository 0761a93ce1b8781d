"""Runs an experiment that a config names: plain values in, nothing of the config's library."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cdjax._errors import InputError
from cdjax.benchmark._datasets import list_targets
from cdjax.benchmark._entries import make_entries
from cdjax.benchmark._metrics import PRESET
from cdjax.benchmark._protocols import PROTOCOLS
from cdjax.benchmark._sequence import select_targets, unknown
from cdjax.benchmark._unit_run import Watch
from cdjax.benchmark._units import Tally, run_experiment

CONFIG_KEYS = ("trackers", "dataset", "protocol", "max_frames", "seeds")
"""What a config must hold."""


def run_config(
    config: Mapping[str, Any],
    *,
    workdir: Path,
    root: Path,
    sequences: Iterable[str] | None = None,
    weights: str | None = None,
    shard: tuple[int, int] = (0, 1),
    take_over: bool = False,
    batch_size: int = 1,
    watch: Watch | None = None,
) -> Tally:
    """Does what is left to do of an experiment, alone or among other processes.

    Args:
      config: "trackers" (names in `cdjax.make`'s grammar), "dataset", "protocol", "max_frames",
        "seeds", and "paper": published figures of the first tracker.
      workdir: folder of results, made if need be.
      root: folder of sequences.
      sequences: names of some of them; all by default.
      weights: for all trackers that need some, instead of their own.
      shard: (i, n): every n-th unit from the i-th on.
      take_over: whether to go on with the units of the other shards, until all are done or have
        failed, by whomever.
      batch_size: how many units of a tracker are run side by side.
      watch: hears of progress.

    Returns:
      What was done.

    Raises:
      InputError: for anything unknown or lacking, or a folder of another experiment.
    """
    if lacking := [key for key in CONFIG_KEYS if key not in config]:
        raise InputError(f"the config lacks {', '.join(lacking)}; start from configs/_base.py")
    if config["protocol"] not in PROTOCOLS:
        raise InputError(unknown("protocol", config["protocol"], list(PROTOCOLS)))
    if not 0 <= shard[0] < shard[1]:
        raise InputError(f"shard {shard[0]} of {shard[1]}: shards are counted from 0")
    seeds = [_seed(value) for value in config["seeds"]]
    targets = list_targets(config["dataset"], root)
    if sequences is not None:
        targets = select_targets(targets, sequences)
    trackers = tuple(config["trackers"])
    if not (targets and trackers and seeds):
        raise InputError("nothing to run: give at least one tracker, one sequence and one seed")
    papers = {trackers[0]: config.get("paper") or None}
    settings = {
        "dataset": config["dataset"],
        "protocol": config["protocol"],
        "max_frames": config["max_frames"],
        "preset": PRESET["name"],
        "dataset_root": str(root.resolve()),
    }
    return run_experiment(
        workdir,
        make_entries(trackers, weights=weights, papers=papers),
        targets,
        settings=settings,
        seeds=seeds,
        shard=shard,
        take_over=take_over,
        batch_size=batch_size,
        watch=watch,
    )


def _seed(value: Any) -> int:
    """A seed, from a number or its text."""
    if not str(value).isdecimal():
        raise InputError(f"seed {value!r}: use whole numbers from 0")
    return int(value)
