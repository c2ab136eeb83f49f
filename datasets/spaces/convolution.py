"""Convolution layers with the features and ranges of PerfNetRT's Table I: 7.33 * 10^14 layers.

The layer is `tensorflow.layers.conv2d`'s: a square image, one kernel size and stride for both directions, padding valid
or same, optional bias and ReLU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from datasets.blocks.layers import ACT, BATCH, BIAS, CHANNELS, PAD, SIZE, STRIDE, Feature, Values, WindowLayer, Work
from datasets.networks.builder import NetworkBuilder


@dataclass(frozen=True)
class Convolution(WindowLayer):
    """All convolutions of Table I.

    Attributes:
        megabytes: limit on activations and weights alive at once (10^6 bytes, fp32).
        megamacs: limit on multiply-accumulates per run (10^6).
    """

    kind: ClassVar[str] = "convolution"
    features: ClassVar[tuple[Feature, ...]] = (
        BATCH, SIZE, Feature("kernel", "kernel_size", 1, 7), CHANNELS,
        Feature("out", "channel_output", 1, 9999, log=True), STRIDE, PAD, ACT, BIAS)  # fmt: skip

    def work(self, values: Values) -> Work:
        pixels = values["batch"] * self.side(values) ** 2
        kernel = values["in"] * values["kernel"] ** 2
        macs = pixels * values["out"] * kernel
        inputs = values["batch"] * values["in"] * values["size"] ** 2
        return Work(inputs, pixels * values["out"], values["out"] * (kernel + values["bias"]), macs, macs)

    def build(self, net: NetworkBuilder, values: Values) -> int:
        x = net.add("input", (values["in"], values["size"], values["size"]))
        kernel, stride, bias = values["kernel"], values["stride"], values["bias"]
        return net.conv(x, values["out"], kernel, stride, bias=bias, pad=self.pads(values))
