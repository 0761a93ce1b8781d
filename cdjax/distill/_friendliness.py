"""How well each channel follows the object: strong on it, and steady from frame to frame."""

import jax
import jax.numpy as jnp

from cdjax._types import Array, Float, Number

FORMS = ("ratio", "literal", "opposite", "sum", "energy", "stability")
STRENGTHS = ("power", "norm", "mean")


def _raised(base: Array, exponent: Number) -> Array:
    """Raises the size to a power and keeps the sign; nothing is computed for the first power."""
    if not isinstance(exponent, jax.Array) and exponent == 1:
        return base
    return jnp.copysign(jnp.abs(base) ** exponent, base)


def friendliness(
    history: Float[Array, "t h w c"],
    *,
    form: str = "ratio",
    strength: str = "power",
    per_cell: bool = True,
    kappa: float = 1.0,
    strength_exponent: Number = 1.0,
    stability_exponent: Number = 1.0,
    eps: float = 1e-12,
) -> Float[Array, " c"]:
    """Scores every channel on the object's patches of consecutive frames [1, §III-B].

    With s the strength of a channel and t minus its squared change to the next frame, the score is
    the mean over frames of

    - "ratio": t / s (the reading that grows with both; invariant to a channel's gain), or with
      exponents -|t|^stability / s^strength,
    - "literal": (s - 1) t, as the formula is printed, and "opposite": (1 - s) t,
    - "sum": s + kappa t,
    - "energy": s alone, and "stability": t alone.

    Args:
      history: maps of the object patch in consecutive frames, after ReLU, not windowed.
      form: which reading of the formula.
      strength: s as mean square ("power"), as norm over cells ("norm") or as mean absolute value
        ("mean").
      per_cell: divides t by the number of cells, as s is; else channels of large maps rank last
        where layers of different size are compared.
      kappa: weight of t in "sum".
      strength_exponent: of s in "ratio"; 0 leaves stability alone.
      stability_exponent: of |t| in "ratio"; 0 leaves strength alone.
      eps: mean square below which a channel is dead and scores minus infinity.

    Returns:
      Scores; larger is better.

    Raises:
      ValueError: for an unknown form or strength.

    References:
      [1] Distilling channels for efficient deep tracking. Differs: t is divided by the number of
        cells by default, as s is.
    """
    if form not in FORMS:
        raise ValueError(f"unknown friendliness form {form!r}; there are {', '.join(FORMS)}")
    if strength not in STRENGTHS:
        raise ValueError(f"unknown strength {strength!r}; there are {', '.join(STRENGTHS)}")
    before, after = history[:-1], history[1:]
    cells = history.shape[1] * history.shape[2]
    power = jnp.mean(before**2, axis=(1, 2))
    s = {
        "power": power,
        "norm": jnp.sqrt(power / cells),  # ||f|| / m
        "mean": jnp.mean(jnp.abs(before), axis=(1, 2)),
    }[strength]
    t = -jnp.mean((after - before) ** 2, axis=(1, 2))
    if not per_cell:
        t = t * cells
    scores = {
        "ratio": _raised(t, stability_exponent) / _raised(jnp.maximum(s, eps), strength_exponent),
        "literal": (s - 1) * t,
        "opposite": (1 - s) * t,
        "sum": s + kappa * t,
        "energy": s,
        "stability": t,
    }[form]
    alive = jnp.min(power, axis=0) > eps
    return jnp.where(alive, jnp.mean(scores, axis=0), -jnp.inf)
