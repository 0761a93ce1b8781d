"""`cdjax speed`: what trackers cost, side by side."""

import argparse
import dataclasses
import gzip
import itertools
import json
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cdjax._errors import InputError
from cdjax.cli import _interrupt
from cdjax.cli._devices import share_cores
from cdjax.cli._plan import frame_hw
from cdjax.cli._track import open_source, positive

_ROOFLINE = (
    "this machine, in this run: matrix product {gflops:.1f} GFLOP/s, in the median between steps\n"
    "{median_gflops:.1f} (the network is compared with that), copy {gbytes_s:.1f} GB/s; a bound is "
    "what a step's\noperations and bytes take at the best rates, a mean over the frames that it "
    "treats differently:\nloops count as often as they turn, bytes once (state, weights, search "
    "region)"
)
_MOST_FRAMES = 120  # and the first two; they are kept decoded, on the device
_FORMULA = "model bytes = filter + network weights that the kept channels need"


def add_parser(subparsers: Any) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "speed",
        help="time trackers side by side",
        description="Times trackers side by side on one video: compilation, "
        "distillation, steps, the bare network (or HOG) with all candidate channels of as many "
        "whole patches as a step needs, and the same with crops of such patches. Of ECO it leaves "
        "out colours, HOG beside a network, and the scale filter.",
    )
    parser.add_argument(
        "--tracker",
        action=_AddTracker,
        dest="trackers",
        metavar="NAME",
        required=True,
        help="a tracker, e.g. DeepCD-V-11+12+21; repeat it to compare",
    )
    parser.add_argument(
        "--weights",
        action=_SetWeights,
        dest="trackers",
        metavar="NAME_OR_PATH",
        help="weights of the --tracker before it",
    )
    parser.add_argument(
        "--frames",
        type=int,
        default=30,
        metavar="N",
        help="timed steps of each tracker; frames/s of one that trains now and then needs a whole "
        "cycle (default: %(default)s)",
    )
    parser.add_argument(
        "--frame",
        metavar="WxH",
        help="size of a frame of the synthetic video (default: 320x240)",
    )
    parser.add_argument(
        "--video",
        metavar="SOURCE",
        help="what to track instead of the synthetic video: any source of `cdjax track`",
    )
    parser.add_argument(
        "--box", metavar="X,Y,W,H", help="target in the first frame of --video, as in `cdjax track`"
    )
    parser.add_argument(
        "--roofline",
        action="store_true",
        help="also count a step's operations and bytes, measure what this machine's own matrix "
        "product and memory copy reach, and tell how near the step is to them",
    )
    parser.add_argument(
        "--batch_sizes",
        type=_sizes,
        default=(),
        metavar="A,B",
        help="also time as many lanes in one program, beside single streams in the same rounds; "
        "with --roofline, which share of this machine's rates they reach at least",
    )
    parser.add_argument(
        "--profile",
        type=Path,
        metavar="DIR",
        help="also record steps for TensorBoard or Perfetto there, and list what takes longest",
    )
    parser.add_argument("--json", metavar="OUT", help="write the figures to this file")
    parser.set_defaults(run=run)


def _sizes(text: str) -> tuple[int, ...]:
    """Reads numbers apart by commas, for argparse."""
    return tuple(positive(part.strip()) for part in text.split(","))


class _AddTracker(argparse.Action):
    """Appends (name, no weights yet)."""

    def __call__(self, parser, namespace, values, option_string=None):
        pairs = getattr(namespace, self.dest) or []
        setattr(namespace, self.dest, [*pairs, (values, None)])


class _SetWeights(argparse.Action):
    """Gives weights to the last tracker."""

    def __call__(self, parser, namespace, values, option_string=None):
        pairs = getattr(namespace, self.dest)
        if not pairs:
            raise argparse.ArgumentError(self, "belongs after the --tracker it is for")
        setattr(namespace, self.dest, [*pairs[:-1], (pairs[-1][0], values)])


