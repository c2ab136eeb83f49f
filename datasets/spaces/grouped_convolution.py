"""Convolutions in groups of several channels, as in ResNeXt, RegNet and ShuffleNet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from datasets.blocks.layers import Feature
from datasets.blocks.operation_graph import OperationGraph
from datasets.blocks.operations import BATCH, size
from datasets.blocks.windows import DILATION, KERNEL, OF, PADDING, STRIDE, WITH_BIAS, WindowOperation, convolve


@dataclass(frozen=True)
class GroupedConvolution(WindowOperation):
    """Convolutions of 1 to 64 images (size x size) or sequences (size) in 2 to 128 groups of 1 to 512 channels `in` and
    `out` each, with a size of 1 to 512.

    Kernels have 1 to 11 rows, strides and dilations are 1 to 4; half of the samples have kernels of 3, 5 or 7, strides
    of 1 or 2, and no dilation.

    Attributes:
        megabytes: limit on activations and weights alive at once (10^6 bytes, fp32).
        megamacs: limit on multiply-accumulates per run (10^6).
    """

    kind: ClassVar[str] = "grouped_convolution"
    features: ClassVar[tuple[Feature, ...]] = (
        BATCH, size("size", 1, 512), KERNEL, size("groups", 2, 128), size("in", 1, 512, rounded=True),
        size("out", 1, 512, rounded=True), STRIDE, DILATION, PADDING, WITH_BIAS, OF)  # fmt: skip

    def write(self, graph: OperationGraph, values: dict[str, Any]) -> None:
        convolve(graph, values, values["groups"], values["in"], values["out"])
