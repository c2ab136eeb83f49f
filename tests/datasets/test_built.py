"""Spaces of a builder function: what is run, when, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from datasets.architectures import InputError
from datasets.opening import open_measurements
from datasets.spaces import open_space, parse_space
from datasets.spaces.built import Built
from encoders.cell import CellOneHot
from encoders.columns import ColumnVector
from encoders.network import NetworkGraph
from measure.campaign import of_space
from tests.conftest import made_up

CODE = """
from pathlib import Path
from torch import load, nn
Path(__file__).with_name("imported").touch()
constant = 3

def chain(depth, width):
    layers = [nn.Conv2d(3, width, 3, padding=1)]
    for _ in range(depth):
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))

def breaks(depth, width):
    return [1][depth]

def text(depth, width):
    return "a module"

def mixes(depth, width):
    class Mixes(nn.Module):
        def forward(self, x):
            return x / x.sum()
    return nn.Sequential(nn.Conv2d(3, width, 3), Mixes())
"""
DECISIONS = {"depth": [1, 2, 3], "width": [8, 16]}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A package of a person's own, allowed by GNOMON_PLUGINS; a new name for each test, since imports stay."""
    name = f"own_{abs(hash(request.node.name))}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    (tmp_path / name / "nets.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("GNOMON_PLUGINS", name)
    return name


def described(folder: Path, builder: str, **fields: object) -> str:
    tree = {"class_path": "datasets.spaces.built.Built",
            "init_args": {"builder": builder, "input": [3, 8, 8], "decisions": DECISIONS} | fields}  # fmt: skip
    (folder / "space.yaml").write_text(yaml.safe_dump(tree))
    return str(folder / "space.yaml")


def test_a_yaml_is_a_space_whose_text_stands_alone(package: str, tmp_path: Path) -> None:
    space = open_space(described(tmp_path, f"{package}.nets.chain"))
    assert str(space) == f"built(builder={package}.nets.chain,input=3x8x8,depth=1|2|3,width=8|16)"
    assert parse_space(str(space)) == space and len(space.all()) == 6
    subjects, prepare = of_space(str(tmp_path / "space.yaml"), 4, None, 0, False)
    model = prepare(subjects[0], 1)
    kinds = [op.kind for op in model.network.ops]
    assert kinds == ["input", "conv", "conv", "bn", "relu", "global_avg_pool", "dense"] and model.network.batch is None
    assert (model.network.space, model.network.key) == (str(space), "depth=1,width=8")
    assert space.expand(space.all()[0]) is space.expand(space.all()[0]), "each is exported once"


