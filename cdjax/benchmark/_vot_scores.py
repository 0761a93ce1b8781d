"""Accuracy, robustness and expected average overlap (EAO) by VOT's rules; no files.

Terms. A run goes from a start to the frame before the failure, or to the sequence's end.
Its start frame has no overlap of its own and belongs to no mean. Accuracy is the mean
overlap, `BURN_IN` frames from each start on left out; robustness is failures per 100
frames. The EAO curve at n is the mean over runs of each run's mean overlap in the n
frames after its start, zero after a failure; a run that ends with its sequence counts
only as far as it goes. EAO is the curve's mean over an interval of lengths, of the year.

Two presets differ in what those words leave open:

"challenge": the figures that the challenges published. Found by trying, on VOT2018's
Ocean-online and SiamFC: gives their EAO to the three digits published and their accuracy
within 0.001. Rectangles are rasterised with their far edge; accuracy is a mean over all
frames of all sequences; a run's length counts its start frame; a run whose failure leaves
no frame to start again counts only to the end of its sequence; without restarts, all
frames but the start count.

"vot-toolkit": what vot-toolkit 0.9 prints. Rectangles without their far edge; accuracy is
the sequences' means weighted by length, 0 where no frame counts; lengths without the
start frame; every failure is followed by zeros; without restarts, burn-in applies.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from cdjax._errors import InputError
from cdjax.benchmark._frames import read_image
from cdjax.benchmark._regions import overlaps
from cdjax.benchmark._sequence import Sequence, unknown
from cdjax.benchmark._statistics import Interval, draw_counts
from cdjax.benchmark._vot_supervised import FAILURE, SKIP, START, Row, regions_of
from cdjax.boxes import Boxes, polygon_bounds

BURN_IN = 10
"""Frames from each start on, itself included, that accuracy leaves out."""

SENSITIVITY = 30
"""S of reliability, exp(-S failures / frames): the chance of S frames without failure."""

EAO_INTERVALS = {
    2015: (108, 371),
    2016: (108, 371),
    2017: (100, 356),
    2018: (100, 356),
    2019: (46, 291),
}
"""First and last length that EAO averages over, by year of the challenge."""


@dataclass(frozen=True, kw_only=True)
class VOTPreset:
    """Rules of one source of figures.

    Attributes:
      name: of the preset.
      overlap: kind of overlap, as for `overlaps`.
      pool_frames: accuracy is a mean over all frames, not over sequences by length.
      count_start: a run's length counts its start frame.
      spare_late_failures: a failure with no frame to start again counts to the end of
        its sequence only.
      unsupervised_burn_in: frames left out at the start of a run without restarts.
    """

    name: str
    overlap: str
    pool_frames: bool
    count_start: bool
    spare_late_failures: bool
    unsupervised_burn_in: int

    def describe(self) -> dict[str, Any]:
        """Returns the rules as plain values, to stand beside the figures."""
        return {**asdict(self), "burn_in": BURN_IN, "skip": SKIP}


VOT_PRESETS = {
    preset.name: preset
    for preset in (
        VOTPreset(
            name="challenge",
            overlap="raster_challenge",
            pool_frames=True,
            count_start=True,
            spare_late_failures=True,
            unsupervised_burn_in=1,
        ),
        VOTPreset(
            name="vot-toolkit",
            overlap="raster",
            pool_frames=False,
            count_start=False,
            spare_late_failures=False,
            unsupervised_burn_in=BURN_IN,
        ),
    )
}
"""Presets by name."""


class VOTFigures(NamedTuple):
    """Figures of a sequence, or of the frames with a tag.

    Attributes:
      accuracy: mean overlap of the frames that count; NaN where there is none.
      failures: their number, a mean over repetitions.
      num_frames: frames in all.
      num_counted: frames in the accuracy, a mean over repetitions.
      repetition_accuracy: vot-toolkit's accuracy of a sequence: the mean of its repetitions',
        0 for one without a frame that counts; NaN for the frames with a tag.
    """

    accuracy: float
    failures: float
    num_frames: int
    num_counted: float
    repetition_accuracy: float = float("nan")


class VOTScore(NamedTuple):
    """What the supervised experiment says of a tracker.

    Attributes:
      rules: preset, overlap and interval that hold for the figures.
      accuracy: mean overlap between failures.
      failures: their number over all sequences, a mean over repetitions.
      robustness: failures per 100 frames.
      weighted_failures: failures a sequence, weighted by length: vot-toolkit's R.
      reliability: exp(-30 `weighted_failures` / mean length): the other axis of
        vot-toolkit's accuracy-robustness plot.
      eao: expected average overlap; NaN if all runs are shorter than the interval.
      eao_curve: its value for runs of 0, 1, 2, ... frames after the start.
      per_sequence: figures by sequence.
      per_tag: figures of the frames with each tag; "empty" has those without any.
      omitted: sequences that no figure contains, and why.
      eao_bounds: EAO with its bootstrap interval over sequences; NaN as EAO is.
    """

    rules: dict[str, Any]
    accuracy: float
    failures: float
    robustness: float
    weighted_failures: float
    reliability: float
    eao: float
    eao_curve: Float[np.ndarray, " n"]
    per_sequence: dict[str, VOTFigures]
    per_tag: dict[str, VOTFigures]
    omitted: dict[str, str]
    eao_bounds: Interval = Interval(float("nan"), float("nan"), float("nan"))


class UnsupervisedScore(NamedTuple):
    """What the experiment without restarts says of a tracker.

    Attributes:
      rules: preset and overlap that hold for the figures.
      average_overlap: mean over frames.
      per_sequence: mean overlap by sequence.
      omitted: sequences that no figure contains, and why.
      weights: what each sequence counts in the average.
    """

    rules: dict[str, Any]
    average_overlap: float
    per_sequence: dict[str, float]
    omitted: dict[str, str]
    weights: Mapping[str, float] = {}


class _Scored(NamedTuple):
    """One repetition on one sequence, frame by frame."""

    overlaps: Float[np.ndarray, " t"]
    counted: Bool[np.ndarray, " t"]
    failed: Bool[np.ndarray, " t"]
    starts: list[int]


def eao_interval(year: int, interval: tuple[int, int] | None = None) -> tuple[int, int]:
    """Returns the lengths that EAO averages over: those given, or else the year's.

    Args:
      year: a key of `EAO_INTERVALS`.
      interval: first and last length, or None.

    Returns:
      First and last length.

    Raises:
      InputError: for a year without interval, or an interval that is none.
    """
    if interval is None:
        if year not in EAO_INTERVALS:
            known = ", ".join(map(str, EAO_INTERVALS))
            raise InputError(f"no EAO interval for VOT{year}; there are: {known}")
        interval = EAO_INTERVALS[year]
    if not 1 <= interval[0] <= interval[1]:
        raise InputError(
            f"EAO interval {interval[0]}..{interval[1]} is empty; give 1 <= low <= high"
        )
    return interval


def accuracy_parts(
    score: VOTScore,
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Returns what the preset's accuracy is a mean of, for its interval.

    Args:
      score: from `score_supervised`.

    Returns:
      A value a sequence and its weight: the mean over its frames that count and their number,
      or in vot-toolkit the mean of its repetitions and its length. Their weighted mean is the
      score's accuracy.
    """
    figures = list(score.per_sequence.values())
    if score.rules["pool_frames"]:
        figures = [one for one in figures if one.num_counted > 0]
        parts = [(one.accuracy, one.num_counted) for one in figures]
    else:
        parts = [(one.repetition_accuracy, one.num_frames) for one in figures]
    values, weights = np.array(parts, np.float64).reshape(-1, 2).T
    return values, weights


