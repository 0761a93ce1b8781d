"""`cdjax replay`: runs a result again and compares."""

import argparse
import sys
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "replay",
        help="run a result again and compare",
        description="Runs a result of `cdjax evaluate` or experiments/run_benchmark.py again, "
        "with the tracker, weights and dataset that its files name, and compares the boxes. "
        "Exit code 0: identical; 1: not.",
    )
    parser.add_argument(
        "result", type=Path, metavar="RESULT", help="WORKDIR/TRACKER/SEQUENCE.json or .txt"
    )
    parser.add_argument(
        "--dataset-root", type=Path, metavar="DIR", help="where the dataset lies, if it has moved"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    from cdjax.benchmark import Progress, replay

    with Progress(sys.stderr) as watch:
        found = replay(args.result, dataset_root=args.dataset_root, watch=watch)
    for note in found.notes:
        print(f"note: {note}")
    name = f"{found.unit.label} on {found.unit.stem}"
    if found.identical:
        print(f"{name}: identical, {found.num_frames} frames")
        return 0
    where = "in its form" if found.first_frame is None else f"from frame {found.first_frame + 1}"
    print(f"{name}: differs {where} of {found.num_frames}, by up to {found.largest_px:.4g} px")
    return 1