@dataclasses.dataclass
class _Case:
    """A tracker under test: compiled functions, and the times so far."""

    row: dict[str, Any]
    tracker: Any
    params: Any
    state: Any
    step: Any
    bare: Callable[..., Any]
    patches: Any
    extract: Callable[[], Any]
    step_s: list[float] = dataclasses.field(default_factory=list)
    step_index: list[int] = dataclasses.field(default_factory=list)
    bare_s: list[float] = dataclasses.field(default_factory=list)
    extract_s: list[float] = dataclasses.field(default_factory=list)


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    if args.frames < 1:
        raise InputError(f"--frames {args.frames}: must be at least 1")
    num_frames = min(args.frames, _MOST_FRAMES) + 2  # it starts again after the last
    if args.video is None:
        if args.box is not None:
            raise InputError(f"--box {args.box}: is for a --video; give one")
        size = "320x240" if args.frame is None else args.frame
        video = _synthetic_video(num_frames, frame_hw(size))
    else:
        if args.frame is not None:
            raise InputError(f"--frame {args.frame}: --video has its own size; leave one of them")
        video = _real_video(args.video, args.box, num_frames)
    frames, start = video
    hw = frames[0].shape[:2]
    share_cores(max(args.batch_sizes, default=1))
    import jax

    from cdjax.benchmark import _results
    from cdjax.cli import _cost  # brings JAX along

    if args.json:
        _results.check_writable(Path(args.json), renamed=True)  # now rather than after minutes

    bursts = [0] + [min(_BURST, args.frames - i) for i in range(0, args.frames, _BURST)]
    on_device = [jax.device_put(frame) for frame in frames]
    # All weights first: what is missing is said before minutes of compilation.
    loaded = [_load(name, weights) for name, weights in args.trackers]
    cases = []
    for (name, weights), params in zip(args.trackers, loaded, strict=True):
        print(f"compiling {name} ...", flush=True)
        cases.append(_prepare(name, weights, params, on_device, start))
    print(f"timing {args.frames} steps of each, in turn ...", flush=True)
    product = _cost.matrix_product() if args.roofline else None
    product_s: list[float] = []
    for num_steps in _interrupt.between(bursts):
        for case in cases:
            _time_burst(case, on_device, num_steps)
        if product is not None:
            product_s += _burst_seconds(product, num_steps)

    rows = [_finish(case) for case in cases]
    peaks = _cost.measured_peaks(product_s) if args.roofline else None
    for row in rows:
        row |= _roofline(row, peaks) if peaks else {}
    device = jax.devices()[0]
    print(
        f"\ndevice: {device.platform} ({device.device_kind}), medians of {args.frames} steps, "
        f"frames of {hw[1]}x{hw[0]} px of {args.video or 'a synthetic video'}\n"
    )
    print(_table(rows))
    print(f"\n{_FORMULA}")
    if peaks:
        print(_ROOFLINE.format(**peaks))
        for row in rows:
            for what in row["step_uncounted"]:
                print(f"{row['tracker']}: {what}")
    if args.batch_sizes:
        for case, row in zip(cases, rows, strict=True):
            row["batches"] = [
                batch | (_batch_shares(row, batch, peaks) if peaks else {})
                for batch in _time_batches(case, frames, args)
            ]
            print(_batch_table(row["tracker"], row["batches"]))
    if args.profile:
        for case, row in zip(cases, rows, strict=True):
            row["profile"] = _profile(case, on_device[2], args.profile)
            print(_profile_table(row["tracker"], row["profile"], args.profile))
    if args.json:
        report = {
            "jax": jax.__version__,
            "device": f"{device.platform} ({device.device_kind})",
            "frames": args.frames,
            "video": args.video or "synthetic",
            "frame_hw": hw,
            "formula": _FORMULA,
            "peaks": peaks,
            "trackers": rows,
        }
        _results.write_json(Path(args.json), report)
        print(f"written to {args.json}")
    return 0


def _synthetic_video(num_frames: int, hw: tuple[int, int]) -> tuple[list[Any], Any]:
    """Frames, and the target's box in the first."""
    from cdjax.benchmark._synthetic import synthetic_frames

    video = list(synthetic_frames(num_frames, hw))
    return [frame for frame, _ in video], video[0][1]


