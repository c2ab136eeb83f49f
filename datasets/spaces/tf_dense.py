"""Dense layers of "Predicting the Computational Cost of Deep Learning Models"
(Justus et al., IEEE Big Data 2018) for TensorFlow: the features of PerfNetRT's Table III with four activations, and
always with a bias, which their tables do not contain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from datasets.blocks.layers import ACT, ANY_ACT, BIAS, Feature, Values, Work
from datasets.networks.builder import NetworkBuilder
from datasets.spaces import dense


@dataclass(frozen=True)
class TfDense(dense.Dense):
    """All dense layers of Table III that have a bias, with tanh and sigmoid as activations too.

    Attributes:
        megabytes: limit on activations and weights alive at once (10^6 bytes, fp32).
        megamacs: limit on multiply-accumulates per run (10^6).
    """

    kind: ClassVar[str] = "tf_dense"
    features: ClassVar[tuple[Feature, ...]] = tuple(
        ANY_ACT if f is ACT else f for f in dense.Dense.features if f is not BIAS
    )

    def work(self, values: Values) -> Work:
        return super().work({**values, "bias": 1})

    def build(self, net: NetworkBuilder, values: Values) -> int:
        return super().build(net, {**values, "bias": 1})
