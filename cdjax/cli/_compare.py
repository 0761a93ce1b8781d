"""`cdjax compare`: two runs, target by target."""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

from cdjax._errors import InputError
from cdjax.cli._report import (
    add_truth_options,
    benchmark_of,
    ground_truth,
    imported,
    score_all,
    targets_of,
    to_json,
    write_whole,
)


class _Side(NamedTuple):
    """What one of the two words names: a tracker of an experiment, or a place of results."""

    path: Path
    label: str
    experiment: Any = None


def add_parser(subparsers: Any) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "compare",
        help="compare two runs target by target",
        description="Tells the paired difference of two trackers on the targets that both "
        "have, with its interval, and where it comes from. A and B are WORKDIR/LABEL (or a "
        "WORKDIR of one tracker), a folder of result files of any toolkit, or a .npz.",
    )
    parser.add_argument("a", type=Path, metavar="A", help="the run")
    parser.add_argument("b", type=Path, metavar="B", help="what it is compared with")
    parser.add_argument(
        "--most", type=int, default=10, metavar="N", help="gains and losses shown (default: 10)"
    )
    parser.add_argument("--format", choices=("md", "csv", "json"), default="md")
    parser.add_argument("--out", type=Path, metavar="PATH", help="default: printed")
    add_truth_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    from cdjax.benchmark._entrants import common_targets, entrants_of, import_entrant
    from cdjax.benchmark._grids import to_csv, to_markdown, to_records
    from cdjax.benchmark._report import compare_grids, fitted_grid, left_out_grid, overall_grid
    from cdjax.benchmark._results import check_writable

    if args.most < 1:
        raise InputError(f"--most {args.most}: must be at least 1")
    if args.out is not None:
        check_writable(args.out, renamed=True)
    sides = _labelled([_resolve(args.a), _resolve(args.b)])
    settings, names = _experiment_of(sides, args)
    sequences, truth, unread = ground_truth(
        settings, names, root=args.root, annotations=args.annotations
    )
    benchmark = benchmark_of(settings["dataset"])
    entrants = []
    for side in sides:
        if side.experiment is None:
            entrant, _ = import_entrant(
                side.label, side.path, sequences, protocol=settings["protocol"]
            )
        else:
            entrant = next(
                one
                for one in entrants_of(side.experiment, sequences, benchmark=benchmark)
                if one.label == side.path.name
            )
        entrants.append(entrant._replace(label=side.label))
    scored, measures, whole, rules, _ = score_all(
        entrants, sequences, settings, benchmark=benchmark, preset=args.preset
    )
    names = [sequence.name for sequence in sequences] + list(unread)
    common = common_targets(scored, names)
    grids = [
        overall_grid(scored, common, names, measures, whole),
        *compare_grids(scored[0], scored[1], names, measures[:2], most=args.most),
        *(_difference(sides) if all(side.experiment for side in sides) else []),
        *(grid for grid in (left_out_grid(scored, names), fitted_grid(scored)) if grid.rows),
    ]
    title = f"{sides[0].label} against {sides[1].label}"
    facts = {side.label: str(side.path) for side in sides}
    facts |= {"dataset": settings["dataset"], "ground truth": truth, "rules": rules}
    if args.format == "json":
        text = to_json({"title": title, "facts": facts, "tables": list(map(to_records, grids))})
    elif args.format == "csv":
        text = to_csv(grids)
    else:
        lines = "".join(f"- {key}: {value}\n" for key, value in facts.items())
        text = "\n".join([f"# {title}\n\n{lines}", *map(to_markdown, grids)])
    if args.out is None:
        print(text, end="")
    else:
        write_whole(args.out, text.encode())
        print(f"wrote {args.out}")
    return 0


def _resolve(path: Path) -> _Side:
    """Finds out what a word names."""
    from cdjax.benchmark._sequence import unknown
    from cdjax.benchmark._workdir import load_workdir

    if (path / "experiment.json").exists():
        experiment = load_workdir(path)
        if len(experiment.trackers) != 1:
            labels = ", ".join(experiment.trackers)
            raise InputError(f"{path}: has several trackers; add one of them: {labels}")
        return _Side(path / next(iter(experiment.trackers)), path.name, experiment)
    if (path.parent / "experiment.json").exists() and path.suffix != ".npz":
        experiment = load_workdir(path.parent)
        if path.name not in experiment.trackers:
            labels = list(experiment.trackers)
            raise InputError(f"{path.parent}: {unknown('tracker', path.name, labels)}")
        return _Side(path, path.name, experiment)
    if not path.exists():
        raise InputError(f"{path}: no such folder or file; give WORKDIR/LABEL or results")
    return _Side(path, path.stem if path.suffix == ".npz" else path.name)


def _labelled(sides: list[_Side]) -> list[_Side]:
    """Makes the labels differ: by folders, as far as needed."""
    if sides[0].path.resolve() == sides[1].path.resolve():
        raise InputError(f"{sides[0].path}: compared with itself; give two runs")
    if sides[0].label == sides[1].label:
        return [side._replace(label=str(side.path)) for side in sides]
    return sides


def _experiment_of(
    sides: list[_Side], args: argparse.Namespace
) -> tuple[dict[str, Any], list[str] | None]:
    """Returns the settings that hold for both sides, and the targets (None: all)."""
    ours = [side.experiment for side in sides if side.experiment is not None]
    if not ours:
        return imported(args).settings, None
    first, last = ours[0], ours[-1]
    for key in ("dataset", "protocol", "preset", "max_frames"):
        if first.settings[key] != last.settings[key]:
            raise InputError(
                f"{last.path}: {key} is {last.settings[key]!r}, in {first.path} "
                f"{first.settings[key]!r}; compare runs of one experiment"
            )
    return first.settings, list(dict.fromkeys([*targets_of(first), *targets_of(last)]))


def _difference(sides: list[_Side]) -> list[Any]:
    """Tables the options, weights and versions in which two runs of ours differ."""
    from cdjax.benchmark._grids import Column, Grid

    told = []
    for side in sides:
        described = side.experiment.trackers[side.path.name]
        known = {f"config.{k}": v for k, v in (described.get("config") or {}).items()}
        known |= {key: described.get(key) for key in ("weights", "weights_sha256")}
        for run in side.experiment.runs:
            if run.label == side.path.name:
                known |= {f"version of {k}": v for k, v in run.record["versions"].items()}
                known["device"] = run.record["device"]
        told.append(known)
    keys = [key for key in told[0] | told[1] if told[0].get(key) != told[1].get(key)]
    rows = tuple((key, str(told[0].get(key)), str(told[1].get(key))) for key in keys)
    columns = tuple(Column(name, words=True) for name in ("Entry", *(s.label for s in sides)))
    return [Grid("Differing entries", columns, rows, () if rows else ("None.",))]
