"""Frames in, boxes and scores out; host code."""

from cdjax.benchmark._annotations import load_annotations as load_annotations
from cdjax.benchmark._datasets import DATASETS as DATASETS
from cdjax.benchmark._datasets import attributes_of as attributes_of
from cdjax.benchmark._datasets import list_targets as list_targets
from cdjax.benchmark._datasets import missing_targets as missing_targets
from cdjax.benchmark._draw import draw_frame as draw_frame
from cdjax.benchmark._draw import open_video as open_video
from cdjax.benchmark._folder import list_folder as list_folder
from cdjax.benchmark._folder import list_frames as list_frames
from cdjax.benchmark._foreign import read_results as read_results
from cdjax.benchmark._foreign import read_vot_results as read_vot_results
from cdjax.benchmark._frames import Prefetch as Prefetch
from cdjax.benchmark._frames import canvas_hw as canvas_hw
from cdjax.benchmark._frames import pad_to_canvas as pad_to_canvas
from cdjax.benchmark._frames import read_camera as read_camera
from cdjax.benchmark._frames import read_image as read_image
from cdjax.benchmark._frames import read_images as read_images
from cdjax.benchmark._frames import read_video as read_video
from cdjax.benchmark._metrics import PRESETS as PRESETS
from cdjax.benchmark._metrics import FrameErrors as FrameErrors
from cdjax.benchmark._metrics import Preset as Preset
from cdjax.benchmark._metrics import Score as Score
from cdjax.benchmark._metrics import frame_errors as frame_errors
from cdjax.benchmark._metrics import precision_curve as precision_curve
from cdjax.benchmark._metrics import score as score
from cdjax.benchmark._metrics import success_curve as success_curve
from cdjax.benchmark._ope import Entry as Entry
from cdjax.benchmark._ope import Outcome as Outcome
from cdjax.benchmark._ope import Totals as Totals
from cdjax.benchmark._ope import evaluate as evaluate
from cdjax.benchmark._ope import track_sequence as track_sequence
from cdjax.benchmark._otb import list_otb as list_otb
from cdjax.benchmark._otb import load_otb as load_otb
from cdjax.benchmark._results import BoxWriter as BoxWriter
from cdjax.benchmark._results import JsonWriter as JsonWriter
from cdjax.benchmark._results import read_boxes as read_boxes
from cdjax.benchmark._results import write_json as write_json
from cdjax.benchmark._robustness import sre_boxes as sre_boxes
from cdjax.benchmark._robustness import tre_starts as tre_starts
from cdjax.benchmark._runner import FrameRecord as FrameRecord
from cdjax.benchmark._runner import run as run
from cdjax.benchmark._scoring import Table as Table
from cdjax.benchmark._scoring import score_results as score_results
from cdjax.benchmark._sequence import Sequence as Sequence
from cdjax.benchmark._sequence import Target as Target
from cdjax.benchmark._sequence import canonical_name as canonical_name
from cdjax.benchmark._sequence import select_targets as select_targets
from cdjax.benchmark._statistics import Interval as Interval
from cdjax.benchmark._statistics import Paired as Paired
from cdjax.benchmark._statistics import bootstrap as bootstrap
from cdjax.benchmark._statistics import compare_paired as compare_paired
from cdjax.benchmark._vot import list_vot as list_vot
from cdjax.benchmark._vot import load_vot as load_vot

__all__ = [
    "DATASETS",
    "PRESETS",
    "BoxWriter",
    "Entry",
    "FrameErrors",
    "FrameRecord",
    "Interval",
    "JsonWriter",
    "Outcome",
    "Paired",
    "Prefetch",
    "Preset",
    "Score",
    "Sequence",
    "Table",
    "Target",
    "Totals",
    "attributes_of",
    "bootstrap",
    "canonical_name",
    "canvas_hw",
    "compare_paired",
    "draw_frame",
    "evaluate",
    "frame_errors",
    "list_folder",
    "list_frames",
    "list_otb",
    "list_targets",
    "list_vot",
    "load_annotations",
    "load_otb",
    "load_vot",
    "missing_targets",
    "open_video",
    "pad_to_canvas",
    "precision_curve",
    "read_boxes",
    "read_camera",
    "read_image",
    "read_images",
    "read_results",
    "read_video",
    "read_vot_results",
    "run",
    "score",
    "score_results",
    "select_targets",
    "sre_boxes",
    "success_curve",
    "track_sequence",
    "tre_starts",
    "write_json",
]
