"""Networks with some ops changed or left out."""

from collections.abc import Callable

import pytest

from datasets.architectures import Op
from datasets.networks.analysis import totals
from datasets.networks.builder import NetworkBuilder
from datasets.networks.changed import changed
from datasets.networks.network import Network
from datasets.records import InputError, Networks
from datasets.spaces.zoo import Zoo


def zoo(name: str, image: int = 0) -> Network:
    space = Zoo(image)
    return space.expand(space.parse([name])[0])


@pytest.mark.parametrize("name", ["lenet5", "alexnet", "resnet18", "mobilenet_v2", "squeezenet"])
def test_a_network_without_changes_is_the_same(name: str) -> None:
    network = zoo(name)
    assert changed(network, {}) == Network.of(network.ops, network.edges)


@pytest.mark.parametrize("name", ["alexnet", "vgg16", "resnet50", "mobilenet_v1", "squeezenet"])
def test_a_smaller_image_gives_the_shapes_that_the_space_gives(name: str) -> None:
    network, other = zoo(name), zoo(name, 160)
    found = changed(network, {0: other.ops[0]})
    assert [op.attrs["shape"] for op in found.ops] == [op.attrs["shape"] for op in other.ops]
    assert totals(found) == totals(other)


def build(write: Callable[[NetworkBuilder, int], int], *shape: int) -> Network:
    net = NetworkBuilder()
    write(net, net.add("input", shape))
    return net.finish("layers", "small")


def test_an_op_that_is_left_out_leaves_what_only_it_read_out_too() -> None:
    def gated(net: NetworkBuilder, x: int) -> int:
        y = net.conv(x, 8, 3)
        gate = net.pointwise("sigmoid", net.conv(net.add("global_avg_pool", (8, 1, 1), y), 8, 1))
        return net.pointwise("relu", net.pointwise("mul", y, gate))

    network = build(gated, 3, 16, 16)
    found = changed(network, {5: None})
    assert [op.kind for op in found.ops] == ["input", "conv", "relu"]
    assert found.edges == ((0, 1, 0), (1, 2, 0)) and found.outputs[0].node == 2


def test_shapes_follow_through_joins_paddings_and_shuffles() -> None:
    def joined(net: NetworkBuilder, x: int) -> int:
        y = net.add("pad", (4, 18, 18), x, pad=(1, 1, 1, 1))
        z = net.concat(net.conv(y, 6, 3, pad=0), x)
        return net.add("shuffle", net.shape(z), z, groups=2)

    found = changed(build(joined, 4, 16, 16), {0: Op("input", {"shape": (6, 10, 12)})})
    assert [op.attrs["shape"] for op in found.ops] == [
        (6, 10, 12),
        (6, 12, 14),
        (6, 10, 12),
        (12, 10, 12),
        (12, 10, 12),
    ]


def test_what_does_not_fit_is_refused() -> None:
    def added(net: NetworkBuilder, x: int) -> int:
        return net.pointwise("add", net.conv(x, 4, 3), x)

    network = build(added, 4, 8, 8)
    with pytest.raises(InputError, match="cannot be added"):
        changed(network, {1: Op("conv", {**network.ops[1].attrs, "shape": (8, 8, 8)})})
    with pytest.raises(InputError, match="groups does not fit"):
        changed(network, {1: Op("conv", {**network.ops[1].attrs, "groups": 3})})
    with pytest.raises(InputError, match="Nothing is left"):
        changed(zoo("squeezenet"), {0: Op("input", {"shape": (3, 8, 8)})})
    own = build(lambda net, x: net.add("Resize", (4, 16, 16), x), 4, 8, 8)
    with pytest.raises(InputError, match="shape of Resize"):
        changed(own, {0: Op("input", {"shape": (4, 4, 4)})})


def test_sides_that_a_file_rounds_up_are_kept_with_their_input_only() -> None:
    network = build(lambda net, x: net.add("max_pool", (4, 4, 4), net.conv(x, 4, 3), kernel=2, stride=2), 3, 7, 7)
    narrower = Op("conv", {**network.ops[1].attrs, "shape": (2, 7, 7)})
    assert changed(network, {1: narrower}).shape(2) == (2, 4, 4)
    with pytest.raises(InputError, match="rounded up"):
        changed(network, {0: Op("input", {"shape": (3, 9, 9)})})


def test_changed_networks_can_be_kept_beside_others() -> None:
    network = changed(zoo("lenet5"), {})
    assert Networks([network])[0].key == network.key and Network.from_json(network.key) == network
