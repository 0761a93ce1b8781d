"""MDNet's fully connected layers as pure functions of their weights; no convolutions."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from cdjax._errors import InputError
from cdjax._types import Array, Bool, Float, Params

HEAD_LAYERS = ("fc4", "fc5", "fc6")
"""The layers of the head, in order."""


class DropoutMasks(NamedTuple):
    """Which inputs of fc5 and fc6 are kept, a row a sample; those kept count twice.

    Attributes:
      fc5: inputs of fc5.
      fc6: inputs of fc6.
    """

    fc5: Bool[Array, "*n u"]
    fc6: Bool[Array, "*n u"]


def init_head(key: Array, *, num_features: int = 4608, num_units: int = 512) -> Params:
    """Draws a head as MDNet does: weights N(0, 0.01^2), bias 0.1, of fc6 0 [1, §4].

    Args:
      key: random key.
      num_features: inputs of fc4; 9 a channel of conv3.
      num_units: outputs of fc4 and fc5.

    Returns:
      "kernel" [inputs, outputs] and "bias" of "fc4", "fc5" and "fc6"; fc6 has two outputs,
      background and target.

    References:
      [1] Nam and Han, Learning multi-domain convolutional networks, 2016.
    """
    shapes = ((num_features, num_units), (num_units, num_units), (num_units, 2))
    keys = jax.random.split(key, len(shapes))
    return {
        name: {
            "kernel": 0.01 * jax.random.normal(k, shape, jnp.float32),
            "bias": jnp.full(shape[1:], 0.0 if name == "fc6" else 0.1, jnp.float32),
        }
        for name, k, shape in zip(HEAD_LAYERS, keys, shapes, strict=True)
    }


def start_head(key: Array, params: Params) -> Params:
    """Takes the layers of the head that pre-trained weights hold, and draws the others.

    Args:
      key: random key.
      params: weights of "mdnet" or "mdnet_matlab", whose conv3 sees 3x3 cells; py-MDNet's hold
        fc4 and fc5, VGG-M's none.

    Returns:
      The head, see `init_head`.

    Raises:
      InputError: if a layer has another shape.
    """
    head = init_head(key)
    shapes = lambda layer: {name: jnp.shape(array) for name, array in layer.items()}
    for name in head:
        if name in params:
            if shapes(params[name]) != shapes(head[name]):
                raise InputError(
                    f"weights of {name} have shapes {shapes(params[name])}, expected "
                    f"{shapes(head[name])}: convert a file of MDNet"
                )
            head[name] = params[name]
    return head


def draw_masks(
    key: Array, *, shape: tuple[int, ...], num_units: int = 512, keep: float = 0.5
) -> DropoutMasks:
    """Draws dropout masks.

    Args:
      key: random key.
      shape: leading axes, such as (iterations, samples of one).
      num_units: inputs of fc5 and fc6.
      keep: share of the inputs that stay.

    Returns:
      The masks.
    """
    first, second = jax.random.split(key)
    draw = lambda k: jax.random.bernoulli(k, keep, (*shape, num_units))
    return DropoutMasks(draw(first), draw(second))


def score(
    head: Params,
    features: Float[Array, "n f"],
    *,
    masks: DropoutMasks | None = None,
    keep: float = 0.5,
    precision: str | None = "highest",
) -> Float[Array, "n 2"]:
    """Scores candidates.

    Args:
      head: weights as of `init_head`.
      features: of the candidates, in the order of fc4's inputs.
      masks: kept inputs, for a step of training; all are kept if None.
      keep: share that `masks` keep; kept inputs are divided by it.
      precision: of the matrix products; ranks of hard negatives depend on it.

    Returns:
      Raw logits (background, target); MDNet ranks by the second, not by a softmax.
    """

    def layer(name: str, inputs: Float[Array, "n i"]) -> Float[Array, "n o"]:
        weights = head[name]
        return jnp.matmul(inputs, weights["kernel"], precision=precision) + weights["bias"][None]

    units = jax.nn.relu(layer("fc4", features))
    if masks is not None:
        units = jnp.where(masks.fc5, units / keep, 0.0)
    units = jax.nn.relu(layer("fc5", units))
    if masks is not None:
        units = jnp.where(masks.fc6, units / keep, 0.0)
    return layer("fc6", units)
