"""The zoo: nine published networks as one space whose single decision is the network.

Each is one published variant for inference, up to its logits (no dropout, no auxiliary heads):

- lenet5: LeCun et al. 1998, tanh, plain average pooling, all of C3's connections (61,706 parameters);
- alexnet: torchvision's, of "One weird trick for parallelizing convolutional neural networks" (Krizhevsky 2014) with
five convolutions and no normalisation;
- vgg16: Simonyan and Zisserman's configuration D, without batch norm;
- resnet18, resnet50: torchvision's, where the 3x3 convolution of a bottleneck has the stride ("v1.5");
- mobilenet_v1: width 1.0, ReLU6 and TensorFlow's padding, of keras.applications;
- mobilenet_v2: width 1.0, torchvision's;
- nasnet_mobile: NASNet-A (4 @ 1056), keras.applications' graph;
- squeezenet: 1.0, the paper's, torchvision's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from datasets.architectures import texts
from datasets.blocks.chain import Chain, chain_graph
from datasets.blocks.nasnet import nasnet_mobile
from datasets.networks.analysis import TOTALS, totals
from datasets.networks.builder import NetworkBuilder, same
from datasets.networks.network import Network
from datasets.records import Architecture, Architectures, InputError

if TYPE_CHECKING:
    import pandas as pd


Builder = Callable[[NetworkBuilder, int, int], int]


@dataclass(frozen=True)
class Zoo(Chain):
    """Nine networks.

    Attributes:
        image: height and width of the input; 0: each network's own, 224 and LeNet-5's 32. In AlexNet, VGG16 and LeNet-5
            the first dense layer grows with it.
        classes: number of classes; 0: each network's own, 1000 and LeNet-5's 10.
    """

    image: int = 0
    classes: int = 0

    num_choices: ClassVar[tuple[int, ...]] = (9,)
    kinds: ClassVar[tuple[str, ...]]
    builders: ClassVar[Mapping[str, Builder]]
    """Functions by name that append a network to its input: (builder, input node, classes) to output node."""

    def __str__(self) -> str:
        return f"zoo(image={self.image},classes={self.classes})"

    def parse(self, keys: Sequence[str]) -> Architectures:
        """Read names of networks."""
        names = list(self.builders)
        if unknown := [key for key in texts(keys) if key not in names]:
            raise InputError(f"'{unknown[0]}' is not a zoo network; write one of {', '.join(names)}.")
        return Architectures(self, np.array([[names.index(key)] for key in keys], np.int8).reshape(-1, 1))

    def format(self, archs: Architectures) -> list[str]:
        names = list(self.builders)
        return [names[choice] for choice in archs.decisions[:, 0]]

    def canonical(self, archs: Architectures) -> list[str]:
        """Names of the networks."""
        return archs.keys

    def graph(self, archs: Architectures) -> tuple[np.ndarray, np.ndarray]:
        """A chain of input, the network as one node, and output."""
        return chain_graph(archs.decisions + 2)

    def expand(self, arch: Architecture) -> Network:
        self.parse([arch.key])
        channels, side, classes = self.sides(arch.key)
        net = NetworkBuilder()
        self.builders[arch.key](net, net.add("input", (channels, side, side)), classes)
        if any(min(op.attrs["shape"]) < 1 for op in net.ops):
            raise InputError(
                f"Nothing is left of an image of {side} pixels inside of {arch.key}; give {self} a larger image."
            )
        return net.finish(str(self), arch.key)

    def sides(self, name: str) -> tuple[int, int, int]:
        """Channels and side of a network's input, and its classes."""
        lenet = name == "lenet5"
        return 1 if lenet else 3, self.image or (32 if lenet else 224), self.classes or (10 if lenet else 1000)

    def totals(self, archs: Architectures) -> pd.DataFrame:
        """Totals, computed once per network."""
        import pandas as pd

        rows = [_totals(self, name) for name in self.format(archs)]
        return pd.DataFrame(np.array(rows, np.int64).reshape(-1, len(TOTALS)), columns=list(TOTALS))


@cache
def _totals(space: Zoo, name: str) -> tuple[int, ...]:
    return tuple(totals(space.expand(space.parse([name])[0])).values())


def conv_act(net: NetworkBuilder, x: int, channels: int, kernel: int, stride: int = 1, pad: Any = None) -> int:
    return net.pointwise("relu", net.conv(x, channels, kernel, stride, bias=1, pad=pad))


def classifier(net: NetworkBuilder, x: int, *widths: int) -> int:
    """Append dense layers with ReLU in between."""
    for width in widths[:-1]:
        x = net.pointwise("relu", net.add("dense", (width,), x))
    return net.add("dense", widths[-1:], x)


def pooled_classifier(net: NetworkBuilder, x: int, classes: int) -> int:
    return classifier(net, net.add("global_avg_pool", net.shape(x)[:1], x), classes)


def _lenet5(net: NetworkBuilder, x: int, classes: int) -> int:
    for channels in (6, 16):
        x = net.pointwise("tanh", net.conv(x, channels, 5, bias=1, pad=0))
        x = net.pool("avg_pool", x, 2, 2)
    x = net.pointwise("tanh", net.conv(x, 120, 5, bias=1, pad=0))
    x = net.pointwise("tanh", net.add("dense", (84,), x))
    return net.add("dense", (classes,), x)


