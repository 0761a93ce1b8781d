r"""Compares trackers and values of their options from many starting frames and boxes.

One pass from the first frame is noisy: over a dozen videos a lost target moves the mean by 0.03.
This starts every tracker at several frames of every video, and at the first frame with displaced
boxes, and prints the mean success AUC over all of them beside that of the usual single pass.

    python experiments/sweep.py --root=DIR --starts=8 --shifts=2 \
      --tracker=DeepCD-V-11+12+21 --tracker=DeepCD-V-11+12+21:select=random
    python experiments/sweep.py --root=DIR --tracker=CACF-CD --json=rates.json \
      --vary=learning_rate=0.01,0.02,0.04 --vary=joint_reg=1e-3,1e-2

Videos, starts and values (of several options all combinations) are lanes of one program over the
same decoded frames. A table given by --json is written after every program run; rows that are in
it are not run again, so that the same command goes on after it was killed. One process a table.
One program has one size for all targets: trackers are not fitted to a first box (`Tracker.fit`).
On an H100, 13 videos from 8 starts and 2 shifts (130 lanes of 200 frames) take 4 s after
compilation; on 2 CPU cores DeepCD-H takes two minutes and a VGG tracker an hour.
Exit code 0: all rows are there; 2: bad input.
"""

import functools
import itertools
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging

import cdjax
from cdjax import benchmark
from cdjax.benchmark._entries import describe
from cdjax.benchmark._results import check_writable, versions
from cdjax.benchmark._workdir import read_json

_ROOT = flags.DEFINE_string("root", None, "Folder of OTB sequences.", required=True)
_TRACKERS = flags.DEFINE_multi_string("tracker", None, "Trackers, with options.", required=True)
_VARY = flags.DEFINE_multi_string("vary", [], "FIELD=NUMBER,NUMBER: an option's values.")
_SEQUENCES = flags.DEFINE_list("sequences", None, "Only these sequences.")
_WEIGHTS = flags.DEFINE_string("weights", None, "Weights; the trackers' own by default.")
_MAX_FRAMES = flags.DEFINE_integer("max_frames", 200, "Frames of each video.", lower_bound=2)
_STARTS = flags.DEFINE_integer("starts", 4, "Starting frames of each video.", lower_bound=1)
_SHIFTS = flags.DEFINE_integer("shifts", 2, "Displaced first boxes of each video.", 0, 4)
_MAX_LANES = flags.DEFINE_integer("max_lanes", 256, "Lanes of one program.", lower_bound=1)
_LANES = flags.DEFINE_enum(
    "lanes", None, ("vmap", "map"), "Side by side, or one after another; by default map on a CPU."
)
_JSON = flags.DEFINE_string("json", None, "Table of all figures; rows in it are not run again.")

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
            later = annotated[annotated >= frame]
            if not later.size:
                raise cdjax.InputError(f"video {video + 1}: no box from frame {frame + 1} on")
            frame = int(later[0])
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


class Videos(NamedTuple):
    """Decoded frames, padded to one size and length, and what is known of them.

    Attributes:
      frames: uint8 [video, frame, H, W, 3].
      sizes: true height and width of each.
      lengths: true number of frames of each.
    """

    frames: Any
    sizes: Any
    lengths: Any


class Row(NamedTuple):
    """A line of the table.

    Attributes:
      entry: the tracker as made with the values: its label, weights and description.
      values: what the lanes of its program differ in.
    """

    entry: benchmark.Entry
    values: dict[str, float]


def parse_vary(texts: Sequence[str]) -> dict[str, list[float]]:
    """The values of each field, from FIELD=NUMBER,NUMBER."""
    grid: dict[str, list[float]] = {}
    for text in texts:
        field, _, listed = text.partition("=")
        try:
            values = [float(part) for part in listed.split(",")]
        except ValueError:
            values = []
        if not values or not all(map(math.isfinite, values)):
            raise cdjax.InputError(f"--vary={text}: use FIELD=NUMBER,NUMBER")
        if field in grid:
            raise cdjax.InputError(
                f"--vary={text}: {field} is there twice; list all its values once"
            )
        grid[field] = list(dict.fromkeys(values))
    return grid


def make_rows(name: str, grid: Mapping[str, list[float]], *, weights: str | None) -> list[Row]:
    """A row for each combination of values, checked as options of the tracker are."""
    cdjax.vary(name, {field: values[0] for field, values in grid.items()})
    given = {part.partition("=")[0].strip() for part in name.partition(":")[2].split(",")}
    if both := sorted(given & set(grid)):
        raise cdjax.InputError(f"{name}: {both[0]} is in --vary too; leave one out")
    rows = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    texts = [",".join(f"{field}={value}" for field, value in row.items()) for row in rows]
    joint = "," if ":" in name else ":"
    labels = [f"{name}{joint}{text}" if text else name for text in texts]
    entries = benchmark.make_entries(labels, weights=weights)
    return [Row(entry, values) for entry, values in zip(entries, rows, strict=True)]


def make_program(name: str, *, form: str) -> Callable[..., Any]:
    """(params, videos, (values, lanes)) -> boxes of each lane from its start on, channels kept."""

    def one(params: Any, videos: Videos, lane: tuple[dict[str, Any], Lanes]) -> tuple[Any, Any]:
        values, (video, start, box) = lane
        frames, sizes, lengths = videos
        tracker = cdjax.vary(name, values)
        state = tracker.init(params, frames[video, start], box, frame_hw=sizes[video])

        def step(state: Any, t: Any) -> tuple[Any, Any]:
            frame = frames[video, jnp.minimum(start + t, lengths[video] - 1)]
            state, output = tracker.step(params, state, frame)
            return state, output.box

        state, boxes = jax.lax.scan(step, state, jnp.arange(1, frames.shape[1]))
        return jnp.concatenate([box[None], boxes]), state.num_channels

    if form == "vmap":
        return jax.jit(jax.vmap(one, in_axes=(None, None, 0)))
    return jax.jit(
        lambda params, videos, lanes: jax.lax.map(functools.partial(one, params, videos), lanes)
    )