def _real_video(text: str, box_text: str | None, num_frames: int) -> tuple[list[Any], Any]:
    """At most so many frames of a source, and the target's box in the first, float32."""
    from cdjax.boxes import check_box, parse_box

    box = None if box_text is None else parse_box(box_text)
    source = open_source(text, box)
    if source.note:
        print(source.note)
    box = source.start if box is None else box
    if box is None:
        raise InputError(f"--video {text}: has no ground truth; give --box X,Y,W,H")
    frames = list(itertools.islice(source.frames, num_frames))
    if len(frames) < 3:
        raise InputError(f"--video {text}: has {len(frames)} frames; 3 are needed at least")
    return frames, check_box(box, frames[0].shape[:2])


def _load(name: str, weights: str | None) -> Any:
    """The tracker's weights, on the device; {} where it needs none."""
    import jax

    import cdjax
    from cdjax.benchmark._entries import weights_for

    chosen = weights_for(name, weights=weights)
    return {} if chosen is None else jax.device_put(cdjax.load_params(chosen))


def _prepare(name: str, weights: str | None, params: Any, frames: list[Any], box: Any) -> _Case:
    """Compiles a tracker, phase by phase, and takes it through its first frames."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    import cdjax
    from cdjax import trackers
    from cdjax.benchmark._entries import weights_for
    from cdjax.cli import _cost  # brings JAX along
    from cdjax.trackers._base import fit_to, on_second_frame
    from cdjax.trackers._names import config_of

    # As `evaluate` runs it.
    tracker, config = fit_to(cdjax.make(name), box), config_of(name).fitted(box[2:])
    box = jax.device_put(box)

    init, init_s = _compile(tracker.init, params, frames[0], box)
    state = jax.block_until_ready(init(params, frames[0], box))
    second = on_second_frame(tracker).step
    first, first_s = _compile(second, params, state, frames[1], donate=1)
    # Every call takes over the state that it is given.
    distilled: Any = None
    distil_s = []
    for _ in range(4):  # the first warms up
        fresh = jax.block_until_ready(jax.tree.map(jnp.copy, state))
        start = time.perf_counter()
        distilled, _ = jax.block_until_ready(first(params, fresh, frames[1]))
        distil_s.append(time.perf_counter() - start)
    steady, steady_s, steady_tracker = first, None, tracker
    if tracker.compact is not None:
        steady_tracker, distilled = tracker.compact(distilled)
        distilled = jax.device_put(distilled)
        steady, steady_s = _compile(steady_tracker.step, params, distilled, frames[2], donate=1)

    patches = jax.device_put(_patches(frames, config.num_patches, config.patch_px))
    bare, _ = _compile(config.extract, params, patches)
    cost = _cost.step_cost(steady_tracker, config, params, distilled, frames[2])
    bare_cost = _cost.count(config.extract, params, patches)
    around, _ = _compile(config.extract_around, params, frames[0], box)
    row = {
        "tracker": name,
        "weights": weights_for(name, weights=weights),
        "compile_init_s": init_s,
        "compile_first_step_s": first_s,
        "compile_step_s": steady_s,
        "distil_s": statistics.median(distil_s[1:]) if tracker.compact is not None else None,
        "num_channels": int(np.asarray(distilled.num_channels)),
        "num_candidates": sum(trackers.candidates_of(name).values()),
        "patches": config.num_patches,
        "patch_px": config.patch_px,
        "backbone_gflop": bare_cost.flops / 1e9,
        "step_gflop": cost.flops / 1e9,
        "step_gbytes": cost.bytes / 1e9,
        "weights_gbytes": cost.params_bytes / 1e9,
        "step_uncounted": sorted(cost.untold | bare_cost.untold),
        "state_bytes": _num_bytes(distilled),
        "model_bytes": trackers.model_bytes(config.backbone, params, distilled),
    }
    extract = lambda: around(params, frames[0], box)
    return _Case(row, steady_tracker, params, distilled, steady, bare, patches, extract)


def _compile(
    function: Callable[..., Any], *args: Any, donate: int | None = None
) -> tuple[Any, float]:
    """The compiled function, and the seconds that tracing and compiling took.

    It may take over the memory of the argument at `donate`, as a loop over frames would have it:
    otherwise a large state is allocated anew in every frame.
    """
    import jax

    start = time.perf_counter()
    compiled = jax.jit(function, donate_argnums=donate).lower(*args).compile()
    return compiled, time.perf_counter() - start


def _seconds(function: Callable[[], Any]) -> float:
    """Wall-clock seconds of a call, to the end of its computation."""
    import jax

    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


def _burst_seconds(function: Callable[[], Any], num_calls: int) -> list[float]:
    """Seconds of calls in a row; one before them fills the caches, and is not timed."""
    return [_seconds(function) for _ in range(num_calls + 1)][1:]


def _time_burst(case: _Case, frames: list[Any], num_steps: int) -> None:
    """Steps of one tracker in a row, as in a video, then as many passes of its parts."""
    import jax
    import jax.numpy as jnp

    first = int(case.state.frame_index)

    def step(index: int) -> Any:
        # The video again and again, but for its first two frames.
        frame = frames[2 + (index - 1) % (len(frames) - 2)]
        case.state, output = case.step(case.params, case.state, frame)
        return case.state, output

    # The step that fills the caches moves a copy: were it one of the video's, some turns of a
    # tracker that trains now and then might never be timed.
    kept = jax.block_until_ready(jax.tree.map(jnp.copy, case.state))
    jax.block_until_ready(step(first))
    case.state = kept
    for index in range(first, first + num_steps):
        case.step_s.append(_seconds(lambda index=index: step(index)))
        case.step_index.append(index)
    case.bare_s += _burst_seconds(lambda: case.bare(case.params, case.patches), num_steps)
    case.extract_s += _burst_seconds(case.extract, num_steps)


def _patches(frames: list[Any], num: int, side: int) -> Any:
    """Patches [num, side, side, 3] of the video, float32 0..255."""
    import cv2
    import numpy as np

    picks = [np.asarray(frames[i % len(frames)]) for i in range(num)]
    return np.stack([cv2.resize(p, (side, side)) for p in picks]).astype(np.float32)


def _roofline(row: dict[str, Any], peaks: dict[str, float]) -> dict[str, Any]:
    """The least time that a step's operations, and its bytes, take at the measured rates."""
    compute_ms = row["step_gflop"] / peaks["gflops"] * 1e3
    memory_ms = row["step_gbytes"] / peaks["gbytes_s"] * 1e3
    bound_ms = max(compute_ms, memory_ms)
    network_gflops = row["backbone_gflop"] / row["backbone_ms"] * 1e3
    return {
        "backbone_gflops": network_gflops,
        "backbone_share": network_gflops / peaks["median_gflops"],
        "compute_bound_ms": compute_ms,
        "memory_bound_ms": memory_ms,
        "share_of_bound": bound_ms / row["frame_ms"] if row["frame_ms"] else None,
    }


