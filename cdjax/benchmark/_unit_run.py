"""A unit on its way: what it reads, writes and publishes, however it is run."""

import platform
import time
from collections import deque
from collections.abc import Iterable
from collections.abc import Sequence as AnySequence
from pathlib import Path
from typing import Any

from cdjax.benchmark._entries import Entry
from cdjax.benchmark._ope import Totals
from cdjax.benchmark._protocols import PROTOCOLS
from cdjax.benchmark._results import BoxWriter, make_folder, named_errors, versions, write_json
from cdjax.benchmark._runner import FrameRecord
from cdjax.benchmark._sequence import Target, first_frames
from cdjax.benchmark._workdir import Unit, files_of, sha256_of
from cdjax.trackers._model import channels_by_layer


class Watch:
    """Hears of the progress of `run_experiment`; does nothing by itself."""

    def begin(self, units: AnySequence[Unit]) -> None:
        """Is told the units of this process, finished ones included."""

    def frame(self, unit: Unit, done: int, of: int) -> None:
        """Is told after each frame."""

    def unit(self, unit: Unit, how: str) -> None:
        """Is told of a unit that is "done", "failed", or was "found" finished."""


class UnitRun:
    """A unit whose claim the caller holds, from its old files' removal to its new record.

    Attributes:
      unit: the unit.
      files: where its files lie.
      sequence: the frames that count.
      protocol: how it is run.
    """

    def __init__(
        self,
        workdir: Path,
        target: Target,
        unit: Unit,
        *,
        settings: dict[str, Any],
        description: dict[str, Any],
        watch: Watch | None = None,
    ):
        """Removes what an earlier run left, and reads the annotations.

        Args:
          workdir: folder of results.
          target: the sequence.
          unit: the unit.
          settings: of the experiment.
          description: of the tracker, as `describe` gives it.
          watch: hears of frames.

        Raises:
          InputError: for bad annotations.
          WriteError: if a file cannot be written.
        """
        self.unit, self.files = unit, files_of(workdir, unit)
        self._description, self._watch = description, watch
        self._states: deque[Any] = deque(maxlen=2)
        self._by_layer: dict[str, int] | None = None
        make_folder(self.files.times.parent)
        with named_errors(self.files.record):
            self.files.record.unlink(missing_ok=True)
            self.files.boxes.unlink(missing_ok=True)
        self.sequence = first_frames(target.read(), settings["max_frames"])
        self.protocol = PROTOCOLS[settings["protocol"]]

    def on_record(self, record: FrameRecord) -> None:
        """Takes note of a frame.

        Args:
          record: of the frame.
        """
        if record.state is not None:
            self._states.append(record.state)
        if self._watch is not None:
            num_frames = len(self.sequence.frame_paths)
            self._watch.frame(self.unit, record.frame_index + 1, num_frames)

    def count_layers(self) -> None:
        """Counts the channels kept of each layer, and lets go of the states seen so far."""
        self._by_layer = _by_layer(self._description["layers"], self._states) or self._by_layer
        self._states.clear()

    def publish(self, totals: Totals, scores: dict[str, Any]) -> None:
        """Writes clocks and, last of all, the record; the boxes are in their place.

        Args:
          totals: clocks and counts.
          scores: figures for the record.
        """
        self.count_layers()
        first_frame, first = 0, self.protocol.first_frame
        if first is not None:
            first_frame = first(self.sequence, self.unit.start or 0)
        found = versions()
        device = found.pop("device")
        write_json(
            self.files.times,
            {
                "fps": totals.fps,
                "track_seconds": totals.seconds,
                "compile_seconds": totals.compile_seconds,
                "decode_seconds": totals.decode_seconds,
                "step_ms_median": totals.step_ms_median,
                "step_ms_p95": totals.step_ms_p95,
                "host": platform.node(),
                "finished_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            },
        )
        write_json(
            self.files.record,
            {
                "unit": self.unit._asdict(),
                "config_hash": self._description["config_hash"],
                "versions": found,
                "device": device,
                "seed": self.unit.seed,
                "frames": totals.num_frames,
                "first_frame": first_frame,
                "sequence_frames": len(self.sequence.frame_paths),
                "num_channels": totals.num_channels,
                "channels_by_layer": self._by_layer,
                "boxes_sha256": sha256_of(self.files.boxes.read_bytes()),
                "scores": scores,
            },
        )


def run_unit(
    workdir: Path,
    entry: Entry,
    target: Target,
    unit: Unit,
    *,
    settings: dict[str, Any],
    description: dict[str, Any],
    watch: Watch | None = None,
) -> None:
    """Runs a unit and publishes its files; the caller holds its claim.

    Args:
      workdir: folder of results.
      entry: the tracker.
      target: the sequence.
      unit: the unit.
      settings: of the experiment.
      description: of the tracker, as `describe` gives it.
      watch: hears of frames.

    Raises:
      InputError: for bad frames or annotation.
      WriteError: if a file cannot be written.
    """
    running = UnitRun(
        workdir, target, unit, settings=settings, description=description, watch=watch
    )
    with BoxWriter(running.files.boxes, atomic=True) as writer:
        totals, scores = running.protocol.run(
            entry, running.sequence, unit.start, unit.seed, writer, running.on_record
        )
    running.publish(totals, scores)


def _by_layer(layers: dict[str, int] | None, states: Iterable[Any]) -> dict[str, int] | None:
    """Channels kept of each layer, in the last state that has distilled; None if not known."""
    known = [
        state
        for state in states
        if hasattr(state, "selected")
        and not state.frame_index.is_deleted()  # as it is once the next step has had the state
        and state.frame_index > 0
    ]
    return channels_by_layer(layers, known[-1]) if layers and known else None
