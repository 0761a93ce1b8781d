"""Hands trackers and results to vot-toolkit (extra `vot`), the VOT challenges' own judge.

vot-toolkit is a program of its own under the GPL. It runs in a process of its own, on a
workspace on disk, and loads `PythonTracker` by its name.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as AnySequence
from pathlib import Path
from typing import Any

import numpy as np

from cdjax._errors import InputError
from cdjax.benchmark._entries import weights_for
from cdjax.benchmark._frames import Frame, read_image
from cdjax.benchmark._regions import bounds_of
from cdjax.benchmark._results import make_folder
from cdjax.benchmark._runner import FrameRecord, run
from cdjax.benchmark._sequence import Sequence
from cdjax.benchmark._vot_scores import SENSITIVITY, eao_interval
from cdjax.benchmark._vot_supervised import (
    SKIP,
    Row,
    format_rows,
    read_vot_rows,
    regions_of,
)

TIMEOUT = 600
"""Seconds that the toolkit waits for an answer; the first has all compilation in it."""

_EXPERIMENT = "baseline"

_SETTINGS = {"VOT_RESULTS_BINARY": "false", "VOT_PERSISTENT_CACHE": "false"}

# Releases 0.8.0 to 0.9.0 hand their supervised experiment a list where it expects one object,
# and stop at the second frame of any tracker. Takes the object out; a mended release passes.
_START = """
from vot.experiment.multirun import SupervisedExperiment
from vot.utilities.cli import main
runtime_of = SupervisedExperiment._get_runtime
def single_object(*args, **options):
    runtime = runtime_of(*args, **options)
    update = runtime.update
    def update_one(*args, **options):
        found, seconds = update(*args, **options)
        return (found[0] if isinstance(found, list) else found), seconds
    runtime.update = update_one
    return runtime
SupervisedExperiment._get_runtime = single_object
main()
"""

_SUCCESS = {"evaluate": "Evaluation concluded", "analysis": "Analysis successful"}


class PythonTracker:
    """A tracker as vot-toolkit's `python` protocol wants it.

    The toolkit makes one in a process of its own and hands it paths of frames. Its first
    `init` compiles; a restart on frames of a similar size compiles nothing, unless the box
    asks for other shapes (`Tracker.fit`; "ECO-HC:fits=false" does not).
    """

    multiobject = False

    def __init__(self, *, name: str = "DeepCD-H", weights: str | None = None):
        """Builds the tracker; every argument is an `arg_` entry of trackers.ini.

        Args:
          name: as for `cdjax.make`.
          weights: name or path of weights, instead of the tracker's own.

        Raises:
          InputError: for an unknown name, or weights that are not there.
        """
        import cdjax

        self._tracker = cdjax.make(name)
        chosen = weights_for(name, weights=weights)
        self._params = {} if chosen is None else cdjax.load_params(chosen)
        self._path = Path()
        self._records: Iterator[FrameRecord] = iter(())

    def init(self, frame: str, new: Any, properties: Any = None) -> tuple[float, ...]:
        """Starts on a frame.

        Args:
          frame: its path.
          new: the region, (x, y, w, h) or corners [(x, y), ...], with its properties.
          properties: not used.

        Returns:
          The box.
        """
        region = np.ravel(new[0]).astype(np.float64)
        box = bounds_of([region])[0]
        self._records = run(self._tracker, self._params, self._frames(), box)
        return self.update(frame)

    def update(self, frame: str, new: Any = None, properties: Any = None) -> tuple[float, ...]:
        """Finds the target in the next frame.

        Args:
          frame: its path.
          new: not used.
          properties: not used.

        Returns:
          The box: x, y, w, h as Python's floats, all that the protocol takes.
        """
        self._path = Path(frame)
        try:
            record = next(self._records)
        except OSError as error:  # the toolkit would wait for an answer until its timeout
            raise RuntimeError(str(error)) from error
        return tuple(float(v) for v in record.box)

    def _frames(self) -> Iterator[Frame]:
        """Decodes the frame at hand whenever one is asked for."""
        while True:
            yield read_image(self._path)


def vot_identifier(label: str) -> str:
    """Returns what the toolkit calls a tracker: its label without +, :, = and the like."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", label).strip("_")


