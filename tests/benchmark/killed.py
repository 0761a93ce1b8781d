"""Runs an experiment with the fake tracker, slowly enough to be killed: DATA WORKDIR SHARD OF."""

import sys
import time
from pathlib import Path

import numpy as np
from fake_tracker import make_tracker

from cdjax.benchmark import Entry, Watch, list_otb, run_experiment

SETTINGS = {
    "dataset": "otb",
    "protocol": "ope",
    "max_frames": None,
    "preset": "otb",
    "dataset_root": None,
}


def entries():
    """Two trackers that differ in their weights."""
    tracker = make_tracker(8, 4)
    return [Entry(f"gain{g}", tracker, {"gain": np.float32(g)}) for g in (1, 2)]


class Slow(Watch):
    """Tells of the first frame, and takes its time."""

    told = False

    def frame(self, unit, done, of):
        if not self.told:
            print("first frame", flush=True)  # noqa: T201
            self.told = True
        time.sleep(0.004)


def main():
    """Says which units it ran."""
    data, workdir, shard, of = sys.argv[1:]
    tally = run_experiment(
        Path(workdir),
        entries(),
        list_otb(Path(data)),
        settings=SETTINGS,
        shard=(int(shard), int(of)),
        watch=Slow(),
    )
    for unit in tally.done:
        print("ran", unit.label, unit.stem)  # noqa: T201


if __name__ == "__main__":
    main()
