"""The few layers that the backbones are made of; no networks, no loading."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cdjax._errors import InputError
from cdjax._types import Array, Float, Int

_MANY_ROWS = 32
"""So many rows of maps hide three that are computed in vain."""


class Conv(nn.Module):
    """Convolution and ReLU, of all outputs or of a few that are named at run time.

    Attributes:
      size: side of the square kernel.
      num_outputs: output channels.
      stride: step of the kernel, px of the input maps.
      pad: border added on each side, px of the input maps.
      padding: what the border holds, "zero" or "reflect" (the edge is not repeated); of no effect
        without `pad`.
    """

    size: int
    num_outputs: int
    stride: int = 1
    pad: int = 0
    padding: str = "zero"

    @nn.compact
    def weights(
        self, num_inputs: int
    ) -> tuple[Float[Array, "kh kw c_in c_out"], Float[Array, " c_out"]]:
        """Returns kernel and bias."""
        shape = (self.size, self.size, num_inputs, self.num_outputs)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape[-1:], jnp.float32)
        return kernel, bias

    def __call__(
        self,
        maps: Float[Array, "n h w c_in"],
        outputs: Int[Array, " k"] | None = None,
    ) -> Float[Array, "n h_out w_out c_out"]:
        """Returns the maps of `outputs`, or of every output channel."""
        kernel, bias = self.weights(maps.shape[-1])
        if outputs is not None:
            kernel = jnp.take(kernel, outputs, axis=-1, mode="clip")
            bias = jnp.take(bias, outputs, mode="clip")
            if self.stride == 1:
                return convolve_by_products(maps, kernel, bias, pad=self.pad, padding=self.padding)
        return convolve(
            maps,
            kernel,
            bias,
            stride=self.stride,
            pad=self.pad,
            padding=self.padding,
        )


def convolve(
    maps: Float[Array, "n h w c_in"],
    kernel: Float[Array, "kh kw c_in c_out"],
    bias: Float[Array, " c_out"],
    *,
    stride: int = 1,
    pad: int = 0,
    padding: str = "zero",
) -> Float[Array, "n h_out w_out c_out"]:
    """Convolves, adds the bias and cuts off at zero."""
    _check_side(maps, kernel.shape[0] - 2 * pad)
    if padding == "reflect" and pad:
        maps = jnp.pad(maps, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")
        pad = 0

    direct = functools.partial(_convolve_directly, stride=stride, pad=pad)
    size = kernel.shape[0]
    on_cpu = None
    if stride > 1 and kernel.shape[2] > 3:
        # Half the time of XLA's convolution on CPU, where steps leave its inner loop.
        on_cpu = functools.partial(_convolve_by_columns, stride=stride, pad=pad)
    elif stride == 1 and 2 * pad < size > 1 and (pad or maps.shape[1] >= _MANY_ROWS):
        on_cpu = functools.partial(_convolve_by_eigen, pad)
    if on_cpu is None:
        out = direct(maps, kernel)
    else:
        out = jax.lax.platform_dependent(maps, kernel, cpu=on_cpu, default=direct)
    return jax.nn.relu(out + bias[None, None, None, :])


def _convolve_directly(
    maps: Float[Array, "n h w c_in"],
    kernel: Float[Array, "kh kw c_in c_out"],
    *,
    stride: int = 1,
    pad: int,
    spare_rows: int = 0,
) -> Float[Array, "n h_out w_out c_out"]:
    """XLA's convolution; `spare_rows` more are asked for at the bottom, and cut off."""
    out = jax.lax.conv_general_dilated(
        maps,
        kernel,
        window_strides=(stride, stride),
        padding=((pad, pad + spare_rows), (pad, pad)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return out[:, : out.shape[1] - spare_rows]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _convolve_by_eigen(
    pad: int, maps: Float[Array, "n h w c_in"], kernel: Float[Array, "kh kw c_in c_out"]
) -> Float[Array, "n h_out w_out c_out"]:
    """A convolution at stride 1 by Eigen, where XLA would take YNNPACK.

    XLA (jaxlib 0.10) does not give YNNPACK a convolution whose output is larger than its input,
    and on two cores without AVX-512 Eigen takes 0.7 to 1.0 of the time, without padding 0.5 to 0.6
    for VGG-19's conv1_2 and conv2_1 at 112 px. With AVX-512: not measured.
    """
    return _convolve_directly(maps, kernel, pad=pad, spare_rows=kernel.shape[0] - 2 * pad)


@_convolve_by_eigen.defjvp
def _(pad: int, primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> Any:
    # Without the spare rows: with them the gradient in the kernel takes ten times as long.
    direct = functools.partial(_convolve_directly, pad=pad)
    return _convolve_by_eigen(pad, *primals), jax.jvp(direct, primals, tangents)[1]


def _convolve_by_columns(
    maps: Float[Array, "n h w c_in"],
    kernel: Float[Array, "kh kw c_in c_out"],
    *,
    stride: int,
    pad: int,
) -> Float[Array, "n h_out w_out c_out"]:
    """A convolution as one product with the pixels that each output sees, side by side."""
    maps = jnp.pad(maps, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    columns = jnp.concatenate(_shifts(maps, kernel.shape[0], stride), axis=-1)
    return jnp.einsum("nhwi,io->nhwo", columns, kernel.reshape(-1, kernel.shape[-1]))


def _shifts(
    maps: Float[Array, "n h w c"], size: int, stride: int
) -> list[Float[Array, "n h_out w_out c"]]:
    """What each place of a square window sees, row by row."""
    ends = [n - size + 1 for n in maps.shape[1:3]]
    return [
        maps[:, i : i + ends[0] : stride, j : j + ends[1] : stride]
        for i in range(size)
        for j in range(size)
    ]


def convolve_by_products(
    maps: Float[Array, "n h w c_in"],
    kernel: Float[Array, "kh kw c_in c_out"],
    bias: Float[Array, " c_out"],
    *,
    pad: int = 0,
    padding: str = "zero",
) -> Float[Array, "n h_out w_out c_out"]:
    """`convolve` at stride 1 as matrix products, as a rule one for each place of the kernel.

    Kernels gathered per video get a batch axis under `vmap`. That makes a convolution a
    grouped one, three times slower on CPU than one after the other; products stay fast.
    """
    _check_side(maps, kernel.shape[0] - 2 * pad)
    mode = "reflect" if padding == "reflect" else "constant"
    maps = jnp.pad(maps, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode=mode)
    size = kernel.shape[0]
    seen, weights = _shifts(maps, size, 1), kernel.reshape(-1, *kernel.shape[2:])
    if kernel.shape[2] <= 3:
        # Products over so few channels are slow: one for all places, of planes, whose rows are
        # copied at once.
        planes = jnp.stack([jnp.moveaxis(each, -1, 0) for each in seen])
        out = jnp.einsum("pcnhw,pck->nhwk", planes, weights)
    else:
        out = sum(jnp.einsum("nhwc,ck->nhwk", *each) for each in zip(seen, weights, strict=True))
    return jax.nn.relu(out + bias[None, None, None, :])


def max_pool(
    maps: Float[Array, "n h w c"], *, size: int, stride: int, ceil: bool = False
) -> Float[Array, "n h_out w_out c"]:
    """Takes maxima; with `ceil`, windows that stick out at the far end count too."""
    _check_side(maps, 1 if ceil else size)
    # Caffe's rule; for 3 px at step 2 MatConvNet's trailing pad of 1 agrees with it.
    extra = [max(size - n, (size - n) % stride) if ceil else 0 for n in maps.shape[1:3]]
    if any(extra):
        ends = ((0, 0), *((0, e) for e in extra), (0, 0))
        maps = jnp.pad(maps, ends, constant_values=-jnp.inf)
    # Ten times as fast as `reduce_window` on CPU.
    return functools.reduce(jnp.maximum, _shifts(maps, size, stride))


def local_response_norm(
    maps: Float[Array, "n h w c"],
    *,
    window: int,
    kappa: float,
    alpha: float,
    beta: float,
) -> Float[Array, "n h w c"]:
    """Divides by (kappa + alpha sum x^2)^beta, summed over neighbouring channels.

    The window of channel c starts at c - window // 2, so 2 means c - 1 and c. `alpha`
    multiplies the sum; where a framework averages, divide its alpha by the window.
    """
    before, after = window // 2, (window - 1) // 2
    padded = jnp.pad(maps * maps, ((0, 0), (0, 0), (0, 0), (before, after)))
    num = maps.shape[-1]
    total = sum(padded[..., i : i + num] for i in range(1, window)) + padded[..., :num]
    base = kappa + alpha * total
    if beta == 0.75:
        # A power costs three times as much.
        return maps * (jax.lax.rsqrt(base) * jax.lax.rsqrt(jnp.sqrt(base)))
    return maps * base**-beta


def _check_side(maps: Float[Array, "n h w c"], least: int) -> None:
    """Stops patches that a network shrinks to nothing."""
    if min(maps.shape[1:3]) < least:
        raise InputError(
            f"patches are too small for the layers asked of them: a map of "
            f"{maps.shape[1]}x{maps.shape[2]} px meets a window of {least} px; "
            "use a larger patch or a shallower layer"
        )
