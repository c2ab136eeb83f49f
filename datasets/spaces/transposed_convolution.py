"""Transposed convolutions, by which decoders and generators enlarge images and sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from datasets.blocks.layers import Feature
from datasets.blocks.operation_graph import OperationGraph
from datasets.blocks.operations import BATCH, Operation, size
from datasets.blocks.windows import OF, PADDING, WITH_BIAS, biases, dimensions


@dataclass(frozen=True)
class TransposedConvolution(Operation):
    """Transposed convolutions of 1 to 64 images (size x size) or sequences (size) with 1 to 2,048 channels in and out.

    The size, 1 to 256, becomes stride * size with pad=same, or (size - 1) * stride + kernel with pad=valid. Kernels
    have 1 to 8 rows, strides are 1 to 4; half of the samples have kernels of 2, 3 or 4, and a stride of 2.

    Attributes:
        megabytes: limit on activations and weights alive at once (10^6 bytes, fp32).
        megamacs: limit on multiply-accumulates per run (10^6).
    """

    kind: ClassVar[str] = "transposed_convolution"
    features: ClassVar[tuple[Feature, ...]] = (
        BATCH, size("size", 1, 256), Feature("kernel", "kernel", 1, 8, common=(2, 3, 4)),
        size("in", 1, 2048, rounded=True), size("out", 1, 2048, rounded=True),
        Feature("stride", "stride", 1, 4, common=(2,)), PADDING, WITH_BIAS, OF)  # fmt: skip

    def write(self, graph: OperationGraph, values: dict[str, Any]) -> None:
        into, out, kernel, stride = (values[name] for name in ("in", "out", "kernel", "stride"))
        n, cropped, added = dimensions(values), 0, 0
        if values["pad"] == "same":
            cropped, added = np.maximum(kernel - stride, 0), np.maximum(stride - kernel, 0)
        x = graph.input(values["batch"], into, *[values["size"]] * n)
        weight = graph.weight(into, out, *[kernel] * n, deviation=(into * kernel**n) ** -0.5)
        side = (values["size"] - 1) * stride + kernel - cropped + added
        window: dict[str, Any] = {
            "kernel_shape": [kernel] * n,
            "strides": [stride] * n,
            "output_padding": [added] * n,
            "pads": [cropped // 2] * n + [cropped - cropped // 2] * n,
        }
        graph.add("ConvTranspose", x, weight, *biases(graph, out, values), macs=x.elements * out * kernel**n,
                  shape=(values["batch"], out, *[side] * n), **window)  # fmt: skip
