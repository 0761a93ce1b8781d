"""Scores boxes against ground truth by the rules of a named toolkit; NumPy float64, no files.

A `Preset` holds the rules of one toolkit and tells them beside the numbers. All presets
take the centre as xy + (wh - 1) / 2 and sizes as continuous lengths; an overlap has to
exceed a threshold, a centre error may equal it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from cdjax._errors import InputError
from cdjax.boxes import Boxes, iou, to_centers, to_otb

THRESHOLDS = np.arange(21) / 20.0
PIXELS = np.arange(51)
NORM_THRESHOLDS = np.arange(51) / 100.0

# Which ground truth counts as absent; the values of a file count from 1.
_ABSENT: dict[str, Callable[[Boxes], Any]] = {
    "a value <= 0": lambda truth: ~(to_otb(truth) > 0).all(axis=1),
    "a size <= 0": lambda truth: ~(truth[:, 2:] > 0).all(axis=1),
    "a centre <= 0": lambda truth: ~(to_centers(to_otb(truth)) > 0).all(axis=1),
    "NaN": lambda truth: np.isnan(truth).any(axis=1),
}
# What such a frame is taken for: its error is set to this, and overlap to -1.
_ERROR_IF_ABSENT = {"hit": -1.0, "miss": np.inf, "drop": np.nan}


@dataclass(frozen=True, kw_only=True)
class Preset:
    """The rules of a toolkit; `dataclasses.replace` makes a variant.

    Attributes:
      name: of the toolkit.
      thresholds: overlaps that a frame has to exceed, from 0 to 1.
      pixels: centre errors that it may reach, px; by ones from 0.
      first_frame: "truth" scores the ground truth itself there, "result" the tracker's box.
      results: what becomes of a result that is no box. "repeat": not finite or a size <= 0,
        replaced by the one before; "repeat empty": only sizes of 0 are replaced, and others
        make the sequence unfit; "keep": scored as it is, which is a miss.
      absent_overlap: which ground truth makes a frame a miss for success.
      absent_error: which ground truth has no centre error.
      if_absent: what a frame without centre error is taken for; "drop" leaves it out of
        every numerator and denominator.
      if_absent_norm: the same for normalised precision, unless dropped.
      length: what becomes of too few or too many rows. "cut": the frames that both have are
        scored; "pad": as cut, but missing rows are boxes of zeros; "refuse": the sequence
        is left out.
    """

    name: str
    thresholds: tuple[float, ...]
    pixels: tuple[float, ...] = tuple(map(float, PIXELS))
    first_frame: Literal["truth", "result"]
    results: Literal["repeat", "repeat empty", "keep"]
    absent_overlap: str
    absent_error: str
    if_absent: Literal["hit", "miss", "drop"]
    if_absent_norm: Literal["hit", "miss"]
    length: Literal["cut", "pad", "refuse"]

    def describe(self) -> dict[str, str]:
        """Tells the rules in words, to stand beside the numbers."""
        first = {"truth": "the ground truth counts", "result": "the tracker's box counts"}
        results = {
            "repeat": "not finite or a size <= 0: the box before is scored",
            "repeat empty": "a size of 0: the box before is scored; other: sequence left out",
            "keep": "scored as they are",
        }
        length = {
            "cut": "the frames that both have are scored",
            "pad": "missing rows are boxes of zeros, extra ones are cut",
            "refuse": "sequence left out",
        }
        if self.if_absent == "drop":
            absent = f"{self.absent_overlap}: frame left out"
        else:
            absent = (
                f"{self.absent_overlap}: a miss for success; {self.absent_error}: "
                f"a {self.if_absent} for precision, a {self.if_absent_norm} for normalised "
                "precision"
            )
        return {
            "name": self.name,
            "success": f"overlap > {len(self.thresholds)} thresholds from 0 to 1, AUC is their "
            "mean",
            "precision": f"centre error <= 0 to {self.pixels[-1]:g} px, 20 px is quoted",
            "norm_precision": "centre error / ground-truth size <= 0 to 0.5, 0.2 is quoted",
            "first_frame": first[self.first_frame],
            "results_that_are_no_boxes": results[self.results],
            "absent_ground_truth": absent,
            "number_of_rows": length[self.length],
        }


# Thresholds that multiply a step miss some twentieths by a rounding error, and with them
# overlaps that are exactly a twentieth; each preset takes those of its toolkit.
_MULTIPLES = tuple(float(v) for v in np.arange(21) * 0.05)

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="otb",
            # The benchmark's Python toolkit. The MATLAB one counts 0:0.05:1, whose 0.65 is
            # an ulp lower: tests/benchmark/test_oracles.py.
            thresholds=tuple(float(v) for v in THRESHOLDS),
            first_frame="truth",
            results="repeat",
            absent_overlap="a value <= 0",
            absent_error="a value <= 0",
            if_absent="hit",
            if_absent_norm="hit",
            length="cut",
        ),
        Preset(
            name="got10k",
            thresholds=_MULTIPLES,
            first_frame="truth",
            results="keep",
            absent_overlap="NaN",
            absent_error="NaN",
            if_absent="drop",
            if_absent_norm="miss",
            length="cut",
        ),
        Preset(
            name="pytracking",
            thresholds=_MULTIPLES,
            first_frame="truth",
            results="repeat empty",
            absent_overlap="a size <= 0",
            absent_error="a size <= 0",
            if_absent="miss",  # "hit" on its dataset uav
            if_absent_norm="hit",
            length="pad",
        ),
        Preset(
            name="pysot",
            thresholds=_MULTIPLES,
            first_frame="result",
            results="keep",
            absent_overlap="a size <= 0",
            absent_error="a centre <= 0",
            if_absent="hit",
            if_absent_norm="hit",
            length="refuse",
        ),
    )
}
"""The rules of each toolkit, as read in its code."""

PRESET: dict[str, Any] = PRESETS["otb"].describe()


def find_preset(preset: str | Preset) -> Preset:
    """Returns the preset of a name.

    Args:
      preset: its name, or a preset, which is returned.

    Raises:
      InputError: if there is none of this name.
    """
    if isinstance(preset, Preset):
        return preset
    if preset not in PRESETS:
        raise InputError(f"no preset {preset!r}; there are: {', '.join(PRESETS)}")
    return PRESETS[preset]


class Score(NamedTuple):
    """How well boxes agree with ground truth.

    Attributes:
      success: share of frames with more overlap than each of the preset's thresholds.
      precision: share of frames with at most each of `PIXELS` of centre error.
      norm_precision: the same for the error in units of the ground truth's size and
        `NORM_THRESHOLDS`.
      num_frames: frames scored; where there is none, the shares are NaN.
    """

    success: Float[np.ndarray, " b"]
    precision: Float[np.ndarray, "51"]
    norm_precision: Float[np.ndarray, "51"]
    num_frames: int

    @property
    def success_auc(self) -> float:
        """Area under the success curve: the mean of its values."""
        return float(self.success.mean())

    @property
    def success_50(self) -> float:
        """Success at an overlap of 0.5."""
        return float(self.success[(len(self.success) - 1) // 2])

    @property
    def precision_20(self) -> float:
        """Precision at 20 px."""
        return float(self.precision[20])

    @property
    def norm_precision_20(self) -> float:
        """Normalised precision at 0.2."""
        return float(self.norm_precision[20])


FIGURES = ("success_auc", "precision_20", "norm_precision_20", "success_50")
"""The single numbers of a `Score`."""


def success_curve(
    overlaps: Float[np.ndarray, " n"], *, thresholds: Any = THRESHOLDS
) -> Float[np.ndarray, " b"]:
    """Returns the share of frames whose overlap is strictly above each threshold.

    Args:
      overlaps: of the frames that count; NaN is above nothing.
      thresholds: by default 0, 0.05, ..., 1.

    Returns:
      A value a threshold, not rising; NaN if there is no frame.
    """
    if overlaps.size == 0:
        return np.full(len(thresholds), np.nan)
    return (overlaps[:, None] > np.asarray(thresholds)).mean(axis=0)


def precision_curve(
    errors: Float[np.ndarray, " n"], *, thresholds: Any = PIXELS
) -> Float[np.ndarray, " b"]:
    """Returns the share of frames whose centre error is at most each threshold.

    Args:
      errors: of the frames that count, px; NaN is below nothing.
      thresholds: by default 0, 1, ..., 50 px.

    Returns:
      A value a threshold, not falling; NaN if there is no frame.
    """
    if errors.size == 0:
        return np.full(len(thresholds), np.nan)
    return (errors[:, None] <= np.asarray(thresholds)).mean(axis=0)


def has_target(truth: Boxes) -> Bool[np.ndarray, " n"]:
    """Says which rows are boxes: finite, of positive size."""
    valid = np.isfinite(truth).all(axis=1) & (truth[:, 2:] > 0).all(axis=1)
    return np.asarray(valid)


def repair(boxes: Boxes) -> Boxes:
    """Replaces results that are not boxes by the last one before them."""
    return _repeat(boxes, ~has_target(boxes))


def _repeat(boxes: Boxes, bad: Any) -> Boxes:
    """Replaces bad rows by the last good one before them."""
    rows = np.where(bad, 0, np.arange(len(boxes)))
    return boxes[np.maximum.accumulate(rows)] if len(boxes) else boxes


class FrameErrors(NamedTuple):
    """What a preset makes of each frame that counts.

    Attributes:
      overlaps: intersection over union; -1 for a miss by rule, NaN where the result has none.
      errors: centre error, px; -1 for a hit and infinity for a miss by rule.
      norm_errors: the same, each axis in units of the ground truth's size.
    """

    overlaps: Float[np.ndarray, " n"]
    errors: Float[np.ndarray, " n"]
    norm_errors: Float[np.ndarray, " n"]


def frame_errors(
    boxes: Boxes, truth: Float[np.ndarray, "m 4"], *, preset: str | Preset = "otb"
) -> FrameErrors:
    """Measures one sequence frame by frame.

    Args:
      boxes: a tracker's, a row a frame, the start box first.
      truth: the ground truth, as many rows (more, where the preset pads), from 0.
      preset: whose rules.

    Returns:
      Overlaps and errors of the frames that count; those dropped are missing.

    Raises:
      InputError: if the numbers of rows differ, or the preset refuses the results.
    """
    preset = find_preset(preset)
    short = len(truth) - len(boxes)
    if short and not (short > 0 and preset.length == "pad"):
        raise InputError(
            f"{len(boxes)} result boxes for {len(truth)} frames of ground truth; "
            "score the boxes of the same frames"
        )
    boxes = np.where(np.isfinite(boxes), boxes, np.nan)
    truth = np.where(np.isfinite(truth), truth, np.nan)
    if preset.results == "repeat":
        boxes = repair(boxes)
    elif preset.results == "repeat empty":
        if refused := int((np.isnan(boxes).any(axis=1) | (boxes[:, 2:] < 0).any(axis=1)).sum()):
            raise InputError(
                f"{refused} results are not finite or of negative size, which "
                f"{preset.name} refuses; mend them or take another preset"
            )
        boxes = _repeat(boxes, (boxes[:, 2:] == 0).any(axis=1))
    if short:
        boxes = np.concatenate([boxes, np.zeros((short, 4))])
    if preset.first_frame == "truth":
        boxes = np.concatenate([truth[:1], boxes[1:]])
    no_overlap = _ABSENT[preset.absent_overlap](truth)
    no_error = _ABSENT[preset.absent_error](truth)
    if preset.if_absent == "drop":
        boxes, truth = boxes[~no_overlap], truth[~no_overlap]
        no_overlap = no_error = np.zeros(len(truth), bool)
    offsets = to_centers(boxes) - to_centers(truth)
    errors = np.linalg.norm(offsets, axis=1)
    sized = truth[:, 2:] > 0  # an error of 0 of no size is a miss, too
    relative = np.where(sized, offsets / np.where(sized, truth[:, 2:], 1.0), np.inf)
    norm_errors = np.linalg.norm(relative, axis=1)
    return FrameErrors(
        np.where(no_overlap, -1.0, iou(boxes, truth)),
        np.where(no_error, _ERROR_IF_ABSENT[preset.if_absent], errors),
        np.where(no_error, _ERROR_IF_ABSENT[preset.if_absent_norm], norm_errors),
    )


def score(boxes: Boxes, truth: Float[np.ndarray, "m 4"], *, preset: str | Preset = "otb") -> Score:
    """Scores one sequence.

    Args:
      boxes: a tracker's, a row a frame, the start box first.
      truth: the ground truth, as many rows (more, where the preset pads), from 0.
      preset: whose rules, by name or as a `Preset`.

    Returns:
      The three curves.

    Raises:
      InputError: if the numbers of rows differ, or the preset refuses the results.

    Example:
      >>> truth = np.array([[10.0, 10.0, 20.0, 20.0], [12.0, 10.0, 20.0, 20.0]])
      >>> score(truth + [1.0, 0.0, 0.0, 0.0], truth).precision[:2].tolist()
      [0.5, 1.0]
    """
    preset = find_preset(preset)
    frames = frame_errors(boxes, truth, preset=preset)
    return Score(
        success_curve(frames.overlaps, thresholds=preset.thresholds),
        precision_curve(frames.errors, thresholds=preset.pixels),
        precision_curve(frames.norm_errors, thresholds=NORM_THRESHOLDS),
        len(frames.overlaps),
    )