def test_no_code_runs_before_a_network_is_needed_or_without_leave(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = open_space(described(tmp_path, f"{package}.nets.chain"))
    archs = space.sample(20, np.random.default_rng(0))
    lines = [f"{key};{i % 3 + 1}" for i, key in enumerate(archs.keys)]
    (tmp_path / "mine.csv").write_text("\n".join(["key;value", *(f"{space}:{line}" for line in lines)]))
    assert open_measurements(tmp_path / "mine.csv").architectures.space == space
    assert CellOneHot()(archs).shape == (20, 5) and ColumnVector()(archs).shape == (20, 7)
    assert not (tmp_path / package / "imported").exists()
    monkeypatch.setenv("GNOMON_PLUGINS", "")
    for run_code in (lambda: space.expand(archs[0]), lambda: of_space(str(space), 2, None, 0, False)):
        with pytest.raises(InputError, match=rf"set GNOMON_PLUGINS={package} to allow the code"):
            run_code()
    assert not (tmp_path / package / "imported").exists()


@pytest.mark.parametrize(
    "name, sentence",
    [("nets.breaks", r"nets\.breaks\(depth=1, width=8\) fails \(IndexError: list index out of range\); mend its code"),
     ("nets.text", "returned a str, not a torch.nn.Module"),
     ("nets.absent", r"nets.absent fails \(AttributeError: module .* has no attribute 'absent'"),
     ("nowhere.chain", r"nowhere.chain fails \(ModuleNotFoundError"),
     ("nets.constant", "is no function that its package defines"),
     ("nets.load", "is no function that its package defines"),
     ("nets._chain", "is not a class of Gnomon")],
)  # fmt: skip
def test_a_faulty_builder_is_one_sentence(name: str, sentence: str, package: str, tmp_path: Path) -> None:
    space = open_space(described(tmp_path, f"{package}.{name}"))
    with pytest.raises(InputError, match=sentence) as caught:
        space.expand(space.all()[0])
    assert "\n" not in str(caught.value)


def test_functions_of_gnomon_are_no_builders(tmp_path: Path) -> None:
    """A file could call them with arguments of its choice."""
    decisions = {"path": [str(tmp_path / "owned")], "text": ["x"]}
    space = open_space(described(tmp_path, "datasets.files.writing.write_text", decisions=decisions))
    with pytest.raises(InputError, match="set GNOMON_PLUGINS=datasets"):
        space.expand(space.all()[0])
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    "fields, sentence",
    [({"decisions": {"depth": [1], "height": [2]}}, "does not take the decisions depth, height"),
     ({"decisions": {"depth": [1]}}, "does not take the decisions depth"),
     ({"decisions": {"depth": []}}, "The decision 'depth' needs choices"),
     ({"decisions": {"the depth": [1]}}, "needs choices, and the name of an argument"),
     ({"decisions": {"depth": [1, 1.0]}}, "has '1' twice"),
     ({"decisions": {}}, "has 0 columns"),
     ({"input": [3, 0]}, "name one to eight sizes above zero"),
     ({"input": []}, "name one to eight sizes above zero"),
     ({"builder": "nowhere"}, "is no path of a function"),
     ({"width": 3}, "has no field 'width'"),
     ({"input": "3x8x8"}, "field 'input' may not be")],
)  # fmt: skip
def test_a_faulty_space_is_one_sentence(fields: dict, sentence: str, package: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=sentence):
        open_space(described(tmp_path, **{"builder": f"{package}.nets.chain"} | fields)).check_networks()


def test_what_is_no_space_is_one_sentence(tmp_path: Path) -> None:
    for name, sentence in (("configs/datasets/bundled.yaml", "is no Space"), ("absent.yaml", "There is no file absent"),
                           ("built(builder=os.system,input=1,a=1)x", "describes no space of a builder"),
                           ("built(builder=a.b,input=0,a=1)", "sizes above zero")):  # fmt: skip
        with pytest.raises(InputError, match=sentence):
            open_space(name)


def test_a_module_that_mixes_samples_keeps_the_batch_that_it_is_exported_with(package: str, tmp_path: Path) -> None:
    space = open_space(described(tmp_path, f"{package}.nets.mixes", decisions={"depth": [1], "width": [8]}))
    assert space.expand(space.all()[0]).batch in (1, None)


def test_whole_networks_are_graphs_of_what_runs_as_one() -> None:
    """A node per op with its batch norm and activation, of which the last writes what the next reads."""
    space = Built()
    archs = space.parse(["depth=2,width=8,kernel=3", "depth=1,width=8,kernel=1"])
    graphs = NetworkGraph(nodes=8, global_node=False)(archs)
    assert graphs.mask.sum(1).tolist() == [4, 3], "convolutions with their activation, pooling, dense"
    assert np.argwhere(graphs.adjacency[0]).tolist() == [[0, 1], [1, 2], [2, 3]]
    macs = 10 ** graphs.nodes[0, :, -7] - 1
    np.testing.assert_allclose(macs[[0, 1, 3]], [27 * 8 * 256, 72 * 8 * 256, 80], rtol=1e-4)
    np.testing.assert_allclose(macs.sum(), space.totals(archs)["macs"][0], rtol=1e-4)
    with pytest.raises(InputError, match="has 4 nodes, and graphs at most 3; raise encoder.nodes"):
        NetworkGraph(nodes=3)(archs)
    assert np.isfinite(made_up(space.all()).matrix("latency_ms")).all()