def write_vot_trackers(
    path: Path, trackers: Mapping[str, str], *, timeout: int = TIMEOUT, weights: str | None = None
) -> None:
    """Writes a registry of trackers, the toolkit's trackers.ini.

    Args:
      path: the file.
      trackers: names for `cdjax.make` by label.
      timeout: seconds that the toolkit waits for an answer, compilation included.
      weights: as for `PythonTracker`, for all of them.

    Raises:
      InputError: if labels differ only in characters that the toolkit does not take.
    """
    entries: dict[str, str] = {}
    for label, name in trackers.items():
        key = vot_identifier(label)
        if key in entries:
            raise InputError(f"two trackers are {key!r} to vot-toolkit; rename {label!r}")
        lines = [
            f"[{key}]",
            f"label = {label}",
            "protocol = python",
            f"command = {PythonTracker.__module__}:{PythonTracker.__name__}",
            f"arg_name = {name}",
            *([] if weights is None else [f"arg_weights = {weights}"]),
            "convert = rectangle",
            f"timeout = {timeout}",
        ]
        entries[key] = "\n".join(lines) + "\n"
    path.write_text("\n".join(entries.values()), encoding="utf-8")


def make_vot_workspace(
    folder: Path,
    sequences: Iterable[Sequence],
    trackers: Mapping[str, str],
    *,
    year: int = 2017,
    interval: tuple[int, int] | None = None,
    repetitions: int = 1,
    results: Mapping[str, Mapping[str, AnySequence[Row]]] | None = None,
) -> Path:
    """Makes a workspace of the toolkit with the supervised experiment of a year.

    Frames are linked to, not copied, where the file system can.

    Args:
      folder: for the workspace; must be empty or not exist.
      sequences: with frames.
      trackers: names for `cdjax.make` by label; those with results only need no true name.
      year: whose EAO interval holds, a key of `EAO_INTERVALS`.
      interval: first and last length that EAO averages over, instead of the year's.
      repetitions: runs that the toolkit does on each sequence (the challenges: 15, or 3 if
        these are equal).
      results: rows by label and sequence that are there already.

    Returns:
      The folder, absolute.

    Raises:
      InputError: if the folder is in use or cannot be written to, or frames are missing.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder}: is not empty; give a new folder for the workspace")
    folder = make_folder(folder).resolve()
    low, high = eao_interval(year, interval)
    stack = {
        "title": f"VOT{year} rules by cdjax",
        "experiments": {
            _EXPERIMENT: {
                "type": "supervised",
                "repetitions": repetitions,
                "skip_initialize": SKIP,
                "analyses": [
                    {"type": "supervised_average_ar", "sensitivity": SENSITIVITY},
                    {"type": "supervised_eao_score", "low": low, "high": high},
                    {"type": "supervised_eao_curve"},
                ],
            }
        },
    }
    config = {"stack": "stack.yaml", "registry": ["./trackers.ini"], "sequences": "sequences"}
    for name, content in (("stack.yaml", stack), ("config.yaml", config)):  # JSON is YAML too
        (folder / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    write_vot_trackers(folder / "trackers.ini", trackers)
    names = [_write_sequence(folder / "sequences", sequence) for sequence in sequences]
    listed = "".join(f"{name}\n" for name in names)
    (folder / "sequences" / "list.txt").write_text(listed, encoding="utf-8")
    for label, by_sequence in (results or {}).items():
        for name, rows in by_sequence.items():
            place = folder / "results" / vot_identifier(label) / _EXPERIMENT / name
            place.mkdir(parents=True)
            text = format_rows(rows)
            (place / f"{name}_001.txt").write_text(text, encoding="ascii")
    return folder


def _write_sequence(root: Path, sequence: Sequence) -> str:
    """Writes a sequence in VOT's layout; returns its name."""
    if not sequence.frame_paths:
        raise InputError(f"{sequence.name}: no frames; vot-toolkit needs them")
    folder = root / sequence.name
    (folder / "color").mkdir(parents=True)
    suffix = sequence.frame_paths[0].suffix
    for number, path in enumerate(sequence.frame_paths, start=1):
        link = folder / "color" / f"{number:08d}{suffix}"
        if not path.is_file():
            raise InputError(f"{path}: frame is missing; restore it")
        try:
            link.symlink_to(path.resolve())
        except OSError:
            shutil.copyfile(path, link)
    (folder / "groundtruth.txt").write_text(format_rows(regions_of(sequence)), encoding="ascii")
    for tag, where in sequence.frame_tags.items():
        text = "".join(f"{int(flag)}\n" for flag in where)
        (folder / f"{tag}.tag").write_text(text, encoding="ascii")
    height, width = sequence.hw or read_image(sequence.frame_paths[0]).shape[:2]
    about = {
        "name": sequence.name,
        "fps": 30,
        "format": "default",
        "channel.default": "color",
        "channels.color": f"color/%08d{suffix}",
        "width": width,
        "height": height,
    }
    text = "".join(f"{key}={value}\n" for key, value in about.items())
    (folder / "sequence").write_text(text, encoding="utf-8")
    return sequence.name


