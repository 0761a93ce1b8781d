"""VGG-19, VGG-M and MDNet's part of it as linen modules that return named layers; no loading."""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from cdjax._types import Array, Float, Int
from cdjax.deep_features._layers import Conv, local_response_norm, max_pool
from cdjax.deep_features._names import VGG19_LAYERS, VGG_M_LAYERS


class Norm(NamedTuple):
    """Numbers of a local response normalisation, see `local_response_norm`."""

    window: int
    kappa: float
    alpha: float
    beta: float


VGG_M_NORM = Norm(window=5, kappa=2.0, alpha=1e-4, beta=0.75)
"""VGG-M's, which the MATLAB MDNet keeps."""

PY_MDNET_NORM = Norm(window=2, kappa=1.0, alpha=1e-4 / 2, beta=0.75)
"""py-MDNet's: alpha 1e-4 on the mean of channels c - 1 and c. Weights need the norm they had."""


class VGG19(nn.Module):
    """The sixteen convolutions of VGG-19 [1], up to the deepest layer asked for.

    Attributes:
      layers: names to return, in network order.
      padding: "zero", "reflect" as the style-transfer user of the normalised weights does, or
        "none".

    References:
      [1] Simonyan and Zisserman, Very deep convolutional networks, 2015, config. E.
    """

    layers: tuple[str, ...]
    padding: str = "zero"

    @nn.compact
    def __call__(
        self,
        patches: Float[Array, "n p p 3"],
        outputs: Int[Array, " k"] | None = None,
    ) -> dict[str, Float[Array, "n _ _ _"]]:
        """Returns each layer's maps after ReLU; of the deepest only `outputs`."""
        maps = _centred(self, patches)
        taken = {}
        pad = int(self.padding != "none")
        for name, channels in VGG19_LAYERS.items():
            if name.endswith("_1") and name != "conv1_1":
                maps = max_pool(maps, size=2, stride=2)
            conv = Conv(3, channels, pad=pad, padding=self.padding, name=name)
            maps = conv(maps, outputs if name == self.layers[-1] else None)
            if name in self.layers:
                taken[name] = maps
            if name == self.layers[-1]:
                break
        return taken


class VGGM(nn.Module):
    """The five convolutions of VGG-M [1] in MatConvNet's layout.

    Pools round up (a trailing pad of 1 there) and conv2 is padded by 1, so 224 px end
    at 13x13. MDNet [2] has no borders: with padding "none" 107 px end at 3x3 after conv3.

    Attributes:
      layers: names to return, in network order.
      padding: "zero", "reflect" or "none".
      norm: LRN after conv1 and conv2.

    References:
      [1] Chatfield et al., Return of the devil in the details, 2014, CNN-M.
      [2] Nam and Han, Learning multi-domain convolutional networks, 2016.
    """

    layers: tuple[str, ...]
    padding: str = "zero"
    norm: Norm = VGG_M_NORM

    @nn.compact
    def __call__(
        self,
        patches: Float[Array, "n p p 3"],
        outputs: Int[Array, " k"] | None = None,
    ) -> dict[str, Float[Array, "n _ _ _"]]:
        """Returns each layer's maps; of the deepest only `outputs`."""
        maps = _centred(self, patches)
        taken = {}
        sizes = {"conv1": (7, 2, 0), "conv2": (5, 2, 1)}
        bordered = self.padding != "none"
        for name, channels in VGG_M_LAYERS.items():
            last = name == self.layers[-1]
            if name.startswith("norm"):
                maps = local_response_norm(maps, **self.norm._asdict())
                if last and outputs is not None:
                    maps = jnp.take(maps, outputs, axis=-1, mode="clip")
            else:
                size, stride, pad = sizes.get(name, (3, 1, 1))
                conv = Conv(size, channels, stride, pad * bordered, self.padding, name=name)
                maps = conv(maps, outputs if last else None)
            if name in self.layers:
                taken[name] = maps
            if last:
                break
            if name.startswith("norm"):
                maps = max_pool(maps, size=3, stride=2, ceil=bordered)
        return taken


def _centred(module: nn.Module, patches: Float[Array, "n p p 3"]) -> Float[Array, "n p p 3"]:
    """Subtracts the mean colour, RGB."""
    mean = module.param("mean", nn.initializers.zeros, (3,), jnp.float32)
    return patches - mean[None, None, None, :]
