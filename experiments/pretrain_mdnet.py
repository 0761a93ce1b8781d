r"""Trains MDNet's network on videos: shared layers, and a binary layer a video.

    pip install -e ".[experiments,plot]"
    python experiments/pretrain_mdnet.py --root=DIR --workdir=runs/mdnet --name=mdnet_vot \
      --start=vgg_m --cycles=50
    cdjax evaluate --dataset otb --root DIR --tracker MDNet --weights mdnet_vot --results out

A visit takes a few frames of one video, draws target and background boxes in each, and takes a
step of stochastic gradient descent through the shared layers and that video's binary layer; a
cycle visits every video once, in random order [1]. Without --start all layers are drawn, and
--rate=1e-4 of [1], which is meant for trained ones, is too small. Differs: other videos' binary
layers rest in a visit; frames are neither turned, mirrored nor blurred.

The same command goes on where it was killed, and ends with the same weights as if it had not been
(with --rate and --head_factor as they were): what is drawn depends on --seed and the number of the
visit alone. WORKDIR holds the last checkpoint, losses.csv (a row a visit) and losses.png. The
shared layers are stored under --name.
Exit code 0: trained; 2: bad input.

[1] Nam and Han, Learning multi-domain convolutional networks, 2016; py-MDNet's pretrain.
"""

import concurrent.futures
import csv
import functools
import hashlib
import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags, logging

import cdjax
from cdjax import benchmark, classifier, crop, deep_features, weights
from cdjax.benchmark._results import check_writable
from cdjax.deep_features import Backbone
from cdjax.weights._store import check_name

_ROOT = flags.DEFINE_string("root", None, "Folder of the dataset.", required=True)
_DATASET = flags.DEFINE_enum("dataset", "otb", list(benchmark.DATASETS), "Kind of dataset.")
_SEQUENCES = flags.DEFINE_list("sequences", None, "Only these sequences.")
_EXCLUDE = flags.DEFINE_list("exclude", [], "Not these sequences.")
_MAX_FRAMES = flags.DEFINE_integer("max_frames", None, "Frames of each video.", lower_bound=1)
_WORKDIR = flags.DEFINE_string("workdir", None, "Checkpoint, losses and plot.", required=True)
_NAME = flags.DEFINE_string("name", "mdnet_trained", "Name of the weights in the store.")
_NETWORK = flags.DEFINE_enum("network", "mdnet", ("mdnet", "mdnet_matlab"), "Whose norm.")
_START = flags.DEFINE_string("start", None, "Weights whose layers are taken where they fit.")
_CYCLES = flags.DEFINE_integer("cycles", 50, "Visits of every video.", lower_bound=1)
_FRAMES = flags.DEFINE_integer("frames", 8, "Frames of a visit.", lower_bound=1)
_POSITIVES = flags.DEFINE_integer("positives", 32, "Target samples of a visit.", lower_bound=1)
_NEGATIVES = flags.DEFINE_integer("negatives", 96, "Background samples.", lower_bound=1)
_RATE = flags.DEFINE_float("rate", 1e-4, "Learning rate of the convolutions.", lower_bound=1e-9)
_HEAD = flags.DEFINE_float("head_factor", 10, "Learning rate of the rest, against that.", 0)
_SEED = flags.DEFINE_integer("seed", 0, "Of all that is drawn.", lower_bound=0)
_SAVE = flags.DEFINE_integer("save_every", 10, "Cycles between checkpoints.", lower_bound=1)

_MOMENTUM, _DECAY, _CLIP = 0.9, 5e-4, 10.0
_CONVOLUTIONS = ("conv1", "conv2", "conv3")
_SHARED_HEAD = ("fc4", "fc5")


class Video(NamedTuple):
    """A video whose frames are read when they are needed.

    Attributes:
      name: its name.
      paths: frames that have a box.
      boxes: their boxes, px.
      hw: height and width of its frames, px.
    """

    name: str
    paths: list[Path]
    boxes: np.ndarray
    hw: tuple[int, int]