def score_supervised(
    runs: Mapping[str, list[Any]],
    sequences: Iterable[Sequence],
    *,
    year: int = 2017,
    interval: tuple[int, int] | None = None,
    preset: str = "challenge",
    overlap: str | None = None,
) -> VOTScore:
    """Scores results of the supervised experiment.

    Args:
      runs: by sequence, the rows of a result, or a list of such, one a repetition.
      sequences: the ground truth, with regions and the frame's size.
      year: whose interval EAO averages over, a key of `EAO_INTERVALS`.
      interval: first and last length that EAO averages over, instead of the year's.
      preset: a key of `VOT_PRESETS`.
      overlap: kind of overlap, as for `overlaps`, instead of the preset's own.

    Returns:
      The figures. What is in `runs` or `sequences` only, or does not fit, is `omitted`.

    Raises:
      InputError: for an unknown year, preset or overlap, or if nothing is left to score.
    """
    low, high = eao_interval(year, interval)
    rules = _preset(preset)
    kind = overlap or rules.overlap
    chosen, omitted = _match(runs, sequences)
    scored: dict[str, list[_Scored]] = {}
    for name, (sequence, result) in chosen.items():
        repetitions = result if isinstance(result[0], list) else [result]
        problem = next(filter(None, (_problem(rows, sequence) for rows in repetitions)), None)
        if problem is None:
            some = [_score_rows(rows, sequence, kind) for rows in repetitions]
            problem = next(
                filter(
                    None, (_lost(*pair, sequence) for pair in zip(repetitions, some, strict=True))
                ),
                None,
            )
            if problem is None:
                scored[name] = some
        if problem is not None:
            omitted[name] = problem
    _require(scored, omitted)
    lengths = np.array([len(repetitions[0].overlaps) for repetitions in scored.values()])
    per_sequence = {
        name: _figures([(np.ones(len(r[0].overlaps), bool), r)])._replace(
            repetition_accuracy=_mean_of_repetitions(r)
        )
        for name, r in scored.items()
    }
    failures = np.array([figures.failures for figures in per_sequence.values()])
    if rules.pool_frames:
        everything = [(np.ones(len(r[0].overlaps), bool), r) for r in scored.values()]
        accuracy = _figures(everything).accuracy
    else:
        means = [figures.repetition_accuracy for figures in per_sequence.values()]
        accuracy = float(np.average(means, weights=lengths))
    weighted = float(np.average(failures, weights=lengths))
    parts = _eao_parts(list(scored.values()), rules)
    curve = _eao_curve(*parts)
    span = slice(low - 1, high) if rules.count_start else slice(low, high + 1)
    within = curve[span]
    eao = float(within.mean()) if within.size else float("nan")
    return VOTScore(
        rules={**rules.describe(), "overlap": kind, "year": year, "interval": [low, high]},
        accuracy=accuracy,
        failures=float(failures.sum()),
        robustness=float(100 * failures.sum() / lengths.sum()),
        weighted_failures=weighted,
        reliability=float(np.exp(-SENSITIVITY * weighted / lengths.mean())),
        eao=eao,
        eao_curve=curve,
        per_sequence=per_sequence,
        per_tag=_per_tag(scored, {name: chosen[name][0] for name in scored}),
        omitted=omitted,
        eao_bounds=_eao_bounds(*parts, span)._replace(mean=eao),
    )


