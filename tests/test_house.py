"""The house: who may import whom, whose `datasets` this is, that configurations parse and commands answer fast."""

import ast
import importlib
import inspect
import os
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import yaml
from jsonargparse import ArgumentParser

import datasets
from datasets.arguments import Parser
from datasets.base import Dataset
from datasets.devices import read_device
from datasets.records import Space
from datasets.splits import Split
from encoders.base import DeviceEncoder, GraphEncoder, VectorEncoder
from measure.base import Backend
from measure.plan import read_plan
from measure.power import Meter
from predictors.base import Predictor
from predictors.new_devices.device_sets import read_sets
from search.base import Search
from search.netadapt.widths import WidthSearch
from tests.conftest import ROOT, implementations, run

ROOMS = ("datasets", "encoders", "predictors", "search", "measure")
NOT_IMPORTED = ("gnomon", "studies", "tests", "train")
"""What no room may import."""
MAY_IMPORT = {
    "datasets": {"datasets"},
    "encoders": {"encoders", "datasets"},
    "predictors": {"predictors", "encoders", "datasets"},
    "search": {
        "search",
        "predictors.base",
        "predictors.belief",
        "predictors.config",
        "predictors.descent",
        "predictors.export",
        "predictors.networks",
        "predictors.scaling",
        "encoders",
        "datasets",
    },
    "measure": {
        "measure",
        "datasets.records",
        "datasets.spaces",
        "datasets.networks",
        "datasets.contribution",
        "datasets.devices",
        "datasets.files",
        "datasets.machine",
        "datasets.packages",
    },
}
KINDS = {"datasets": Dataset, "predictors": Predictor, "splits": Split}


def _imports(path: Path, typed: bool = True) -> set[str]:
    """What a file imports anywhere; without `typed`, what it imports for annotations only is left out."""
    found, nodes = set[str](), list[ast.AST]([ast.parse(path.read_text())])
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif typed or not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            nodes += ast.iter_child_nodes(node)
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_import_directions(room: str) -> None:
    files = [path for path in (ROOT / room).rglob("*.py") if path.name != "__main__.py"]
    assert files
    for path in files:
        ours = {name for name in _imports(path) if name.split(".")[0] in (*ROOMS, *NOT_IMPORTED)}
        wrong = {n for n in ours if not any(n == a or n.startswith(a + ".") for a in MAY_IMPORT[room])}
        assert not wrong, f"{path.relative_to(ROOT)} may not import {wrong}"


def test_no_two_modules_need_each_other() -> None:
    """Imports inside of functions count too: hiding an import there does not break a circle."""
    rooms = (*ROOMS, "gnomon")
    files = {
        ".".join(p.relative_to(ROOT).with_suffix("").parts): p for room in rooms for p in (ROOT / room).rglob("*.py")
    }
    TopologicalSorter({name: _imports(path, typed=False) & files.keys() for name, path in files.items()}).prepare()


def test_neither_the_vocabulary_nor_a_measuring_host_nor_an_exported_predictor_needs_torch() -> None:
    modules = "datasets.records, datasets.spaces.nasbench201, measure.campaign, measure.backends.ort, predictors.export"
    assert run("-c", f"import sys, {modules}; sys.exit('torch' in sys.modules)").returncode == 0


def test_whose_datasets_this_is() -> None:
    assert Path(datasets.__file__).resolve() == ROOT / "datasets" / "__init__.py"


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_configuration_parses_to_an_object(path: Path) -> None:
    readers = {"devices": read_device, "campaigns": read_plan, "device_sets": read_sets}
    if path.parent.name in readers:
        assert readers[path.parent.name](path)
        return
    parser = ArgumentParser()
    parser.add_argument("--it", type=KINDS[path.parent.name])
    thing = parser.instantiate_classes(parser.parse_object({"it": yaml.safe_load(path.read_text())})).it
    assert isinstance(thing, KINDS[path.parent.name])
    assert yaml.safe_load(path.read_text())["class_path"].endswith(type(thing).__name__)


def test_something_refers_to_every_configuration() -> None:
    """A page, a target, a module, a test or another configuration names each file."""
    sources = [path for kind in ("*.md", "*.py", "*.yaml", "*.ipynb") for path in ROOT.rglob(kind)]
    ours = (p for p in sources if not {"runs", ".venv"} & set(p.relative_to(ROOT).parts))
    words = {path: set(re.findall(r"\w+", path.read_text())) for path in [*ours, ROOT / "Makefile"]}
    for path in (ROOT / "configs").rglob("*.yaml"):
        assert any(path.stem in found for other, found in words.items() if other != path), path