class Batch(NamedTuple):
    """What a visit is given.

    Attributes:
      domain: index of the video.
      frames: padded to one size for all videos.
      frame_hw: true height and width.
      boxes: of the target.
    """

    domain: Any
    frames: np.ndarray
    frame_hw: np.ndarray
    boxes: np.ndarray


class Training(NamedTuple):
    """What goes on from visit to visit.

    Attributes:
      shared: the network, and fc4 and fc5.
      domains: fc6 of every video, stacked.
      shared_momentum: state of the shared layers' optimiser.
      domain_momentum: states of those of fc6, stacked.
      visit: visits made.
    """

    shared: Any
    domains: Any
    shared_momentum: Any
    domain_momentum: Any
    visit: Any


def read_videos() -> list[Video]:
    """The videos of the flags."""
    targets = benchmark.list_targets(_DATASET.value, Path(_ROOT.value))
    if _SEQUENCES.value:
        targets = benchmark.select_targets(targets, _SEQUENCES.value)
    if _EXCLUDE.value:
        left_out = {target.name for target in benchmark.select_targets(targets, _EXCLUDE.value)}
        targets = [target for target in targets if target.name not in left_out]
    videos = []
    for target in targets:
        sequence = benchmark.first_frames(target.read(), _MAX_FRAMES.value)
        annotated = np.all(np.nan_to_num(sequence.boxes[:, 2:]) > 0, axis=1)
        annotated[len(sequence.frame_paths) :] = False
        index = np.flatnonzero(annotated)
        if not index.size:
            raise cdjax.InputError(f"{target.name}: no frame with a box; --exclude={target.name}")
        paths = [sequence.frame_paths[i] for i in index]
        for path in paths:
            if not path.is_file():
                raise cdjax.InputError(f"{path}: frame is missing; --exclude={target.name}")
        hw = benchmark.read_image(paths[0]).shape[:2]
        videos.append(Video(target.name, paths, sequence.boxes[index].astype(np.float32), hw))
    if not videos:
        raise cdjax.InputError("no video is left; check --sequences and --exclude")
    return videos


