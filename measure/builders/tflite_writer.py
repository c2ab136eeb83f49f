"""The base of `tflite_graph`: nodes written so far, quantised tensors, and operators that several ops share."""

from __future__ import annotations

from typing import Any

import numpy as np

from datasets.networks.model import Weights
from datasets.networks.network import Network
from datasets.records import InputError, Op
from measure.builders.affine import Affine
from measure.builders.nhwc import LOWEST, constants, live_nodes, lowest_padded, merged_inputs, shape_nhwc, to_nhwc
from measure.builders.tflite_file import Tensor, TFLiteFile

FUSED = {None: 0, "relu": 1, "relu6": 3}
"""Codes of the activations that are fused into operators."""

Ranges = dict[int, tuple[np.ndarray, np.ndarray]]
"""Smallest and largest output per channel, by node."""


class Writer:
    """Writes one network, with a method `write_KIND` per kind of op.

    `values` are the tensors of the nodes written so far; `ranges` is None for fp32.
    """

    def __init__(self, network: Network, weights: Weights, batch: int, ranges: Ranges | None) -> None:
        self.network, self.weights, self.batch, self.ranges = network, weights, batch, ranges
        self.fixed = constants(network, weights, batch)
        self.ops, self.inputs = network.ops, merged_inputs(network, self.fixed)
        self.file = TFLiteFile()
        self.values: dict[int, Tensor] = {}
        self.live, self.lowest = live_nodes(self.inputs), lowest_padded(network)
        self.users: list[list[int]] = [[] for _ in network.ops]
        for target in self.live:
            for source in self.inputs[target]:
                self.users[source].append(target)

    def content(self) -> bytes:
        """Write all nodes, except those that were fused into an earlier operator, and return the bytes."""
        for node, op in enumerate(self.ops):
            if node in self.live and node not in self.values and node not in self.fixed:
                if op.kind == "input":
                    self.values[node] = self.output(node)
                else:
                    self.write(node, op)
        return self.file.content(self.values[0], self.values[len(self.ops) - 1])

    def write(self, node: int, op: Op) -> None:
        """Write one op, with the batch norm and the activation after it that are fused into its operator."""
        write = getattr(self, f"write_{op.kind}", None)
        if write is None:
            raise InputError(f"TFLite files are not written for the op '{op.kind}'; give the file itself to a backend.")
        chain = [node]
        if op.kind == "conv":
            self.take(chain, "bn")
        if op.kind in ("conv", "dense", "bn", "add", "mul"):
            self.take(chain, "relu", "relu6")
        y = write(chain, op, [self.operand(source) for source in self.inputs[node]])
        self.values.update(dict.fromkeys(chain, y))

    def take(self, chain: list[int], *kinds: str) -> None:
        """Extend a chain by the only user of its last node, if that is one of `kinds`."""
        users = self.users[chain[-1]]
        if len(users) == 1 and self.ops[users[0]].kind in kinds:
            chain.append(users[0])

    def activation(self, chain: list[int]) -> int:
        """Code of the activation at the end of a chain."""
        return FUSED.get(self.ops[chain[-1]].kind, 0)

    def version(self, fp32: int, int8: int) -> int:
        """The version of an operator, which is higher in int8 files."""
        return fp32 if self.ranges is None else int8

    def operand(self, node: int) -> Tensor:
        """The tensor of a constant node, or of one that was written before."""
        if node not in self.values:
            self.values[node] = self.constant(to_nhwc(self.fixed[node]))
        return self.values[node]

    def output(self, node: int, affine: Affine | None = None) -> Tensor:
        """A new tensor for a node's output, quantised by its own range unless `affine` is given."""
        if self.ranges is not None and affine is None:
            low, high = self.ranges[node]
            affine = Affine.of_range(low.min(), high.max())
        return self.like(shape_nhwc(self.ops[node], self.batch), affine)

    def like(self, shape: tuple[int, ...], affine: Affine | None) -> Tensor:
        """A new tensor, quantised only in an int8 file."""
        return self.file.activation(shape, None if self.ranges is None else affine)

    def constant(self, value: np.ndarray) -> Tensor:
        """Add real constants, quantised in an int8 file."""
        value = np.asarray(value, np.float32)
        return self.file.constant(value, None if self.ranges is None else Affine.of_range(value.min(), value.max()))

    def integers(self, *values: Any) -> Tensor:
        """Add integer constants, such as the shapes of operators."""
        return self.file.constant(np.array(values, np.int32))

    def binary(self, name: str, a: Tensor, b: Tensor, y: Tensor, activation: int = 0) -> Tensor:
        """Add an ADD or MUL, which broadcasts the smaller operand."""
        kind, version = name.capitalize(), self.version(1, 2)
        return self.file.operator(name, [a, b], y, version, kind, fusedActivationFunction=activation)

    def weighted(
        self, name: str, x: Tensor, weight: np.ndarray, axis: int, bias: np.ndarray, chain: list[int], version: int,
        kind: str, **options: int,
    ) -> Tensor:  # fmt: skip
        """Add an operator with a weight, output channels along `axis`, and a bias."""
        if x.affine is None:
            constants = [self.file.constant(weight), self.file.constant(bias)]
        else:
            tensor, scales = self.file.weight(weight, axis)
            constants = [tensor, self.file.bias(bias, x.affine.scale * scales)]
        options["fusedActivationFunction"] = self.activation(chain)
        return self.file.operator(name, [x, *constants], self.output(chain[-1]), version, kind, **options)

    def sliced(self, x: Tensor, begin: tuple[int, ...], size: tuple[int, ...]) -> Tensor:
        operands = [x, self.integers(*begin), self.integers(*size)]
        return self.file.operator("SLICE", operands, self.like(size, x.affine), self.version(1, 2), "Slice")

    def padded(self, x: Tensor, sides: tuple[int, int, int, int], lowest: bool = False) -> Tensor:
        """Pad the image with zeros, or with the lowest number."""
        if not any(sides):
            return x
        top, left, bottom, right = sides
        n, height, width, channels = x.shape
        y = self.like((n, height + top + bottom, width + left + right, channels), x.affine)
        table = self.integers([0, 0], [top, bottom], [left, right], [0, 0])
        if lowest:
            least = LOWEST if x.affine is None else x.affine.dequantise(np.int8(-128))
            value = self.file.constant(np.array([least], np.float32), x.affine)
            return self.file.operator("PADV2", [x, table, value], y, self.version(1, 2), "PadV2")
        return self.file.operator("PAD", [x, table], y, self.version(1, 2), "Pad")

    def requantised(self, x: Tensor, affine: Affine | None) -> Tensor:
        """The tensor with another quantisation."""
        return self.file.operator("QUANTIZE", [x], self.like(x.shape, affine), 2, "Quantize")

    def reshaped(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The tensor in another shape."""
        y = self.like(shape, x.affine)
        return self.file.operator("RESHAPE", [x, self.integers(*shape)], y, 1, "Reshape", newShape=list(shape))
