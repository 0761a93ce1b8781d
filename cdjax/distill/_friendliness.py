"""How well each channel follows the object: strong on it, and steady from frame to frame."""

import jax.numpy as jnp

from cdjax._types import Array, Float

FORMS = ("ratio", "literal", "energy", "stability")


def friendliness(
    history: Float[Array, "t h w c"], *, form: str = "ratio", eps: float = 1e-12
) -> Float[Array, " c"]:
    """Scores every channel on the object's patches of consecutive frames [1, §III-B].

    With s the mean square of a channel and t minus its mean squared change to the next frame, both
    per cell, the score is the mean over frames of

    - "ratio": t / s (the reading that grows with both; invariant to a channel's gain),
    - "literal": (s - 1) t, as the formula is printed,
    - "energy": s alone, and "stability": t alone.

    Args:
      history: maps of the object patch in consecutive frames, after ReLU, not windowed.
      form: which reading of the formula.
      eps: mean square below which a channel is dead and scores minus infinity.

    Returns:
      Scores; larger is better.

    Raises:
      ValueError: for an unknown form.

    References:
      [1] Distilling channels for efficient deep tracking. Differs: both terms are divided by the
        number of cells, so that maps of different layers compare.
    """
    if form not in FORMS:
        raise ValueError(f"unknown friendliness form {form!r}; there are {', '.join(FORMS)}")
    energy = jnp.mean(history[:-1] ** 2, axis=(1, 2))
    stability = -jnp.mean((history[1:] - history[:-1]) ** 2, axis=(1, 2))
    scores = {
        "ratio": stability / jnp.maximum(energy, eps),
        "literal": (energy - 1) * stability,
        "energy": energy,
        "stability": stability,
    }[form]
    alive = jnp.min(energy, axis=0) > eps
    return jnp.where(alive, jnp.mean(scores, axis=0), -jnp.inf)
