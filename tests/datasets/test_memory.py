"""Memory by liveness, and the attributes that ops of files have."""

import pytest

from datasets.networks.analysis import check_network, totals
from datasets.networks.builder import NetworkBuilder
from datasets.networks.memory import Memory, alive, memory
from datasets.networks.network import Network
from datasets.networks.parts import cut, entries
from datasets.records import InputError


def chain(*kinds: str, **attrs: object) -> Network:
    """An input of 10 numbers and ops that keep its shape, one behind another."""
    net = NetworkBuilder()
    x = net.add("input", (10,))
    for kind in kinds:
        x = net.add(kind, (10,), x, **attrs)
    return net.finish("", "")


def test_elementwise_ops_and_views_take_no_memory_of_their_own_in_place() -> None:
    assert memory(chain("Exp", "relu", "Reshape", "Exp")) == Memory(0, 80, 80), "the input is not overwritten"
    net = NetworkBuilder()
    x = net.add("Exp", (10,), net.add("input", (10,)))
    y = net.add("relu", (10,), x)
    net.add("add", (10,), y, x)  # x is read again, so y has a place of its own
    network = net.finish("", "")
    assert alive(network) == [40, 80, 80, 120] and alive(network, in_place=True) == [40, 80, 80, 80]


def test_element_types_batches_and_whole_tensors_are_exact() -> None:
    net = NetworkBuilder()
    x = net.add("input", (3,), dtype="int4")
    net.add("Gather", (5,), x, whole=1, dtype="float16")
    network = net.finish("", "")
    assert alive(network, batch=3) == [5, 15], "nine numbers of four bits, five of sixteen whatever the batch"


def test_outputs_of_one_op_are_there_at_once_and_are_one_kernel() -> None:
    net = NetworkBuilder()
    x = net.add("input", (8,))
    split = net.add("Split", (4,), x)
    other = net.add("item", (4,), split)
    net.add("add", (4,), split, other)
    network = net.finish("", "")
    assert alive(network) == [32, 64, 32, 48] and totals(network)["kernels"] == 2
    assert totals(network)["moved_bytes"] == 32 + 32 + 32 + 16
    assert entries(network) == [[1], [3]]
    net = NetworkBuilder()
    split = net.add("Split", (4,), net.add("input", (8,)))
    other = net.add("item", (4,), split)
    net.add("add", (4,), net.add("relu", (4,), split), other)
    assert entries(net.finish("", "")) == [[1], [3], [4]], "no activation is folded into one of its outputs"


def test_loops_multiply_and_shared_weights_count_once() -> None:
    net = NetworkBuilder()
    x = net.add("input", (4,))
    x = net.add("MatMul", (4,), x, params=16, macs=16, times=5)
    net.add("MatMul", (4,), x, params=16, macs=16, tied=1)
    network = net.finish("", "")
    found = totals(network)
    assert (found["macs"], found["params"], found["kernels"]) == (96, 16, 6)
    assert found["moved_bytes"] == 6 * (16 + 16 + 64) and memory(network).weights == 64
    assert totals(cut(network, [2]))["params"] == 16, "alone it has them"


def test_an_op_that_reads_less_than_it_could_says_so() -> None:
    net = NetworkBuilder()
    net.add("Gather", (16, 32), net.add("input", (16,), dtype="int64"), params=32_000, read_bytes=16 * 8 + 16 * 32 * 4)
    assert totals(net.finish("", ""))["moved_bytes"] == 16 * 8 + 2 * 16 * 32 * 4


@pytest.mark.parametrize("attrs", [{"dtype": "text"}, {"times": -1}, {"read_bytes": 0.5}, {"param_bytes": "x"}])
def test_attributes_of_another_kind_are_one_sentence(attrs: dict) -> None:
    with pytest.raises(InputError, match="is damaged"):
        check_network(chain("Exp", **attrs))
