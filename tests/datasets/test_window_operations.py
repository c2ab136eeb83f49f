"""Operations with windows, of layout, and over sequences: counts by hand, and samples."""

import numpy as np
import pytest

from datasets.networks.analysis import totals
from datasets.records import InputError
from datasets.spaces import parse_space
from datasets.spaces.average_pooling import AveragePooling
from datasets.spaces.depthwise_convolution import DepthwiseConvolution
from datasets.spaces.gather import Gather
from datasets.spaces.layout import Layout

BY_HAND = [
    ("depthwise_convolution", "batch=2,size=30,kernel=5,channels=64,stride=2,dilation=2,pad=same,bias=1,of=image",
     2 * 64 * 15 * 15 * 25, 64 * 25 + 64, ["conv"], (64, 15, 15)),
    ("depthwise_convolution", "batch=2,size=30,kernel=5,channels=64,stride=1,dilation=2,pad=valid,bias=0,of=sequence",
     2 * 64 * 22 * 5, 64 * 5, ["Conv"], (64, 22)),
    ("grouped_convolution", "batch=1,size=9,kernel=3,groups=4,in=16,out=8,stride=1,dilation=1,pad=same,bias=1,of=image",
     4 * 8 * 9 * 9 * 16 * 9, 4 * 8 * (16 * 9 + 1), ["conv"], (32, 9, 9)),
    ("transposed_convolution", "batch=2,size=7,kernel=4,in=32,out=16,stride=2,pad=same,bias=1,of=image",
     2 * 32 * 7 * 7 * 16 * 16, 32 * 16 * 16 + 16, ["ConvTranspose"], (16, 14, 14)),
    ("transposed_convolution", "batch=1,size=7,kernel=2,in=32,out=16,stride=3,pad=same,bias=0,of=sequence",
     32 * 7 * 16 * 2, 32 * 16 * 2, ["ConvTranspose"], (16, 21)),
    ("transposed_convolution", "batch=1,size=7,kernel=4,in=32,out=16,stride=3,pad=valid,bias=0,of=sequence",
     32 * 7 * 16 * 4, 32 * 16 * 4, ["ConvTranspose"], (16, 22)),
    ("resize", "batch=1,size=13,channels=8,eighths=4,mode=cubic", 0, 0, ["Resize"], (8, 6, 6)),
    ("reduction", "batch=2,size=9,channels=8,op=mean,over=space,keep=0,of=image", 0, 0, ["global_avg_pool"], (8,)),
    ("reduction", "batch=2,size=9,channels=8,op=max,over=channels,keep=1,of=sequence", 0, 0, ["ReduceMax"], (9, 1)),
    ("reduction", "batch=2,size=9,channels=8,op=argmax,over=space,keep=0,of=image", 0, 0, ["Reshape", "ArgMax"], (8,)),
    ("average_pooling", "batch=2,size=9,kernel=3,channels=8,step=2,pad=same,of=image", 0, 0, ["avg_pool"], (8, 5, 5)),
    ("average_pooling", "batch=2,size=30,kernel=4,channels=8,step=kernel,pad=valid,of=sequence",
     0, 0, ["AveragePool"], (8, 7)),
    ("average_pooling", "batch=2,size=30,kernel=4,channels=8,step=global,pad=valid,of=image",
     0, 0, ["global_avg_pool"], (8, 1, 1)),
    ("gather", "batch=2,count=7,rows=100,width=16,from=embedding", 0, 1600, ["Gather"], (7, 16)),
    ("gather", "batch=2,count=7,rows=100,width=16,from=activation", 0, 0, ["Gather"], (7, 16)),
    ("recurrent", "batch=2,steps=9,in=16,hidden=8,cell=lstm,direction=bidirectional",
     2 * 9 * 2 * 4 * 8 * (16 + 8), 2 * (4 * 8 * (16 + 8) + 2 * 4 * 8), ["LSTM"], None),
    ("recurrent", "batch=2,steps=9,in=16,hidden=8,cell=gru,direction=forward",
     2 * 9 * 3 * 8 * (16 + 8), 3 * 8 * (16 + 8) + 2 * 3 * 8, ["GRU"], None),
    ("recurrent", "batch=2,steps=9,in=16,hidden=8,cell=rnn,direction=forward",
     2 * 9 * 8 * (16 + 8), 8 * (16 + 8) + 2 * 8, ["RNN"], None),
    ("layout", "batch=2,size=5,channels=8,parts=4,op=heads", 0, 0, ["Reshape", "Transpose"], (4, 5, 8)),
    ("layout", "batch=2,size=5,channels=8,parts=4,op=shuffle", 0, 0, ["shuffle"], (32, 5, 5)),
    ("layout", "batch=2,size=5,channels=8,parts=3,op=depth_to_space", 0, 0, ["DepthToSpace"], (8, 15, 15)),
    ("layout", "batch=2,size=5,channels=8,parts=3,op=reflect", 0, 0, ["Pad"], (8, 11, 11)),
]  # fmt: skip
"""Space, key, multiply-accumulates of all samples, parameters, kinds of nodes, and the output's shape without batch."""


