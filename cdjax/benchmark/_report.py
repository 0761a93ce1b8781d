"""From results to tables: whose means, over which targets, against whom; no files, no plots.

Everything here works on plain values, so that runs of ours and results of others are
treated alike. Trackers are compared on the targets that all of them have, and whatever
is left out of a mean is listed.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Sequence as AnySequence
from typing import Any, NamedTuple

import numpy as np

from cdjax._errors import InputError
from cdjax.benchmark._entrants import OPE_MEASURES, Measure, Scored, common_targets
from cdjax.benchmark._grids import Cell, Column, Grid, number_of
from cdjax.benchmark._sequence import Sequence, unknown
from cdjax.benchmark._statistics import Interval, bootstrap, compare_paired


class Report(NamedTuple):
    """All that a report shows.

    Attributes:
      title: its heading.
      facts: what stands beside the numbers: dataset, protocol, preset, versions, device.
      measures: the figures that every target has, the first of them the one sorted by.
      scored: the trackers, best first.
      common: targets that all trackers have: the means are over these.
      tags: attribute -> those of the common targets that have it.
      grids: the tables, the overall one first.
      failures: what failed: label, sequence, error, traceback.
      preset: whose rules scored the targets.
      protocol: how they were run.
      eao_interval: frames after a start over which EAO is the mean of its curve, or None.
    """

    title: str
    facts: Mapping[str, str]
    measures: tuple[Measure, ...]
    scored: list[Scored]
    common: list[str]
    tags: Mapping[str, list[str]]
    grids: list[Grid]
    failures: AnySequence[Mapping[str, Any]] = ()
    preset: str = "otb"
    protocol: str = "ope"
    eao_interval: tuple[int, int] | None = None


def make_report(
    scored: list[Scored],
    sequences: list[Sequence],
    *,
    title: str,
    facts: Mapping[str, str],
    measures: tuple[Measure, ...] = OPE_MEASURES,
    whole: tuple[Measure, ...] = (),
    baseline: str | None = None,
    attributes: bool = False,
    subsets: Mapping[str, Iterable[str]] = {},
    failures: AnySequence[Mapping[str, Any]] = (),
    preset: str = "otb",
    protocol: str = "ope",
    eao_interval: tuple[int, int] | None = None,
) -> Report:
    """Makes the tables.

    Args:
      scored: the trackers, labels apart.
      sequences: all targets, with their attributes.
      title: heading of the report.
      facts: what is to stand beside the numbers.
      measures: the figures that every target has.
      whole: figures that only all targets together have, to be shown instead of means.
      baseline: label of the tracker that the others are compared with, or None.
      attributes: whether there are tables by attribute.
      subsets: name -> targets; those that hold some but not all common targets are shown.
      failures: what failed, for the record.
      preset: whose rules scored the targets.
      protocol: how they were run.
      eao_interval: frames after a start over which EAO is the mean of its curve.

    Returns:
      The report.

    Raises:
      InputError: for an unknown baseline, or where no tracker has a result.
    """
    labels = [one.label for one in scored]
    if baseline is not None and baseline not in labels:
        raise InputError(unknown("tracker", baseline, labels))
    names = [sequence.name for sequence in sequences]
    common = common_targets(scored, names)
    lead = (whole or measures)[0]
    sign = -1.0 if lead.rises else 1.0

    def rank(one: Scored) -> tuple[bool, float]:
        if whole or not one.values:
            return not one.values, sign * (number_of(one.whole.get(lead.key)) or 0.0)
        return False, sign * one.mean(lead.key, common or list(one.values))

    scored = sorted(scored, key=rank)
    tags: dict[str, list[str]] = {}
    for sequence in sequences:
        for tag in sequence.tags if sequence.name in common else ():
            tags.setdefault(tag, []).append(sequence.name)
    tags = dict(sorted(tags.items(), key=lambda item: -len(item[1])))
    grids = [overall_grid(scored, common, names, measures, whole)]
    if not whole and any(set(one.values) - set(common) for one in scored):
        grids.append(own_grid(scored, names, measures))
    if baseline is not None:
        grids.append(delta_grid(scored, names, baseline, measures[:2]))
    if any(len(one.by_seed) > 1 for one in scored):
        grids.append(seed_grid(scored, common, measures[:2]))
    groups = {"all": common}
    for name, members in subsets.items():
        chosen = [target for target in common if target in set(members)]
        if chosen and len(chosen) < len(common):
            groups[name] = chosen
    if len(groups) > 1:
        grids += [group_grid(f"Subsets: {m.title}", scored, groups, m) for m in measures[:2]]
    if attributes and whole:
        grids += [tag_grid(scored, m) for m in measures if any(one.by_tag for one in scored)]
    elif attributes:
        grids += [group_grid(f"Attributes: {m.title}", scored, tags, m) for m in measures[:2]]
    grids += [
        g for g in (layer_grid(scored), left_out_grid(scored, names), fitted_grid(scored)) if g.rows
    ]
    grids += [sequence_grid(scored, names, m) for m in measures[:2]]
    return Report(
        title,
        facts,
        measures,
        scored,
        common,
        tags,
        grids,
        failures,
        preset,
        protocol,
        eao_interval,
    )


_TRACKER = Column("Tracker", words=True)

_PAPER = (
    ("success", "AUC", 3),
    ("precision", "P@20", 3),
    ("eao", "EAO", 3),
    ("fps", "fps", 1),
    ("mean_channels", "channels", 1),
)


def overall_grid(
    scored: list[Scored],
    common: list[str],
    names: list[str],
    measures: tuple[Measure, ...],
    whole: tuple[Measure, ...] = (),
) -> Grid:
    """Tables the means over the common targets, with speed, channels and the paper's figures."""
    present = [one for one in scored if one.values]
    columns = [_TRACKER, Column("Targets")]
    columns += [_column(measure, measure.title) for measure in whole or measures]
    cells: list[list[Cell]] = [
        [
            one.label,
            f"{len(one.values)} of {len(names)}",
            *(
                [one.whole.get(m.key) for m in whole]
                if whole
                else [_interval(one, m.key, common, measures) for m in measures]
            ),
        ]
        for one in scored
    ]
    for title, key, digits in (
        ("fps", "fps", 1),
        ("Channels", "mean_channels", 1),
        ("of", "num_candidates", 0),
    ):
        if any(getattr(one.entrant, key) is not None for one in scored):
            columns.append(Column(title, digits))
            for row, one in zip(cells, scored, strict=True):
                row.append(getattr(one.entrant, key))
    notes: list[str] = []
    if len(columns) > 2 + len(whole or measures):
        notes.append("Speed and channels are means over each tracker's own targets.")
    for key, title, digits in _PAPER:
        if any(one.entrant.paper.get(key) is not None for one in scored):
            columns.append(Column(f"Paper: {title}", digits))
            for row, one in zip(cells, scored, strict=True):
                row.append(one.entrant.paper.get(key))
    if columns[-1].name.startswith("Paper"):
        notes.append("Paper: as published for the whole benchmark.")
    if any("eao" in one.whole and number_of(one.whole["eao"]) is None for one in present):
        notes.append("EAO: none where all runs are shorter than its interval.")
    what = "Figures" if whole else "Means"
    if any(isinstance(cell, Interval) for row in cells for cell in row):
        what += " with 95 % bootstrap intervals over targets,"
    if common and len(common) == len(names):
        said = f"{what} over all {_targets(len(names))}."
    elif common:
        who = "the tracker has" if len(present) == 1 else f"all {len(present)} trackers have"
        said = (
            f"{what} over the {len(common)} of {_targets(len(names))} that {who}; what is left "
            "out is listed below."
        )
    elif present:
        said = "No target has a result of every tracker: no common mean; see the next table."
    else:
        said = "No tracker has a result yet."
    notes.insert(0, said)
    return Grid("Overall", tuple(columns), tuple(map(tuple, cells)), tuple(notes))


