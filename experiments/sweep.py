r"""Compares trackers from many starting frames and boxes, all videos as lanes of one program.

One pass from the first frame is noisy: over a dozen videos a lost target moves the mean by 0.03.
This starts every tracker at several frames of every video, and at the first frame with displaced
boxes, and prints the mean success AUC over all of them beside that of the usual single pass.

    python experiments/sweep.py --root=DIR --starts=8 --shifts=2 \
      --tracker=DeepCD-V-11+12+21 --tracker=DeepCD-V-11+12+21:select=random

On an H100, 13 videos from 8 starts and 2 shifts (130 lanes of 200 frames) take 4 s after
compilation; on 2 CPU cores DeepCD-H takes two minutes and a VGG tracker an hour.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

import cdjax
from cdjax import benchmark

_ROOT = flags.DEFINE_string("root", None, "Folder of OTB sequences.", required=True)
_TRACKERS = flags.DEFINE_multi_string("tracker", None, "Trackers, with options.", required=True)
_SEQUENCES = flags.DEFINE_list("sequences", None, "Only these sequences.")
_WEIGHTS = flags.DEFINE_string("weights", None, "Weights; the trackers' own by default.")
_MAX_FRAMES = flags.DEFINE_integer("max_frames", 200, "Frames of each video.", lower_bound=2)
_STARTS = flags.DEFINE_integer("starts", 4, "Starting frames of each video.", lower_bound=1)
_SHIFTS = flags.DEFINE_integer("shifts", 2, "Displaced first boxes of each video.", 0, 4)
_JSON = flags.DEFINE_string("json", None, "Writes all figures here.")

# Displacement and growth of the first box, in its own widths and heights.
_DISPLACED = ((0.08, -0.05, 1.0), (-0.05, -0.05, 1.1), (-0.08, 0.05, 1.0), (0.05, 0.05, 0.9))


class Lanes(NamedTuple):
    """Where each run starts.

    Attributes:
      video: index of the video.
      start: index of the first frame.
      box: the box given there.
    """

    video: np.ndarray
    start: np.ndarray
    box: np.ndarray


def plan(truths: list[np.ndarray], *, num_starts: int, num_shifts: int) -> Lanes:
    """Spreads starts over the first part of each video; a start needs an annotated box."""
    rows = []
    for video, truth in enumerate(truths):
        annotated = np.flatnonzero(np.all(truth[:, 2:] > 0, axis=1))
        for index in range(num_starts):
            frame = int(len(truth) * index / (num_starts + 1.5))
            frame = int(annotated[annotated >= frame][0])
            rows.append((video, frame, truth[frame]))
        x, y, w, h = truth[0]
        for right, down, growth in _DISPLACED[:num_shifts]:
            box = [x + right * w, y + down * h, w * growth, h * growth]
            rows.append((video, 0, np.array(box)))
    return Lanes(
        np.array([row[0] for row in rows], np.int32),
        np.array([row[1] for row in rows], np.int32),
        np.array([row[2] for row in rows], np.float32),
    )


def run(
    tracker: cdjax.Tracker, params: Any, frames: Any, sizes: Any, lengths: Any, lanes: Lanes
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [lane, frame, 4] from each lane's start on, and the channels it kept."""

    def one(video: Any, start: Any, box: Any) -> tuple[Any, Any]:
        state = tracker.init(params, frames[video, start], box, frame_hw=sizes[video])

        def step(state: Any, t: Any) -> tuple[Any, Any]:
            frame = frames[video, jnp.minimum(start + t, lengths[video] - 1)]
            state, output = tracker.step(params, state, frame)
            return state, output.box

        state, boxes = jax.lax.scan(step, state, jnp.arange(1, frames.shape[1]))
        return jnp.concatenate([box[None], boxes]), state.num_channels

    return jax.device_get(jax.jit(jax.vmap(one))(*lanes))


def main(_: Any) -> None:
    """Prints a line a tracker."""
    targets = benchmark.list_otb(Path(_ROOT.value))
    if _SEQUENCES.value:
        targets = benchmark.select_targets(targets, _SEQUENCES.value)
    videos = [target.read() for target in targets]
    decoded, truths = [], []
    for video in videos:
        paths = video.frame_paths[: _MAX_FRAMES.value]
        decoded.append(np.stack(list(benchmark.read_images(paths))))
        truths.append(video.boxes[: len(paths)])
    shape = np.max([video.shape for video in decoded], axis=0)
    frames = np.zeros((len(decoded), *shape), np.uint8)
    for lane, video in enumerate(decoded):
        frames[lane, : video.shape[0], : video.shape[1], : video.shape[2]] = video
    pixels = jax.device_put(frames)
    sizes = jnp.array([video.shape[1:3] for video in decoded], jnp.int32)
    lengths = jnp.array([len(video) for video in decoded], jnp.int32)
    lanes = plan(truths, num_starts=_STARTS.value, num_shifts=_SHIFTS.value)

    rows = []
    print(f"{'mean AUC':>8} {'1st pass':>8} {'channels':>8}  tracker ({len(lanes.start)} runs)")
    for name in _TRACKERS.value:
        weights = benchmark.weights_for(name, weights=_WEIGHTS.value)
        params = {} if weights is None else cdjax.load_params(weights)
        boxes, channels = run(cdjax.make(name), params, pixels, sizes, lengths, lanes)
        scores = []
        for video, start, track in zip(lanes.video, lanes.start, boxes, strict=True):
            truth = truths[video][start:]
            result = benchmark.score(track[: len(truth)].astype(float), truth)
            scores.append(result.success_auc)
        each = np.array(scores).reshape(len(videos), -1)
        rows.append({"tracker": name, "success_auc": each.tolist(), "channels": channels.tolist()})
        means = each.mean(), each[:, 0].mean(), channels.mean()
        print("{:8.3f} {:8.3f} {:8.1f}  {}".format(*means, name), flush=True)
    if _JSON.value:
        names = [video.name for video in videos]
        benchmark.write_json(Path(_JSON.value), {"sequences": names, "trackers": rows})


if __name__ == "__main__":
    app.run(main)
