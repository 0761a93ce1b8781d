"""What reports compare: trackers with their runs, ours or imported, and their figures."""

import math
from collections.abc import Iterable, Mapping
from collections.abc import Sequence as AnySequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from cdjax._errors import InputError
from cdjax.benchmark._foreign import read_results, read_vot_results
from cdjax.benchmark._scoring import fit_rows, score_results
from cdjax.benchmark._sequence import Sequence, unknown
from cdjax.benchmark._statistics import Interval, bootstrap
from cdjax.benchmark._workdir import Experiment


class Attempt(NamedTuple):
    """One run of a tracker over a target.

    Attributes:
      boxes: a row a frame, corner index from 0; for VOT's supervised protocol its rows.
      seed: of the run.
      first_frame: index of the frame that row 0 belongs to; later than 0 only for TRE.
      num_frames: that the sequence had when it was run, or None where unknown. Ground
        truth beyond them does not count.
    """

    boxes: Any
    seed: int = 0
    first_frame: int = 0
    num_frames: int | None = None


class Entrant(NamedTuple):
    """A tracker with its results, ours or imported.

    Attributes:
      label: its name in tables and plots.
      attempts: target -> its runs: one for one pass and one seed.
      fps: frames over tracking time, or None where unknown.
      mean_channels: channels in use, mean over the targets, or None.
      num_candidates: channels they were chosen from, or None.
      channels_by_layer: mean number kept of each layer, or None.
      paper: the figures its paper gives for this dataset: success, precision, eao, fps,
        mean_channels; {} for none.
      source: where the results come from.
      missing: target -> why there is no result.
      partial: target -> which of its seeds count, and why not the others.
    """

    label: str
    attempts: Mapping[str, list[Attempt]]
    fps: float | None = None
    mean_channels: float | None = None
    num_candidates: int | None = None
    channels_by_layer: Mapping[str, float] | None = None
    paper: Mapping[str, float] = {}
    source: str = ""
    missing: Mapping[str, str] = {}
    partial: Mapping[str, str] = {}


class Measure(NamedTuple):
    """A figure that each target has.

    Attributes:
      key: its name in files.
      title: its name in tables.
      rises: whether more is better.
      digits: decimals in tables.
    """

    key: str
    title: str
    rises: bool = True
    digits: int = 3


OPE_MEASURES = (
    Measure("success_auc", "AUC"),
    Measure("precision_20", "P@20"),
    Measure("norm_precision_20", "NP@0.2"),
    Measure("success_50", "S@0.5"),
)


class Scored(NamedTuple):
    """An entrant with its figures.

    Attributes:
      entrant: the tracker.
      values: target -> measure -> figure, over all its runs together.
      by_seed: seed -> target -> measure -> figure.
      curves: target -> name -> curve; names success and precision.
      omitted: target -> why it has no figure.
      notes: target -> how its results were made to fit before they were scored.
      whole: figures that only all targets together have, EAO and its kin, with an interval
        over sequences.
      eao_curve: VOT's expected average overlap 0, 1, 2, ... frames after a start, or None.
      by_tag: VOT's attribute of frames -> measure -> figure.
    """

    entrant: Entrant
    values: dict[str, dict[str, float]]
    by_seed: dict[int, dict[str, dict[str, float]]]
    curves: dict[str, dict[str, np.ndarray]]
    omitted: dict[str, str]
    notes: Mapping[str, str] = {}
    whole: Mapping[str, float | Interval] = {}
    eao_curve: np.ndarray | None = None
    by_tag: Mapping[str, Mapping[str, float]] = {}

    @property
    def label(self) -> str:
        """The tracker's name."""
        return self.entrant.label

    def array(self, key: str, names: Iterable[str]) -> Float[np.ndarray, " n"]:
        """Returns a measure of these targets."""
        return np.array([self.values[name][key] for name in names], np.float64)

    def mean(self, key: str, names: AnySequence[str]) -> float:
        """Returns the mean of a measure over these targets; NaN for none."""
        return float(self.array(key, names).mean()) if names else math.nan

    def mean_curve(self, key: str, names: AnySequence[str]) -> np.ndarray:
        """Returns the mean of a curve over these targets."""
        return np.mean([self.curves[name][key] for name in names], axis=0)