def own_grid(scored: list[Scored], names: list[str], measures: tuple[Measure, ...]) -> Grid:
    """Tables each tracker's means over all the targets that it has itself."""
    columns = (_TRACKER, Column("Targets"), *(Column(m.title) for m in measures))
    rows = tuple(
        (
            one.label,
            f"{len(one.values)} of {len(names)}",
            *(one.mean(m.key, list(one.values)) for m in measures),
        )
        for one in scored
    )
    note = "Means over different targets: not to be compared between trackers."
    return Grid("Each on its own targets", columns, rows, (note,))


def delta_grid(
    scored: list[Scored], names: list[str], baseline: str, measures: tuple[Measure, ...]
) -> Grid:
    """Tables paired differences against a baseline, each on the targets both have."""
    base = next(one for one in scored if one.label == baseline)
    columns = [_TRACKER, Column("Targets")]
    for measure in measures:
        columns += [
            Column(f"Δ {measure.title}", max(measure.digits, 2), signed=True),
            Column("win/tie/loss"),
            Column("p", digits=4),
        ]
    rows = []
    for one in scored:
        if one.label == baseline:
            continue
        both = common_targets([one, base], names) if one.values and base.values else []
        row: list[Cell] = [one.label, f"{len(both)} of {len(names)}"]
        for measure in measures:
            pairs = np.stack([one.array(measure.key, both), base.array(measure.key, both)])
            ours, theirs = pairs[:, np.isfinite(pairs).all(axis=0)]
            if not ours.size:
                row += [None, None, None]
                continue
            paired = compare_paired(ours, theirs)
            better, worse = (paired.wins, paired.losses)[:: 1 if measure.rises else -1]
            row += [paired.difference, f"{better}/{paired.ties}/{worse}", paired.p_value]
        rows.append(tuple(row))
    note = (
        f"Paired differences to {baseline} over the targets both have, with 95 % bootstrap "
        "intervals; a win is a target on which the tracker is better."
    )
    return Grid(f"Against {baseline}", tuple(columns), tuple(rows), (note,))


