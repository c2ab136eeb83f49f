"""Control flow of ONNX files: branches, loops, sequences of tensors; each also damaged."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from onnx import NodeProto, helper, numpy_helper

from datasets.networks.analysis import check_network, totals
from datasets.networks.onnx_file import read_onnx
from datasets.networks.sizes import Sizes
from datasets.records import InputError
from predictors.networks.pieces import pieces
from tests.conftest import run
from tests.datasets.mutations_networks import mutate
from tests.datasets.test_onnx_inputs import I64, B, F, as_the_runtime_says, body, kinds, node, refused, saved, value, w

# Branches


def choice(condition: str) -> NodeProto:
    small = body([node("MatMul", ["x", "v"], ["o"])], "", "o", {"v": w(4, 4)})
    large = body([node("MatMul", ["x", "v"], ["t"]), node("MatMul", ["t", "u"], ["o"])], "", "o",
                 {"v": w(4, 9), "u": w(9, 4)})  # fmt: skip
    return node("If", [condition], ["z"], then_branch=small, else_branch=large, name="choice")


def test_a_branch_whose_condition_is_known_is_taken(tmp_path: Path) -> None:
    """A constant, or computed of shapes; tensors of both branches have the same names."""
    size = [node("Shape", ["x"], ["s"]), node("Gather", ["s", "zero"], ["n"]), node("Equal", ["n", "three"], ["c"])]
    end = node("Relu", ["z"], ["y"])
    tensors = {"zero": np.int64(0), "three": np.int64(3), "yes": np.array(True)}
    path = saved(tmp_path / "1.onnx", [choice("yes"), end], [value("x", [1, 4])], tensors=tensors)
    model = read_onnx(path)
    assert (totals(model.network)["macs"], kinds(model.network), model.notes) == (16, "dense relu", ())
    as_the_runtime_says(path, model)
    path = saved(tmp_path / "2.onnx", [*size, choice("c"), end], [value("x", ["n", 4])], tensors=tensors)
    assert [totals(read_onnx(path, batch).network)["macs"] for batch in (2, 3)] == [2 * 72, 3 * 16]


def test_of_unknown_branches_the_dearer_one_is_counted(tmp_path: Path) -> None:
    inputs = [value("x", [1, 4]), value("c", [], B)]
    model = read_onnx(saved(tmp_path / "m.onnx", [choice("c"), node("Relu", ["z"], ["y"])], inputs))
    assert totals(model.network)["macs"] == 72 and kinds(model.network) == "dense dense relu"
    assert model.notes == ("Which branch of 'choice' runs depends on values; else_branch, the dearer one, is counted.",)
    assert [port.dtype for port in model.network.inputs] == ["float32", "bool"]
    inner = helper.make_graph([choice("c")], "g", [], [value("z")])
    plain = body([node("Relu", ["x"], ["o"])], "", "o")
    nested = node("If", ["c"], ["y"], then_branch=inner, else_branch=plain, name="outer")
    model = read_onnx(saved(tmp_path / "n.onnx", [nested], inputs))
    assert totals(model.network)["macs"] == 72 and len(model.notes) == 2


def test_a_branch_that_cannot_be_read_is_not_counted(tmp_path: Path) -> None:
    misfit = body([node("MatMul", ["x", "v"], ["o"])], "", "o", {"v": w(7, 4)})
    plain = body([node("Relu", ["x"], ["o"])], "", "o")
    nodes = [node("If", ["c"], ["y"], then_branch=misfit, else_branch=plain)]
    inputs = [value("x", [1, 4]), value("c", [], B)]
    assert kinds(read_onnx(saved(tmp_path / "m.onnx", nodes, inputs)).network) == "relu"
    nodes = [node("If", ["c"], ["y"], then_branch=misfit, else_branch=misfit)]
    assert "do not fit" in refused(saved(tmp_path / "n.onnx", nodes, inputs))


# Loops


def loop(trips: str, going: str = "yes", inner: Sequence[NodeProto] = ()) -> NodeProto:
    """y = relu(y W) and all of them, so many times."""
    nodes = [node("Identity", ["go"], ["on"]), node("MatMul", ["v", "m"], ["a"]), node("Relu", ["a"], ["b"]), *inner]
    graph = body(nodes, "i:i go:b v", "on:b b b2" if inner else "on:b b b", {"m": w(4, 4)})
    return node("Loop", [trips, going, "x"], ["y", "all"], body=graph, name="steps")


def test_a_loop_counts_so_many_bodies(tmp_path: Path) -> None:
    tensors = {"five": np.int64(5), "yes": np.array(True)}
    path = saved(tmp_path / "m.onnx", [loop("five")], [value("x", ["n", 4])], "y all", tensors)
    for batch in (1, 3):
        model = read_onnx(path, batch)
        counted = totals(model.network)
        assert (counted["macs"], counted["params"], model.notes) == (5 * 16 * batch, 16, ())
        assert [op.attrs.get("times") for op in model.network.ops if op.kind in ("dense", "relu")] == [5, 5]
        as_the_runtime_says(path, model)


def test_trips_that_depend_on_values_are_flags(tmp_path: Path) -> None:
    inputs = [value("x", [1, 4]), value("n", [], I64)]
    path = saved(tmp_path / "m.onnx", [loop("n")], inputs, "y", {"yes": np.array(True)})
    assert refused(path).endswith("say it, as in --trips steps=8.")
    assert totals(read_onnx(path, sizes=Sizes(trips="steps=8")).network)["macs"] == 8 * 16
    assert "--trips stairs is no loop" in refused(path, sizes=Sizes(trips="stairs=8 steps=8"))
    most = {"yes": np.array(True), "n": np.int64(2**63 - 1)}
    assert "--trips steps=8" in refused(saved(tmp_path / "w.onnx", [loop("n")], inputs[:1], "y", most))
    done = run("-m", "datasets", "show", str(path), "--trips", "steps=8")
    assert "steps=8" in done.stdout and "128" in done.stdout, done.stderr


def test_a_loop_that_may_end_early_is_counted_whole(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", ["v", "m"], ["b"]),
        node("ReduceMax", ["b"], ["r"], keepdims=0),
        node("Cast", ["r"], ["on"], to=B),
    ]
    graph = body(nodes, "i:i go:b v", "on:b b", {"m": w(4, 4)})
    nodes = [node("Loop", ["six", "", "x"], ["y"], body=graph, name="search")]
    model = read_onnx(saved(tmp_path / "m.onnx", nodes, [value("x", [1, 4])], tensors={"six": np.int64(6)}))
    assert totals(model.network)["macs"] == 6 * 16
    assert model.notes == ("The loop 'search' may end early; all of its 6 trips are counted.",)


def test_loops_in_loops_multiply_and_their_states_need_no_reader(tmp_path: Path) -> None:
    nodes = [node("Identity", ["go2"], ["on2"]), node("MatMul", ["v2", "k"], ["o2"])]
    graph = body(nodes, "i2:i go2:b v2", "on2:b o2", {"k": w(4, 4)})
    again = node("Loop", ["three", "yes", "b"], ["b2"], name="inner", body=graph)
    tensors = {"five": np.int64(5), "three": np.int64(3), "yes": np.array(True)}
    path = saved(tmp_path / "m.onnx", [loop("five", inner=[again])], [value("x", [2, 4])], "all", tensors)
    model = read_onnx(path)
    assert totals(model.network)["macs"] == 2 * 5 * (16 + 3 * 16)
    as_the_runtime_says(path, model)


def test_a_scan_counts_its_steps(tmp_path: Path) -> None:
    """h = h + x_t W from a constant state; x_t are slices along the second axis."""
    nodes = [node("MatMul", ["xt", "m"], ["p"]), node("Add", ["h", "p"], ["hn"]), node("Tanh", ["hn"], ["o"])]
    graph = body(nodes, "h xt", "hn o", {"m": w(4, 4)})
    scan = node("Scan", ["start", "x"], ["last", "y"], body=graph, num_scan_inputs=1, scan_input_axes=[1],
                scan_output_axes=[1])  # fmt: skip
    tensors = {"start": np.zeros((3, 4), np.float32)}
    path = saved(tmp_path / "m.onnx", [scan], [value("x", [3, "time", 4])], "y last", tensors)
    model = read_onnx(path, sizes=Sizes(size="time=7"))
    assert totals(model.network)["macs"] == 7 * 3 * 16
    as_the_runtime_says(path, model)


def test_faulty_control_flow_is_one_sentence(tmp_path: Path) -> None:
    x, tensors = [value("x", [1, 4])], {"five": np.int64(5), "yes": np.array(True)}
    nothing = body([node("Relu", ["x"], ["o"])], "", "o")
    two = body([node("Relu", ["x"], ["o"]), node("Relu", ["x"], ["p"])], "", "o p")
    for case in (
        node("Loop", ["five", "yes", "x"], ["y"], body=nothing),
        node("If", ["yes"], ["y"], then_branch=two, else_branch=nothing),
        node("Scan", ["x"], ["y"], body=nothing, num_scan_inputs=3),
        node("Scan", ["x"], ["y"], body=nothing, num_scan_inputs=2**40),
    ):
        assert "inputs and outputs that it needs" in refused(saved(tmp_path / "m.onnx", [case], x, tensors=tensors))
    graph = nothing
    for _ in range(14):
        graph = helper.make_graph(
            [node("If", ["c"], ["o"], then_branch=graph, else_branch=graph)], "g", [], [value("o")]
        )
    last = node("If", ["c"], ["y"], then_branch=graph, else_branch=nothing)
    path = saved(tmp_path / "deep.onnx", [last], [*x, value("c", [], B)])
    assert "more than the 20,000" in refused(path)


# Sequences


SEQUENCES = {
    "split and joined": [node("SplitToSequence", ["x", "four"], ["s"], axis=1), node("SequenceAt", ["s", "one"], ["a"]),
                         node("Relu", ["a"], ["b"]), node("SequenceErase", ["s", "one"], ["t"]),
                         node("SequenceInsert", ["t", "b"], ["u"]), node("ConcatFromSequence", ["u"], ["y"], axis=1),
                         node("SequenceLength", ["u"], ["n"])],
    "rows": [node("SplitToSequence", ["x"], ["s"], axis=1, keepdims=0),
             node("ConcatFromSequence", ["s"], ["y"], axis=0, new_axis=1)],
    "of parts": [node("SplitToSequence", ["x", "sizes"], ["s"], axis=-1),
                 node("ConcatFromSequence", ["s"], ["y"], axis=-1)],
    "made": [node("SequenceEmpty", [], ["e"]), node("SequenceInsert", ["e", "x", "zero"], ["f"]),
             node("SequenceConstruct", ["x", "x"], ["s"]), node("SequenceAt", ["f", "zero"], ["a"]),
             node("SequenceInsert", ["s", "a", "zero"], ["t"]), node("ConcatFromSequence", ["t"], ["y"], axis=0)],
}  # fmt: skip


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("case", SEQUENCES)
def test_sequences_of_known_length_are_lists_of_tensors(case: str, opset: int, tmp_path: Path) -> None:
    numbers = {"zero": np.int64(0), "one": np.int64(1), "four": np.int64(4), "sizes": np.array([3, 5])}
    for batch in (1, 3):
        path = saved(tmp_path / "m.onnx", SEQUENCES[case], [value("x", [batch, 10, 8])], tensors=numbers, opset=opset)
        as_the_runtime_says(path, read_onnx(path))


def test_a_loop_that_appends_gives_so_many_tensors(tmp_path: Path) -> None:
    sequence = helper.make_tensor_sequence_value_info("s", F, None)
    out = helper.make_tensor_sequence_value_info("t", F, None)
    nodes = [
        node("Identity", ["go"], ["on"]),
        node("MatMul", ["x", "m"], ["a"]),
        node("SequenceInsert", ["s", "a"], ["t"]),
    ]
    inputs, outputs = [value("i", [], I64), value("go", [], B), sequence], [value("on", [], B), out]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [numpy_helper.from_array(w(4, 4), "m")])
    nodes = [node("SequenceEmpty", [], ["e"]), node("Loop", ["five", "yes", "e"], ["l"], body=graph),
             node("ConcatFromSequence", ["l"], ["y"], axis=1)]  # fmt: skip
    tensors = {"five": np.int64(5), "yes": np.array(True)}
    path = saved(tmp_path / "m.onnx", nodes, [value("x", [2, 4])], tensors=tensors)
    model = read_onnx(path)
    assert totals(model.network)["macs"] == 5 * 2 * 16 and model.network.shape(model.network.outputs[0].node) == (20,)
    as_the_runtime_says(path, model)


# Damaged files


def test_mutated_files_give_numbers_or_one_sentence(tmp_path: Path) -> None:
    tensors = {"five": np.int64(5), "four": np.int64(4), "one": np.int64(1), "yes": np.array(True)}
    x, path, read = value("x", ["n", 10, 8]), tmp_path / "m.onnx", 0
    nodes = [choice("c"), node("Relu", ["z"], ["y"])]
    made = [(nodes, [value("x", ["n", 4]), value("c", [], B)]), ([loop("five")], [value("x", ["n", 4])]),
            (SEQUENCES["split and joined"], [x]), (SEQUENCES["rows"], [x])]  # fmt: skip
    seeds = [saved(path, list(nodes), inputs, tensors=tensors).read_bytes() for nodes, inputs in made]
    for number in range(300):
        rng = random.Random(number)
        path.write_bytes(mutate(rng.choice(seeds), rng))
        try:
            network = read_onnx(path, sizes=Sizes(size="sequence=10 time=8")).network
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 700, number
            continue
        assert pieces(check_network(network)), number
        read += 1
    assert read > 30