def _alexnet(net: NetworkBuilder, x: int, classes: int) -> int:
    x = net.pool("max_pool", conv_act(net, x, 64, 11, 4, pad=2), 3, 2)
    x = net.pool("max_pool", conv_act(net, x, 192, 5), 3, 2)
    for channels in (384, 256, 256):
        x = conv_act(net, x, channels, 3)
    return classifier(net, net.pool("max_pool", x, 3, 2), 4096, 4096, classes)


def _vgg16(net: NetworkBuilder, x: int, classes: int) -> int:
    for channels, convs in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(convs):
            x = conv_act(net, x, channels, 3)
        x = net.pool("max_pool", x, 2, 2)
    return classifier(net, x, 4096, 4096, classes)


def _resnet(net: NetworkBuilder, x: int, classes: int, block: Callable[..., int], blocks: Sequence[int]) -> int:
    x = net.pool("max_pool", net.conv_bn(x, 64, 7, 2, act="relu"), 3, 2, pad=1)
    for stage, count in enumerate(blocks):
        for i in range(count):
            x = block(net, x, 64 * 2**stage, stride=2 if stage and not i else 1)
    return pooled_classifier(net, x, classes)


def basic_block(net: NetworkBuilder, x: int, channels: int, stride: int) -> int:
    y = net.conv_bn(net.conv_bn(x, channels, 3, stride, act="relu"), channels, 3)
    return _residual(net, x, y, stride)


def _bottleneck(net: NetworkBuilder, x: int, channels: int, stride: int) -> int:
    y = net.conv_bn(net.conv_bn(x, channels, 1, act="relu"), channels, 3, stride, act="relu")
    return _residual(net, x, net.conv_bn(y, 4 * channels, 1), stride)


def _residual(net: NetworkBuilder, x: int, y: int, stride: int) -> int:
    if net.shape(x) != net.shape(y):
        x = net.conv_bn(x, net.shape(y)[0], 1, stride)
    return net.pointwise("relu", net.pointwise("add", y, x))


def mobilenet_v1(net: NetworkBuilder, x: int, classes: int, width: float = 1, first: int = 2) -> int:
    """Append MobileNetV1 with a share of the channels, and its first stride, which is 1 for small images."""

    def conv(x: int, channels: int, kernel: int, stride: int = 1, groups: int = 1) -> int:
        pad = same(net.shape(x), kernel, stride)
        return net.conv_bn(x, channels, kernel, stride, groups, act="relu6", pad=pad)

    x = conv(x, int(32 * width), 3, first)
    for channels, stride in (
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 2),
        *[(512, 1)] * 5,
        (1024, 2),
        (1024, 1),
    ):
        x = conv(conv(x, net.shape(x)[0], 3, stride, groups=net.shape(x)[0]), int(channels * width), 1)
    return pooled_classifier(net, x, classes)


def _mobilenet_v2(net: NetworkBuilder, x: int, classes: int) -> int:
    x = net.conv_bn(x, 32, 3, 2, act="relu6")
    for expand, channels, count, first in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
                                           (6, 160, 3, 2), (6, 320, 1, 1)):  # fmt: skip
        for i in range(count):
            hidden = net.shape(x)[0] * expand
            y = net.conv_bn(x, hidden, 1, act="relu6") if expand > 1 else x
            y = net.conv_bn(y, hidden, 3, 1 if i else first, groups=hidden, act="relu6")
            y = net.conv_bn(y, channels, 1)
            x = net.pointwise("add", x, y) if i else y
    return pooled_classifier(net, net.conv_bn(x, 1280, 1, act="relu6"), classes)


def _squeezenet(net: NetworkBuilder, x: int, classes: int) -> int:
    x = conv_act(net, x, 96, 7, 2, pad=0)
    for expand in (0, 64, 64, 128, 0, 128, 192, 192, 256, 0, 256):  # each half of a fire module; 0: pooling
        if not expand:
            x = net.pool("max_pool", x, 3, 2, pad=_rounded_up(net.shape(x)[1]))
            continue
        squeezed = conv_act(net, x, expand // 4, 1)
        x = net.concat(conv_act(net, squeezed, expand, 1), conv_act(net, squeezed, expand, 3))
    x = conv_act(net, x, classes, 1)
    return net.add("global_avg_pool", (classes,), x)


def _rounded_up(side: int) -> tuple[int, int, int, int]:
    """Padding of a pool of size 3 and stride 2 by which its output sizes are rounded up."""
    return (0, 0, (side - 3) % 2, (side - 3) % 2)


def _resnet18(net: NetworkBuilder, x: int, classes: int) -> int:
    return _resnet(net, x, classes, basic_block, (2, 2, 2, 2))


def _resnet50(net: NetworkBuilder, x: int, classes: int) -> int:
    return _resnet(net, x, classes, _bottleneck, (3, 4, 6, 3))


Zoo.builders = {
    "lenet5": _lenet5,
    "alexnet": _alexnet,
    "vgg16": _vgg16,
    "resnet18": _resnet18,
    "resnet50": _resnet50,
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v2": _mobilenet_v2,
    "nasnet_mobile": nasnet_mobile,
    "squeezenet": _squeezenet,
}
NAMES = tuple(Zoo.builders)
Zoo.kinds = ("input", "output", *NAMES)
