"""Dense layers with the features and ranges of PerfNetRT's Table III.

The layer is `tensorflow.layers.dense`'s. The ranges allow 4.29 * 10^9 layers; the paper says half as many.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from datasets.blocks.layers import ACT, BATCH, BIAS, Feature, LayerSpace, Values, Work, choices
from datasets.networks.builder import NetworkBuilder


@dataclass(frozen=True)
class Dense(LayerSpace):
    """All dense layers of Table III.

    Attributes:
        megabytes: limit on activations and weights alive at once (10^6 bytes, fp32).
        megamacs: limit on multiply-accumulates per run (10^6).
        widest: largest number of inputs, and of outputs; the paper's is 4,096.
    """

    widest: int = 4096

    kind: ClassVar[str] = "dense"
    features: ClassVar[tuple[Feature, ...]] = (
        BATCH, Feature("in", "dimension_input", 1, 4096, log=True),
        Feature("out", "dimension_output", 1, 4096, log=True), ACT, BIAS)  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.widest != Dense.widest:
            own = tuple(f._replace(high=self.widest) if f.name in ("in", "out") else f for f in self.features)
            for name, value in (("features", own), ("num_choices", choices(own))):
                object.__setattr__(self, name, value)

    def smaller(self) -> Self:
        found = super().smaller()
        return found if found == self else replace(found, widest=min(self.widest, Dense.widest))

    def work(self, values: Values) -> Work:
        macs = values["batch"] * values["in"] * values["out"]
        params = values["out"] * (values["in"] + values["bias"])
        return Work(values["batch"] * values["in"], values["batch"] * values["out"], params, macs, macs)

    def build(self, net: NetworkBuilder, values: Values) -> int:
        x = net.add("input", (values["in"],))
        return net.add("dense", (values["out"],), x, bias=values["bias"])