def score_unsupervised(
    results: Mapping[str, Any],
    sequences: Iterable[Sequence],
    *,
    preset: str = "challenge",
    overlap: str | None = None,
) -> UnsupervisedScore:
    """Scores results of the experiment without restarts.

    Args:
      results: by sequence, boxes [t, 4] or rows, from 0; the first is the start. A row
        that is no region (0) overlaps nothing, a failure or a later start does not fit; a
        frame without ground truth is left out.
      sequences: the ground truth, with regions and the frame's size.
      preset: a key of `VOT_PRESETS`.
      overlap: kind of overlap, as for `overlaps`, instead of the preset's own.

    Returns:
      The figures. What is in one of the two only, or does not fit, is `omitted`.

    Raises:
      InputError: for an unknown preset or overlap, or if nothing is left to score.
    """
    rules = _preset(preset)
    kind = overlap or rules.overlap
    chosen, omitted = _match(results, sequences)
    kept: dict[str, Float[np.ndarray, " t"]] = {}
    lengths = []
    for name, (sequence, rows) in chosen.items():
        if problem := _restarts(rows) or _misfit(rows, sequence):
            omitted[name] = problem
            continue
        found, present = _overlaps(list(rows), sequence, kind)
        found = found[rules.unsupervised_burn_in :][present[rules.unsupervised_burn_in :]]
        if found.size:
            kept[name] = found
            lengths.append(len(rows))
        else:
            omitted[name] = "no frame with ground truth after the start"
    _require(kept, omitted)
    means = {name: float(found.mean()) for name, found in kept.items()}
    pooled = float(np.concatenate(list(kept.values())).mean())
    weighted = float(np.average(list(means.values()), weights=lengths))
    return UnsupervisedScore(
        rules={**rules.describe(), "overlap": kind},
        average_overlap=pooled if rules.pool_frames else weighted,
        per_sequence=means,
        omitted=omitted,
        weights={
            name: float(found.size if rules.pool_frames else length)
            for (name, found), length in zip(kept.items(), lengths, strict=True)
        },
    )


