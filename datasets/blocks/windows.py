"""Windows that operations move over images and sequences: sizes of outputs, paddings, and features of both."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from datasets.blocks.layers import Feature
from datasets.blocks.operation_graph import OperationGraph, Size, Tensor
from datasets.blocks.operations import Operation, choice
from datasets.records import Architectures

OF = choice("of", "image", "sequence")
"""What the window moves over: (channels, size, size) or (channels, size)."""
PADDING = choice("pad", "valid", "same")
"""No padding, or that which gives size / stride outputs, rounded up, with an odd row of it at the end."""
WITH_BIAS = choice("bias", "0", "1")
KERNEL = Feature("kernel", "kernel", 1, 11, common=(3, 5, 7))
STRIDE = Feature("stride", "stride", 1, 4, common=(1, 1, 2))
DILATION = Feature("dilation", "dilation", 1, 4, common=(1,))


def dimensions(values: dict[str, Any]) -> int:
    """Number of dimensions that a window moves over."""
    return 2 if values["of"] == "image" else 1


def sweep(size: Size, extent: Size, stride: Size, padding: str) -> tuple[Size, Size, Size]:
    """A window's way over one dimension: number of outputs (0 if it does not fit in), padding before and after.

    Args:
        size: of the input.
        extent: of the window, dilation included.
        stride: of the window.
        padding: a word of `PADDING`.
    """
    if padding == "valid":
        return np.maximum((size - extent) // stride + 1, 0), 0, 0
    outputs = -(-size // stride)
    added = padding_rows(size, extent, stride)
    return outputs, added // 2, added - added // 2


def padding_rows(size: Size, extent: Size, stride: Size) -> Size:
    """Number of rows of the padding `same`."""
    return np.maximum((-(-size // stride) - 1) * stride + extent - size, 0)


def biases(graph: OperationGraph, channels: Size, values: dict[str, Any]) -> list[Tensor]:
    """The bias of a layer, if it has one."""
    return [graph.weight(channels, deviation=0.1)] if values["bias"] == "1" else []


def convolve(graph: OperationGraph, values: dict[str, Any], groups: Size, into: Size, out: Size) -> None:
    """Add an input and a convolution of `groups` groups of `into` channels in and `out` channels out each."""
    n, kernel, stride, dilation = dimensions(values), values["kernel"], values["stride"], values["dilation"]
    outputs, before, after = sweep(values["size"], (kernel - 1) * dilation + 1, stride, values["pad"])
    x = graph.input(values["batch"], groups * into, *[values["size"]] * n)
    weight = graph.weight(groups * out, into, *[kernel] * n, deviation=(into * kernel**n) ** -0.5)
    shape = (values["batch"], groups * out, *[outputs] * n)
    window: dict[str, Any] = {
        "kernel_shape": [kernel] * n,
        "strides": [stride] * n,
        "dilations": [dilation] * n,
        "pads": [before] * n + [after] * n,
        "group": groups,
    }
    macs = math.prod(shape) * into * kernel**n
    graph.add("Conv", x, weight, *biases(graph, groups * out, values), shape=shape, macs=macs, **window)


@dataclass(frozen=True)
class WindowOperation(Operation):
    """Convolutions with the features of this module.

    Attributes:
        megabytes: limit on activations and weights alive at once (10^6 bytes, fp32).
        megamacs: limit on multiply-accumulates per run (10^6).
    """

    def canonical(self, archs: Architectures) -> list[str]:
        """Keys with dilation=1 for kernels of 1, and pad=valid where pad=same adds no padding."""
        values, decisions = self.values(archs), archs.decisions.copy()
        extent = (values["kernel"] - 1) * values["dilation"] + 1
        decisions[values["kernel"] == 1, self.features.index(DILATION)] = 0
        decisions[padding_rows(values["size"], extent, values["stride"]) == 0, self.features.index(PADDING)] = 0
        return self.format(Architectures(self, decisions))
