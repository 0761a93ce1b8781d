"""py-MDNet with the weights of the oracle `mdnet.npz`, drawn again."""

import functools

import numpy as np

SHAPES = {
    "conv1.0.weight": (96, 3, 7, 7),
    "conv1.0.bias": (96,),
    "conv2.0.weight": (256, 96, 5, 5),
    "conv2.0.bias": (256,),
    "conv3.0.weight": (512, 256, 3, 3),
    "conv3.0.bias": (512,),
    "fc4.0.weight": (512, 4608),
    "fc5.1.weight": (512, 512),
    "fc6.weight": (2, 512),
}


@functools.cache
def torch_arrays():
    """The weights under py-MDNet's names; fc6 is called fc6."""
    rng = np.random.RandomState(0)
    arrays = {}
    for name, shape in SHAPES.items():
        drawn = rng.standard_normal(shape)
        if name.startswith("fc"):
            drawn *= 0.01
        else:
            fan_in = np.prod(shape[1:])
            drawn *= np.sqrt(2 / fan_in) if name.endswith("weight") else 0.1
        arrays[name] = drawn.astype(np.float32)
    arrays["fc4.0.bias"] = np.full(512, 0.1, np.float32)
    arrays["fc5.1.bias"] = np.full(512, 0.1, np.float32)
    arrays["fc6.bias"] = np.zeros(2, np.float32)
    return arrays


def conv_params():
    arrays = torch_arrays()
    params = {"mean": np.full(3, 128, np.float32)}
    for name in ("conv1", "conv2", "conv3"):
        kernel = arrays[f"{name}.0.weight"].transpose(2, 3, 1, 0)
        params[name] = {"kernel": kernel, "bias": arrays[f"{name}.0.bias"]}
    return params


def head_params():
    arrays = torch_arrays()
    keys = {"fc4": "fc4.0", "fc5": "fc5.1", "fc6": "fc6"}
    return {
        name: {"kernel": arrays[f"{key}.weight"].T, "bias": arrays[f"{key}.bias"]}
        for name, key in keys.items()
    }
