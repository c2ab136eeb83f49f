"""Normalisation of tokens: layer norm and RMS norm, as one op and written out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from datasets.blocks.layers import Feature
from datasets.blocks.operation_graph import OperationGraph, Tensor
from datasets.blocks.operations import BATCH, Operation, choice, size


@dataclass(frozen=True)
class LayerNorm(Operation):
    """Normalisation of (batch, rows, channels) over the channels, with a factor and (layer norm) a summand per channel.

    `op` is ONNX's LayerNormalization or RMSNormalization (opset 23), `written` are the nodes that exporters write
    without these: means, a power, a root and a division. Rows are tokens, 1 to 4,096; channels are 8 to 8,192.

    Attributes:
        megabytes: limit on activations and weights alive at once (10^6 bytes, fp32).
        megamacs: limit on elements that nodes write per run (10^6).
    """

    kind: ClassVar[str] = "layer_norm"
    features: ClassVar[tuple[Feature, ...]] = (
        BATCH, size("rows", 1, 4096, rounded=True), size("channels", 8, 8192, rounded=True),
        choice("norm", "layer", "rms"), choice("form", "op", "written"))  # fmt: skip

    def write(self, graph: OperationGraph, values: dict[str, Any]) -> None:
        x = graph.input(*(values[name] for name in ("batch", "rows", "channels")))
        weights = [graph.weight(values["channels"], mean=1.0, deviation=0.1)]
        if values["norm"] == "layer":
            weights.append(graph.weight(values["channels"], deviation=0.1))
        if values["form"] == "op":
            kind = {"layer": "LayerNormalization", "rms": "RMSNormalization"}[values["norm"]]
            graph.add(kind, x, *weights, axis=-1, epsilon=1e-5)
        else:
            _written(graph, x, weights)


def _written(graph: OperationGraph, x: Tensor, weights: list[Tensor]) -> None:
    """Nodes of a layer norm, or of an RMS norm if there is one weight only."""

    def mean(y: Tensor) -> Tensor:
        shape = (*y.shape[:-1], 1)
        return graph.add("ReduceMean", y, graph.constant([-1], "int64"), shape=shape, keepdims=1)

    if len(weights) > 1:
        x = graph.add("Sub", x, mean(x))
    variance = mean(graph.add("Pow", x, graph.constant(2.0)))
    deviation = graph.add("Sqrt", graph.add("Add", variance, graph.constant(1e-5)))
    y = graph.add("Mul", graph.add("Div", x, deviation), weights[0])
    for shift in weights[1:]:
        graph.add("Add", y, shift)
