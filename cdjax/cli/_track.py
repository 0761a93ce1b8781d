"""`cdjax track`: one target through a folder, a video or a camera."""

import argparse
import itertools
import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple

from cdjax._errors import InputError
from cdjax.cli import _interrupt

_PREFERRED = "DeepCD-V-11+12+21"
_FALLBACK = "DeepCD-H"
_CAMERA_FPS = 25.0
_VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi")


def positive(text: str) -> int:
    """Reads a number of at least 1, for argparse."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


def add_parser(subparsers: Any) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "track",
        help="track one target through a folder, a video or a camera",
        description="Tracks one target. Boxes are written as they come; in the text "
        "file as x,y,w,h with pixels counted from 1 (OTB's format), in JSON from 0.",
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="folder of images, OTB or VOT sequence folder (OTB's two-target folders "
        "as .../Jogging-2), video file, or index of a camera",
    )
    parser.add_argument(
        "--box",
        metavar="X,Y,W,H",
        help="target in the first frame, corner counted from 0; by default the first "
        "row of the ground truth, else a window asks",
    )
    parser.add_argument(
        "--tracker",
        metavar="NAME",
        help=f"by default {_PREFERRED} if its weights are found, else {_FALLBACK}",
    )
    parser.add_argument(
        "--weights", metavar="NAME_OR_PATH", help="weights other than the tracker's own"
    )
    parser.add_argument("--max-frames", type=positive, metavar="N", help="stop after N frames")
    parser.add_argument(
        "--boxes", type=Path, metavar="OUT.txt", help="boxes, a line a frame, from 1"
    )
    parser.add_argument(
        "--video", type=Path, metavar="OUT.mp4", help="frames with the box drawn in"
    )
    parser.add_argument("--json", type=Path, metavar="OUT.json", help="summary and boxes, from 0")
    parser.set_defaults(run=run)


class Source(NamedTuple):
    """An opened source.

    Attributes:
      frames: decodes it.
      truth: ground truth, a row a frame, or None.
      start: box of the first frame, or None.
      fps: of the video to write.
      num_frames: how many there should be, or None.
      note: what the user should know, or None.
    """

    frames: Generator[Any, None, None]
    truth: Any
    start: Any
    fps: float
    num_frames: int | None
    note: str | None = None


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    from cdjax.benchmark import Prefetch, Totals
    from cdjax.benchmark import run as run_tracker
    from cdjax.boxes import parse_box

    box = None if args.box is None else parse_box(args.box)
    _check_outputs(args)
    source = open_source(args.source, box)
    name, tracker, params, note = choose_tracker(args.tracker, args.weights)
    for line in (source.note, note):
        if line:
            print(line)
    totals, problem = Totals(), None
    with (
        Prefetch(source.frames) as decoded,
        _Outputs(args, source) as outputs,
    ):
        try:
            frames: Iterator[Any] = decoded
            start = source.start if box is None else box
            if start is None:
                start, frames = _ask_box(decoded, args.source)
            records = run_tracker(tracker, params, frames, start, max_frames=args.max_frames)
            for record in _interrupt.between(records):
                if record.frame_index == 0:
                    outputs.open(record)
                totals.add(record)
                outputs.write(record)
        except (InputError, KeyboardInterrupt) as error:
            if not totals.num_frames:
                raise
            problem = error
        finally:
            outputs.end_progress()
        problem = outputs.finish(name, totals, problem)
    if problem is not None:
        raise problem
    return 0


class _Outputs:
    """The files that grow while tracking, the counter, and the summary at the end."""

    def __init__(self, args: argparse.Namespace, source: Source):
        self._args = args
        self._source = source
        self._stack = ExitStack()
        self._scored: list[Any] = []
        self._shows = sys.stderr.isatty()
        self._boxes: Any = None
        self._video: Any = None
        self._json: Any = None

    def __enter__(self) -> "_Outputs":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # What fails while closing must not hide what failed before.
        with suppress(InputError) if kind else nullcontext():
            self._stack.close()

    def open(self, record: Any) -> None:
        """Opens the files; older ones stay until there is something to write.

        The text file comes last: opening empties it, and the others might yet fail.
        """
        from cdjax.benchmark import BoxWriter, JsonWriter, open_video

        enter = self._stack.enter_context
        if self._args.json:
            self._json = enter(JsonWriter(self._args.json))
        if self._args.video:
            hw = record.frame.shape[:2]
            self._video = enter(open_video(self._args.video, hw, self._source.fps))
        if self._args.boxes:
            self._boxes = enter(BoxWriter(self._args.boxes))

    def write(self, record: Any) -> None:
        """Takes in a frame's result."""
        from cdjax.benchmark import draw_frame

        index, truth = record.frame_index, None
        if self._source.truth is not None:
            truth = self._source.truth[index]
            self._scored.append(record.box)
        if self._boxes is not None:
            self._boxes.write(record.box)
        if self._json is not None:
            self._json.write(record.box)
        if self._video is not None:
            text = f"{index + 1}  trust {record.trust:.1f}  {record.num_channels} channels"
            self._video.write(draw_frame(record.frame, record.box, truth=truth, text=text))
        if self._shows:
            of = f"/{self._source.num_frames}" if self._source.num_frames else ""
            print(f"\rframe {index + 1}{of} ", end="", file=sys.stderr, flush=True)

    def end_progress(self) -> None:
        """Wipes the counter."""
        if self._shows:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def finish(self, name: str, totals: Any, problem: BaseException | None) -> BaseException | None:
        """Completes the files and prints the summary; returns the first problem."""
        import numpy as np

        from cdjax.benchmark import score

        auc = precision = None
        if self._scored:
            boxes = np.array(self._scored, np.float64)
            result = score(boxes, self._source.truth[: len(boxes)])
            auc, precision = result.success_auc, result.precision_20
        figures = {
            "tracker": name,
            "frames": totals.num_frames,
            "num_channels": totals.num_channels,
            "success_auc": auc,
            "precision_20": precision,
            "fps": totals.fps,
            "step_ms_median": totals.step_ms_median,
            "compile_seconds": totals.compile_seconds,
        }
        complete = []
        for path, writer in (
            (self._args.boxes, self._boxes),
            (self._args.video, self._video),
            (self._args.json, self._json),  # last, to tell what became of the others
        ):
            if writer is None:
                continue
            error = None if problem is None else str(problem) or "interrupted"
            try:
                if writer is self._json:
                    writer.close(figures | {"error": error})
                else:
                    writer.close()
            except InputError as failure:
                problem = problem or failure
            else:
                complete.append(path)
        print(
            f"{name}: {totals.num_frames} frames, {totals.num_channels} channels, "
            f"{totals.fps:.1f} frames/s (step {totals.step_ms_median:.1f} ms, "
            f"compilation {totals.compile_seconds:.1f} s)"
        )
        if auc is not None:
            print(f"success AUC {auc:.3f}, precision at 20 px {precision:.3f}")
        for path in complete:
            print(f"wrote {path}")
        return problem


