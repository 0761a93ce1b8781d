"""CACF (DCF_CA), and CACF-CD, which distils its HOG channels."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cdjax import crop, deep_features, distill, filters, locate
from cdjax._types import Array, Box, Complex, Float, Int, Params, Shaped
from cdjax.trackers._base import Tracker, TrackOutput, read_start
from cdjax.trackers._choose import choose_channels, fitting_room, require_distilled, round_up
from cdjax.trackers._config import DistillationConfig, after, patches_around

REGIONS = ("box", "square", "pixels")
FORMS = ("independent", "joint")

_GRAY = (0.298936, 0.587043, 0.114021)
"""Weights of red, green and blue in MATLAB's `rgb2gray`."""

_FLAT = 1e-3
"""Largest HOG entry below which a region counts as flat; 0.1 and more elsewhere."""

_HALVED_PX = 100.0
"""Root of the area, px, from which DCF_CA halves the frames."""

_PLACES = ((0, 0), (-1, 0), (0, -1), (1, 0), (0, 1))
"""(row, column) of the target and its context patches, in target sizes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CACFConfig(DistillationConfig):
    """What fixes CACF's shapes and algorithm; hashed by value.

    Attributes (and those of `DistillationConfig`):
      grid_hw: rows and columns of the feature maps and of the response, cells.
      cell: side of a cell of the resampled patch, px.
      colors: adds the ten colour names to HOG's channels; their table is the weights.
      region: how the search region follows from the box: "box" (`region_scale` times each side,
        brought to the grid), "square" (a square as large as that) or "pixels" (as many pixels as
        the grid has, twice as many for targets of 100 px or more: DCF_CA, which cuts a window of
        floor(3 sides / 4) cells out of frames that it halves for such targets).
      region_scale: side of the search region against the box, but for "pixels".
      shared: computes HOG once over target and context, whose patches lie whole cells apart
        ("box" and "square", and a grid that 3 divides); else patch by patch, one target side apart.
      sigma: standard deviation of the label against the square root of the box's area.
      form: "independent" (a filter a channel, as DCF_CA's code) or "joint" (the exact filter over
        all channels).
      reg: ridge of the independent form, in units of squared HOG spectra, unnormalised FFT.
      context_reg: weight of a context patch in the independent form.
      joint_reg: ridge of the joint form, which also guides the distillation, against the mean
        power of a channel.
      joint_context_reg: weight of a context patch in the joint form.
      learning_rate: weight of the new frame's filter in the running one.
      subcell: refines the peak within its cell; else steps are whole cells, as DCF_CA's.
      scale_penalty: factor on the peaks of all scales but the middle one.
      scale_rate: share of the found change of scale that is applied.
    """

    grid_hw: tuple[int, int] = (30, 30)
    cell: int = 4
    colors: bool = False
    region: str = "box"
    region_scale: float = 3.0
    shared: bool = True
    sigma: float = 0.1
    form: str = "independent"
    reg: float = 1e-4
    context_reg: float = 25.0
    joint_reg: float = 1e-3
    joint_context_reg: float = 1.0
    learning_rate: float = 0.015
    subcell: bool = False
    scale_penalty: float = 0.98
    scale_rate: float = 1.0

    selections = tuple(name for name in DistillationConfig.selections if name != "exact")
    traceable = (
        *DistillationConfig.traceable,
        "region_scale",
        "sigma",
        "reg",
        "context_reg",
        "joint_reg",
        "joint_context_reg",
        "learning_rate",
        "scale_penalty",
        "scale_rate",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require = self.require
        require(self.region in REGIONS, "region", f"use one of {', '.join(REGIONS)}")
        require(self.form in FORMS, "form", f"use one of {', '.join(FORMS)}")
        sides = len(self.grid_hw) == 2 and min(self.grid_hw) >= 2
        require(sides, "grid_hw", "use two numbers of cells from 2, as in 30x30")
        thirds = self.region != "pixels" and self.grid_hw[0] % 3 == self.grid_hw[1] % 3 == 0
        require(
            not self.shared or thirds,
            "shared",
            'use shared=false with region="pixels" or a grid that 3 does not divide',
        )
        require(0 <= self.learning_rate <= 1, "learning_rate", "use a number from 0 to 1")
        for name in ("reg", "joint_reg", "sigma", "scale_penalty"):
            require(getattr(self, name) > 0, name, "use a positive number")
        for name in ("context_reg", "joint_context_reg", "scale_rate"):
            require(getattr(self, name) >= 0, name, "use 0 or more")
        require(self.region_scale > 1, "region_scale", "use a number above 1")
        require(self.cell >= 1, "cell", "use 1 px or more")

    @property
    def backbone(self) -> deep_features.Backbone:
        """The candidate channels."""
        if self.colors:
            return deep_features.Backbone(network="colornames", layers=("fhog", "cn"))
        return deep_features.Backbone(network="hog", layers=("fhog",))

    @property
    def patch_px(self) -> int:
        """Side of the search patch, px; the longer one where they differ."""
        return self.cell * max(self.grid_hw)

    @property
    def num_patches(self) -> int:
        """Patches of that size in a frame: the scales, then target and context."""
        # Shared, they cover 25/9 of a patch.
        return self.num_scales + (3 if self.shared else len(_PLACES))

    def as_seen(self, frame: Shaped[Array, "H W *ch"]) -> Shaped[Array, "H W ch"]:
        """The frame in what patches are cut from: gray levels, or colours for their names."""
        frame = crop.as_rgb(jnp.asarray(frame))
        if not self.colors:
            return _gray(frame)
        return jnp.broadcast_to(frame, (*frame.shape[:2], 3))

    def extract(self, params: Params, patches: Float[Array, "n p q ch"]) -> Float[Array, "n *_"]:
        """Computes what of patches a frame needs at least: all candidate features."""
        maps = deep_features.fhog(_gray(patches), cell=self.cell, gain=1 / 255)
        if self.colors:
            names = deep_features.color_names(params, patches, cell=self.cell)
            maps = jnp.concatenate([maps, names], axis=-1)
        return maps

    def extract_around(
        self, params: Params, frame: Shaped[Array, "H W 3"], box: Float[Array, "4"]
    ) -> Any:
        """Cuts what a frame needs at least around a box, and computes all candidate features."""
        height, width = (self.cell * side for side in self.grid_hw)
        cut = functools.partial(patches_around, self.as_seen(frame), supersample=self.supersample)
        search = self.extract(params, cut(box, num=self.num_scales, out_hw=(height, width)))
        box = after(box, search)
        if self.shared:
            larger_hw = (height * 5 // 3, width * 5 // 3)
            context = cut(box, num=1, out_hw=larger_hw, region_scale=5.0)
        else:
            context = cut(box, num=len(_PLACES), out_hw=(height, width))
        return search, self.extract(params, context)


class CACFState(NamedTuple):
    """What CACF carries from frame to frame.

    Attributes:
      box: the box in the last frame.
      frame_index: index of the last frame.
      num_channels: channels in use.
      first_wh: width and height in the first frame, px.
      scale: size against the first frame.
      frame_hw: true height and width of the frames, px.
      region_ratio: height and width of the search region against the box.
      label_f: half spectrum of the label.
      selected: channels in use, ascending; spare slots in front hold 0.
      model: half spectra of the running filter, zero in spare slots; zero before distillation
        (the patches below replace it) and until a frame shows anything but one colour.
      first_patches: the first frame's patches of target and context, and of the object, kept for
        distillation; () without it, and in a compacted state.
      key: key of the random control; () without.
      diagnostics: energy and friendliness of the distillation; () unless asked for.
    """

    box: Box
    frame_index: Int[Array, ""]
    num_channels: Int[Array, ""]
    first_wh: Float[Array, "2"]
    scale: Float[Array, ""]
    frame_hw: Int[Array, "2"]
    region_ratio: Float[Array, "2"]
    label_f: Complex[Array, "h wf"]
    selected: Int[Array, " k"]
    model: Complex[Array, "k h wf"]
    first_patches: Any
    key: Any
    diagnostics: Any


def _gray(frame: Shaped[Array, "*n H W ch"]) -> Float[Array, "*n H W 1"]:
    """MATLAB's gray levels, rounded; gray frames as they are."""
    if frame.shape[-1] == 1:
        return frame.astype(jnp.float32)
    # Channel by channel: XLA then computes it for the pixels that are sampled, not for the frame.
    parts = [weight * frame[..., i : i + 1].astype(jnp.float32) for i, weight in enumerate(_GRAY)]
    return jnp.round(sum(parts[1:], parts[0]))


