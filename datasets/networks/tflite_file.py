"""Reader of .tflite files: the first subgraph, with the subgraphs that it calls inlined."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from datasets.files.reading import shortened
from datasets.networks.flatbuffer import Damaged
from datasets.networks.model import Model
from datasets.networks.network import Network
from datasets.networks.onnx_file import file_key
from datasets.networks.onnx_graph import check_totals
from datasets.networks.ops import macs, tensor_bytes
from datasets.networks.sizes import Sizes
from datasets.networks.tflite_calls import Call, Constant, Frame
from datasets.networks.tflite_graph import TO_FIRST, TO_LAST
from datasets.networks.tflite_loops import trips_of
from datasets.networks.tflite_ops import Reader
from datasets.networks.tflite_schema import Subgraph, Tensor, TFLite, read_schema
from datasets.networks.tflite_sizes import resized
from datasets.networks.tflite_weights import stored_weights
from datasets.records import InputError

MOST_OPERATORS = 20_000
"""Largest number of operators of a network, subgraphs counted at each call."""
_MOST_STEPS = 100 * MOST_OPERATORS  # tensors of all subgraphs, inputs and outputs of all operators, likewise
_DEEPEST = 20  # subgraphs that call each other
_MOST_TRIPS = 2**31
_FRESH = ("RANDOM_UNIFORM", "RANDOM_STANDARD_NORMAL", "MULTINOMIAL", "VAR_HANDLE", "READ_VARIABLE")
_STORED = ("DEQUANTIZE", "DENSIFY")  # constants that are computed from fewer bytes than they have


def read_tflite(path: Path, batch: int | None = None, weights: bool = True, sizes: Sizes = Sizes()) -> Model:
    """Read the network in a file, channels first, and its weights if all of them are floats.

    The network's space is `tflite`, its key the file's name and the first twelve digits of the SHA-256 of its bytes; it
    fixes the batch.

    Args:
        path: the file.
        batch: fixes a batch that the file leaves open; by default 1.
        weights: whether to read the weights.
        sizes: further sizes that the file leaves open; LiteRT then computes the shapes of all tensors.

    Returns:
        The model; its notes list further sizes that the file leaves open, and assumptions on its control flow.

    Raises:
        InputError: it is not a TFLite file, is damaged or too large, has inputs of text, or outputs depend on no input;
            or it fixes what `sizes` gives.
    """
    path = Path(path)
    file = resized(read_schema(path), path, batch, sizes)
    try:
        network, held, notes = _network(file, path, batch)
    except Damaged as error:
        raise InputError(f"{path} is damaged ({shortened(error, 200)}); export or copy it again.") from None
    check_totals(network, str(path))
    main, own = file.subgraphs[0], network.batch or 1
    starts = [main.tensors[index] for index in main.inputs]
    shapes = tuple((own, *tensor.shape[1:]) if 0 in tensor.open else tensor.shape for tensor in starts)
    return Model(network, stored_weights(file, network, held) if weights else None, path, notes, shapes=shapes)


def _network(
    file: TFLite, path: Path, batch: int | None
) -> tuple[Network, dict[int, Sequence[Constant]], tuple[str, ...]]:
    main = file.subgraphs[0]
    starts = [main.tensors[index] for index in main.inputs]
    if not starts or len(set(main.inputs)) < len(starts):
        raise InputError(f"{path} has no input, or one twice, so there is no network to look at.")
    own, first = _batch([tensor for tensor in starts if len(tensor.shape) > 1])
    if batch is not None and batch < 1:
        raise InputError(f"A batch has 1 or more images, not {batch}.")
    if batch not in (None, own) and not first:
        raise InputError(f"{path} fixes its batch at {own}; leave the batch {batch} out, or export it open.")
    walk = _Walk(file, str(path), own)
    if sizes := [t for t in starts if set(t.open) - ({0} if first else set())]:
        names = ", ".join(f"{shortened(t.name, 60)} {'x'.join(map(str, t.shape))}" for t in sizes[:5])
        walk.note(f"It leaves sizes of its inputs open; counted are those that it was written with ({names}).")
    frame = walk.start(main)
    network, held = walk.finish(frame, file_key(path), own if batch is None else batch)
    if others := set(range(1, len(file.subgraphs))) - walk.called:
        walk.note(f"Only its first subgraph is read, and {len(others)} others are not called by it.")
    return network, held, tuple(walk.notes)


def _batch(inputs: Sequence[Tensor]) -> tuple[int, bool]:
    """The first size of all inputs, 1 if they differ, and whether all leave it open."""
    firsts = {tensor.shape[0] for tensor in inputs}
    batch = firsts.pop() if len(firsts) == 1 else 1
    return max(batch, 1), bool(inputs) and all(tensor.open[:1] == (0,) for tensor in inputs)


class _Walk(Reader):
    """Reads subgraphs operator by operator; methods `_call_<operator>` read operators that call other subgraphs."""

    def __init__(self, file: TFLite, path: str, batch: int) -> None:
        super().__init__(file, path, batch)
        self.called = {0}
        self.operators = self.steps = 0

    def note(self, sentence: str) -> None:
        """Add a sentence to the notes, once."""
        self.notes[sentence] = None

    def start(self, graph: Subgraph) -> Frame:
        """Read the main subgraph."""
        frame = self._frame(graph, 0)
        for index in graph.inputs:
            frame.nodes[index] = self.put("input", frame, index, [])
        self._run(frame)
        return frame

    def _spend(self, operators: int, steps: int) -> None:
        """Count what is read, since small files may contain endless recursion; raises `InputError` above the limits."""
        self.operators += operators
        self.steps += steps
        if self.operators > MOST_OPERATORS or self.steps > _MOST_STEPS or self.times > _MOST_TRIPS:
            raise InputError(
                f"{self.path} runs more than {MOST_OPERATORS:,} operators, or some of them without end; cut a part out."
            )

    def _frame(self, graph: Subgraph, depth: int) -> Frame:
        self._spend(0, len(graph.tensors) + len(graph.inputs) + len(graph.outputs))
        frame, starts = Frame(graph, {}, {}, depth), set(graph.inputs)
        for index, tensor in enumerate(graph.tensors):
            if tensor.stored:
                weight = tensor.real and tensor.elements > 1
                held = tensor.stored[1] if tensor.sparse else tensor.bytes
                frame.known[index] = Constant(tensor, tensor.elements, held, weight)
        for operator in graph.operators:
            for index in operator.inputs:
                frame.readers.setdefault(index, []).append(operator.name)
            call = Call(frame, operator)
            order = self.integers(call, 1) if operator.name == "TRANSPOSE" and operator.outputs else None
            if order == [*TO_LAST] and operator.inputs[0] in starts:
                frame.first.add(operator.inputs[0])
            elif order == [*TO_FIRST]:
                frame.first.add(operator.outputs[0])
        for index in graph.outputs:
            frame.readers.setdefault(index, []).append("")
        return frame

    def _run(self, frame: Frame) -> None:
        for operator in frame.graph.operators:
            self._spend(1, len(operator.inputs) + len(operator.outputs))
            call = Call(frame, operator)
            control = getattr(self, f"_call_{operator.name.lower()}", None)
            if control:
                control(call)
            elif self._constant(call):
                self._fold(call)
            elif operator.outputs:
                self._refuse_text(call)
                self.net.name = frame.graph.tensors[operator.outputs[0]].name
                self.read(call)

    def _constant(self, call: Call) -> bool:
        there = [index for index in call.inputs if index >= 0]
        return call.name not in _FRESH and bool(there) and all(index in call.frame.known for index in there)

    def _fold(self, call: Call) -> None:
        """Make the outputs of an operator on constants constants, which runtimes compute once."""
        sources = list(call.constants())
        largest = max(sources, key=lambda source: source.bytes)
        for index in call.outputs:
            tensor = call.frame.graph.tensors[index]
            held = largest.bytes if call.name in _STORED else tensor.bytes
            weight = tensor.real and tensor.elements > 1 and any(source.weight for source in sources)
            call.frame.known[index] = Constant(largest.tensor, tensor.elements, held, weight, plain=False)

    def _refuse_text(self, call: Call) -> None:
        for index in (*call.computed(), *call.outputs):
            if call.frame.graph.tensors[index].dtype == "string":
                raise InputError(
                    f"{self.path} computes with text ({call.name}), which is not counted; cut that part out of it."
                )

    # Control flow

    def _inline(
        self, call: Call, number: int, args: Sequence[int], fixed: Sequence[bool] | None = None, times: int = 1
    ) -> Frame:
        """Read a subgraph that runs `times` times on tensors of its caller; all but the `fixed` ones change between
        runs."""
        graphs, around = self.file.subgraphs, call.frame
        if not 0 < number < len(graphs) or len(args) != len(graphs[number].inputs):
            raise Damaged(f"an operator {call.name} calls a subgraph that there is not")
        if around.depth >= _DEEPEST:
            raise InputError(
                f"The subgraphs of {self.path} call themselves, or each other more than {_DEEPEST} levels deep."
            )
        self.called.add(number)
        frame = self._frame(graphs[number], around.depth + 1)
        for place, (inner, outer) in enumerate(zip(graphs[number].inputs, args, strict=True)):
            if outer in around.nodes:
                frame.nodes[inner] = self.node(around, outer)
            elif outer in around.known and (fixed is None or fixed[place]):
                frame.known[inner] = around.known[outer]
            elif outer in around.known:  # the initial value of a loop's variable
                frame.nodes[inner] = self.put("Identity", frame, inner, [0], read_bytes=0)
        before, self.times = self.times, times * self.times
        self._run(frame)
        self.times = before
        return frame

    def _bind(self, call: Call, frame: Frame, inner: Sequence[int]) -> None:
        """Make tensors of a frame the outputs of the operator that called it."""
        if len(call.outputs) != len(inner):
            raise Damaged(f"an operator {call.name} does not have the outputs of what it calls")
        for outer, index in zip(call.outputs, inner, strict=True):
            if index in frame.nodes:
                call.frame.nodes[outer] = self.node(frame, index)
            elif index in frame.known:
                call.frame.known[outer] = frame.known[index]

    def _call_call(self, call: Call) -> None:
        frame = self._inline(call, call.option(0, "I"), call.inputs)
        self._bind(call, frame, frame.graph.outputs)

    def _call_stablehlo_composite(self, call: Call) -> None:
        """A composite operator, read by its definition."""
        frame = self._inline(call, call.option(1), call.inputs)
        self._bind(call, frame, frame.graph.outputs)

    def _call_call_once(self, call: Call) -> None:
        """The initialisation of variables before the first run, which is not counted."""
        self.called.add(call.option(0))

    def _call_if(self, call: Call) -> None:
        """An IF: the branch that runs if that is known, else the costlier one."""
        call.tensor(0)
        condition = call.known(0)
        value = self.file.integer(condition.tensor) if condition and condition.plain else None
        branches, found = (call.option(0), call.option(1)), []
        self.called.update(branches)
        for branch in branches if value is None else branches[:1] if value else branches[1:]:
            start = len(self.net.ops)
            frame = self._inline(call, branch, call.inputs[1:])
            found.append((self._cost(start), frame))
        if value is None:
            self.note("An IF depends on the input; the branch that costs more is counted.")
        _, dearest = max(found, key=lambda pair: pair[0])
        self._bind(call, dearest, dearest.graph.outputs)

    def _cost(self, start: int) -> tuple[int, int]:
        """Multiply-accumulates and bytes of the nodes from `start` on."""
        total = moved = 0
        for node in range(start, len(self.net.ops)):
            op, sources = self.net.ops[node], self.sources[node]
            total += op.attrs.get("times", 1) * (macs(op, self.net.shape(sources[0])) if sources else 0)
            moved += op.attrs.get("times", 1) * tensor_bytes(op, self.batch)
        return total, moved

    def _call_while(self, call: Call) -> None:
        """A WHILE, with the number of trips that follows from its counter, initial value and bound."""
        graphs, (condition, body) = self.file.subgraphs, (call.option(0), call.option(1))
        if not (0 < condition < len(graphs) and 0 < body < len(graphs)):
            raise Damaged("an operator WHILE calls a subgraph that there is not")
        inner, ends = graphs[body].inputs, graphs[body].outputs
        if not len(inner) == len(ends) == len(call.inputs) == len(call.outputs) == len(graphs[condition].inputs):
            raise Damaged("an operator WHILE does not have the inputs and outputs of its body")
        self._spend(0, len(inner) + len(graphs[condition].operators) + len(graphs[body].operators))
        fixed = [a == b for a, b in zip(inner, ends, strict=True)]
        trips, early = trips_of(self.file, call, graphs[condition], graphs[body])
        if trips is None:
            self.note("How often a WHILE runs is not known; it is counted once.")
        elif early:
            self.note("A WHILE may end early; all of its trips are counted.")
        self.called.add(condition)
        if trips == 0:
            return self._bind(call, call.frame, call.inputs)
        frame = self._inline(call, body, call.inputs, fixed, trips or 1)
        self._bind(call, frame, ends)
