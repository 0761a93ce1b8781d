"""Scores boxes against ground truth by OTB's rules; NumPy float64, no files.

The rules of this preset, "otb": success counts overlaps strictly above 21 thresholds
from 0 to 1, and its AUC is the mean of the 21; precision counts centre errors of at
most 0 to 50 px, and 20 px is quoted. The first frame counts. A frame without valid
ground truth is left out of numerator and denominator. A result that is not finite, or
empty, is replaced by the one before it.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from cdjax._errors import InputError
from cdjax.boxes import Boxes, iou, to_centers

THRESHOLDS = np.arange(21) / 20.0
PIXELS = np.arange(51)

PRESET: dict[str, Any] = {
    "name": "otb",
    "success": "overlap > 0:0.05:1 (21 thresholds), AUC is their mean",
    "precision": "centre error <= 20 px",
    "first_frame": "counts",
    "absent_ground_truth": "frame left out",
}


class Score(NamedTuple):
    """How well boxes agree with ground truth.

    Attributes:
      success: share of frames with more overlap than each of `THRESHOLDS`.
      precision: share of frames with at most each of `PIXELS` of centre error.
      num_frames: frames scored; where there is none, the shares are NaN.
    """

    success: Float[np.ndarray, "21"]
    precision: Float[np.ndarray, "51"]
    num_frames: int

    @property
    def success_auc(self) -> float:
        """Area under the success curve: the mean of its 21 values."""
        return float(self.success.mean())

    @property
    def precision_20(self) -> float:
        """Precision at 20 px."""
        return float(self.precision[20])


def success_curve(overlaps: Float[np.ndarray, " n"]) -> Float[np.ndarray, "21"]:
    """Returns the share of frames whose overlap is strictly above each threshold.

    Args:
      overlaps: of the frames that count.

    Returns:
      21 values, not rising; NaN if there is no frame.
    """
    if overlaps.size == 0:
        return np.full(21, np.nan)
    return (overlaps[:, None] > THRESHOLDS).mean(axis=0)


def precision_curve(errors: Float[np.ndarray, " n"]) -> Float[np.ndarray, "51"]:
    """Returns the share of frames whose centre error is at most 0, 1, ..., 50 px.

    Args:
      errors: of the frames that count, px.

    Returns:
      51 values, not falling; NaN if there is no frame.
    """
    if errors.size == 0:
        return np.full(51, np.nan)
    return (errors[:, None] <= PIXELS).mean(axis=0)


def has_target(truth: Boxes) -> Bool[np.ndarray, " n"]:
    """Says which rows are boxes: finite, of positive size."""
    valid = np.isfinite(truth).all(axis=1) & (truth[:, 2:] > 0).all(axis=1)
    return np.asarray(valid)


def repair(boxes: Boxes) -> Boxes:
    """Replaces results that are not boxes by the last one before them."""
    rows = np.where(has_target(boxes), np.arange(len(boxes)), 0)
    return boxes[np.maximum.accumulate(rows)] if len(boxes) else boxes


def score(boxes: Boxes, truth: Float[np.ndarray, "m 4"]) -> Score:
    """Scores one sequence.

    Args:
      boxes: a tracker's, a row a frame, the start box first.
      truth: the ground truth, as many rows, of the same origin.

    Returns:
      Both curves.

    Raises:
      InputError: if the numbers of rows differ.
    """
    if len(boxes) != len(truth):
        raise InputError(
            f"{len(boxes)} result boxes for {len(truth)} frames of ground truth; "
            "score the boxes of the same frames"
        )
    valid = has_target(truth)
    boxes, truth = repair(boxes)[valid], truth[valid]
    errors = np.linalg.norm(to_centers(boxes) - to_centers(truth), axis=1)
    errors = np.where(np.isnan(errors), np.inf, errors)
    overlaps = np.nan_to_num(iou(boxes, truth))
    return Score(success_curve(overlaps), precision_curve(errors), int(valid.sum()))
