"""What fixes MDNet's shapes and algorithm."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from cdjax import crop, deep_features
from cdjax._types import Array, Float, Params, Shaped
from cdjax.trackers._config import SelectionConfig

NETWORKS = ("mdnet", "mdnet_matlab")

_LAYER = "conv3"

_CELLS_HW = (3, 3)
"""Rows and columns of conv3 on MDNet's patches."""

_PATCH_PX = 107


@dataclasses.dataclass(frozen=True, kw_only=True)
class MDNetConfig(SelectionConfig):
    """What fixes MDNet's shapes and algorithm; hashed by value. The defaults are py-MDNet's [1].

    Attributes (and those of `SelectionConfig`):
      network: "mdnet" (py-MDNet's norm) or "mdnet_matlab" (VGG-M's, and MATLAB's weights).
      chunk: patches that the network sees at once; None for 4 on a CPU, whose caches they fit, and
        256 elsewhere.
      num_boxes: candidates a frame.
      num_best: candidates of largest score whose mean is the box.
      trans: shift of candidates against the mean side of the box.
      trans_growth: factor on that after a failure.
      trans_most: what it grows to.
      box_step: ratio of a candidate's size to the last at the draw's limits.
      first_positives: target samples of the first frame.
      first_negatives: background samples that the first training chooses from.
      first_samples: boxes that the box regression chooses from.
      positives: target samples of each later frame.
      negatives: background samples of each frame, that later trainings choose from.
      long_frames: frames whose target samples are kept.
      short_frames: frames whose background samples are kept, and whose target samples a training
        after a failure uses.
      long_period: frames from one training to the next, where none fails.
      init_iters: iterations of the first training.
      init_rate: its learning rate.
      update_iters: iterations of later trainings.
      update_rate: their learning rate.
      last_rate_factor: learning rate of fc6 in units of the others'.
      batch_positives: target samples of an iteration.
      batch_candidates: background samples that an iteration scores.
      batch_negatives: those of them that it learns from, of largest score.
      momentum: share of the last step that stays.
      decay: weight decay.
      clip: largest norm of a gradient.
      regression_reg: ridge of the box regression.

    References:
      [1] Nam and Han, Learning multi-domain convolutional networks, 2016; py-MDNet.
    """

    network: str = "mdnet"
    chunk: int | None = None
    num_boxes: int = 256
    num_best: int = 5
    trans: float = 0.6
    trans_growth: float = 1.1
    trans_most: float = 1.5
    box_step: float = 1.05
    first_positives: int = 500
    first_negatives: int = 5000
    first_samples: int = 1000
    positives: int = 50
    negatives: int = 200
    long_frames: int = 100
    short_frames: int = 30
    long_period: int = 10
    init_iters: int = 50
    init_rate: float = 5e-4
    update_iters: int = 15
    update_rate: float = 1e-3
    last_rate_factor: float = 10.0
    batch_positives: int = 32
    batch_candidates: int = 1024
    batch_negatives: int = 96
    momentum: float = 0.9
    decay: float = 5e-4
    clip: float = 10.0
    regression_reg: float = 1000.0

    selections = tuple(name for name in SelectionConfig.selections if name != "exact")
    traceable = (
        *SelectionConfig.traceable,
        "trans",
        "trans_growth",
        "trans_most",
        "init_rate",
        "update_rate",
        "last_rate_factor",
        "regression_reg",
    )

    def __post_init__(self) -> None:
        require = self.require
        require(self.network in NETWORKS, "network", f"use one of {', '.join(NETWORKS)}")
        super().__post_init__()
        require(self.chunk is None or self.chunk >= 1, "chunk", "use 1 or more")
        for name in (
            "num_boxes",
            "num_best",
            "first_samples",
            "positives",
            "negatives",
            "long_frames",
            "short_frames",
            "long_period",
            "init_iters",
            "update_iters",
            "batch_positives",
            "batch_negatives",
        ):
            require(getattr(self, name) >= 1, name, "use 1 or more")
        require(self.num_best <= self.num_boxes, "num_best", f"use at most {self.num_boxes}")
        fits = self.first_positives >= self.positives
        require(fits, "first_positives", f"use positives={self.positives} or more")
        require(self.first_negatives >= 2, "first_negatives", "use 2 or more")
        fits = self.batch_candidates >= self.batch_negatives
        require(fits, "batch_candidates", f"use batch_negatives={self.batch_negatives} or more")
        fits = self.short_frames <= self.long_frames
        require(fits, "short_frames", f"use at most long_frames={self.long_frames}")
        for name in ("trans", "init_rate", "update_rate", "last_rate_factor", "regression_reg"):
            require(getattr(self, name) > 0, name, "use a positive number")
        require(self.trans_growth >= 1, "trans_growth", "use 1 or more")
        require(self.trans_most >= self.trans, "trans_most", f"use trans={self.trans} or more")
        require(self.box_step > 1, "box_step", "use a ratio above 1")
        require(0 <= self.momentum < 1, "momentum", "use a number from 0, below 1")
        require(self.decay >= 0, "decay", "use 0 or more")
        require(self.clip > 0, "clip", "use a positive number")

    @property
    def backbone(self) -> deep_features.Backbone:
        """The network and its candidate layer."""
        return deep_features.Backbone(network=self.network, layers=(_LAYER,))

    @property
    def patch_px(self) -> int:
        """Side of a patch, px."""
        return _PATCH_PX

    @property
    def grid_hw(self) -> tuple[int, int]:
        """Rows and columns of the feature maps, cells."""
        return _CELLS_HW

    @property
    def num_patches(self) -> int:
        """Patches that the network sees in a frame where the target is found."""
        return self.num_boxes + self.positives + self.negatives

    def extract(self, params: Params, patches: Float[Array, "n p p ch"]) -> Float[Array, "n *_"]:
        """Computes what of patches a frame needs at least: all candidate features."""
        one = lambda some: deep_features.candidate_features(self.backbone, params, some)
        return self.in_chunks(one, patches)

    def extract_around(
        self, params: Params, frame: Shaped[Array, "H W 3"], box: Float[Array, "4"]
    ) -> Any:
        """Cuts what a frame needs at least around a box, and computes all candidate features."""
        size = box[2:].mean()
        moved = jnp.linspace(box[:2], box[:2] + size, self.num_patches)
        boxes = jnp.concatenate([moved, jnp.broadcast_to(box[None, 2:], moved.shape)], axis=1)
        one = lambda some: deep_features.candidate_features(
            self.backbone, params, crop.mdnet_crop(frame, some)
        )
        return self.in_chunks(one, boxes)

    def in_chunks(
        self,
        function: Callable[[Shaped[Array, "m *_"]], Float[Array, "m f"]],
        items: Shaped[Array, "n *_"],
    ) -> Float[Array, "n f"]:
        """Maps items to features, a few at a time: thousands of patches would not fit."""

        def run(items: Shaped[Array, "n *_"], most: int) -> Float[Array, "n f"]:
            count = items.shape[0]
            size = min(most, count)
            spare = ((0, -count % size), *((0, 0),) * (items.ndim - 1))
            chunks = jnp.pad(items, spare, mode="edge").reshape(-1, size, *items.shape[1:])
            features = jax.lax.map(function, chunks)
            return features.reshape(-1, features.shape[-1])[:count]

        if self.chunk is not None:
            return run(items, self.chunk)
        few, many = (functools.partial(run, most=most) for most in (4, 256))
        return jax.lax.platform_dependent(items, cpu=few, default=many)
