"""ncnn's layers with a window: convolutions and poolings, with the activations that they are fused with."""

from __future__ import annotations

import math
from typing import Any

from datasets.networks.ncnn_graph import Blob, Graph, Shape
from datasets.networks.ncnn_text import DEFAULT, Layer
from datasets.networks.ops import window
from datasets.records import Op

_ACTIVATIONS = ("", "relu", "LeakyRelu", "Clip", "sigmoid", "Mish", "hswish")
"""Activations that a layer is fused with, by their numbers in its parameter 9."""
_SAME = (DEFAULT, DEFAULT - 1)
"""Paddings that keep output sides at input sides / stride: an odd row or column at the end, or at the beginning."""


class Windows(Graph):
    """Reads layers with windows and dense layers; methods `_read_<kind>` return the blob of the output."""

    def activated(self, layer: Layer, blob: Blob) -> Blob:
        """The output of a layer after the activation that it is fused with."""
        number = layer.number(9, least=0)
        if number >= len(_ACTIVATIONS):
            raise layer.fault(f"is fused with an activation of number {number}, which is not known")
        values = layer.params.get(10, ())
        relu6 = number == 3 and isinstance(values, tuple) and [*map(float, values)] == [0, 6]
        return self.like(layer, "relu6" if relu6 else _ACTIVATIONS[number], blob) if number else blob

    def sized(self, layer: Layer, key: int, size: int, params: int) -> dict[str, int]:
        """Attributes of a layer whose input needs `size` weights, as its parameter `key` has to state, of `params`
        parameters in all; quantised weights take a byte each, and other parameters four."""
        if layer.number(key) != size:
            raise layer.fault(
                f"has {layer.number(key):,} weights, and its input needs {size:,}; give the network the sizes it was "
                "made for, or convert it again"
            )
        return {"param_bytes": size + 4 * (params - size)} if layer.number(8) else {}

    # Convolutions

    def _read_convolution(self, layer: Layer, blob: Blob) -> Blob:
        return self._convolution(layer, blob, 1)

    def _read_convolutiondepthwise(self, layer: Layer, blob: Blob) -> Blob:
        return self._convolution(layer, blob, layer.number(7, 1, 1))

    def _convolution(self, layer: Layer, blob: Blob, groups: int) -> Blob:
        if layer.number(19):
            raise layer.fault("has weights that the network computes, which is not read; cut that part out of it")
        if len(blob.shape) == 1 and layer.number(1) == layer.number(11, layer.number(1)) == 1:
            return self._dense(layer, blob, layer.number(6), layer.number(5), 6)
        out, (channels, height, width) = layer.number(0, least=1), self._image(layer, blob)
        kernel, dilation, stride = (self._pair(layer, key, one) for key, one in ((1, 0), (2, 1), (3, 1)))
        if channels % groups or out % groups:
            raise layer.fault(f"has {groups} groups for {channels} input and {out} output channels")
        pad = self._padding(layer, (height, width), kernel, dilation, stride)
        bias, weights = int(layer.number(5) != 0), channels // groups * math.prod(kernel) * out
        attrs = {"kernel": kernel, "stride": stride, "pad": pad, "dilation": dilation, "groups": groups}
        attrs = {name: collapsed(value) for name, value in attrs.items()} | {"bias": bias}
        for name, default in (("dilation", 1), ("groups", 1), ("bias", 0)):
            if attrs[name] == default:
                del attrs[name]
        attrs |= self.sized(layer, 6, weights, weights + bias * out)
        shape = (out, *window(Op("conv", attrs), (channels, height, width)))
        return self.activated(layer, Blob(shape, self.put(layer, "conv", shape, [self.node(layer, blob)], **attrs)))

    def _read_deconvolution(self, layer: Layer, blob: Blob) -> Blob:
        return self._deconvolution(layer, blob, 1)

    def _read_deconvolutiondepthwise(self, layer: Layer, blob: Blob) -> Blob:
        return self._deconvolution(layer, blob, layer.number(7, 1, 1))

    def _deconvolution(self, layer: Layer, blob: Blob, groups: int) -> Blob:
        out, (channels, height, width) = layer.number(0, least=1), self._image(layer, blob)
        kernel, dilation, stride = (self._pair(layer, key, one) for key, one in ((1, 0), (2, 1), (3, 1)))
        left = layer.number(4)
        top = layer.number(14, left)
        pads = (top + layer.number(16, top), left + layer.number(15, left))
        more = (layer.number(19, layer.number(18)), layer.number(18))
        fixed = (layer.number(21, layer.number(20)), layer.number(20))
        sides = [
            given or (side - 1) * s + d * (k - 1) + 1 + extra - max(pad, 0)
            for side, k, s, d, pad, extra, given in zip(
                (height, width), kernel, stride, dilation, pads, more, fixed, strict=True
            )
        ]
        weights = channels // groups * math.prod(kernel) * out
        params = weights + out * (layer.number(5) != 0)
        attrs = self.sized(layer, 6, weights, params)
        work = height * width * weights
        (y,) = self.foreign(layer, "ConvTranspose", [(out, *sides)], [blob], params, macs=work, **attrs)
        return self.activated(layer, y)

    def _read_convolution1d(self, layer: Layer, blob: Blob) -> Blob:
        return self._convolution1d(layer, blob, 1)

    def _read_convolutiondepthwise1d(self, layer: Layer, blob: Blob) -> Blob:
        return self._convolution1d(layer, blob, layer.number(7, 1, 1))

    def _convolution1d(self, layer: Layer, blob: Blob, groups: int) -> Blob:
        """A convolution of (channels, steps)."""
        if len(blob.shape) != 2:
            raise layer.fault(f"reads a tensor of {len(blob.shape)} dimensions, and needs channels and steps")
        (channels, steps), out = blob.shape, layer.number(0, least=1)
        kernel, dilation, stride = layer.number(1, least=1), layer.number(2, 1, 1), layer.number(3, 1, 1)
        left = layer.number(4)
        extent = dilation * (kernel - 1) + 1
        padded = steps + left + layer.number(15, left)
        length = -(-steps // stride) if left in _SAME else (padded - extent) // stride + 1
        weights = channels // groups * kernel * out
        params = weights + out * (layer.number(5) != 0)
        attrs = self.sized(layer, 6, weights, params)
        work = length * weights
        (y,) = self.foreign(layer, "Conv", [(out, length)], [blob], params, macs=max(work, 0), **attrs)
        return self.activated(layer, y)

    # Dense layers

    def _read_innerproduct(self, layer: Layer, blob: Blob) -> Blob:
        return self._dense(layer, blob, layer.number(2), layer.number(1), 2)

    def _dense(self, layer: Layer, blob: Blob, weights: int, biased: int, key: int) -> Blob:
        """A dense layer of the flattened input, or of each row if a row has as many numbers as it reads."""
        out, bias = layer.number(0, least=1), int(biased != 0)
        each = weights // out
        if len(blob.shape) == 2 and blob.shape[1] == each:
            attrs = self.sized(layer, key, each * out, (each + bias) * out)
            params, work = (each + bias) * out, math.prod(blob.shape) * out
            kind = "Gemm" if bias else "MatMul"
            (y,) = self.foreign(layer, kind, [(blob.shape[0], out)], [blob], params, macs=work, bias=bias, **attrs)
            return self.activated(layer, y)
        size = math.prod(blob.shape)
        attrs = self.sized(layer, key, size * out, (size + bias) * out)
        x = self.node(layer, blob) if blob.node is None else blob.node  # in any shape, since it is flattened
        return self.activated(layer, Blob((out,), self.put(layer, "dense", (out,), [x], bias=bias, **attrs)))

    # Poolings

    def _read_pooling(self, layer: Layer, blob: Blob) -> Blob:
        average, shape = layer.number(0) == 1, self._image(layer, blob)
        if layer.number(4):
            if not average:
                return self.foreign(layer, "GlobalMaxPool", [shape[:1]], [blob])[0]
            x = self.put(layer, "global_avg_pool", (shape[0], 1, 1), [self.node(layer, blob)])
            return Blob(shape[:1], x)
        if layer.number(7):
            given = (layer.number(18, layer.number(8)), layer.number(8))
            sides = tuple(own if out == DEFAULT else out for out, own in zip(given, shape[1:], strict=True))
            if sides == (1, 1) and average:
                x = self.put(layer, "global_avg_pool", (shape[0], 1, 1), [self.node(layer, blob)])
                return Blob((shape[0], 1, 1), x)
            kind = "AveragePool" if average else "MaxPool"
            return self.foreign(layer, kind, [(shape[0], *sides)], [blob])[0]
        kernel, stride = self._pair(layer, 1, 0), self._pair(layer, 2, 1)
        pad = self._pool_padding(layer, shape, kernel, stride)
        attrs: dict[str, Any] = {"kernel": collapsed(kernel), "stride": collapsed(stride), "pad": collapsed(pad)}
        attrs |= {"include_pad": 1} if average and layer.number(6) else {}
        out = (shape[0], *window(Op("max_pool", attrs), shape))
        kind = "avg_pool" if average else "max_pool"
        return Blob(out, self.put(layer, kind, out, [self.node(layer, blob)], **attrs))

    def _pool_padding(self, layer: Layer, shape: Shape, kernel: tuple[int, int], stride: tuple[int, int]) -> Shape:
        """The padding (top, left, bottom, right) of a pooling: "full" pads the end until the last window fits."""
        mode, left = layer.number(5), layer.number(3, least=0)
        if mode in (2, 3):
            return _same(shape[1:], kernel, (1, 1), stride, first=mode == 3)
        top = layer.number(13, left, 0)
        pad = [top, left, layer.number(15, top, 0), layer.number(14, left, 0)]
        if mode == 0:
            for i in (0, 1):
                rest = (shape[1 + i] + pad[i] + pad[i + 2] - kernel[i]) % stride[i]
                pad[i + 2] += stride[i] - rest if rest else 0
        return tuple(pad)

    # Windows

    def _image(self, layer: Layer, blob: Blob) -> tuple[int, int, int]:
        if len(blob.shape) != 3:
            raise layer.fault(f"reads a tensor of {len(blob.shape)} dimensions, and needs channels, height and width")
        channels, height, width = blob.shape
        return channels, height, width

    def _pair(self, layer: Layer, key: int, default: int) -> tuple[int, int]:
        """A parameter of the width, with that of the height 10 numbers on, as (height, width)."""
        width = layer.number(key, default, 1)
        return layer.number(key + 10, width, 1), width

    def _padding(
        self, layer: Layer, sides: Shape, kernel: tuple[int, int], dilation: tuple[int, int], stride: tuple[int, int]
    ) -> Shape:
        """The padding (top, left, bottom, right) of a convolution."""
        left = layer.number(4)
        top = layer.number(14, left)
        if left in _SAME:
            return _same(sides, kernel, dilation, stride, first=left == _SAME[1])
        return top, left, layer.number(16, top), layer.number(15, left)


def _same(
    sides: Shape, kernel: tuple[int, int], dilation: tuple[int, int], stride: tuple[int, int], first: bool
) -> Shape:
    """The padding after which output sides are input sides / stride, rounded up."""
    before, after = [], []
    for side, k, d, s in zip(sides, kernel, dilation, stride, strict=True):
        missing = max((side - 1) // s * s + d * (k - 1) + 1 - side, 0)
        half = missing // 2
        before.append(missing - half if first else half)
        after.append(half if first else missing - half)
    return (*before, *after)


def collapsed(value: Any) -> Any:
    """One number if all are equal, else all of them."""
    return value if isinstance(value, int) else value[0] if len(set(value)) == 1 else tuple(value)
