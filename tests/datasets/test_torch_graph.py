"""Torch modules by torch.export: MACs are those of torch's own counter and of exported ONNX files."""

import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from datasets.networks.analysis import check_network, totals
from datasets.networks.onnx_file import read_onnx
from datasets.networks.pt2_file import read_pt2
from datasets.networks.reading import read_model
from datasets.networks.torch_module import read_module
from datasets.records import InputError
from datasets.spaces import parse_space
from measure.builders.torch_module import NetworkModule
from measure.builders.weights import make_weights
from predictors.networks.pieces import pieces
from tests.conftest import run
from tests.datasets.mutations_networks import change_anywhere


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(64, 192), nn.Linear(64, 64)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        b, t, c = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, 4, 16).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v, mask)
        return self.out(y.transpose(1, 2).reshape(b, t, c))


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.net, self.head = kind(32, 16, 2, batch_first=True, bidirectional=True), nn.Linear(32, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.net(x)[0][:, -1])


class Encoder(nn.Module):
    """Embeddings whose matrix the head shares, and one layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(1000, 32), nn.Parameter(torch.zeros(1, 16, 32))
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.head = nn.Linear(32, 1000, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(self.layer(self.tokens(ids) + self.places)))


class Two(nn.Module):
    """Two inputs, three outputs; what is written in place is seen."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 16), nn.Conv2d(3, 8, 3), nn.Linear(8, 16)

    def forward(self, x: torch.Tensor, image: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        z = self.b(image).mean((2, 3))
        u = self.a(x) * torch.sigmoid(self.c(x))
        u[:, :2] = 0
        first, second = u.chunk(2, 1)
        return first, {"joined": torch.cat([u, z], 1), "best": second.topk(3).indices}


CONV = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Hardswish(), nn.Conv2d(8, 16, 3, padding="same",
                     groups=4, dilation=2), nn.GELU(), nn.MaxPool2d(3, 2, ceil_mode=True), nn.ConvTranspose2d(16, 6, 4,
                     2, 1), nn.GroupNorm(2, 6), nn.AvgPool2d(3, 2, 1), nn.ReLU6(inplace=True), nn.ChannelShuffle(3),
                     nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(24, 3), nn.Softmax(1))  # fmt: skip
SIDES = nn.Sequential(nn.Conv1d(3, 8, 5, 2), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(2), nn.ConvTranspose1d(8, 4, 3))
MLP = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.LayerNorm(20), nn.Linear(20, 5))
IDS = torch.zeros(2, 16, dtype=torch.long)
CASES: dict[str, tuple[nn.Module, Any, int | None]] = {
    "mlp": (MLP, torch.zeros(3, 10), None),
    "sequences": (MLP, torch.zeros(2, 7, 10), None),
    "attention": (Attention(), torch.zeros(2, 58, 64), 2 * 1_380_864),
    "convolutions": (CONV, torch.zeros(2, 3, 32, 32), None),
    "one side": (SIDES, torch.zeros(2, 3, 40), None),
    "lstm": (Recurrent(nn.LSTM), torch.zeros(3, 20, 32), 3 * (20 * 2 * 4 * 16 * (48 + 48) + 160)),
    "gru": (Recurrent(nn.GRU), torch.zeros(3, 20, 32), 3 * (20 * 2 * 3 * 16 * (48 + 48) + 160)),
    "encoder": (Encoder(), IDS, 2 * (2 * 16 * (4 * 32 * 32 + 2 * 32 * 64 + 2 * 16 * 32) + 16 * 32 * 1000)),
    "two": (Two(), (torch.zeros(2, 8), torch.zeros(2, 3, 9, 9)), None),
}


def counted_by_torch(module: nn.Module, inputs: Any) -> int:
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module.eval()(*inputs if isinstance(inputs, tuple) else (inputs,))
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("name", CASES)
def test_macs_and_parameters_are_those_that_torch_counts(name: str) -> None:
    module, inputs, macs = CASES[name]
    total = totals(check_network(read_module(module, inputs)))
    assert total["macs"] == (counted_by_torch(module, inputs) if macs is None else macs)
    assert total["params"] == sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", ["mlp", "sequences", "attention", "one side", "lstm", "gru"])
def test_macs_and_parameters_are_those_of_the_exported_file(name: str, tmp_path: Path) -> None:
    module, inputs, _ = CASES[name]
    torch.onnx.export(module.eval(), (inputs,), tmp_path / "m.onnx", dynamo=False)
    ours, file = (totals(network) for network in (read_module(module, inputs), read_onnx(tmp_path / "m.onnx").network))
    assert ours["macs"] == file["macs"]
    assert ours["params"] == pytest.approx(file["params"], abs=16)  # the exporter folds a batch norm away


