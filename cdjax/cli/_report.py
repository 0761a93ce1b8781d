"""`cdjax report`: tables and plots of a folder of results, finished or not."""

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cdjax._errors import InputError

FORMATS = ("md", "csv", "json", "html")


def add_parser(subparsers: Any) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "report",
        help="tables and plots of an experiment, at any time",
        description="Reads the finished runs of a folder that `cdjax evaluate` or "
        "experiments/run_benchmark.py made, and compares the trackers on the targets that all "
        "of them have. Says what is done, pending and failed, and lists what is left out.",
    )
    parser.add_argument(
        "workdir",
        type=Path,
        nargs="?",
        metavar="WORKDIR",
        help="folder of results; without one, --import and --dataset say what is reported",
    )
    parser.add_argument(
        "--baseline", metavar="NAME", help="tracker that the others are compared with, in pairs"
    )
    parser.add_argument(
        "--attributes", action="store_true", help="tables by attribute (html: always)"
    )
    parser.add_argument(
        "--format", choices=FORMATS, default="md", help="default: md; csv has a line a figure"
    )
    parser.add_argument(
        "--out", type=Path, metavar="PATH", help="default: printed; html: WORKDIR/report.html"
    )
    parser.add_argument(
        "--import",
        action="append",
        default=[],
        dest="imports",
        metavar="LABEL=PATH",
        help="another tracker's results (folder of text files, or .npz), drawn beside; repeatable",
    )
    parser.add_argument("--plots", type=Path, metavar="DIR", help="also write plots, PNG and PDF")
    add_truth_options(parser)
    parser.set_defaults(run=run)


def add_truth_options(parser: Any) -> None:
    """Adds the options that say what results are scored against."""
    parser.add_argument(
        "--dataset",
        default="otb100",
        metavar="NAME",
        help="of results that are in no WORKDIR: otb100 (default), otb50, otb2013, tc128, "
        "vot2017, vot2018, vot2019; from annotation files, or with --root any dataset",
    )
    parser.add_argument(
        "--protocol",
        default="ope",
        choices=("ope", "vot_supervised", "vot_unsupervised"),
        help="of results that are in no WORKDIR (default: ope)",
    )
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help="whose rules: otb (the default), got10k, pytracking or pysot; for VOT challenge "
        "(the default) or vot-toolkit",
    )
    parser.add_argument(
        "--root", type=Path, metavar="DIR", help="dataset, if not where the experiment found it"
    )
    parser.add_argument(
        "--annotations",
        type=Path,
        metavar="DIR",
        help="take ground truth from annotation files (otb100.json, ...), not from the dataset",
    )


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    from cdjax.benchmark._grids import to_csv, to_markdown, to_records
    from cdjax.benchmark._results import check_writable, make_folder

    out = args.out
    if args.format == "html":
        out = args.out or (args.workdir or Path()) / "report.html"
    report = report_of(args)
    if out is not None:
        check_writable(out, renamed=True)
    if args.plots is not None:
        make_folder(args.plots)
    plots: dict[str, dict[str, bytes]] = {}
    if args.format == "html" or args.plots is not None:
        from cdjax.benchmark._plots import draw_report

        formats = ["svg"] * (args.format == "html") + ["png", "pdf"] * (args.plots is not None)
        plots = draw_report(report, formats=formats)
    if args.format == "html":
        from cdjax.benchmark._html import render_html

        text = render_html(report, {name: files["svg"] for name, files in plots.items()})
    elif args.format == "csv":
        text = to_csv(report.grids)
    elif args.format == "json":
        content = {
            "title": report.title,
            "facts": report.facts,
            "common_targets": report.common,
            "tables": [to_records(grid) for grid in report.grids],
            "failures": report.failures,
        }
        text = to_json(content)
    else:
        facts = "".join(f"- {key}: {value}\n" for key, value in report.facts.items())
        shown = [grid for grid in report.grids if not grid.is_long]
        failed = "".join(
            f"- {f['label']} on {f['sequence']}: {f['error']}\n" for f in report.failures
        )
        failures = [f"## Failures\n\n{failed}"] if failed else []
        parts = [f"# {report.title}\n\n{facts}", *map(to_markdown, shown), *failures]
        text = "\n".join(parts) + "\nEach target's figures: --format csv, json or html.\n"
    if args.plots is not None:
        for name, files in plots.items():
            for suffix in ("png", "pdf"):
                write_whole(args.plots / f"{name}.{suffix}", files[suffix])
    if out is None:
        print(text, end="")
    else:
        write_whole(out, text.encode())
        print(f"wrote {out}")
    if args.plots is not None:
        print(f"wrote {2 * len(plots)} plots to {args.plots}")
    return 0