def run(
    program: Callable[..., Any], videos: Videos, lanes: Lanes, rows: list[Row], *, max_lanes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [row, run, frame, 4] and channels [row, run]."""
    num_runs = len(lanes.start)
    values = {
        field: np.repeat(np.array([row.values[field] for row in rows], np.float32), num_runs)
        for field in rows[0].values
    }
    starts = jax.tree.map(lambda x: np.concatenate([x] * len(rows)), lanes)
    # Parts of one size, so that one program serves all; the last lane fills the last part.
    total = len(rows) * num_runs
    num_parts = -(-total // max_lanes)
    size = -(-total // num_parts)
    found = []
    for part in range(num_parts):
        index = np.minimum(np.arange(size) + part * size, total - 1)
        chosen = jax.tree.map(lambda x, index=index: x[index], (values, starts))
        found.append(jax.device_get(program(rows[0].entry.params, videos, chosen)))
    return jax.tree.map(
        lambda *x: np.concatenate(x)[:total].reshape(len(rows), num_runs, *x[0].shape[1:]), *found
    )


def read_videos(root: Path, names: list[str] | None) -> tuple[list[str], Videos, list[np.ndarray]]:
    """Names, decoded frames and annotated boxes."""
    targets = benchmark.list_otb(root)
    if names:
        targets = benchmark.select_targets(targets, names)
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
    sizes = jnp.array([video.shape[1:3] for video in decoded], jnp.int32)
    lengths = jnp.array([len(video) for video in decoded], jnp.int32)
    return [v.name for v in videos], Videos(jax.device_put(frames), sizes, lengths), truths


def sweep() -> None:
    """Runs the rows that the table lacks, and prints a line a row."""
    grid, path = parse_vary(_VARY.value), _JSON.value and Path(_JSON.value)
    plans = {
        name: make_rows(name, grid, weights=_WEIGHTS.value)
        for name in dict.fromkeys(_TRACKERS.value)
    }
    table: list[dict[str, Any]] = []
    if path:
        check_writable(path, renamed=True)
        if path.exists():
            table = read_json(path, required=("trackers",))["trackers"]
    names, videos, truths = read_videos(Path(_ROOT.value), _SEQUENCES.value)
    lanes = plan(truths, num_starts=_STARTS.value, num_shifts=_SHIFTS.value)
    num_runs = len(lanes.start)
    form = _LANES.value or ("map" if jax.default_backend() == "cpu" else "vmap")
    shared = {
        "sequences": names,
        "max_frames": _MAX_FRAMES.value,
        "starts": _STARTS.value,
        "shifts": _SHIFTS.value,
        "lanes": form,
        "versions": versions(),
    }

    def identity(row: Row) -> dict[str, Any]:
        return {"config_hash": describe(row.entry)["config_hash"], **shared}

    def show(row: dict[str, Any], note: str = "") -> None:
        each, channels = np.array(row["success_auc"]), np.mean(row["channels"])
        means = each.mean(), each[:, 0].mean(), channels
        print("{:8.3f} {:8.3f} {:8.1f}  {}{}".format(*means, row["tracker"], note), flush=True)

    print(f"{'mean AUC':>8} {'1st pass':>8} {'channels':>8}  tracker ({num_runs} runs)")
    for name, rows in plans.items():
        pending = []
        for row in rows:
            if known := [each for each in table if each.get("identity") == identity(row)]:
                show(known[0], " (from the table)")
            else:
                pending.append(row)
        program = make_program(name, form=form)
        per = min(len(rows), max(1, _MAX_LANES.value // num_runs))
        for first in range(0, len(pending), per):
            group = pending[first : first + per]
            # As many rows in every program, whatever is left: the same program, the same figures.
            full = group + group[-1:] * (per - len(group))
            tracks, channels = run(program, videos, lanes, full, max_lanes=_MAX_LANES.value)
            for index, row in enumerate(group):
                scores = []
                for video, start, track in zip(
                    lanes.video, lanes.start, tracks[index], strict=True
                ):
                    truth = truths[video][start:]
                    result = benchmark.score(track[: len(truth)].astype(float), truth)
                    scores.append(result.success_auc)
                figures = {
                    "tracker": row.entry.name,
                    "values": row.values,
                    "success_auc": np.reshape(scores, (len(names), -1)).tolist(),
                    "channels": channels[index].tolist(),
                    "identity": identity(row),
                }
                table.append(figures)
                show(figures)
            if path:
                benchmark.write_json(path, {"trackers": table})


def refuse(words: str) -> NoReturn:
    """Tells bad input in one line."""
    print(f"sweep: error: {' '.join(words.split())}", file=sys.stderr)
    sys.exit(2)


def parse(argv: list[str]) -> list[str]:
    """Parses the flags."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        refuse(str(error))


def main(_: Any) -> None:
    """Runs the sweep of the flags."""
    logging.set_verbosity(logging.WARNING)  # JAX tells of each device that is not there
    try:
        sweep()
    except cdjax.InputError as error:
        refuse(str(error))
    except KeyboardInterrupt:
        print("sweep: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
