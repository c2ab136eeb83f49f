"""Ops of ATen as ops of the vocabulary with exactly equal results, and counts of the others.

Each op becomes the ops that the ONNX reader finds in an exported file: `linear` of rows is a dense layer, of sequences
a MatMul and an Add; attention is MatMul, Softmax and MatMul; views are no ops.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from datasets.networks.ops import window
from datasets.networks.torch_products import TorchProducts, name_of
from datasets.networks.torch_program import Call, Ref
from datasets.records import Op

_POINTWISE = {name: name for name in ("relu", "relu6", "sigmoid", "tanh", "silu")} | {
    "hardswish": "hswish",
    "hardsigmoid": "hsigmoid",
}
_GATED = {"sigmoid": "silu", "hsigmoid": "hswish"}


class TorchReader(TorchProducts):
    """One method per op of ATen, or per group of similar ops."""

    # Convolutions, pools, norms

    def _read_conv2d(self, call: Call) -> int | None:
        a = call.args
        name, weight, bias = name_of(a["input"]), name_of(a["weight"]), name_of(a.get("bias"))
        if a.get("transposed"):
            return self.foreign(call, "ConvTranspose", self.size(name) * math.prod(self.full(weight)[1:]))
        kernel, xs = self.full(weight)[2:], self.images([name], 4)
        attrs = {"groups": a.get("groups", 1), "bias": int(bool(bias))}
        if xs and weight not in self.nodes and bias not in self.nodes:
            stride, dilation = _two(a.get("stride", 1)), _two(a.get("dilation", 1))
            pad: Any = a.get("padding", 0)
            if isinstance(pad, str):
                around = [d * (k - 1) if pad == "same" else 0 for k, d in zip(kernel, dilation, strict=True)]
                pad = [side // 2 for side in around] + [side - side // 2 for side in around]
            else:
                pad = _two(pad) * 2
            held = [weight, bias] if bias else [weight]
            if (x := self._windowed("conv", call, xs[0], kernel, stride, pad, dilation, held, **attrs)) is not None:
                return x
        return self.foreign(call, "Conv", self.size(call.outputs[0]) * math.prod(self.full(weight)[1:]))

    _read_conv1d = _read_conv3d = _read_convolution = _read__convolution = _read_conv2d

    def _read_conv_transpose2d(self, call: Call) -> int:
        macs = self.size(name_of(call.args["input"])) * math.prod(self.full(name_of(call.args["weight"]))[1:])
        return self.foreign(call, "ConvTranspose", macs)

    _read_conv_transpose1d = _read_conv_transpose3d = _read_conv_transpose2d

    def _read_deform_conv2d(self, call: Call) -> int:
        macs = self.size(call.outputs[0]) * math.prod(self.full(name_of(call.args["weight"]))[1:])
        return self.foreign(call, "DeformConv", macs)

    def _windowed(
        self,
        kind: str,
        call: Call,
        x: int,
        kernel: Sequence[int],
        stride: Sequence[int],
        pad: Sequence[int],
        dilation: Sequence[int] = (1, 1),
        weights: Sequence[str] = (),
        **attrs: Any,
    ) -> int | None:
        """An op with a kernel; output sides that are rounded up need a padding at the bottom and on the right."""
        full, pads = self.full(call.outputs[0]), list(pad)
        sides = zip(self.net.shape(x)[1:], full[2:], kernel, stride, dilation, strict=True)
        for i, (side, out, k, s, d) in enumerate(sides):
            pads[i + 2] += max((out - 1) * s + (k - 1) * d + 1 - side - pads[i] - pads[i + 2], 0)
        attrs |= {"kernel": _collapsed(kernel), "stride": _collapsed(stride), "pad": _collapsed(pads)}
        attrs |= {"dilation": _collapsed(dilation)} if set(dilation) != {1} else {}
        if kind == "avg_pool" and call.args.get("count_include_pad", True) and any(pads):
            if pads != list(pad) and any(pad):
                return None  # the average includes the declared padding, but not that from rounding up
            attrs |= {"include_pad": 1} if pads == list(pad) else {}
        fits = len(full) == 4 and window(Op(kind, attrs), self.net.shape(x)) == full[2:]
        dtype = self.program.dtypes[call.outputs[0]]
        return self.put(kind, full, dtype, [x], weights, **attrs) if fits else None

    def _read_max_pool2d(self, call: Call) -> int | None:
        a, xs = call.args, self.images([name_of(call.args["self"])], 4)
        if xs is None or any(self.uses[name] for name in call.outputs[1:]):
            return None
        kernel = _two(a["kernel_size"])
        stride = _two(a.get("stride") or kernel)
        return self._windowed("max_pool", call, xs[0], kernel, stride, _two(a.get("padding", 0)) * 2,
                              _two(a.get("dilation", 1)))  # fmt: skip

    _read_max_pool2d_with_indices = _read_max_pool2d

    def _read_avg_pool2d(self, call: Call) -> int | None:
        a, xs = call.args, self.images([name_of(call.args["self"])], 4)
        if xs is None or a.get("divisor_override"):
            return None
        kernel = _two(a["kernel_size"])
        return self._windowed("avg_pool", call, xs[0], kernel, _two(a.get("stride") or kernel),
                              _two(a.get("padding", 0)) * 2)  # fmt: skip

    def _read_adaptive_avg_pool2d(self, call: Call) -> int | None:
        name, out = name_of(call.args["self"]), self.full(call.outputs[0])
        xs, sides = self.images([name], 4), self.full(name)[2:]
        if xs is None or any(side % small for side, small in zip(sides, out[2:], strict=True)):
            return None
        if out[2:] == (1, 1):
            return self.put("global_avg_pool", out, self.program.dtypes[name], xs)
        kernel = [side // small for side, small in zip(sides, out[2:], strict=True)]
        return xs[0] if set(kernel) == {1} else self._windowed("avg_pool", call, xs[0], kernel, kernel, [0] * 4)

    _read__adaptive_avg_pool2d = _read_adaptive_avg_pool2d

    def _read_mean(self, call: Call) -> int | None:
        name, dims = name_of(call.args["self"]), call.args.get("dim")
        whole = isinstance(dims, list) and sorted(dim % 4 for dim in dims) == [2, 3]
        xs = self.images([name], 4) if whole else None
        return self.put("global_avg_pool", self.full(call.outputs[0]), self.program.dtypes[name], xs) if xs else None

    def _read_batch_norm(self, call: Call) -> int | None:
        a = call.args
        scale, shift = name_of(a.get("weight")), name_of(a.get("bias"))
        xs = self.images([name_of(a["input"])], 4)
        if xs is None or a.get("training") or scale in self.nodes or shift in self.nodes:
            return None
        missing = {name: 0 for name, tensor in (("scale", scale), ("shift", shift)) if not tensor}
        weights = [name for name in (scale, shift) if name]
        out = call.outputs[0]
        return self.put("bn", self.full(out), self.program.dtypes[out], xs, weights, **missing)

    _read__native_batch_norm_legit_no_training = _read_cudnn_batch_norm = _read_batch_norm

    # Pointwise

    def _read_relu(self, call: Call) -> int:
        kind = _POINTWISE[call.op.removeprefix("aten.").removesuffix("_")]
        return self.pointwise(kind, self.nodes[name_of(call.args["self"])])

    _read_relu6 = _read_sigmoid = _read_tanh = _read_silu = _read_hardswish = _read_hardsigmoid = _read_relu

    def _read_hardtanh(self, call: Call) -> int | None:
        low, high = call.args.get("min_val", -1), call.args.get("max_val", 1)
        return self._clipped(call, low, high)

    def _read_clamp(self, call: Call) -> int | None:
        return self._clipped(call, call.args.get("min"), call.args.get("max"))

    _read_clamp_min = _read_clamp

    def _clipped(self, call: Call, low: Any, high: Any) -> int | None:
        kind = {(0, 6): "relu6", (0, None): "relu"}.get((low, high)) if not isinstance(low, Ref) else None
        return self.pointwise(kind, self.nodes[name_of(call.args["self"])]) if kind else None

    def _read_softmax(self, call: Call) -> int | None:
        name, dim = name_of(call.args["self"]), call.args["dim"]
        xs = self.images([name], 2, 4) if dim % len(self.full(name)) == 1 else None
        return self.pointwise("softmax", *xs) if xs else None

    _read__softmax = _read_softmax

    def _read_add(self, call: Call) -> int | None:
        names = [name_of(call.args[part]) for part in ("self", "other")]
        xs = self.images(names, *range(1, 9)) if all(names) else None
        same = xs is not None and len({self.full(name) for name in names}) == 1
        return self.pointwise("add", *xs) if xs and same else None

    def _read_mul(self, call: Call) -> int | None:
        names = [name_of(call.args[part]) for part in ("self", "other")]
        xs = self.images(names, *range(1, 9)) if all(names) else None
        if xs is None:
            return None
        for (x, gate), name in ((xs, names[1]), (xs[::-1], names[0])):
            kind = _GATED.get(self.net.ops[gate].kind)
            if kind and (x, gate, 0) in self.net.edges and self.only(gate, name):
                return self.pointwise(kind, x)
        for x, y in (xs, xs[::-1]):
            shape = self.net.shape(x)
            if self.net.shape(y) in (shape, (shape[0], 1, 1)) and self.full(call.outputs[0])[1:] == shape:
                return self.pointwise("mul", x, y)
        return None

    # Ops that move data

    def _read_cat(self, call: Call) -> int | None:
        names, full = [ref.name for ref in call.args["tensors"]], self.full(call.outputs[0])
        names = [name for name in names if math.prod(self.full(name))]
        xs = self.images(names, 2, 4) if call.args.get("dim", 0) % len(full) == 1 else None
        return self.put("concat", full, self.program.dtypes[call.outputs[0]], xs) if xs else None

    def _read_pad(self, call: Call) -> int | None:
        a, name = call.args, name_of(call.args["self"])
        sides = [*a["pad"], *[0] * 4][:4]
        plain = a.get("mode", "constant") == "constant" and not a.get("value") and not any(a["pad"][4:])
        xs = self.images([name], 4) if plain else None
        left, right, top, bottom = sides
        out = call.outputs[0]
        pad = _collapsed((top, left, bottom, right))
        return self.put("pad", self.full(out), self.program.dtypes[out], xs, pad=pad) if xs else None

    _read_constant_pad_nd = _read_pad

    def _read_channel_shuffle(self, call: Call) -> int | None:
        xs = self.images([name_of(call.args["self"])], 4)
        return self.pointwise("shuffle", *xs, groups=call.args["groups"]) if xs else None

    _read_native_channel_shuffle = _read_channel_shuffle

    def _read_embedding(self, call: Call) -> int:
        """An embedding, which reads the selected rows and the indices."""
        rows = self.size(name_of(call.args["indices"])) * self.full(name_of(call.args["weight"]))[-1]
        width = self.program.bytes(name_of(call.args["weight"])) // max(self.size(name_of(call.args["weight"])), 1)
        return self.foreign(call, "Gather", 0, rows * width + self.program.bytes(name_of(call.args["indices"])))

    _read_embedding_bag = _read__embedding_bag = _read_embedding

    def _read_gather(self, call: Call) -> int:
        """A selection, which reads as many bytes as its output has, and the indices."""
        read = sum(self.program.bytes(name) for name in (call.outputs[0], *call.refs()[1:]))
        return self.foreign(call, "GatherElements" if call.op == "aten.gather" else "Gather", 0, read)

    _read_index = _read_index_select = _read__unsafe_index = _read_gather

    def _read_slice(self, call: Call) -> int:
        name = name_of(call.args["self"])
        same = self.full(call.outputs[0]) == self.full(name)
        return self.nodes[name] if same else self.foreign(call, "Slice", 0, self.program.bytes(call.outputs[0]))

    _read_select = _read_narrow = _read_slice

    def _read_transpose(self, call: Call) -> int | None:
        """A transposition, which `shuffled` keeps if it may belong to a channel shuffle."""
        name, dims = name_of(call.args["self"]), [call.args.get("dim0"), call.args.get("dim1")]
        full, before = self.full(name), self.nodes[name]
        turned = call.args.get("dims") == [0, 2, 1, 3, 4] or [d % 5 for d in dims if d is not None] in ([1, 2], [2, 1])
        shape = self.net.shape(before)
        x = self.foreign(call)
        if len(full) == 5 and turned and full[0] == self.batch and (full[1] * full[2], *full[3:]) == shape:
            self.shuffled[x] = before, full[1]
        return x

    _read_permute = _read_transpose

    @property
    def shuffled(self) -> dict[int, tuple[int, int]]:
        """Transposition that may belong to a channel shuffle -> the node that it shuffles, and the groups."""
        return self.__dict__.setdefault("_shuffled", {})

    def _read_view(self, call: Call) -> int | None:
        """The input itself for a view, or the channel shuffle that ends here."""
        name, out = call.refs()[0], call.outputs[0]
        x, full = self.nodes[name], self.full(out)
        if self.size(name) != self.size(out) or self.program.dtypes[name] != self.program.dtypes[out]:
            return None
        if x in self.shuffled and self.only(x, name):
            before, groups = self.shuffled[x]
            if full == (self.batch, *self.net.shape(before)):
                return self.pointwise("shuffle", before, groups=groups)
        op = self.net.ops[x]
        if op.kind == "global_avg_pool" and full == (self.batch, op.attrs["shape"][0]) and self.only(x, name):
            self.net.ops[x] = replace(op, attrs={**op.attrs, "shape": full[1:]})  # runtimes have the two as one
        return x

    _read_reshape = _read__unsafe_view = _read_flatten = _read_unflatten = _read_squeeze = _read_unsqueeze = _read_view
    _read_contiguous = _read_clone = _read_detach = _read_alias = _read_lift_fresh = _read_view_as = _read_view
    _read_dropout = _read_feature_dropout = _read_alpha_dropout = _read_native_dropout = _read_lift_fresh_copy = (
        _read_view
    )
    _read_reshape_as = _read_view_copy = _read_squeeze_copy = _read_unsqueeze_copy = _read_view

    def _read_expand(self, call: Call) -> int | None:
        return self._read_view(call)

    _read_expand_as = _read_expand

    def _read_to(self, call: Call) -> int:
        """The input itself if its type stays, else a Cast."""
        x = self._read_view(call)
        return self.foreign(call, "Cast") if x is None else x

    _read__to_copy = _read_type_as = _read_to


def _two(value: Any) -> list[int]:
    """A kernel, stride, dilation or padding as [height, width]."""
    numbers = [value] * 2 if isinstance(value, int) else list(value)
    return numbers * 2 if len(numbers) == 1 else numbers


def _collapsed(values: Sequence[int]) -> Any:
    """One number if all are equal, else all of them."""
    return values[0] if len(set(values)) == 1 else tuple(values)