def frames_of(video: Video, domain: int, cycle: int) -> list[int]:
    """The frames of a visit: permutations of all, one after another."""
    count = len(video.paths)
    chosen = []
    for place in range(cycle * _FRAMES.value, (cycle + 1) * _FRAMES.value):
        order = np.random.default_rng([_SEED.value, domain, place // count]).permutation(count)
        chosen.append(int(order[place % count]))
    return chosen


def batches(videos: list[Video], first: int, canvas: tuple[int, int]) -> Iterator[Batch]:
    """Visits from a number on, decoded one ahead."""
    count = len(videos)

    def load(visit: int) -> Batch:
        cycle, place = divmod(visit, count)
        domain = int(np.random.default_rng([_SEED.value, cycle]).permutation(count)[place])
        video = videos[domain]
        chosen = frames_of(video, domain, cycle)
        # The first one too, whose size the others must have.
        _, *frames = benchmark.read_images([video.paths[0], *(video.paths[i] for i in chosen)])
        return Batch(
            np.int32(domain),
            np.stack([benchmark.pad_to_canvas(frame, canvas) for frame in frames]),
            np.array([frame.shape[:2] for frame in frames], np.int32),
            video.boxes[chosen],
        )

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        coming = pool.submit(load, first)
        for visit in range(first, _CYCLES.value * count):
            batch = coming.result()
            if visit + 1 < _CYCLES.value * count:
                coming = pool.submit(load, visit + 1)
            yield batch


def draw_patches(key: Any, batch: Any) -> tuple[Any, Any]:
    """Patches of target and background, and which of them count."""

    def of_frame(key: Any, frame: Any, hw: Any, box: Any) -> tuple[Any, Any, Any, Any]:
        first, second = jax.random.split(key)
        least = jnp.minimum(box[2:], 10.0)  # of a smaller target no sample would be left
        draw = functools.partial(
            crop.draw_boxes, box=box, frame_hw=hw, kind="uniform", least_px=least
        )
        num_near, num_far = (-(-n // _FRAMES.value) for n in (_POSITIVES.value, _NEGATIVES.value))
        near = draw(first, num=num_near, trans=0.1, scale=1.3, overlap=(0.7, 1.0))
        far = draw(second, num=num_far, trans=2.0, scale=1.6, overlap=(0.0, 0.5))
        cut = functools.partial(crop.mdnet_crop, frame, frame_hw=hw)
        return cut(near[0]), near[1], cut(far[0]), far[1]

    keys = jax.random.split(key, _FRAMES.value)
    parts = jax.vmap(of_frame)(keys, batch.frames, batch.frame_hw, batch.boxes)
    near, near_valid, far, far_valid = jax.tree.map(
        lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), parts
    )
    near, near_valid = near[: _POSITIVES.value], near_valid[: _POSITIVES.value]
    far, far_valid = far[: _NEGATIVES.value], far_valid[: _NEGATIVES.value]
    return jnp.concatenate([near, far]), jnp.concatenate([near_valid, far_valid])


def make_visit(backbone: Backbone) -> Any:
    """(training, key, batch) -> training, loss and precision of the batch."""
    optimiser = optax.chain(optax.add_decayed_weights(_DECAY), optax.trace(_MOMENTUM))
    clip = optax.clip_by_global_norm(_CLIP)
    labels = np.repeat([1, 0], [_POSITIVES.value, _NEGATIVES.value])

    def loss_of(layers: Any, mean: Any, patches: Any, weight: Any, masks: Any) -> tuple[Any, Any]:
        shared, last = layers
        params = {name: shared[name] for name in _CONVOLUTIONS} | {"mean": mean}
        features = deep_features.candidate_features(backbone, params, patches)
        head = {name: shared[name] for name in _SHARED_HEAD} | {"fc6": last}
        logits = classifier.score(head, features, masks=masks)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.asarray(labels))
        right = (logits[:, 1] > logits[:, 0]) == (labels == 1)
        return losses @ weight, right @ weight

    def visit(training: Training, key: Any, batch: Batch) -> tuple[Training, Any, Any]:
        first, second = jax.random.split(jax.random.fold_in(key, training.visit))
        patches, valid = draw_patches(first, batch)
        weight = valid / jnp.maximum(valid.sum(), 1)
        masks = classifier.draw_masks(second, shape=(len(labels),))
        take = lambda tree: jax.tree.map(lambda leaf: leaf[batch.domain], tree)
        shared = {name: training.shared[name] for name in (*_CONVOLUTIONS, *_SHARED_HEAD)}
        last, momentum = take(training.domains), take(training.domain_momentum)
        layers = (shared, last)
        (loss, right), grads = jax.value_and_grad(loss_of, has_aux=True)(
            layers, training.shared["mean"], patches, weight, masks
        )
        grads: Any = clip.update(grads, clip.init(layers))[0]
        steps: Any
        steps, shared_momentum = optimiser.update(grads[0], training.shared_momentum, shared)
        last_step, momentum = optimiser.update(grads[1], momentum, last)
        slow, fast = _RATE.value, _RATE.value * _HEAD.value
        move = lambda rate, old, step: jax.tree.map(lambda w, v: w - rate * v, old, step)
        moved = {
            name: move(slow if name in _CONVOLUTIONS else fast, layer, steps[name])
            for name, layer in shared.items()
        }
        last = move(fast, last, last_step)
        put = lambda tree, new: jax.tree.map(
            lambda leaf, value: leaf.at[batch.domain].set(value), tree, new
        )
        training = Training(
            training.shared | moved,
            put(training.domains, last),
            shared_momentum,
            put(training.domain_momentum, momentum),
            training.visit + 1,
        )
        return training, loss, right

    return jax.jit(visit, donate_argnums=0), optimiser


def start_training(backbone: Backbone, optimiser: Any, num_domains: int, key: Any) -> Training:
    """Layers of --start where they fit, the others drawn."""
    keys = jax.random.split(key, 3)
    given = weights.load_params(_START.value) if _START.value else {}
    shared = deep_features.init_params(keys[0], backbone)
    shared |= {
        name: layer for name, layer in classifier.init_head(keys[1]).items() if name in _SHARED_HEAD
    }
    shapes = lambda layer: jax.tree.map(jnp.shape, layer)
    taken = [
        name for name in shared if name in given and shapes(given[name]) == shapes(shared[name])
    ]
    if given and "conv1" not in taken:
        raise cdjax.InputError(
            f"--start={_START.value}: its conv1 has another shape; use weights of VGG-M or MDNet"
        )
    shared |= {name: given[name] for name in taken}
    shared["mean"] = jnp.full(3, 128.0)  # MDNet's, whatever the layers were trained with
    print(f"layers taken from --start: {', '.join(taken) or 'none'}", flush=True)
    domains = jax.vmap(lambda key: classifier.init_head(key)["fc6"])(
        jax.random.split(keys[2], num_domains)
    )
    learnt = {name: shared[name] for name in (*_CONVOLUTIONS, *_SHARED_HEAD)}
    return Training(
        shared, domains, optimiser.init(learnt), jax.vmap(optimiser.init)(domains), jnp.int32(0)
    )


class Checkpoints:
    """The last state of a workdir, for one set of flags."""

    def __init__(self, workdir: Path, videos: list[Video]):
        """Opens or makes a workdir; refuses one of other flags."""
        import orbax.checkpoint as ocp

        chosen = (_DATASET, _MAX_FRAMES, _NETWORK, _START, _FRAMES, _POSITIVES, _NEGATIVES)
        ours: dict[str, Any] = {flag.name: flag.value for flag in (*chosen, _SEED)}
        ours["videos"] = {
            video.name: [len(video.paths), hashlib.sha256(video.boxes.tobytes()).hexdigest()]
            for video in videos
        }
        known = workdir / "pretrain.json"
        check_writable(workdir / "losses.csv", renamed=True)
        if known.exists():
            theirs = json.loads(known.read_text(encoding="utf-8"))
            different = [key for key in ours if ours[key] != theirs.get(key)]
            if different:
                key = different[0]
                raise cdjax.InputError(
                    f"{workdir} was begun with {key}={theirs.get(key)!r}, not {ours[key]!r}:"
                    " use another --workdir"
                )
        else:
            benchmark.write_json(known, ours)
        self._losses = workdir / "losses.csv"
        self._orbax = ocp
        options = ocp.CheckpointManagerOptions(max_to_keep=1)
        self._manager = ocp.CheckpointManager((workdir / "checkpoints").resolve(), options=options)

    def restore(self, training: Training) -> tuple[Training, list[list[float]]]:
        """The last state, or the one given; and the losses until then."""
        step = self._manager.latest_step()
        if step is None:
            return training, []
        args = self._orbax.args.StandardRestore(training)
        training = cast(Training, self._manager.restore(step, args=args))
        try:
            with self._losses.open(encoding="utf-8", newline="") as file:
                rows = list(csv.reader(file))[1 : 1 + step]
            return training, [[int(a), int(b), float(c), float(d)] for a, b, c, d in rows]
        except (OSError, ValueError) as error:
            raise cdjax.InputError(
                f"{self._losses}: {error}; restore it, or use another --workdir"
            ) from error

    def save(self, training: Training, losses: list[list[float]]) -> None:
        """Writes the losses, then the state that they belong to, if its numbers are finite."""
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.device_get(training))):
            raise diverged(len(losses))
        text = io.StringIO()
        csv.writer(text).writerows([["visit", "video", "loss", "accuracy"], *losses])
        scratch = self._losses.with_suffix(".new")
        scratch.write_text(text.getvalue(), encoding="utf-8")
        scratch.replace(self._losses)
        self._manager.save(int(training.visit), args=self._orbax.args.StandardSave(training))
        self._manager.wait_until_finished()