def compare_grids(
    one: Scored, other: Scored, names: list[str], measures: tuple[Measure, ...], *, most: int = 10
) -> list[Grid]:
    """Tables two trackers: their paired difference, and where it comes from.

    Args:
      one: the tracker.
      other: what it is compared with.
      names: all targets.
      measures: the figures that every target has, the first of them the one sorted by.
      most: targets shown at most among gains, and among losses.

    Returns:
      The difference; the largest gains; the largest losses.
    """
    lead = measures[0]
    sign = 1.0 if lead.rises else -1.0
    gains = [
        (sign * (one.values[name][lead.key] - other.values[name][lead.key]), name)
        for name in common_targets([one, other], names)
        if one.values and other.values
    ]
    gains = sorted((gain for gain in gains if gain[0] and np.isfinite(gain[0])), reverse=True)
    columns = (
        Column("Target", words=True),
        Column(f"Δ {lead.title}", signed=True),
        Column(one.label),
        Column(other.label),
    )
    grids = [delta_grid([one, other], names, other.label, measures)]
    for title, some in (
        (f"Largest gains of {one.label}: {lead.title}", gains[:most]),
        (f"Largest losses of {one.label}: {lead.title}", gains[::-1][:most]),
    ):
        rows = tuple(
            (
                name,
                sign * gain,
                one.values[name][lead.key],
                other.values[name][lead.key],
            )
            for gain, name in some
            if (gain > 0) == title.startswith("Largest gains")
        )
        grids.append(Grid(title, columns, rows, () if rows else ("None.",)))
    return grids


def seed_grid(scored: list[Scored], common: list[str], measures: tuple[Measure, ...]) -> Grid:
    """Tables the mean of a measure for each seed, and their spread."""
    columns = [_TRACKER, Column("Seeds")]
    for measure in measures:
        columns += [
            Column(f"{measure.title} mean"),
            Column("std"),
            Column("by seed"),
        ]
    rows = []
    for one in scored:
        if len(one.by_seed) < 2:
            continue
        shared = [n for n in common if all(n in some for some in one.by_seed.values())]
        row: list[Cell] = [one.label, len(one.by_seed)]
        for measure in measures:
            means = [
                float(np.mean([some[name][measure.key] for name in shared]))
                for _, some in sorted(one.by_seed.items())
                if shared
            ]
            spread = float(np.std(means, ddof=1)) if len(means) > 1 else None
            row += [
                float(np.mean(means)) if means else None,
                spread,
                " ".join(f"{mean:.3f}" for mean in means) or None,
            ]
        rows.append(tuple(row))
    note = "Over the common targets that every seed of the tracker has; std over seeds."
    return Grid("Seeds", tuple(columns), tuple(rows), (note,))


