"""Patch to features: the candidate channels of a backbone."""

from cdjax.deep_features._extract import Backbone as Backbone
from cdjax.deep_features._extract import check_params as check_params
from cdjax.deep_features._extract import extract as extract
from cdjax.deep_features._extract import layers_of as layers_of
from cdjax.deep_features._resample import resize as resize
from cdjax.deep_features._shallow import fhog as fhog

__all__ = ["Backbone", "check_params", "extract", "fhog", "layers_of", "resize"]
