"""Recurrent layers: LSTM, GRU and plain ones, over a whole sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from datasets.blocks.layers import Feature
from datasets.blocks.operation_graph import OperationGraph
from datasets.blocks.operations import BATCH, Operation, choice, size

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@dataclass(frozen=True)
class Recurrent(Operation):
    """One layer over 1 to 512 steps of 1 to 64 sequences, with 1 to 2,048 inputs and hidden units, in one direction or
    in both.

    Its input is (steps, batch, in), the only form that ONNX files have in practice. The reset gate of GRUs is applied
    behind the product, as torch does.

    Attributes:
        megabytes: limit on activations and weights alive at once (10^6 bytes, fp32).
        megamacs: limit on multiply-accumulates per run (10^6).
    """

    kind: ClassVar[str] = "recurrent"
    features: ClassVar[tuple[Feature, ...]] = (
        BATCH, size("steps", 1, 512), size("in", 1, 2048, rounded=True), size("hidden", 1, 2048, rounded=True),
        choice("cell", "lstm", "gru", "rnn"), choice("direction", "forward", "bidirectional"))  # fmt: skip

    def write(self, graph: OperationGraph, values: dict[str, Any]) -> None:
        batch, steps, into, hidden = (values[name] for name in ("batch", "steps", "in", "hidden"))
        cell, ways = values["cell"].upper(), 1 + (values["direction"] == "bidirectional")
        rows = _GATES[cell] * hidden
        x, spread = graph.input(steps, batch, into), hidden**-0.5
        weights = [graph.weight(ways, rows, n, deviation=spread) for n in (into, hidden)]
        weights.append(graph.weight(ways, 2 * rows, deviation=spread))
        attrs: dict[str, Any] = {"hidden_size": hidden, "direction": values["direction"]}
        attrs |= {"linear_before_reset": 1} if cell == "GRU" else {}
        graph.add(cell, x, *weights, shape=(steps, ways, batch, hidden),
                  macs=steps * batch * ways * rows * (into + hidden), **attrs)  # fmt: skip