def group_grid(
    title: str, scored: list[Scored], groups: Mapping[str, list[str]], measure: Measure
) -> Grid:
    """Tables the means of a measure over groups of targets: attributes or subsets."""
    columns = [_column(measure, f"{name} ({len(some)})") for name, some in groups.items()]
    rows = tuple(
        (one.label, *(one.mean(measure.key, some) for some in groups.values()))
        for one in scored
        if one.values
    )
    notes = () if groups else ("The targets have no attributes.",)
    return Grid(title, (_TRACKER, *columns), rows, notes)


def tag_grid(scored: list[Scored], measure: Measure) -> Grid:
    """Tables a measure by VOT's attributes of frames."""
    tags = list(dict.fromkeys(tag for one in scored for tag in one.by_tag))
    rows = tuple(
        (one.label, *(one.by_tag.get(tag, {}).get(measure.key) for tag in tags))
        for one in scored
        if one.by_tag
    )
    columns = (_TRACKER, *(_column(measure, tag.replace("_", " ")) for tag in tags))
    note = "Over the frames with the attribute in each tracker's own targets."
    return Grid(f"Attributes: {measure.title}", columns, rows, (note,))


def layer_grid(scored: list[Scored]) -> Grid:
    """Tables how many channels were kept of each layer."""
    layers = list(dict.fromkeys(k for one in scored for k in one.entrant.channels_by_layer or ()))
    rows = tuple(
        (one.label, *(kept.get(layer) for layer in layers))
        for one in scored
        if (kept := one.entrant.channels_by_layer)
    )
    columns = (_TRACKER, *(Column(layer, 1) for layer in layers))
    return Grid("Channels kept by layer", columns, rows, ("Means over the tracker's targets.",))


def left_out_grid(scored: list[Scored], names: list[str]) -> Grid:
    """Tables which targets the means leave out, and why."""
    reasons = [
        (one.label, {n: one.omitted.get(n, "no result") for n in names if n not in one.values})
        for one in scored
    ]
    note = "What one tracker lacks is left out of the common means of all."
    return _listed("Left out of the means", reasons, note)


def fitted_grid(scored: list[Scored]) -> Grid:
    """Tables which results were made to fit before they were scored."""
    reasons = [
        (one.label, {n: w for n, w in one.notes.items() if n in one.values}) for one in scored
    ]
    return _listed("Made to fit", reasons, "These count in the means.")


def _listed(title: str, reasons: Iterable[tuple[str, dict[str, str]]], note: str) -> Grid:
    """A row a tracker and reason, with the targets that it holds for."""
    rows: list[tuple[Cell, ...]] = []
    for label, why_by_name in reasons:
        by_reason: dict[str, list[str]] = {}
        for name, why in why_by_name.items():
            by_reason.setdefault(why, []).append(name)
        rows += [(label, why, len(some), ", ".join(some)) for why, some in by_reason.items()]
    columns = (
        _TRACKER,
        Column("Why", words=True),
        Column("Targets"),
        Column("Which", words=True),
    )
    return Grid(title, columns, tuple(rows), (note,))


def sequence_grid(scored: list[Scored], names: list[str], measure: Measure) -> Grid:
    """Tables a measure by target, a column a tracker."""
    present = [one for one in scored if one.values]
    heat = measure.title != "Failures"  # all others are shares
    columns = tuple(
        _column(measure, one.label)._replace(heat=heat, best=0, long=True) for one in present
    )
    rows = tuple(
        (name, *(one.values.get(name, {}).get(measure.key) for one in present))
        for name in names
        if any(name in one.values for one in present)
    )
    return Grid(f"Each target: {measure.title}", (Column("Target", words=True), *columns), rows)


def _targets(count: int) -> str:
    return f"{count} target{'s' * (count != 1)}"


def _column(measure: Measure, name: str) -> Column:
    return Column(name, measure.digits, best=1 if measure.rises else -1)


def _interval(one: Scored, key: str, common: list[str], measures: tuple[Measure, ...]) -> Cell:
    """A mean; the first two measures, which the tables are read for, get an interval."""
    if not one.values or not common:
        return None
    if key in [measure.key for measure in measures[:2]]:
        return bootstrap(one.array(key, common))
    return one.mean(key, common)
