"""Numbers of trips of the loops of a .tflite file."""

from __future__ import annotations

from datasets.networks.tflite_calls import Call
from datasets.networks.tflite_schema import Operator, Subgraph, TFLite

_MOST_CONDITIONS = 10  # of one loop


def trips_of(file: TFLite, call: Call, condition: Subgraph, body: Subgraph) -> tuple[int | None, bool]:
    """The number of trips of a WHILE with the condition `counter < bound`, or this and others.

    The counter begins as a constant, and the body adds a constant to it.

    Args:
        file: the content of the file.
        call: of the WHILE; it has as many inputs as both subgraphs, and as many outputs as `body`.
        condition, body: subgraphs of the WHILE.

    Returns:
        The number of trips, None if unknown; and whether the loop may end earlier.
    """
    made = {index: operator for operator in condition.operators for index in operator.outputs}
    waiting, found, early = list(condition.outputs[:1]), list[int](), False
    for _ in range(_MOST_CONDITIONS):
        operator = made.get(waiting.pop()) if waiting else None
        if operator and operator.name == "LOGICAL_AND":
            waiting += operator.inputs
        elif operator:
            bound = _bound(file, call, operator, condition, body)
            found += [] if bound is None else [bound]
            early |= bound is None
    return min(found, default=None), early or bool(waiting)


def _bound(file: TFLite, call: Call, operator: Operator, condition: Subgraph, body: Subgraph) -> int | None:
    """Number of trips until a comparison no longer holds."""
    if operator.name not in ("LESS", "GREATER") or len(operator.inputs) != 2:
        return None
    counter, bound = operator.inputs if operator.name == "LESS" else operator.inputs[::-1]
    if counter not in condition.inputs:
        return None
    place = condition.inputs.index(counter)
    steps = [op for op in body.operators if op.name == "ADD" and body.outputs[place] in op.outputs]
    if not steps or len(steps[0].inputs) != 2 or body.inputs[place] not in steps[0].inputs:
        return None
    step = steps[0].inputs[steps[0].inputs[0] == body.inputs[place]]
    start, by, end = _outside(file, call, place), _inside(file, call, body, body, step), None
    if start is not None and by is not None and by > 0:
        end = _inside(file, call, condition, body, bound)
    return None if end is None or start is None or by is None else max(-(-(end - start) // by), 0)


def _outside(file: TFLite, call: Call, place: int) -> int | None:
    """The value of an integer input of a loop; None if unknown."""
    known = call.known(place)
    return file.integer(known.tensor) if known and known.plain else None


def _inside(file: TFLite, call: Call, graph: Subgraph, body: Subgraph, index: int) -> int | None:
    """The value of an integer constant of a subgraph, or of an input that the loop does not change; None if unknown."""
    if index not in graph.inputs:
        return file.integer(graph.tensors[index]) if index >= 0 else None
    place = graph.inputs.index(index)
    return _outside(file, call, place) if body.inputs[place] == body.outputs[place] else None
