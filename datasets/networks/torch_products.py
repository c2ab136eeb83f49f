"""Multiply-accumulates of ATen's matrix products, recurrent layers and attention."""

from __future__ import annotations

import math
from typing import Any

from datasets.networks.einsum import contraction
from datasets.networks.torch_graph import TorchGraph
from datasets.networks.torch_program import Call, Ref

_RNN = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN", "rnn_relu": "RNN"}


class TorchProducts(TorchGraph):
    """One method per op of ATen, or per group of similar ops; each returns the op's node."""

    def _read_linear(self, call: Call) -> int:
        name, weight, bias = (name_of(call.args.get(part)) for part in ("input", "weight", "bias"))
        return self._product(call, name, weight, bias, self.full(weight)[-1])

    def _read_addmm(self, call: Call) -> int:
        name, weight, bias = (name_of(call.args[part]) for part in ("mat1", "mat2", "self"))
        rows = bias in self.nodes or len(self.full(bias)) > 1
        return self.foreign(call, "Gemm", self._macs(call, name)) if rows else self._product(
            call, name, weight, bias, self.full(name)[-1])  # fmt: skip

    def _read_mm(self, call: Call) -> int:
        name, weight = call.refs()
        return self._product(call, name, weight, "", self.full(name)[-1])

    _read_matmul = _read_mm

    def _product(self, call: Call, name: str, weight: str, bias: str, inner: int) -> int:
        """A dense layer for rows of features and a matrix of parameters, else a MatMul and an Add of the bias."""
        out = call.outputs[0]
        full, dtype = self.full(out), self.program.dtypes[out]
        rows = name in self.nodes and len(self.full(name)) == 2 and self.full(name)[0] == self.batch
        fixed = weight not in self.nodes and bias not in self.nodes and len(self.full(weight)) == 2
        if rows and fixed and math.prod(self.net.shape(self.nodes[name])) == inner:
            shared = bias and self.leaves[weight] <= self.counted and not self.leaves[bias] <= self.counted
            held = [weight, bias] if bias and not shared else [weight]
            x = self.put("dense", full, dtype, [self.nodes[name]], held, bias=len(held) - 1)
            bias = bias if shared else ""
        else:
            computed = [n for n in (name, weight) if n in self.nodes]
            leaves = [n for n in (name, weight) if n not in self.nodes]
            x = self.put("MatMul", full, dtype, [self.tensor(n) for n in computed], leaves, self.size(out) * inner)
        if not bias:
            return x
        if bias in self.nodes:
            return self.put("Add", full, dtype, [x, self.tensor(bias)])
        return self.put("Add", full, dtype, [x], [bias])

    def _read_bmm(self, call: Call) -> int:
        return self.foreign(call, "MatMul", self._macs(call, call.refs()[0]))

    def _read_baddbmm(self, call: Call) -> int:
        return self.foreign(call, "MatMul", self._macs(call, name_of(call.args["batch1"])))

    _read_addbmm = _read_baddbmm

    def _read_mv(self, call: Call) -> int:
        return self.foreign(call, "MatMul", self._macs(call, name_of(call.args["self"])))

    _read_dot = _read_vdot = _read_inner = _read_mv

    def _read_addmv(self, call: Call) -> int:
        return self.foreign(call, "MatMul", self._macs(call, name_of(call.args["mat"])))

    def _read_tensordot(self, call: Call) -> int:
        full = self.full(name_of(call.args["self"]))
        inner = math.prod(full[dim] for dim in call.args["dims_self"])
        return self.foreign(call, "MatMul", self.size(call.outputs[0]) * inner)

    def _read_cdist(self, call: Call) -> int:
        return self.foreign(call, "", self._macs(call, name_of(call.args["x1"])))

    _read__cdist_forward = _read_cdist

    def _read_bilinear(self, call: Call) -> int:
        out, (_, left, right) = self.size(call.outputs[0]), self.full(name_of(call.args["weight"]))
        return self.foreign(call, "", out * left * right + out * right)

    def _read_einsum(self, call: Call) -> int:
        shapes = tuple(self.program.shapes[ref.name] for ref in call.args["tensors"])
        return self.foreign(call, "Einsum", contraction(call.args["equation"], shapes))

    def _read_scaled_dot_product_attention(self, call: Call) -> int:
        query, key, value = (name_of(call.args[part]) for part in ("query", "key", "value"))
        mask = name_of(call.args.get("attn_mask", call.args.get("attn_bias")))
        dtype, full = self.program.dtypes[query], self.full(query)
        scores = (*full[:-1], self.full(key)[-2])
        read, held = self._parts(query, key)
        x = self.put("MatMul", scores, dtype, read, held, math.prod(scores) * full[-1])
        if mask:
            read, held = self._parts(mask)
            x = self.put("Add", scores, dtype, [x, *read], held)
        x = self.put("Softmax", scores, dtype, [x])
        read, held = self._parts(value)
        out = self.full(call.outputs[0])
        return self.put("MatMul", out, dtype, [x, *read], held, math.prod(out) * scores[-1])

    _read__scaled_dot_product_flash_attention = _read_scaled_dot_product_attention
    _read__scaled_dot_product_flash_attention_for_cpu = _read_scaled_dot_product_attention
    _read__scaled_dot_product_efficient_attention = _read_scaled_dot_product_attention
    _read__scaled_dot_product_cudnn_attention = _read_scaled_dot_product_attention

    def _read_lstm(self, call: Call) -> int:
        """One op for all layers and directions; per step each weight of its matrices is a multiply-accumulate."""
        a, name = call.args, call.op.partition(".")[2]
        source = name_of(a.get("data", a.get("input")))
        held = [ref.name for ref in a["params"]]
        layers, out = a["num_layers"], call.outputs[0]
        steps, each = self.size(source) // self.full(source)[-1], len(held) // layers
        states = [ref.name for ref in (a["hx"] if isinstance(a["hx"], list) else [a["hx"]])]
        states = [state for state in states if state in self.nodes]
        read, own = self._parts(source)
        x = -1
        for layer in range(min(layers, len(held))):
            weights = held[layer * each : (layer + 1) * each]
            matrices = sum(self.size(n) for n in weights if len(self.full(n)) > 1)
            inputs = [*read, *(self.tensor(state) for state in states)]
            full, dtype = self.full(out), self.program.dtypes[out]
            x = self.put(_RNN[name], full, dtype, inputs, [*weights, *own], steps * matrices)
            read, own = [x], []
        return x

    _read_gru = _read_rnn_tanh = _read_rnn_relu = _read_lstm

    def size(self, name: str) -> int:
        """Elements of a tensor."""
        return math.prod(self.program.shapes[name])

    def _macs(self, call: Call, name: str) -> int:
        """Multiply-accumulates of a product that sums over the last dimension of its first factor."""
        return self.size(call.outputs[0]) * self.full(name)[-1]

    def _parts(self, *names: str) -> tuple[list[int], list[str]]:
        """Nodes of the tensors that are computed, and names of the others."""
        return [self.tensor(n) for n in names if n in self.nodes], [n for n in names if n not in self.nodes]


def name_of(value: Any) -> str:
    """The name of an argument that is a tensor, else ''."""
    return value.name if isinstance(value, Ref) else ""
