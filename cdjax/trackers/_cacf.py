"""CACF (DCF_CA) and CACF-CD: context-aware correlation filters on HOG, with and without distillation."""

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cdjax import crop, deep_features, distill, filters, locate
from cdjax._errors import InputError
from cdjax._types import Array, Box, Complex, Float, Int, Params, Shaped
from cdjax.trackers._base import Tracker, TrackOutput
from cdjax.trackers._choose import SELECTIONS, choose_channels


@dataclasses.dataclass(frozen=True, kw_only=True)
class CACFConfig:
    grid_hw: tuple[int, int] = (30, 30)
    cell: int = 4
    region: str = "box"
    region_scale: float = 3.0
    shared: bool = True
    supersample: int = 1
    sigma: float = 0.1
    form: str = "independent"
    reg: float = 1e-4
    context_reg: float = 25.0
    joint_reg: float = 1e-3
    joint_context_reg: float = 1.0
    learning_rate: float = 0.015
    subcell: bool = False
    num_scales: int = 1
    scale_step: float = 1.03
    scale_penalty: float = 0.98
    scale_rate: float = 1.0
    select: str = "all"
    friendliness: str = "ratio"
    num_channels: int | None = None
    min_channels: int | None = None
    prefix_slack: float = 0.005
    gain_free: bool = True
    max_rounds: int = 5
    norm: str = "none"
    seed: int = 0
    aux: bool = False

    @property
    def backbone(self) -> deep_features.Backbone:
        return deep_features.Backbone(network="hog", layers=("fhog",))

    @property
    def num_slots(self) -> int:
        if self.select == "all" or self.num_channels is None:
            return self.backbone.num_channels
        return self.num_channels


class CACFState(NamedTuple):
    box: Box
    frame_index: Int[Array, ""]
    num_channels: Int[Array, ""]
    first_wh: Float[Array, "2"]
    scale: Float[Array, ""]
    frame_hw: Int[Array, "2"]
    region_ratio: Float[Array, "2"]
    label_f: Complex[Array, "h wf"]
    selected: Int[Array, " k"]
    filter_f: Complex[Array, "k h wf"]
    first_patches: Any
    key: Any
    diagnostics: Any

_GRAY = np.array([0.298936, 0.587043, 0.114021], np.float32)

def to_gray(frame):
    if frame.shape[-1] == 1:
        return frame.astype(jnp.float32)
    r, g, b = (frame[..., i].astype(jnp.float32) for i in range(3))
    return jnp.round(_GRAY[0] * r + _GRAY[1] * g + _GRAY[2] * b)[..., None]