@pytest.mark.parametrize(("name", "key", "macs", "params", "kinds", "shape"), BY_HAND)
def test_counts_are_those_of_a_count_by_hand(
    name: str, key: str, macs: int, params: int, kinds: list[str], shape: tuple[int, ...] | None
) -> None:
    space = parse_space(name)
    archs = space.parse([key])
    network = space.expand(archs[0])
    counted = totals(network)
    assert (counted["macs"], counted["params"]) == (macs, params)
    assert [op.kind for op in network.ops if op.kind != "input"] == kinds
    assert shape is None or network.shape(network.outputs[0].node) == shape
    assert space.totals(archs).iloc[0].to_dict() == counted


def test_what_gathers_and_slices_read_are_the_rows_and_pieces_that_they_take() -> None:
    moved = {}
    for space, key in (
        (Gather(), "batch=1,count=7,rows=1000,width=16,from=embedding"),
        (Layout(), "batch=1,size=5,channels=8,parts=8,op=slice"),
    ):
        moved[space.kind] = space.totals(space.parse([key]))["moved_bytes"][0]
    assert moved == {"gather": 2 * 7 * 16 * 4 + 7 * 8, "layout": 2 * 8 * 25 * 4}


def test_half_of_the_windows_are_common_ones_and_half_of_the_channels_round() -> None:
    space = DepthwiseConvolution()
    values = space.values(space.sample(4000, np.random.default_rng(0)))
    assert np.isin(values["kernel"], (3, 5, 7)).mean() > 0.5 and set(values["kernel"]) == set(range(1, 12))
    assert (values["dilation"] == 1).mean() > 0.5 and set(values["stride"]) == {1, 2, 3, 4}
    large = values["channels"] >= 64
    assert 0.4 < (values["channels"][large] % 8 == 0).mean() < 0.7


def test_the_limit_of_average_pooling_is_on_elements_under_windows() -> None:
    space = AveragePooling(megamacs=1)
    values = space.values(space.sample(2000, np.random.default_rng(0)))
    step = np.array([1, 2, 0, 1])[values["step"]] + values["kernel"] * (values["step"] == 2)
    side = np.where(values["pad"], -(-values["size"] // step), (values["size"] - values["kernel"]) // step + 1)
    dimensions, local = 2 - values["of"], values["step"] < 3
    assert (values["batch"] * values["channels"] * (side * values["kernel"]) ** dimensions)[local].max() <= 1e6


def test_padding_dilation_and_parts_that_change_nothing_do_not_matter() -> None:
    space, layout, pooling = DepthwiseConvolution(), Layout(), AveragePooling()
    text = "batch=1,size=9,kernel={},channels=8,stride=1,dilation={},pad={},bias=0,of=image"
    one, other, third = space.canonical(space.parse([text.format(*each) for each in
                                                     ((1, 1, "valid"), (1, 4, "same"), (3, 1, "same"))]))  # fmt: skip
    assert one == other == text.format(1, 1, "valid") and third == text.format(3, 1, "same")
    keys = [f"batch=1,size=9,channels=8,parts={parts},op={op}" for op in ("swap", "heads") for parts in (2, 8)]
    assert layout.canonical(layout.parse(keys)) == [keys[0], keys[0], *keys[2:]]
    text = "batch=1,size=9,kernel={},channels=8,step={},pad={},of=image"
    keys = [text.format(*each) for each in ((3, "global", "same"), (3, "kernel", "same"), (2, "kernel", "same"))]
    assert pooling.canonical(pooling.parse(keys)) == [
        text.format(1, "global", "valid"), text.format(3, "kernel", "valid"), keys[2]]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "key"),
    [("depthwise_convolution", "batch=1,size=4,kernel=3,channels=8,stride=1,dilation=2,pad=valid,bias=0,of=image"),
     ("resize", "batch=1,size=3,channels=8,eighths=2,mode=linear"),
     ("layout", "batch=1,size=3,channels=8,parts=3,op=reflect")],
)  # fmt: skip
def test_an_operation_without_output_is_one_sentence(name: str, key: str) -> None:
    with pytest.raises(InputError, match="has no output: its (window does not fit|input is too small)"):
        parse_space(name).parse([key])
