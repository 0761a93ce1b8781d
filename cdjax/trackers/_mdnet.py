"""MDNet: candidates scored by a classifier that is learnt online; and MDNet-CD."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cdjax import classifier, crop, deep_features, distill, locate
from cdjax._errors import InputError
from cdjax._types import Array, Bool, Box, Float, Int, Params, Shaped
from cdjax.trackers._base import Tracker, TrackOutput, read_start
from cdjax.trackers._choose import fitting_room, require_distilled, round_up
from cdjax.trackers._choose_features import choose_features
from cdjax.trackers._mdnet_config import MDNetConfig

_LEAST_PX = 10.0
"""Least side of a box, px, but of a target that is smaller at the start."""

_PER_KIND = 64
"""Samples of each kind (target or background, first or second frame) that distillation asks."""


class _Samples(NamedTuple):
    """Features of boxes, and which of them count."""

    features: Float[Array, "n f"]
    valid: Bool[Array, " n"]


class MDNetState(NamedTuple):
    """What MDNet carries from frame to frame.

    Attributes:
      box: the box that the next candidates are drawn around: the last frame's before the
        regression, which is not carried on.
      frame_index: index of the last frame.
      num_channels: channels of conv3 in use.
      selected: those channels, ascending; spare slots in front hold 0.
      first_wh: width and height in the first frame, px.
      frame_hw: true height and width of the frames, px.
      key: key of what is drawn next, as `jax.random.key_data`.
      trans: shift of the next candidates.
      head: the classifier.
      opt_state: momentum of its training, kept from one to the next but for the first frame's.
      regression: from features to boxes.
      positives: target samples.
      negatives: background samples.
      first_frame: the first frame, kept for distillation, which trains the head (zero before) when
        it knows the channels; () without it, and in a compacted state.
      diagnostics: energy and friendliness of the distillation; () unless asked for.
    """

    box: Box
    frame_index: Int[Array, ""]
    num_channels: Int[Array, ""]
    selected: Int[Array, " k"]
    first_wh: Float[Array, "2"]
    frame_hw: Int[Array, "2"]
    key: Any
    trans: Float[Array, ""]
    head: Params
    opt_state: Any
    regression: locate.BoxRegression
    positives: classifier.SampleRing
    negatives: classifier.SampleRing
    first_frame: Any
    diagnostics: Any


class _First(NamedTuple):
    """What the first frame teaches, with all channels."""

    head: Params
    positives: _Samples
    negatives: _Samples
    boxes: Float[Array, "n 4"]
    box_samples: _Samples
    target: Float[Array, "1 f"]


class _Found(NamedTuple):
    """What a frame shows: where the target is, and how sure that is."""

    box: Box
    regressed: Box
    score: Float[Array, ""]
    trust: Float[Array, ""]
    success: Bool[Array, ""]
    failed: Bool[Array, ""]
    boxes: Float[Array, "n 4"]
    logits: Float[Array, " n"]


def build_mdnet(config: MDNetConfig) -> Tracker:
    """Builds the tracker."""
    backbone = config.backbone
    cells = math.prod(config.grid_hw)
    num_all, slots = backbone.num_channels, config.num_held
    distils = config.select != "all"
    optimiser = classifier.head_optimiser(
        momentum=config.momentum, decay=config.decay, clip=config.clip
    )

    def features_of(
        params: Params,
        frame: Shaped[Array, "H W ch"],
        frame_hw: Int[Array, "2"],
        boxes: Float[Array, "n 4"],
        selected: Int[Array, " k"] | None = None,
    ) -> Float[Array, "n f"]:
        """Features of boxes."""

        def one(some: Float[Array, "n 4"]) -> Float[Array, "n f"]:
            patches = crop.mdnet_crop(frame, some, frame_hw=frame_hw, out_px=config.patch_px)
            patches = jnp.broadcast_to(patches, (*patches.shape[:-1], 3))
            return deep_features.candidate_features(backbone, params, patches, selected=selected)

        return config.in_chunks(one, boxes)

    def in_use(state: MDNetState) -> Float[Array, " f"]:
        """1 for the features of channels in use, 0 for those of spare slots."""
        num_slots = state.selected.shape[0]
        used = jnp.arange(num_slots) >= num_slots - state.num_channels
        return jnp.repeat(used, cells).astype(jnp.float32)

    def look(params: Params, state: MDNetState, frame, boxes) -> Float[Array, "n f"]:
        """Features of boxes in the channels in use."""
        if not distils:
            return features_of(params, frame, state.frame_hw, boxes)
        features = features_of(params, frame, state.frame_hw, boxes, state.selected)
        return features * in_use(state)[None]

    def train(
        head: Params,
        opt_state: Any,
        positives: _Samples,
        negatives: _Samples,
        key: Array,
        *,
        num_rows: int,
        rate: Any,
        num_iters: Int[Array, ""] | None = None,
    ) -> classifier.TrainResult:
        first, second, third = jax.random.split(key, 3)
        batch = config.batch_positives + config.batch_negatives
        return classifier.train_head(
            head,
            opt_state,
            positives.features,
            negatives.features,
            classifier.index_stream(
                first, positives.valid, num_iters=num_rows, batch=config.batch_positives
            ),
            classifier.index_stream(
                second, negatives.valid, num_iters=num_rows, batch=config.batch_candidates
            ),
            optimiser=optimiser,
            learning_rate=rate,
            masks=classifier.draw_masks(third, shape=(num_rows, batch)),
            num_iters=num_iters,
            num_hard=config.batch_negatives,
            last_rate_factor=config.last_rate_factor,
        )

    def least_px(state: MDNetState) -> Float[Array, "2"]:
        """Least width and height of a box."""
        return jnp.minimum(state.first_wh, _LEAST_PX)

    def within(state: MDNetState, box: Box) -> Box:
        """A box of a size that the frame holds, its centre inside."""
        image = state.frame_hw[::-1].astype(jnp.float32)
        wh = jnp.clip(box[2:], least_px(state), jnp.maximum(image, state.first_wh))
        return locate.update_box(box, jnp.zeros(2), wh, state.frame_hw)

    def draw(state: MDNetState, key: Array, *, kind: str, num: int, **how: Any):
        """Boxes around the last one, and which of them count."""
        return crop.draw_boxes(
            key, state.box, state.frame_hw, kind=kind, num=num, least_px=least_px(state), **how
        )

    def draw_positives(state: MDNetState, key: Array, num: int):
        return draw(state, key, kind="gaussian", num=num, trans=0.1, scale=1.3, overlap=(0.7, 1.0))

    def draw_negatives(state: MDNetState, key: Array, most: float):
        num, overlap = config.negatives, (0.0, most)
        return draw(state, key, kind="uniform", num=num, trans=2.0, scale=1.3, overlap=overlap)

    def learn_first(params: Params, state: MDNetState, frame: Shaped[Array, "H W ch"], key: Array):
        """Trains on the first frame, with all channels."""
        box, frame_hw = state.box, state.frame_hw
        keys = jax.random.split(key, 7)
        pos_boxes, pos_valid = draw_positives(state, keys[0], config.first_positives)
        half = config.first_negatives // 2
        near, near_valid = draw(
            state,
            keys[1],
            kind="uniform",
            num=config.first_negatives - half,
            scale=1.6,
            overlap=(0.0, 0.5),
        )
        far, far_valid = draw(state, keys[2], kind="whole", num=half, overlap=(0.0, 0.5))
        fit_boxes, fit_valid = draw(
            state,
            keys[3],
            kind="uniform",
            num=config.first_samples,
            trans=0.3,
            scale=1.6,
            aspect=1.1,
            overlap=(0.6, 1.0),
        )
        fit_valid = fit_valid & crop.regression_samples(fit_boxes, box)
        neg_boxes, neg_valid = draw_negatives(state, keys[4], 0.5)
        groups = [pos_boxes, near, far, fit_boxes, neg_boxes, box[None]]
        features = features_of(params, frame, frame_hw, jnp.concatenate(groups))
        ends = np.cumsum([len(group) for group in groups])[:-1]
        pos, near, far, fit, neg, target = jnp.split(features, ends)
        positives = _Samples(pos, pos_valid)
        background = _Samples(
            jnp.concatenate([near, far]), jnp.concatenate([near_valid, far_valid])
        )
        head = classifier.start_head(keys[5], params)
        trained = train(
            head,
            optimiser.init(head),
            positives,
            background,
            keys[6],
            num_rows=config.init_iters,
            rate=config.init_rate,
        )
        return _First(
            trained.head,
            positives,
            _Samples(neg, neg_valid),
            fit_boxes,
            _Samples(fit, fit_valid),
            target,
        )

    def fit(first: _First, target: Box, features: Float[Array, "n f"]) -> locate.BoxRegression:
        return locate.fit_box_regression(
            features, first.boxes, target, first.box_samples.valid, reg=config.regression_reg
        )

    def start_rings(positives: _Samples, negatives: _Samples):
        return (
            classifier.start_ring(
                *positives, num_slots=config.long_frames, per_frame=config.positives
            ),
            classifier.start_ring(
                *negatives, num_slots=config.short_frames, per_frame=config.negatives
            ),
        )

    def inside(state: MDNetState, frame: Shaped[Array, "H W ch"]) -> Bool[Array, "H W 1"]:
        """Which pixels of a padded frame are the frame's."""
        rows = jnp.arange(frame.shape[0]) < state.frame_hw[0]
        cols = jnp.arange(frame.shape[1]) < state.frame_hw[1]
        return (rows[:, None] & cols[None, :])[..., None]

    def sees(state: MDNetState, frame: Shaped[Array, "H W ch"]) -> Bool[Array, ""]:
        """Whether the frame has more than one colour: else it shows nothing."""
        return jnp.any(inside(state, frame) & (frame != frame[:1, :1]))

    def detect(
        state: MDNetState,
        frame: Shaped[Array, "H W ch"],
        key: Array,
        head: Params,
        regression: locate.BoxRegression,
        seen_by: Any,
    ) -> _Found:
        """Scores candidates around the last box."""
        boxes, _ = draw(
            state,
            key,
            kind="gaussian",
            num=config.num_boxes,
            trans=state.trans,
            scale=config.box_step,
        )
        features = seen_by(boxes)
        logits = classifier.score(head, features)[:, 1]
        best, rows = jax.lax.top_k(logits, config.num_best)
        seen = sees(state, frame)
        box = jnp.where(seen, within(state, jnp.mean(boxes[rows], axis=0)), state.box)
        regressed = locate.regress_boxes(regression, features[rows], boxes[rows], state.frame_hw)
        score = jnp.mean(best)
        # Boxes would not tell of weights that are not numbers, and commands look at boxes.
        box = jnp.where(jnp.isnan(score), jnp.nan, box)
        trust = (score - jnp.mean(logits)) / jnp.maximum(jnp.std(logits), 1e-6)
        success = seen & (score > 0)
        regressed = within(state, jnp.mean(regressed, axis=0))
        regressed = jnp.where(success, regressed, box)
        return _Found(box, regressed, score, trust, success, seen & (score <= 0), boxes, logits)

    def moved(state: MDNetState, found: _Found, key: Array) -> MDNetState:
        """The state in the next frame, before it learns."""
        grown = jnp.minimum(config.trans_growth * state.trans, config.trans_most)
        # A frame that shows nothing says nothing of how far to look.
        trans = jnp.where(found.failed, grown, state.trans)
        trans = jnp.where(found.success, config.trans, trans).astype(jnp.float32)
        return state._replace(
            box=found.box,
            frame_index=state.frame_index + 1,
            key=jax.random.key_data(key),
            trans=trans,
        )

    def new_samples(state: MDNetState, keys: Any, seen_by: Any) -> tuple[_Samples, _Samples]:
        """Target and background samples of a frame."""
        pos, pos_valid = draw_positives(state, keys[0], config.positives)
        neg, neg_valid = draw_negatives(state, keys[1], 0.3)
        features = seen_by(jnp.concatenate([pos, neg]))
        return (
            _Samples(features[: config.positives], pos_valid),
            _Samples(features[config.positives :], neg_valid),
        )

    def store(
        state: MDNetState, positives: _Samples, negatives: _Samples, accept: Bool[Array, ""]
    ) -> MDNetState:
        return state._replace(
            positives=classifier.store_frame(
                state.positives, *positives, num_slots=config.long_frames, accept=accept
            ),
            negatives=classifier.store_frame(
                state.negatives, *negatives, num_slots=config.short_frames, accept=accept
            ),
        )

    def update(
        state: MDNetState, key: Array, failed: Bool[Array, ""], num_iters: Int[Array, ""] | None
    ) -> tuple[Params, Any]:
        """Trains on the memory: after a failure on its last frames, else on all of it."""
        recent = jnp.where(failed, config.short_frames, config.long_frames)
        trained = train(
            state.head,
            state.opt_state,
            _Samples(
                state.positives.features,
                classifier.recent_samples(state.positives, num_frames=recent),
            ),
            _Samples(
                state.negatives.features,
                classifier.recent_samples(state.negatives, num_frames=config.short_frames),
            ),
            key,
            num_rows=config.update_iters,
            rate=config.update_rate,
            num_iters=num_iters,
        )
        return trained.head, trained.opt_state

    def output_of(state: MDNetState, found: _Found) -> TrackOutput:
        scale = jnp.sqrt(jnp.prod(found.regressed[2:]) / jnp.prod(state.first_wh))
        output = TrackOutput(found.regressed, found.score, found.trust, scale, ())
        if not config.aux:
            return output
        energy, friendly = state.diagnostics
        num_slots = state.selected.shape[0]
        return output._replace(
            aux={
                "boxes": found.boxes,
                "logits": found.logits,
                "success": found.success,
                "selected": state.selected,
                "mask": jnp.arange(num_slots) >= num_slots - state.num_channels,
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
    ) -> MDNetState:
        """Learns the target from the first frame."""
        deep_features.check_params(backbone, params)
        frame, frame_hw, box, wh = read_start(frame, box, frame_hw)
        box = jnp.concatenate([box[:2], wh])
        key = _key_data(jax.random.key(config.seed) if key is None else key)
        nothing: Any = ()
        state = MDNetState(
            box=box,
            frame_index=jnp.int32(0),
            num_channels=jnp.int32(num_all),
            selected=jnp.zeros(slots, jnp.int32) if distils else jnp.arange(slots, dtype=jnp.int32),
            first_wh=wh,
            frame_hw=frame_hw,
            key=key,
            trans=jnp.asarray(config.trans, jnp.float32),
            head=nothing,
            opt_state=nothing,
            regression=nothing,
            positives=nothing,
            negatives=nothing,
            first_frame=(),
            diagnostics=(jnp.float32(0), jnp.zeros(slots, jnp.float32)) if config.aux else (),
        )
        if distils:
            # The first frame is learnt from when the second is there to choose channels by: it is
            # far smaller than the samples' features of all channels.
            frame = jnp.where(inside(state, frame), frame, 0)
            return empty(state)._replace(first_frame=frame)
        key, now = jax.random.split(jax.random.wrap_key_data(key))
        first = learn_first(params, state, frame, now)
        positives, negatives = start_rings(first.positives, first.negatives)
        return state._replace(
            key=jax.random.key_data(key),
            head=first.head,
            opt_state=optimiser.init(first.head),
            regression=fit(first, box, first.box_samples.features),
            positives=positives,
            negatives=negatives,
        )

    def empty(state: MDNetState) -> MDNetState:
        """A state that has learnt nothing, with room for the channels to come."""
        width = slots * cells
        zero = lambda num: _Samples(jnp.zeros((num, width)), jnp.zeros(num, bool))
        positives, negatives = start_rings(zero(config.first_positives), zero(config.negatives))
        head = jax.eval_shape(
            functools.partial(classifier.init_head, num_features=width), jax.random.key(0)
        )
        head = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), head)
        return state._replace(
            head=head,
            opt_state=optimiser.init(head),
            regression=locate.BoxRegression(jnp.zeros((width, 4)), jnp.zeros(4)),
            positives=positives,
            negatives=negatives,
        )

    def track_on(params: Params, state: MDNetState, frame: Shaped[Array, "H W ch"]):
        """A frame with the channels in use."""
        seen_by = functools.partial(look, params, state, frame)
        key, *keys = jax.random.split(jax.random.wrap_key_data(state.key), 5)
        found = detect(state, frame, keys[0], state.head, state.regression, seen_by)
        state = moved(state, found, key)

        # Branches return samples and weights, not the memory, which would be copied.
        collect = lambda: new_samples(state, keys[1:3], seen_by)
        nothing = lambda: jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(collect)
        )
        positives, negatives = jax.lax.cond(found.success, collect, nothing)
        state = store(state, positives, negatives, found.success)
        # Lanes of a batch take both branches: the number of iterations is then what spares them
        # the training that none of them needs.
        turn = found.failed | (found.success & (state.frame_index % config.long_period == 0))
        num_iters = jnp.where(turn, config.update_iters, 0)
        head, opt_state = jax.lax.cond(
            turn,
            lambda: update(state, keys[3], found.failed, num_iters),
            lambda: (state.head, state.opt_state),
        )
        state = state._replace(head=head, opt_state=opt_state)
        return state, output_of(state, found)

    def distil_on(params: Params, state: MDNetState, frame: Shaped[Array, "H W ch"]):
        """The second frame: learns the first, detects with all channels, keeps the friendly."""
        key, *keys = jax.random.split(jax.random.wrap_key_data(state.key), 7)
        first_box = state.box
        first = learn_first(params, state, state.first_frame, keys[0])
        seen_by = functools.partial(features_of, params, frame, state.frame_hw)
        regression = fit(first, first_box, first.box_samples.features)
        found = detect(state, frame, keys[1], first.head, regression, seen_by)
        state = moved(state, found, key)
        positives, negatives = new_samples(state, keys[2:4], seen_by)
        target = seen_by(state.box[None])
        second = [
            samples._replace(valid=samples.valid & found.success)
            for samples in (positives, negatives)
        ]
        samples, labels, weights = _hard_samples(
            first.head, [first.positives, second[0]], [first.negatives, second[1]]
        )
        chosen = choose_features(
            first.head,
            deep_features.maps_of(jnp.concatenate([first.target, target]), hw=config.grid_hw),
            samples,
            labels,
            weights,
            found.success,
            select=config.select,
            num_channels=config.num_channels,
            friendliness=config.friendliness,
            strength_exponent=config.strength_exponent,
            stability_exponent=config.stability_exponent,
            min_channels=config.min_channels,
            max_rounds=config.max_rounds,
            decay=config.decay,
            key=keys[4],
        )
        selected, count = distill.top_channels(chosen.mask, num_channels=slots)
        state = state._replace(num_channels=count, selected=selected)
        if config.aux:
            # Dead channels rank last, at minus infinity; a state keeps finite numbers.
            friendly = jnp.maximum(chosen.scores[selected], jnp.finfo(jnp.float32).min)
            state = state._replace(diagnostics=(chosen.energy, friendly))
        used = in_use(state)
        rows = (selected[:, None] * cells + jnp.arange(cells)[None]).reshape(-1)

        def cut(samples: _Samples) -> _Samples:
            return samples._replace(features=samples.features[:, rows] * used[None])

        fc4 = first.head["fc4"]
        head = first.head | {"fc4": fc4 | {"kernel": fc4["kernel"][rows] * used[:, None]}}
        ring = start_rings(cut(first.positives), cut(first.negatives))
        state = state._replace(
            head=head,
            opt_state=optimiser.init(head),
            regression=fit(first, first_box, cut(first.box_samples).features),
            positives=ring[0],
            negatives=ring[1],
        )
        state = store(state, cut(positives), cut(negatives), found.success)
        # fc4 was trained along with the channels that are gone.
        head, opt_state = update(state, keys[5], found.failed, None)
        state = state._replace(head=head, opt_state=opt_state)
        return state, output_of(state, found)

    def step(
        params: Params, state: MDNetState, frame: Shaped[Array, "H W *ch"]
    ) -> tuple[MDNetState, TrackOutput]:
        """Finds the target in the next frame and learns from it."""
        frame = crop.as_rgb(frame)
        if isinstance(state.first_frame, tuple):
            return track_on(params, state, frame)
        return jax.lax.cond(state.frame_index == 0, distil_on, track_on, params, state, frame)

    def distil(
        params: Params, state: MDNetState, frame: Shaped[Array, "H W *ch"]
    ) -> tuple[MDNetState, TrackOutput]:
        """`step` in the second frame."""
        return distil_on(params, state, crop.as_rgb(frame))

    cycle = (1, config.long_period)
    if not distils:
        return Tracker(init, step, cycle=cycle)
    compact = functools.partial(_compact, config)
    return Tracker(init, step, compact, _room, cycle=cycle, distil=distil)