def to_json(content: Any) -> str:
    """Renders finite JSON."""
    from cdjax.benchmark._results import finite

    return json.dumps(finite(content), indent=1, allow_nan=False) + "\n"


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file that is there whole or not at all."""
    from cdjax.benchmark._results import named_errors, part_of, renamed_onto

    path = renamed_onto(path)
    with named_errors(path):
        try:
            part_of(path).write_bytes(content)
            os.replace(part_of(path), path)
        except OSError:
            part_of(path).unlink(missing_ok=True)
            raise


def report_of(args: argparse.Namespace) -> Any:
    """Reads, scores and tables an experiment."""
    from cdjax.benchmark._entrants import entrants_of, import_entrant
    from cdjax.benchmark._grids import Column, Grid
    from cdjax.benchmark._report import make_report
    from cdjax.benchmark._sequence import unknown
    from cdjax.benchmark._workdir import load_workdir

    if args.workdir is None and not args.imports:
        raise InputError("nothing to report: give a WORKDIR, or --import LABEL=PATH")
    experiment = imported(args) if args.workdir is None else load_workdir(args.workdir)
    settings = experiment.settings
    names = None if args.workdir is None else targets_of(experiment)
    sequences, truth, unread = ground_truth(
        settings, names, root=args.root, annotations=args.annotations
    )
    benchmark = benchmark_of(settings["dataset"])
    entrants = entrants_of(experiment, sequences, benchmark=benchmark)
    rows = []
    for label, path in parse_imports(args.imports, [entrant.label for entrant in entrants]):
        entrant, others = import_entrant(label, path, sequences, protocol=settings["protocol"])
        entrants.append(entrant)
        rows.append((label, str(path), len(others), ", ".join(others) or "none"))
    labels = [entrant.label for entrant in entrants]
    if args.baseline is not None and args.baseline not in labels:
        raise InputError(unknown("tracker", args.baseline, labels))
    scored, measures, whole, rules, interval = score_all(
        entrants, sequences, settings, benchmark=benchmark, preset=args.preset
    )
    for one in scored:
        one.omitted.update({name: why for name, why in unread.items() if name not in one.omitted})
    report = make_report(
        scored,
        [*sequences, *map(_unread, unread)],
        title=f"{args.workdir.resolve().name if args.workdir else 'Imported results'}: "
        f"{settings['dataset']}, {settings['protocol']}",
        facts={**facts_of(experiment), "rules": rules, "ground truth": truth},
        measures=measures,
        whole=whole,
        baseline=args.baseline,
        attributes=args.attributes or args.format == "html" or args.plots is not None,
        subsets=subsets_of(benchmark),
        failures=experiment.failures,
        preset=args.preset or settings["preset"],
        protocol=settings["protocol"],
        eao_interval=interval,
    )
    if rows:
        texts = ("Tracker", "From", "Of no target here", "Which")
        columns = tuple(Column(name, words=name != "Of no target here") for name in texts)
        cut = settings["max_frames"]
        notes = (f"Only the first {cut} frames of each target count.",) if cut else ()
        report.grids.append(Grid("Imported results", columns, tuple(rows), notes))
    return report


def score_all(
    entrants: list[Any],
    sequences: list[Any],
    settings: Mapping[str, Any],
    *,
    benchmark: str | None,
    preset: str | None,
) -> tuple[list[Any], Any, Any, str, tuple[int, int] | None]:
    """Scores entrants by the rules of the experiment's protocol, or of another preset.

    Returns:
      The scored entrants, what every target has, what only all have together, the rules in
      words, and for EAO the frames after a start that it is a mean over.
    """
    from cdjax.benchmark._entrants import OPE_MEASURES, VOT_PROTOCOLS, score_entrant, score_vot
    from cdjax.benchmark._metrics import find_preset

    protocol, frames = settings["protocol"], settings["max_frames"]
    measures, whole, interval = OPE_MEASURES, (), None
    if protocol in VOT_PROTOCOLS:
        year = int(benchmark[3:]) if benchmark and benchmark.startswith("vot") else 2017
        scored, rules = score_vot(
            entrants,
            sequences,
            protocol=protocol,
            year=year,
            preset=preset or "challenge",
            max_frames=frames,
        )
        measures, whole = VOT_PROTOCOLS[protocol]
        if "interval" in rules:
            first, last = (length - rules["count_start"] for length in rules["interval"])
            interval = (first, last)
    else:
        found = find_preset(preset or settings["preset"])
        rules = found.describe()
        scored = [
            score_entrant(entrant, sequences, preset=found.name, max_frames=frames)
            for entrant in entrants
        ]
    words = "; ".join(
        f"{key.replace('_', ' ')}: {value}" for key, value in rules.items() if key != "name"
    )
    words = f"{rules['name']} ({words})" if rules else ""
    return scored, measures, whole, words, interval


def imported(args: argparse.Namespace) -> Any:
    """An experiment of no runs, in which results from elsewhere are compared."""
    from cdjax.benchmark._workdir import Experiment

    settings = {"dataset": args.dataset, "protocol": args.protocol, "preset": "otb"}
    settings |= {"max_frames": None, "dataset_root": None}
    return Experiment(Path(), settings, {}, [], [], [])


def targets_of(experiment: Any) -> list[str]:
    """Lists the targets of an experiment, in the order of its units."""
    units = [*experiment.runs, *experiment.pending]
    names = [unit.sequence for unit in units] + [f["sequence"] for f in experiment.failures]
    return list(dict.fromkeys(names))


def _unread(name: str) -> Any:
    """A target whose ground truth cannot be read."""
    import numpy as np

    from cdjax.benchmark._sequence import Sequence

    return Sequence(name, (), np.zeros((0, 4)))


def parse_imports(words: list[str], taken: list[str]) -> list[tuple[str, Path]]:
    """Reads LABEL=PATH words; each label may be used once."""
    found: list[tuple[str, Path]] = []
    for word in words:
        label, equals, path = word.partition("=")
        if not (label and equals and path):
            raise InputError(f"--import {word!r} is not LABEL=PATH, as in KCF=results/KCF.npz")
        if label in [*taken, *(name for name, _ in found)]:
            raise InputError(f"--import {word!r}: there is a tracker {label!r} already; rename it")
        found.append((label, Path(path)))
    return found


def benchmark_of(dataset: str) -> str | None:
    """Returns the benchmark whose annotation files hold a dataset, or None."""
    from cdjax.benchmark._annotations import FILES

    name = {"otb": "otb100", "vot": "vot2017"}.get(dataset, dataset)
    return name if name in FILES else None


def ground_truth(
    settings: Mapping[str, Any],
    names: list[str] | None,
    *,
    root: Path | None,
    annotations: Path | None,
) -> tuple[list[Any], str, dict[str, str]]:
    """Reads the ground truth of an experiment's targets; names None stands for all.

    Returns:
      The sequences, where they come from, and target -> why its truth cannot be read.
    """
    from cdjax.benchmark._annotations import load_annotations
    from cdjax.benchmark._datasets import list_targets

    dataset, benchmark = settings["dataset"], benchmark_of(settings["dataset"])
    recorded = settings.get("dataset_root")
    place = root or (Path(recorded) if recorded else None)
    if annotations is None and place is not None and (root is not None or place.is_dir()):
        by_name = {target.name: target for target in list_targets(dataset, place)}
        sequences, unread = [], {}
        for name in list(by_name) if names is None else names:
            try:
                if name not in by_name:
                    raise InputError(f"not in {place}")
                sequences.append(by_name[name].read())
            except InputError as error:
                unread[name] = f"no ground truth: {error}"
        return sequences, str(place), unread
    if benchmark is None:
        raise InputError(
            f"{place or dataset}: no such folder, and no annotation files of dataset {dataset}; "
            "give its folder with --root"
        )
    known = {seq.name: seq for seq in load_annotations(benchmark, folder=annotations)}
    names = list(known) if names is None else names
    unread = {n: f"no ground truth: not in {benchmark}" for n in names if n not in known}
    source = f"annotation files of {benchmark}"
    if annotations is None and place is not None:
        source += f" ({place} is not there)"
    return [known[name] for name in names if name in known], source, unread


def subsets_of(benchmark: str | None) -> dict[str, list[str]]:
    """Returns the targets of the subsets of OTB."""
    if benchmark != "otb100":
        return {}
    from cdjax.benchmark._tables import read_subset

    return {"TB-50": list(read_subset("otb50")), "CVPR-13": list(read_subset("otb2013"))}


def facts_of(experiment: Any) -> dict[str, str]:
    """Tells what stands beside an experiment's numbers."""
    settings, runs = experiment.settings, experiment.runs
    failed, pending = len(experiment.failures), len(experiment.pending)
    frames = settings["max_frames"]
    facts = {
        "dataset": settings["dataset"],
        "protocol": settings["protocol"] + (f", first {frames} frames of each" if frames else ""),
        "runs": f"{len(runs)} of {len(runs) + failed + pending} done, "
        f"{pending} pending, {failed} failed",
    }
    if not experiment.trackers:
        del facts["runs"]
    seen: dict[str, None] = {}  # usually one of each
    for run in runs:
        seen |= {f"{name} {number}": None for name, number in run.record["versions"].items()}
    if runs:
        facts["made by"] = ", ".join(seen)
        facts["device"] = ", ".join(dict.fromkeys(str(run.record["device"]) for run in runs))
    hosts = sorted({run.times["host"] for run in runs if run.times.get("host")})
    if hosts:
        facts["fps"] = (
            f"frames / (first-frame and step time), no decoding, no compilation; measured on "
            f"{', '.join(hosts)}"
        )
    return facts
