"""Many targets in one compiled program: slots, lanes and streams."""

from cdjax.lanes._canvas import canvas_hw as canvas_hw
from cdjax.lanes._canvas import pad_to_canvas as pad_to_canvas
from cdjax.lanes._pool import StreamPool as StreamPool
from cdjax.lanes._slots import Slots as Slots
from cdjax.lanes._step_lanes import step_alone as step_alone
from cdjax.lanes._step_lanes import step_at_once as step_at_once
from cdjax.lanes._step_lanes import step_in_turn as step_in_turn

__all__ = [
    "Slots",
    "StreamPool",
    "canvas_hw",
    "pad_to_canvas",
    "step_alone",
    "step_at_once",
    "step_in_turn",
]
