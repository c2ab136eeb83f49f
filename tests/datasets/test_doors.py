"""Measurements and networks by what people name them: tables of measured files, .csv, several files, torch modules."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
import yaml

import train
from datasets.__main__ import show
from datasets.measured import Measured
from datasets.networks.analysis import check_network
from datasets.networks.network import Network
from datasets.networks.onnx_file import read_onnx
from datasets.networks.parts import cut, entries
from datasets.networks.reading import read_architectures, read_model, split_names
from datasets.networks.sizes import Sizes
from datasets.opening import Joined, open_dataset, open_measurements, with_datasets
from datasets.own_table import OwnTable
from datasets.records import InputError, Networks
from datasets.spaces.convnet import ConvNet
from datasets.spaces.nasbench201 import NasBench201
from encoders.flat import Totals
from measure.builders.onnx_graph import build_onnx
from measure.builders.weights import make_weights
from measure.campaign import networks, read_journal
from measure.commands.flags import Subjects
from measure.commands.tables import table
from measure.rows import check_row
from measure.table import to_table, write_table
from predictors.base import Predictor
from predictors.commands.answers import predict
from predictors.commands.learning import adapt, choose
from predictors.linear import Linear
from predictors.networks.price import read_network
from tests.conftest import ROOT, run
from tests.datasets.test_onnx_file import FOREIGN, save
from tests.doubles.network_files import MAKERS
from tests.predictors.test_layer_sum import knows_layers

NETS = ConvNet(image=32, classes=10, megamacs=20)
CELLS = NasBench201(cells=1)
LINE = re.compile(r"(\S+) on (\S+), batch (\d+): ([\d.]+) ms( \(90 % interval [\d.]+ to [\d.]+\))?")


def write_files(folder: Path, n: int = 10) -> list[Path]:
    """Random networks as ONNX files."""
    folder.mkdir()
    for i, arch in enumerate(NETS.sample(n, np.random.default_rng(0))):
        network = NETS.expand(arch)
        onnx.save(build_onnx(network, make_weights(network)), folder / f"m{i}.onnx")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def pricer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved predictor of networks that knows made-up layers."""
    path = tmp_path_factory.mktemp("pricer") / "layers.pt"
    knows_layers().save(path)
    return path


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as it reaches another machine: the journal and the table of ten measured files, and one of the files."""
    here, there = tmp_path_factory.mktemp("here"), tmp_path_factory.mktemp("there")
    files = write_files(here / "files")
    journal = here / "journal.jsonl"
    done = run("-m", "measure", "run", "--onnx", ",".join(map(str, files)), "--backend", "ort", "--protocol", "layer",
               "--host", "pc", "--journal", journal)  # fmt: skip
    assert "10 rows measured (0 failed" in done.stdout, done.stdout + done.stderr
    table(journal, there / "mine.parquet", unstable=True)
    shutil.copy(journal, there)
    shutil.copy(files[3], there)
    shutil.rmtree(here / "files")
    return there


# A table of measured files is a data set


def test_a_table_of_files_holds_each_network_once(measured: Path) -> None:
    rows = [{**row, "repeat": repeat} for repeat in (0, 1) for row in read_journal(measured / "journal.jsonl")]
    values, _ = to_table(rows, unstable=True)
    whole = values["metric"] == "latency_ms"
    assert values["network"][whole].notna().all() and values["network"][~whole].isna().all() and whole.sum() == 10
    two = [{**row, "device": {**row["device"], "name": name}} for name in ("a", "b") for row in rows]
    values, meta = to_table(two, unstable=True)
    assert len(values) == 60 and values["network"].notna().sum() == 10
    write_table(values, meta, measured / "two.parquet")
    m = Measured(measured / "two.parquet").measurements()
    assert isinstance(m.architectures, Networks) and m.matrix("latency_ms").shape == (10, 2)
    read = read_onnx(measured / "m3.onnx").network
    assert m.architectures[m.architectures.keys.index(read.key)] == read
    assert "network" not in to_table([{**row, "space": str(NETS)} for row in map(_without_network, rows)], True)[0]


def _without_network(row: dict) -> dict:
    return {name: value for name, value in row.items() if name != "network"}


def test_a_table_of_files_adapts_a_predictor_where_the_files_are_not(
    measured: Path, pricer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = measured / "mine.pt"
    done = run("-m", "predictors", "adapt", pricer, "--measurements", measured / "mine.parquet", "--out", mine)
    assert "answers for pc_ort_fp32_1; 10 measurements of 10 architectures" in done.stdout, done.stderr
    m = open_measurements(measured / "mine.parquet")
    predicted = Predictor.load(mine).predict_all(m.architectures)[:, 0]
    assert (predicted > 0).all() and np.median(np.abs(predicted / m.matrix("latency_ms")[:, 0] - 1)) < 1
    capsys.readouterr()
    predict(mine, network=str(measured / "m3.onnx"), out=measured / "m3.png")
    words = LINE.match(capsys.readouterr().out)
    assert words and words[1].startswith("m3.onnx:") and words[2] == "pc_ort_fp32_1" and words[5]


def test_layers_of_measured_files_are_a_data_set_too(measured: Path, pricer: Path, tmp_path: Path) -> None:
    network, rows = read_onnx(measured / "m3.onnx").network, read_journal(measured / "journal.jsonl")
    layers = {layer.key: layer for nodes in entries(network) for layer in [cut(network, nodes)]}
    made = [{**_without_network(rows[i % 10]), "space": "layers", "key": key} for i, key in enumerate(layers)]
    values, meta = to_table(made, unstable=True)
    write_table(values, meta, tmp_path / "layers.parquet")
    adapt(pricer, str(tmp_path / "layers.parquet"), tmp_path / "mine.pt")
    assert (Predictor.load(tmp_path / "mine.pt").predict_all(Networks([network])) > 0).all()
    both = open_measurements(f"{tmp_path / 'layers.parquet'},{measured / 'mine.parquet'}")
    assert len(both.architectures) == len(layers) + 10 and both.name == "layers+mine"


def test_a_predictor_is_trained_on_a_table_of_files(
    measured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, flags = tmp_path / "run", ["--predictor", str(ROOT / "configs/predictors/totals_trees.yaml")]
    flags += ["--predictor.trees", "5"]
    assert train.command(["--data", str(measured / "mine.parquet"), *flags, "--out", str(out)]) == "done"
    config = yaml.safe_load((out / "config.yaml").read_text())
    path = str(measured / "mine.parquet")
    assert config["data"] == {"class_path": "datasets.measured.Measured", "init_args": {"path": path}}
    fingerprint = Predictor.load(out / "predictor.pt").metadata_["fingerprint"]
    assert fingerprint == open_measurements(path).fingerprint()
    for file, name in (("predictor.pt", str(measured / "m3.onnx")), ("predictor.onnx", "zoo:resnet18")):
        capsys.readouterr()
        predict(out / file, network=name)
        words = LINE.fullmatch(capsys.readouterr().out.strip())
        assert words and words[2] == "pc_ort_fp32_1" and words[3] == "1" and float(words[4]) > 0
    (tmp_path / "names.txt").write_text(f"zoo:resnet18\n{measured / 'm3.onnx'}\n")
    predict(out / "predictor.pt", archs=tmp_path / "names.txt")
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_table_of_files_is_described(measured: Path) -> None:
    done = run("-m", "datasets", "describe", measured / "mine.parquet")
    assert "mine: 10 architectures of networks" in done.stdout and "pc_ort_fp32_1" in done.stdout, done.stderr
    assert "macs" in done.stdout


@pytest.mark.parametrize(
    "network",
    [7, "no JSON", "[[],[]]", '[[["conv",{"shape":[3,4,4]}]],[]]',
     '[[["input",{"shape":[3,4,4]}],["conv",{"shape":[3,4,4]}]],[[0,1,0]]]',
     '[[["input",{"shape":[3,4,4]}],["conv",{"shape":[3,4,4],"kernel":"3"}]],[[0,1,0]]]',
     '[[["input",{"shape":[3,4,4]}],["conv",{"shape":[3,4,4],"kernel":3,"groups":0}]],[[0,1,0]]]',
     '[[["input",{"shape":[3,4,4]}],["conv",{"shape":[3,4,4],"kernel":3,"stride":[1,2,3]}]],[[0,1,0]]]',
     '[[["input",{"shape":[3,4,4]}],["MatMul",{"shape":[3,4,4],"macs":"many"}]],[[0,1,0]]]',
     '[[["input",{"shape":[3,4,4]}],["conv",{"shape":[9000000000,9000000000],"kernel":3}]],[[0,1,0]]]',
     '[[["input",{"shape":[3]}],["relu",{"shape":[]}]],[[0,1,0]]]'],
)  # fmt: skip
def test_a_damaged_network_is_one_sentence(network: object, measured: Path, tmp_path: Path) -> None:
    row = read_journal(measured / "journal.jsonl")[0] | {"network": network}
    with pytest.raises(InputError, match="line 1: field 'network'"):
        check_row(row, "line 1")
    values, meta = to_table([row], unstable=True)
    if isinstance(network, str):
        write_table(values, meta, tmp_path / "bad.parquet")
        with pytest.raises(InputError, match="JSON form|damaged"):
            Measured(tmp_path / "bad.parquet").measurements()


@pytest.mark.parametrize("name", FOREIGN)
def test_networks_of_foreign_files_come_back_from_tables(name: str, tmp_path: Path) -> None:
    nodes, shape, tensors, *_ = FOREIGN[name]
    rank = 2 if "row" in name else len(shape)
    network = read_onnx(save(tmp_path / "m.onnx", nodes, shape, tensors, rank=rank)).network
    assert check_network(Network.from_json(network.to_json(), network.space, network.key)) == network


# Measurements by name


def test_a_csv_is_a_data_set(tmp_path: Path) -> None:
    (file,) = write_files(tmp_path / "files", 1)
    cell = CELLS.sample(1, np.random.default_rng(0)).keys[0]
    path = tmp_path / "mine.csv"
    path.write_text(
        "network,device,value,metric,unit,space,batch\n"
        "files/m0.onnx,phone,5000,latency_ms,us,,1\n"
        "zoo:resnet18,phone,7,,ms,,1\n"
        f'{cell},phone,3,energy_mj,,"{CELLS}",1\n'
        "zoo:resnet18,server,500,,fps,,8\n"
    )
    m = open_measurements(path)
    assert isinstance(m.architectures, Networks) and m.name == "mine"
    assert [arch.space for arch in m.architectures] == ["onnx", "zoo(image=0,classes=0)", str(CELLS)]
    assert m.architectures[0] == read_onnx(file).network
    np.testing.assert_array_equal(m.matrix("latency_ms"), [[5, np.nan], [7, 16], [np.nan, np.nan]])
    assert [(device.name, device.family, device.batch) for device in m.devices] == [
        ("phone", "phone", 1), ("server", "server", 8)]  # fmt: skip


@pytest.mark.parametrize(
    "name, fault",
    [(".", ". is a folder"), ("", "The name of a network is empty"), ("a" * 9999, "There is no file"),
     ("a\0", "There is no file")],
)  # fmt: skip
def test_a_name_that_is_no_file_is_called_what_it_is(name: str, fault: str) -> None:
    with pytest.raises(InputError, match=f"^{fault}.*; a network is an .onnx"):
        read_model(name)


def test_a_size_by_role_that_no_input_has_is_noted(tmp_path: Path) -> None:
    files = [MAKERS[suffix](tmp_path / f"net{suffix}") for suffix in (".onnx", ".tflite")]
    for name in ("zoo:lenet5", *map(str, files)):
        note = read_model(name, sizes=Sizes(size="batch=1 sequence=6 width=77"), weights=False).notes[-1]
        assert note == f"No input of {name} has the size of --size width=77."
    assert not read_model("zoo:lenet5", sizes=Sizes(size="batch=2 height=32 width=32")).notes


def test_a_csv_of_one_space_holds_architectures(tmp_path: Path) -> None:
    archs = CELLS.sample(6, np.random.default_rng(0))
    for name, header, prefix, space in (("a", "key", "", str(CELLS)), ("b", "network", f"{CELLS}:", "")):
        lines = [f"{prefix}{key};{i + 1},5" for i, key in enumerate(archs.keys)]
        (tmp_path / f"{name}.csv").write_text("\n".join([f"{header};value", *lines]))
        m = OwnTable(tmp_path / f"{name}.csv", space).measurements()
        assert m.architectures == archs and m.matrix("latency_ms")[:, 0].tolist() == [i + 1.5 for i in range(6)]
        assert m.devices[0].name == name
    with pytest.raises(InputError, match="There is no file .*; a network is an .onnx, .* file, or SPACE"):
        open_measurements(tmp_path / "a.csv")


@pytest.mark.parametrize(
    "content, sentence",
    [("key,value\ntorch:os:getcwd,1\n", "only a command line may name one"),
     ("key,value\nabsent.onnx,1\n", "no file absent.onnx"),
     ("key,network,value\na,b,1\n", "the columns key and network; keep one"),
     ("key,value,space\na,1,nowhere\n", "no space 'nowhere'"),
     ("key,value,space,unit\nresnet18,1,zoo,parsec\n", "unit 'parsec'"),
     ("key,value,space,batch\nresnet18,1,zoo,1\nvgg16,1,zoo,2\n", r"several batches of .* \(1, 2\)"),
     ("key,value,space,batch\nresnet18,1,zoo,many\n", "the batch 'many'"),
     ("key,value,space,batch\nresnet18,1,zoo,00000123456789012345\n", "the batch '0000"),
     ("key,device,value\n[[],1\n", "line 2 has 2 fields"),
     ('key,value\n"[[],[]]",1\n', "JSON form")],
)  # fmt: skip
def test_a_faulty_csv_is_one_sentence(content: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(InputError, match=sentence) as caught:
        open_measurements(tmp_path / "x.csv")
    assert len(str(caught.value)) < 500


def test_several_files_are_one_data_set(measured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "more.csv").write_text("network,device,value\nzoo:resnet18,pc_ort_fp32_1,1\nzoo:vgg16,pc,5\n")
    (tmp_path / "zoo.csv").write_text("network,device,value\nzoo:resnet18,other,1\nzoo:vgg16,other,5\n")
    config = {"class_path": "datasets.own_table.OwnTable", "init_args": {"path": str(tmp_path / "zoo.csv")}}
    (tmp_path / "zoo.yaml").write_text(yaml.safe_dump(config))
    names = f"{measured / 'mine.parquet'},{tmp_path / 'zoo.yaml'}"
    data, m = open_dataset(names), open_measurements(names)
    assert isinstance(data, Joined) and len(m.architectures) == 12 and len(m.devices) == 2
    (rewritten,) = with_datasets([names], flags=("",))
    with pytest.raises(InputError, match="names no file before or after"):
        with_datasets(["--data", f"{tmp_path / 'zoo.csv'},"])
    assert json.loads(rewritten)["init_args"]["parts"][1] == config
    flags = ["--predictor", "predictors.linear.Linear", "--predictor.encoder", "encoders.flat.Totals"]
    train.command([f"--data={names}", *flags, "--out", str(tmp_path / "run")])
    train.command(["--config", str(tmp_path / "run/config.yaml"), "--out", str(tmp_path / "again")])
    for out in ("run", "again"):
        assert Predictor.load(tmp_path / out / "predictor.pt").metadata_["fingerprint"] == m.fingerprint()
    with pytest.raises(InputError, match="describe the device 'pc_ort_fp32_1' differently"):
        open_measurements(f"{measured / 'mine.parquet'},{tmp_path / 'more.csv'}")


@pytest.mark.parametrize(
    "names, sentence",
    [("absent.parquet", "no file absent.parquet"), ("absent.csv", "no file absent.csv"), ("absent.yaml", "no file"),
     ("absent", "There is no file absent; measurements are a .yaml"), ("README.md", "holds no measurements"),
     ("configs/datasets/bundled.yaml,,", "names no file before or after one of its commas"),
     ("configs/splits/random_50.yaml", "is no Dataset")],
)  # fmt: skip
def test_what_is_no_data_set_is_one_sentence(names: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        open_measurements(names)


def test_a_file_among_several_may_name_our_classes_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "evil.yaml").write_text("class_path: os.system\ninit_args: {command: 'touch owned'}\n")
    names = f"configs/datasets/bundled.yaml,{tmp_path / 'evil.yaml'}"
    with pytest.raises(InputError, match="'os.system' is not a class of Gnomon"):
        open_dataset(names)
    with pytest.raises(SystemExit) as ended:
        train.command(["--data", names, "--predictor", "predictors.linear.Mean", "--out", str(tmp_path / "run")])
    assert ended.value.code == 2 and "os.system" in capsys.readouterr().err and not (tmp_path / "run").exists()


@pytest.mark.parametrize("word", ["configs/datasets/help.yaml", "bundled", "{class_path: a.b.C}", "datasets.leti.Leti"])
def test_what_jsonargparse_reads_itself_stays_as_it_is(word: str) -> None:
    assert with_datasets(["--data", word, "--out", "x.csv"]) == ["--data", word, "--out", "x.csv"]
    assert with_datasets(["--data.path", "x.parquet"]) == ["--data.path", "x.parquet"]


def test_a_search_reads_a_csv(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from search.__main__ import exhaustive
    from search.task import Requirements

    archs = NasBench201().sample(5, np.random.default_rng(1))
    for name, values in (("accuracy", [10, 50, 90, 70, 60]), ("latency", [1, 2, 9, 3, 4])):
        metric = "accuracy_digits" if name == "accuracy" else "latency_ms"
        frame = pd.DataFrame({"key": archs.keys, "space": str(NasBench201()), "value": values, "metric": metric})
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    exhaustive(Requirements(tmp_path / "accuracy.csv", str(tmp_path / "latency.csv"), 3.5, out=tmp_path / "x.png"))
    assert capsys.readouterr().out.startswith(archs.keys[3])


# Networks by name


def test_names_of_networks_are_separated_by_commas() -> None:
    cell = f"nasbench201(cells=1,channels=4):{CELLS.sample(1, np.random.default_rng(0)).keys[0]}"
    fbnet = "fbnet:k3_e6|k5_e1,k5_e3|skip"
    for names in (
        ["a.onnx", "b.keras"],
        [cell, "zoo:resnet18"],
        [fbnet, "a.onnx", cell],
        ["alexnet", "a.onnx"],
        [cell],
    ):
        assert split_names(",".join(names)) == names


def test_networks_are_read_by_their_names(tmp_path: Path) -> None:
    (file,) = write_files(tmp_path / "files", 1)
    cell = CELLS.sample(1, np.random.default_rng(0))
    key = cell.keys[0]
    assert read_model(key, space=str(CELLS)).network == CELLS.expand(cell[0]) == read_model(f"{CELLS}:{key}").network
    assert read_model("zoo:resnet18", space=str(CELLS)).network.key == "resnet18"
    assert read_architectures([key, key], str(CELLS)).keys == [key, key]
    mixed = read_architectures([str(file), key, read_model(file).network.to_json()], str(CELLS))
    assert isinstance(mixed, Networks) and [one.space for one in mixed] == ["onnx", str(CELLS), "layers"]
    subjects, prepare = networks([str(file), "zoo:resnet18"])
    assert [(one.space, one.key) for one in subjects] == [
        ("onnx", mixed[0].key),
        ("zoo(image=0,classes=0)", "resnet18"),
    ]
    assert [prepare(one, 1).network.key for one in subjects] == [mixed[0].key, "resnet18"]


def test_what_is_chosen_can_be_measured(pricer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = write_files(tmp_path / "files", 3)
    names = [
        *map(str, files),
        "zoo:squeezenet",
        "small_zoo:mobilenet_v1",
        NETS.sample(1, np.random.default_rng(5)).keys[0],
    ]
    (tmp_path / "pool.txt").write_text("\n".join([*names, names[0]]))
    choose(pricer, 6, tmp_path / "pool.txt", space=str(NETS))
    assert set(capsys.readouterr().out.split()) == set(names)
    few = pd.DataFrame({"network": names, "value": [0.1, 0.2, 0.3, 4, 5, 0.2]})
    few.to_csv(tmp_path / "phone.csv", index=False)
    adapt(pricer, str(tmp_path / "phone.csv"), tmp_path / "mine.pt", space=str(NETS), unit="ms")
    assert "answers for phone; 6 measurements of 6 architectures" in capsys.readouterr().out


def test_show_takes_an_architecture_of_a_space(capsys: pytest.CaptureFixture[str]) -> None:
    show("zoo:squeezenet")
    out = capsys.readouterr().out
    assert out.startswith("squeezenet: input 1x3x224x224") and re.search(r"^macs +[\d,]+$", out, re.MULTILINE)


def test_a_predictor_of_cells_prices_no_network(tmp_path: Path) -> None:
    from tests.conftest import made_up

    m = made_up(CELLS.sample(30, np.random.default_rng(0)), num_devices=1)
    Linear(encoder=Totals(("macs",))).fit(m).save(tmp_path / "p.pt")
    with pytest.raises(InputError, match="predicts architectures of nasbench201.*; name one with --arch"):
        predict(tmp_path / "p.pt", network="zoo:resnet18")


# Torch modules

MODULE = """
import torch
from torch import nn

