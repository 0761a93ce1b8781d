"""Results of many sequences against their ground truth: scores, means, what is left out."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from cdjax._errors import InputError
from cdjax.benchmark._metrics import FIGURES, Preset, Score, find_preset, has_target, score
from cdjax.benchmark._sequence import Sequence
from cdjax.boxes import Boxes

# Rows before the annotation in published results: Tiger1 from image 1 on, not 6.
_ROWS_BEFORE = {"Tiger1": 5}


class Table(NamedTuple):
    """The scores of one tracker on the sequences of a dataset.

    Attributes:
      preset: name of the rules.
      scores: of the sequences that could be scored.
      omitted: why the others are left out of every mean.
      notes: how results were made to fit before they were scored.
      extra: results that belong to none of the sequences.
    """

    preset: str
    scores: dict[str, Score]
    omitted: dict[str, str]
    notes: dict[str, str]
    extra: tuple[str, ...]

    def values(
        self, figure: str = "success_auc", names: Iterable[str] | None = None
    ) -> dict[str, float]:
        """Returns one figure a sequence.

        Args:
          figure: one of `FIGURES`.
          names: of the sequences; those left out are not in the result. All by default.

        Raises:
          InputError: for a sequence that the table does not know, or an unknown figure.
        """
        if figure not in FIGURES:
            raise InputError(f"no figure {figure!r}; there are: {', '.join(FIGURES)}")
        names = list(self.scores if names is None else names)
        for name in names:
            if name not in self.scores and name not in self.omitted:
                raise InputError(f"sequence {name!r} is not in the table of {len(self.scores)}")
        return {n: getattr(self.scores[n], figure) for n in names if n in self.scores}

    def mean(self, names: Iterable[str] | None = None) -> dict[str, float]:
        """Returns the mean of every figure over sequences.

        Args:
          names: of the sequences, of which those left out (`omitted`) do not count. All
            by default.

        Returns:
          A mean for each of `FIGURES`; NaN if none of the sequences has a score.

        Raises:
          InputError: for a sequence that the table does not know.
        """
        names = None if names is None else list(names)
        return {figure: _mean(self.values(figure, names)) for figure in FIGURES}

    def curves(self, names: Iterable[str] | None = None) -> Score | None:
        """Returns the mean curves over sequences, or None if none has a score.

        Args:
          names: as for `mean`.

        Raises:
          InputError: for a sequence that the table does not know.
        """
        picked = [self.scores[name] for name in self.values(names=names)]
        if not picked:
            return None
        return Score(
            np.mean([s.success for s in picked], axis=0),
            np.mean([s.precision for s in picked], axis=0),
            np.mean([s.norm_precision for s in picked], axis=0),
            sum(s.num_frames for s in picked),
        )


def _mean(values: dict[str, float]) -> float:
    return float(np.mean(list(values.values()))) if values else float("nan")


def score_results(
    results: Mapping[str, Boxes], sequences: Iterable[Sequence], *, preset: str | Preset = "otb"
) -> Table:
    """Scores a tracker's results on every sequence of a dataset.

    Args:
      results: boxes from 0 by sequence, such as `read_results` returns.
      sequences: the dataset; frames are not needed.
      preset: whose rules, by name or as a `Preset`.

    Returns:
      The table; what could not be scored is in it with the reason.

    Raises:
      InputError: for an unknown preset.
    """
    preset = find_preset(preset)
    table = Table(preset.name, {}, {}, {}, ())
    known = set()
    for sequence in sequences:
        known.add(sequence.name)
        if sequence.name not in results:
            table.omitted[sequence.name] = "no result"
            continue
        boxes = np.asarray(results[sequence.name], np.float64)
        try:
            boxes, truth, note = fit_rows(boxes, sequence, preset=preset)
            scored = score(boxes, truth, preset=preset)
        except InputError as error:
            table.omitted[sequence.name] = str(error)
            continue
        if not scored.num_frames:
            table.omitted[sequence.name] = "no frame with ground truth"
            continue
        table.scores[sequence.name] = scored
        if bad := int((~has_target(boxes)).sum()):
            note += "; " * bool(note)
            note += f"{bad} of {len(boxes)} results are no boxes (NaN or no size)"
        if note:
            table.notes[sequence.name] = note
    return table._replace(extra=tuple(name for name in results if name not in known))


def fit_rows(
    boxes: Boxes, sequence: Sequence, *, preset: str | Preset = "otb"
) -> tuple[Float[np.ndarray, "r 4"], Float[np.ndarray, "t 4"], str]:
    """Makes results and ground truth equally long, by the preset's rule.

    Args:
      boxes: the results.
      sequence: whose ground truth.
      preset: whose rules.

    Returns:
      Results and ground truth for `score`, and what was done; "" for nothing.

    Raises:
      InputError: if there is no row, or the preset refuses other numbers of rows.
    """
    preset, truth = find_preset(preset), sequence.boxes
    num_rows, num_frames = len(boxes), len(truth)
    if not num_rows:
        raise InputError("no rows in the result")
    if num_rows == num_frames:
        return boxes, truth, ""
    if num_rows == num_frames + _ROWS_BEFORE.get(sequence.name, np.nan):
        note = f"{num_rows} rows for {num_frames} frames: without those before the annotation"
        return boxes[num_rows - num_frames :], truth, note
    if preset.length == "refuse":
        raise InputError(f"{num_rows} rows for {num_frames} frames, and {preset.name} wants all")
    if num_rows > num_frames:
        note = f"{num_rows} rows for {num_frames} frames: the last are cut"
        return boxes[:num_frames], truth, note
    if preset.length == "pad":
        note = f"{num_rows} of {num_frames} rows: the others count as boxes of zeros"
        return boxes, truth, note
    note = f"{num_rows} of {num_frames} rows: only these frames are scored"
    return boxes, truth[:num_rows], note