CELL = "nasbench201(cells=1):|nor_conv_3x3~0|+|skip_connect~0|avg_pool_3x3~1|+|none~0|nor_conv_1x1~1|nor_conv_3x3~2|"


@pytest.mark.parametrize("name", ["zoo:lenet5", "small_zoo:resnet", CELL, "ofa"])
def test_networks_of_ours_come_back_op_by_op(name: str) -> None:
    space = parse_space("ofa")
    network = space.expand(space.sample(1, np.random.default_rng(2))[0]) if name == "ofa" else read_model(name).network
    again = read_module(NetworkModule(network, make_weights(network)), torch.zeros(1, *network.shape(0)))
    assert [(op.kind, op.attrs["shape"]) for op in again.ops] == [(op.kind, op.attrs["shape"]) for op in network.ops]
    assert again.edges == network.edges and totals(again) == totals(network)


def test_nothing_is_allocated_and_the_module_is_left_as_it_was() -> None:
    with torch.device("meta"):
        large = nn.Sequential(nn.Linear(2**17, 2**17), nn.Dropout(), nn.BatchNorm1d(2**17).eval())
    network = read_module(large, torch.zeros(1, 2**17, device="meta"))
    assert totals(network)["macs"] == 2**34
    assert large.training and large[1].training and not large[2].training


def test_inputs_may_be_a_tensor_a_tuple_or_a_dict_of_any_type() -> None:
    module, x, mask = Attention(), torch.zeros(1, 5, 64), torch.ones(5, 5, dtype=torch.bool)
    networks = [read_module(module, x), read_module(module, (x, mask)), read_module(module, {"x": x, "mask": mask})]
    assert [[port.name for port in n.inputs] for n in networks] == [["x"], ["x", "mask"], ["x", "mask"]]
    assert networks[1] == networks[2] and networks[1].inputs[1].dtype == "bool"
    assert read_module(module.half(), x.half()).ops[1].attrs["dtype"] == "float16"
    module, inputs, _ = CASES["two"]
    network = read_module(module, inputs)
    assert [port.dtype for port in network.outputs] == ["float32", "float32", "int64"] and network.batch == 2


def test_an_embedding_reads_its_rows_and_shared_weights_count_once() -> None:
    network = read_module(*CASES["encoder"][:2])
    gather = next(op for op in network.ops if op.kind == "Gather")
    assert gather.attrs["params"] == 32_000 and gather.attrs["read_bytes"] == 16 * (32 * 4 + 8)
    head = network.ops[network.outputs[0].node]
    assert head.kind == "MatMul" and head.attrs["tied"] == 1
    assert sum(bool(op.attrs.get("tied")) for op in network.ops) > 8  # the layer's second call


