"""`cdjax plan`: what a batch of lanes needs, and what would limit it on a few machines."""

import argparse
import math
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from cdjax._errors import InputError

_NOTE = (
    "Frames/s of all lanes together that a resource alone would allow. They are ceilings, not\n"
    "predictions: operations at the peak rate, every byte moved once, decoding and links without\n"
    "a pause, all devices equally busy. Small transforms, gathers and dispatch cost more (see\n"
    "`cdjax speed --roofline`). CPU cores do both: 1 / (1 / decode + 1 / operations) together.\n"
    "Lanes by the peak of this backend's program; others need more or less, and all lanes of a\n"
    "batch must have kept numbers of channels that are cut to the same size, and be fitted alike."
)


class _Machine(NamedTuple):
    """Rates of a machine.

    Attributes:
      name: of the machine.
      devices: accelerators; 1 for all CPU cores.
      flops: operations a second, of a device.
      bandwidth: bytes a second between memory and a device.
      memory: bytes of a device.
      link: bytes a second from the host to a device; None where the cores are the device.
      host_cores: cores that decode.
      source: where the figures are from.
    """

    name: str
    devices: int
    flops: float
    bandwidth: float
    memory: float
    link: float | None
    host_cores: int
    source: str


_PUBLISHED = (
    _Machine(
        name="v5e-8",
        devices=8,
        flops=197e12,
        bandwidth=819e9,
        memory=16e9,
        link=16e9,
        host_cores=112,
        source="cloud.google.com/tpu/docs/v5e: 197 TFLOP/s in bf16, 16 GB, 819 GB/s a chip; "
        "assumed: 16 GB/s from the host to a chip, 112 host cores (224 threads)",
    ),
    _Machine(
        name="H200",
        devices=1,
        flops=67e12,
        bandwidth=4.8e12,
        memory=141e9,
        link=64e9,
        host_cores=16,
        source="NVIDIA's data sheet: 67 TFLOP/s in float32 without tensor cores (989 in bf16 with "
        "them), 141 GB, 4.8 TB/s, PCIe 5.0 x16 at 64 GB/s a direction; assumed: 16 host cores",
    ),
)
_MANY_CORES = 1000


