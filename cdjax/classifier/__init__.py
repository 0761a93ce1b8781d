"""Features to scores of candidates: MDNet's counterpart of a filter, learnt online."""

from cdjax.classifier._head import HEAD_LAYERS as HEAD_LAYERS
from cdjax.classifier._head import DropoutMasks as DropoutMasks
from cdjax.classifier._head import draw_masks as draw_masks
from cdjax.classifier._head import init_head as init_head
from cdjax.classifier._head import score as score
from cdjax.classifier._head import start_head as start_head
from cdjax.classifier._ring import SampleRing as SampleRing
from cdjax.classifier._ring import recent_samples as recent_samples
from cdjax.classifier._ring import start_ring as start_ring
from cdjax.classifier._ring import store_frame as store_frame
from cdjax.classifier._train import TrainResult as TrainResult
from cdjax.classifier._train import head_optimiser as head_optimiser
from cdjax.classifier._train import index_stream as index_stream
from cdjax.classifier._train import train_head as train_head

__all__ = [
    "HEAD_LAYERS",
    "DropoutMasks",
    "SampleRing",
    "TrainResult",
    "draw_masks",
    "head_optimiser",
    "index_stream",
    "init_head",
    "recent_samples",
    "score",
    "start_head",
    "start_ring",
    "store_frame",
    "train_head",
]