def _check_outputs(args: argparse.Namespace) -> None:
    """Raises InputError for outputs that cannot be written, or would be the source."""
    from cdjax.benchmark._results import check_writable, part_of
    from cdjax.benchmark._sequence import IMAGE_SUFFIXES

    if args.video and args.video.suffix.lower() not in _VIDEO_SUFFIXES:
        raise InputError(f"{args.video}: not a kind of video to write; name it .mp4")
    taken = {os.path.realpath(args.source): "SOURCE"}
    for option in ("boxes", "video", "json"):
        path = getattr(args, option)
        if path is None:
            continue
        place = Path(os.path.realpath(path))
        for used in (place, part_of(place)) if option == "json" else (place,):
            other = taken.setdefault(str(used), f"--{option}")
            if other != f"--{option}":
                raise InputError(f"{used}: needed for {other} and --{option}; name another")
        # Annotations and frames are beyond recovery; other files may be results of ours.
        precious = path.name.startswith("groundtruth") or path.suffix.lower() in IMAGE_SUFFIXES
        if precious and path.exists():
            raise InputError(
                f"{path}: --{option} would replace a frame or annotation; name another"
            )
        check_writable(path, renamed=option == "json")


def choose_tracker(name: str | None, weights: str | None) -> tuple[str, Any, Any, str | None]:
    """Returns the tracker's name, the tracker, its weights, and a note or None.

    Without a name it is the preferred tracker where its weights load, else the one that
    needs none.
    """
    import cdjax
    from cdjax.benchmark._entries import weights_for

    if name is not None or weights is not None:
        name = name or _PREFERRED
        tracker = cdjax.make(name)
        chosen = weights_for(name, weights=weights)
        params = {} if chosen is None else cdjax.load_params(chosen)
        unused = weights is not None and cdjax.network_of(name) is None
        note = f"{name} needs no weights: --weights is not used" if unused else None
        return name, tracker, params, note
    try:
        params = cdjax.load_params(cdjax.network_of(_PREFERRED) or _PREFERRED)
    except InputError as error:
        note = f"tracker {_FALLBACK}, because {_PREFERRED} lacks weights: {error}"
        return _FALLBACK, cdjax.make(_FALLBACK), {}, note
    return _PREFERRED, cdjax.make(_PREFERRED), params, f"tracker {_PREFERRED}"


