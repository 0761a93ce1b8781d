"""`cdjax score`: result files of any tracker against annotations; no frames needed."""

import argparse
import math
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cdjax._errors import InputError

_NAMES = {"otb100": "OTB-100", "otb50": "TB-50", "otb2013": "CVPR-13", "tc128": "TC-128"}
_VOT_YEARS = {"vot2017": 2017, "vot2018": 2018, "vot2019": 2019}
_TITLES = {
    "success_auc": "AUC",
    "precision_20": "P@20",
    "norm_precision_20": "NP@0.2",
    "success_50": "S@0.5",
}
_COMPARED = ("success_auc", "precision_20")


def add_parser(subparsers: Any) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "score",
        help="score result files against a benchmark's annotations",
        description="Scores trackers' result files against a benchmark's annotations; no "
        "frames are needed. Means come with 95 %% bootstrap intervals over sequences; what "
        "is left out of a mean is listed.",
    )
    parser.add_argument("--dataset", required=True, choices=(*_NAMES, *_VOT_YEARS))
    parser.add_argument(
        "--results",
        required=True,
        action="append",
        type=Path,
        metavar="DIR",
        help="a tracker's folder of text files (x,y,w,h, pixels from 1), or a .npz; for VOT "
        "the folder of <sequence>/<sequence>_001.txt. Repeat it: the others are compared "
        "with the first",
    )
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help="whose rules: otb (the default), got10k, pytracking or pysot; for VOT challenge "
        "(the default) or vot-toolkit",
    )
    parser.add_argument("--attributes", action="store_true", help="means for each attribute, too")
    parser.add_argument(
        "--annotations", type=Path, metavar="DIR", help="folder of the annotation files"
    )
    parser.add_argument(
        "--origin",
        type=int,
        choices=(0, 1),
        default=1,
        help="what the first pixel of the results counts as; not for VOT, whose is 0 (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--no-reset", action="store_true", help="VOT: results without restarts, average overlap"
    )
    parser.add_argument(
        "--json", type=Path, metavar="OUT", help="write everything, also by sequence, to a file"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    from cdjax.benchmark._results import check_writable, write_json

    if args.json is not None:
        check_writable(args.json, renamed=True)
    content, text = _score_vot(args) if args.dataset in _VOT_YEARS else _score_boxes(args)
    if args.json is not None:
        write_json(args.json, content)
        text += f"\nwrote {args.json}"
    print(text)
    return 0


def _score_boxes(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Scores boxes: what goes to JSON, and the text."""
    from cdjax.benchmark._annotations import load_annotations
    from cdjax.benchmark._foreign import read_results
    from cdjax.benchmark._metrics import find_preset
    from cdjax.benchmark._scoring import score_results

    if args.no_reset:
        raise InputError(f"--no-reset is VOT's; {args.dataset} has no restarts")
    preset = find_preset(args.preset or "otb")
    sequences = load_annotations(args.dataset, folder=args.annotations)
    tables = {
        label: score_results(
            read_results(path, sequences, origin=args.origin), sequences, preset=preset
        )
        for label, path in _labels(args.results).items()
    }
    groups = _groups(args.dataset, sequences, by_attribute=args.attributes)
    rows = {label: _means(table, groups) for label, table in tables.items()}
    pairs = _pairs(tables, groups)
    content = {
        "dataset": args.dataset,
        "preset": preset.describe(),
        "intervals": _INTERVALS,
        "results": [
            {
                "label": label,
                "path": str(path),
                "means": rows[label],
                "sequences": _by_sequence(tables[label]),
                "left_out": tables[label].omitted,
                "unknown": list(tables[label].extra),
            }
            for label, path in _labels(args.results).items()
        ],
        "compared_with_first": pairs,
    }
    parts = [_header(preset.describe()), _mean_table(rows, preset.name)]
    parts += [_pair_table(pairs, next(iter(tables)), preset.name)] if pairs else []
    parts += [_remarks(label, table, len(sequences)) for label, table in tables.items()]
    if args.attributes and (bare := [s.name for s in sequences if not s.tags]):
        parts.append(_wrapped(f"without attributes, in no mean of one: {', '.join(bare)}"))
    return content, "\n\n".join(filter(None, parts))


_INTERVALS = {
    "kind": "percentile bootstrap over sequences",
    "level": 0.95,
    "draws": 10_000,
    "seed": 0,
}


def _labels(paths: list[Path]) -> dict[str, Path]:
    """Names results after their folder or file, by the whole path where that is not one."""
    unique, short = list(dict.fromkeys(paths)), []
    for path in unique:
        whole = path.resolve()
        whole = whole.parent if whole.name == "baseline" else whole  # VOT's layout
        short.append(whole.stem if whole.is_file() else whole.name)
    return {
        name if short.count(name) == 1 else str(path): path
        for name, path in zip(short, unique, strict=True)
    }


def _groups(dataset: str, sequences: list[Any], *, by_attribute: bool) -> dict[str, list[str]]:
    """The sequences of each mean: the dataset, its subsets, and attributes if wanted."""
    from cdjax.benchmark._tables import ATTRIBUTES, read_subset

    groups = {_NAMES[dataset]: [sequence.name for sequence in sequences]}
    if dataset == "otb100":
        groups |= {_NAMES[name]: list(read_subset(name)) for name in ("otb50", "otb2013")}
    for tag in ATTRIBUTES if by_attribute else ():
        groups[tag] = [sequence.name for sequence in sequences if tag in sequence.tags]
    return groups


def _means(table: Any, groups: Mapping[str, list[str]]) -> dict[str, Any]:
    """Means with intervals over each group."""
    from cdjax.benchmark._statistics import bootstrap

    rows = {}
    for group, names in groups.items():
        values = {figure: list(table.values(figure, names).values()) for figure in _TITLES}
        rows[group] = {
            "num_sequences": len(values["success_auc"]),
            "of": len(names),
            **{figure: bootstrap(values[figure])._asdict() for figure in _TITLES},
        }
    return rows


def _pair(label: str, group: str, figure: str, num_sequences: int, paired: Any) -> dict[str, Any]:
    """A comparison as JSON has it."""
    return {
        "label": label,
        "group": group,
        "figure": figure,
        "num_sequences": num_sequences,
        **paired._asdict(),
        "difference": paired.difference._asdict(),
    }


def _pairs(tables: Mapping[str, Any], groups: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    """Every tracker against the first, on the sequences that both have."""
    from cdjax.benchmark._statistics import compare_paired

    (_, first), *others = tables.items()
    pairs = []
    for label, table in others:
        for group, names in groups.items():
            both = [name for name in names if name in table.scores and name in first.scores]
            for figure in _COMPARED:
                a, b = (list(t.values(figure, both).values()) for t in (table, first))
                paired = compare_paired(a, b)
                pairs.append(_pair(label, group, figure, len(both), paired))
    return pairs


def _by_sequence(table: Any) -> dict[str, Any]:
    """Figures and curves of every sequence that has a score."""
    return {
        name: {
            **{figure: getattr(score, figure) for figure in _TITLES},
            **score._asdict(),
            "note": table.notes.get(name),
        }
        for name, score in table.scores.items()
    }


def _header(rules: Mapping[str, Any]) -> str:
    """The rules, a line each."""
    lines = [f"preset {rules['name']}"]
    lines += [f"  {key.replace('_', ' ')}: {rule}" for key, rule in rules.items() if key != "name"]
    return "\n".join(lines)


def _mean_table(rows: Mapping[str, Any], preset: str) -> str:
    """A row a tracker and group."""
    cells = [["results", "sequences", "", *_TITLES.values(), "preset"]]
    for label, groups in rows.items():
        for group, row in groups.items():
            counted = f"{row['num_sequences']}"
            counted += f" of {row['of']}" if row["num_sequences"] < row["of"] else ""
            figures = [_interval(row[figure], "{:.4f}") for figure in _TITLES]
            cells.append([label, group, counted, *figures, preset])
    return _aligned(cells) + "\n[95 % bootstrap interval over sequences]"


def _pair_table(pairs: list[dict[str, Any]], first: str, preset: str) -> str:
    """A row a comparison."""
    cells = [["difference", "sequences", "", "figure", "mean", "better/worse/equal", "p", "preset"]]
    for pair in pairs:
        cells.append(
            [
                f"{pair['label']} - {first}",
                pair["group"],
                f"{pair['num_sequences']}",
                str(_TITLES.get(pair["figure"], pair["figure"])),
                _interval(pair["difference"], "{:+.4f}"),
                f"{pair['wins']}/{pair['losses']}/{pair['ties']}",
                f"{pair['p_value']:.4f}",
                preset,
            ]
        )
    return _aligned(cells) + "\n[p: two-sided, by changing signs of the sequences' differences]"


def _remarks(label: str, table: Any, num_sequences: int) -> str:
    """What is left out, what was made to fit, what belongs to nothing."""
    lines = []
    reasons: dict[str, list[str]] = {}
    for name, reason in table.omitted.items():
        reasons.setdefault(reason, []).append(name)
    for reason, names in reasons.items():
        lines.append(
            f"{label}: left out of every mean, {len(names)} of {num_sequences}, for {reason}: "
            + ", ".join(names)
        )
    lines += [f"{label}: {name}: {note}" for name, note in table.notes.items()]
    if table.extra:
        lines.append(f"{label}: of no sequence of the dataset: {', '.join(table.extra)}")
    return "\n".join(map(_wrapped, lines))


def _score_vot(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Scores VOT's rows: what goes to JSON, and the text."""
    from cdjax.benchmark._annotations import load_annotations
    from cdjax.benchmark._entrants import weighted_figures
    from cdjax.benchmark._foreign import read_vot_results
    from cdjax.benchmark._vot_scores import score_supervised, score_unsupervised

    if args.attributes and args.no_reset:
        raise InputError("--attributes: results without restarts have no figures by attribute")
    year, preset = _VOT_YEARS[args.dataset], args.preset or "challenge"
    sequences = load_annotations(args.dataset, folder=args.annotations)
    results, cells, remarks, rules = [], [], [], {}
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for label, path in _labels(args.results).items():
        runs = read_vot_results(path, sequences)
        if args.no_reset:
            single = {name: repetitions[0] for name, repetitions in runs.items()}
            score: Any = score_unsupervised(single, sequences, preset=preset)
            intervals = {"average_overlap": _overlap_interval(score)}
            figures[label] = {"overlap": score.per_sequence}
            more = [name for name, repetitions in runs.items() if len(repetitions) > 1]
            if more:
                remarks.append(f"{label}: only the first repetition: {', '.join(more)}")
        else:
            score = score_supervised(runs, sequences, year=year, preset=preset)
            intervals = {"eao": score.eao_bounds, **weighted_figures(score)}
            figures[label] = {
                key: {name: getattr(one, key) for name, one in score.per_sequence.items()}
                for key in ("accuracy", "failures")
            }
        shown = [_interval(interval._asdict(), "{:.4f}") for interval in intervals.values()]
        cells.append([label, *shown, *([] if args.no_reset else [f"{score.failures:g}"])])
        cells[-1][1:1] = [f"{len(score.per_sequence)} of {len(sequences)}"]
        cells[-1].append(preset)
        if args.attributes and not args.no_reset:
            cells += [
                [label, tag, "", f"{f.accuracy:.4f}", "", f"{f.failures:g}", preset]
                for tag, f in score.per_tag.items()
            ]
        rules = score.rules
        remarks += [f"{label}: left out, {name}: {why}" for name, why in score.omitted.items()]
        results.append(
            {"label": label, "path": str(path), **_plain(score), "intervals": _plain(intervals)}
        )
    heads = ["average overlap"] if args.no_reset else ["EAO", "accuracy", "robustness", "failures"]
    table = _aligned([["results", "sequences", *heads, "preset"], *cells])
    table += "\n[95 % bootstrap interval over sequences]"
    pairs = _vot_pairs(figures, args.dataset)
    parts = [_header(rules), table]
    parts += [_pair_table(pairs, next(iter(figures)), preset)] if pairs else []
    parts += map(_wrapped, remarks)
    content = {
        "dataset": args.dataset,
        "preset": rules,
        "intervals": _INTERVALS,
        "results": results,
        "compared_with_first": pairs,
    }
    return content, "\n\n".join(parts)


def _overlap_interval(score: Any) -> Any:
    """The average overlap with its interval."""
    from cdjax.benchmark._statistics import bootstrap

    weights = [score.weights[name] for name in score.per_sequence]
    found = bootstrap(list(score.per_sequence.values()), weights=weights)
    return found._replace(mean=score.average_overlap)


def _vot_pairs(
    figures: Mapping[str, Mapping[str, Mapping[str, float]]], group: str
) -> list[dict[str, Any]]:
    """Every tracker against the first, on the sequences where both have the figure."""
    from cdjax.benchmark._statistics import compare_paired

    (_, first), *others = figures.items()
    pairs = []
    for label, other in others:
        for figure, values in other.items():
            there = first[figure]
            both = [
                name
                for name, value in values.items()
                if name in there and math.isfinite(value) and math.isfinite(there[name])
            ]
            paired = compare_paired([values[n] for n in both], [there[n] for n in both])
            if figure == "failures":  # fewer are better
                paired = paired._replace(wins=paired.losses, losses=paired.wins)
            pairs.append(_pair(label, group, figure, len(both), paired))
    return pairs


def _plain(value: Any) -> Any:
    """Named tuples as dicts, for JSON."""
    if hasattr(value, "_asdict"):
        return {key: _plain(item) for key, item in value._asdict().items()}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _interval(interval: Mapping[str, float], form: str) -> str:
    """A mean and its interval; a dash where there is none."""
    mean, low, high = (interval[key] for key in ("mean", "low", "high"))
    if mean != mean:
        return "-"
    return f"{form.format(mean)} [{form.format(low)}, {form.format(high)}]"


def _aligned(cells: list[list[str]]) -> str:
    """Cells in columns."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 100, subsequent_indent="  ", break_on_hyphens=False)