def diverged(visit: int) -> cdjax.InputError:
    """What to say of numbers that are not finite."""
    return cdjax.InputError(
        f"visit {visit}: the loss or the weights are not finite: use a smaller --rate than"
        f" {_RATE.value}; the same --workdir goes on from its last checkpoint"
    )


def plot_losses(path: Path, losses: list[list[float]], num_videos: int) -> None:
    """Draws the loss of every visit, and the mean of every cycle."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no losses.png: pip install 'cdjax[plot]'", file=sys.stderr)
        return
    visits, _, loss, right = np.array(losses).T
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, values, label in ((axes[0], loss, "loss"), (axes[1], right, "accuracy")):
        axis.plot(visits, values, ".", markersize=2, alpha=0.4, label="visit")
        whole = len(values) // num_videos * num_videos
        means = values[:whole].reshape(-1, num_videos).mean(1)
        axis.plot(np.arange(1, len(means) + 1) * num_videos, means, label="cycle")
        axis.set_xlabel("visits")
        axis.set_ylabel(label)
        axis.legend()
    figure.savefig(path)


def pretrain() -> None:
    """Trains as the flags say."""
    check_name(_NAME.value, _NETWORK.value)  # now rather than after hours
    videos = read_videos()
    canvas = (max(video.hw[0] for video in videos), max(video.hw[1] for video in videos))
    backbone = Backbone(network=_NETWORK.value, layers=("conv3",))
    visit, optimiser = make_visit(backbone)
    first, key = jax.random.split(jax.random.key(_SEED.value))
    training = start_training(backbone, optimiser, len(videos), first)
    workdir = Path(_WORKDIR.value)
    workdir.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(workdir, videos)
    training, losses = checkpoints.restore(training)
    for batch in batches(videos, int(training.visit), canvas):
        training, loss, right = visit(training, key, batch)
        figures = [float(loss), float(right)]
        if not np.isfinite(figures[0]):
            raise diverged(len(losses) + 1)
        losses.append([len(losses) + 1, int(batch.domain), *figures])
        cycle, rest = divmod(len(losses), len(videos))
        if not rest:
            mean = np.mean(np.array(losses[-len(videos) :])[:, 2:], axis=0)
            print(f"cycle {cycle}: loss {mean[0]:.3f}, accuracy {mean[1]:.3f}", flush=True)
            if cycle % _SAVE.value == 0 or cycle == _CYCLES.value:
                checkpoints.save(training, losses)
    plot_losses(workdir / "losses.png", losses, len(videos))
    path = weights.save_params(
        training.shared,
        network=_NETWORK.value,
        name=_NAME.value,
        source=f"pretrain_mdnet.py: {len(losses)} visits of {', '.join(v.name for v in videos)}",
    )
    print(f"-> {path}")


def refuse(words: str) -> NoReturn:
    """Tells bad input in one line."""
    print(f"pretrain_mdnet: error: {' '.join(words.split())}", file=sys.stderr)
    sys.exit(2)


def parse(argv: Sequence[str]) -> Any:
    """Parses the flags."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        refuse(str(error))


def main(_: Any) -> None:
    """Trains."""
    logging.set_verbosity(logging.WARNING)  # JAX tells of each device that is not there
    try:
        pretrain()
    except cdjax.InputError as error:
        refuse(str(error))
    except KeyboardInterrupt:
        print("pretrain_mdnet: interrupted; the same command goes on", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