def score_entrant(
    entrant: Entrant,
    sequences: Iterable[Sequence],
    *,
    preset: str = "otb",
    max_frames: int | None = None,
) -> Scored:
    """Scores all runs of an entrant.

    Runs of one target are weighted by their frames, as OTB does for its spatial and
    temporal robustness.

    Args:
      entrant: the tracker.
      sequences: the ground truth.
      preset: whose rules.
      max_frames: how many frames of each sequence count, or None for all. Results with
        more rows than that are cut.

    Returns:
      The figures; targets without a result are among the omitted.
    """
    values, curves, omitted, notes = {}, {}, dict(entrant.missing), {}
    by_seed: dict[int, dict[str, dict[str, float]]] = {}
    for sequence in sequences:
        name, scores = sequence.name, {}
        for attempt in entrant.attempts.get(name, ()):
            boxes, known = attempt.boxes, sequence.boxes[:max_frames]
            truth = known[attempt.first_frame : attempt.num_frames]
            if max_frames is not None and len(boxes) > len(truth):
                boxes = fit_rows(boxes, sequence)[0][: len(truth)]
            cut = sequence._replace(boxes=truth, frame_paths=())
            table = score_results({name: boxes}, [cut], preset=preset)
            omitted.update(table.omitted)
            notes.update(table.notes)
            if attempt.num_frames is not None and attempt.num_frames < len(known):
                notes[name] = "; ".join(
                    [
                        f"ran over {attempt.num_frames} of {len(known)} frames: only these are "
                        "scored",
                        *table.notes.values(),
                    ]
                )
            if name in table.scores:
                scores.setdefault(attempt.seed, []).append(table.scores[name])
        if not scores:
            omitted.setdefault(name, "no result")
        if name in omitted:
            continue
        for seed, some in scores.items():
            by_seed.setdefault(seed, {})[name] = _figures(_pooled(some))
        pooled = _pooled([one for some in scores.values() for one in some])
        values[name] = _figures(pooled)
        curves[name] = {"success": pooled.success, "precision": pooled.precision}
    return Scored(entrant, values, by_seed, curves, omitted, _with_partial(entrant, notes))


def _with_partial(entrant: Entrant, notes: Mapping[str, str]) -> dict[str, str]:
    """Notes with those on seeds that are not there."""
    both = (entrant.partial, notes)
    names = dict.fromkeys(name for some in both for name in some)
    return {name: "; ".join(some[name] for some in both if name in some) for name in names}


def _pooled(scores: list[Any]) -> Any:
    """Curves of several runs, weighted by their frames."""
    if len(scores) == 1:
        return scores[0]
    weights = np.array([score.num_frames for score in scores], np.float64)
    curves = {
        key: np.average([getattr(score, key) for score in scores], axis=0, weights=weights)
        for key in ("success", "precision", "norm_precision")
    }
    return scores[0]._replace(num_frames=int(weights.sum()), **curves)


def _figures(score: Any) -> dict[str, float]:
    return {measure.key: float(getattr(score, measure.key)) for measure in OPE_MEASURES}


def common_targets(scored: Iterable[Scored], names: Iterable[str]) -> list[str]:
    """Returns the targets that every tracker has a figure for, in the order of names.

    Args:
      scored: the trackers; those without any figure do not count.
      names: all targets.

    Returns:
      The names; none if no tracker has a figure.
    """
    sets = [set(one.values) for one in scored if one.values]
    return [name for name in names if sets and all(name in some for some in sets)]


# VOT


class _VOT(NamedTuple):
    """A protocol of VOT: what each sequence has, and what only all together have."""

    measures: tuple[Measure, ...]
    whole: tuple[Measure, ...]


VOT_PROTOCOLS = {
    "vot_supervised": _VOT(
        (Measure("accuracy", "Accuracy"), Measure("failures", "Failures", rises=False, digits=1)),
        (
            Measure("eao", "EAO"),
            Measure("accuracy", "Accuracy"),
            Measure("robustness", "Failures/100 frames", rises=False),
            Measure("failures", "Failures", rises=False, digits=1),
        ),
    ),
    "vot_unsupervised": _VOT(
        (Measure("overlap", "Average overlap"),),
        (Measure("average_overlap", "Average overlap"),),
    ),
}
"""Figures of VOT's protocols."""


