"""What the configs of all trackers share."""

import abc
import copy
import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from cdjax import crop, deep_features, distill
from cdjax._errors import InputError
from cdjax._types import Array, Float, Shaped
from cdjax.trackers._choose import SELECTIONS


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelectionConfig(abc.ABC):
    """How channels are chosen.

    Attributes:
      select: "all" (no distillation), or how the second frame chooses channels: "swap" (the paper),
        "exact" (filters re-trained for every swap), "friendliness" (the best of the ranking), the
        controls "energy" (as many, of largest energy) and "random" (as many, drawn).
      friendliness: form of the ranking, see `distill.friendliness`.
      strength_exponent: see `distill.friendliness`; for "ratio" alone.
      stability_exponent: see `distill.friendliness`; for "ratio" alone.
      num_channels: candidates to keep; None finds the number, in arrays that have room for all
        (`Tracker.compact` cuts them down). Of no effect where `select` is "all".
      min_channels: least number that may be found; None leaves it to the tracker.
      max_rounds: most rounds of swap search and training.
      seed: key of all that is drawn, such as the random control, where `init` is given none.
      aux: returns diagnostics in `TrackOutput.aux`.
    """

    selections: ClassVar[tuple[str, ...]] = ("all", *SELECTIONS)
    """Values of `select` that the tracker knows."""
    traceable: ClassVar[tuple[str, ...]] = ("strength_exponent", "stability_exponent")
    """Fields that `vary` may trace: numbers that fix no shape."""

    select: str = "all"
    friendliness: str = "ratio"
    strength_exponent: float = 1.0
    stability_exponent: float = 1.0
    num_channels: int | None = None
    min_channels: int | None = None
    max_rounds: int = 5
    seed: int = 0
    aux: bool = False

    @property
    @abc.abstractmethod
    def backbone(self) -> deep_features.Backbone:
        """The network and its candidate layers."""

    @property
    def candidates(self) -> dict[str, int]:
        """The channels that the filter may use, by layer."""
        backbone = self.backbone
        return dict(zip(backbone.layers, backbone.layer_channels, strict=True))

    @property
    def num_candidates(self) -> int:
        """Channels that distillation chooses from."""
        return sum(self.candidates.values())

    @property
    def num_held(self) -> int:
        """Channels that the state has room for."""
        if self.select == "all" or self.num_channels is None:
            return self.num_candidates
        return self.num_channels

    def fitted(self, wh: Any) -> Any:
        """The config whose shapes suit a target's width and height; see `Tracker.fit`."""
        del wh
        return self

    def with_arrays(self, values: Mapping[str, Array]) -> Any:
        """A copy that holds arrays, which are not checked; not to be hashed."""
        varied = copy.copy(self)
        for name, value in values.items():
            object.__setattr__(varied, name, value)
        return varied

    def require(self, good: bool, name: str, remedy: str) -> None:
        """Raises an InputError that names a field, its value and the remedy, unless it is good."""
        if not good:
            raise InputError(f"{name}={getattr(self, name)!r}: {remedy}")

    def __post_init__(self) -> None:
        for name, allowed in (("select", self.selections), ("friendliness", distill.FORMS)):
            known = getattr(self, name) in allowed
            self.require(known, name, f"use one of {', '.join(allowed)}")
        for name in ("strength_exponent", "stability_exponent"):
            self.require(getattr(self, name) >= 0, name, "use 0 or more")
        for name in ("strength_exponent", "stability_exponent"):
            fits = getattr(self, name) == 1 or self.friendliness == "ratio"
            self.require(fits, name, 'use 1, or friendliness="ratio"')
        self.require(self.max_rounds >= 1, "max_rounds", "use 1 or more")
        for name in ("num_channels", "min_channels"):
            value, most = getattr(self, name), self.num_candidates
            self.require(value is None or 1 <= value <= most, name, f"use 1 to {most}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistillationConfig(SelectionConfig):
    """How a filter samples and searches the frame, and how its channels are chosen.

    Attributes (and those of `SelectionConfig`):
      supersample: samples along each side of a pixel of the patch that are averaged, against
        aliasing.
      num_scales: scales searched by the filter in every frame, odd; 1 searches none.
      scale_step: ratio of neighbouring scales.
      prefix_slack: of the prefix curve, which finds the number of channels where `num_channels` is
        None: the fewest whose held-out error is within this fraction of the least.
      gain_free: the prefix curve compares the best-scaled response with the label.
    """

    supersample: int = 1
    num_scales: int = 1
    scale_step: float = 1.03
    prefix_slack: float = 0.005
    gain_free: bool = True

    traceable = (*SelectionConfig.traceable, "scale_step", "prefix_slack")

    @property
    def factors(self) -> np.ndarray | Float[Array, " s"]:
        """The scales searched, ascending; the middle one is 1."""
        powers = np.arange(self.num_scales) - self.num_scales // 2
        return (self.scale_step**powers).astype(np.float32)

    @property
    def log_step(self) -> Any:
        """Logarithm of `scale_step`."""
        log = jnp.log if isinstance(self.scale_step, jax.Array) else math.log
        return log(self.scale_step)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.supersample >= 1, "supersample", "use 1 or more")
        odd = self.num_scales >= 1 and self.num_scales % 2 == 1
        self.require(odd, "num_scales", "use an odd number from 1")
        self.require(self.scale_step > 1, "scale_step", "use a ratio above 1")
        self.require(self.prefix_slack >= 0, "prefix_slack", "use 0 or more")


def patches_around(
    frame: Shaped[Array, "H W ch"],
    box: Float[Array, "4"],
    *,
    num: int,
    out_hw: tuple[int, int],
    supersample: int,
    region_scale: float = 3.0,
) -> Float[Array, "n p q ch"]:
    """Cuts as many and as large patches as a step does, of regions of somewhat different sizes.

    Args:
      frame: pixels.
      box: (x, y, w, h), px.
      num: how many.
      out_hw: their rows and columns of samples.
      supersample: see `crop.crop_patch`.
      region_scale: sides of the first one's region against the box.

    Returns:
      The patches.
    """
    return crop.scale_pyramid(
        frame,
        box[:2] + (box[2:] - 1) / 2,
        region_scale * box[:1:-1],
        # All different, or the compiler would cut one patch for all.
        jnp.linspace(1.0, 1.1, num),
        out_hw=out_hw,
        supersample=supersample,
    )


def after(box: Float[Array, "4"], maps: Float[Array, "*_"]) -> Float[Array, "4"]:
    """The box, but not before the maps: in a step they decide where it lies."""
    return box + 0 * maps.ravel()[0]
