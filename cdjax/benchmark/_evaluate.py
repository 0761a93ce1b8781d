"""Evaluates trackers and sums up: a table over the units of an experiment."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from cdjax.benchmark._claims import claim
from cdjax.benchmark._entries import Entry
from cdjax.benchmark._metrics import PRESET
from cdjax.benchmark._results import make_folder, versions, write_json
from cdjax.benchmark._sequence import Target
from cdjax.benchmark._unit_run import Watch
from cdjax.benchmark._units import run_experiment
from cdjax.benchmark._workdir import Unit, files_of, read_json

SEQUENCE_KEYS = ("success_auc", "precision_20", "mean_channels", "fps")
"""Figures that a summary gives for a tracker and for each of its sequences."""


class _Summary(Watch):
    """Writes summary.json anew after every unit, and passes on what it hears."""

    def __init__(self, results: Path, labels: Iterable[str], header: dict[str, Any], watch: Watch):
        self._results = results
        self._watch = watch
        self._rows: dict[str, dict[str, dict[str, Any]]] = {label: {} for label in labels}
        self._header = header
        self._failures: list[dict[str, Any]] = []
        self._busy: list[list[str]] = []

    def begin(self, units: Any) -> None:
        self._watch.begin(units)

    def frame(self, unit: Unit, done: int, of: int) -> None:
        self._watch.frame(unit, done, of)

    def unit(self, unit: Unit, how: str) -> None:
        """Reads what the unit wrote."""
        files = files_of(self._results, unit)
        if how == "failed":
            failure = read_json(files.failure)
            self._failures.append(
                {
                    "tracker": unit.label,
                    **{key: failure[key] for key in ("sequence", "kind", "error")},
                }
            )
        else:
            record = read_json(files.record)
            times = read_json(files.times) if files.times.exists() else {}
            self._rows[unit.label][unit.sequence] = {
                "success_auc": record["scores"]["success_auc"],
                "precision_20": record["scores"]["precision_20"],
                "mean_channels": float(record["num_channels"]),
                "fps": times.get("fps"),
                "frames": record["frames"],
                "seconds": times.get("track_seconds"),
            }
        self.write()
        self._watch.unit(unit, how)

    def leave(self, units: Iterable[Unit]) -> None:
        """Notes units that other processes are still running."""
        self._busy = [[unit.label, unit.sequence] for unit in units]

    def write(self) -> dict[str, Any]:
        """Writes the summary and returns it."""
        rows = [{"tracker": label, **_row(found)} for label, found in self._rows.items()]
        summary = {
            **self._header,
            "failures": self._failures,
            "running_elsewhere": self._busy,
            "trackers": rows,
        }
        with claim(self._results / "claims" / "summary.lock", wait=True):
            write_json(self._results / "summary.json", summary)
        return summary


def evaluate(
    entries: Iterable[Entry],
    targets: Iterable[Target],
    results: Path,
    *,
    dataset: str,
    root: Path | None = None,
    max_frames: int | None = None,
    resume: bool = False,
    batch_size: int = 1,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Runs trackers over sequences and writes boxes and a summary.

    `results` becomes a folder of one experiment, see `load_workdir`, with
    `results/summary.json` on top, written anew after every sequence. A run that fails leaves
    the boxes it has under .part, is listed among the summary's failures, and does not stop
    the others.

    Args:
      entries: the trackers.
      targets: the sequences.
      results: folder for results.
      dataset: name for the summary.
      root: where the sequences lie, for running them again.
      max_frames: frames a sequence, or None for all.
      resume: whether finished runs are kept.
      batch_size: how many sequences of a tracker are run side by side.
      watch: hears of progress.

    Returns:
      The summary: dataset, protocol, versions, failures, runs of other processes that are not
      yet over, and a row a tracker.

    Raises:
      InputError: if the folder is of another experiment, or cannot be written.
    """
    entries = list(entries)
    header = {
        "dataset": dataset,
        "protocol": {**PRESET, "kind": "one-pass", "max_frames": max_frames},
        "fps_is": "frames / (first-frame and step time); no decoding, no compilation",
        "versions": versions(),
    }
    settings = {
        "dataset": dataset,
        "protocol": "ope",
        "max_frames": max_frames,
        "preset": PRESET["name"],
        "dataset_root": None if root is None else str(root.resolve()),
    }
    summary = _Summary(
        make_folder(results), (entry.name for entry in entries), header, watch or Watch()
    )
    tally = run_experiment(
        results,
        entries,
        targets,
        settings=settings,
        anew=not resume,
        batch_size=batch_size,
        watch=summary,
    )
    summary.leave(tally.busy)
    return summary.write()


def _row(sequences: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A tracker's figures: the sequences', their means, and frames/s over all frames."""
    figures = list(sequences.values())
    nan = float("nan")
    means = {
        key: float(np.mean([nan if f[key] is None else f[key] for f in figures]))
        if figures
        else nan
        for key in SEQUENCE_KEYS
    }
    clocked = [f for f in figures if f["seconds"]]
    seconds = sum(f["seconds"] for f in clocked)
    shown = {
        name: {key: value for key, value in f.items() if key != "seconds"}
        for name, f in sequences.items()
    }
    return {
        "sequences": shown,
        **means,
        "fps": sum(f["frames"] for f in clocked) / seconds if seconds else nan,
        "frames": sum(f["frames"] for f in figures),
    }