def add_parser(subparsers: Any) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "plan",
        help="tell what a batch of lanes needs, and what limits it",
        description="Tells what a batch of lanes needs (memory, bytes and operations a frame), "
        "from the compiled program and a count of its operations, and what would limit it on "
        "this machine, a v5e-8, an H200 and 1000 CPU cores. Ceilings, not predictions.",
    )
    parser.add_argument(
        "--tracker", metavar="NAME", required=True, help="a tracker, e.g. DeepCD-V-11+12+21"
    )
    parser.add_argument(
        "--weights", metavar="NAME_OR_PATH", help="weights to use instead of the tracker's own"
    )
    parser.add_argument(
        "--batch_size", type=int, required=True, metavar="B", help="targets tracked side by side"
    )
    parser.add_argument(
        "--devices",
        type=int,
        default=1,
        metavar="N",
        help="devices that share the batch; memory is then that of one (default: %(default)s)",
    )
    parser.add_argument(
        "--frame", default="640x480", metavar="WxH", help="size of a frame (default: %(default)s)"
    )
    parser.add_argument("--json", metavar="OUT", help="write the figures to this file")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    for name in ("batch_size", "devices"):
        if getattr(args, name) < 1:
            raise InputError(f"--{name} {getattr(args, name)}: must be at least 1")
    if args.batch_size % args.devices:
        raise InputError(
            f"--batch_size {args.batch_size}: must be a multiple of --devices {args.devices}"
        )
    hw = frame_hw(args.frame)
    from cdjax.benchmark import _results
    from cdjax.cli import _cost  # brings JAX along

    if args.json:
        _results.check_writable(Path(args.json), renamed=True)  # now rather than after minutes
    needs = _needs(args.tracker, args.weights, args.batch_size // args.devices, hw)
    decode_fps = _decode_fps(hw, needs["canvas_hw"])
    peaks = _cost.measured_peaks()
    machines = [_ceilings(m, needs, decode_fps) for m in (*_here(peaks), *_PUBLISHED)]
    report = {
        "tracker": args.tracker,
        "batch_size": args.batch_size,
        "devices": args.devices,
        "frame_hw": hw,
        **needs,
        "decode_fps_per_core": decode_fps,
        "peaks": peaks,
        "machines": machines,
    }
    print(_text(report))
    if args.json:
        _results.write_json(Path(args.json), report)
        print(f"written to {args.json}")
    return 0


def frame_hw(text: str) -> tuple[int, int]:
    """Height and width from WIDTHxHEIGHT."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    width, height = (int(part) for part in match.groups()) if match else (0, 0)
    if not (64 <= width <= 16384 and 64 <= height <= 16384):
        raise InputError(f"--frame {text}: use WIDTHxHEIGHT of 64 to 16384 px, as in 640x480")
    return height, width


def _needs(name: str, weights: str | None, lanes: int, hw: tuple[int, int]) -> dict[str, Any]:
    """What a device needs for its lanes: bytes held, and what a frame moves and computes."""
    import jax
    import numpy as np

    import cdjax
    from cdjax.benchmark import _synthetic
    from cdjax.benchmark._entries import weights_for
    from cdjax.cli import _cost
    from cdjax.lanes import canvas_hw, pad_to_canvas
    from cdjax.trackers._base import fit_to, on_second_frame
    from cdjax.trackers._names import config_of

    chosen = weights_for(name, weights=weights)
    params = {} if chosen is None else cdjax.load_params(chosen)
    canvas = canvas_hw(*hw)
    video, boxes = _synthetic.synthetic_video(2, hw)
    # As `evaluate` runs it.
    tracker, config = fit_to(cdjax.make(name), boxes[0]), config_of(name).fitted(boxes[0][2:])
    first, second = (pad_to_canvas(frame, canvas) for frame in video)
    # Two frames, so that the state is the one after distillation.
    state = jax.jit(tracker.init)(params, first, boxes[0], frame_hw=np.array(hw, np.int32))
    state, _ = jax.jit(on_second_frame(tracker).step)(params, state, second)
    if tracker.compact is not None:
        tracker, state = tracker.compact(state)
    cost = _cost.step_cost(tracker, config, params, state, second)

    # Lanes share the frame index, so that they train and distil together.
    axes = jax.tree.map(lambda _: 0, state)._replace(frame_index=None)
    step = jax.vmap(tracker.step, in_axes=(None, axes, 0), out_axes=(axes, 0))
    batch_of = lambda leaf: jax.ShapeDtypeStruct((lanes, *np.shape(leaf)), leaf.dtype)
    states = jax.tree.map(batch_of, state)._replace(
        frame_index=jax.ShapeDtypeStruct((), np.dtype(np.int32))
    )
    memory = jax.jit(step).lower(params, states, batch_of(second)).compile().memory_analysis()
    if memory is None:
        raise InputError(f"{jax.default_backend()} does not tell a program's memory; use the CPU's")
    size = lambda tree: sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return {
        "lanes_per_device": lanes,
        "weights": chosen,
        "canvas_hw": canvas,
        "backend": jax.default_backend(),
        "num_channels": int(np.asarray(state.num_channels)),
        "state_bytes": size(state),
        "weights_bytes": size(params),
        "argument_bytes": memory.argument_size_in_bytes,
        "output_bytes": memory.output_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "peak_bytes": held + memory.temp_size_in_bytes - memory.alias_size_in_bytes,
        "host_to_device_bytes": 3 * math.prod(canvas),
        "frame_flops": cost.flops,
        # The weights are read once a step, whatever the number of lanes.
        "frame_bytes": cost.state_bytes + cost.pixel_bytes + cost.params_bytes / lanes,
        "uncounted": sorted(cost.untold),
    }


def _decode_fps(hw: tuple[int, int], canvas_hw: tuple[int, int]) -> float:
    """JPEG files of a synthetic frame that a core reads, decodes and pads in a second."""
    import cv2

    from cdjax import lanes
    from cdjax.benchmark import _synthetic, read_image

    frame, _ = next(_synthetic.synthetic_frames(1, hw))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.jpg"
        path.write_bytes(cv2.imencode(".jpg", frame[..., ::-1])[1].tobytes())
        seconds = []
        for _ in range(30):
            start = time.perf_counter()
            lanes.pad_to_canvas(read_image(path), canvas_hw)
            seconds.append(time.perf_counter() - start)
    return 1 / min(seconds)  # others on the machine only ever slow it down


def _here(peaks: dict[str, float]) -> tuple[_Machine, ...]:
    """This machine by its measured peaks, and many CPU cores such as its own."""
    import jax

    from cdjax.cli import _info

    flops, bandwidth = 1e9 * peaks["gflops"], 1e9 * peaks["gbytes_s"]
    cores = _info.cpu_cores()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    here = _Machine("here", 1, flops, bandwidth, memory, None, cores, f"measured, {cores} cores")
    if jax.default_backend() != "cpu":
        limit = (jax.devices()[0].memory_stats() or {}).get("bytes_limit", memory)
        return (
            here._replace(memory=limit, source=f"measured, {cores} host cores; the link is not"),
        )
    share = _MANY_CORES / cores
    many = _Machine(
        name=f"{_MANY_CORES} CPU cores",
        devices=1,
        flops=share * flops,
        bandwidth=share * bandwidth,
        memory=share * memory,
        link=None,
        host_cores=_MANY_CORES,
        source=f"this machine's measured rates and memory, over {cores}, times {_MANY_CORES}",
    )
    return here, many


def _ceilings(machine: _Machine, needs: dict[str, Any], decode_fps: float) -> dict[str, Any]:
    """Frames/s that each resource allows, the least of them, and the lanes that fit."""
    frames_s = {
        "decode": machine.host_cores * decode_fps,
        "memory": machine.devices * machine.bandwidth / needs["frame_bytes"],
        "operations": machine.devices * machine.flops / max(needs["frame_flops"], 1.0),
    }
    if machine.link is not None:
        frames_s["link"] = machine.devices * machine.link / needs["host_to_device_bytes"]
    first = min(frames_s, key=lambda name: frames_s[name])
    a_lane = (needs["peak_bytes"] - needs["weights_bytes"]) / needs["lanes_per_device"]
    room = max(machine.memory - needs["weights_bytes"], 0)
    lanes = machine.devices * int(room / a_lane)
    return {"frames_s": frames_s, "first": first, "lanes": lanes, **machine._asdict()}


def _text(report: dict[str, Any]) -> str:
    """The figures for a reader."""
    height, width = report["frame_hw"]
    canvas = "x".join(str(side) for side in reversed(report["canvas_hw"]))
    lanes = report["lanes_per_device"]
    mb = lambda key: f"{report[key] / 1e6:,.3f} MB"
    facts = [
        ("state of a lane", f"{mb('state_bytes')}, {report['num_channels']} channels"),
        ("weights", mb("weights_bytes")),
        ("program: arguments", mb("argument_bytes")),
        ("program: results", mb("output_bytes")),
        ("program: temporaries", mb("temporary_bytes")),
        ("program: peak", mb("peak_bytes")),
        ("a frame: host to device", mb("host_to_device_bytes")),
        ("a frame: memory, at least", mb("frame_bytes")),
        ("a frame: operations", f"{report['frame_flops'] / 1e6:,.1f} MFLOP"),
        ("JPEG decoding", f"{report['decode_fps_per_core']:,.0f} frames/s a core"),
    ]
    lines = [
        f"{report['tracker']}, frames of {width}x{height} on a canvas of {canvas}, "
        f"{lanes} lanes on each of {report['devices']} device(s); program for {report['backend']}",
        "",
        *(f"{label:28}{text}" for label, text in facts),
        "",
    ]
    lines += [f"not all is counted: {what}" for what in report["uncounted"]]
    resources = ("decode", "link", "memory", "operations")
    rows = [["frames/s", *resources, "first", "lanes that fit"]]
    for machine in report["machines"]:
        allowed = machine["frames_s"]
        cells = [f"{allowed[name]:,.0f}" if name in allowed else "-" for name in resources]
        rows.append([machine["name"], *cells, machine["first"], f"{machine['lanes']:,}"])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for name, *cells in rows:
        padded = [cell.rjust(w) for cell, w in zip(cells, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *padded]))
    lines += ["", *(f"{m['name']}: {m['source']}" for m in report["machines"]), "", _NOTE]
    return "\n".join(lines)
