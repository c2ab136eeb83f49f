"""Nodes of ONNX graphs as ops of the vocabulary with exactly equal results.

Several nodes may become one op: a product and a sum with constants become a dense layer with bias, x * sigmoid(x)
becomes a silu, and a reshape that flattens the input of a dense layer disappears.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from datasets.networks.onnx_counts import held, held_by
from datasets.networks.onnx_graph import Graph, Node
from datasets.networks.ops import BN_EPSILON, window
from datasets.records import InputError, Op

_FLOATS = (1, 10, 11, 16)  # TensorProto's numbers of float, float16, double, bfloat16
_LARGEST = 2**20  # kernel, stride, dilation, padding or groups
_ACTIVATIONS = {"": "", "Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh"}
_GATED = {"sigmoid": "silu", "hsigmoid": "hswish"}


class Reader(Graph):
    """One method per kind of node, which adds the equivalent op and returns its index, or None if there is none."""

    def _read_conv(self, node: Node) -> int | None:
        x, constants = self._image(node), self._constants(node)
        if x is None or constants is None:
            return None
        weights = dict(zip(("weight", "bias"), constants, strict=False))
        groups, bias = node.attrs.get("group", 1), int("bias" in weights)
        return self._windowed("conv", node, x, weights["weight"].shape[2:], weights, groups=groups, bias=bias)

    def _read_fusedconv(self, node: Node) -> int | None:
        """A convolution, a sum with a fourth input, and an activation, which runtimes fuse again."""
        kind = _ACTIVATIONS.get(node.attrs.get("activation", ""))
        added = self.nodes.get(node.inputs[3]) if len(node.inputs) > 3 else None
        if kind is None or (len(node.inputs) > 3 and added is None):
            return None
        x = self._read_conv(replace(node, inputs=node.inputs[:3]))
        if x is None or (added is not None and self.net.shape(added) != self.net.shape(x)):
            return None
        self.held[x] = held_by(node, self)
        x = x if added is None else self._pointwise("add", x, added)
        return self._pointwise(kind, x) if kind else x

    def _read_maxpool(self, node: Node) -> int | None:
        x = self._image(node)
        indices = any(self.uses[name] for name in node.outputs[1:])
        return None if x is None or indices else self._windowed("max_pool", node, x, node.attrs["kernel_shape"])

    def _read_averagepool(self, node: Node) -> int | None:
        x = self._image(node)
        if x is None or set(node.attrs.get("dilations", [1])) != {1}:
            return None
        return self._windowed("avg_pool", node, x, node.attrs["kernel_shape"])

    def _windowed(
        self,
        kind: str,
        node: Node,
        x: int,
        kernel: Sequence[int],
        weights: dict[str, np.ndarray] | None = None,
        **attrs: Any,
    ) -> int | None:
        """An op with a kernel; output sides that are rounded up need a padding at the bottom and on the right."""
        sides, out = self.net.shape(x)[1:], self.shape(node.outputs[0])
        strides, dilations = (list(node.attrs.get(name, [1, 1])) for name in ("strides", "dilations"))
        if {len(kernel), len(strides), len(dilations)} != {2} or len(node.attrs.get("pads", [0] * 4)) != 4:
            raise InputError(f"A {kind} in {self.path} does not have two sides as its image has; export it again.")
        numbers = (*kernel, *strides, *dilations, attrs.get("groups", 1))
        if min(numbers) < 1:
            raise InputError(f"A {kind} in {self.path} has a kernel, stride, dilation or groups of 0; export it again.")
        if max(*numbers, *map(abs, node.attrs.get("pads", [0]))) > _LARGEST:
            raise InputError(f"A {kind} in {self.path} has a size above {_LARGEST:,}; export it again.")
        automatic = node.attrs.get("auto_pad", "NOTSET")
        declared = list(node.attrs.get("pads", [0] * 4)) if automatic == "NOTSET" else [0] * 4
        pad = list(declared)
        for i, (side, k, s, d) in enumerate(zip(sides, kernel, strides, dilations, strict=True)):
            missing = max((out[i + 1] - 1) * s + (k - 1) * d + 1 - side - declared[i] - declared[i + 2], 0)
            first = {"SAME_UPPER": missing // 2, "SAME_LOWER": -(-missing // 2)}.get(automatic, 0)
            pad[i], pad[i + 2] = declared[i] + first, declared[i + 2] + missing - first
        attrs |= {"kernel": _collapsed(kernel), "stride": _collapsed(strides), "pad": _collapsed(pad)}
        attrs |= {"dilation": _collapsed(dilations)} if set(dilations) != {1} else {}
        if node.attrs.get("count_include_pad") and any(pad):
            rounded_up = automatic == "NOTSET" and pad != declared
            if rounded_up and any(declared):
                return None  # the average includes the declared padding, but not that from rounding up
            attrs |= {} if rounded_up else {"include_pad": 1}
        same = window(Op(kind, attrs), self.net.shape(x)) == out[1:]
        return self._put(kind, out, [x], weights, **attrs) if same else None

    def _read_gemm(self, node: Node) -> int | None:
        constants, a = self._constants(node), node.attrs
        name = node.inputs[0]
        rows = name in self.nodes and len(self.full(name)) == 2 and self.full(name)[0] == self.batch
        if constants is None or not rows or a.get("transA"):
            return None
        weight, alpha = constants[0] if a.get("transB") else constants[0].T, a.get("alpha", 1.0)
        weights = {"weight": weight if alpha == 1 else alpha * weight}  # a product is a copy, maybe of a gigabyte
        if len(constants) > 1:
            bias = constants[1]
            if bias.size not in (1, len(weight)) or bias.shape[-1:] not in ((), (1,), (len(weight),)):
                return None
            weights["bias"] = np.broadcast_to(a.get("beta", 1.0) * bias.reshape(-1), weight.shape[:1])
        return self._put("dense", weight.shape[:1], [self.nodes[name]], weights, bias=int(len(constants) > 1))

    def _read_matmul(self, node: Node) -> int | None:
        weight = self._constant(node, 1)
        return self._read_gemm(node) if weight is not None and weight.ndim == 2 else None

    def _read_batchnormalization(self, node: Node) -> int | None:
        x, constants = self._image(node), self._constants(node)
        if x is None or constants is None or node.attrs.get("training_mode"):
            return None
        if any(value.size != self.net.shape(x)[0] for value in constants):
            raise InputError(f"The weights of a bn in {self.path} do not fit its input; export it again.")
        scale, shift, mean, var = (value.astype(np.float64) for value in constants)
        var = var + (node.attrs.get("epsilon", 1e-5) - BN_EPSILON)
        return self._put("bn", self.net.shape(x), [x], {"scale": scale, "shift": shift, "mean": mean, "var": var})

    def _read_add(self, node: Node) -> int | None:
        for name, other in (node.inputs, node.inputs[::-1]):
            if other in self.constants:
                value = self.constants.get(other)
                return None if value is None else self._add_constant(node, name, other, value)
        xs = self._images(node)
        same = xs and len({self.net.shape(x) for x in xs}) == 1
        return self._pointwise("add", *xs) if xs and same else None

    def _add_constant(self, node: Node, name: str, other: str, value: np.ndarray) -> int | None:
        """The input itself if the constant is one zero, the bias of a layer without one before it, else None."""
        x, shape = self.nodes[name], self.shape(node.outputs[0])
        if self.full(node.outputs[0]) != self.full(name):
            return None
        if value.size == 1 and not value.any():
            return x
        op = self.net.ops[x]
        channel = (shape[0], *[1] * (len(shape) - 1))
        per_channel = value.shape[-len(shape):] == channel and value.size == shape[0]  # fmt: skip
        if op.kind not in ("conv", "dense") or op.attrs["bias"] or not per_channel or not self._only(x, name):
            return None
        self.net.ops[x] = replace(op, attrs={**op.attrs, "bias": 1})
        self.weights[x]["bias"] = value.reshape(-1).astype(np.float32)
        self.held[x].append(held(other, self))
        return x

    def _read_sum(self, node: Node) -> int | None:
        """A sum of two at a time."""
        xs = self._images(node)
        if xs is None or len({self.net.shape(x) for x in xs}) > 1:
            return None
        total, *others = xs
        for x in others:
            total = self._pointwise("add", total, x)
        return total

    def _read_mul(self, node: Node) -> int | None:
        xs = self._images(node)
        if xs is None:
            return None
        for (x, gate), name in ((xs, node.inputs[1]), (xs[::-1], node.inputs[0])):
            kind = _GATED.get(self.net.ops[gate].kind)
            if kind and self.sources[gate] == (x,) and self._only(gate, name):
                return self._pointwise(kind, x)
        for x, y in (xs, xs[::-1]):
            shape = self.net.shape(x)
            if self.net.shape(y) in (shape, (shape[0], 1, 1)) and self.shape(node.outputs[0]) == shape:
                return self._pointwise("mul", x, y)
        return None

    def _read_concat(self, node: Node) -> int | None:
        xs, rank = self._images(node), len(self.full(node.outputs[0]))
        same_rank = xs and rank in (2, 4) and {len(self.net.shape(x)) for x in xs} == {rank - 1}
        if xs is None or not same_rank or node.attrs.get("axis", 1) % rank != 1:
            return None
        return self._put("concat", self.shape(node.outputs[0]), xs)

    def _read_pad(self, node: Node) -> int | None:
        if self._constants(node) is None:
            return None
        sides, value, axes = (self._constant(node, i) for i in (1, 2, 3))
        pads: list[int] = node.attrs.get("pads", [] if sides is None else sides.tolist())
        filled = node.attrs.get("value", 0) or (value is not None and value.any())
        partial = axes is not None and (axes % 4).tolist() != [0, 1, 2, 3]
        x = self._image(node) if len(pads) == 8 and not any(pads[i] for i in (0, 1, 4, 5)) else None
        if x is None or filled or partial or node.attrs.get("mode", "constant") != "constant":
            return None
        return self._put("pad", self.shape(node.outputs[0]), [x], pad=_collapsed([*pads[2:4], *pads[6:]]))

    def _read_clip(self, node: Node) -> int | None:
        constants = self._constants(node)
        if constants is None or any(value.size != 1 for value in constants):
            return None
        if self.opset < 11:
            low, high = node.attrs.get("min"), node.attrs.get("max")
        else:
            low, high = self._constant(node, 1), self._constant(node, 2)
        low, high = -math.inf if low is None else float(low), math.inf if high is None else float(high)
        kind = "relu6" if (low, high) == (0, 6) else "relu" if low == 0 and high > 3e38 else ""
        return self._pointwise(kind, self.nodes[node.inputs[0]]) if kind else None

    def _read_hardsigmoid(self, node: Node) -> int | None:
        ours = math.isclose(node.attrs.get("alpha", 0.2), 1 / 6, rel_tol=1e-4) and node.attrs.get("beta", 0.5) == 0.5
        return self._pointwise("hsigmoid", self.nodes[node.inputs[0]]) if ours else None

    def _read_softmax(self, node: Node) -> int | None:
        rank = len(self.full(node.inputs[0]))
        axis = node.attrs.get("axis", -1 if self.opset >= 13 else 1) % rank
        xs = self._images(node) if axis == 1 and (rank == 2 or (rank == 4 and self.opset >= 13)) else None
        return self._pointwise("softmax", *xs) if xs else None

    def _read_globalaveragepool(self, node: Node) -> int | None:
        x = self._image(node)
        return None if x is None else self._put("global_avg_pool", self.shape(node.outputs[0]), [x])

    def _read_reducemean(self, node: Node) -> int | None:
        axes = self._constant(node, 1)
        axes = node.attrs.get("axes") if axes is None else axes.tolist()
        whole = axes is not None and sorted(axis % 4 for axis in axes) == [2, 3]
        return self._read_globalaveragepool(node) if whole else None

    def _read_cast(self, node: Node) -> int | None:
        return self.nodes[node.inputs[0]] if node.attrs["to"] in _FLOATS else None

    def _read_reshape(self, node: Node) -> int | None:
        """The input itself if the shape stays or an image becomes a row of features, or a channel shuffle."""
        if any(self.uses[name] for name in node.outputs[1:]):
            return None  # the mask of a dropout
        x, full = self.nodes[node.inputs[0]], self.full(node.outputs[0])
        shape = self.net.shape(x)
        if full in ((self.batch, *shape), (self.batch, math.prod(shape))):
            if self.net.ops[x].kind == "global_avg_pool" and self._only(x, node.inputs[0]):
                # runtimes have the two as one
                self.net.ops[x] = Op("global_avg_pool", {"shape": full[1:]}, self.net.ops[x].name)
            return x
        return self._shuffle(node, x)

    def _shuffle(self, node: Node, transposed: int) -> int | None:
        """A transposition of (groups, channels / groups) between two reshapes."""
        turn = self.foreign.get(transposed)
        split = self.foreign.get(self.sources[transposed][0]) if turn and turn.kind == "Transpose" else None
        if turn is None or split is None or split.kind != "Reshape" or turn.attrs.get("perm") != [0, 2, 1, 3, 4]:
            return None
        (before,) = self.sources[self.sources[transposed][0]]
        alone = self.uses[node.inputs[0]] == self.uses[turn.inputs[0]] == 1
        if not alone or self.full(node.outputs[0]) != (self.batch, *self.net.shape(before)):
            return None
        return self._pointwise("shuffle", before, groups=self.full(split.outputs[0])[1])


def _collapsed(values: Sequence[int]) -> Any:
    """One number if all are equal, else all of them."""
    numbers = tuple(int(value) for value in values)
    return numbers[0] if len(set(numbers)) == 1 else numbers
