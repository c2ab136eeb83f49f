"""The tensors of an ONNX graph: shapes, element types, and values of constants."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.files.reading import shortened
from datasets.networks.onnx_constants import Constants
from datasets.networks.onnx_counts import element_type
from datasets.networks.ops import BITS
from datasets.records import InputError

if TYPE_CHECKING:
    import onnx

_STRING = 8  # TensorProto's number of texts


@dataclass(frozen=True)
class Node:
    """A node of the file; missing optional inputs and outputs are ''."""

    kind: str
    inputs: list[str]
    outputs: list[str]
    attrs: dict[str, Any] = field(default_factory=dict)


class Tensors:
    """Tensors by name, and their shapes per sample.

    Args:
        constants: tensors that do not depend on the input.
        shapes: of all tensors, batch dimension included.
        uses: number of readers of each tensor.
        batch: first dimension of the input.
        opset: of the file.
        path: of the file, for messages.
        types: of all tensors, as far as known.

    Attributes:
        unbatched: inputs whose first dimension is not the batch.
    """

    def __init__(self, constants: Constants, shapes: dict[str, tuple[int, ...]], uses: Counter[str],
                 batch: int, opset: int, path: str, types: Mapping[str, onnx.TypeProto]) -> None:  # fmt: skip
        self.constants, self.shapes, self.uses = constants, shapes, uses
        self.batch, self.opset, self.path, self.types = batch, opset, path, types
        self.unbatched: set[str] = set()

    def full(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, batch dimension included."""
        if name not in self.shapes:
            raise InputError(
                f"The shape of '{shortened(name, 60)}' in {self.path} cannot be inferred; run the file through onnxsim "
                "or `python -m onnxruntime.tools.symbolic_shape_infer` first."
            )
        return self.shapes[name]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor without the batch. If the first dimension is not the batch, it is divided by it, or all
        elements are; a tensor that is `whole` keeps its full shape."""
        full = self.full(name) or (1,)
        if 0 in full:
            raise InputError(f"The tensor '{shortened(name, 60)}' of {self.path} has no elements; export it again.")
        if self.whole(name):
            return full
        if full[0] == self.batch:
            return full[1:] or (1,)
        return (full[0] // self.batch, *full[1:]) if full[0] % self.batch == 0 else (math.prod(full) // self.batch,)

    def whole(self, name: str) -> bool:
        """Whether a tensor belongs to a whole run, and has no equal parts per sample."""
        return name in self.unbatched or bool(math.prod(self.full(name)) % self.batch)

    def samples(self, name: str) -> int:
        """Divisor of the counts of a whole run for the op that computes a tensor: the batch, or 1 if `whole`."""
        return 1 if name and self.whole(name) else self.batch

    def element(self, name: str) -> str:
        """The element type of a tensor; float32 if unknown."""
        return self._type(name) or "float32"

    def bits(self, name: str) -> int:
        """Bits of one element of a tensor."""
        return BITS[self.element(name)]

    def _type(self, name: str) -> str:
        if name in self.constants.stored:
            return element_type(self.constants.stored[name].proto.data_type)
        return element_type(self.types[name].tensor_type.elem_type) if name in self.types else ""

    def number(self, name: str) -> str:
        """The element type of a tensor; raises `InputError` if its elements are texts."""
        if name in self.types and self.types[name].tensor_type.elem_type == _STRING:
            raise InputError(
                f"The tensor '{shortened(name, 60)}' of {self.path} holds texts; cut the part behind it out by "
                "onnx.utils.extract_model."
            )
        return self.element(name)

    def _constant(self, node: Node, index: int) -> np.ndarray | None:
        return self.constants.get(node.inputs[index]) if len(node.inputs) > index else None

    def _constants(self, node: Node) -> list[np.ndarray] | None:
        """Values of all inputs but the first; None if one is not a constant."""
        values = [self.constants.get(name) for name in node.inputs[1:] if name]
        return None if any(value is None for value in values) else values  # type: ignore[return-value]
