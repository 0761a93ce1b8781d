"""MDNet's ridge regression from a candidate's features to its box; no sampling."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from cdjax._types import Array, Bool, Box, Float, Int, Number


class BoxRegression(NamedTuple):
    """Linear maps from features to shifts and log scales.

    Attributes:
      coef: weights of (dx / w, dy / h, ln w, ln h).
      intercept: their constants.
    """

    coef: Float[Array, "f 4"]
    intercept: Float[Array, "4"]


def fit_box_regression(
    features: Float[Array, "n f"],
    boxes: Float[Array, "n 4"],
    target: Box,
    valid: Bool[Array, " n"],
    *,
    reg: Number = 1000.0,
    precision: str | None = "highest",
) -> BoxRegression:
    """Fits the ridge regression by its dual of n x n equations [1].

    Args:
      features: of the samples; f may be much larger than n.
      boxes: the samples, px.
      target: the box that all of them should give.
      valid: samples that count, see `crop.regression_samples`; without any the result is zero.
      reg: weight of |coef|^2; the intercept is free.
      precision: of the matrix products.

    Returns:
      The regression.

    References:
      [1] Girshick et al., Rich feature hierarchies, 2014, appendix C; samples and penalty of
        py-MDNet's `tracking/bbreg.py`.
    """
    weight = valid.astype(jnp.float32)[:, None]
    count = jnp.maximum(weight.sum(), 1.0)
    # Rows that do not count may hold anything, as padding does.
    boxes = jnp.where(valid[:, None], boxes, jnp.array([0.0, 0.0, 1.0, 1.0])[None])
    features = jnp.where(valid[:, None], features, 0.0)
    shift = (target[:2] + target[2:] / 2)[None] - boxes[:, :2] - boxes[:, 2:] / 2
    aims = jnp.concatenate([shift / boxes[:, 2:], jnp.log(target[None, 2:] / boxes[:, 2:])], axis=1)
    feature_mean = (features * weight).sum(0) / count
    aim_mean = (aims * weight).sum(0) / count
    # Rows that do not count become zero: they neither give nor get a dual weight.
    features = (features - feature_mean[None]) * weight
    aims = (aims - aim_mean[None]) * weight
    gram = jnp.matmul(features, features.T, precision=precision)
    gram = gram + reg * jnp.eye(gram.shape[0], dtype=jnp.float32)
    dual = jax.scipy.linalg.solve(gram, aims, assume_a="pos")
    coef = jnp.matmul(features.T, dual, precision=precision)
    return BoxRegression(coef, aim_mean - jnp.matmul(feature_mean, coef, precision=precision))


def regress_boxes(
    regression: BoxRegression,
    features: Float[Array, "n f"],
    boxes: Float[Array, "n 4"],
    frame_hw: Int[Array, "2"],
    *,
    precision: str | None = "highest",
) -> Float[Array, "n 4"]:
    """Moves and scales boxes as their features say, and keeps them in the frame [1].

    Args:
      regression: of `fit_box_regression`.
      features: of the boxes.
      boxes: boxes, px.
      frame_hw: true height and width of the frame, px.
      precision: of the matrix product.

    Returns:
      The boxes: corners at 0 or more, and sizes up to what the frame holds right of and below the
      corner that a box had before.

    References:
      [1] py-MDNet, `tracking/bbreg.py`.
    """
    found = jnp.matmul(features, regression.coef, precision=precision)
    found = found + regression.intercept[None]
    centre = boxes[:, :2] + boxes[:, 2:] / 2 + found[:, :2] * boxes[:, 2:]
    wh = boxes[:, 2:] * jnp.exp(found[:, 2:])
    room = jnp.maximum(frame_hw[::-1].astype(jnp.float32)[None] - boxes[:, :2], 1.0)
    return jnp.concatenate([jnp.maximum(centre - wh / 2, 0.0), jnp.minimum(wh, room)], axis=1)
