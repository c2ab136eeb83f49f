"""TFLite files made by hand: any number of inputs, outputs and subgraphs, of any element type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from measure.builders.tflite_file import Tensor, TFLiteFile


class TFLiteMaker(TFLiteFile):
    """Collects subgraph after subgraph: make tensors and operators, then call `end`; the first one is the network."""

    def __init__(self) -> None:
        super().__init__()
        self.graphs: list[schema.SubGraphT] = []

    def tensor(
        self, shape: tuple[int, ...], dtype: str = "FLOAT32", name: str = "", signature: tuple[int, ...] = ()
    ) -> Tensor:
        """A tensor that is computed, or comes in."""
        made = self.activation(shape)
        raw = self.tensors[made.index]
        raw.type, raw.name = getattr(schema.TensorType, dtype), name or raw.name
        raw.shapeSignature = list(signature) or None
        return made

    def stored(self, value: Any, dtype: str = "") -> Tensor:
        """A constant of any type."""
        value = np.ascontiguousarray(value)
        made = self.constant(np.frombuffer(value.tobytes(), np.int8))
        raw = self.tensors[made.index]
        raw.shape, raw.type = list(value.shape), getattr(schema.TensorType, dtype or value.dtype.name.upper())
        return Tensor(made.index, value.shape)

    def op(self, name: str, inputs: Sequence[Tensor], *outputs: Tensor, kind: str = "", **options: Any) -> Tensor:
        """An operator; `kind` is the name of its options without `Options`. Returns its first output."""
        self.operator(name, inputs, outputs[0], 1, kind, **options)
        self.operators[-1].outputs = [tensor.index for tensor in outputs]
        return outputs[0]

    def custom(self, name: str, inputs: Sequence[Tensor], *outputs: Tensor) -> Tensor:
        """An operator of nobody's but its author's."""
        self.codes.setdefault(("CUSTOM", name), len(self.codes))  # type: ignore[arg-type]
        found = self.op("CUSTOM", inputs, *outputs)
        self.operators[-1].opcodeIndex = self.codes["CUSTOM", name]  # type: ignore[index]
        return found

    def end(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        """End a subgraph."""
        ends = [[tensor.index for tensor in side] for side in (inputs, outputs)]
        self.graphs.append(schema.SubGraphT(self.tensors, *ends, self.operators, f"graph{len(self.graphs)}"))
        self.tensors, self.operators = [], []

    def bytes(self) -> bytes:
        """The file."""
        codes = []
        for name, more in self.codes:
            code = getattr(schema.BuiltinOperator, name)
            made = schema.OperatorCodeT(min(code, 127), version=1, builtinCode=code)
            made.customCode = more if isinstance(more, str) else None
            codes.append(made)
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(schema.ModelT(3, codes, self.graphs, "by hand", self.buffers).Pack(builder), b"TFL3")
        return bytes(builder.Output())


def looping(trips: int = 7) -> bytes:
    """A file with all kinds of control flow: a product that runs `trips` times, then a branch that the input picks."""
    made, matrix = TFLiteMaker(), np.ones((4, 4), np.float32)
    x, pick, count = made.tensor((1, 4)), made.tensor((1,), "BOOL", "pick"), made.stored(np.int32(0))
    counted, looped = made.tensor((), "INT32"), made.tensor((1, 4))
    made.op("WHILE", [count, x], counted, looped, kind="While", condSubgraphIndex=1, bodySubgraphIndex=2)
    y = made.op("IF", [pick, looped], made.tensor((1, 4)), kind="If", thenSubgraphIndex=3, elseSubgraphIndex=4)
    made.end([x, pick], [y])
    i, x = made.tensor((), "INT32"), made.tensor((1, 4))
    made.end([i, x], [made.op("LESS", [i, made.stored(np.int32(trips))], made.tensor((), "BOOL"), kind="Less")])
    i, x = made.tensor((), "INT32"), made.tensor((1, 4))
    more = made.op("ADD", [i, made.stored(np.int32(1))], made.tensor((), "INT32"), kind="Add")
    product = made.op("FULLY_CONNECTED", [x, made.stored(matrix)], made.tensor((1, 4)), kind="FullyConnected")
    made.end([i, x], [more, product])
    x = made.tensor((1, 4))
    made.end([x], [made.op("RELU", [x], made.tensor((1, 4)))])
    x = made.tensor((1, 4))
    product = made.op("FULLY_CONNECTED", [x, made.stored(2 * matrix)], made.tensor((1, 4)), kind="FullyConnected")
    made.end([x], [product])
    return made.bytes()
