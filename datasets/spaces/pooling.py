"""Pooling layers with the features and ranges of PerfNetRT's Table II.

The layer is `tensorflow.layers.max_pooling2d`'s, followed by the ReLU that is a feature of the table. The ranges
allow 3.67 * 10^10 layers; the paper says twice as many.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from datasets.blocks.layers import ACT, BATCH, CHANNELS, PAD, SIZE, STRIDE, Feature, Values, WindowLayer, Work
from datasets.networks.builder import NetworkBuilder


@dataclass(frozen=True)
class Pooling(WindowLayer):
    """All max-pooling layers of Table II.

    Attributes:
        megabytes: limit on activations alive at once (10^6 bytes, fp32).
        megamacs: limit on elements under a window per run (10^6).
    """

    kind: ClassVar[str] = "pooling"
    features: ClassVar[tuple[Feature, ...]] = (
        BATCH, SIZE, Feature("kernel", "pooling_size", 1, 7), CHANNELS, STRIDE, PAD, ACT)  # fmt: skip

    def work(self, values: Values) -> Work:
        images = values["batch"] * values["in"]
        outputs = images * self.side(values) ** 2
        none = np.zeros_like(outputs)
        return Work(images * values["size"] ** 2, outputs, none, none, outputs * values["kernel"] ** 2)

    def build(self, net: NetworkBuilder, values: Values) -> int:
        x = net.add("input", (values["in"], values["size"], values["size"]))
        return net.pool("max_pool", x, values["kernel"], values["stride"], self.pads(values))
