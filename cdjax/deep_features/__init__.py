"""Patch to features: the candidate channels of a backbone, and hand-crafted blocks."""

from cdjax.deep_features._blocks import BlockLayout as BlockLayout
from cdjax.deep_features._blocks import block_layout as block_layout
from cdjax.deep_features._blocks import extract_blocks as extract_blocks
from cdjax.deep_features._color_names import COLOR_NAME_CHANNELS as COLOR_NAME_CHANNELS
from cdjax.deep_features._color_names import INTENSITY_CHANNELS as INTENSITY_CHANNELS
from cdjax.deep_features._color_names import cell_means as cell_means
from cdjax.deep_features._color_names import check_color_table as check_color_table
from cdjax.deep_features._color_names import color_names as color_names
from cdjax.deep_features._color_names import intensity_channels as intensity_channels
from cdjax.deep_features._color_names import normalise_energy as normalise_energy
from cdjax.deep_features._extract import Backbone as Backbone
from cdjax.deep_features._extract import check_params as check_params
from cdjax.deep_features._extract import extract as extract
from cdjax.deep_features._extract import extract_needed as extract_needed
from cdjax.deep_features._extract import init_params as init_params
from cdjax.deep_features._extract import layers_of as layers_of
from cdjax.deep_features._extract import num_outputs as num_outputs
from cdjax.deep_features._mdnet import candidate_features as candidate_features
from cdjax.deep_features._mdnet import maps_of as maps_of
from cdjax.deep_features._names import padding_reach as padding_reach
from cdjax.deep_features._resample import LARGEST_REGION as LARGEST_REGION
from cdjax.deep_features._resample import cut_region as cut_region
from cdjax.deep_features._resample import resize as resize
from cdjax.deep_features._shallow import FHOG_CHANNELS as FHOG_CHANNELS
from cdjax.deep_features._shallow import fhog as fhog

__all__ = [
    "COLOR_NAME_CHANNELS",
    "FHOG_CHANNELS",
    "INTENSITY_CHANNELS",
    "LARGEST_REGION",
    "Backbone",
    "BlockLayout",
    "block_layout",
    "candidate_features",
    "cell_means",
    "check_color_table",
    "check_params",
    "color_names",
    "cut_region",
    "extract",
    "extract_blocks",
    "extract_needed",
    "fhog",
    "init_params",
    "intensity_channels",
    "layers_of",
    "maps_of",
    "normalise_energy",
    "num_outputs",
    "padding_reach",
    "resize",
]
