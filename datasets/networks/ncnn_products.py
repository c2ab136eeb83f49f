"""ncnn's layers that multiply matrices: products, attention, recurrent layers and embeddings."""

from __future__ import annotations

import math
from collections.abc import Sequence

from datasets.networks.ncnn_graph import Blob
from datasets.networks.ncnn_text import Layer
from datasets.networks.ncnn_windows import Windows

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_BIASES = {"LSTM": 4, "GRU": 4, "RNN": 1}


class Products(Windows):
    """Reads products of matrices and what is made of them."""

    def _join_gemm(self, layer: Layer, blobs: Sequence[Blob]) -> Blob:
        """A product of A (rows, depth) and B (depth, columns), each constant or the next input, plus maybe C."""
        given = list(blobs)
        sides = [layer.number(key, 0, 0) for key in (7, 8, 9)]
        shapes = list[tuple[int, int]]()
        for key, transposed, places in ((4, layer.number(2), (0, 2)), (5, layer.number(3), (2, 1))):
            if layer.number(key):
                shapes.append((sides[places[0]], sides[places[1]]))
                continue
            if not given:
                raise layer.fault("lacks an input")
            shape = given.pop(0).shape
            if len(shape) > 1 and len([side for side in shape[:-1] if side > 1]) < 2:
                flat = (math.prod(shape[:-1]), shape[-1])
            elif len(shape) == 1:
                flat = (shape[0], 1) if places == (2, 1) else (1, shape[0])
            else:
                raise layer.fault(f"reads a tensor of {len(shape)} dimensions, and needs a matrix")
            shapes.append(flat[::-1] if transposed else flat)
        (rows, depth), (inner, columns) = shapes
        if depth != inner:
            raise layer.fault(
                f"multiplies rows of {depth:,} and columns of {inner:,} numbers; give the network the sizes it was "
                "made for, or convert it again"
            )
        held = sum(a * b for key, (a, b) in zip((4, 5), shapes, strict=True) if layer.number(key))
        if layer.number(6):
            held += {0: 1, 1: rows, 2: rows, 3: rows * columns, 4: columns}.get(layer.number(10), 0)
        kind = "Gemm" if layer.number(6) and layer.number(10) >= 0 else "MatMul"
        shape = (columns, rows) if layer.number(14) else (rows, columns)
        work = rows * depth * columns
        bias = int(kind == "Gemm" and layer.number(10) == 4)
        return self.foreign(layer, kind, [shape], blobs, held, macs=work, bias=bias)[0]

    def _join_matmul(self, layer: Layer, blobs: Sequence[Blob]) -> Blob:
        if len(blobs) != 2 or min(len(blob.shape) for blob in blobs) < 2:
            raise layer.fault("needs two matrices")
        a, b = (blob.shape for blob in blobs)
        inner, columns = (b[-1], b[-2]) if layer.number(0) else (b[-2], b[-1])
        front = max(a[:-2], b[:-2], key=math.prod)
        if a[-1] != inner:
            raise layer.fault(f"multiplies rows of {a[-1]:,} and columns of {inner:,} numbers")
        shape = (*front, a[-2], columns)
        return self.foreign(layer, "MatMul", [shape], blobs, macs=math.prod(shape) * inner)[0]

    # Attention

    def _join_multiheadattention(self, layer: Layer, blobs: Sequence[Blob]) -> Blob:
        """Attention as its products: three of the inputs and weights, two of each other, one of the result."""
        masks = int(layer.number(5) != 0)
        width, heads = layer.number(0, least=1), layer.number(1, 1, 1)
        tokens = [blob for blob in blobs[: max(len(blobs) - masks, 1)] if len(blob.shape) == 2]
        if not 0 < len(tokens) < 4:
            raise layer.fault("needs one to three inputs of tokens and their features")
        query, key = tokens[0], tokens[min(1, len(tokens) - 1)]
        value = tokens[2] if len(tokens) > 2 else key
        for blob, size in ((query, layer.number(2) // width), (key, layer.number(3, width)),
                           (value, layer.number(4, width))):  # fmt: skip
            if blob.shape[1] != size:
                raise layer.fault(f"reads {blob.shape[1]:,} features, and its weights are for {size:,}")
        (rows, features), steps = query.shape, key.shape[0]
        q, k, v = (self._rows(layer, blob, width) for blob in (query, key, value))
        scores = self._product(layer, (heads, rows, steps), width // heads, [q, k])
        scores = self.foreign(layer, "Softmax", [(heads, rows, steps)], [scores, *blobs[len(blobs) - masks :]])[0]
        return self._rows(layer, self._product(layer, (rows, width), steps, [scores, v]), features)

    def _join_sdpa(self, layer: Layer, blobs: Sequence[Blob]) -> list[Blob]:
        """Attention of (heads, tokens, features) as its products; keys and values may be appended to a cache."""
        masks, cached = int(layer.number(5) != 0), layer.number(7) != 0
        if len(blobs) != 3 + masks + 2 * cached or any(len(blob.shape) != 3 for blob in blobs[:3]):
            raise layer.fault("needs query, key and value of heads, tokens and features, and their mask and caches")
        query, key, value = blobs[:3]
        out = list[Blob]()
        if cached:
            for new, past in zip((key, value), blobs[3 + masks :], strict=True):
                shape = (new.shape[0], new.shape[1] + past.shape[-2], new.shape[2])
                out += self.foreign(layer, "Concat", [shape], [past, new])
            key, value = out
        (heads, rows, depth), steps = query.shape, key.shape[1]
        scores = self._product(layer, (heads, rows, steps), depth, [query, key])
        scores = self.foreign(layer, "Softmax", [scores.shape], [scores, *blobs[3 : 3 + masks]])[0]
        return [self._product(layer, (heads, rows, value.shape[2]), steps, [scores, value]), *out]

    def _rows(self, layer: Layer, blob: Blob, columns: int) -> Blob:
        """A dense layer of every row of a matrix."""
        rows, features = blob.shape
        held, work = (features + 1) * columns, rows * features * columns
        return self.foreign(layer, "Gemm", [(rows, columns)], [blob], held, macs=work, bias=1)[0]

    def _product(self, layer: Layer, shape: tuple[int, ...], depth: int, blobs: Sequence[Blob]) -> Blob:
        return self.foreign(layer, "MatMul", [shape], blobs, macs=math.prod(shape) * depth)[0]

    def _join_rotaryembed(self, layer: Layer, blobs: Sequence[Blob]) -> Blob:
        return self.foreign(layer, "RotaryEmbedding", [blobs[0].shape], blobs)[0]

    # Recurrent layers and embeddings

    def _read_lstm(self, layer: Layer, x: Blob) -> Blob:
        """A layer over (steps, features); each gate reads the features and the hidden state."""
        if len(x.shape) != 2:
            raise layer.fault(f"reads a tensor of {len(x.shape)} dimensions, and needs steps and features")
        (steps, features), out = x.shape, layer.number(0, least=1)
        directions = 2 if layer.number(2) == 2 else 1
        hidden = layer.number(3, out, 1) if layer.kind == "LSTM" else out
        rows, biases = hidden * _GATES[layer.kind], hidden * _BIASES[layer.kind]
        if layer.number(1) != rows * features * directions:
            raise layer.fault(
                f"has {layer.number(1):,} weights, and its input needs {rows * features * directions:,}; give the "
                "network the sizes it was made for, or convert it again"
            )
        weights = rows * (features + out) + (hidden * out if hidden != out else 0)
        params, work = directions * (weights + biases), steps * directions * weights
        return self.foreign(layer, layer.kind, [(steps, directions * out)], [x], params, macs=work)[0]

    _read_gru = _read_rnn = _read_lstm

    def _read_embed(self, layer: Layer, x: Blob) -> Blob:
        out, words = layer.number(0, least=1), layer.number(1, least=1)
        shape = (*x.shape, out)
        held = (words + (layer.number(2) != 0)) * out
        return self.foreign(layer, "Gather", [shape], [x], held, read_bytes=4 * math.prod(shape))[0]
