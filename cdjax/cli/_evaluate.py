"""`cdjax evaluate`: one-pass evaluation over a dataset on disk."""

import argparse
import sys
from pathlib import Path
from typing import Any

from cdjax._errors import InputError
from cdjax.benchmark._datasets import DATASETS
from cdjax.cli import _interrupt
from cdjax.cli._devices import share_cores
from cdjax.cli._track import positive


def add_parser(subparsers: Any) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "evaluate",
        help="score trackers over a dataset",
        description="Runs each tracker once over each sequence and scores it by OTB's "
        "rules. Writes RESULTS/TRACKER/SEQUENCE.txt (x,y,w,h, pixels from 1), records beside "
        "them, and RESULTS/summary.json, which holds the trackers of the last run.",
    )
    parser.add_argument(
        "--dataset",
        required=True,
        choices=tuple(DATASETS),
        metavar="NAME",
        help=f"one of {', '.join(DATASETS)}; otb takes all targets found, otb2013, otb50 "
        "and otb100 those of the benchmark; folder takes otb's and vot's layout, as each "
        "sequence's files show",
    )
    parser.add_argument(
        "--root", required=True, type=Path, metavar="DIR", help="folder of sequences"
    )
    parser.add_argument(
        "--tracker",
        required=True,
        action="append",
        dest="trackers",
        metavar="NAME",
        help="repeat it to compare",
    )
    parser.add_argument(
        "--weights",
        metavar="NAME_OR_PATH",
        help="weights for all trackers that need some, instead of their own",
    )
    parser.add_argument("--sequences", metavar="A,B", help="only these, by name (default: all)")
    parser.add_argument("--max-frames", type=positive, metavar="N", help="first N frames of each")
    parser.add_argument(
        "--results", required=True, type=Path, metavar="DIR", help="made if need be"
    )
    parser.add_argument(
        "--resume", action="store_true", help="keep the finished runs of an earlier call"
    )
    parser.add_argument(
        "--batch_size",
        type=positive,
        default=1,
        metavar="N",
        help="run N sequences of a tracker side by side, in one program (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    from cdjax.benchmark import (
        Progress,
        evaluate,
        make_entries,
        missing_targets,
        select_targets,
    )

    share_cores(args.batch_size)
    targets = DATASETS[args.dataset](args.root)
    if args.sequences is not None:
        names = [name.strip() for name in args.sequences.split(",") if name.strip()]
        targets = select_targets(targets, names)
    if not targets:
        raise InputError("--sequences names none; give names apart by commas")
    entries = make_entries(args.trackers, weights=args.weights)
    if args.weights is not None:
        bare = [entry.name for entry in entries if not entry.params]
        if bare:
            print(f"--weights is not used by {', '.join(bare)}, which need none")

    class Interruptible(Progress):
        """Progress that also asks for a signal that went astray."""

        def frame(self, unit: Any, done: int, of: int) -> None:
            _interrupt.check()
            super().frame(unit, done, of)

    with Interruptible(sys.stdout) as watch:
        summary = evaluate(
            entries,
            targets,
            args.results,
            dataset=args.dataset,
            root=args.root,
            max_frames=args.max_frames,
            resume=args.resume,
            batch_size=args.batch_size,
            watch=watch,
        )
    print(table(summary))
    print(f"wrote {args.results / 'summary.json'}")
    if args.sequences is None and (missing := missing_targets(args.dataset, args.root)):
        print(f"not there, so not in the means: {', '.join(missing)}")
    for name, sequence in summary["running_elsewhere"]:
        print(f"still run by another process: {name} on {sequence}")
    failures = summary["failures"]
    if not failures:
        return 0
    for failure in failures:
        print(
            f"failed: {failure['tracker']} on {failure['sequence']}: "
            f"{failure['kind']}{': ' * bool(failure['kind'])}{failure['error']}"
        )
    if any(failure["kind"] for failure in failures):
        print(f"cdjax: error: {len(failures)} runs failed", file=sys.stderr)
        return 1
    raise InputError(
        f"{len(failures)} of {len(entries) * len(targets)} runs failed (listed above "
        f"and in summary.json), the first of them: {failures[0]['error']}"
    )


def table(summary: dict[str, Any]) -> str:
    """Renders a summary: a row a sequence and a mean for each tracker."""
    rows = summary["trackers"]
    width = max(len("sequence"), *(len(n) for row in rows for n in row["sequences"]), 4)
    lines = []
    for row in rows:
        lines.append(f"{row['tracker']} ({summary['dataset']}, OTB's rules, one pass)")
        lines.append(f"{'sequence':{width}}   AUC   P@20  channels     fps  frames")
        named = [*row["sequences"].items(), ("mean", row)]
        lines += [
            f"{name:{width}} {f['success_auc']:5.3f}  {f['precision_20']:5.3f} "
            f"{f['mean_channels']:9.1f} {'-' if f['fps'] is None else format(f['fps'], '.1f'):>7} "
            f"{f['frames']:7d}"
            for name, f in named
        ]
        lines.append("")
    return "\n".join(lines).rstrip()
