"""ECO: factorised continuous convolution filters, over hand-crafted or deep blocks."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cdjax import crop, deep_features, distill, filters, locate
from cdjax._types import Array, Blocks, Box, Float, Int, Params, Shaped
from cdjax.trackers._base import Tracker, TrackOutput, read_start
from cdjax.trackers._choose import fitting_room, require_distilled
from cdjax.trackers._choose_projected import choose_projected
from cdjax.trackers._config import DistillationConfig, patches_around

_FLAT = 1e-3
"""Peak of the scale filter's response below which a target counts as flat; about 1 elsewhere."""

_GRAY = np.array([0.299, 0.587, 0.114], np.float32)


class SearchRegion(NamedTuple):
    """A square search region of a fixed side, but for small and large targets [ECO, `tracker.m`].

    Attributes:
      px: its side in the first frame, px, where that is within the limits.
      least: least side against the root of the box's area.
      most: greatest side against the same.
    """

    px: int
    least: float
    most: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class ECOConfig(DistillationConfig):
    """What fixes ECO's shapes and algorithm; hashed by value. The defaults are ECO-HC's.

    Distillation chooses among the projected channels; with a network HOG's are no candidates and
    stay. Where `num_scales` is 1, a scale filter of its own finds the size.

    Blocks are: for "hog" colour in cells of `color_cell` px and HOG in cells of `hog_cell`; for a
    network its layers and then HOG.

    Attributes (and those of `DistillationConfig`):
      network: "hog", or the network whose layers are the blocks.
      layers: its layers.
      compressed: channels of each block after projection.
      fits: whether `Tracker.fit` gives targets a sample, region and scale model by their size and
        aspect, as [1] does, instead of those below, with which one program serves all. In `make` it
        is True for ECO-HC and for ECO on VGG-M, unless `sample_px`, `region_scale` or `scale_cells`
        is given, or with a network `hog_cell` or `least_cell`. Records of a run hold the config
        before.
      sample_px: side of the search patch, px.
      region_scale: side of the search region against the root of the box's area.
      region: what the region is instead, see `SearchRegion`; set by `fitted` alone.
      whole: samples begin at whole pixels, as in [1], instead of at the target's exact place.
      least_cell: least side of a cell of a network's layer, px; finer maps are averaged.
      hog_cell: side of a cell of HOG, px.
      color_cell: side of a cell of colour, px.
      sigma: standard deviation of the label against the root of the box's area.
      learning_rate: prior weight of a new sample.
      num_slots: samples that the memory holds.
      train_gap: frames left out between two trainings.
      skip_after: frames, from the first, that all train before the gaps begin.
      num_iters: steps of conjugate gradients a training.
      init_iters: the same, in each round on the first frame.
      init_rounds: Gauss-Newton rounds on the first frame.
      forgetting: see `filters.train_eco`.
      data_weight: see `filters.train_eco`.
      reg_weight: see `filters.train_eco`.
      projection_weight: see `filters.train_joint`.
      projection_reg: see `filters.train_joint`.
      reg_edge: see `filters.spatial_reg`.
      reg_least: see `filters.spatial_reg`.
      reg_sparsity: see `filters.spatial_reg`.
      scale_cells: rows and columns of the scale filter's model, cells of 4 px.
      scale_rate: learning rate of the scale filter; 0 keeps the first frame's size where
        `num_scales` is 1.
      distil_iters: steps of conjugate gradients in each round of the distillation.

    References:
      [1] Danelljan et al., ECO: efficient convolution operators for tracking, 2017.
    """

    network: str = "hog"
    layers: tuple[str, ...] = ("fhog",)
    compressed: tuple[int, ...] = (3, 10)
    fits: bool = False
    sample_px: int = 198
    region_scale: float = 4.3
    region: SearchRegion | None = None
    whole: bool = True
    least_cell: int = 4
    hog_cell: int = 6
    color_cell: int = 4
    sigma: float = 1 / 16
    learning_rate: float = 0.009
    num_slots: int = 30
    train_gap: int = 5
    skip_after: int = 10
    num_iters: int = 5
    init_iters: int = 15
    init_rounds: int = 10
    forgetting: float = 50.0
    data_weight: float = 0.75
    reg_weight: float = 0.25
    projection_weight: float = 40.0
    projection_reg: float = 1e-7
    reg_edge: float = 1e-2
    reg_least: float = 1e-4
    reg_sparsity: float = 0.05
    scale_step: float = 1.02
    scale_cells: tuple[int, int] = (5, 5)
    scale_rate: float = 0.025
    prefix_slack: float = 0.05
    distil_iters: int = 15

    selections = tuple(name for name in DistillationConfig.selections if name != "exact")
    # Not `reg_sparsity`, which fixes the size of the penalty's kernel.
    traceable = (
        *DistillationConfig.traceable,
        "region_scale",
        "sigma",
        "learning_rate",
        "forgetting",
        "data_weight",
        "reg_weight",
        "projection_weight",
        "projection_reg",
        "reg_edge",
        "reg_least",
        "scale_rate",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require = self.require
        object.__setattr__(self, "layers", self.backbone.layers)
        num_blocks = 1 + len(self.layers)
        one_each = len(self.compressed) == num_blocks and min(self.compressed) >= 1
        require(one_each, "compressed", f"give {num_blocks} numbers from 1, one a block")
        require(self.hog_cell >= 2, "hog_cell", "use 2 px or more")
        for name in ("color_cell", "least_cell"):
            require(getattr(self, name) >= 1, name, "use 1 px or more")
        if self.network != "hog":
            support = self.layout.support_px
            require(support % self.hog_cell == 0, "hog_cell", f"use a divisor of {support}")
        require(min(self.block_sides) >= 5, "sample_px", "use 5 cells or more")
        most = [c for c, raw in zip(self.compressed, self.block_channels, strict=True) if c > raw]
        require(not most, "compressed", f"use at most {self.block_channels}")
        require(self.region_scale > 1, "region_scale", "use a number above 1")
        require(0 < self.learning_rate < 1, "learning_rate", "use a number between 0 and 1")
        require(0 <= self.scale_rate <= 1, "scale_rate", "use a number from 0 to 1")
        require(self.num_slots >= 2, "num_slots", "use 2 or more")
        for name in ("train_gap", "skip_after", "forgetting"):
            require(getattr(self, name) >= 0, name, "use 0 or more")
        for name in ("num_iters", "init_iters", "init_rounds", "distil_iters"):
            require(getattr(self, name) >= 1, name, "use 1 or more")
        for name in ("sigma", "projection_weight", "projection_reg", "reg_edge", "reg_least"):
            require(getattr(self, name) > 0, name, "use a positive number")
        require(0 < self.reg_sparsity < 1, "reg_sparsity", "use a number between 0 and 1")
        for name in ("data_weight", "reg_weight"):
            require(0 < getattr(self, name) < 1, name, "use a number between 0 and 1")
        pair = len(self.scale_cells) == 2 and min(self.scale_cells) >= 2
        require(pair, "scale_cells", "use two numbers of cells from 2, as in 5x5")

    @property
    def backbone(self) -> deep_features.Backbone:
        """The network and its layers."""
        return deep_features.Backbone(network=self.network, layers=self.layers)

    @property
    def optional_weights(self) -> str | None:
        """Weights that are used where they are at hand."""
        return "colornames" if self.network == "hog" else None

    @property
    def layout(self) -> deep_features.BlockLayout:
        """What part of the sample the blocks cover, and their cells."""
        if self.network != "hog":
            layout = deep_features.block_layout(self.backbone, self.sample_px, cell=self.least_cell)
            side = layout.support_px // self.hog_cell
            return deep_features.BlockLayout(
                layout.support_px, (*layout.cell_px, self.hog_cell), (*layout.sides, side)
            )
        cells = (self.color_cell, self.hog_cell)
        sides = tuple(self.sample_px // cell for cell in cells)
        return deep_features.BlockLayout(self.sample_px, cells, sides)

    @property
    def block_sides(self) -> tuple[int, ...]:
        """Cells along each side of each block."""
        return self.layout.sides

    @property
    def block_channels(self) -> tuple[int, ...]:
        """Raw channels of each block; colour without its table has fewer."""
        hog = deep_features.FHOG_CHANNELS
        if self.network == "hog":
            return deep_features.COLOR_NAME_CHANNELS, hog
        return (*self.backbone.layer_channels, hog)

    @property
    def candidates(self) -> dict[str, int]:
        """The channels that the filter may use, after projection, by block."""
        names = ("cn", "fhog") if self.network == "hog" else (*self.layers, "fhog")
        return dict(zip(names, self.compressed, strict=True))

    @property
    def candidate_blocks(self) -> int:
        """The first blocks, whose channels distillation chooses from."""
        return len(self.compressed) if self.network == "hog" else len(self.layers)

    @property
    def num_candidates(self) -> int:
        """Channels that distillation chooses from."""
        return sum(self.compressed[: self.candidate_blocks])

    @property
    def grid_hw(self) -> tuple[int, int]:
        """Rows and columns of the response, cells of the finest block."""
        side = max(self.block_sides)
        return filters.series_size((side, side))

    @property
    def patch_px(self) -> int:
        """Side of a patch, px."""
        return self.sample_px

    def region_side(self, wh: Float[Array, "2"]) -> Float[Array, ""]:
        """Side of the first frame's search region, px, of a target's width and height."""
        root = jnp.sqrt(jnp.prod(wh))
        if self.region is None:
            return self.region_scale * root
        return jnp.clip(1.0 * self.region.px, self.region.least * root, self.region.most * root)

    def fitted(self, wh: Sequence[float | int] | np.ndarray) -> "ECOConfig":
        """The config for a target's width and height: itself, or with [1]'s shapes if it `fits`.

        Differs: of the scale filter's model the nearest of a few aspects.
        """
        if not self.fits:
            return self
        wh = np.maximum(wh, 1.0)
        # [1] shows regions of so many sides of the box in their true size, within these limits, px.
        by_hand = self.network == "hog"
        scale, least, most = (4.0, 150, 200) if by_hand else (4.5, 200, 250)
        _, side = crop.base_scale(wh, area_scale=scale, min_px=least, max_px=most)
        frame_px = 1  # a side of a pixel of the patch
        if by_hand:
            sample_px = crop.choose_cell_size(side, cells=(self.hog_cell, self.color_cell))
        else:
            sizes = crop.DEEP_SAMPLE_PX[self.network]
            # Early layers may see patches of half the side.
            frame_px = 2 if 2 * self.sample_px <= sizes[0] else 1
            sample_px = crop.choose_input_size(side, sizes=sizes) // frame_px
        sized = dataclasses.replace(self, fits=False, sample_px=sample_px)
        if self.num_scales == 1:
            sized = dataclasses.replace(sized, scale_cells=crop.choose_scale_cells(wh))
        # Whole cells make the region somewhat larger than was asked for.
        px = sized.layout.support_px * frame_px
        region = SearchRegion(px, scale * px / most, scale * px / least)
        return dataclasses.replace(sized, region=region)

    @property
    def num_patches(self) -> int:
        """Patches whose features a frame needs; the scale filter's are small."""
        return self.num_scales

    def extract(self, params: Params, patches: Float[Array, "n p p ch"]) -> Float[Array, "n *_"]:
        """Computes most of what of patches a frame needs: layers, at one resolution, or HOG.

        Left out are HOG beside layers, colours, and the scale filter's patches.
        """
        hw = self.grid_hw
        if self.network == "hog":
            # The response is finer than HOG's cells, which need not fill the patch.
            side = self.block_sides[-1]
            hw, support = (side, side), side * self.hog_cell
            first = (self.patch_px - support) // 2
            patches = patches[:, first : first + support, first : first + support]
        return deep_features.extract(self.backbone, params, patches, grid_hw=hw)

    def extract_around(
        self, params: Params, frame: Shaped[Array, "H W 3"], box: Float[Array, "4"]
    ) -> Any:
        """Cuts what a frame needs at least around a box, and computes what `extract` does."""
        patches = patches_around(
            frame,
            box,
            num=self.num_patches,
            out_hw=(self.patch_px, self.patch_px),
            supersample=self.supersample,
        )
        return self.extract(params, patches)


class ECOState(NamedTuple):
    """What ECO carries from frame to frame.

    Attributes:
      box: the box in the last frame.
      frame_index: index of the last frame.
      num_channels: channels in use, of all blocks, after projection.
      selected: those channels, ascending; spare slots in front hold 0.
      first_wh: width and height in the first frame, px.
      scale: size against the first frame.
      frame_hw: true height and width of the frames, px.
      is_gray: whether the first frame's colours are grays.
      label_f: half spectrum of the label, at the finest block's size.
      reg: the spatial penalty.
      projection: raw channels to channels of each block; zero for channels not in use.
      model: filter, its preconditioner's energy and the carry of its training.
      memory: training samples.
      scale_filter: the scale filter; () without.
      key: key of the random control; () without.
      diagnostics: energy and friendliness of the distillation; () unless asked for.
    """

    box: Box
    frame_index: Int[Array, ""]
    num_channels: Int[Array, ""]
    selected: Int[Array, " k"]
    first_wh: Float[Array, "2"]
    scale: Float[Array, ""]
    frame_hw: Int[Array, "2"]
    is_gray: Array
    label_f: Float[Array, "h wf"]
    reg: filters.SpatialReg
    projection: tuple[Float[Array, "_ _"], ...]
    model: filters.ECOModel
    memory: filters.SampleMemory
    scale_filter: Any
    key: Any
    diagnostics: Any


def _centre(box: Box) -> Float[Array, "2"]:
    return box[:2] + (box[2:] - 1) / 2


def _trains(config: ECOConfig, frame_index: Int[Array, ""] | int) -> Any:
    """Whether a frame trains: the first few, then one in `train_gap` + 1 [`tracker.m`]."""
    last = max(config.skip_after - 2, 0)
    return (frame_index <= last) | ((frame_index - last) % (config.train_gap + 1) == 0)


def build_eco(config: ECOConfig) -> Tracker:
    """Builds the tracker."""
    backbone, layout, hw = config.backbone, config.layout, config.grid_hw
    patch_hw = (config.sample_px, config.sample_px)
    # The region is the part that the blocks cover; the network's input reaches a little further.
    margin = config.sample_px / layout.support_px
    middle = config.num_scales // 2
    factors = config.factors
    # A traced rate may be 0 in some lanes, which then keep the size.
    moves = isinstance(config.scale_rate, jax.Array) or config.scale_rate > 0
    finds_scale = config.num_scales == 1 and moves
    scale_hw = (4 * config.scale_cells[0], 4 * config.scale_cells[1])
    distils = config.select != "all"
    num_all = sum(config.compressed)

    def color_maps(params: Params, patches: Float[Array, "n p p ch"], is_gray: Array):
        """Names of colours; of grays, and where there is no table, intensities."""
        if patches.shape[-1] == 1:
            gray = patches
        else:
            gray = jnp.sum(patches * _GRAY[None, None, None], axis=-1, keepdims=True)
        maps = deep_features.intensity_channels(gray, cell=config.color_cell)
        maps = deep_features.normalise_energy(maps)
        if not params:
            return maps
        # Intensities take the first of the names' channels: one shape for all videos.
        spare = deep_features.COLOR_NAME_CHANNELS - maps.shape[-1]
        maps = jnp.pad(maps, ((0, 0), (0, 0), (0, 0), (0, spare)))
        if patches.shape[-1] == 1:
            return maps
        names = deep_features.color_names(params, patches, cell=config.color_cell)
        return jnp.where(is_gray, maps, deep_features.normalise_energy(names))

    def features(
        params: Params, patches: Float[Array, "n p p ch"], is_gray: Array
    ) -> tuple[Float[Array, "n _ _ _"], ...]:
        """Blocks of unit energy, channels first."""
        if config.network == "hog":
            blocks = [color_maps(params, patches, is_gray)]
            inner = patches
        else:
            rgb = jnp.broadcast_to(patches, (*patches.shape[:-1], 3))
            blocks = deep_features.extract_blocks(backbone, params, rgb, cell=config.least_cell)
            blocks = [deep_features.normalise_energy(block) for block in blocks]
            cut = (config.sample_px - layout.support_px) // 2
            inner = patches[:, cut : cut + layout.support_px, cut : cut + layout.support_px]
        hog = deep_features.fhog(inner, cell=config.hog_cell)
        blocks.append(deep_features.normalise_energy(hog))
        return tuple(jnp.moveaxis(block, -1, 1) for block in blocks)

    def side_px(state: ECOState) -> Float[Array, ""]:
        """Side of the search region in the frame, px."""
        return config.region_side(state.first_wh) * state.scale

    def sample(state: ECOState, frame: Shaped[Array, "H W ch"]):
        """Patches at all scales, and their common centre (x, y)."""
        centre = _centre(state.box)

        def patch(factor: Float[Array, ""]) -> Float[Array, "p p ch"]:
            place, size = centre, jnp.full(2, side_px(state) * factor * margin)
            if config.whole:
                place, size = crop.whole_pixels(place, size)
            return crop.crop_patch(
                frame,
                place,
                size,
                out_hw=patch_hw,
                frame_hw=state.frame_hw,
                supersample=config.supersample,
            )

        patches = jax.vmap(patch)(jnp.asarray(factors))
        if config.whole:
            patches = jnp.round(patches)
        return patches, jnp.floor(centre + 0.5) if config.whole else centre

    def scale_features(state: ECOState, frame: Shaped[Array, "H W ch"]) -> Float[Array, "s f"]:
        """The target at the sizes that the scale filter compares."""
        patches = crop.scale_pyramid(
            frame,
            _centre(state.box),
            state.first_wh[::-1] * state.scale,
            jnp.asarray(locate.scale_factors()),
            out_hw=scale_hw,
            frame_hw=state.frame_hw,
            supersample=2,
        )
        maps = deep_features.fhog(patches, cell=4)
        return maps.reshape(maps.shape[0], -1)

    def moved_to_centre(
        sample_f: Blocks, shift_px: Float[Array, "2"], side: Float[Array, ""]
    ) -> Blocks:
        """Samples whose target lies in the middle; shift is (row, column)."""
        angle = 2 * np.pi * shift_px / side
        return tuple(filters.shift_series(block, angle) for block in sample_f)

    def train(state: ECOState, sample_f: Blocks) -> filters.ECOModel:
        return filters.train_eco(
            state.model,
            state.memory,
            sample_f,
            state.label_f,
            state.reg,
            learning_rate=config.learning_rate,
            num_iters=config.num_iters,
            forgetting=config.forgetting,
            data_weight=config.data_weight,
            reg_weight=config.reg_weight,
        )

    def choose(state: ECOState) -> ECOState:
        """Keeps the channels that the first two samples favour."""
        found = choose_projected(
            state.model,
            state.memory,
            state.label_f,
            state.reg,
            target=state.first_wh[::-1] * state.scale / side_px(state),
            candidate_blocks=config.candidate_blocks,
            select=config.select,
            num_channels=config.num_channels,
            friendliness=config.friendliness,
            strength_exponent=config.strength_exponent,
            stability_exponent=config.stability_exponent,
            min_channels=config.min_channels,
            prefix_slack=config.prefix_slack,
            gain_free=config.gain_free,
            max_rounds=config.max_rounds,
            num_iters=config.distil_iters,
            data_weight=config.data_weight,
            reg_weight=config.reg_weight,
            key=jax.random.wrap_key_data(state.key) if config.select == "random" else None,
        )
        in_use = jnp.concatenate(found.in_use) > 0
        selected, count = distill.top_channels(in_use, num_channels=num_all)
        state = state._replace(
            num_channels=count,
            selected=selected,
            projection=tuple(
                matrix * keep[None, :]
                for matrix, keep in zip(state.projection, found.in_use, strict=True)
            ),
            model=found.model,
            memory=found.memory,
        )
        if config.aux:
            # Dead channels rank last, at minus infinity; a state keeps finite numbers.
            friendly = jnp.maximum(found.scores, jnp.finfo(jnp.float32).min)
            state = state._replace(diagnostics=(found.energy, friendly))
        return state

    def learn(state: ECOState, sample_f: Blocks) -> ECOState:
        """Trains the filter where this frame's turn has come."""
        turn = _trains(config, state.frame_index)
        model = jax.lax.cond(turn, train, lambda state, _: state.model, state, sample_f)
        return state._replace(model=model)

    def learn_or_distil(state: ECOState, sample_f: Blocks) -> ECOState:
        """Training, but for the second frame, which distils; a compacted state has done so."""
        if not distils or state.selected.shape[0] < num_all:
            return learn(state, sample_f)
        return jax.lax.cond(
            state.frame_index == 1, lambda state, _: choose(state), learn, state, sample_f
        )

    def init(
        params: Params,
        frame: Shaped[Array, "H W *ch"],
        box: Float[Array, "4"],
        *,
        frame_hw: Int[Array, "2"] | None = None,
        key: Any = None,
    ) -> ECOState:
        """Learns the target from the first frame."""
        if config.network == "hog":
            if params:
                deep_features.check_color_table(params)
        else:
            deep_features.check_params(backbone, params)
        frame, frame_hw, box, wh = read_start(frame, box, frame_hw)
        nothing: Any = ()
        state = ECOState(
            box=box,
            frame_index=jnp.int32(0),
            num_channels=jnp.int32(num_all),
            selected=jnp.arange(num_all, dtype=jnp.int32),
            first_wh=wh,
            scale=jnp.float32(1),
            frame_hw=frame_hw,
            is_gray=jnp.bool_(True),
            label_f=nothing,
            reg=nothing,
            projection=nothing,
            model=nothing,
            memory=nothing,
            scale_filter=(),
            key=(),
            diagnostics=(jnp.float32(0), jnp.zeros(config.num_candidates)) if config.aux else (),
        )
        if config.select == "random":
            key = jax.random.key(config.seed) if key is None else key
            state = state._replace(key=jax.random.key_data(key))
        # The target at the resolution of the search patch.
        base_hw = wh[::-1] * layout.support_px / side_px(state)
        sides = jnp.maximum(jnp.floor(base_hw), 1.0)
        sigma = config.sigma * jnp.sqrt(jnp.prod(sides)) * hw[0] / layout.support_px
        label_f = filters.series_label(hw, sigma)
        reg = filters.spatial_reg(
            base_hw,
            support=layout.support_px,
            edge=config.reg_edge,
            least=config.reg_least,
            sparsity=config.reg_sparsity,
        )
        patches, place = sample(state, frame)
        patch = patches[middle]
        is_gray = jnp.max(jnp.abs(patch - patch[..., :1])) < 1e-3
        maps = tuple(block[0] for block in features(params, patch[None], is_gray))
        start = tuple(
            filters.pca_projection(block, num_channels=num)
            for block, num in zip(maps, config.compressed, strict=True)
        )
        raw_f = tuple(filters.series_coefficients(block) for block in maps)
        raw_f = moved_to_centre(raw_f, (_centre(box) - place)[::-1], side_px(state))
        found = filters.train_joint(
            raw_f,
            start,
            label_f,
            reg,
            num_rounds=config.init_rounds,
            num_iters=config.init_iters,
            projection_reg=config.projection_reg,
            data_weight=config.data_weight,
            reg_weight=config.reg_weight,
            projection_weight=config.projection_weight,
        )
        sample_f = tuple(
            filters.project(block, p) for block, p in zip(raw_f, found.projection, strict=True)
        )
        state = state._replace(
            is_gray=is_gray,
            label_f=label_f,
            reg=reg,
            projection=found.projection,
            model=found.model,
            memory=filters.start_memory(sample_f, num_slots=config.num_slots),
        )
        if finds_scale:
            first = locate.train_scale_filter(scale_features(state, frame))
            state = state._replace(scale_filter=first)
        return state

    def with_aux(state: ECOState, output: TrackOutput, response) -> TrackOutput:
        if not config.aux:
            return output
        energy, friendly = state.diagnostics
        slots = state.selected.shape[0]
        return output._replace(
            aux={
                "response": response,
                "selected": state.selected,
                "mask": jnp.arange(slots) >= slots - state.num_channels,
                "energy": energy,
                "friendliness": friendly,
            }
        )

    def find(
        params: Params,
        state: ECOState,
        frame: Shaped[Array, "H W *ch"],
        then: Callable[[ECOState, Blocks], ECOState],
    ) -> tuple[ECOState, TrackOutput]:
        """Finds the target in the next frame and keeps a sample of it, from which `then` learns."""
        frame = crop.as_rgb(frame)
        patches, place = sample(state, frame)
        search_f = tuple(
            filters.series_coefficients(filters.project(block, p))
            for block, p in zip(
                features(params, patches, state.is_gray), state.projection, strict=True
            )
        )
        peak = locate.find_series_peak(filters.respond_eco(state.model.filter_f, search_f))
        # In patches of one colour there is nothing to see but a network's own borders.
        seen = jnp.max(patches) > jnp.min(patches)
        best = jnp.where(seen, peak.best, middle)
        factor = jnp.take(jnp.asarray(factors), best)
        side = side_px(state) * factor
        shift_px = peak.shift * side + (place - _centre(state.box))[::-1]
        shift_px = jnp.where(seen, shift_px, 0.0)

        wh = state.first_wh * state.scale
        box = locate.update_box(state.box, shift_px, wh, state.frame_hw)
        state = state._replace(box=box, frame_index=state.frame_index + 1)
        change = factor
        if finds_scale:
            sizes = locate.scale_response(state.scale_filter, scale_features(state, frame))
            # A frame of one colour says nothing of size: its response is rounding.
            told = (jnp.max(sizes) > _FLAT) & (config.scale_rate > 0)
            change = jnp.where(told, locate.find_scale(sizes), 1.0)
        scale = locate.clamp_scale(state.scale * change, state.first_wh, state.frame_hw)
        box = locate.update_box(box, jnp.zeros(2), state.first_wh * scale, state.frame_hw)
        state = state._replace(box=box, scale=scale)

        best_f = tuple(jnp.take(block, best, axis=0) for block in search_f)
        sample_f = moved_to_centre(best_f, (_centre(box) - place)[::-1], side)
        memory = filters.insert_sample(state.memory, sample_f, learning_rate=config.learning_rate)
        state = then(state._replace(memory=memory), sample_f)
        if finds_scale:
            learnt = locate.update_scale_filter(
                state.scale_filter, scale_features(state, frame), learning_rate=config.scale_rate
            )
            state = state._replace(scale_filter=learnt)

        response = jnp.take(peak.responses, best, axis=0)
        trust = locate.peak_to_sidelobe(response, peak.shift * np.array(hw, np.float32))
        output = TrackOutput(box, peak.score, trust, scale, ())
        return state, with_aux(state, output, response)

    def step(
        params: Params, state: ECOState, frame: Shaped[Array, "H W *ch"]
    ) -> tuple[ECOState, TrackOutput]:
        """Finds the target in the next frame and learns from it."""
        return find(params, state, frame, learn_or_distil)

    def distil(
        params: Params, state: ECOState, frame: Shaped[Array, "H W *ch"]
    ) -> tuple[ECOState, TrackOutput]:
        """`step` in the second frame."""
        return find(params, state, frame, lambda state, _: choose(state))

    cycle = (max(config.skip_after - 2, 1), config.train_gap + 1)
    fit = functools.partial(_fit, config) if config.fits else None
    if not distils:
        return Tracker(init, step, cycle=cycle, fit=fit)
    compact = functools.partial(_compact, config)
    return Tracker(init, step, compact, _room, cycle=cycle, distil=distil, fit=fit)


_cached = functools.lru_cache(maxsize=128)(build_eco)


def eco(config: ECOConfig) -> Tracker:
    """Builds ECO, or ECO-CD where `config.select` is not "all".

    Filters on continuous maps, with a projection learnt along [1].

    The first frame trains projection and filter together; later ones add a sample each to a memory
    that merges the nearest, and every sixth continues the filter's training on it. Size comes from
    a scale filter, or from a pyramid of the filter's own scales. ECO-CD keeps those projected
    channels that the second frame favours, by ECO's own loss [2].

    Args:
      config: shapes and algorithm. Equal configs give the same tracker, so that nothing is
        compiled twice.

    Returns:
      The tracker. With the hand-crafted blocks, params are {"table": ...} of the colour names, or
      {}: intensities then take their place, as they do in gray videos. Else they are the network's
      weights.

    References:
      [1] Danelljan et al., ECO: efficient convolution operators for tracking, 2017. Differs: one
        size of sample for all targets, but for `Tracker.fit`.
      [2] Distilling channels for efficient deep tracking. Differs: the spatial penalty of a channel
        is ECO's, however many are kept.
    """
    return _cached(config)


def _fit(config: ECOConfig, box: Any) -> Tracker:
    """The tracker of the few that suits a first box; on the host."""
    return _cached(config.fitted(np.asarray(box, np.float32)[2:]))


def _in_use(state: ECOState) -> list[np.ndarray]:
    """Which channels of each block are in use; columns of the others are zero. On the host."""
    require_distilled(state)
    return [np.any(np.asarray(matrix) != 0, axis=0) for matrix in state.projection]


def _room(state: ECOState) -> tuple[int, ...]:
    """Channels of each block that a distilled state needs; on the host."""
    # Even numbers leave less to spare than multiples of 4 do; where two blocks of 16 and 64 keep 55
    # together, which is ECO-CD's default, either makes nine pairs at most.
    return tuple(min(used.size, -(-int(used.sum()) // 2) * 2) for used in _in_use(state))


def _compact(
    config: ECOConfig, state: ECOState, room: tuple[int, ...] | None = None
) -> tuple[Tracker, ECOState]:
    """Cuts a distilled state down to the next of a few sizes, block by block; on the host."""
    # The channels in use of each block, then spare ones, whose numbers are zero throughout.
    in_use = _in_use(state)
    sizes = fitting_room(_room(state), room, tuple(used.size for used in in_use))
    kept = [
        np.sort(np.argsort(~used, kind="stable")[:size])
        for used, size in zip(in_use, sizes, strict=True)
    ]

    def cut(blocks: Any, axis: int) -> Any:
        """Takes the channels of each block."""
        return tuple(jnp.take(x, index, axis=axis) for x, index in zip(blocks, kept, strict=True))

    cg = state.model.cg
    model = state.model._replace(
        filter_f=cut(state.model.filter_f, -3),
        energy=cut(state.model.energy, -3),
        cg=cg._replace(direction=cut(cg.direction, -3), residual=cut(cg.residual, -3)),
    )
    slots = sum(sizes)
    return eco(config), state._replace(
        selected=state.selected[state.selected.size - slots :],
        projection=cut(state.projection, -1),
        model=model,
        memory=state.memory._replace(samples_f=cut(state.memory.samples_f, -3)),
    )
