"""Context-aware correlation filters: patches around the target are regressed to zero."""

import jax.numpy as jnp

from cdjax._types import Array, Complex, Number
from cdjax.filters._dcf import solve_dcf


def solve_cacf(
    template_f: Complex[Array, "k h wf"],
    context_f: Complex[Array, "q k h wf"],
    label_f: Complex[Array, "h wf"],
    *,
    reg: Number,
    context_reg: Number,
) -> Complex[Array, "k h wf"]:
    """Solves one context-aware filter a channel, each on its own [1, `DCF_CA/tracker.m`].

    Minimises, for every channel alone, ||conj(filter) template - label||^2 + reg ||filter||^2 +
    context_reg sum_q ||conj(filter) context_q||^2.

    Args:
      template_f: half spectra of the windowed features of the target.
      context_f: half spectra of those of each context patch.
      label_f: half spectrum of the label, peak at cell [0, 0].
      reg: ridge, in units of |template_f|^2, unnormalised FFT.
      context_reg: weight of the context patches against the target.

    Returns:
      The filters' half spectra; `apply_filter` conjugates them and sums over channels, so that the
      response is about as many times the label as there are channels.

    References:
      [1] Mueller et al., Context-aware correlation filter tracking, 2017.
    """
    power = lambda spectra: spectra.real**2 + spectra.imag**2
    # Added one by one: a sum over an axis is a pass of its own over the powers.
    context = sum(power(each) for each in context_f)
    return template_f * jnp.conj(label_f)[None] / (power(template_f) + reg + context_reg * context)


def solve_joint_cacf(
    samples_f: Complex[Array, "n k h wf"],
    context_f: Complex[Array, "n q k h wf"],
    label_f: Complex[Array, "h wf"],
    *,
    reg: Number,
    context_reg: Number,
) -> Complex[Array, "k h wf"]:
    """Solves one context-aware filter over all channels, exactly.

    Minimises sum_n ||sum_k conj(filter_k) sample_nk - label||^2 + reg ||filter||^2 +
    context_reg sum_nq ||sum_k conj(filter_k) context_nqk||^2: context patches are samples with
    target zero, scaled by the root of their weight.

    Args:
      samples_f: half spectra of the windowed features of the target.
      context_f: half spectra of those of each sample's context patches.
      label_f: half spectrum of the label, peak at cell [0, 0].
      reg: ridge, in units of |samples_f|^2, unnormalised FFT.
      context_reg: weight of the context patches against the target.

    Returns:
      The filter's half spectrum; `apply_filter` conjugates it.

    References:
      [1] Mueller et al., Context-aware correlation filter tracking, 2017, Eq. 4. Differs: there
        every channel regresses the label on its own.
    """
    scaled = context_reg**0.5 * context_f.reshape(-1, *context_f.shape[2:])
    return solve_dcf(samples_f, label_f, reg=reg, zeros_f=scaled)