class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 3, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))

def small():
    net = Net()
    net.example_input_array = torch.zeros(2, 3, 16, 16)
    return net

def stuck():
    raise RuntimeError("no weights here")

def leaves():
    raise SystemExit(7)

class Left(nn.Module):
    def forward(self, x):
        raise SystemExit(7)

text = str
still = nn.Identity()
ready = Net()
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "mynets.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mynets", raising=False)
    return "torch:mynets"


def test_a_torch_module_is_a_network_on_the_command_line(
    modules: str, pricer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small, large = (read_model(f"{modules}:{name}", modules=True) for name in ("small", "ready"))
    assert small.network.batch == 2 and small.network.shape(0) == (3, 16, 16) and small.weights
    assert large.network.batch == 1 and large.network.shape(0) == (3, 224, 224)
    assert "torch:mynets:ready is read for an input of 1x3x224x224" in capsys.readouterr().err
    show(f"{modules}:Net", batch=3)
    assert "input 3x3x224x224" in capsys.readouterr().out
    first, again = (networks([f"{modules}:small"], modules=True) for _ in range(2))
    assert first[0][0].key == again[0][0].key and first[0][0].key.startswith("small.onnx:")  # measured once
    assert first[1](first[0][0], 2).network.ops == small.network.ops
    capsys.readouterr()
    predict(pricer, device="fast_1", network=f"{modules}:small", out=tmp_path / "x.png")
    words = LINE.match(capsys.readouterr().out)
    assert words and words[1].startswith("small:") and words[3] == "2"


def test_a_batch_counts_for_networks_of_spaces_too(pricer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show("zoo:resnet18", batch=4)
    assert "input 4x3x224x224" in capsys.readouterr().out
    prices = {}
    for batch in (1, 4):
        predict(pricer, device="fast_1", network="zoo:resnet18", batch=batch)
        words = LINE.match(capsys.readouterr().out)
        assert words and words[3] == str(batch)
        prices[batch] = float(words[4])
    assert prices[4] > prices[1]
    with pytest.raises(InputError, match="fixes its batch at 4; leave the batch 1 out"):
        read_network("pooling:batch=4,size=8,kernel=2,in=8,stride=2,pad=valid,act=none", 1)


def test_open_sizes_are_flags_wherever_networks_are_named(
    pricer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(
        tmp_path / "m.onnx", [("Conv", "x w", {})], ["n", 3, "h", "w"], {"w": np.ones((4, 3, 3, 3), np.float32)}
    )
    predict(pricer, device="fast_1", network=str(path), batch=2, sizes=Sizes(size="height=34,66 w=34"))
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split()[:6] == ["network", "device", "height", "w", "batch", "ms"]
    small, large = (row.split()[1:6] for row in rows)
    assert small[:4] == ["fast_1", "34", "34", "2"] and large[1] == "66" and float(large[4]) > float(small[4])
    predict(pricer, device="fast_1", network=str(path), sizes=Sizes(size="height=34 w=34"))
    assert (words := LINE.match(capsys.readouterr().out)) and words[1].endswith("(height=34,w=34)")
    for more, sentence in (({"out": tmp_path / "p.png"}, "draws the layers of one"), ({}, "wdth is no size of")):
        with pytest.raises(InputError, match=sentence):
            predict(pricer, device="fast_1", network=str(path), sizes=Sizes(size="h=34,66 wdth=34"), **more)
    with pytest.raises(InputError, match="are of a network's; name its file"):
        predict(pricer, device="fast_1", arch="x", sizes=Sizes(size="h=34"))
    (subject,), prepare = networks([str(path)], sizes=Sizes(shape="x=1x3x34x34"))
    network = prepare(subject, 1).network
    assert subject.key == network.key and subject.key.endswith("(x=1x3x34x34)") and network.shape(1) == (4, 32, 32)
    nodes = [("NonZero", "x", {}), ("Cast", "t1", {"to": 1})]
    predict(pricer, device="fast_1", network=str(save(tmp_path / "n.onnx", nodes, ["n", 3])))
    assert "note: Sizes that depend on values are taken as the most" in capsys.readouterr().err
    with pytest.raises(InputError, match="are of networks' files; name those with --onnx"):
        Subjects(sizes=Sizes(trips="loop=3"))
    with pytest.raises(InputError, match="--size h=16,32 names several sizes"):
        Subjects(onnx="m.onnx", sizes=Sizes(size="h=16,32"))


@pytest.mark.parametrize(
    "name, sentence",
    [(":absent", "gives no network .AttributeError"), (":stuck", "RuntimeError: no weights here"),
     (":leaves", "gives no network .SystemExit: 7"), (":Left", "cannot be exported for an input of 1x3x224x224 .7"),
     (":still", "^The output of torch:mynets:still does not depend"), (":text", "a str, not"),
     ("", "names no module"), (":a-b", "names no module"),
     (".absent:Net", "ModuleNotFoundError")],
)  # fmt: skip
def test_what_is_no_torch_module_is_one_sentence(name: str, sentence: str, modules: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_model(f"{modules}{name}", modules=True)


@pytest.mark.parametrize(
    "read",
    [read_model, lambda name: read_architectures([name]), lambda name: networks([name])],
    ids=["model", "architectures", "networks"],
)
def test_no_file_may_name_a_torch_module(read: Callable[[str], object], modules: str) -> None:
    with pytest.raises(InputError, match="would import a module: only a command line may"):
        read(f"{modules}:small")
    assert "mynets" not in sys.modules