def score_vot(
    entrants: Iterable[Entrant],
    sequences: Iterable[Sequence],
    *,
    protocol: str,
    year: int = 2017,
    preset: str = "challenge",
    max_frames: int | None = None,
) -> tuple[list[Scored], dict[str, Any]]:
    """Scores entrants by VOT's rules.

    Accuracy, EAO and their kin are no means over sequences, so that they are computed
    anew over the sequences that all entrants have.

    Args:
      entrants: the trackers; seeds count as repetitions.
      sequences: the ground truth.
      protocol: a key of `VOT_PROTOCOLS`.
      year: of the challenge, whose interval EAO averages over.
      preset: a key of `VOT_PRESETS`.
      max_frames: how many frames of each sequence count, or None for all.

    Returns:
      The figures, and the rules that hold for them.

    Raises:
      InputError: for an unknown preset.
    """
    from cdjax.benchmark._sequence import first_frames
    from cdjax.benchmark._vot_scores import VOT_PRESETS

    cut = [first_frames(s, max_frames) for s in sequences]
    names = [sequence.name for sequence in cut]
    if preset not in VOT_PRESETS:
        raise InputError(unknown("VOT preset", preset, list(VOT_PRESETS)))
    options: dict[str, Any] = {"preset": preset}
    if protocol == "vot_supervised":
        options["year"] = year
    scored: list[Scored] = []
    rules: dict[str, Any] = {}
    for entrant in entrants:
        one, found = _score_vot(entrant, cut, names, protocol, options)
        scored.append(one)
        rules = rules or found
    common = common_targets(scored, names)
    for index, one in enumerate(scored):
        if common and one.values and set(one.values) != set(common):
            again, _ = _score_vot(one.entrant, cut, common, protocol, options)
            scored[index] = one._replace(whole=again.whole, eao_curve=again.eao_curve)
    return scored, rules


def _score_vot(
    entrant: Entrant,
    sequences: list[Sequence],
    names: list[str],
    protocol: str,
    options: dict[str, Any],
) -> tuple[Scored, dict[str, Any]]:
    """Scores an entrant on the named sequences."""
    from cdjax.benchmark._vot_scores import score_supervised, score_unsupervised

    omitted = {name: "no result" for name in names} | dict(entrant.missing)
    truth = [sequence for sequence in sequences if sequence.name in names]
    runs = {n: [a.boxes for a in entrant.attempts[n]] for n in names if n in entrant.attempts}
    if not runs:
        return Scored(entrant, {}, {}, {}, omitted), {}
    whole: dict[str, float | Interval]
    try:
        if protocol == "vot_supervised":
            score = score_supervised(runs, truth, **options)
            values = {
                name: {"accuracy": figures.accuracy, "failures": figures.failures}
                for name, figures in score.per_sequence.items()
            }
            whole = {
                "eao": score.eao_bounds,
                "failures": score.failures,
                "reliability": score.reliability,
                **weighted_figures(score),
            }
            tags = {
                tag: {"accuracy": figures.accuracy, "failures": figures.failures}
                for tag, figures in score.per_tag.items()
            }
            curve = score.eao_curve
        else:
            score = score_unsupervised({n: some[0] for n, some in runs.items()}, truth, **options)
            values = {name: {"overlap": value} for name, value in score.per_sequence.items()}
            whole = {"average_overlap": score.average_overlap}
            tags, curve = {}, None
    except InputError as error:
        omitted.update(dict.fromkeys(runs, str(error)))
        return Scored(entrant, {}, {}, {}, omitted), {}
    notes = {}
    if protocol == "vot_unsupervised":
        notes = {n: "only the first repetition" for n in values if len(runs[n]) > 1}
    left_out = {n: why for n, why in (omitted | score.omitted).items() if n not in values}
    scored = Scored(
        entrant,
        values,
        {},
        {},
        left_out,
        _with_partial(entrant, notes),
        whole=whole,
        eao_curve=curve,
        by_tag=tags,
    )
    return scored, score.rules


def weighted_figures(score: Any) -> dict[str, Interval]:
    """Returns VOT's accuracy and robustness with their intervals over sequences.

    Args:
      score: from `score_supervised`.

    Returns:
      The intervals of "accuracy", by the preset's statistic, and of "robustness", failures
      per 100 frames.
    """
    from cdjax.benchmark._vot_scores import accuracy_parts

    figures = list(score.per_sequence.values())
    rates = [100 * one.failures / one.num_frames for one in figures]
    values, weights = accuracy_parts(score)
    accuracy = bootstrap(values, weights=weights)
    return {
        "accuracy": accuracy._replace(mean=score.accuracy),
        "robustness": bootstrap(rates, weights=[one.num_frames for one in figures]),
    }


# Where entrants come from


