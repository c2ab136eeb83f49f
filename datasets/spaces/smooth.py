"""Smooth activations, which take tens of instructions per element."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from datasets.blocks.layers import Feature
from datasets.blocks.operation_graph import OperationGraph, Tensor
from datasets.blocks.operations import BATCH, Operation, choice, size

OPS: dict[str, tuple[str, dict[str, Any]]] = {
    "gelu": ("Gelu", {}), "gelu_tanh": ("Gelu", {"approximate": "tanh"}), "mish": ("Mish", {}),
    "sigmoid": ("Sigmoid", {}), "tanh": ("Tanh", {}), "exp": ("Exp", {}), "erf": ("Erf", {}), "elu": ("Elu", {}),
    "softplus": ("Softplus", {}),
}  # fmt: skip
"""Functions that are one op of ONNX, with its attributes."""


def _gelu_erf(graph: OperationGraph, x: Tensor) -> None:
    """x * (1 + erf(x / sqrt 2)) / 2."""
    y = graph.add("Erf", graph.add("Div", x, graph.constant(math.sqrt(2))))
    y = graph.add("Mul", x, graph.add("Add", y, graph.constant(1.0)))
    graph.add("Mul", y, graph.constant(0.5))


def _gelu_cubic(graph: OperationGraph, x: Tensor) -> None:
    """x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2."""
    y = graph.add("Mul", graph.add("Pow", x, graph.constant(3.0)), graph.constant(0.044715))
    y = graph.add("Mul", graph.add("Add", x, y), graph.constant(math.sqrt(2 / math.pi)))
    y = graph.add("Add", graph.add("Tanh", y), graph.constant(1.0))
    graph.add("Mul", graph.add("Mul", x, graph.constant(0.5)), y)


def _silu(graph: OperationGraph, x: Tensor) -> None:
    """x * sigmoid(x), which the reader of files takes as one op."""
    graph.gate(x, graph.add("Sigmoid", x))


def _mish(graph: OperationGraph, x: Tensor) -> None:
    """x * tanh(softplus(x))."""
    graph.add("Mul", x, graph.add("Tanh", graph.add("Softplus", x)))


def _square(graph: OperationGraph, x: Tensor) -> None:
    """x^2."""
    graph.add("Pow", x, graph.constant(2.0))


WRITTEN = {"gelu_erf": _gelu_erf, "gelu_cubic": _gelu_cubic, "silu": _silu, "mish_written": _mish, "square": _square}
"""Functions that are written out."""


@dataclass(frozen=True)
class Smooth(Operation):
    """Activations of (batch, rows, channels): exponentials, error functions and what is made of them.

    `gelu` and `gelu_tanh` are ONNX's Gelu, `gelu_erf` and `gelu_cubic` the nodes that exporters write instead; `silu`
    and `mish_written` are products; `square` is a power. Rows are 1 to 4,096, channels 8 to 8,192.

    Attributes:
        megabytes: limit on activations alive at once (10^6 bytes, fp32).
        megamacs: limit on elements that nodes write per run (10^6).
    """

    kind: ClassVar[str] = "smooth"
    features: ClassVar[tuple[Feature, ...]] = (
        BATCH, size("rows", 1, 4096, rounded=True), size("channels", 8, 8192, rounded=True),
        choice("function", *OPS, *WRITTEN))  # fmt: skip

    def write(self, graph: OperationGraph, values: dict[str, Any]) -> None:
        x = graph.input(*(values[name] for name in ("batch", "rows", "channels")))
        if (name := values["function"]) in OPS:
            kind, attrs = OPS[name]
            graph.add(kind, x, **attrs)
        else:
            WRITTEN[name](graph, x)
