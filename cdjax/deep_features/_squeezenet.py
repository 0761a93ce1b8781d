"""SqueezeNet v1.0 and v1.1 as a linen module that returns named layers; no loading."""

import flax.linen as nn
import jax.numpy as jnp

from cdjax._types import Array, Float, Int
from cdjax.deep_features._layers import Conv, convolve_by_products, max_pool
from cdjax.deep_features._names import SQUEEZENET1_1_LAYERS, SQUEEZENET_LAYERS


class Fire(nn.Module):
    """Squeeze by a 1x1 convolution, expand by 1x1 and 3x3 side by side.

    Attributes:
      num_outputs: channels of both expansions together; the squeeze has an eighth.
    """

    num_outputs: int

    @nn.compact
    def __call__(
        self,
        maps: Float[Array, "n h w c_in"],
        outputs: Int[Array, " k"] | None = None,
    ) -> Float[Array, "n h w c_out"]:
        """Returns the maps of `outputs`, or of every output channel."""
        squeezed = Conv(1, self.num_outputs // 8, name="squeeze")(maps)
        one = Conv(1, self.num_outputs // 2, name="expand1x1")
        three = Conv(3, self.num_outputs // 2, pad=1, name="expand3x3")
        if outputs is None:
            return jnp.concatenate([one(squeezed), three(squeezed)], axis=-1)
        # Which outputs are 1x1 is not known before run time, so that each costs a 3x3.
        kernel1, bias1 = one.weights(squeezed.shape[-1])
        kernel3, bias3 = three.weights(squeezed.shape[-1])
        kernel1 = jnp.pad(kernel1, ((1, 1), (1, 1), (0, 0), (0, 0)))
        kernel = jnp.concatenate([kernel1, kernel3], axis=-1)
        bias = jnp.concatenate([bias1, bias3])
        return convolve_by_products(
            squeezed,
            jnp.take(kernel, outputs, axis=-1, mode="clip"),
            jnp.take(bias, outputs, mode="clip"),
            pad=1,
        )


class SqueezeNet(nn.Module):
    """SqueezeNet [1], up to the deepest layer asked for; every layer after ReLU.

    v1.0 pads conv10 by 1 as its Caffe definition does, so its rim is ReLU(bias). Pools
    (3 px, step 2) round up.

    Attributes:
      layers: names to return, in network order.
      version: "1.0", or "1.1" with its 3x3 conv1 of 64 outputs and earlier pools.

    References:
      [1] Iandola et al., SqueezeNet, 2016.
    """

    layers: tuple[str, ...]
    version: str = "1.0"

    @nn.compact
    def __call__(
        self,
        patches: Float[Array, "n p p 3"],
        outputs: Int[Array, " k"] | None = None,
    ) -> dict[str, Float[Array, "n _ _ _"]]:
        """Returns each layer's maps; of the deepest only `outputs`."""
        first = self.version == "1.0"
        mean = self.param("mean", nn.initializers.zeros, (3,), jnp.float32)
        maps = patches - mean[None, None, None, :]
        pooled = ("conv1", "fire4", "fire8") if first else ("conv1", "fire3", "fire5")
        taken = {}
        for name, channels in (SQUEEZENET_LAYERS if first else SQUEEZENET1_1_LAYERS).items():
            if name == "conv1":
                layer = Conv(7 if first else 3, channels, stride=2, name=name)
            elif name == "conv10":
                layer = Conv(1, channels, pad=int(first), name=name)
            else:
                layer = Fire(channels, name=name)
            maps = layer(maps, outputs if name == self.layers[-1] else None)
            if name in self.layers:
                taken[name] = maps
            if name == self.layers[-1]:
                break
            if name in pooled:
                maps = max_pool(maps, size=3, stride=2, ceil=True)
        return taken