def test_help_is_fast_and_explains_every_flag() -> None:
    """Under 1.5 s: the best of three, since the machine that runs this may be doing something else too."""
    seconds = []
    for _ in range(3):
        before = os.times()
        done = run("train.py", "--help")
        after = os.times()
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
        assert done.returncode == 0, done.stderr
    assert min(seconds) < 1.5
    flags = re.findall(r"^  --([\w.]+)(.*?)(?=^  -|\Z)", done.stdout, re.MULTILINE | re.DOTALL)
    assert {"data", "predictor", "split", "out", "seed", "overwrite"} <= {name for name, _ in flags}
    for name, text in flags:
        assert len(text.split()) > 4, f"--{name} is not explained"


def test_a_wrong_kind_of_encoder_is_refused_while_parsing() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--graph", type=GraphEncoder)
    parser.add_argument("--vector", type=VectorEncoder)
    parser.parse_args(["--graph=encoders.cell.CellGraph", "--vector=encoders.cell.CellOneHot"])
    for argument in ("--graph=encoders.cell.CellOneHot", "--vector=encoders.cell.CellGraph"):
        with pytest.raises(Exception, match="CellOneHot|CellGraph"):
            parser.parse_args([argument])


COMMANDS = [
    ROOT / "train.py",
    *ROOT.glob("*/__main__.py"),
    *ROOT.glob("*/*/__main__.py"),
    *ROOT.glob("*/commands/*.py"),
]


@pytest.mark.parametrize("path", sorted(COMMANDS), ids=lambda path: str(path.relative_to(ROOT)))
def test_lists_of_commands_say_whole_sentences(path: Path) -> None:
    """`--help` prints the first line of a command's docstring and nothing more."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef) and "Args:" in (told := ast.get_docstring(node) or ""):
            assert told.splitlines()[0].endswith("."), f"{node.name}: {told.splitlines()[0]}"


@pytest.mark.parametrize("path", [*sorted(ROOT.glob("*/commands/*.py")), None], ids=lambda path: path and path.stem)
def test_every_flag_of_a_command_is_explained(path: Path | None) -> None:
    """Those of `search` too (None), also where they are fields of dataclasses."""
    name = "search.__main__" if path is None else ".".join(path.relative_to(ROOT).with_suffix("").parts)
    module = importlib.import_module(name)
    functions = [one for name, one in vars(module).items() if inspect.isfunction(one) and name[0] != "_"]
    for command in module.commands() if path is None else functions:
        if path is None or (command.__module__ == name and path.stem not in ("flags", "measuring")):
            parser = Parser()
            parser.add_function_arguments(command, as_group=False, sub_configs=True)
            for action in parser._actions:
                assert action.help and len(action.help.split()) > 1, f"{command.__name__} {action.option_strings}"


@pytest.mark.parametrize("room", [*ROOMS, "gnomon", "train.py"])
def test_no_function_has_more_than_ten_parameters(room: str) -> None:
    """More are a dataclass, whose fields are documented and checked in one place."""
    for path in [ROOT / room] if room == "train.py" else sorted((ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                given = node.args
                names = [*given.posonlyargs, *given.args, *given.kwonlyargs]
                assert len(names) <= 10, f"{path.relative_to(ROOT)}: {node.name} has {len(names)} parameters"


PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "docs", "datasets/bundled/README.md", "Makefile")]
PAGES = [page for path in PAGES for page in ([path] if path.is_file() else path.rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_name_modules_and_files_that_are_there(page: Path) -> None:
    text = page.read_text()
    for name in re.findall(rf"(?<![\w./])(?:{'|'.join(ROOMS)}|gnomon|studies|tests)(?:\.[a-z]\w*)+", text):
        path = ROOT / name.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").exists(), name
    for name in re.findall(
        r"(?<![\w./-])(?:datasets|encoders|predictors|search|measure|gnomon|studies|tests|docs)/[\w./-]*\w", text
    ):
        assert (ROOT / name).exists(), name


def test_the_architecture_names_every_implementation() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    kinds = {"datasets": (Dataset, Split, Space), "encoders": (GraphEncoder, VectorEncoder, DeviceEncoder)}
    kinds |= {"predictors": (Predictor,), "measure": (Backend, Meter), "search": (Search, WidthSearch)}
    for package, some in kinds.items():
        for cls in (one for kind in some for one in implementations(package, kind)):
            assert f"`{cls.__name__}`" in page, cls


SOURCES = [path for room in (*ROOMS, "gnomon", "studies") for path in sorted((ROOT / room).rglob("*.py"))]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_fits_a_reader(path: Path) -> None:
    """At most 300 lines, and docstrings that stand alone: none begins by pointing at another one."""
    text = path.read_text()
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node) or ""
            assert not re.match(r"(The same|As|See)\b", docstring), docstring.splitlines()[0]


def test_torch_geometric_is_used_and_tests_are_no_studies() -> None:
    assert any("torch_geometric" in path.read_text() for path in SOURCES if path.is_relative_to(ROOT / "predictors"))
    for path in (ROOT / "tests").rglob("*.py"):
        assert "run_parts" not in path.read_text() or path == Path(__file__), path