def _make(config: CACFConfig) -> Tracker:
    hw = config.grid_hw
    patch_hw = (hw[0] * config.cell, hw[1] * config.cell)
    window = filters.hann_window(hw)
    num_all, slots = config.backbone.num_channels, config.num_slots
    distils = config.select != "all"
    middle = config.num_scales // 2
    factors = (config.scale_step ** (np.arange(config.num_scales) - middle)).astype(np.float32)
    offsets = np.array([[0, 0], [-1, 0], [0, -1], [1, 0], [0, 1]], np.float32)

    def features(patches, selected):
        maps = deep_features.fhog(patches / 255, cell=config.cell)
        maps = jnp.moveaxis(maps, -1, 1)
        return maps if selected is None else jnp.take(maps, selected, axis=1)

    def spectra(maps):
        return filters.rfft2(maps * window)

    def region_hw(state):
        return state.first_wh[::-1] * state.scale * state.region_ratio

    def centre(box):
        return box[:2] + (box[2:] - 1) / 2

    def train_patches(state, frame):
        if config.shared:
            third = (hw[0] // 3, hw[1] // 3)
            out = tuple((a + 2 * b) * config.cell for a, b in zip(hw, third))
            return crop.crop_patch(frame, centre(state.box), region_hw(state) * 5 / 3, out_hw=out, frame_hw=state.frame_hw, supersample=config.supersample)[None]
        wh = state.first_wh * state.scale
        return jax.vmap(lambda o: crop.crop_patch(frame, centre(state.box) + o[::-1] * wh, region_hw(state), out_hw=patch_hw, frame_hw=state.frame_hw, supersample=config.supersample))(jnp.asarray(offsets))

    def train_spectra(patches, selected):
        maps = features(patches, selected)
        if config.shared:
            a, b = hw[0] // 3, hw[1] // 3
            maps = jnp.stack([maps[0, :, a + int(o[0]) * a : a + int(o[0]) * a + hw[0], b + int(o[1]) * b : b + int(o[1]) * b + hw[1]] for o in offsets])
        return spectra(maps)

    def object_patch(state, frame):
        return crop.crop_patch(frame, centre(state.box), state.box[:1:-1], out_hw=patch_hw, frame_hw=state.frame_hw, supersample=config.supersample)

    def is_wide(state):
        return not isinstance(state.first_patches, tuple) or len(state.first_patches) > 0

    def solve(rows_f, label_f, used, count):
        """rows_f [5 k h wf]"""
        if config.form == "independent":
            f = filters.solve_cacf(rows_f[0], rows_f[1:], label_f, reg=config.reg, context_reg=config.context_reg)
            f = f / count
        else:
            rows_f = rows_f * used[None, :, None, None]
            f = filters.solve_joint_cacf(rows_f[:1], rows_f[None, 1:], label_f, reg=config.joint_reg * hw[0] * hw[1] * count, context_reg=config.joint_context_reg)
        return f * used[:, None, None]

    def detect(state, frame, selected, filter_f):
        patches = crop.scale_pyramid(frame, centre(state.box), region_hw(state), jnp.asarray(factors), out_hw=patch_hw, frame_hw=state.frame_hw, supersample=config.supersample)
        response = filters.apply_filter(filter_f, spectra(features(patches, selected)), hw=hw)
        peak = locate.find_peak(response, scale_penalty=config.scale_penalty)
        best = jnp.take(response, peak.best, axis=0)
        shift = peak.shift_cell if config.subcell else jnp.round(peak.shift_cell)
        cell_px = region_hw(state) * jnp.take(factors, peak.best) / jnp.array(hw, jnp.float32)
        change = config.scale_rate * (peak.scale_index - middle) * math.log(config.scale_step)
        scale = locate.clamp_scale(state.scale * jnp.exp(change), state.first_wh, state.frame_hw)
        box = locate.update_box(state.box, shift * cell_px, state.first_wh * scale, state.frame_hw)
        trust = locate.peak_to_sidelobe(best, peak.shift_cell)
        state = state._replace(box=box, scale=scale, frame_index=state.frame_index + 1)
        return state, TrackOutput(box, peak.score, trust, scale, ()), best

    def used_of(count):
        return (jnp.arange(slots) >= slots - count).astype(jnp.float32)

    def init(params, frame, box, *, frame_hw=None, key=None):
        frame = to_gray(crop.as_rgb(jnp.asarray(frame)))
        if frame_hw is None:
            frame_hw = jnp.array(frame.shape[:2], jnp.int32)
        frame_hw = jnp.asarray(frame_hw, jnp.int32)
        box = jnp.asarray(box, jnp.float32)
        wh = jnp.maximum(box[2:], 1.0)
        if config.region == "box":
            ratio = jnp.full(2, config.region_scale, jnp.float32)
        elif config.region == "square":
            ratio = config.region_scale * jnp.sqrt(wh[0] * wh[1]) / wh[::-1]
        elif config.region == "exact":
            ratio = (jnp.array(hw, jnp.float32)) * config.cell * jnp.where(jnp.sqrt(wh[0] * wh[1]) >= 100, 2.0, 1.0) / wh[::-1]
        cell_px = wh[::-1] * ratio / jnp.array(hw, jnp.float32)
        sigma_hw = config.sigma * jnp.sqrt(wh[0] * wh[1]) / cell_px
        label_f = filters.rfft2(filters.gaussian_label(hw, sigma_hw))
        state = CACFState(box, jnp.int32(0), jnp.int32(num_all), wh, jnp.float32(1), frame_hw, ratio, label_f,
            jnp.arange(slots, dtype=jnp.int32), jnp.zeros((slots, *label_f.shape), label_f.dtype), (), (), ())
        patches = train_patches(state, frame)
        if distils:
            return state._replace(first_patches=(patches, object_patch(state, frame)))
        rows = train_spectra(patches, None)
        return state._replace(filter_f=solve(rows, label_f, jnp.ones(slots), jnp.float32(num_all)))

    def track_on(params, state, frame):
        selected = state.selected if distils else None
        state, output, response = detect(state, frame, selected, state.filter_f)
        rows = train_spectra(train_patches(state, frame), selected)
        count = state.num_channels.astype(jnp.float32)
        new = solve(rows, state.label_f, used_of(state.num_channels), count)
        r = config.learning_rate
        return state._replace(filter_f=(1 - r) * state.filter_f + r * new), output

    def distil_on(params, state, frame):
        every = jnp.ones(num_all)
        first = train_spectra(state.first_patches[0], None)
        wide = solve(first, state.label_f, every, jnp.float32(num_all))
        state, output, response = detect(state, frame, None, wide)
        second = train_spectra(train_patches(state, frame), None)
        history = features(jnp.stack([state.first_patches[1], object_patch(state, frame)]), None)
        history = jnp.moveaxis(history, 1, -1)
        scores = distill.friendliness(history, form=config.friendliness)
        mask, energy = choose_channels(
            jnp.stack([first[0], second[0]]), state.label_f, scores, hw=hw, select=config.select, num_channels=config.num_channels,
            reg=config.joint_reg, min_channels=config.min_channels, prefix_slack=config.prefix_slack, gain_free=config.gain_free,
            max_rounds=config.max_rounds, energies=distill.friendliness(history, form="energy"), key=jax.random.key(config.seed),
            zeros_f=config.joint_context_reg**0.5 * jnp.concatenate([first[1:], second[1:]]) if config.joint_context_reg > 0 else None)
        selected, count = distill.top_channels(mask, num_channels=slots)
        used = used_of(count)
        state = state._replace(num_channels=count, selected=selected)
        c = count.astype(jnp.float32)
        r = config.learning_rate
        f1 = solve(first[:, selected], state.label_f, used, c)
        f2 = solve(second[:, selected], state.label_f, used, c)
        return state._replace(filter_f=(1 - r) * f1 + r * f2), output

    def step(params, state, frame):
        frame = to_gray(crop.as_rgb(frame))
        if not distils:
            return track_on(params, state, frame)
        return jax.lax.cond(state.frame_index == 0, distil_on, track_on, params, state, frame)

    return Tracker(init, step)


_cached = functools.lru_cache(maxsize=128)(_make)

def cacf(config):
    return _cached(config)
