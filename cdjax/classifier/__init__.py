"""Features to scores of candidates: MDNet's counterpart of a filter, learnt online."""

from cdjax.classifier._head import HEAD_LAYERS as HEAD_LAYERS
from cdjax.classifier._head import DropoutMasks as DropoutMasks
from cdjax.classifier._head import draw_masks as draw_masks
from cdjax.classifier._head import init_head as init_head
from cdjax.classifier._head import score as score

__all__ = [
    "HEAD_LAYERS",
    "DropoutMasks",
    "draw_masks",
    "init_head",
    "score",
]