def entrants_of(
    experiment: Experiment, sequences: Iterable[Sequence], *, benchmark: str | None = None
) -> list[Entrant]:
    """Returns the trackers of a folder of results, finished or not.

    A run with a seed counts once all its starts are there. A target with some of its seeds
    counts with these, and is among the partial ones.

    Args:
      experiment: from `load_workdir`.
      sequences: the ground truth of its targets.
      benchmark: whose figures of the trackers' papers are to be shown, or None. Papers
        give those of one pass, and of VOT's supervised protocol.

    Returns:
      An entrant a tracker, in the order of the folder.
    """
    settings = experiment.settings
    truths = {
        sequence.name: sequence._replace(boxes=sequence.boxes[: settings["max_frames"]])
        for sequence in sequences
    }
    missing: dict[str, dict[tuple[str, int], str]] = {}
    for unit in experiment.pending:
        missing.setdefault(unit.label, {})[unit.sequence, unit.seed] = "not run yet"
    for failure in experiment.failures:
        words = f"failed: {failure['kind']}{': ' * bool(failure['kind'])}{failure['error']}"
        missing.setdefault(failure["label"], {})[failure["sequence"], failure["seed"]] = words
    entrants = []
    for label, described in experiment.trackers.items():
        lacks = missing.setdefault(label, {})
        published = settings["protocol"] in ("ope", "vot_supervised")
        papers = (published and described.get("paper")) or {}
        attempts: dict[str, list[Attempt]] = {}
        runs = [run for run in experiment.runs if run.label == label]
        firsts = [run.record.get("first_frame", 0) for run in runs]
        if settings["protocol"] == "tre":
            firsts = [_tre_start(run, truths.get(run.sequence)) for run in runs]
            for run, first in zip(runs, firsts, strict=True):
                if first is None:
                    lacks.setdefault((run.sequence, run.seed), _NO_START)
        for run, first in zip(runs, firsts, strict=True):
            if first is not None and (run.sequence, run.seed) not in lacks:
                attempts.setdefault(run.sequence, []).append(
                    Attempt(run.boxes, run.seed, first, run.record.get("sequence_frames"))
                )
        layers = [kept for run in runs if (kept := run.record.get("channels_by_layer"))]
        channels = [run.record["num_channels"] for run in runs if run.record.get("num_channels")]
        entrants.append(
            Entrant(
                label,
                attempts,
                fps=_frame_rate(runs),
                mean_channels=float(np.mean(channels)) if channels else None,
                num_candidates=described.get("num_candidates"),
                channels_by_layer={
                    layer: float(np.mean([kept.get(layer, 0) for kept in layers]))
                    for layer in (layers[0] if layers else ())
                },
                paper=papers.get(benchmark) or {},
                source=str(experiment.path / label),
                missing={name: why for (name, _), why in lacks.items() if name not in attempts},
                partial=_partial(attempts, lacks),
            )
        )
    return entrants


def _partial(
    attempts: Mapping[str, list[Attempt]], lacks: Mapping[tuple[str, int], str]
) -> dict[str, str]:
    """Says of targets with some of their seeds what became of the others."""
    told = {}
    for name, some in attempts.items():
        reasons = [f"seed {seed} {why}" for (other, seed), why in lacks.items() if other == name]
        if reasons:
            have = len({attempt.seed for attempt in some})
            told[name] = f"{have} of {have + len(reasons)} seeds: {', '.join(reasons)}"
    return told


_NO_START = (
    "not used: its record does not say where the run starts, and the ground truth has another "
    "number of frames; run it again"
)


def _tre_start(run: Any, truth: Sequence | None) -> int | None:
    """Where a run starts; None if an old record does not say and the ground truth disagrees."""
    from cdjax.benchmark._robustness import tre_starts

    if "first_frame" in run.record:
        return run.record["first_frame"]
    if truth is None:
        return None
    starts = tre_starts(truth.boxes, name=truth.name)
    first = len(truth.boxes) - len(run.boxes)  # a run reaches to the last frame
    return first if run.start < len(starts) and starts[run.start] == first else None


def _frame_rate(runs: AnySequence[Any]) -> float | None:
    """Frames over tracking time of all runs together."""
    clocked = [
        (run.record["frames"], run.record["frames"] / run.times["fps"])
        for run in runs
        if run.times.get("fps")
    ]
    return sum(n for n, _ in clocked) / sum(s for _, s in clocked) if clocked else None


def import_entrant(
    label: str, path: Path, sequences: list[Sequence], *, protocol: str = "ope"
) -> tuple[Entrant, list[str]]:
    """Reads another tracker's results.

    Args:
      label: its name in tables and plots.
      path: as for `read_results`; for VOT's protocols as for `read_vot_results`.
      sequences: the ground truth.
      protocol: of the results.

    Returns:
      The entrant, and the names of results that belong to none of the sequences.

    Raises:
      InputError: as these do, and for protocols of several starts, whose means results of one
        pass do not belong beside.
    """
    if protocol in ("sre", "tre"):
        raise InputError(
            f"{path}: results of one pass are not to be compared with the mean over the starts of "
            f"{protocol}; give an experiment of protocol ope"
        )
    known = {sequence.name for sequence in sequences}
    if protocol in VOT_PROTOCOLS:
        found = read_vot_results(path, sequences)
    else:
        found = {name: [rows] for name, rows in read_results(path, sequences).items()}
    attempts = {n: [Attempt(rows) for rows in some] for n, some in found.items() if n in known}
    others = [name for name in found if name not in known]
    return Entrant(label, attempts, source=str(path)), others