_cached = functools.lru_cache(maxsize=128)(build_mdnet)


def mdnet(config: MDNetConfig) -> Tracker:
    """Builds MDNet, or MDNet-CD where `config.select` is not "all".

    A classifier on conv3 of a patch a candidate tells target from background; it is learnt in the
    first frame, and again every tenth and after every frame in which no candidate is the target
    [1]. MDNet-CD keeps those channels of conv3 that the second frame favours, and drops the others
    from classifier, samples and box regression [2, §IV-G].

    All that is drawn comes from the key given to `init`, or from `config.seed`. A batch by `vmap`
    draws samples in every frame, and trains where any of its lanes does: as many iterations for
    all.

    Args:
      config: shapes and algorithm. Equal configs give the same tracker, so that nothing is
        compiled twice.

    Returns:
      The tracker. Its score is the mean logit of the best candidates, above 0 for a target; its
      trust is that score above the mean of all candidates, in standard deviations.

    References:
      [1] Nam and Han, Learning multi-domain convolutional networks, 2016; py-MDNet.
      [2] Distilling channels for efficient deep tracking.
    """
    return _cached(config)


def _key_data(key: Array) -> Array:
    """A key's numbers, which a state can hold and a file too."""
    data = jax.random.key_data(key)
    if data.shape != jax.random.key_data(jax.random.key(0)).shape:
        raise InputError(
            f"key of {jax.random.key_impl(key)}: give one of JAX's default, jax.random.key(seed)"
        )
    return data