def _preset(name: str) -> VOTPreset:
    """Looks a preset up."""
    if name not in VOT_PRESETS:
        raise InputError(unknown("VOT preset", name, list(VOT_PRESETS)))
    return VOT_PRESETS[name]


def _match(
    results: Mapping[str, Any], sequences: Iterable[Sequence]
) -> tuple[dict[str, tuple[Sequence, Any]], dict[str, str]]:
    """Pairs sequences with results; says what has no partner."""
    truth = {sequence.name: sequence for sequence in sequences}
    omitted = {
        name: "no such sequence in the ground truth" for name in results if name not in truth
    }
    omitted.update({name: "no result" for name in truth if name not in results})
    return {n: (s, results[n]) for n, s in truth.items() if n in results}, omitted


def _require(kept: Mapping[str, Any], omitted: Mapping[str, str]) -> None:
    """Raises InputError if nothing is left to score."""
    if not kept:
        name, why = next(iter(omitted.items()), ("results", "none given"))
        raise InputError(f"nothing to score ({len(omitted)} left out; {name}: {why})")


def _misfit(rows: list[Row] | Boxes, sequence: Sequence) -> str | None:
    """Says why a result of any kind does not fit its sequence."""
    if sequence.hw is None and not sequence.frame_paths:
        return "no frame size to cut regions to, and no frame to read it from"
    frames = len(regions_of(sequence))
    if not len(rows):
        return "no rows"
    if len(rows) != frames:
        return f"{len(rows)} rows for {frames} frames"
    return None


def _problem(rows: list[Row], sequence: Sequence) -> str | None:
    """Says why a supervised result cannot be scored."""
    if not rows:
        return "no rows"
    running = False
    for index, row in enumerate(rows):
        code = row if isinstance(row, int) else None
        if (code is None or code == FAILURE) and not running:
            return f"row {index + 1} without a start before it; not a supervised result?"
        running = code == START or (running and code != FAILURE)
    if not any(isinstance(row, int) and row == START for row in rows):
        return "no start"
    return _misfit(rows, sequence)


def _restarts(rows: list[Row] | Boxes) -> str | None:
    """Says which row a result without restarts cannot have."""
    for index, row in enumerate(rows[1:], start=2):
        if isinstance(row, int) and row in (START, FAILURE):
            what = "start" if row == START else "failure"
            return f"row {index} is a {what}: a supervised result, not one without restarts"
    return None


def _lost(rows: list[Row], one: "_Scored", sequence: Sequence) -> str | None:
    """Says which row goes on without overlap, where supervision would have seen a failure."""
    truth = regions_of(sequence)
    for index in np.flatnonzero(one.overlaps == 0):
        if isinstance(rows[index], int) or not np.isfinite(truth[index]).all():
            continue
        (x, y, w, h), (tx, ty, tw, th) = _bounds(rows[index]), _bounds(truth[index])
        # Of two that touch, the tracker's own toolkit may have seen a pixel in common.
        if max(x - tx - tw, tx - x - w, y - ty - th, ty - y - h) > 1:
            return f"row {index + 1} is off the target but no failure; not a supervised result?"
    return None


def _bounds(region: Any) -> Float[np.ndarray, "4"]:
    """A region's bounding rectangle."""
    rows = np.asarray(region)[None]
    return (rows if rows.shape[1] == 4 else polygon_bounds(rows))[0]


def _overlaps(
    rows: list[Any], sequence: Sequence, kind: str
) -> tuple[Float[np.ndarray, " t"], Bool[np.ndarray, " t"]]:
    """Overlap of each frame, 0 where there is no region; and where there is a target."""
    truth = regions_of(sequence)
    missing = np.full(4, np.nan)
    hw = sequence.hw or read_image(sequence.frame_paths[0]).shape[:2]
    regions = [missing if isinstance(row, int) else row for row in rows]
    found = overlaps(regions, truth, hw=(hw[0], hw[1]), kind=kind)
    return np.nan_to_num(found), np.array([bool(np.isfinite(r).all()) for r in truth])


def _score_rows(rows: list[Row], sequence: Sequence, kind: str) -> _Scored:
    """Frame by frame figures of a result."""
    found, _ = _overlaps(rows, sequence, kind)
    codes = np.array([row if isinstance(row, int) else -1 for row in rows])
    starts = np.flatnonzero(codes == START).tolist()
    counted = codes == -1
    for start in starts:
        counted[start : start + BURN_IN] = False
    return _Scored(found, counted, codes == FAILURE, starts)


