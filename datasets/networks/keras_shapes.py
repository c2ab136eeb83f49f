"""Layers of Keras models for tensors of any rank: convolutions, pools, merges, shapes and preprocessing."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from datasets.networks.keras_layer import Layer, Tensor, broadcast, out_sides
from datasets.networks.keras_sequences import SequenceReader
from datasets.networks.ops import BITS, params

_MERGES = {"add": "Add", "multiply": "Mul", "subtract": "Sub", "average": "Mean", "maximum": "Max", "minimum": "Min"}


class ShapeReader(SequenceReader):
    """One method per layer, or per group of similar layers."""

    # Convolutions of one side or three, and transposed ones

    def _sides(self, it: Layer, x: Tensor, rank: int) -> tuple[tuple[int, ...], int]:
        """Sides and channels of an input."""
        shape = self.shape(x)
        if len(shape) != rank + 1:
            raise it.fault(f"reads no input of {rank} sides and channels")
        return shape[:-1], shape[-1]

    def _read_conv1d(self, it: Layer, x: Tensor, *, depth: int = 0) -> Tensor:
        """A convolution; with `depth` one per channel, with as many outputs each."""
        rank = int(it.kind[-2])
        sides, channels = self._sides(it, x, rank)
        k, s, d = (it.numbers(name, rank, 1) for name in ("kernel_size", "strides", "dilation_rate"))
        out = depth * channels or it.number("filters")
        groups = channels if depth else it.number("groups", 1)
        if channels % groups or out % groups:
            raise it.fault("has channels that cannot be split into its groups")
        shape = (*out_sides(sides, k, s, d, it.padding()), out)
        each = math.prod(k) * (channels // groups)
        held = each * out + out * it.flag("use_bias")
        return self.put("Conv", shape, x, params=held, macs=math.prod(shape) * each)

    _read_conv3d = _read_conv1d

    def _read_depthwiseconv1d(self, it: Layer, x: Tensor) -> Tensor:
        return self._read_conv1d(it, x, depth=it.number("depth_multiplier", 1))

    def _read_separableconv1d(self, it: Layer, x: Tensor) -> Tensor:
        y = self._read_conv1d(it.of(use_bias=False), x, depth=it.number("depth_multiplier", 1))
        (side,), channels, out = self.shape(y)[:-1], self.shape(y)[-1], it.number("filters")
        return self.put("Conv", (side, out), y, params=out * (channels + it.flag("use_bias")),
                        macs=side * channels * out)  # fmt: skip

    def _read_conv2dtranspose(self, it: Layer, x: Tensor) -> Tensor:
        rank = int(it.kind[4])
        sides, channels = self._sides(it, x, rank)
        k, s, d = (it.numbers(name, rank, 1) for name in ("kernel_size", "strides", "dilation_rate"))
        wide = [(kernel - 1) * dilation + 1 for kernel, dilation in zip(k, d, strict=True)]
        same, out = it.padding() == "same", it.number("filters")
        if it.fields.get("output_padding") is None:
            ends = [
                side * step + (0 if same else max(w - step, 0)) for side, step, w in zip(sides, s, wide, strict=True)
            ]
        else:
            more = it.numbers("output_padding", rank, low=0)
            ends = [(side - 1) * step + w + extra - (2 * (w // 2) if same else 0)
                    for side, step, w, extra in zip(sides, s, wide, more, strict=True)]  # fmt: skip
        each = math.prod(k) * channels * out
        return self.put("ConvTranspose", (*ends, out), x, params=each + out * it.flag("use_bias"),
                        macs=math.prod(sides) * each)  # fmt: skip

    _read_conv1dtranspose = _read_conv3dtranspose = _read_conv2dtranspose

    def _read_convlstm2d(self, it: Layer, x: Tensor) -> Tensor:
        """Four convolutions of the input and four of the state per step."""
        rank = int(it.kind[-2])
        (steps, *sides), channels = self._sides(it, x, rank + 1)
        k, s, d = (it.numbers(name, rank, 1) for name in ("kernel_size", "strides", "dilation_rate"))
        out = it.number("filters")
        ends = out_sides(sides, k, s, d, it.padding())
        held = 4 * out * math.prod(k) * (channels + out)
        shape = (*ends, out)
        return self.put(it.kind, (steps, *shape) if it.fields.get("return_sequences") else shape, x,
                        params=held + 4 * out * it.flag("use_bias"), macs=steps * held * math.prod(ends))  # fmt: skip

    _read_convlstm1d = _read_convlstm3d = _read_convlstm2d

    # Pools

    def _read_maxpooling1d(self, it: Layer, x: Tensor) -> Tensor:
        rank = int(it.kind[-2])
        sides, channels = self._sides(it, x, rank)
        k = it.numbers("pool_size", rank, 2)
        s = it.numbers("strides", rank) if it.fields.get("strides") is not None else k
        kind = "MaxPool" if it.kind.startswith("Max") else "AveragePool"
        return self.put(kind, (*out_sides(sides, k, s, [1] * rank, it.padding()), channels), x)

    _read_maxpooling3d = _read_averagepooling1d = _read_averagepooling3d = _read_maxpooling1d

    def _read_globalmaxpooling2d(self, it: Layer, x: Tensor) -> Tensor:
        rank = int(it.kind[-2])
        _, channels = self._sides(it, x, rank)
        kind = "GlobalMaxPool" if "Max" in it.kind else "GlobalAveragePool"
        return self.put(kind, (*([1] * rank if it.fields.get("keepdims") else []), channels), x)

    _read_globalmaxpooling1d = _read_globalmaxpooling3d = _read_globalmaxpooling2d
    _read_globalaveragepooling1d = _read_globalaveragepooling3d = _read_globalmaxpooling2d

    # Sides

    def _read_upsampling2d(self, it: Layer, x: Tensor) -> Tensor:
        rank = int(it.kind[-2])
        sides, channels = self._sides(it, x, rank)
        times = it.numbers("size", rank, 2)
        return self.put("Resize", (*(a * b for a, b in zip(sides, times, strict=True)), channels), x)

    _read_upsampling1d = _read_upsampling3d = _read_upsampling2d

    def _read_zeropadding1d(self, it: Layer, x: Tensor) -> Tensor:
        rank = int(it.kind[-2])
        sides, channels = self._sides(it, x, rank)
        pairs = it.pairs("padding", rank)
        return self.put("Pad", (*(n + sum(pair) for n, pair in zip(sides, pairs, strict=True)), channels), x)

    _read_zeropadding3d = _read_zeropadding1d

    def _read_cropping1d(self, it: Layer, x: Tensor) -> Tensor:
        rank = int(it.kind[-2])
        sides, channels = self._sides(it, x, rank)
        pairs = it.pairs("cropping", rank)
        return self.moved("Slice", (*(n - sum(pair) for n, pair in zip(sides, pairs, strict=True)), channels), x)

    _read_cropping3d = _read_cropping1d

    def _read_reshape(self, it: Layer, x: Tensor) -> Tensor:
        target = it.fields.get("target_shape")
        target = target if isinstance(target, list) else [target]
        if not all(isinstance(size, int) and (size > 0 or size == -1) for size in target) or target.count(-1) > 1:
            raise it.fault("has no target_shape")
        size = math.prod(self.shape(x))
        known = math.prod(n for n in target if n > 0)
        shape = tuple(size // known if n < 0 else n for n in target)
        if math.prod(shape) != size:
            raise it.fault("has a target_shape of another number of elements")
        return x if shape == self.shape(x) else self.put("Reshape", shape, x)

    def _read_permute(self, it: Layer, x: Tensor) -> Tensor:
        dims, shape = it.fields.get("dims"), self.shape(x)
        if not isinstance(dims, list) or sorted(map(str, dims)) != sorted(str(i + 1) for i in range(len(shape))):
            raise it.fault("has no order of all axes")
        return self.put("Transpose", tuple(shape[int(i) - 1] for i in dims), x)

    def _read_repeatvector(self, it: Layer, x: Tensor) -> Tensor:
        return self.moved("Expand", (it.number("n"), *self.shape(x)), x)

    # Several inputs

    def _read_add(self, it: Layer, x: Tensor, *others: Tensor) -> Tensor:
        """An op of the vocabulary for equal shapes or a factor per channel, else elementwise ops of two at a time."""
        for other in others:
            a, b = self.net.shape(x.node), self.net.shape(other.node)
            try:
                shape = broadcast(self.shape(x), self.shape(other))
            except ValueError:
                raise it.fault("has inputs of different shapes") from None
            kind = _MERGES[it.kind.lower()]
            if kind in ("Add", "Mul") and a == b and x.flat == other.flat:
                x = Tensor(self.net.pointwise(kind.lower(), x.node, other.node), x.flat)
            elif kind == "Mul" and not x.flat and not other.flat and (a[0], 1, 1) in (a, b) and len(a) == len(b) == 3:
                large, small = (x, other) if b == (a[0], 1, 1) else (other, x)
                x = Tensor(self.net.pointwise("mul", large.node, small.node))
            else:
                x = self.put(kind, shape, x, other)
        return x

    _read_multiply = _read_subtract = _read_average = _read_maximum = _read_minimum = _read_add

    def _read_concatenate(self, it: Layer, *xs: Tensor) -> Tensor:
        shapes = [self.shape(x) for x in xs]
        rank = len(shapes[0])
        axis = it.axis("axis", rank)
        if len({(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}) > 1 or {len(s) for s in shapes} != {rank}:
            raise it.fault("has inputs of different shapes")
        out = (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])
        if rank not in (1, 3) or axis != rank - 1 or any(x.flat for x in xs):
            return self.put("Concat", out, *xs)
        return Tensor(self.net.add("concat", (out[-1], *out[:-1]), *[x.node for x in xs]))

    def _read_dot(self, it: Layer, x: Tensor, y: Tensor) -> Tensor:
        """A product that sums over one axis of each."""
        left, right = self.shape(x), self.shape(y)
        axes = it.fields.get("axes")
        pair = axes if isinstance(axes, list) and len(axes) == 2 else [axes, axes]
        a, b = (it.of(axis=n).axis("axis", len(shape)) for n, shape in zip(pair, (left, right), strict=True))
        if left[a] != right[b]:
            raise it.fault("has inputs of different shapes")
        out = (*left[:a], *left[a + 1 :], *right[:b], *right[b + 1 :]) or (1,)
        return self.put("MatMul", out, x, y, macs=math.prod(out) * left[a])

    # Preprocessing

    def _read_rescaling(self, it: Layer, x: Tensor) -> Tensor:
        y = self.put("Mul", self.shape(x), x)
        return self.put("Add", self.shape(x), y) if it.fields.get("offset") else y

    def _read_normalization(self, it: Layer, x: Tensor) -> Tensor:
        return self.put("Div", self.shape(x), self.put("Sub", self.shape(x), x))

    def _read_resizing(self, it: Layer, x: Tensor) -> Tensor:
        kind = "Slice" if it.kind == "CenterCrop" else "Resize"
        return self.put(kind, (it.number("height"), it.number("width"), self._sides(it, x, 2)[1]), x)

    _read_centercrop = _read_randomcrop = _read_resizing

    def _read_categoryencoding(self, it: Layer, x: Tensor) -> Tensor:
        shape, count = self.shape(x), it.number("num_tokens")
        if it.fields.get("output_mode", "multi_hot") == "one_hot":
            return self.put("OneHot", (*(shape[:-1] if shape[-1] == 1 else shape), count), x)
        return self.put("ScatterElements", (*shape[:-1], count), x)

    def _read_discretization(self, it: Layer, x: Tensor) -> Tensor:
        return self.put("Bucketize", self.shape(x), x, dtype="int64")

    # Element types by a layer's policy

    def finished(self, it: Layer, before: int, shared: bool) -> None:
        """Set the element types of a layer's ops, and `tied` if their weights were counted before."""
        policy: Any = it.fields.get("dtype")
        if isinstance(policy, dict) and isinstance(policy.get("config"), dict):
            policy = policy["config"].get("name")
        name = policy if isinstance(policy, str) else "float32"
        computed, held = name.removeprefix("mixed_"), "float32" if name.startswith("mixed_") else name
        first = {target: source for source, target, port in self.net.edges if target >= before and port == 0}
        for i, op in enumerate(self.net.ops[before:], before):
            more: dict[str, Any] = {}
            count = params(op, self.net.shape(first[i])) if i in first else 0
            if computed in BITS and computed != "float32" and i in first:
                more["dtype"] = op.attrs.get("dtype", computed)
            if held in BITS and held != "float32" and count:
                more["param_bytes"] = -(-count * BITS[held] // 8)
            if shared and count:
                more["tied"] = 1
            if more:
                self.net.ops[i] = replace(op, attrs={**op.attrs, **more})
