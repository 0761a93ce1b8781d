"""Reading the states of pyECO: coefficients as the library lays them out."""

import json

import jax
import jax.numpy as jnp
import numpy as np

from cdjax import filters

SEQUENCES = ("Crossing", "Jumping")
SLOTS = 30


def coefficients(stored):
    """From rows -K..K, columns -K..0, channels last, to half spectra, channels first."""
    mirrored = np.conj(stored[..., ::-1, ::-1, :])
    return np.moveaxis(np.fft.ifftshift(mirrored, axes=-3), -1, -3)


class Oracle:
    """One file; values of frame t are those after frame t."""

    def __init__(self, path):
        with np.load(path) as file:
            self.file = dict(file)

    def __getitem__(self, name):
        return self.file[name]

    def config(self):
        return json.loads(str(self.file["config"]))

    def raw(self, name, at=...):
        """Both blocks, as stored."""
        return tuple(self.file[f"{name}_{k}"][at] for k in range(2))

    def blocks(self, name, at=...):
        """Coefficients of both blocks."""
        return tuple(coefficients(block) for block in self.raw(name, at))

    def maps(self, name):
        """Feature maps of both blocks, channels first."""
        return tuple(np.ascontiguousarray(np.moveaxis(b, -1, 0)) for b in self.raw(name))


def memory_after(oracle, t):
    """The sample memory; nothing has merged."""
    samples_f = []
    for block in oracle.blocks("sample"):
        stored = np.zeros((SLOTS, *block.shape[1:]), np.complex64)
        stored[: t + 1] = block[: t + 1]
        samples_f.append(jnp.asarray(stored))
    gram = np.zeros((SLOTS, SLOTS), np.float32)
    gram[: t + 1, : t + 1] = oracle["gram"][t, : t + 1, : t + 1]
    weights, count = jnp.asarray(oracle["weights"][t]), jnp.int32(t + 1)
    return filters.SampleMemory(
        tuple(samples_f), weights, jnp.asarray(gram), count, jnp.int32(t), jnp.int32(-1)
    )


def model_after(oracle, t):
    """Filter, energy, and what the training carries on."""
    filter_f = jax.tree.map(jnp.asarray, oracle.blocks("filter", t))
    energy = jax.tree.map(jnp.asarray, oracle.blocks("energy", t))
    if t == 0:
        return filters.ECOModel(filter_f, energy, filters.fresh_cg(filter_f))
    cg = filters.CGState(
        oracle.blocks("cg_p", t), oracle.blocks("cg_rprev", t), jnp.float32(oracle["cg_rho"][t])
    )
    return filters.ECOModel(filter_f, energy, cg)


def rel(found, expected):
    """Largest difference over largest entry; the worst of several blocks."""
    if isinstance(expected, tuple):
        assert len(found) == len(expected)
        return max(rel(a, b) for a, b in zip(found, expected, strict=True))
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    return np.abs(found - expected).max() / np.abs(expected).max()
