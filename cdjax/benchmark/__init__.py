"""Frames in, boxes and scores out; host code."""

from cdjax.benchmark._annotations import load_annotations as load_annotations
from cdjax.benchmark._config import run_config as run_config
from cdjax.benchmark._datasets import DATASETS as DATASETS
from cdjax.benchmark._datasets import attributes_of as attributes_of
from cdjax.benchmark._datasets import list_targets as list_targets
from cdjax.benchmark._datasets import missing_targets as missing_targets
from cdjax.benchmark._draw import draw_frame as draw_frame
from cdjax.benchmark._draw import open_video as open_video
from cdjax.benchmark._entrants import Attempt as Attempt
from cdjax.benchmark._entrants import Entrant as Entrant
from cdjax.benchmark._entrants import Scored as Scored
from cdjax.benchmark._entrants import entrants_of as entrants_of
from cdjax.benchmark._entrants import import_entrant as import_entrant
from cdjax.benchmark._entrants import score_entrant as score_entrant
from cdjax.benchmark._entries import Entry as Entry
from cdjax.benchmark._entries import make_entries as make_entries
from cdjax.benchmark._entries import weights_for as weights_for
from cdjax.benchmark._evaluate import evaluate as evaluate
from cdjax.benchmark._folder import list_folder as list_folder
from cdjax.benchmark._folder import list_frames as list_frames
from cdjax.benchmark._foreign import read_results as read_results
from cdjax.benchmark._foreign import read_vot_results as read_vot_results
from cdjax.benchmark._frames import Prefetch as Prefetch
from cdjax.benchmark._frames import read_camera as read_camera
from cdjax.benchmark._frames import read_image as read_image
from cdjax.benchmark._frames import read_images as read_images
from cdjax.benchmark._frames import read_video as read_video
from cdjax.benchmark._html import render_html as render_html
from cdjax.benchmark._metrics import PRESETS as PRESETS
from cdjax.benchmark._metrics import FrameErrors as FrameErrors
from cdjax.benchmark._metrics import Preset as Preset
from cdjax.benchmark._metrics import Score as Score
from cdjax.benchmark._metrics import frame_errors as frame_errors
from cdjax.benchmark._metrics import precision_curve as precision_curve
from cdjax.benchmark._metrics import score as score
from cdjax.benchmark._metrics import success_curve as success_curve
from cdjax.benchmark._ope import Outcome as Outcome
from cdjax.benchmark._ope import Totals as Totals
from cdjax.benchmark._ope import track_sequence as track_sequence
from cdjax.benchmark._otb import list_otb as list_otb
from cdjax.benchmark._otb import load_otb as load_otb
from cdjax.benchmark._plots import draw_report as draw_report
from cdjax.benchmark._progress import Progress as Progress
from cdjax.benchmark._regions import overlaps as overlaps
from cdjax.benchmark._replay import Replay as Replay
from cdjax.benchmark._replay import replay as replay
from cdjax.benchmark._report import Report as Report
from cdjax.benchmark._report import make_report as make_report
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
from cdjax.benchmark._sequence import first_frames as first_frames
from cdjax.benchmark._sequence import select_targets as select_targets
from cdjax.benchmark._statistics import Interval as Interval
from cdjax.benchmark._statistics import Paired as Paired
from cdjax.benchmark._statistics import bootstrap as bootstrap
from cdjax.benchmark._statistics import compare_paired as compare_paired
from cdjax.benchmark._unit_run import Watch as Watch
from cdjax.benchmark._units import Tally as Tally
from cdjax.benchmark._units import run_experiment as run_experiment
from cdjax.benchmark._vot import list_vot as list_vot
from cdjax.benchmark._vot import load_vot as load_vot
from cdjax.benchmark._vot_scores import EAO_INTERVALS as EAO_INTERVALS
from cdjax.benchmark._vot_scores import VOT_PRESETS as VOT_PRESETS
from cdjax.benchmark._vot_scores import VOTFigures as VOTFigures
from cdjax.benchmark._vot_scores import VOTScore as VOTScore
from cdjax.benchmark._vot_scores import score_supervised as score_supervised
from cdjax.benchmark._vot_scores import score_unsupervised as score_unsupervised
from cdjax.benchmark._vot_supervised import SupervisedRun as SupervisedRun
from cdjax.benchmark._vot_supervised import format_rows as format_rows
from cdjax.benchmark._vot_supervised import parse_rows as parse_rows
from cdjax.benchmark._vot_supervised import read_vot_rows as read_vot_rows
from cdjax.benchmark._vot_supervised import run_supervised as run_supervised
from cdjax.benchmark._vot_toolkit import judge_vot_workspace as judge_vot_workspace
from cdjax.benchmark._vot_toolkit import make_vot_workspace as make_vot_workspace
from cdjax.benchmark._vot_toolkit import read_vot_workspace as read_vot_workspace
from cdjax.benchmark._vot_toolkit import run_vot_toolkit as run_vot_toolkit
from cdjax.benchmark._vot_toolkit import write_vot_trackers as write_vot_trackers
from cdjax.benchmark._workdir import Experiment as Experiment
from cdjax.benchmark._workdir import Run as Run
from cdjax.benchmark._workdir import Unit as Unit
from cdjax.benchmark._workdir import load_workdir as load_workdir
from cdjax.lanes import canvas_hw as canvas_hw
from cdjax.lanes import pad_to_canvas as pad_to_canvas

__all__ = [
    "DATASETS",
    "EAO_INTERVALS",
    "PRESETS",
    "VOT_PRESETS",
    "Attempt",
    "BoxWriter",
    "Entrant",
    "Entry",
    "Experiment",
    "FrameErrors",
    "FrameRecord",
    "Interval",
    "JsonWriter",
    "Outcome",
    "Paired",
    "Prefetch",
    "Preset",
    "Progress",
    "Replay",
    "Report",
    "Run",
    "Score",
    "Scored",
    "Sequence",
    "SupervisedRun",
    "Table",
    "Tally",
    "Target",
    "Totals",
    "Unit",
    "VOTFigures",
    "VOTScore",
    "Watch",
    "attributes_of",
    "bootstrap",
    "canonical_name",
    "canvas_hw",
    "compare_paired",
    "draw_frame",
    "draw_report",
    "entrants_of",
    "evaluate",
    "first_frames",
    "format_rows",
    "frame_errors",
    "import_entrant",
    "judge_vot_workspace",
    "list_folder",
    "list_frames",
    "list_otb",
    "list_targets",
    "list_vot",
    "load_annotations",
    "load_otb",
    "load_vot",
    "load_workdir",
    "make_entries",
    "make_report",
    "make_vot_workspace",
    "missing_targets",
    "open_video",
    "overlaps",
    "pad_to_canvas",
    "parse_rows",
    "precision_curve",
    "read_boxes",
    "read_camera",
    "read_image",
    "read_images",
    "read_results",
    "read_video",
    "read_vot_results",
    "read_vot_rows",
    "read_vot_workspace",
    "render_html",
    "replay",
    "run",
    "run_config",
    "run_experiment",
    "run_supervised",
    "run_vot_toolkit",
    "score",
    "score_entrant",
    "score_results",
    "score_supervised",
    "score_unsupervised",
    "select_targets",
    "sre_boxes",
    "success_curve",
    "track_sequence",
    "tre_starts",
    "weights_for",
    "write_json",
    "write_vot_trackers",
]