class Biased(nn.Module):
    """Attention with a table of biases, and a check that computes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.places = nn.Parameter(torch.zeros(9, 4)), torch.arange(25).reshape(5, 5) % 9

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.ops.aten._assert_tensor_metadata(x, dtype=torch.float32)
        return F.scaled_dot_product_attention(x, x, x, self.table[self.places].permute(2, 0, 1)[None])


def test_parameters_that_only_a_mask_is_made_of_are_counted() -> None:
    network = read_module(Biased(), torch.zeros(1, 4, 5, 8))
    assert [op.kind for op in network.ops] == ["input", "MatMul", "Add", "Softmax", "MatMul"]
    assert totals(network)["params"] == 36


def test_what_cannot_be_exported_is_one_sentence() -> None:
    class Branch(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.relu() if x.sum() > 0 else x

    for module, sentence in ((Branch(), "Branch cannot be exported by torch.export"),
                             (nn.Identity(), "does not depend on its input")):  # fmt: skip
        with pytest.raises(InputError, match=sentence) as fault:
            read_module(module, torch.zeros(1, 4))
        assert "\n" not in str(fault.value)


# Files of torch.export


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.lstm, self.conv = Encoder(), nn.LSTM(32, 8, 2), CONV

        def forward(self, ids: torch.Tensor, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
            tokens = self.encoder.layer(self.encoder.tokens(ids))
            states, _ = self.lstm(tokens)
            with torch.no_grad():
                scores = torch.einsum("btc,bsc->bts", states, states)
            return scores, F.pad(self.conv(image), (1, 1)).relu_()

    path, module, inputs = tmp_path_factory.mktemp("pt2") / "m.pt2", Mixed().eval(), (IDS, torch.zeros(2, 3, 32, 32))
    torch.export.save(torch.export.export(module, inputs), path)
    path.with_suffix(".json").write_text(json.dumps(totals(read_module(module, inputs))))
    return path


def test_a_file_of_torch_export_is_read_without_torch_and_without_its_pickles(saved: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(saved) as archive, zipfile.ZipFile(tmp_path / "m.pt2", "w") as bare:
        for name in archive.namelist():
            bare.writestr(name, b"cos\nsystem\n" if name.endswith(".pt") else archive.read(name))
    network, module = (read_model(path).network for path in (tmp_path / "m.pt2", saved))
    assert network.ops == module.ops and network.key != module.key
    expected = json.loads(saved.with_suffix(".json").read_text())
    assert {k: totals(network)[k] for k in ("macs", "params")} == {k: expected[k] for k in ("macs", "params")}
    code = "import sys; from datasets.__main__ import show; show(sys.argv[1]); assert 'torch' not in sys.modules"
    done = run("-c", code, tmp_path / "m.pt2")
    assert done.returncode == 0 and "LSTM" not in done.stderr, done.stderr
    with pytest.raises(InputError, match="was exported for a batch of 2; leave the batch 3 out"):
        read_pt2(saved, 3)


def test_open_sizes_are_those_of_the_example_and_a_note_says_so(tmp_path: Path) -> None:
    sizes = ({0: torch.export.Dim("batch"), 1: torch.export.Dim("time")},)
    torch.export.save(
        torch.export.export(MLP.eval(), (torch.zeros(2, 7, 10),), dynamic_shapes=sizes), tmp_path / "m.pt2"
    )
    model = read_pt2(tmp_path / "m.pt2")
    assert totals(model.network)["macs"] == 14 * 300
    assert model.notes == ("Open sizes are those of the inputs with which m.pt2 was exported.",)


def test_mutated_files_of_torch_export_give_numbers_or_one_sentence(saved: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(saved) as archive:
        (name,) = (name for name in archive.namelist() if "/models/" in name)
        graph = json.loads(archive.read(name))["graph_module"]
    for node in graph["graph"]["nodes"]:
        node.pop("metadata")
    seed = json.dumps({"graph_module": {"graph": graph["graph"], "signature": graph["signature"]}})
    path, read = tmp_path / "m.pt2", 0
    for number in range(150):
        rng, tree = random.Random(number), json.loads(seed)
        for _ in range(rng.choice((1, 1, 2))):
            change_anywhere(tree["graph_module"]["graph"]["nodes"] if rng.random() < 0.7 else tree, rng)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("m/models/m.json", json.dumps(tree))
        try:
            network = read_pt2(path).network
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 700, number
            continue
        assert totals(network)["moved_bytes"] > 0 and pieces(network), number
        read += 1
    assert read > 20


def refused(read: Callable[[Path], Any], path: Path) -> str:
    with pytest.raises(InputError) as fault:
        read(path)
    assert "\n" not in str(fault.value)
    return str(fault.value)


def test_faulty_files_of_torch_export_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    path.write_bytes(b"no zip")
    assert "is no program of torch.export, or damaged" in refused(read_pt2, path)
    for content, sentence in (("[" * 10**5, "or damaged"), ("{}", "is damaged"), (" " * 2**27, "has more than")):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("m/models/m.json", content)
        assert sentence in refused(read_pt2, path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/models/a.json", "{}")
        archive.writestr("m/models/b.json", "{}")
    assert "it holds 2 graphs" in refused(read_pt2, path)
    assert "There is no file" in refused(read_pt2, tmp_path / "absent.pt2")


def test_control_flow_is_refused(tmp_path: Path) -> None:
    class Branch(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cond(x.sum() > 0, torch.relu, torch.neg, (x,))

    with pytest.raises(InputError, match="has control flow .cond."):
        read_module(Branch(), torch.zeros(1, 4))
    torch.export.save(torch.export.export(Branch(), (torch.zeros(1, 4),)), tmp_path / "m.pt2")
    assert "has control flow" in refused(read_pt2, tmp_path / "m.pt2")


def test_a_weight_in_the_type_of_an_input_is_a_constant() -> None:
    class Shifted(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            shift = (self.weight + 1).type_as(x).expand_as(x)
            return torch.relu(x * shift)

    network = read_module(Shifted(), torch.zeros(2, 8))
    assert [op.kind.lower() for op in network.ops] == ["input", "mul", "relu"]
