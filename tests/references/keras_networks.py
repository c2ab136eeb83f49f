"""Zoo networks beside keras.applications, in a process of its own: counts, and outputs with Keras's weights.

Prints one line of JSON: {name: {"params": trainable ones, "error": of outputs, relative}}. Keras keeps layers sorted by
depth; here they are recorded as they are made, which is the order that ours are in.
"""

import json
import math
import os
import sys
from collections.abc import Callable
from functools import partial

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}

import keras
import numpy as np
from keras import applications, layers

from datasets.networks.ops import BN_EPSILON
from datasets.spaces.zoo import Zoo
from measure.builders.numpy_reference import evaluate

MADE: list[keras.Layer] = []


def recorded(cls: type) -> type:
    def make(*arguments, **options):
        MADE.append(cls(*arguments, **options))
        return MADE[-1]

    return make


def weights_of(layer: keras.Layer, rng: np.random.Generator) -> list[dict[str, np.ndarray]]:
    """The layer's weights, drawn anew, in our layout; a separable convolution is two of our ops."""
    layer.set_weights([_draw(w.path, w.shape, rng) for w in layer.weights])
    values = {w.path.split("/")[-1]: np.asarray(w) for w in layer.weights}
    bias = {"bias": values["bias"]} if "bias" in values else {}
    if isinstance(layer, layers.BatchNormalization):
        mean, var = values["moving_mean"], values["moving_variance"] + layer.epsilon - BN_EPSILON
        return [{"scale": values["gamma"], "shift": values["beta"], "mean": mean, "var": var}]
    if isinstance(layer, layers.SeparableConv2D):
        depthwise, pointwise = values["depthwise_kernel"], values["pointwise_kernel"]
        return [{"weight": depthwise.transpose(2, 3, 0, 1)}, {"weight": pointwise.transpose(3, 2, 0, 1)}]
    if isinstance(layer, layers.DepthwiseConv2D):
        return [{"weight": values["kernel"].transpose(2, 3, 0, 1)}]
    if isinstance(layer, layers.Dense):
        return [{"weight": values["kernel"].T, **bias}]
    kernel = values["kernel"].transpose(3, 2, 0, 1)
    return [{"weight": kernel, **bias}]


def _draw(path: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if path.endswith(("gamma", "moving_variance")):
        return rng.uniform(0.75, 1.5, shape)
    fan_in = np.prod(shape[:2]) if path.endswith("depthwise_kernel") else np.prod(shape[:-1])
    return rng.standard_normal(shape) * (0.1 if len(shape) == 1 else (2 / fan_in) ** 0.5)


def compare(name: str, make: Callable[..., keras.Model], side: int = 64) -> dict[str, float]:
    """Parameters of Keras's network, and how far its output is from ours."""
    MADE.clear()
    rng = np.random.default_rng(0)
    model = make(weights=None, input_shape=(side, side, 3), classifier_activation=None)
    drawn = [w for layer in MADE for w in weights_of(layer, rng)]
    network = Zoo(image=side).expand(Zoo().parse([name])[0])
    nodes = [i for i, op in enumerate(network.ops) if op.kind in ("conv", "bn", "dense")]
    weights = dict(zip(nodes, drawn, strict=True))
    weights[nodes[-1]]["weight"].shape = 1000, -1  # MobileNet's classifier is a 1x1 convolution
    x = rng.standard_normal((2, 3, side, side), dtype=np.float32)
    expected = np.asarray(model(x.transpose(0, 2, 3, 1), training=False))
    error = np.linalg.norm(evaluate(network, weights, x) - expected) / np.linalg.norm(expected)
    return {"params": trainable(model), "error": float(error)}


def trainable(model: keras.Model) -> int:
    return sum(math.prod(w.shape) for w in model.trainable_weights)


for kind in ("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "BatchNormalization", "Dense"):
    setattr(sys.modules["keras.src.layers"], kind, recorded(getattr(layers, kind)))
nasnet = partial(sys.modules["keras.src.applications.nasnet"].NASNet, penultimate_filters=1056, num_blocks=4,
                 stem_block_filters=32, skip_reduction=False)  # fmt: skip
print(json.dumps({
    "nasnet_mobile": compare("nasnet_mobile", nasnet),
    "mobilenet_v1": compare("mobilenet_v1", applications.MobileNet),
    "mobilenet_v2": {"params": trainable(applications.MobileNetV2(weights=None))},
}))  # fmt: skip
