"""Frame to patch."""

from cdjax.crop._candidates import box_overlaps as box_overlaps
from cdjax.crop._candidates import draw_boxes as draw_boxes
from cdjax.crop._candidates import regression_samples as regression_samples
from cdjax.crop._mdnet import mdnet_crop as mdnet_crop
from cdjax.crop._sample import as_rgb as as_rgb
from cdjax.crop._sample import crop_patch as crop_patch
from cdjax.crop._sample import scale_pyramid as scale_pyramid
from cdjax.crop._sample import whole_pixels as whole_pixels
from cdjax.crop._size import DEEP_SAMPLE_PX as DEEP_SAMPLE_PX
from cdjax.crop._size import SCALE_MODEL_CELLS as SCALE_MODEL_CELLS
from cdjax.crop._size import base_scale as base_scale
from cdjax.crop._size import choose_cell_size as choose_cell_size
from cdjax.crop._size import choose_input_size as choose_input_size
from cdjax.crop._size import choose_scale_cells as choose_scale_cells

__all__ = [
    "DEEP_SAMPLE_PX",
    "SCALE_MODEL_CELLS",
    "as_rgb",
    "base_scale",
    "box_overlaps",
    "choose_cell_size",
    "choose_input_size",
    "choose_scale_cells",
    "crop_patch",
    "draw_boxes",
    "mdnet_crop",
    "regression_samples",
    "scale_pyramid",
    "whole_pixels",
]
