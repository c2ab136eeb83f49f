"""Tensors of an ONNX graph that do not depend on its input; they are read or computed only when needed.

A file of 200 bytes may contain the numbers from 1 to 10^9, squared. So the size of every tensor is derived from shapes
before it is computed; a tensor that would be too large, or needs an unknown operator, has no value and is counted by
its shape.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datasets.files.reading import shortened
from datasets.records import InputError

if TYPE_CHECKING:
    import onnx

MOST_ELEMENTS = 2**22
"""Largest number of elements of a tensor that is computed, unless it reads a tensor of the file of that size."""
MOST_COMPUTED = 2**24
"""Largest number of elements read and computed per network, in addition to the number of elements in its file."""
_SMALL = 1024  # elements that an op may read and write without being counted: shapes are computed of such
MOST_CONSTANT = 2**26
"""A constant that is computed and has more elements is refused, unless a tensor of the file has as many: a runtime
would hold all of it, 256 MiB in fp32."""

_FOLDED = """
Constant ConstantOfShape Shape Size Identity Cast Reshape Flatten Squeeze Unsqueeze Transpose Concat Split Slice Gather
Expand Tile Range NonZero Where Equal Greater Less GreaterOrEqual LessOrEqual Not And Or Xor Add Sub Mul Div Mod Neg Abs
Sign Floor Ceil Round Sqrt Reciprocal Exp Log Pow Min Max Sum Sin Cos Relu Clip ReduceSum ReduceProd ReduceMax ReduceMin
ReduceMean Pad Trilu CumSum OneHot QuantizeLinear DequantizeLinear BatchNormalization"""
FOLDED = frozenset(_FOLDED.split())
"""Operators that are computed; the time of each is proportional to the elements that it reads and writes."""


@dataclass(frozen=True)
class Stored:
    """A tensor whose numbers are in the file, or in one beside it.

    Attributes:
        proto: the tensor, numbers included unless `file` holds them.
        shape: its dimensions.
        file: with its numbers; None if `proto` holds them.
        offset, length: position and size of the numbers in that file, in bytes.
    """

    proto: onnx.TensorProto
    shape: tuple[int, ...]
    file: Path | None = None
    offset: int = 0
    length: int = 0

    def read(self) -> np.ndarray | None:
        """The numbers, mapped rather than copied if the file has numpy's layout; None for a tensor of texts.

        Raises:
            InputError: their number does not fit the shape.
        """
        from onnx import TensorProto, helper, numpy_helper

        if self.proto.data_type == TensorProto.STRING:
            return None
        try:
            dtype = helper.tensor_dtype_to_np_dtype(self.proto.data_type)
            if self.file is None:
                return numpy_helper.to_array(self.proto)
            if not self.length:
                return np.zeros(self.shape, dtype)
            content = np.memmap(self.file, np.uint8, "r", self.offset, (self.length,))
            if dtype.itemsize * math.prod(self.shape) == self.length:
                return content.view(dtype).reshape(self.shape)
            packed = TensorProto(data_type=self.proto.data_type, dims=self.shape, raw_data=content.tobytes())
            return numpy_helper.to_array(packed)
        except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
            raise InputError(
                f"The tensor '{shortened(self.proto.name, 60)}' does not have the numbers that its shape requires; "
                "export the file again."
            ) from error


class Constants:
    """The constants of one network by name.

    Args:
        stored: constants of the file.
        opset_imports: of the file.
    """

    def __init__(self, stored: dict[str, Stored], opset_imports: Iterable[onnx.OperatorSetIdProto]) -> None:
        self.stored, self.imports = stored, list(opset_imports)
        self.shapes = {name: tensor.shape for name, tensor in stored.items()}
        self.floating = {name for name, tensor in stored.items() if tensor.proto.data_type in _FLOATS}
        self.computed: dict[str, onnx.NodeProto] = {}
        self.values: dict[str, np.ndarray | None] = {}
        self.largest = max([MOST_CONSTANT, *map(math.prod, self.shapes.values())])
        self.left = MOST_COMPUTED + sum(map(math.prod, self.shapes.values()))

    def __contains__(self, name: object) -> bool:
        return name in self.shapes

    def add(self, node: onnx.NodeProto, types: dict[str, onnx.TypeProto], shapes: dict[str, tuple[int, ...]]) -> None:
        """Add the outputs of a node that reads only constants."""
        for name in node.output:
            if name:
                self.shapes[name], self.computed[name] = shapes[name], node
                if types[name].tensor_type.elem_type in _FLOATS:
                    self.floating.add(name)

    def add_value(self, name: str, value: np.ndarray) -> None:
        """Add a constant by its value, for example the shape of a tensor."""
        self.shapes[name], self.values[name] = value.shape, value

    def alias(self, new: str, old: str) -> None:
        """Add another name for a constant."""
        self.shapes[new], self.values[new] = self.shapes[old], self.get(old)
        if old in self.floating:
            self.floating.add(new)

    def size(self, name: str) -> int:
        """Number of elements of a constant."""
        return math.prod(self.shapes[name])

    def get(self, name: str) -> np.ndarray | None:
        """The value of a constant; None if it is unknown, or there is no constant of that name."""
        waiting = [name] if name in self.shapes else []
        while waiting:  # no recursion: a chain may be as long as the file
            last = waiting[-1]
            if last in self.values:
                waiting.pop()
            elif last in self.stored:
                self.values[last] = self.stored[last].read()
            elif not self._affordable(last):
                self.values[last] = None
            else:
                node = self.computed[last]
                missing = [n for n in node.input if n and n not in self.values]
                waiting += missing
                if not missing:
                    found = self.compute(node)
                    for output in filter(None, node.output):
                        value = found.get(output)
                        fits = value is not None and value.shape == self.shapes[output]
                        self.values[output] = value if fits else None
        return self.values.get(name)

    def _affordable(self, name: str) -> bool:
        """Whether computing a tensor stays within the limits; if so its elements are subtracted from those left."""
        node = self.computed[name]
        if node.op_type not in FOLDED or node.domain not in ("", "ai.onnx"):
            return False
        read = [n for n in node.input if n]
        written = [self.size(n) for n in node.output if n]
        if max(written) > max([MOST_ELEMENTS, *(self.size(n) for n in read if n in self.stored)]):
            return False
        moved = sum(map(self.size, read)) + sum(written)
        if moved <= _SMALL:
            return True
        if all(n in self.values for n in read):
            self.left -= moved
        return self.left >= 0

    def compute(self, node: onnx.NodeProto) -> dict[str, np.ndarray]:
        """The outputs of a node by name; none if an input is unknown or they cannot be computed."""
        from onnx import helper, reference

        names, outputs = list(dict.fromkeys(n for n in node.input if n)), [n for n in node.output if n]
        known = {name: value for name in names if (value := self.values.get(name)) is not None}
        if len(known) < len(names):
            return {}
        ends = [helper.make_value_info(name, type_of(value)) for name, value in known.items()]
        graph = helper.make_graph([node], "constants", ends, [helper.make_empty_tensor_value_info(n) for n in outputs])
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
                model = helper.make_model(graph, opset_imports=self.imports)
                results = [np.asarray(value) for value in reference.ReferenceEvaluator(model).run(None, known)]
        except Exception:  # from onnx's own numpy code
            return {}
        return {name: value for name, value in zip(outputs, results, strict=True) if value.dtype != object}


def stored_tensor(proto: onnx.TensorProto, path: Path) -> Stored:
    """A tensor of the file at `path`, whose size is checked; nothing is read from other files.

    Raises:
        InputError: its shape, type or length is wrong, or its numbers would be outside of the file's folder, not in a
            regular file, or beyond the end of one.
    """
    from onnx import TensorProto, helper

    name, shape = shortened(proto.name, 60), tuple(proto.dims)
    if any(side < 0 for side in shape):
        raise InputError(f"The tensor '{name}' of {path} has a negative size; export the file again.")
    external = proto.data_location == TensorProto.EXTERNAL
    try:
        wide = helper.tensor_dtype_to_np_dtype(proto.data_type).itemsize * 8
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"The tensor '{name}' of {path} has numbers of an unknown type ({proto.data_type}); export the file again."
        ) from None
    bits = _BITS.get(TensorProto.DataType.Name(proto.data_type), wide)
    needed = -(-math.prod(shape) * bits // 8)
    if not external:
        if (proto.HasField("raw_data") and len(proto.raw_data) != needed) or needed > 8 * 2**27:
            raise InputError(
                f"The tensor '{name}' of {path} needs {needed:,} bytes and has {len(proto.raw_data):,}; export the "
                "file again."
            )
        return Stored(proto, shape)
    entries = {entry.key: entry.value for entry in proto.external_data}
    location = shortened(entries.get("location", ""), 60)
    try:
        file = _beside(path, entries.get("location", ""))
        size, offset = file.stat().st_size, int(entries.get("offset") or 0)
        length = int(entries.get("length") or min(needed, size - offset))
        if min(offset, length) < 0 or offset + length > size or length != needed:
            raise ValueError
    except (OSError, ValueError) as error:
        raise InputError(
            f"The weights '{name}' of {path} cannot be read from {location}; copy or export them again."
        ) from error
    return Stored(proto, shape, file, offset, length)


def _beside(path: Path, location: str) -> Path:
    """The path of a regular file at a location relative to `path`; raises a ValueError or OSError for other ones.

    The file must be in the folder of `path`, in that of the file that `path` links to, or in a folder `blobs` beside
    the folder `snapshots` around `path`, where model hubs store files that several versions share."""
    file = (path.parent / location).resolve(strict=True)
    named = path.parent.resolve()
    folders = [named, path.resolve().parent]
    folders += [up.parent / "blobs" for up in named.parents if up.name == "snapshots"][:1]
    parts = Path(location).parts
    if not location or ".." in parts or Path(location).is_absolute() or not any(map(file.is_relative_to, folders)):
        raise ValueError
    if not file.is_file():
        raise ValueError
    return file


def type_of(value: np.ndarray) -> onnx.TypeProto:
    """Type and shape of an array."""
    from onnx import helper

    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)


_FLOATS = (1, 10, 11, 16, *range(17, 21), 23, 24, 27, 28)  # TensorProto's numbers of floating types
_BITS = {"UINT4": 4, "INT4": 4, "FLOAT4E2M1": 4, "UINT2": 2, "INT2": 2, "FLOAT6E2M3": 6, "FLOAT6E3M2": 6}
