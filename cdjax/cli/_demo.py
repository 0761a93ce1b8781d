"""`cdjax demo`: a rendered video, two trackers, a table and pictures."""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

from cdjax._errors import InputError
from cdjax.cli import _interrupt

# HOG has little to spare: the prefix curve keeps all of it here, half of it tracks as well.
_TRACKERS = ("DeepCD-H:num_channels=16", "CF2-H")
_LOST = 0.1  # overlap below which the target counts as lost
_ENLARGE = 2  # pixels of the video a pixel of the frame, so that labels are legible
_EVENTS = (1, 45, 71, 91)  # frames of the strip: distilled, distractor, post, dusk


def add_parser(subparsers: Any) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "demo",
        help="track a rendered video; needs no weights and no data",
        description="Renders a video with exact boxes, tracks it with and without "
        "channel distillation on HOG, and writes an annotated video and a picture.",
    )
    parser.add_argument(
        "--frames",
        type=int,
        default=120,
        metavar="N",
        help="length of the video (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        default="cdjax_demo",
        metavar="DIR",
        help="folder for demo.mp4 and demo.png (default: ./%(default)s)",
    )
    parser.set_defaults(run=run)


class _Snapshot(NamedTuple):
    """What the strip shows of a frame."""

    frame: Any
    box: Any
    aux: Any


class _Run(NamedTuple):
    """What became of a tracker."""

    name: str
    boxes: Any
    overlaps: Any  # without the first frame, whose box is given
    num_channels: int
    num_candidates: int
    num_scales: int
    fps: float
    compile_s: float
    snapshots: dict[int, _Snapshot]


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    if args.frames < 3:
        raise InputError(f"--frames {args.frames}: must be at least 3")
    from cdjax.benchmark import _results

    out = _results.make_folder(Path(args.out))
    _results.check_writable(out / "demo.mp4")
    _results.check_writable(out / "demo.png")
    shown = _shown(args.frames)
    runs = []
    for name in _TRACKERS:
        print(f"{name}: compiles and tracks {args.frames} frames ...", flush=True)
        runs.append(_follow(name, args.frames, shown))
    print()
    print(_table(runs))
    for result in runs:
        if line := _lost_line(result):
            print(line)
    print()
    _save_video(out / "demo.mp4", runs, args.frames)
    _save_strip(out / "demo.png", runs[0])
    print(f"video  {out / 'demo.mp4'}   (green: the truth)")
    print(f"strip  {out / 'demo.png'}   (frames, response maps, channels in use)")
    return 0