def _figures(parts: list[tuple[Bool[np.ndarray, "_"], list[_Scored]]]) -> VOTFigures:
    """Figures of the marked frames of some sequences, averaged over repetitions."""
    total = counted = failures = 0.0
    for where, repetitions in parts:
        for one in repetitions:
            total += one.overlaps[one.counted & where].sum() / len(repetitions)
            counted += (one.counted & where).sum() / len(repetitions)
            failures += (one.failed & where).sum() / len(repetitions)
    return VOTFigures(
        accuracy=float(total / counted) if counted else float("nan"),
        failures=float(failures),
        num_frames=int(sum(where.sum() for where, _ in parts)),
        num_counted=float(counted),
    )


def _mean_of_repetitions(repetitions: list[_Scored]) -> float:
    """A sequence's accuracy in vot-toolkit: 0 for a repetition without a counted frame."""
    means = [one.overlaps[one.counted].mean() if one.counted.any() else 0.0 for one in repetitions]
    return float(np.mean(means))


def _per_tag(
    scored: Mapping[str, list[_Scored]], sequences: Mapping[str, Sequence]
) -> dict[str, VOTFigures]:
    """Figures by tag, for the sequences that have tags."""
    tags = sorted({tag for sequence in sequences.values() for tag in sequence.frame_tags})
    if not tags:
        return {}
    parts: dict[str, list[tuple[Any, list[_Scored]]]] = {tag: [] for tag in [*tags, "empty"]}
    for name, repetitions in scored.items():
        flags = sequences[name].frame_tags
        untagged = np.ones(len(repetitions[0].overlaps), bool)
        for tag, where in flags.items():
            parts[tag].append((where, repetitions))
            untagged &= ~where
        parts["empty"].append((untagged, repetitions))
    return {tag: _figures(frames) for tag, frames in parts.items()}


_Parts = tuple[Float[np.ndarray, "s n"], Float[np.ndarray, "s n"], Float[np.ndarray, " s"]]


def _eao_parts(results: list[list[_Scored]], rules: VOTPreset) -> _Parts:
    """By sequence: sums of its runs' means, numbers of runs, and how far the longest goes."""
    longest = max(len(one.overlaps) for some in results for one in some)
    total, weight = np.zeros((2, len(results), longest))
    spans = np.zeros(len(results))
    for index, one in ((i, one) for i, some in enumerate(results) for one in some):
        length = len(one.overlaps)
        failures = np.flatnonzero(one.failed)
        for start in one.starts:
            after = failures[failures > start]
            end = int(after[0]) if len(after) else length
            whole = not len(after)
            spans[index] = max(spans[index], end - start)
            if not whole and rules.spare_late_failures and end + SKIP >= length:
                whole = True
                spans[index] = max(spans[index], length - start)
            values = np.zeros(longest)
            values[1 : end - start] = one.overlaps[start + 1 : end]
            reach = length - start if whole else longest
            means = np.cumsum(values) / np.maximum(np.arange(longest), 1)
            total[index, :reach] += means[:reach]
            weight[index, :reach] += 1
    return total, weight, spans


def _eao_curve(total: Any, weight: Any, spans: Any) -> Float[np.ndarray, " n"]:
    """The EAO curve; at 0, the start frame alone, it is 0."""
    span = int(spans.max())
    return total.sum(axis=0)[:span] / weight.sum(axis=0)[:span]


def _eao_bounds(total: Any, weight: Any, spans: Any, where: slice) -> Interval:
    """The interval of EAO over sequences drawn with replacement; its mean is NaN."""
    draws = draw_counts(len(total))
    reached = np.arange(total.shape[1])[where] < ((draws > 0) * spans).max(axis=1)[:, None]
    sums, runs = draws @ total[:, where], draws @ weight[:, where]
    curves = np.divide(sums, runs, out=np.zeros_like(sums), where=reached & (runs > 0))
    lengths = reached.sum(axis=1)
    eao = curves.sum(axis=1)[lengths > 0] / lengths[lengths > 0]
    low, high = np.quantile(eao, [0.025, 0.975]) if eao.size else (np.nan, np.nan)
    return Interval(float("nan"), float(low), float(high))
