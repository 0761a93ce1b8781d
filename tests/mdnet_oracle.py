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


def train(head, batches, *, masks=None, clip=10.0):
    """py-MDNet's `train` in float64: one dict of results an iteration.

    `batches` holds (positives, candidate negatives) of each iteration; `masks` those of fc5 and
    fc6, [iterations, samples, units]. Independent of the library: gradients by hand.
    """
    head = {k: {n: np.asarray(x, np.float64) for n, x in v.items()} for k, v in head.items()}
    speed = {k: {n: np.zeros_like(x) for n, x in v.items()} for k, v in head.items()}

    def forward(x, kept):
        fc4 = np.maximum(x @ head["fc4"]["kernel"] + head["fc4"]["bias"], 0)
        into5 = fc4 * kept[0]
        fc5 = np.maximum(into5 @ head["fc5"]["kernel"] + head["fc5"]["bias"], 0)
        into6 = fc5 * kept[1]
        return fc4, into5, fc5, into6, into6 @ head["fc6"]["kernel"] + head["fc6"]["bias"]

    def softmax(logits):
        shifted = np.exp(logits - logits.max(1, keepdims=True))
        return shifted / shifted.sum(1, keepdims=True)

    results = []
    for i, (positives, candidates) in enumerate(batches):
        hard = np.argsort(-forward(candidates, (1, 1))[-1][:, 1], kind="stable")[:96]
        x = np.concatenate([positives, candidates[hard]]).astype(np.float64)
        label = np.repeat([1, 0], [len(positives), 96])
        kept = (1, 1) if masks is None else tuple(2 * np.asarray(mask[i]) for mask in masks)
        fc4, into5, fc5, into6, logits = forward(x, kept)
        share = softmax(logits)
        loss = lambda p, label=label: -np.log(p[np.arange(len(label)), label]).mean()
        back = (share - np.eye(2)[label]) / len(x)
        grads = {"fc6": {"kernel": into6.T @ back, "bias": back.sum(0)}}
        back = back @ head["fc6"]["kernel"].T * kept[1] * (fc5 > 0)
        grads["fc5"] = {"kernel": into5.T @ back, "bias": back.sum(0)}
        back = back @ head["fc5"]["kernel"].T * kept[0] * (fc4 > 0)
        grads["fc4"] = {"kernel": x.T @ back, "bias": back.sum(0)}
        norm = np.sqrt(sum((g**2).sum() for layer in grads.values() for g in layer.values()))
        for layer, grad in grads.items():
            rate = 5e-4 * (10 if layer == "fc6" else 1)
            for name in grad:
                step = grad[name] * min(1, clip / norm) + 5e-4 * head[layer][name]
                speed[layer][name] = 0.9 * speed[layer][name] + step
                head[layer][name] = head[layer][name] - rate * speed[layer][name]
        results.append(
            {
                "hard": hard,
                "loss": loss(share),
                "norm": norm,
                "after": loss(softmax(forward(x, (1, 1))[-1])),
                "head": {k: dict(v) for k, v in head.items()},
            }
        )
    return results