def open_source(text: str, box: Any) -> Source:
    """Opens what SOURCE names; frames are decoded later."""
    from cdjax.benchmark._folder import list_frames, targets_in
    from cdjax.benchmark._frames import read_camera, read_images, read_video
    from cdjax.benchmark._metrics import has_target
    from cdjax.benchmark._ope import start_box
    from cdjax.benchmark._sequence import IMAGE_SUFFIXES

    if not text:
        raise InputError("SOURCE is empty; give a folder, a video or a camera")
    path = Path(os.path.abspath(text))  # "." and ".." have no name of their own
    targets = []
    if path.is_dir():
        targets = targets_in(path)
    elif not path.exists():
        if text.isascii() and text.isdigit() and len(text) < 6:
            return Source(read_camera(int(text)), None, None, _CAMERA_FPS, None)
        head, _, tail = path.name.rpartition("-")  # .../Jogging-2 is in .../Jogging
        if head and tail.isdigit() and path.with_name(head).is_dir():
            targets = targets_in(path.with_name(head))
            targets = [target for target in targets if target.name == path.name]
        if not targets:
            raise InputError(f"{text}: no such folder, video or camera; check the path")
    if targets:
        target, note = _choose_target(targets, box)
        sequence = target.read()
        scorable = has_target(sequence.boxes).sum() > 1
        return Source(
            read_images(sequence.frame_paths),
            sequence.boxes if scorable else None,
            start_box(sequence) if box is None else None,
            _CAMERA_FPS,
            len(sequence.frame_paths),
            note,
        )
    if path.is_dir():
        paths = list_frames(path)
        return Source(read_images(paths), None, None, _CAMERA_FPS, len(paths))
    if not path.is_file():
        raise InputError(f"{text}: neither a folder nor a file; give a camera by its index")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise InputError(f"{text}: is a single image; give the folder of the frames")
    return Source(read_video(path), None, None, _video_fps(path), None)


def _choose_target(targets: list[Any], box: Any) -> tuple[Any, str | None]:
    """Picks one of a folder's targets: the one nearest the box, else the first."""
    import numpy as np

    from cdjax.boxes import iou

    chosen = targets[0]
    if len(targets) == 1:
        return chosen, None
    if box is not None:
        starts = np.stack([target.read().boxes[0] for target in targets])
        chosen = targets[int(np.argmax(iou(np.tile(box, (len(starts), 1)), starts)))]
    others = ", ".join(target.name for target in targets if target is not chosen)
    folder = chosen.folder.parent
    return chosen, f"tracking {chosen.name} of {folder}; there is also {others}"


def _video_fps(path: Path) -> float:
    """Returns a video's rate where its header gives a sensible one."""
    import cv2

    capture = cv2.VideoCapture(str(path))
    fps = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return fps if 0.1 <= fps <= 1000 else _CAMERA_FPS


def _ask_box(frames: Iterator[Any], name: str) -> tuple[Any, Iterator[Any]]:
    """Lets the user draw the box in a window; returns it and all frames.

    A window system that cannot be reached aborts the process, so another process tries
    first.
    """
    import cv2
    import numpy as np

    first = next(frames, None)
    if first is None:
        raise InputError(f"{name}: there are no frames")
    advice = "no box: pass --box X,Y,W,H (corner counted from 0)"
    shown = sys.platform != "linux" or any(
        os.environ.get(variable) for variable in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    probe = "import cv2; cv2.namedWindow('cdjax'); cv2.destroyAllWindows()"
    if (
        not shown
        or subprocess.run(
            [sys.executable, "-c", probe], capture_output=True, check=False
        ).returncode
    ):
        raise InputError(f"{advice}; no window can be opened here")
    title = "draw the target, then press ENTER"
    box = cv2.selectROI(title, np.ascontiguousarray(first[..., ::-1]))
    cv2.destroyWindow(title)
    if min(box[2:]) <= 0:
        raise InputError(f"{advice}, or draw one in the window")
    return np.array(box, np.float64), itertools.chain([first], frames)
