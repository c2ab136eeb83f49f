"""Dense layers with the features and ranges of PerfNetRT's Table III.

The layer is `tensorflow.layers.dense`'s. The ranges allow 4.29 * 10^9 layers; the paper says half as many.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from datasets.blocks.layers import ACT, BATCH, BIAS, Feature, LayerSpace, Values, Work
from datasets.networks.builder import NetworkBuilder


@dataclass(frozen=True)
class Dense(LayerSpace):
    """All dense layers of Table III.

    Attributes:
        megabytes: limit on activations and weights alive at once (10^6 bytes, fp32).
        megamacs: limit on multiply-accumulates per run (10^6).
    """

    kind: ClassVar[str] = "dense"
    features: ClassVar[tuple[Feature, ...]] = (
        BATCH, Feature("in", "dimension_input", 1, 4096, log=True),
        Feature("out", "dimension_output", 1, 4096, log=True), ACT, BIAS)  # fmt: skip

    def work(self, values: Values) -> Work:
        macs = values["batch"] * values["in"] * values["out"]
        params = values["out"] * (values["in"] + values["bias"])
        return Work(values["batch"] * values["in"], values["batch"] * values["out"], params, macs, macs)

    def build(self, net: NetworkBuilder, values: Values) -> int:
        x = net.add("input", (values["in"],))
        return net.add("dense", (values["out"],), x, bias=values["bias"])
