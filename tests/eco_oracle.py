"""Reading the states of pyECO: coefficients as the library lays them out."""

import json

import numpy as np

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


def rel(found, expected):
    """Largest difference over largest entry; the worst of several blocks."""
    if isinstance(expected, tuple):
        assert len(found) == len(expected)
        return max(rel(a, b) for a, b in zip(found, expected, strict=True))
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    return np.abs(found - expected).max() / np.abs(expected).max()
