"""DeepCD, and CF2 as the same tracker without distillation."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cdjax import crop, deep_features, distill, filters, locate
from cdjax._turns import in_turn
from cdjax._types import Array, Box, Complex, Float, Int, Params, Shaped
from cdjax.trackers._base import Tracker, TrackOutput, read_start
from cdjax.trackers._choose import choose_channels, fitting_room, require_distilled, round_up
from cdjax.trackers._config import DistillationConfig, after, patches_around

REGIONS = ("cf2", "box", "square")
PYRAMIDS = ("image", "features")

_FLAT_STD = 1e-3
"""Standard deviation of the strongest channel below which a region counts as flat; 0.05 and more
elsewhere."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepCDConfig(DistillationConfig):
    """What fixes DeepCD's shapes and algorithm; hashed by value.

    Attributes (and those of `DistillationConfig`):
      network: "vgg19", "vgg_m", "squeezenet", "squeezenet1_1" or "hog".
      layers: layers whose channels are the candidates; kept in network order.
      padding: padding of the network's convolutions, "zero" or "reflect".
      patch_px: side of the network's input, px.
      grid: side of the feature maps and of the response, cells.
      region: how the search region follows from the box: "cf2" (2.8 times each side, less for tall
        and large targets [1]), "box" (`region_scale` times each side) or "square" (a square as
        large as the "box" region).
      region_scale: side of the search region against the box.
      sigma: standard deviation of the label against the square root of the box's area.
      reg: ridge against the mean power of a channel.
      learning_rate: weight of the new frame in the running model.
      update: what runs: "average" (numerator and denominator of the filter) or "cf2" (template and
        dual coefficients).
      power: exponent of the activations, before they are normalised; 0.5 flattens strong contrasts.
      normalise: brings every channel to mean 0 and variance 1, as measured on the first frame's
        search region.
      joint: one filter over all layers; else one a layer, fused by `layer_weights` (CF2).
      layer_weights: weight of each layer's response where `joint` is off, in the order of
        `layers`; equal by default.
      pyramid: where the scales and the new template are cut out: of the "image", a patch each
        through the network (the default of names but those on VGG-19's first three layers); or of
        the "features" of one patch instead of `num_scales` + 1. The first frame, and the one that
        distils, have patches of their own in any case. Cells at the patch's border, where the
        padding of VGG-19's early layers shows, are left out. Where that is more than one of the
        grid's cells, the box may drift by a pixel or two while there is no contrast at all (a black
        video); with other networks and layers the scale may.
      scale_penalty: factor on the peaks of all scales but the middle one.
      scale_rate: share of the found change of scale that is applied.

    References:
      [1] Ma et al., Hierarchical convolutional features for visual tracking, 2015.
    """

    network: str = "vgg19"
    layers: tuple[str, ...] = ("conv1_1", "conv1_2", "conv2_1")
    padding: str = "zero"
    patch_px: int = 112
    supersample: int = 2
    grid: int = 28
    region: str = "square"
    region_scale: float = 3.0
    sigma: float = 0.085
    reg: float = 1e-4
    learning_rate: float = 0.02
    update: str = "average"
    power: float = 0.5
    normalise: bool = True
    joint: bool = True
    layer_weights: tuple[float, ...] | None = None
    num_scales: int = 3
    pyramid: str = "features"
    scale_penalty: float = 0.98
    scale_rate: float = 1.0
    select: str = "swap"

    traceable = (
        *DistillationConfig.traceable,
        "region_scale",
        "sigma",
        "reg",
        "learning_rate",
        "scale_penalty",
        "scale_rate",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require = self.require
        require(self.region in REGIONS, "region", f"use one of {', '.join(REGIONS)}")
        require(self.pyramid in PYRAMIDS, "pyramid", f"use one of {', '.join(PYRAMIDS)}")
        require(0 <= self.learning_rate <= 1, "learning_rate", "use a number from 0 to 1")
        require(self.reg > 0, "reg", "use a positive number")
        require(self.sigma > 0, "sigma", "use a positive number")
        require(self.region_scale > 1, "region_scale", "use a number above 1")
        require(self.update in ("average", "cf2"), "update", "use average or cf2")
        require(0 < self.power <= 1, "power", "use a number above 0, at most 1")
        require(self.patch_px >= 16, "patch_px", "use at least 16 px")
        require(self.grid >= 8, "grid", "use at least 8 cells")
        require(0 <= self.scale_rate <= 1, "scale_rate", "use a number from 0 to 1")
        widest = self.scale_step ** (self.num_scales // 2) * self.rim_factor
        require(
            self.pyramid == "image" or widest <= deep_features.LARGEST_REGION,
            "scale_step",
            f"use a smaller step, less than num_scales={self.num_scales}, a grid above "
            f"{self.grid}, or pyramid=image",
        )
        whole = self.network != "hog" or self.patch_px % self.grid == 0
        require(whole, "patch_px", f"HOG takes multiples of grid={self.grid}")
        require(self.joint or self.select == "all", "joint", "distillation needs joint=True")
        if self.layer_weights is not None:
            require(
                len(self.layer_weights) == len(self.layers),
                "layer_weights",
                f"give one weight for each of {len(self.layers)} layers",
            )
            weights = dict(zip(self.layers, self.layer_weights, strict=True))
            object.__setattr__(
                self, "layer_weights", tuple(weights[layer] for layer in self.backbone.layers)
            )
        object.__setattr__(self, "layers", self.backbone.layers)

    @property
    def backbone(self) -> deep_features.Backbone:
        """The network and its candidate layers."""
        return deep_features.Backbone(
            network=self.network, layers=self.layers, padding=self.padding
        )

    @property
    def grid_hw(self) -> tuple[int, int]:
        """Rows and columns of the feature maps, cells."""
        return self.grid, self.grid

    @property
    def num_patches(self) -> int:
        """Patches that the network sees in a frame: the scales, then the new template."""
        return self.num_scales + 1 if self.pyramid == "image" else 1

    @property
    def fine_hw(self) -> tuple[int, int]:
        """Rows and columns of the maps that a pyramid of features is cut out of, cells."""
        # HOG on smaller cells would be other features.
        return (self.grid, self.grid) if self.network == "hog" else (2 * self.grid, 2 * self.grid)

    @property
    def rim(self) -> int:
        """Cells at each side of these maps in which VGG-19's padding shows.

        They are left out, and the cells beside take their place: otherwise the border's scale is
        found where the target has no contrast.
        """
        if self.network != "vgg19" or self.padding != "zero":
            return 0
        reach, step = deep_features.padding_reach(self.backbone.layers[-1])
        if 8 * reach > self.patch_px:
            return 0  # of a deeper layer too little would be left
        cell = self.patch_px / self.fine_hw[0]
        # By area where the maps shrink, linearly from cell to cell where they grow.
        return math.ceil(max(reach / cell, (reach + step / 2) / cell - 0.5))

    @property
    def rim_factor(self) -> float:
        """Side of these maps against that without the rim."""
        side = self.fine_hw[0]
        return side / (side - 2 * self.rim)

    def extract(self, params: Params, patches: Float[Array, "n p p ch"]) -> Float[Array, "n *_"]:
        """Computes all candidate features of patches, at the size that a frame needs."""
        hw = self.grid_hw if self.pyramid == "image" else self.fine_hw
        return deep_features.extract(self.backbone, params, patches, grid_hw=hw)

    def extract_around(
        self, params: Params, frame: Shaped[Array, "H W 3"], box: Float[Array, "4"]
    ) -> Any:
        """Cuts the patches of a frame around a box, and computes all candidate features."""
        side = self.patch_px
        cut = functools.partial(
            patches_around, frame, out_hw=(side, side), supersample=self.supersample
        )
        if self.pyramid == "features":
            return self.extract(params, cut(box, num=1))
        # The scales at once, then the template for itself.
        search = self.extract(params, cut(box, num=self.num_scales))
        return search, self.extract(params, cut(after(box, search), num=1))


class DeepCDState(NamedTuple):
    """What DeepCD carries from frame to frame.

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
      offset: mean of each channel in the first frame's search region.
      gain: inverse standard deviation of the same, 0 for spare slots.
      model: the running filter; zero before distillation (the patches below replace it).
      first_patches: the first frame's search region and object, kept for distillation; () without
        it, and in a compacted state.
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
    offset: Float[Array, " k"]
    gain: Float[Array, " k"]
    model: filters.DCFModel
    first_patches: Any
    key: Any
    diagnostics: Any


_Look = Callable[
    [Float[Array, "2"], Float[Array, "2"], Float[Array, " s"], Callable[[Array], Array]], Array
]
"""Regions by their centre (x, y), their height and width, px, and factors of these; of the maps
[h, w, k] of each region what the last argument makes of them, stacked."""


class _Deepest(NamedTuple):
    """How far a compacted state needs the network: to this layer, of which so many are computed."""

    num_layers: int
    num_last: int


class _Channels(NamedTuple):
    """A set of channels, as everything after the network needs it; None in `selected` is all."""

    selected: Int[Array, " k"] | None
    offset: Float[Array, " k"]
    gain: Float[Array, " k"]
    per_segment: Float[Array, " l"]
    deepest: _Deepest | None = None


def _region_ratio(config: DeepCDConfig, wh: Float[Array, "2"], frame_hw: Int[Array, "2"]):
    """Height and width of the search region against those of the box."""
    generic = jnp.full(2, config.region_scale, jnp.float32)
    if config.region == "box":
        return generic
    width, height = wh[0], wh[1]
    if config.region == "square":
        side = config.region_scale * jnp.sqrt(width * height)
        return side / wh[::-1]
    tall = jnp.array([config.region_scale / 2, config.region_scale], jnp.float32)
    large = jnp.full(2, 1 + (config.region_scale - 1) / 1.8, jnp.float32)
    area = width * height / jnp.prod(frame_hw.astype(jnp.float32))
    return jnp.where(height > 2 * width, tall, jnp.where(area > 0.05, large, generic))


def build_deepcd(config: DeepCDConfig, deepest: _Deepest | None = None) -> Tracker:
    """Builds the tracker; compacted states need the network no further than `deepest`."""
    backbone = config.backbone
    hw = (config.grid, config.grid)
    patch_hw = (config.patch_px, config.patch_px)
    window = filters.hann_window(hw)
    num_all, slots = backbone.num_channels, config.num_held
    segments = (slots,) if config.joint else backbone.layer_channels
    layer_weights = config.layer_weights or (1.0 / len(segments),) * len(segments)
    distils = config.select != "all"
    middle = config.num_scales // 2
    factors = config.factors

    def to_extract(patches: Float[Array, "n p p ch"], channels: _Channels | None):
        """Backbone, patches and options with which to extract all candidates or given channels."""
        if patches.shape[-1] == 1 and backbone.needs_weights:
            patches = jnp.broadcast_to(patches, (*patches.shape[:-1], 3))
        used, selected, num_last = backbone, None, None
        if channels is not None:
            selected = channels.selected
            if selected is not None and channels.deepest is not None:
                num_layers, num_last = channels.deepest
                num_last = min(num_last, selected.size)
                used = dataclasses.replace(backbone, layers=backbone.layers[:num_layers])
        return used, patches, {"selected": selected, "num_last": num_last}

    def extract(params: Params, patches: Float[Array, "n p p ch"], channels: _Channels | None):
        """Maps on the filter's grid."""
        used, patches, options = to_extract(patches, channels)
        return deep_features.extract(used, params, patches, grid_hw=hw, **options)

    def compress(maps: Float[Array, "*n h w k"]) -> Float[Array, "*n h w k"]:
        # Activations are not negative; the small number keeps the slope at zero finite.
        return maps if config.power == 1 else (maps + 1e-12) ** config.power

    def spectra(maps: Float[Array, "h w k"], channels: _Channels) -> Complex[Array, "k h wf"]:
        offset, gain = channels.offset[None, None], channels.gain[None, None]
        maps = (compress(maps) - offset) * gain * window[:, :, None]
        # Channels first: the FFT runs along contiguous rows.
        return filters.rfft2(jnp.moveaxis(maps, -1, 0))

    def measure(
        maps: Float[Array, "h w c"],
    ) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
        """Offset and gain that normalise the first frame's search region."""
        if not config.normalise:
            return jnp.zeros(num_all, jnp.float32), jnp.ones(num_all, jnp.float32)
        maps = compress(maps)
        mean, std = jnp.mean(maps, axis=(0, 1)), jnp.std(maps, axis=(0, 1))
        # A channel that hardly moves would only bring noise: it counts as dead. Where none moves
        # (a black first frame) there is nothing to measure: channels stay as they are.
        flat = jnp.max(std) < _FLAT_STD
        alive = std > 1e-4 * jnp.max(std)
        gain = jnp.where(alive, 1 / jnp.where(alive & ~flat, std, 1.0), 0.0)
        return mean, jnp.where(flat, 1.0, gain)

    def region_hw(state: DeepCDState) -> Float[Array, "2"]:
        return state.first_wh[::-1] * state.scale * state.region_ratio

    def centre(box: Box) -> Float[Array, "2"]:
        return box[:2] + (box[2:] - 1) / 2

    def search_patch(state: DeepCDState, frame: Shaped[Array, "H W ch"]):
        return crop.crop_patch(
            frame,
            centre(state.box),
            region_hw(state),
            out_hw=patch_hw,
            frame_hw=state.frame_hw,
            supersample=config.supersample,
        )

    def object_patch(state: DeepCDState, frame: Shaped[Array, "H W ch"]):
        return crop.crop_patch(
            frame,
            centre(state.box),
            state.box[:1:-1],
            out_hw=patch_hw,
            frame_hw=state.frame_hw,
            supersample=config.supersample,
        )

    def is_wide(state: DeepCDState) -> bool:
        # What was kept for distillation tells the two kinds of state apart, without tracing.
        return not isinstance(state.first_patches, tuple)

    def parts_of(state: DeepCDState) -> tuple[int, ...]:
        return (state.selected.shape[0],) if config.joint else segments

    def in_use(state: DeepCDState) -> _Channels:
        count = (
            state.num_channels[None].astype(jnp.float32)
            if config.joint
            else jnp.array(segments, jnp.float32)
        )
        selected = state.selected if distils else None
        compacted = distils and not is_wide(state)
        return _Channels(selected, state.offset, state.gain, count, deepest if compacted else None)

    def train(template_f, channels: _Channels, parts: tuple[int, ...]) -> filters.DCFModel:
        return filters.train_dcf(
            template_f,
            hw=hw,
            segments=parts,
            num_channels=channels.per_segment,
            reg=config.reg,
        )

    def blend(model: filters.DCFModel, new: filters.DCFModel) -> filters.DCFModel:
        return filters.blend_dcf(
            model, new, learning_rate=config.learning_rate, update=config.update
        )

    def look_at_image(params, frame, frame_hw, channels) -> _Look:
        """Patches of a frame, each through the network."""

        def look(middle, size, scales, then):
            patches = crop.scale_pyramid(
                frame,
                middle,
                size,
                scales,
                out_hw=patch_hw,
                frame_hw=frame_hw,
                supersample=config.supersample,
            )
            return jax.vmap(then)(extract(params, patches, channels))

        return look

    def look_at_features(params, state, frame, channels) -> _Look:
        """Regions of the maps of the search region."""
        patch, first, whole = search_patch(state, frame), centre(state.box), region_hw(state)
        used, patches, options = to_extract(patch[None], channels)
        maps, index = deep_features.extract_needed(
            used, params, patches, grid_hw=config.fine_hw, rim=config.rim, **options
        )
        maps, factor = [each[0] for each in maps], config.rim_factor

        def look(middle, size, scales, then):
            shift = factor * (middle - first)[::-1] / whole

            def one(scale):
                cut_hw = scale * factor * size / whole
                region = deep_features.cut_region(maps, shift, cut_hw, out_hw=hw)
                if index is not None:
                    region = jnp.take(region, index, axis=-1, mode="clip")
                return then(region)

            # All the way to the response: a CPU's cache holds one scale's 2 MB, not those of all.
            return in_turn(one, scales)

        return look

    def detect(look: _Look, state, channels, model, parts):
        """Searches the scale pyramid; returns the state with its new box, and what was seen."""

        def respond(maps):
            return filters.respond_dcf(
                model,
                state.label_f,
                spectra(maps, channels),
                hw=hw,
                segments=parts,
                num_channels=channels.per_segment,
                segment_weights=layer_weights if not config.joint else (1.0,),
            )

        response = look(centre(state.box), region_hw(state), jnp.asarray(factors), respond)
        peak = locate.find_peak(response, scale_penalty=config.scale_penalty)
        best = jnp.take(response, peak.best, axis=0)
        cell_px = region_hw(state) * jnp.take(factors, peak.best) / config.grid
        change = config.scale_rate * (peak.scale_index - middle) * config.log_step
        scale = state.scale * jnp.exp(change)
        scale = locate.clamp_scale(scale, state.first_wh, state.frame_hw)
        box = locate.update_box(
            state.box, peak.shift_cell * cell_px, state.first_wh * scale, state.frame_hw
        )
        trust = locate.peak_to_sidelobe(best, peak.shift_cell)
        state = state._replace(box=box, scale=scale, frame_index=state.frame_index + 1)
        return state, TrackOutput(box, peak.score, trust, scale, ()), best

    def with_aux(state: DeepCDState, output: TrackOutput, response, maps_f) -> TrackOutput:
        if not config.aux:
            return output
        energy, friendly = state.diagnostics
        num_slots = state.selected.shape[0]
        slot = jnp.arange(num_slots)
        return output._replace(
            aux={
                "response": response,
                "selected": state.selected,
                "mask": slot >= num_slots - state.num_channels,
                "features": filters.irfft2(maps_f, hw=hw),
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
    ) -> DeepCDState:
        """Learns the target from the first frame."""
        deep_features.check_params(backbone, params)
        frame, frame_hw, box, wh = read_start(frame, box, frame_hw)
        ratio = _region_ratio(config, wh, frame_hw)
        cell_px = wh[::-1] * ratio / config.grid
        sigma_hw = config.sigma * jnp.sqrt(wh[0] * wh[1]) / cell_px
        label_f = filters.rfft2(filters.gaussian_label(hw, sigma_hw))
        spectrum = jnp.zeros((slots, *label_f.shape), label_f.dtype)
        inverse = jnp.zeros((len(segments), *label_f.shape), jnp.float32)
        state = DeepCDState(
            box=box,
            frame_index=jnp.int32(0),
            num_channels=jnp.int32(num_all),
            first_wh=wh,
            scale=jnp.float32(1),
            frame_hw=frame_hw,
            region_ratio=ratio,
            label_f=label_f,
            selected=jnp.zeros(slots, jnp.int32) if distils else jnp.arange(slots, dtype=jnp.int32),
            offset=jnp.zeros(slots, jnp.float32),
            gain=jnp.zeros(slots, jnp.float32),
            model=filters.DCFModel(spectrum, inverse),
            first_patches=(),
            key=(),
            diagnostics=(jnp.float32(0), jnp.zeros(slots, jnp.float32)) if config.aux else (),
        )
        patch = search_patch(state, frame)
        if distils:
            # All candidates are trained when the second frame is there to choose among them: two
            # patches are far smaller than the spectra of hundreds of channels.
            if config.select == "random":
                key = jax.random.key(config.seed) if key is None else key
                state = state._replace(key=jax.random.key_data(key))
            return state._replace(first_patches=jnp.stack([patch, object_patch(state, frame)]))
        maps = extract(params, patch[None], None)
        offset, gain = measure(maps[0])
        state = state._replace(offset=offset, gain=gain)
        channels = in_use(state)
        return state._replace(model=train(spectra(maps[0], channels), channels, segments))

    def track_on(params: Params, state: DeepCDState, frame: Shaped[Array, "H W ch"]):
        """A frame with the channels in use."""
        channels, parts = in_use(state), parts_of(state)
        if config.pyramid == "image":
            look = look_at_image(params, frame, state.frame_hw, channels)
        else:
            look = look_at_features(params, state, frame, channels)
        state, output, response = detect(look, state, channels, state.model, parts)
        analyse = functools.partial(spectra, channels=channels)
        template_f = look(centre(state.box), region_hw(state), jnp.ones(1), analyse)[0]
        new = train(template_f, channels, parts)
        state = state._replace(model=blend(state.model, new))
        return state, with_aux(state, output, response, template_f)

    def distil_on(params: Params, state: DeepCDState, frame: Shaped[Array, "H W ch"]):
        """The second frame: detects with all candidates, then keeps the friendly ones."""
        whole = (num_all,)
        first_maps = extract(params, state.first_patches, None)
        offset, gain = measure(first_maps[0])
        channels = _Channels(None, offset, gain, jnp.full(1, num_all, jnp.float32))
        first_f = spectra(first_maps[0], channels)
        model = train(first_f, channels, whole)
        look = look_at_image(params, frame, state.frame_hw, None)
        state, output, response = detect(look, state, channels, model, whole)

        patches = jnp.stack([search_patch(state, frame), object_patch(state, frame)])
        second_maps = extract(params, patches, None)
        second_f = spectra(second_maps[0], channels)
        history = jnp.stack([first_maps[1], second_maps[1]])
        scores = distill.friendliness(
            history,
            form=config.friendliness,
            strength_exponent=config.strength_exponent,
            stability_exponent=config.stability_exponent,
        )
        scores = jnp.where(gain > 0, scores, -jnp.inf)
        mask, energy = choose_channels(
            jnp.stack([first_f, second_f]),
            state.label_f,
            scores,
            hw=hw,
            select=config.select,
            num_channels=config.num_channels,
            reg=config.reg,
            min_channels=config.min_channels,
            prefix_slack=config.prefix_slack,
            gain_free=config.gain_free,
            max_rounds=config.max_rounds,
            energies=distill.friendliness(history, form="energy"),
            key=jax.random.wrap_key_data(state.key) if config.select == "random" else None,
        )
        selected, count = distill.top_channels(mask, num_channels=slots)
        used = jnp.arange(slots) >= slots - count
        state = state._replace(
            num_channels=count,
            selected=selected,
            offset=offset[selected],
            gain=jnp.where(used, gain[selected], 0.0),
        )
        keep = used.astype(jnp.float32)[:, None, None]
        channels = in_use(state)
        model = train(first_f[selected] * keep, channels, segments)
        template_f = second_f[selected] * keep
        new = train(template_f, channels, segments)
        state = state._replace(model=blend(model, new))
        if config.aux:
            # Dead channels rank last, at minus infinity; a state keeps finite numbers.
            friendly = jnp.maximum(scores[selected], jnp.finfo(jnp.float32).min)
            state = state._replace(diagnostics=(energy, friendly))
        return state, with_aux(state, output, response, template_f)

    def step(
        params: Params, state: DeepCDState, frame: Shaped[Array, "H W *ch"]
    ) -> tuple[DeepCDState, TrackOutput]:
        """Finds the target in the next frame and learns from it."""
        frame = crop.as_rgb(frame)
        if not (distils and is_wide(state)):
            return track_on(params, state, frame)
        return jax.lax.cond(state.frame_index == 0, distil_on, track_on, params, state, frame)

    def distil(
        params: Params, state: DeepCDState, frame: Shaped[Array, "H W *ch"]
    ) -> tuple[DeepCDState, TrackOutput]:
        """`step` in the second frame."""
        return distil_on(params, state, crop.as_rgb(frame))

    if not distils:
        return Tracker(init, step)
    on_host = functools.partial(_compact, config), functools.partial(_room, config)
    return Tracker(init, step, *on_host, cycle=(1, 1), distil=distil)


_cached = functools.lru_cache(maxsize=128)(build_deepcd)


def deepcd(config: DeepCDConfig) -> Tracker:
    """Builds DeepCD, or CF2 where `config.select` is "all".

    The first frame trains all candidate channels, the second detects with all and then distils
    once; from the third on only the channels kept cost anything [1, §III]. Filters follow CF2's
    running update [2].

    Args:
      config: shapes and algorithm. Equal configs give the same tracker, so that nothing is
        compiled twice.

    Returns:
      The tracker.

    References:
      [1] Distilling channels for efficient deep tracking.
      [2] Ma et al., Hierarchical convolutional features for visual tracking, 2015.
    """
    return _cached(config, None)


def _room(config: DeepCDConfig, state: DeepCDState) -> tuple[int, ...]:
    """Slots, layers, and outputs of the last layer that a distilled state computes; on the host."""
    require_distilled(state)
    count, slots = int(state.num_channels), state.selected.shape[0]
    size = round_up(count, slots)
    kept = np.asarray(state.selected)[slots - count :]
    ends = np.cumsum(config.backbone.layer_channels)
    last = int(np.searchsorted(ends, kept.max(), side="right"))
    width = config.backbone.layer_channels[last]
    in_last = round_up(int(np.sum(kept >= ends[last] - width)), width)
    return size, last + 1, deep_features.num_outputs(in_last, width)


def _compact(
    config: DeepCDConfig, state: DeepCDState, room: tuple[int, ...] | None = None
) -> tuple[Tracker, DeepCDState]:
    """Cuts a distilled state down to the next of a few sizes; on the host."""
    slots, widths = state.selected.shape[0], config.backbone.layer_channels
    size, *deepest = fitting_room(_room(config, state), room, (slots, len(widths), max(widths)))
    first = slots - size
    diagnostics = state.diagnostics
    if diagnostics:
        diagnostics = (diagnostics[0], diagnostics[1][first:])
    template_f, inverse_f = state.model
    state = state._replace(
        selected=state.selected[first:],
        offset=state.offset[first:],
        gain=state.gain[first:],
        model=filters.DCFModel(template_f[first:], inverse_f),
        first_patches=(),
        key=(),
        diagnostics=diagnostics,
    )
    # The same init, so that a program compiled for it serves the next target too.
    return _cached(config, _Deepest(*deepest))._replace(init=deepcd(config).init), state
