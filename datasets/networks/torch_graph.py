"""Programs of torch.export as networks: tensors, weights and shapes; `torch_ops` reads the single ops.

Tensors that depend on weights and constants only are no ops, since runtimes fold them. Every op counts the parameters
that it reads; an op whose parameters all belong to earlier ops is `tied`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from datasets.networks.builder import NetworkBuilder
from datasets.networks.network import Network, Port
from datasets.networks.ops import BITS, ITEM, params
from datasets.networks.torch_program import Call, Program
from datasets.records import InputError

MOST_CALLS = 50_000
"""Largest number of ops of a program."""

_NAMES = """
layer_norm native_layer_norm LayerNormalization; group_norm native_group_norm GroupNormalization; instance_norm
InstanceNormalization; rms_norm RMSNormalization; _softmax _safe_softmax Softmax; _log_softmax LogSoftmax; rsub Sub;
mean ReduceMean; sum ReduceSum; amax ReduceMax; amin ReduceMin; argmax ArgMax; argmin ArgMin; topk TopK; cumsum
CumSum; stack cat Concat; masked_fill Where; clamp clamp_min clamp_max hardtanh Clip; eq Equal; gt Greater; lt Less;
ge GreaterOrEqual; le LessOrEqual; logical_not bitwise_not Not; logical_and bitwise_and And; logical_or bitwise_or Or;
tril triu Trilu; repeat Tile; pixel_shuffle DepthToSpace; pixel_unshuffle SpaceToDepth; grid_sampler grid_sampler_2d
GridSample; constant_pad_nd reflection_pad2d replication_pad2d Pad; scatter ScatterElements; index_put
_unsafe_index_put ScatterND; max_pool1d max_pool2d max_pool3d max_pool2d_with_indices MaxPool; avg_pool1d avg_pool2d
avg_pool3d AveragePool; adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d _adaptive_avg_pool2d
_adaptive_avg_pool3d AdaptiveAvgPool; prelu _prelu_kernel PRelu; batch_norm _native_batch_norm_legit_no_training
_native_batch_norm_legit native_batch_norm cudnn_batch_norm BatchNormalization; silu Silu; permute transpose t numpy_T
movedim swapaxes Transpose; slice select narrow Slice; split split_with_sizes chunk unbind tensor_split unsafe_split
unsafe_chunk Split; upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_bilinear2d upsample_bicubic2d
upsample_linear1d upsample_trilinear3d _upsample_bilinear2d_aa _upsample_bicubic2d_aa Resize"""
NAMES = {name: kind for *names, kind in map(str.split, _NAMES.split(";")) for name in names}
"""Op of ATen -> ONNX's name for it; other ops have ATen's name in camel case: `LeakyRelu`."""


LIKE = ("type_as", "expand_as", "view_as", "reshape_as")
"""Operators of two tensors of which only the first one's values count: of a weight, they give a constant."""