def _hard_samples(
    head: Params, positives: list[_Samples], negatives: list[_Samples]
) -> tuple[Float[Array, "n f"], Int[Array, " n"], Float[Array, " n"]]:
    """The samples that the classifier is least sure of, since they decide its loss.

    With their labels and weights: target and background count alike, whatever their numbers.
    """
    features, labels, weights = [], [], []
    for label, groups in ((1, positives), (0, negatives)):
        valid = []
        for samples in groups:
            logits = classifier.score(head, samples.features)
            doubt = logits[:, 1 - label] - logits[:, label]
            doubt = jnp.where(samples.valid, doubt, -jnp.inf)
            _, rows = jax.lax.top_k(doubt, min(_PER_KIND, doubt.size))
            features.append(samples.features[rows])
            valid.append(samples.valid[rows].astype(jnp.float32))
        counts = jnp.concatenate(valid)
        weights.append(counts / (2 * jnp.maximum(jnp.sum(counts), 1.0)))
        labels.append(jnp.full(counts.shape, label, jnp.int32))
    return jnp.concatenate(features), jnp.concatenate(labels), jnp.concatenate(weights)


def _room(state: MDNetState) -> tuple[int, ...]:
    """Slots that a distilled state needs; on the host."""
    require_distilled(state)
    return (round_up(int(state.num_channels), state.selected.shape[0]),)


