"""The five stages, composed."""

from cdjax.trackers._base import Tracker as Tracker
from cdjax.trackers._base import TrackerState as TrackerState
from cdjax.trackers._base import TrackOutput as TrackOutput
from cdjax.trackers._cacf import CACFConfig as CACFConfig
from cdjax.trackers._cacf import CACFState as CACFState
from cdjax.trackers._cacf import cacf as cacf
from cdjax.trackers._config import DistillationConfig as DistillationConfig
from cdjax.trackers._config import SelectionConfig as SelectionConfig
from cdjax.trackers._deepcd import DeepCDConfig as DeepCDConfig
from cdjax.trackers._deepcd import DeepCDState as DeepCDState
from cdjax.trackers._deepcd import deepcd as deepcd
from cdjax.trackers._eco import ECOConfig as ECOConfig
from cdjax.trackers._eco import ECOState as ECOState
from cdjax.trackers._eco import eco as eco
from cdjax.trackers._mdnet import MDNetState as MDNetState
from cdjax.trackers._mdnet import mdnet as mdnet
from cdjax.trackers._mdnet_config import MDNetConfig as MDNetConfig
from cdjax.trackers._model import model_bytes as model_bytes
from cdjax.trackers._names import backbone_of as backbone_of
from cdjax.trackers._names import candidates_of as candidates_of
from cdjax.trackers._names import list_trackers as list_trackers
from cdjax.trackers._names import make as make
from cdjax.trackers._names import network_of as network_of
from cdjax.trackers._names import optional_weights_of as optional_weights_of
from cdjax.trackers._names import vary as vary
from cdjax.trackers._run import resume as resume
from cdjax.trackers._run import track as track

__all__ = [
    "CACFConfig",
    "CACFState",
    "DeepCDConfig",
    "DeepCDState",
    "DistillationConfig",
    "ECOConfig",
    "ECOState",
    "MDNetConfig",
    "MDNetState",
    "SelectionConfig",
    "TrackOutput",
    "Tracker",
    "TrackerState",
    "backbone_of",
    "cacf",
    "candidates_of",
    "deepcd",
    "eco",
    "list_trackers",
    "make",
    "mdnet",
    "model_bytes",
    "network_of",
    "optional_weights_of",
    "resume",
    "track",
    "vary",
]
