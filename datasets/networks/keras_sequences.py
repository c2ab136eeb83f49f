"""Layers of Keras models for sequences: embeddings, recurrent layers, attention, and norms of a sample."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from datasets.networks.einsum import contraction
from datasets.networks.keras_layer import MOST_ELEMENTS, Layer, Tensor
from datasets.networks.keras_layers import LayerReader
from datasets.networks.ops import BITS, BYTES, ITEM

_GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}
_NAMES = {"SimpleRNN": "RNN"}
RECURRENT = (*_GATES, "RNN", "Bidirectional", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
"""Layers with an activation inside of each step."""


class SequenceReader(LayerReader):
    """One method per layer, or per group of similar layers; a layer with several outputs returns a list."""

    def _read_embedding(self, it: Layer, x: Tensor) -> Tensor:
        """An embedding, which reads the selected rows and the indices."""
        rows, width = it.number("input_dim", high=2**40), it.number("output_dim")
        shape = (*self.shape(x), width)
        index = BITS[self.net.ops[x.node].attrs.get("dtype", "float32")] // 8
        return self.put("Gather", shape, x, params=rows * width,
                        read_bytes=BYTES * math.prod(shape) + index * math.prod(shape[:-1]))  # fmt: skip

    def _read_einsumdense(self, it: Layer, x: Tensor) -> Tensor:
        equation, full = it.fields.get("equation"), (1, *self.shape(x))
        if not isinstance(equation, str) or equation.count("->") != 1 or equation.count(",") != 1:
            raise it.fault("has no equation of two operands")
        left, last = equation.replace(" ", "").split("->")
        first, second = left.split(",")
        more = "".join(chr(0x4E00 + i) for i in range(len(full) + 3 - len(first)))  # letters of the ellipsis
        first, last = first.replace("...", more), last.replace("...", more)
        if len(first) != len(full) or not last:
            raise it.fault("has an equation of another number of axes")
        ends, sizes = dict(zip(first, full, strict=True)), it.fields.get("output_shape")
        for name, size in zip(reversed(last), reversed(sizes if isinstance(sizes, list) else [sizes]), strict=False):
            if size is not None and name not in ends:
                ends[name] = it.of(size=size).number("size")
        bias = str(it.fields.get("bias_axes") or "")
        if not {*second, *last, *bias} <= set(ends):
            raise it.fault("leaves a size of its kernel open")
        out, kernel = tuple(ends[name] for name in last[1:]), tuple(ends[name] for name in second)
        macs = self.einsum(it, f"{first},{second}->{last}", [full, kernel])
        y = self.put("Einsum", out, x, params=math.prod(kernel), macs=macs)
        return self.put("Add", out, y, params=math.prod(ends[name] for name in bias)) if bias else y

    def einsum(self, it: Layer, equation: str, shapes: list[tuple[int, ...]]) -> int:
        """Multiply-accumulates of an einsum."""
        try:
            return contraction(equation, tuple(shapes))
        except ValueError:
            raise it.fault("has an equation that does not fit its inputs") from None

    # Recurrent layers

    def _read_lstm(self, it: Layer, x: Tensor, *states: Tensor) -> list[Tensor]:
        return self._recurrent(it, [it], [x, *states])

    _read_gru = _read_simplernn = _read_lstm

    def _read_rnn(self, it: Layer, x: Tensor, *states: Tensor) -> list[Tensor]:
        """A layer of one or several stacked cells of Keras itself."""
        cells = [self._inner(it, it.fields.get("cell"))]
        if cells[0].kind == "StackedRNNCells":
            cells = [self._inner(it, cell) for cell in cells[0].fields.get("cells") or []]
        ys, extra = [x, *states], list[Tensor]()
        for i, cell in enumerate(cells):
            layer = cell.of(**{k: it.fields.get(k) for k in ("return_sequences", "return_state")})
            layer = layer.of(return_sequences=True) if i < len(cells) - 1 else layer
            kind = cell.kind.removesuffix("Cell")
            found = self._recurrent(it, [Layer(kind, layer.name, layer.fields, layer.model)], ys)
            ys, extra = found[:1], [*extra, *found[1:]]
        return [*ys[:1], *extra]

    def _read_bidirectional(self, it: Layer, x: Tensor, *states: Tensor) -> list[Tensor]:
        first = self._inner(it, it.fields.get("layer"))
        back = it.fields.get("backward_layer")
        second = self._inner(it, back) if isinstance(back, dict) else first
        return self._recurrent(it, [first, second], [x, *states], it.fields.get("merge_mode", "concat"))

    def _inner(self, it: Layer, config: Any) -> Layer:
        """A layer inside another layer's configuration, without its weights."""
        kind, fields = self.parsed(config)
        return Layer(kind, str(fields.get("name", it.name)), fields, it.model)

    def parsed(self, layer: Any) -> tuple[str, Any]:
        """Class and fields of a layer, which must be one of Keras itself."""
        raise NotImplementedError

    def _recurrent(self, it: Layer, ways: list[Layer], xs: list[Tensor], merge: Any = "concat") -> list[Tensor]:
        """One op for all directions: its output, and its states if the layer returns them."""
        shape, params, macs = self.shape(xs[0]), 0, 0
        if len(shape) != 2:
            raise it.fault("reads no sequence of features")
        steps, features = shape
        for way in ways:
            if way.kind not in _GATES:
                raise it.fault("has a cell that is not known here")
            units, gates, bias = way.number("units"), _GATES[way.kind], way.flag("use_bias")
            biases = 2 if way.kind == "GRU" and way.flag("reset_after") else 1
            params += gates * units * (features + units + bias * biases)
            macs += steps * gates * units * (features + units)
        kind, first = _NAMES.get(ways[0].kind, ways[0].kind), ways[0]
        units = first.number("units")
        width = units * (len(ways) if merge == "concat" else 1)
        out = (steps, width) if first.fields.get("return_sequences") else (width,)
        y = self.put(kind, out, *xs, params=params, macs=macs)
        found = [y, self.put(ITEM, out, y)] if len(ways) > 1 and merge is None else [y]
        if first.fields.get("return_state"):
            states = (2 if first.kind == "LSTM" else 1) * len(ways)
            found += [self.put(ITEM, (units,), y) for _ in range(states)]
        return found

    # Attention

    def _read_multiheadattention(self, it: Layer, *xs: Tensor) -> list[Tensor]:
        """Attention of query, value and key, by default the value."""
        query, value = xs[0], xs[1 if len(xs) > 1 else 0]
        key = xs[2] if len(xs) > 2 else value
        heads, size = it.number("num_heads", it.fields.get("num_query_heads")), it.number("key_dim")
        wide = it.number("value_dim") if it.fields.get("value_dim") is not None else size
        return self._attention(it, (query, value, key), (heads, heads), (size, wide))

    def _read_groupedqueryattention(self, it: Layer, *xs: Tensor) -> list[Tensor]:
        heads, kv_heads = it.number("num_query_heads"), it.number("num_key_value_heads")
        size = it.number("head_dim")
        key = xs[2] if len(xs) > 2 else xs[1 if len(xs) > 1 else 0]
        return self._attention(it, (xs[0], xs[1 if len(xs) > 1 else 0], key), (heads, kv_heads), (size, size))

    _read_groupqueryattention = _read_groupedqueryattention

    def _attention(
        self, it: Layer, xs: tuple[Tensor, Tensor, Tensor], heads: tuple[int, int], sizes: tuple[int, int]
    ) -> list[Tensor]:
        query, value, key = (self.shape(x) for x in xs)
        rank = len(query)
        if rank < 2 or len(value) != rank or len(key) != rank:
            raise it.fault("reads no sequences of features")
        axes = it.axes("attention_axes", rank) if it.fields.get("attention_axes") else list(range(rank - 1))
        own, other = (math.prod(shape[axis] for axis in axes) for shape in (query, key))
        beside = math.prod(size for i, size in enumerate(query[:-1]) if i not in axes)
        bias, (query_heads, kv_heads), (size, wide) = it.flag("use_bias"), heads, sizes
        q = self.linear(xs[0], query_heads * size, bias)
        k = self.linear(xs[2], kv_heads * size, bias)
        v = self.linear(xs[1], kv_heads * wide, bias)
        scores = (beside, query_heads, own, other)
        a = self.put("MatMul", scores, q, k, macs=math.prod(scores) * size)
        a = self.put("Softmax", scores, a)
        y = self.put("MatMul", (*query[:-1], query_heads * wide), a, v, macs=math.prod(scores) * wide)
        width = it.fields.get("output_shape")
        width = width[0] if isinstance(width, list) and len(width) == 1 else width
        width = query[-1] if width is None else it.of(width=width).number("width")
        return [self.linear(y, width, bias), a]

    def _read_attention(self, it: Layer, *xs: Tensor) -> list[Tensor]:
        """Attention of query, value and key without weight matrices."""
        query, value = self.shape(xs[0]), self.shape(xs[1 if len(xs) > 1 else 0])
        if len(query) != 2 or len(value) != 2:
            raise it.fault("reads no sequences of features")
        scores = (query[0], value[0])
        scale = query[1] if it.kind == "AdditiveAttention" else 1
        held = scale if it.flag("use_scale", it.kind == "AdditiveAttention") else 0
        macs = 0 if it.kind == "AdditiveAttention" else math.prod(scores) * query[1]
        kinds = "Add" if it.kind == "AdditiveAttention" else "MatMul"
        a = self.put(kinds, scores, xs[0], xs[-1], params=held, macs=macs)
        a = self.put("Softmax", scores, a)
        out = (query[0], value[1])
        return [self.put("MatMul", out, a, xs[1 if len(xs) > 1 else 0], macs=math.prod(out) * value[0]), a]

    _read_additiveattention = _read_attention

    # Norms

    def _read_layernormalization(self, it: Layer, x: Tensor) -> Tensor:
        shape = self.shape(x)
        size = math.prod(shape[axis] for axis in it.axes("axis", len(shape)))
        on = 1 if it.fields.get("rms_scaling") else it.flag("scale") + it.flag("center")
        return self.put("LayerNormalization", shape, x, params=size * on)

    def _read_rmsnormalization(self, it: Layer, x: Tensor) -> Tensor:
        shape = self.shape(x)
        held = math.prod(shape[axis] for axis in it.axes("axis", len(shape)))
        return self.put("RMSNormalization", shape, x, params=held)

    def _read_groupnormalization(self, it: Layer, x: Tensor) -> Tensor:
        shape = self.shape(x)
        axis = it.axis("axis", len(shape))
        return self.put("GroupNormalization", shape, x, params=shape[axis] * (it.flag("scale") + it.flag("center")))

    def _read_layerscale(self, it: Layer, x: Tensor) -> Tensor:
        """Keras's ConvNeXt: a factor per channel."""
        return self.put("Mul", self.shape(x), x, params=it.number("projection_dim"))

    def _read_unitnormalization(self, it: Layer, x: Tensor) -> Tensor:
        return self.put("LpNormalization", self.shape(x), x)

    # Layers with inner layers

    def called(self, config: Any, x: Tensor) -> list[Tensor]:
        """The outputs of a layer inside another layer's configuration, without its weights."""
        raise NotImplementedError

    def _read_timedistributed(self, it: Layer, x: Tensor) -> Tensor:
        """The inner layer at every step."""
        shape = self.shape(x)
        if len(shape) < 2:
            raise it.fault("reads no sequence")
        before = len(self.net.ops)
        (y, *_) = self.called(it.fields.get("layer"), self.moved("Slice", shape[1:], x))
        for i, op in enumerate(self.net.ops[before:], before):
            times = shape[0] * op.attrs.get("times", 1)
            if times > MOST_ELEMENTS:
                raise it.fault("runs a layer too often")
            self.net.ops[i] = replace(op, attrs={**op.attrs, "times": times})
        return self.put("Concat", (shape[0], *self.shape(y)), y)

    def _read_spectralnormalization(self, it: Layer, x: Tensor) -> list[Tensor]:
        return self.called(it.fields.get("layer"), x)
