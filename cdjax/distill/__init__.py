"""Features to distilled channels."""

from cdjax.distill._energy import ChannelEnergy as ChannelEnergy
from cdjax.distill._energy import channel_energy as channel_energy
from cdjax.distill._energy import evaluate_energy as evaluate_energy
from cdjax.distill._friendliness import FORMS as FORMS
from cdjax.distill._friendliness import friendliness as friendliness
from cdjax.distill._prefix import choose_num_channels as choose_num_channels
from cdjax.distill._prefix import prefix_curve as prefix_curve
from cdjax.distill._swap import AlternationResult as AlternationResult
from cdjax.distill._swap import SwapResult as SwapResult
from cdjax.distill._swap import alternate as alternate
from cdjax.distill._swap import exact_energy as exact_energy
from cdjax.distill._swap import exact_swap_search as exact_swap_search
from cdjax.distill._swap import swap_search as swap_search
from cdjax.distill._swap import top_channels as top_channels

__all__ = [
    "FORMS",
    "AlternationResult",
    "ChannelEnergy",
    "SwapResult",
    "alternate",
    "channel_energy",
    "choose_num_channels",
    "evaluate_energy",
    "exact_energy",
    "exact_swap_search",
    "friendliness",
    "prefix_curve",
    "swap_search",
    "top_channels",
]
