"""Distilled channels to filter to response."""

from cdjax.filters._cacf import solve_cacf as solve_cacf
from cdjax.filters._cacf import solve_joint_cacf as solve_joint_cacf
from cdjax.filters._dcf import DCFModel as DCFModel
from cdjax.filters._dcf import apply_filter as apply_filter
from cdjax.filters._dcf import blend_dcf as blend_dcf
from cdjax.filters._dcf import respond_dcf as respond_dcf
from cdjax.filters._dcf import solve_dcf as solve_dcf
from cdjax.filters._dcf import train_dcf as train_dcf
from cdjax.filters._fourier import half_weights as half_weights
from cdjax.filters._fourier import irfft2 as irfft2
from cdjax.filters._fourier import rfft2 as rfft2
from cdjax.filters._window import gaussian_label as gaussian_label
from cdjax.filters._window import hann_window as hann_window
from cdjax.filters._window import wrapped_offsets as wrapped_offsets

__all__ = [
    "DCFModel",
    "apply_filter",
    "blend_dcf",
    "gaussian_label",
    "half_weights",
    "hann_window",
    "irfft2",
    "respond_dcf",
    "rfft2",
    "solve_cacf",
    "solve_dcf",
    "solve_joint_cacf",
    "train_dcf",
    "wrapped_offsets",
]