def _shown(num_frames: int) -> tuple[int, ...]:
    """Indices of the strip's frames: the video's events, or spread over a short one."""
    last = num_frames - 1
    if last > max(_EVENTS):
        return (*_EVENTS, last)
    return tuple(sorted({1 + (last - 1) * i // 4 for i in range(5)}))


def _follow(name: str, num_frames: int, shown: tuple[int, ...]) -> _Run:
    """Tracks the video; keeps boxes, clocks and a few snapshots."""
    import numpy as np

    import cdjax
    from cdjax.benchmark import _runner
    from cdjax.benchmark._synthetic import synthetic_frames
    from cdjax.boxes import iou
    from cdjax.trackers._names import config_of

    tracker = cdjax.make(name, aux=True)
    truth: list[Any] = []

    def frames():
        for frame, box in synthetic_frames(num_frames):
            truth.append(box)
            yield frame

    start = next(synthetic_frames(1))[1]
    records, snapshots = [], {}
    for record in _interrupt.between(_runner.run(tracker, {}, frames(), start)):
        if record.frame_index in shown:
            snapshots[record.frame_index] = _Snapshot(record.frame, record.box, record.aux)
        records.append(record._replace(frame=None, aux=None))
    config: Any = config_of(name)
    boxes = np.stack([record.box for record in records])
    overlaps = iou(boxes.astype(np.float64), np.stack(truth).astype(np.float64))
    return _Run(
        name=name,
        boxes=boxes,
        overlaps=overlaps[1:],
        num_channels=records[-1].num_channels,
        num_candidates=config.backbone.num_channels,
        num_scales=config.num_scales,
        fps=len(records) / sum(record.seconds for record in records),
        compile_s=sum(record.compile_seconds for record in records),
        snapshots=snapshots,
    )


def _table(runs: list[_Run]) -> str:
    """A row a tracker."""
    head = (
        "tracker",
        "mean IoU",
        "least IoU",
        "channels",
        "scales",
        "frames/s",
        "compile, s",
    )
    rows = [head] + [
        (
            result.name,
            f"{result.overlaps.mean():.3f}",
            f"{result.overlaps.min():.3f}",
            f"{result.num_channels} of {result.num_candidates}",
            f"{result.num_scales}",
            f"{result.fps:.0f}",
            f"{result.compile_s:.1f}",
        )
        for result in runs
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return "\n".join(
        row[0].ljust(widths[0])
        + "".join(f"  {cell:>{w}}" for cell, w in zip(row[1:], widths[1:], strict=True))
        for row in rows
    )


def _lost_line(result: _Run) -> str | None:
    """How often a tracker lost the target, if it did."""
    lost = int((result.overlaps < _LOST).sum())
    if not lost:
        return None
    return (
        f"{result.name} lost the target (IoU below {_LOST}) in {lost} of "
        f"{len(result.overlaps)} frames"
    )


def _save_video(path: Path, runs: list[_Run], num_frames: int) -> None:
    """Draws all boxes and the truth on every frame."""
    from cdjax.benchmark import _draw
    from cdjax.benchmark._synthetic import synthetic_frames

    video = None
    for index, (frame, truth) in enumerate(synthetic_frames(num_frames)):
        image = _draw.enlarge_frame(frame, _ENLARGE)
        big_truth = _draw.enlarge_box(truth, _ENLARGE)
        lines = [(f"frame {index + 1}", _draw.WHITE), ("truth", _draw.GREEN)]
        # The first tracker's box last, on top of the others.
        for result, color in reversed(list(zip(runs, (_draw.ORANGE, _draw.CYAN), strict=True))):
            box = _draw.enlarge_box(result.boxes[index], _ENLARGE)
            image = _draw.draw_frame(image, box, truth=big_truth, color=color)
        for result, color in zip(runs, (_draw.ORANGE, _draw.CYAN), strict=True):
            overlap = 1.0 if index == 0 else result.overlaps[index - 1]
            lines.append((f"{result.name}  IoU {overlap:.2f}", color))
        image = _draw.draw_lines(image, lines)
        if video is None:
            video = _draw.open_video(path, image.shape[:2], 25)
        video.write(image)
    if video is not None:
        video.close()


def _save_strip(path: Path, result: _Run) -> None:
    """Draws the first tracker's frames above its response maps and channels."""
    import numpy as np

    from cdjax.benchmark import _draw
    from cdjax.benchmark._synthetic import synthetic_frames

    last = max(result.snapshots)
    truth = [box for _, box in synthetic_frames(last + 1)]
    above, below = [], []
    for index, (frame, box, aux) in sorted(result.snapshots.items()):
        image = _draw.draw_frame(
            _draw.enlarge_frame(frame, _ENLARGE),
            _draw.enlarge_box(box, _ENLARGE),
            truth=_draw.enlarge_box(truth[index], _ENLARGE),
        )
        overlap = result.overlaps[index - 1]
        above.append((f"frame {index + 1}: IoU {overlap:.2f}", image))
        response = np.asarray(aux["response"])
        picture = _draw.response_panel(response)
        below.append((f"response, peak {response.max():.2f}", picture))
    aux = result.snapshots[last].aux
    mask = np.asarray(aux["mask"], bool)
    montage = _draw.channel_montage(aux["features"], mask)
    kept = f"{result.num_channels} of {result.num_candidates} channels"
    count = min(16, int(mask.sum()))
    below.append((f"{count} of the channels in use", montage))
    first, start = next(synthetic_frames(1))
    given = _draw.draw_frame(
        _draw.enlarge_frame(first, _ENLARGE),
        None,
        truth=_draw.enlarge_box(start, _ENLARGE),
    )
    above.insert(0, (f"{result.name}, {kept}: frame 1, given", given))
    below.insert(0, below.pop())
    _draw.save_strip(path, *above, *below, columns=len(above))