class TorchGraph:
    """Collects the network of a program. A subclass has a method `_read_<name>` for each op of ATen with an equivalent
    in the vocabulary or with multiply-accumulates, which returns the node, or None if the op does not fit.

    The batch is the first dimension of the inputs if it is the same for all, else 1.

    Args:
        program: the exported program.
        what: name of the module in messages.
    """

    def __init__(self, program: Program, what: str) -> None:
        self.program, self.what = program, what
        if len(program.calls) > MOST_CALLS:
            raise InputError(f"{what} has {len(program.calls):,} ops, more than the {MOST_CALLS:,} that are read.")
        first = {self.full(name)[0] for name in program.inputs if program.shapes[name]}
        self.batch = first.pop() if len(first) == 1 and 0 not in first else 1
        self.net = NetworkBuilder(self.batch)
        self.nodes: dict[str, int] = {}  # tensor -> node that computes it, possibly in another shape of equal size
        self.leaves = {name: frozenset[str]() for name in program.shapes}  # tensor -> parameters that it depends on
        self.sizes: dict[str, tuple[int, int]] = {}  # parameter -> elements and bytes
        self.counted: set[str] = set()
        self.own: dict[int, str] = {}
        self.uses = Counter(name for call in program.calls for name in call.refs()) + Counter(program.outputs)

    def read(self, space: str, key: str) -> Network:
        """The network; raises `InputError` if its outputs do not depend on its inputs."""
        program = self.program
        for name, weight in program.weights.items():
            self.leaves[name] = frozenset((weight,))
            self.sizes[weight] = math.prod(program.shapes[name]), program.bytes(name)
        for name in program.inputs:
            self.nodes[name] = self.put("input", self.full(name), program.dtypes[name], [])
        for call in program.calls:
            self.net.name = next(iter(call.outputs), "")
            self._add(call)
        ends = [(name, self.tensor(name)) for name in program.outputs if name in self.nodes]
        needed = {node for _, node in ends}
        before = self.net.edges
        sources: dict[int, list[int]] = {}
        for source, target, _ in before:
            sources.setdefault(target, []).append(source)
        for node in reversed(range(len(self.net.ops))):
            if node in needed:
                needed.update(sources.get(node, ()))
        if all(self.net.ops[node].kind == "input" for node in needed):
            raise InputError(f"The output of {self.what} does not depend on its input, so there is no network to see.")
        needed.update(self.nodes[name] for name in program.inputs if self.net.ops[self.nodes[name]].kind == "input")
        number = {old: new for new, old in enumerate(sorted(needed))}
        edges = tuple((number[s], number[t], port) for s, t, port in before if t in number)
        inputs = tuple(Port(name, i, program.dtypes[name]) for i, name in enumerate(program.inputs))
        outputs = tuple(Port(name, number[node], program.dtypes[name]) for name, node in ends)
        return Network(space, key, tuple(self.net.ops[old] for old in number), edges, self.batch, inputs, outputs)

    def _add(self, call: Call) -> None:
        if not call.outputs:
            return
        namespace, _, name = call.op.partition(".")
        read = call.refs()[:1] if name in LIKE else call.refs()
        if not any(ref in self.nodes for ref in read):
            leaves = frozenset[str]().union(*(self.leaves[ref] for ref in read))
            self.leaves |= dict.fromkeys(call.outputs, leaves)
            return
        changes = name.endswith("_") and not name.endswith("__")
        name = name.removesuffix("_") if changes else name
        method = getattr(self, f"_read_{name}", None) if namespace in ("aten", "torchvision") else None
        x = method(call) if method else None
        x = self.foreign(call) if x is None else x
        self.nodes[call.outputs[0]] = x
        self.own.setdefault(x, call.outputs[0])
        for other in call.outputs[1:]:
            if self.uses[other]:
                self.nodes[other] = self.put(ITEM, self.full(other), self.program.dtypes[other], [x])
        if changes and call.refs():
            self.nodes[call.refs()[0]] = x

    # Tensors

    def full(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, batch dimension included."""
        return self.program.shapes[name] or (1,)

    def tensor(self, name: str) -> int:
        """The node that computes a tensor in its own shape, or (channels, 1, 1) instead of (channels,)."""
        x, (shape, _) = self.nodes[name], self._placed(self.full(name))
        if self.net.shape(x) not in (shape, (*shape, 1, 1)):
            x = self.nodes[name] = self.put("Reshape", self.full(name), self.program.dtypes[name], [x])
        return x

    def images(self, names: Sequence[str], *ranks: int) -> list[int] | None:
        """Nodes of tensors, if all are computed, have one of these ranks and the batch first, else None."""
        known = all(n in self.nodes and len(self.full(n)) in ranks and self.full(n)[0] == self.batch for n in names)
        return [self.tensor(name) for name in names] if known else None

    def only(self, x: int, name: str) -> bool:
        """Whether an op has a single reader, by this tensor, so that the two may become one op."""
        return self.own.get(x) == name and self.uses[name] == 1

    def _placed(self, full: tuple[int, ...]) -> tuple[tuple[int, ...], bool]:
        """A shape without the batch, and whether it is of a whole run since its first dimension is not the batch."""
        if full[:1] == (self.batch,):
            return full[1:] or (1,), False
        return full, self.batch > 1

    # Ops

    def put(
        self,
        kind: str,
        full: tuple[int, ...],
        dtype: str,
        inputs: Sequence[int],
        weights: Iterable[str] = (),
        macs: int = 0,
        read: int | None = None,
        **attrs: Any,
    ) -> int:
        """Add an op.

        Args:
            full: shape of its output, batch included.
            dtype: of its output.
            inputs: nodes.
            weights: tensors that depend on parameters and constants only.
            macs: of a whole run.
            read: bytes that a whole run reads, if these are not all of inputs and weights.
            attrs: further attributes.
        """
        shape, whole = self._placed(full)
        share = 1 if whole else self.batch
        attrs |= {"whole": 1} if whole else {}
        attrs |= {"dtype": dtype} if dtype != "float32" else {}
        attrs |= {"macs": macs // share} if macs else {}
        attrs |= {"read_bytes": -(-read // share)} if read is not None else {}
        held = sorted(frozenset[str]().union(*(self.leaves[name] for name in weights)))
        new = [name for name in held if name not in self.counted]
        self.counted.update(new)
        attrs |= {"tied": 1} if held and not new else {}
        x = self.net.add(kind, shape, *inputs, **attrs)
        elements, size = (sum(self.sizes[name][i] for name in new or held) for i in (0, 1))
        op = self.net.ops[x]
        extra: dict[str, Any] = {}
        if elements and not (inputs and params(op, self.net.shape(inputs[0]))):
            extra["params"] = elements
        if size != elements * BITS["float32"] // 8:
            extra["param_bytes"] = size
        self.net.ops[x] = replace(op, attrs={**op.attrs, **extra})
        return x

    def pointwise(self, kind: str, *inputs: int, **attrs: Any) -> int:
        """Add an op of the vocabulary whose output has shape and type of its first input."""
        like = self.net.ops[inputs[0]].attrs
        return self.net.pointwise(kind, *inputs, **{k: like[k] for k in ("dtype", "whole") if k in like}, **attrs)

    def foreign(self, call: Call, kind: str = "", macs: int = 0, read: int | None = None) -> int:
        """Add an op outside of the vocabulary with its inputs, its parameters, and the counts `macs` and `read`."""
        namespace, _, name = call.op.partition(".")
        name = name.removesuffix("_")
        camel = "".join(part.capitalize() for part in name.strip("_").split("_"))
        kind = kind or (NAMES.get(name, camel) if namespace == "aten" else call.op)
        inputs = [self.tensor(name) for name in dict.fromkeys(call.refs()) if name in self.nodes]
        weights = [name for name in call.refs() if name not in self.nodes]
        out = call.outputs[0]
        return self.put(kind, self.full(out), self.program.dtypes[out], inputs, weights, macs, read)
