"""Response to box."""

from cdjax.locate._newton import SeriesPeak as SeriesPeak
from cdjax.locate._newton import find_series_peak as find_series_peak
from cdjax.locate._peak import Peak as Peak
from cdjax.locate._peak import find_peak as find_peak
from cdjax.locate._peak import peak_to_sidelobe as peak_to_sidelobe
from cdjax.locate._update_box import clamp_scale as clamp_scale
from cdjax.locate._update_box import update_box as update_box

__all__ = [
    "Peak",
    "SeriesPeak",
    "clamp_scale",
    "find_peak",
    "find_series_peak",
    "peak_to_sidelobe",
    "update_box",
]
