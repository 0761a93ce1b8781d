"""Distilled channels to filter to response."""

from cdjax.filters._cacf import solve_cacf as solve_cacf
from cdjax.filters._cacf import solve_joint_cacf as solve_joint_cacf
from cdjax.filters._cg import CGResult as CGResult
from cdjax.filters._cg import CGState as CGState
from cdjax.filters._cg import conjugate_gradient as conjugate_gradient
from cdjax.filters._cg import fresh_cg as fresh_cg
from cdjax.filters._dcf import DCFModel as DCFModel
from cdjax.filters._dcf import apply_filter as apply_filter
from cdjax.filters._dcf import blend_dcf as blend_dcf
from cdjax.filters._dcf import respond_dcf as respond_dcf
from cdjax.filters._dcf import solve_dcf as solve_dcf
from cdjax.filters._dcf import train_dcf as train_dcf
from cdjax.filters._eco import ECOModel as ECOModel
from cdjax.filters._eco import JointResult as JointResult
from cdjax.filters._eco import channel_penalty as channel_penalty
from cdjax.filters._eco import eco_loss as eco_loss
from cdjax.filters._eco import pca_projection as pca_projection
from cdjax.filters._eco import project as project
from cdjax.filters._eco import respond_eco as respond_eco
from cdjax.filters._eco import series_inner as series_inner
from cdjax.filters._eco import train_eco as train_eco
from cdjax.filters._eco import train_joint as train_joint
from cdjax.filters._fourier import half_weights as half_weights
from cdjax.filters._fourier import irfft2 as irfft2
from cdjax.filters._fourier import rfft2 as rfft2
from cdjax.filters._memory import SampleMemory as SampleMemory
from cdjax.filters._memory import insert_sample as insert_sample
from cdjax.filters._memory import memory_distances as memory_distances
from cdjax.filters._memory import memory_gram as memory_gram
from cdjax.filters._memory import start_memory as start_memory
from cdjax.filters._series import crop_series as crop_series
from cdjax.filters._series import make_hermitian as make_hermitian
from cdjax.filters._series import pad_series as pad_series
from cdjax.filters._series import series_coefficients as series_coefficients
from cdjax.filters._series import series_label as series_label
from cdjax.filters._series import series_size as series_size
from cdjax.filters._series import series_window as series_window
from cdjax.filters._series import shift_series as shift_series
from cdjax.filters._spatial import SpatialReg as SpatialReg
from cdjax.filters._spatial import reg_energy as reg_energy
from cdjax.filters._spatial import regularise as regularise
from cdjax.filters._spatial import spatial_reg as spatial_reg
from cdjax.filters._window import gaussian_label as gaussian_label
from cdjax.filters._window import hann_window as hann_window
from cdjax.filters._window import wrapped_offsets as wrapped_offsets

__all__ = [
    "CGResult",
    "CGState",
    "DCFModel",
    "ECOModel",
    "JointResult",
    "SampleMemory",
    "SpatialReg",
    "apply_filter",
    "blend_dcf",
    "channel_penalty",
    "conjugate_gradient",
    "crop_series",
    "eco_loss",
    "fresh_cg",
    "gaussian_label",
    "half_weights",
    "hann_window",
    "insert_sample",
    "irfft2",
    "make_hermitian",
    "memory_distances",
    "memory_gram",
    "pad_series",
    "pca_projection",
    "project",
    "reg_energy",
    "regularise",
    "respond_dcf",
    "respond_eco",
    "rfft2",
    "series_coefficients",
    "series_inner",
    "series_label",
    "series_size",
    "series_window",
    "shift_series",
    "solve_cacf",
    "solve_dcf",
    "solve_joint_cacf",
    "spatial_reg",
    "start_memory",
    "train_dcf",
    "train_eco",
    "train_joint",
    "wrapped_offsets",
]