def run_vot_toolkit(workspace: Path, command: str, *arguments: str) -> str:
    """Runs `vot COMMAND` in a workspace.

    Args:
      workspace: its folder.
      command: "evaluate", "analysis", "report", ...
      arguments: what follows.

    Returns:
      What it printed.

    Raises:
      InputError: without the extra, or with the last thing that the toolkit said.
    """
    if importlib.util.find_spec("vot") is None:
        raise InputError("vot-toolkit is not installed; pip install cdjax[vot]")
    done = subprocess.run(
        [sys.executable, "-c", _START, command, "--workspace", str(workspace), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **_SETTINGS},
        check=False,
    )
    said = (done.stdout + done.stderr).strip()
    if done.returncode or _SUCCESS.get(command, "") not in said:  # it exits with 0 on errors
        last = next((line for line in reversed(said.splitlines()) if line.strip()), "nothing")
        raise InputError(f"{workspace}: vot {command} failed, saying: {last.strip()}")
    return said


def judge_vot_workspace(workspace: Path, trackers: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Runs the toolkit's analysis.

    Args:
      workspace: made by `make_vot_workspace`, with results of the trackers.
      trackers: their labels.

    Returns:
      For each label "accuracy", "weighted_failures", "reliability", "eao" and "eao_curve",
      named as in `VOTScore` and to be compared with its preset "vot-toolkit".

    Raises:
      InputError: as `run_vot_toolkit`, or if a tracker lacks results.
    """
    labels = list(trackers)
    keys = [vot_identifier(label) for label in labels]
    run_vot_toolkit(workspace, "analysis", "--format", "json", "--name", "cdjax", *keys)
    path = workspace / "analysis" / "cdjax.json"
    analyses = json.loads(path.read_text(encoding="utf-8"))["results"][_EXPERIMENT]["results"]
    figures = {}
    for label, robust, eao, curve in zip(labels, *analyses, strict=True):
        if None in (robust, eao, curve):
            raise InputError(f"{workspace}: {label} lacks results; run vot evaluate")
        accuracy, failures, (reliability, _), _ = robust
        figures[label] = {
            "accuracy": accuracy,
            "weighted_failures": failures,
            "reliability": reliability,
            "eao": eao[0],
            "eao_curve": np.array(curve[0], np.float64),
        }
    return figures


def read_vot_workspace(workspace: Path, label: str) -> dict[str, list[list[Row]]]:
    """Reads what the toolkit recorded when it ran a tracker itself.

    Args:
      workspace: its folder.
      label: of the tracker.

    Returns:
      By sequence, a list of repetitions, as `score_supervised` takes it.

    Raises:
      InputError: if there is none, or naming the line that cannot be read.
    """
    root = workspace / "results" / vot_identifier(label) / _EXPERIMENT
    runs: dict[str, list[list[Row]]] = {}
    for path in sorted(root.glob("*/*_[0-9][0-9][0-9].txt")):
        runs.setdefault(path.parent.name, []).append(read_vot_rows(path))
    if not runs:
        raise InputError(f"{root}: no results; run vot evaluate")
    return runs