_BURST = 4  # timed steps of a tracker before the next one's turn
_CHUNK = 12  # frames a lane and call, as the batched evaluation's
_STEPS = 10


def _time_batches(case: _Case, frames: list[Any], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Frames/s of single streams and of lanes, in rounds by turns; transfers included."""
    import jax
    import numpy as np

    from cdjax.lanes import Slots, step_alone

    state, params = jax.device_get(case.state), jax.device_get(case.params)
    chunk = np.stack([frames[2 + i % (len(frames) - 2)] for i in range(_CHUNK)])
    one = np.ones(1, np.int32)
    alone, _ = _compile(step_alone(case.tracker), case.params, state, chunk[0], one)

    def single() -> None:
        after = state
        for frame in chunk:
            after, output = alone(case.params, after, frame, one)
            jax.device_get(output.box)

    devices = {1: 1}

    def batch(size: int) -> Callable[[], Any]:
        slots = Slots(case.tracker, params, num=size)
        # The rates of a CPU are those of all cores, whatever devices they are made into.
        devices[size] = len(slots.devices) if slots.at_once else 1
        for slot in range(size):
            slots.put(slot, state)
        chunks = np.repeat(chunk[None], size, axis=0)
        return lambda: slots.step(chunks, dict.fromkeys(range(size), _CHUNK))[0]

    runs = {1: single} | {size: batch(size) for size in args.batch_sizes if size > 1}
    seconds: dict[int, list[float]] = {size: [] for size in runs}
    for index in _interrupt.between(range(-1, max(3, args.frames // 5))):
        for size, run in runs.items():
            taken = _seconds(run)
            if index >= 0:
                seconds[size].append(taken)
    fps = {size: size * _CHUNK / statistics.median(taken) for size, taken in seconds.items()}
    return [
        {
            "batch_size": size,
            "devices": devices[size],
            "fps": rate,
            "against_single": rate / fps[1],
        }
        for size, rate in fps.items()
    ]


def _batch_shares(
    row: dict[str, Any], batch: dict[str, Any], peaks: dict[str, float]
) -> dict[str, Any]:
    """How much of a device's rates the least that these frames/s need takes; weights count once."""
    fps = batch["fps"] / batch["devices"]
    weights = row["weights_gbytes"] * (1 - 1 / batch["batch_size"])
    return {
        "share_of_operations": fps * row["step_gflop"] / peaks["gflops"],
        "share_of_bytes": fps * (row["step_gbytes"] - weights) / peaks["gbytes_s"],
    }


def _batch_table(name: str, batches: list[dict[str, Any]]) -> str:
    lines = [f"\n{name}: frames/s of all lanes together, transfers included"]
    for row in batches:
        line = f"{row['batch_size']:>6} lanes {row['fps']:10.1f}"
        line += f"  {row['against_single']:6.2f} x single"
        if "share_of_operations" in row:
            line += (
                f"  {row['share_of_operations']:6.1%} of the matrix product's rate, "
                f"{row['share_of_bytes']:6.1%} of the copy's"
            )
        lines.append(line)
    return "\n".join(lines)


def _profile(case: _Case, frame: Any, folder: Path) -> list[dict[str, Any]]:
    """Records steps, and sums up the time of each operation; the longest first."""
    import jax

    from cdjax.benchmark._results import make_folder

    # A folder each: JAX names its own by the second.
    folder = make_folder(folder / re.sub(r"[^\w.+-]", "_", case.row["tracker"]))
    with jax.profiler.trace(str(folder)):
        for _ in range(_STEPS):
            case.state, _ = jax.block_until_ready(case.step(case.params, case.state, frame))
    path = max(folder.glob("plugins/profile/*/*.trace.json.gz"))
    with gzip.open(path) as file:
        events = json.load(file)["traceEvents"]
    # What an operation is for, as JAX names it, is in the program's text.
    origin = dict(_ORIGIN.findall(case.step.as_text()))
    spent: dict[str, float] = {}
    for event in events:
        operation = (event.get("args") or {}).get("hlo_op")
        if operation and not operation.startswith(_HOLD_OTHERS):
            spent[operation] = spent.get(operation, 0.0) + event.get("dur", 0.0) / 1e3 / _STEPS
    total = sum(spent.values()) or 1.0
    ranked = sorted(spent.items(), key=lambda item: -item[1])[:10]
    return [
        {"operation": name, "ms": ms, "share": ms / total, "from": origin.get(name, "")}
        for name, ms in ranked
    ]


_ORIGIN = re.compile(r'%([\w.-]+) = [^\n]*metadata=\{op_name="([^"]*)"')
_HOLD_OTHERS = ("while", "conditional", "call")


def _profile_table(name: str, rows: list[dict[str, Any]], folder: Path) -> str:
    lines = [f"\n{name}: operations of a step by time summed over threads (trace in {folder})"]
    lines += [
        f"{row['ms']:9.3f} ms {row['share']:6.1%}  {row['operation']:36} {row['from'][-60:]}"
        for row in rows
    ]
    return "\n".join(lines)


def _num_bytes(tree: Any) -> int:
    import jax

    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def _finish(case: _Case) -> dict[str, Any]:
    times = (case.step_s, case.bare_s, case.extract_s)
    step_s, bare_s, extract_s = (statistics.median(some) for some in times)
    # Some trackers train in one frame of several, and in all of the first few.
    start, period = case.tracker.cycle
    turns: dict[int, list[float]] = {}
    for index, seconds in zip(case.step_index, case.step_s, strict=True):
        if index >= start:
            turns.setdefault((index - start) % period, []).append(seconds)
    turn_s = [statistics.median(some) for some in turns.values()]
    whole = len(turns) == period
    frame_s = statistics.mean(turn_s) if whole else None
    return case.row | {
        "backbone_ms": 1e3 * bare_s,
        "extraction_ms": 1e3 * extract_s,
        "step_ms": 1e3 * step_s,
        "dearest_ms": 1e3 * max(turn_s) if whole and period > 1 else None,
        "frame_ms": None if frame_s is None else 1e3 * frame_s,
        "ratio": step_s / bare_s,
        "extraction_ratio": step_s / extract_s,
        "fps": None if frame_s is None else 1 / frame_s,
    }


def _table(rows: list[dict[str, Any]]) -> str:
    """The figures, a column a tracker."""
    number = lambda value, digits: "-" if value is None else f"{value:,.{digits}f}"
    lines: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
        ("", lambda r: r["tracker"]),
        ("compile: init, s", lambda r: number(r["compile_init_s"], 2)),
        ("compile: first step, s", lambda r: number(r["compile_first_step_s"], 2)),
        ("compile: later steps, s", lambda r: number(r["compile_step_s"], 2)),
        ("frame 2 with distillation, s", lambda r: number(r["distil_s"], 3)),
        ("channels in use", lambda r: f"{r['num_channels']} of {r['num_candidates']}"),
        ("patches a step", lambda r: f"{r['patches']} x {r['patch_px']} px"),
        ("network alone, ms", lambda r: number(r["backbone_ms"], 2)),
        ("crops and network, ms", lambda r: number(r["extraction_ms"], 2)),
        ("step, median, ms", lambda r: number(r["step_ms"], 2)),
        ("the dearest turn of its cycle, ms", lambda r: number(r["dearest_ms"], 2)),
        ("mean of its cycle, ms", lambda r: number(r["frame_ms"], 2)),
        ("step / network alone", lambda r: number(r["ratio"], 2)),
        ("step / crops and network", lambda r: number(r["extraction_ratio"], 2)),
        ("frames/s", lambda r: number(r["fps"], 1)),
        ("state, bytes", lambda r: number(r["state_bytes"], 0)),
        ("model: filter, bytes", lambda r: number(r["model_bytes"]["filter_bytes"], 0)),
        ("model: weights, bytes", lambda r: number(r["model_bytes"]["conv_bytes"], 0)),
        ("model, bytes", lambda r: number(r["model_bytes"]["total"], 0)),
    ]
    if "share_of_bound" in rows[0]:
        lines += [
            ("network alone, GFLOP/s", lambda r: number(r["backbone_gflops"], 1)),
            ("network alone / matrix product", lambda r: number(r["backbone_share"], 2)),
            ("operations a step, GFLOP", lambda r: number(r["step_gflop"], 3)),
            ("bytes a step, GB", lambda r: number(r["step_gbytes"], 5)),
            ("bound by operations, ms", lambda r: number(r["compute_bound_ms"], 3)),
            ("bound by bytes, ms", lambda r: number(r["memory_bound_ms"], 3)),
            ("larger bound / mean of the cycle", lambda r: number(r["share_of_bound"], 3)),
        ]
    cells = [[show(row) for row in rows] for _, show in lines]
    widths = [max(len(line[i]) for line in cells) for i in range(len(rows))]
    head = max(len(label) for label, _ in lines)
    return "\n".join(
        "  ".join(
            [
                label.ljust(head),
                *(c.rjust(w) for c, w in zip(line, widths, strict=True)),
            ]
        ).rstrip()
        for (label, _), line in zip(lines, cells, strict=True)
    )