def _compact(
    config: MDNetConfig, state: MDNetState, room: tuple[int, ...] | None = None
) -> tuple[Tracker, MDNetState]:
    """Cuts a distilled state down to the next of a few sizes; on the host."""
    slots = state.selected.shape[0]
    (size,) = fitting_room(_room(state), room, (slots,))
    width = slots * math.prod(config.grid_hw)
    start = (slots - size) * math.prod(config.grid_hw)

    def cut(leaf: Array) -> Array:
        """Drops the features of spare slots, which come first."""
        return leaf[start:] if leaf.shape[:1] == (width,) else leaf

    def cut_ring(ring: classifier.SampleRing) -> classifier.SampleRing:
        return ring._replace(features=ring.features[:, start:])

    diagnostics = state.diagnostics
    if diagnostics:
        diagnostics = (diagnostics[0], diagnostics[1][slots - size :])
    # No other axis is a multiple of nine.
    head, opt_state, regression = jax.tree.map(cut, (state.head, state.opt_state, state.regression))
    return mdnet(config), state._replace(
        selected=state.selected[slots - size :],
        head=head,
        opt_state=opt_state,
        regression=regression,
        positives=cut_ring(state.positives),
        negatives=cut_ring(state.negatives),
        first_frame=(),
        diagnostics=diagnostics,
    )
