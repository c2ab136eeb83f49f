"""Four networks of the zoo's kinds for images of 32 x 32 that can be trained in minutes on one core.

Each keeps its model's structure with fewer channels and strides, which is usual for small images:

- alexnet: five convolutions, three poolings, three dense layers, no normalisation; the first kernel is 5 x 5;
- mobilenet_v1: all 13 pairs of depthwise and pointwise convolutions, width 0.5;
- resnet: a convolution of stride 2 and three stages of one basic block (ResNet-8);
- resnet_even: resnet with 32 channels in all stages, so that the first takes most of the time, as in networks with
  unbalanced widths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from datasets.networks.builder import NetworkBuilder
from datasets.spaces.zoo import Builder, Zoo, basic_block, classifier, conv_act, mobilenet_v1, pooled_classifier


@dataclass(frozen=True)
class SmallZoo(Zoo):
    """Four networks.

    Attributes:
        image: height and width of the input; 0: 32.
        classes: number of classes; 0: 10.
    """

    num_choices: ClassVar[tuple[int, ...]] = (4,)
    builders: ClassVar[Mapping[str, Builder]]

    def __str__(self) -> str:
        return f"small_zoo(image={self.image},classes={self.classes})"

    def sides(self, name: str) -> tuple[int, int, int]:
        return 3, self.image or 32, self.classes or 10


def _alexnet(net: NetworkBuilder, x: int, classes: int) -> int:
    x = net.pool("max_pool", conv_act(net, x, 32, 5, 2), 2, 2)
    x = net.pool("max_pool", conv_act(net, x, 96, 5), 2, 2)
    for channels in (192, 128, 128):
        x = conv_act(net, x, channels, 3)
    return classifier(net, net.pool("max_pool", x, 2, 2), 512, 512, classes)


def _mobilenet_v1(net: NetworkBuilder, x: int, classes: int) -> int:
    return mobilenet_v1(net, x, classes, width=0.5, first=1)


def _resnet(net: NetworkBuilder, x: int, classes: int, widths: tuple[int, ...] = (32, 64, 128)) -> int:
    x = net.conv_bn(x, 32, 3, 2, act="relu")
    for channels, stride in zip(widths, (1, 2, 2), strict=True):
        x = basic_block(net, x, channels, stride)
    return pooled_classifier(net, x, classes)


def _resnet_even(net: NetworkBuilder, x: int, classes: int) -> int:
    return _resnet(net, x, classes, (32, 32, 32))


SmallZoo.builders = {
    "alexnet": _alexnet,
    "mobilenet_v1": _mobilenet_v1,
    "resnet": _resnet,
    "resnet_even": _resnet_even,
}
SmallZoo.kinds = ("input", "output", *SmallZoo.builders)
