"""Channel-distillation trackers as pure JAX functions."""

from importlib.metadata import version as _version

from cdjax._errors import InputError as InputError
from cdjax.lanes import StreamPool as StreamPool
from cdjax.trackers import CACFConfig as CACFConfig
from cdjax.trackers import CACFState as CACFState
from cdjax.trackers import DeepCDConfig as DeepCDConfig
from cdjax.trackers import DeepCDState as DeepCDState
from cdjax.trackers import Tracker as Tracker
from cdjax.trackers import TrackOutput as TrackOutput
from cdjax.trackers import cacf as cacf
from cdjax.trackers import deepcd as deepcd
from cdjax.trackers import list_trackers as list_trackers
from cdjax.trackers import make as make
from cdjax.trackers import network_of as network_of
from cdjax.trackers import resume as resume
from cdjax.trackers import track as track
from cdjax.trackers import vary as vary
from cdjax.weights import load_params as load_params

__version__ = _version("cdjax")

__all__ = [
    "CACFConfig",
    "CACFState",
    "DeepCDConfig",
    "DeepCDState",
    "InputError",
    "StreamPool",
    "TrackOutput",
    "Tracker",
    "cacf",
    "deepcd",
    "list_trackers",
    "load_params",
    "make",
    "network_of",
    "resume",
    "track",
    "vary",
]