def build_cacf(config: CACFConfig) -> Tracker:
    """Builds the tracker."""
    hw = config.grid_hw
    grid = np.array(hw, np.float32)
    patch_hw = (hw[0] * config.cell, hw[1] * config.cell)
    thirds = (hw[0] // 3, hw[1] // 3)
    window = filters.hann_window(hw)[None, None]
    num_all, slots = config.backbone.num_channels, config.num_held
    distils = config.select != "all"
    middle = config.num_scales // 2
    factors = config.factors
    sample = functools.partial(crop.crop_patch, supersample=config.supersample)

    def maps_of(
        params: Params, patches: Float[Array, "n p q ch"], selected: Int[Array, " k"] | None
    ) -> Float[Array, "n k h w"]:
        maps = jnp.moveaxis(config.extract(params, patches), -1, 1)
        return maps if selected is None else jnp.take(maps, selected, axis=1)

    def spectra(maps: Float[Array, "n k h w"]) -> Complex[Array, "n k h wf"]:
        return filters.rfft2(maps * window)

    def region(state: CACFState) -> tuple[Float[Array, "2"], Float[Array, "2"]]:
        """Centre (x, y) and size (height, width) of the search region, px."""
        centre = state.box[:2] + (state.box[2:] - 1) / 2
        size = state.first_wh[::-1] * state.scale * state.region_ratio
        return crop.whole_pixels(centre, size) if config.region == "pixels" else (centre, size)

    def training_patches(state: CACFState, frame: Shaped[Array, "H W ch"]):
        """Patches of target and context: one that holds them all, or one each."""
        centre, size = region(state)
        if config.shared:
            out_hw = (patch_hw[0] * 5 // 3, patch_hw[1] * 5 // 3)
            size = size * 5 / 3
            return sample(frame, centre, size, out_hw=out_hw, frame_hw=state.frame_hw)[None]
        away = np.array(_PLACES, np.float32)[:, ::-1] * (state.first_wh * state.scale)[None]
        return jax.vmap(
            lambda offset: sample(
                frame, centre + offset, size, out_hw=patch_hw, frame_hw=state.frame_hw
            )
        )(away)

    def training_spectra(params, patches, selected) -> Complex[Array, "5 k h wf"]:
        """Spectra of the target, then of its context."""
        maps = maps_of(params, patches, selected)
        if config.shared:
            corners = [(thirds[0] * (1 + row), thirds[1] * (1 + col)) for row, col in _PLACES]
            maps = jnp.concatenate(
                [maps[:, :, row : row + hw[0], col : col + hw[1]] for row, col in corners]
            )
        return spectra(maps)

    def object_patch(state: CACFState, frame: Shaped[Array, "H W ch"]):
        centre, _ = region(state)
        return sample(frame, centre, state.box[:1:-1], out_hw=patch_hw, frame_hw=state.frame_hw)

    def slots_in_use(state: CACFState) -> Float[Array, " k"]:
        index = jnp.arange(state.selected.shape[0])
        return (index >= index.size - state.num_channels).astype(jnp.float32)

    def solve(
        samples_f: Complex[Array, "5 k h wf"], label_f: Complex[Array, "h wf"], in_use, count
    ) -> Complex[Array, "k h wf"]:
        """The filter of one frame; zero where the frame has but one colour."""
        template_f, context_f = samples_f[0], samples_f[1:]
        if config.form == "joint":
            samples_f = samples_f * in_use[None, :, None, None]
            filter_f = filters.solve_joint_cacf(
                samples_f[None, 0],
                samples_f[None, 1:],
                label_f,
                reg=config.joint_reg * hw[0] * hw[1] * count,
                context_reg=config.joint_context_reg,
            )
        else:
            filter_f = filters.solve_cacf(
                template_f, context_f, label_f, reg=config.reg, context_reg=config.context_reg
            )
        # The DC entries are sums of HOG entries, which are not negative.
        flat = jnp.max(template_f[:, 0, 0].real) < _FLAT * window.sum()
        return jnp.where(flat, 0, filter_f * in_use[:, None, None])

    def blend(model: Complex[Array, "k h wf"], new: Complex[Array, "k h wf"]):
        """Moves the running filter; a frame of one colour says nothing, and is no filter yet."""
        is_zero = lambda filter_f: ~jnp.any(filter_f != 0)
        rate = jnp.where(is_zero(model), 1.0, config.learning_rate)
        return model + jnp.where(is_zero(new), 0.0, rate) * (new - model)

    def detect(params, state: CACFState, frame, selected, model):
        """Searches the scales; returns the state with its new box, and what was seen."""
        centre, size = region(state)
        patches = crop.scale_pyramid(
            frame,
            centre,
            size,
            jnp.asarray(factors),
            out_hw=patch_hw,
            frame_hw=state.frame_hw,
            supersample=config.supersample,
        )
        response = filters.apply_filter(model, spectra(maps_of(params, patches, selected)), hw=hw)
        peak = locate.find_peak(response, scale_penalty=config.scale_penalty)
        best = jnp.take(response, peak.best, axis=0)
        cells = peak.shift_cell if config.subcell else jnp.round(peak.shift_cell)
        cell_px = size * jnp.take(factors, peak.best) / grid
        change = config.scale_rate * (peak.scale_index - middle) * config.log_step
        scale = state.scale * jnp.exp(change)
        scale = locate.clamp_scale(scale, state.first_wh, state.frame_hw)
        box = locate.update_box(state.box, cells * cell_px, state.first_wh * scale, state.frame_hw)
        trust = locate.peak_to_sidelobe(best, peak.shift_cell)
        state = state._replace(box=box, scale=scale, frame_index=state.frame_index + 1)
        return state, TrackOutput(box, peak.score, trust, scale, ()), best

    def with_aux(state: CACFState, output: TrackOutput, response, template_f) -> TrackOutput:
        if not config.aux:
            return output
        energy, friendly = state.diagnostics
        return output._replace(
            aux={
                "response": response,
                "selected": state.selected,
                "mask": slots_in_use(state) > 0,
                "features": filters.irfft2(template_f, hw=hw),
                "energy": energy,
                "friendliness": friendly,
            }
        )

    def init(
        params: Params,
        frame: Shaped[Array, "H W *ch"],
        box: Float[Array, "4"],
        *,
        frame_hw: Int[Array, "2"] | None = None,
        key: Any = None,
    ) -> CACFState:
        """Learns the target from the first frame."""
        deep_features.check_params(config.backbone, params)
        frame, frame_hw, box, wh = read_start(config.as_seen(frame), box, frame_hw)
        side = jnp.sqrt(wh[0] * wh[1])
        if config.region == "pixels":
            px = config.cell * jnp.where(side >= _HALVED_PX, 2.0, 1.0)
            ratio = px * grid / wh[::-1]
        elif config.region == "square":
            ratio = config.region_scale * side / wh[::-1]
        else:
            ratio = jnp.full(2, config.region_scale, jnp.float32)
        sigma_hw = config.sigma * side / (wh[::-1] * ratio / grid)
        label_f = filters.rfft2(filters.gaussian_label(hw, sigma_hw))
        state = CACFState(
            box=box,
            frame_index=jnp.int32(0),
            num_channels=jnp.int32(num_all),
            first_wh=wh,
            scale=jnp.float32(1),
            frame_hw=frame_hw,
            region_ratio=ratio,
            label_f=label_f,
            selected=jnp.zeros(slots, jnp.int32) if distils else jnp.arange(slots, dtype=jnp.int32),
            model=jnp.zeros((slots, *label_f.shape), label_f.dtype),
            first_patches=(),
            key=(),
            diagnostics=(jnp.float32(0), jnp.zeros(slots, jnp.float32)) if config.aux else (),
        )
        patches = training_patches(state, frame)
        if distils:
            # Filters are trained when the second frame is there to choose among the channels.
            if config.select == "random":
                key = jax.random.key(config.seed) if key is None else key
                state = state._replace(key=jax.random.key_data(key))
            return state._replace(first_patches=(patches, object_patch(state, frame)))
        samples_f = training_spectra(params, patches, None)
        count = jnp.float32(num_all)
        return state._replace(model=solve(samples_f, label_f, jnp.ones(num_all), count))

    def track_on(params: Params, state: CACFState, frame: Shaped[Array, "H W ch"]):
        """A frame with the channels in use."""
        selected = state.selected if distils else None
        state, output, response = detect(params, state, frame, selected, state.model)
        samples_f = training_spectra(params, training_patches(state, frame), selected)
        count = state.num_channels.astype(jnp.float32)
        new = solve(samples_f, state.label_f, slots_in_use(state), count)
        state = state._replace(model=blend(state.model, new))
        return state, with_aux(state, output, response, samples_f[0])

    def distil_on(params: Params, state: CACFState, frame: Shaped[Array, "H W ch"]):
        """The second frame: detects with all candidates, then keeps the friendly ones."""
        patches, first_object = state.first_patches
        first_f = training_spectra(params, patches, None)
        model = solve(first_f, state.label_f, jnp.ones(num_all), jnp.float32(num_all))
        state, output, response = detect(params, state, frame, None, model)
        second_f = training_spectra(params, training_patches(state, frame), None)
        objects = jnp.stack([first_object, object_patch(state, frame)])
        history = maps_of(params, objects, None)
        history = jnp.moveaxis(history, 1, -1)
        scores = distill.friendliness(
            history,
            form=config.friendliness,
            strength_exponent=config.strength_exponent,
            stability_exponent=config.stability_exponent,
        )
        context_f = jnp.concatenate([first_f[1:], second_f[1:]])
        mask, energy = choose_channels(
            jnp.stack([first_f[0], second_f[0]]),
            state.label_f,
            scores,
            zeros_f=config.joint_context_reg**0.5 * context_f,
            hw=hw,
            select=config.select,
            num_channels=config.num_channels,
            reg=config.joint_reg,
            min_channels=config.min_channels,
            prefix_slack=config.prefix_slack,
            gain_free=config.gain_free,
            max_rounds=config.max_rounds,
            energies=distill.friendliness(history, form="energy"),
            key=jax.random.wrap_key_data(state.key) if config.select == "random" else None,
        )
        selected, count = distill.top_channels(mask, num_channels=slots)
        state = state._replace(num_channels=count, selected=selected)
        in_use, count = slots_in_use(state), count.astype(jnp.float32)
        first, second = (
            solve(samples_f[:, selected], state.label_f, in_use, count)
            for samples_f in (first_f, second_f)
        )
        state = state._replace(model=blend(first, second))
        if config.aux:
            # Dead channels rank last, at minus infinity; a state keeps finite numbers.
            friendly = jnp.maximum(scores[selected], jnp.finfo(jnp.float32).min)
            state = state._replace(diagnostics=(energy, friendly))
        template_f = second_f[0, selected] * in_use[:, None, None]
        return state, with_aux(state, output, response, template_f)

    def step(
        params: Params, state: CACFState, frame: Shaped[Array, "H W *ch"]
    ) -> tuple[CACFState, TrackOutput]:
        """Finds the target in the next frame and learns from it."""
        frame = config.as_seen(frame)
        # What was kept for distillation tells the two kinds of state apart, without tracing.
        if not state.first_patches:
            return track_on(params, state, frame)
        return jax.lax.cond(state.frame_index == 0, distil_on, track_on, params, state, frame)

    def distil(
        params: Params, state: CACFState, frame: Shaped[Array, "H W *ch"]
    ) -> tuple[CACFState, TrackOutput]:
        """`step` in the second frame."""
        return distil_on(params, state, config.as_seen(frame))

    if not distils:
        return Tracker(init, step)
    compact = functools.partial(_compact, config)
    return Tracker(init, step, compact, _room, cycle=(1, 1), distil=distil)


_cached = functools.lru_cache(maxsize=128)(build_cacf)


def cacf(config: CACFConfig) -> Tracker:
    """Builds CACF, or CACF-CD where `config.select` is not "all".

    DCF_CA [1]: ridge regression on FHOG that maps the target to a Gaussian and four patches around
    it to zero; the filter is a running average. CACF-CD keeps the channels that the second frame
    favours [2], by the energy of the joint filter in which context patches are samples of label 0.

    Args:
      config: shapes and algorithm. Equal configs give the same tracker, so that nothing is
        compiled twice.

    Returns:
      The tracker.

    References:
      [1] Mueller et al., Context-aware correlation filter tracking, 2017. Differs: the search
        region is brought to a fixed grid, so that one program serves all targets; "pixels" keeps
        the reference's own.
      [2] Distilling channels for efficient deep tracking.
    """
    return _cached(config)


def _room(state: CACFState) -> tuple[int, ...]:
    """Slots that a distilled state needs; on the host."""
    require_distilled(state)
    return (round_up(int(state.num_channels), state.selected.shape[0]),)


def _compact(
    config: CACFConfig, state: CACFState, room: tuple[int, ...] | None = None
) -> tuple[Tracker, CACFState]:
    """Cuts a distilled state down to the next of a few sizes; on the host."""
    slots = state.selected.shape[0]
    (size,) = fitting_room(_room(state), room, (slots,))
    first = slots - size
    diagnostics = state.diagnostics
    if diagnostics:
        diagnostics = (diagnostics[0], diagnostics[1][first:])
    state = state._replace(
        selected=state.selected[first:],
        model=state.model[first:],
        first_patches=(),
        key=(),
        diagnostics=diagnostics,
    )
    return cacf(config), state
