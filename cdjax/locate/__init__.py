"""Response to box."""

from cdjax.locate._box_regression import BoxRegression as BoxRegression
from cdjax.locate._box_regression import fit_box_regression as fit_box_regression
from cdjax.locate._box_regression import regress_boxes as regress_boxes
from cdjax.locate._newton import SeriesPeak as SeriesPeak
from cdjax.locate._newton import find_series_peak as find_series_peak
from cdjax.locate._peak import Peak as Peak
from cdjax.locate._peak import find_peak as find_peak
from cdjax.locate._peak import peak_to_sidelobe as peak_to_sidelobe
from cdjax.locate._scale_filter import ScaleFilter as ScaleFilter
from cdjax.locate._scale_filter import find_scale as find_scale
from cdjax.locate._scale_filter import scale_factors as scale_factors
from cdjax.locate._scale_filter import scale_response as scale_response
from cdjax.locate._scale_filter import train_scale_filter as train_scale_filter
from cdjax.locate._scale_filter import update_scale_filter as update_scale_filter
from cdjax.locate._update_box import clamp_scale as clamp_scale
from cdjax.locate._update_box import update_box as update_box

__all__ = [
    "BoxRegression",
    "Peak",
    "ScaleFilter",
    "SeriesPeak",
    "clamp_scale",
    "find_peak",
    "find_scale",
    "find_series_peak",
    "fit_box_regression",
    "peak_to_sidelobe",
    "regress_boxes",
    "scale_factors",
    "scale_response",
    "train_scale_filter",
    "update_box",
    "update_scale_filter",
]
