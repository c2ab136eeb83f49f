"""The network under construction from a .tflite file.

A network has its channels first: a tensor of four axes (batch, height, width, channels) becomes (channels, height,
width), unless it goes into or comes out of a transposition between the two orders.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from datasets.files.reading import shortened
from datasets.networks.builder import NetworkBuilder
from datasets.networks.flatbuffer import Damaged
from datasets.networks.network import Network, Port
from datasets.networks.ops import BYTES, ITEM, params
from datasets.networks.tflite_calls import Call, Constant, Frame
from datasets.networks.tflite_schema import Tensor, TFLite
from datasets.records import InputError

ACTIVATIONS = {1: "relu", 2: "Clip", 3: "relu6", 4: "tanh", 5: "Sign"}
"""Fused activations by number."""
TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
"""Transpositions of images to channels last, and to channels first."""
_MASKED = -1e4  # what masks add where nothing is to be seen, or less


class Graph:
    """Collects a network.

    Args:
        file: the content of the file.
        path: of the file, for messages.
        batch: first size of the inputs.
    """

    def __init__(self, file: TFLite, path: str, batch: int) -> None:
        self.file, self.path, self.batch = file, path, batch
        self.net = NetworkBuilder()
        self.times = 1
        self.sources: dict[int, tuple[int, ...]] = {}
        self.held: dict[int, Sequence[Constant]] = {}  # node -> its weights
        self.looked: dict[Any, tuple[bool, bool]] = {}  # place in the file -> what was found there
        self.notes: dict[str, None] = {}  # in order, each once

    # Shapes and tensors

    def sample(self, tensor: Tensor, first: bool = False) -> tuple[tuple[int, ...], bool]:
        """Shape without the batch, and whether it is of a whole run since no axis is the batch."""
        whole = tensor.shape[:1] != (self.batch,)
        shape = tensor.shape if whole else tensor.shape[1:]
        if len(tensor.shape) == 4 and not first:
            shape = shape[-1:] + shape[:-1]
        return shape or (1,), whole and self.batch > 1

    def shape(self, frame: Frame, index: int) -> tuple[int, ...]:
        """Shape of a tensor without the batch."""
        return self.sample(frame.graph.tensors[index], index in frame.first)[0]

    def node(self, frame: Frame, index: int) -> int:
        """The node that computes a tensor in the tensor's own shape."""
        x = frame.nodes[index]
        if self.net.shape(x) != self.shape(frame, index):
            x = frame.nodes[index] = self.put("Reshape", frame, index, [x])
        return x

    def images(self, call: Call, count: int) -> list[int] | None:
        """Nodes of the first `count` inputs, if all are computed and begin with the batch, else None."""
        indices = call.inputs[:count]
        if len(indices) < count or any(
            i not in call.frame.nodes or call.frame.graph.tensors[i].shape[:1] != (self.batch,) for i in indices
        ):
            return None
        return [self.node(call.frame, i) for i in indices]

    def integers(self, call: Call, index: int) -> list[int] | None:
        """Values of an input that is a short constant of integers, else None."""
        known = call.known(index)
        if known is None or not known.plain or known.tensor.dtype not in ("int32", "int64") or known.elements > 64:
            return None
        values = self.file.values(known.tensor)
        return None if values is None else values.tolist()

    # Adding ops

    def put(
        self,
        kind: str,
        frame: Frame,
        index: int,
        inputs: Sequence[int],
        weights: Sequence[Constant] = (),
        shape: tuple[int, ...] | None = None,
        whole: bool = False,
        **attrs: Any,
    ) -> int:
        """Add an op that computes a tensor.

        Args:
            kind, attrs: of the op.
            frame, index: of the tensor.
            inputs: the nodes that it reads.
            weights: constants that are its parameters.
            shape: by default the tensor's.
            whole: whether shape and counts are of a whole run though the tensor begins with the batch.
        """
        tensor = frame.graph.tensors[index]
        own, unsplit = self.sample(tensor, index in frame.first)
        shape = shape or (tensor.shape or (1,) if whole else own)
        attrs |= {"dtype": tensor.dtype} if tensor.dtype != "float32" else {}
        attrs |= {"whole": 1} if whole or unsplit else {}
        attrs |= {"times": self.times} if self.times != 1 else {}
        x = self.net.add(kind, shape, *inputs, **attrs)
        self.sources[x] = tuple(inputs)
        if weights:
            held, stored = sum(w.elements for w in weights), sum(w.bytes for w in weights)
            if params(self.net.ops[x], self.net.shape(inputs[0])) != held:
                raise Damaged(f"the weights of a {shortened(kind, 60)} do not fit its input")
            if stored != BYTES * held:
                self.net.ops[x] = replace(self.net.ops[x], attrs={**self.net.ops[x].attrs, "param_bytes": stored})
            self.held[x] = weights
        return x

    def foreign(
        self,
        call: Call,
        kind: str,
        macs: int = 0,
        read: int | None = None,
        weights: Sequence[Constant] | None = None,
        **attrs: Any,
    ) -> None:
        """Add an op outside of the vocabulary, with an item per further output.

        Args:
            call: of the operator.
            kind, attrs: of the op.
            macs: of the whole run.
            read: bytes that the whole run reads, if these are not those of all inputs.
            weights: constants that are its parameters; by default all of more than one real number.
        """
        frame = call.frame
        kept = [index for index in call.outputs if frame.graph.tensors[index].dtype not in ("resource", "variant")]
        if not kept:
            return
        if weights is None:
            weights = [w for w in call.constants() if w.weight and not self._setting(call, w)]
        inputs = [self.node(frame, index) for index in call.computed()]
        if held := sum(w.elements for w in weights):
            attrs["params"] = held
        if not inputs:  # of variables, or of a loop's own state
            inputs, read = [0], sum(w.bytes for w in weights) if read is None else read
        unsplit = frame.graph.tensors[kept[0]].shape[:1] != (self.batch,) or macs % self.batch > 0
        whole = self.batch > 1 and unsplit
        runs = 1 if whole else self.batch
        attrs |= {"macs": macs // runs} if macs else {}
        attrs |= {"read_bytes": -(-read // runs)} if read is not None else {}
        x = self.put(kind, frame, kept[0], inputs, weights, whole=whole, **attrs)
        frame.nodes[kept[0]] = x
        for index in kept[1:]:
            frame.nodes[index] = self.put(ITEM, frame, index, [x])

    def _setting(self, call: Call, weight: Constant) -> bool:
        """Whether a constant is not a parameter: a placeholder of zeros, or a mask that is added."""
        if call.name == "ADD" and weight.plain and weight.tensor.dtype.startswith("float"):
            return self.looks(weight)[1]
        return call.name in ("SELECT", "SELECT_V2", "PADV2")

    def looks(self, constant: Constant) -> tuple[bool, bool]:
        """Whether the tensor of a constant is all zeros, and whether it is zeros and large numbers as in a mask."""
        place, values = constant.tensor.stored, self.file.values(constant.tensor)
        if place not in self.looked:
            zero = masks = False
            if values is not None:
                with np.errstate(invalid="ignore"):  # of numbers that are none
                    zero = not values.any()
                    masks = not zero and bool(values.min() <= _MASKED and np.isin(values, (0, values.min())).all())
            self.looked[place] = zero, masks
        return self.looked[place]

    def activated(self, call: Call, number: int) -> None:
        """Add the fused activation of an operator as an op of its own."""
        frame, index = call.frame, call.outputs[0]
        if number in ACTIVATIONS and index in frame.nodes:
            x = frame.nodes[index]
            shape, whole = self.net.shape(x), bool(self.net.ops[x].attrs.get("whole"))
            frame.nodes[index] = self.put(ACTIVATIONS[number], frame, index, [x], (), shape, whole)

    def finish(self, frame: Frame, key: str, batch: int) -> tuple[Network, dict[int, Sequence[Constant]]]:
        """The network of all inputs and the ops that reach an output, and weights by node, shared ones once."""
        ends = [index for index in dict.fromkeys(frame.graph.outputs) if index in frame.nodes]
        needed = {self.node(frame, index) for index in ends}
        starts = {frame.nodes[index] for index in frame.graph.inputs}
        if needed <= starts:
            raise InputError(f"No output of {self.path} depends on its inputs, so there is no network to look at.")
        needed |= starts
        for node in reversed(range(len(self.net.ops))):
            if node in needed:
                needed.update(self.sources.get(node, ()))
        number = {old: new for new, old in enumerate(sorted(needed))}
        ops, seen = [], set[tuple[int, int] | None]()
        for old in number:
            op = self.net.ops[old]
            if old in self.held:
                place = max(self.held[old], key=lambda weight: weight.bytes).tensor.stored
                op = replace(op, attrs={**op.attrs, "tied": 1}) if place in seen else op
                seen.add(place)
            ops.append(op)
        edges = tuple((number[s], number[t], port) for s, t, port in self.net.edges if t in number)
        inputs = self._ports(frame, frame.graph.inputs, number)
        network = Network("tflite", key, tuple(ops), edges, batch, inputs, self._ports(frame, ends, number))
        return network, {number[old]: held for old, held in self.held.items() if old in number}

    def _ports(self, frame: Frame, tensors: Iterable[int], number: dict[int, int]) -> tuple[Port, ...]:
        found, names = [], Counter[str]()
        for index in tensors:
            tensor = frame.graph.tensors[index]
            name = tensor.name or f"tensor {index}"
            names[name] += 1
            name += f" ({names[name]})" if names[name] > 1 else ""
            found.append(Port(name, number[frame.nodes[index]], tensor.dtype))
        return tuple(found)
