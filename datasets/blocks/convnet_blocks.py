"""Parts of the random networks of `datasets.spaces.convnet` as ops with shapes.

A part takes the network so far, its input node, the activation of the whole network and its own numbers, and returns
its output node. Paddings are TensorFlow's "same": sides are divided by the stride and rounded up.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from datasets.networks.builder import NetworkBuilder, same

Part = Callable[..., int]
"""Appends a part: (network, node, activation, numbers...) to node."""

MOST_FEATURES = 4096
"""Most features of a flattened image: the largest input of a dense layer in PerfNetRT's Table III."""


def conv_bn(
    net: NetworkBuilder, x: int, act: str | None, channels: int, kernel: int, stride: int = 1, groups: int = 1
) -> int:
    """Append a convolution, batch norm, and the activation unless it is None."""
    return net.conv_bn(x, channels, kernel, stride, groups, act, same(net.shape(x), kernel, stride))


def conv_bias(net: NetworkBuilder, x: int, act: str, channels: int, kernel: int, stride: int = 1) -> int:
    """Append a convolution with a bias, and the activation."""
    return net.pointwise(act, net.conv(x, channels, kernel, stride, bias=1, pad=same(net.shape(x), kernel, stride)))


def max_pool(net: NetworkBuilder, x: int, act: str, kernel: int, stride: int) -> int:
    """Append a pooling, which has no activation."""
    return net.pool("max_pool", x, kernel, stride, same(net.shape(x), kernel, stride))


def avg_pool(net: NetworkBuilder, x: int, act: str, kernel: int, stride: int) -> int:
    """Append a pooling, which has no activation."""
    return net.pool("avg_pool", x, kernel, stride, same(net.shape(x), kernel, stride))


def _basic(net: NetworkBuilder, x: int, act: str, width: int, kernel: int, stride: int) -> int:
    y = conv_bn(net, conv_bn(net, x, act, width, kernel, stride), None, width, kernel)
    return _residual(net, x, act, y, stride)


def _bottleneck(net: NetworkBuilder, x: int, act: str, width: int, kernel: int, stride: int) -> int:
    y = conv_bn(net, conv_bn(net, x, act, width // 4, 1), act, width // 4, kernel, stride)
    return _residual(net, x, act, conv_bn(net, y, None, width, 1), stride)


def _residual(net: NetworkBuilder, x: int, act: str, y: int, stride: int) -> int:
    if net.shape(x) != net.shape(y):
        x = conv_bn(net, x, None, net.shape(y)[0], 1, stride)
    return net.pointwise(act, net.pointwise("add", y, x))


def _separable(net: NetworkBuilder, x: int, act: str, width: int, kernel: int, stride: int) -> int:
    channels = net.shape(x)[0]
    return conv_bn(net, conv_bn(net, x, act, channels, kernel, stride, groups=channels), act, width, 1)


def _inverted(
    net: NetworkBuilder, x: int, act: str, width: int, kernel: int, stride: int, excited: bool = False
) -> int:
    hidden = 4 * net.shape(x)[0]
    y = conv_bn(net, conv_bn(net, x, act, hidden, 1), act, hidden, kernel, stride, groups=hidden)
    if excited:
        gate = net.add("global_avg_pool", (hidden, 1, 1), y)
        gate = conv_bias(net, conv_bias(net, gate, "relu", hidden // 8, 1), "hsigmoid", hidden, 1)
        y = net.pointwise("mul", y, gate)
    y = conv_bn(net, y, None, width, 1)
    return net.pointwise("add", y, x) if net.shape(x) == net.shape(y) else y


def _excited(net: NetworkBuilder, x: int, act: str, width: int, kernel: int, stride: int) -> int:
    return _inverted(net, x, act, width, kernel, stride, excited=True)


def _fire(net: NetworkBuilder, x: int, act: str, width: int, kernel: int, stride: int) -> int:
    x = conv_bias(net, x, act, width // 4, 1)
    return net.concat(*(conv_bias(net, x, act, width // 2, k, stride) for k in (1, kernel)))


def _branched(net: NetworkBuilder, x: int, act: str, width: int, kernel: int, stride: int) -> int:
    quarter = width // 4
    point = conv_bn(net, x, act, quarter, 1, stride)
    wide = conv_bn(net, conv_bn(net, x, act, quarter, 1), act, width - 2 * quarter, kernel, stride)
    return net.concat(point, wide, conv_bn(net, max_pool(net, x, act, 3, stride), act, quarter, 1))


BLOCKS: dict[str, Part] = {
    "plain": conv_bn,
    "biased": conv_bias,
    "basic": _basic,
    "bottleneck": _bottleneck,
    "separable": _separable,
    "inverted": _inverted,
    "excited": _excited,
    "fire": _fire,
    "branched": _branched,
}
"""Blocks by name; each takes its width (output channels), kernel and stride."""


def gap(net: NetworkBuilder, x: int, act: str) -> int:
    """Append the mean of each channel."""
    return net.add("global_avg_pool", net.shape(x)[:1], x)


def flat(net: NetworkBuilder, x: int, act: str) -> int:
    """Pool the image until it has at most `MOST_FEATURES` elements, which the next dense layer reads flattened."""
    while math.prod(net.shape(x)) > MOST_FEATURES:
        x = max_pool(net, x, act, 2, 2)
    return x


HEADS: dict[str, Part] = {"gap": gap, "flat": flat}


def hidden(net: NetworkBuilder, x: int, act: str, width: int) -> int:
    """Append a dense layer and the activation."""
    return net.pointwise(act, net.add("dense", (width,), x))


def classifier(net: NetworkBuilder, x: int, act: str, classes: int) -> int:
    """Append the dense layer that gives the logits."""
    return net.add("dense", (classes,), x)
