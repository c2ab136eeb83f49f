"""Nothing that a file or a value says runs code: hostile class paths in every place that names a class."""

import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml

import train
from datasets.classes import class_named
from datasets.cli import main, one_sentence
from datasets.devices import read_device
from datasets.records import InputError
from datasets.splits import Split
from measure.plan import read_plan
from predictors.base import Predictor, read_checkpoint, rebuild, write_checkpoint
from predictors.config import from_config, to_config
from predictors.linear import Linear
from predictors.new_devices.device_sets import load_set, read_sets
from predictors.sweep import read_sweep
from search.costs import read_measurements
from studies.claims import read_claims
from tests.conftest import ROOT, made_up

TOUCH = {
    "args": "touch owned",
    "command": "touch owned",
    "source": "open('owned', 'w')",
    "path": "owned",
    "file": "owned",
}

HOSTILE = {
    "evilmod.Thing": {},
    "evilmod.thing": {},
    "evilmod.nested.Thing": {},
    "logging.config.dictConfig": {"version": 1, "formatters": {"x": {"()": "os.system", "command": "touch owned"}}},
    "logging.FileHandler": {"filename": "owned"},
    "os.system": TOUCH,
    "posix.system": TOUCH,
    "os.remove": {"path": "kept"},
    "subprocess.Popen": {"args": ["touch", "owned"]},
    "subprocess.run": {"args": ["touch", "owned"]},
    "ctypes.CDLL": {"name": "libc.so.6"},
    "importlib.import_module": {"name": "evilmod"},
    "builtins.eval": TOUCH,
    "builtins.exec": TOUCH,
    "builtins.open": {"file": "owned", "mode": "w"},
    "builtins.print": {"file": "owned"},
    "pathlib.Path": {"path": "owned"},
    "shutil.rmtree": {"path": "kept"},
    "pickle.loads": {"data": "cos\nsystem\n(S'touch owned'\ntR."},
    "runpy.run_path": {"path_name": "evilmod.py"},
    "webbrowser.open": {"url": "file:owned"},
    "antigravity.webbrowser.open": {"url": "file:owned"},
    "this.s": {},
    "torch.load": {"f": "owned"},
    "functools.partial": {"func": "os.system"},
    "jsonargparse.set_parsing_settings": {"import_path_allowlist": ["os"]},
    "datasets.cli.main": {"components": [], "prog": "x"},
    "datasets.cli.os.system": TOUCH,
    "datasets.files.writing.write_text": {"path": "owned", "text": "x"},
    "datasets.files.writing.Path": {"path": "owned"},
    "datasets.architectures.InputError": {},
    "predictors.__main__.main": {},
    "predictors.base.Predictor": {},
    "predictors.base.Predictor.load": {"path": "kept"},
    "predictors.base.Predictor.save": {"path": "owned"},
    "predictors.config.from_config": {"tree": {"class_path": "os.system"}, "kind": "os.system"},
    "predictors.export.load_predictor": {"path": "kept"},
    "predictors.base.write_checkpoint": {"content": {}, "path": "owned"},
    "train.train": {},
    "tests.conftest.run": TOUCH,
    ".os.system": TOUCH,
    "os..system": TOUCH,
    "__main__": {},
    "": {},
}
"""Class paths, and arguments with which they would do harm where something called them."""

FORBIDDEN = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "os.remove", "os.rename",
             "os.rmdir", "os.mkdir", "shutil.rmtree", "pty.spawn", "ctypes.dlopen", "socket.connect")  # fmt: skip
FOREIGN = ("evilmod", "antigravity", "this", "webbrowser", "runpy")


class Watch:
    """What happened that no file may cause; an audit hook cannot be taken away again, so it is told when to look."""

    def __init__(self) -> None:
        self.seen: list[str] | None = None
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple) -> None:
        if self.seen is None:
            return
        wrote = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
        foreign = event == "exec" and Path(getattr(arguments[0], "co_filename", "")).name.startswith(FOREIGN)
        if wrote or foreign or event.startswith(FORBIDDEN):
            self.seen.append(f"{event} {arguments}")


WATCH = Watch()


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, with a module that must never be imported and a file that must stay."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    Path("evilmod.py").write_text("open('owned', 'w')\nclass Thing: pass\ndef thing(): pass")
    Path("kept").write_text("kept")
    yield tmp_path
    WATCH.seen = None
    assert not Path("owned").exists() and Path("kept").read_text() == "kept" and "evilmod" not in sys.modules


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """What our own modules import, and the folders that those make, come before anything is watched."""
    import matplotlib.pyplot  # noqa: F401
    import torch  # noqa: F401

    with pytest.raises(SystemExit):
        command("--predictor=predictors.gcn.GCN", "--predictor.hidden=wide")()


def command(*arguments: str) -> Callable[[], object]:
    def run() -> object:
        with one_sentence("train.py"):
            return train.command([*arguments, "--out", "run"])

    return run


def places(path: str, arguments: dict) -> Iterator[tuple[str, Callable[[], object]]]:
    """Every place where a class can be named, with this one named there."""
    tree = {"class_path": path, "init_args": arguments}
    inner = {"class_path": "predictors.gcn.GCN", "init_args": {"encoder": tree}}
    Path("tree.yaml").write_text(yaml.safe_dump(tree))
    Path("flat.yaml").write_text(yaml.safe_dump({"class_path": path, **arguments}))
    Path("inner.yaml").write_text(yaml.safe_dump(inner))
    Path("scale.yaml").write_text(
        yaml.safe_dump({"class_path": "predictors.linear.Linear", "init_args": {"scale": path}})
    )
    Path("config.yaml").write_text(yaml.safe_dump({"data": "tree.yaml", "predictor": "inner.yaml", "split": tree}))
    sweep = {"program": "train.py", "method": "grid", "parameters": {"predictor": {"values": ["tree.yaml", path]}}}
    Path("sweep.yaml").write_text(yaml.safe_dump({**sweep, "run_cap": 1}))
    Path("sets.yaml").write_text(yaml.safe_dump({"sets": {"x": {"data": [tree], "sources": ["a"], "targets": ["b"]}}}))
    for flag in ("predictor", "data", "split"):
        yield f"--{flag} FILE", command(f"--{flag}", "tree.yaml")
        yield f"--{flag} PATH", command(f"--{flag}={path}")
    yield "--predictor FLAT", command("--predictor", "flat.yaml")
    yield "--predictor INNER", command("--predictor", "inner.yaml")
    yield "--predictor SCALE", command("--predictor", "scale.yaml")
    yield "--predictor JSON", command("--predictor", json.dumps(inner))
    yield "override", command("--predictor", str(ROOT / "configs/predictors/gcn.yaml"), f"--predictor.encoder={path}")
    yield "members", command("--predictor=predictors.blend.Blend", f"--predictor.members={json.dumps([tree])}")
    yield "class path", command(f"--predictor.class_path={path}", "--predictor.init_args.path=owned")
    yield "--config FILE", command("--config", "config.yaml")
    yield "--config JSON", command("--config", json.dumps({"data": tree}))
    yield "--print_config", command("--predictor", "tree.yaml", "--print_config")
    if path != "predictors.base.Predictor":  # which has help
        yield "--predictor.help", command(f"--predictor.help={path}")
    yield "--log", command("--predictor", "predictors.linear.Mean", "--log", "tree.yaml")
    yield "--sweep", command("--sweep", "sweep.yaml")
    yield "a set of devices", lambda: load_set(Path("sets.yaml"), "x")
    yield "from_config", lambda: from_config(tree, Predictor)  # type: ignore[type-abstract]
    yield "nested", lambda: from_config(inner, Predictor)  # type: ignore[type-abstract]
    if arguments:
        yield (
            "a value of any field",
            lambda: from_config({"class_path": "predictors.linear.Linear", "init_args": {"alpha": tree}}, Predictor),
        )  # type: ignore[type-abstract]


@pytest.mark.parametrize("path", HOSTILE)
def test_no_class_path_runs_anything(path: str, workplace: Path, capsys: pytest.CaptureFixture) -> None:
    for place, run in places(path, HOSTILE[path]):
        WATCH.seen, error = [], None
        try:
            run()
        except SystemExit as stopped:
            error = capsys.readouterr().err
            assert stopped.code == 2, (place, error)
            assert error.startswith("error: ") and error.count("\n") == 1 and len(error) < 2000, (place, error)
        except InputError as refused:
            error = str(refused)
        seen, WATCH.seen = WATCH.seen, None
        assert error is not None, f"{place}: {path} was accepted"
        assert not seen, (place, seen)


def test_the_watch_sees_what_it_looks_for(workplace: Path) -> None:
    Path("runpy_like.py").write_text("")
    WATCH.seen = []
    os.system("true")
    Path("other").write_text("x")
    importlib.import_module("runpy_like")
    assert {line.split()[0] for line in WATCH.seen} == {"os.system", "open", "exec"}


def test_a_checkpoint_names_only_predictors_of_ours(workplace: Path) -> None:
    from datasets.spaces.nasbench201 import NasBench201

    m = made_up(NasBench201().sample(20, np.random.default_rng(0)))
    fitted = Linear().fit(m.where(archs=np.arange(15)), m.where(archs=np.arange(15, 20)))
    fitted.save(workplace / "p.pt")
    saved = read_checkpoint(workplace / "p.pt")
    for path, arguments in HOSTILE.items():
        tree = {"class_path": path, "init_args": arguments}
        for place in (tree, {**saved["predictor"], "init_args": {**saved["predictor"]["init_args"], "scale": tree}}):
            write_checkpoint({**saved, "predictor": place}, workplace / "edited.pt")
            WATCH.seen = []
            with pytest.raises(InputError):
                rebuild(read_checkpoint(workplace / "edited.pt"), "a file")
            assert not WATCH.seen
            WATCH.seen = None


def test_a_package_that_who_runs_the_command_allows_may_be_named(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    Path("allowed_plugin.py").write_text(
        "from dataclasses import dataclass\nfrom datasets.splits import Random\n"
        "@dataclass(frozen=True)\nclass Mine(Random):\n    pass"
    )

    def show(split: Split) -> str:
        """Show one.

        Args:
            split: what is shown.
        """
        return type(split).__name__

    arguments = ["--split", "allowed_plugin.Mine", "--split.train", "5"]
    with pytest.raises(SystemExit):
        main(show, "show", arguments)
    assert "GNOMON_PLUGINS" in capsys.readouterr().err and "allowed_plugin" not in sys.modules
    monkeypatch.setenv("GNOMON_PLUGINS", "other, allowed_plugin")
    assert main(show, "show", arguments) == "Mine"
    mine = class_named("allowed_plugin.Mine", Split)()
    assert from_config(to_config(mine), Split) == mine
    monkeypatch.setenv("GNOMON_PLUGINS", "os.path")
    with pytest.raises(SystemExit):
        main(show, "show", arguments)
    assert "names" in capsys.readouterr().err


FAULTY = {
    "a bomb of aliases": "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{b}: &{b} [{','.join(['*' + a] * 10)}]\n" for a, b in pairwise("abcdefghi"))
    + "class_path: predictors.gcn.GCN\ninit_args: {hidden: *i}\n",
    "deep": "class_path: predictors.gcn.GCN\ninit_args: " + "[" * 300 + "]" * 300,
    "no class": "class_path: Mean\nx: 1",
    "no text": b"class_path: \xe9\n",
    "another encoding": "class_path: x\n".encode("utf-32"),
    "no YAML": "class_path: [",
    "an object of Python": "!!python/object/apply:os.system ['touch owned']",
    "a date that is none": "2001-99-99",
    "a list": "[1, 2]",
    "a number": "5",
    "empty": "",
    "a zero byte": "a: \0",
    "a class path that is a number": "class_path: 5",
    "a class path that is a list": "class_path: [predictors.gcn.GCN]",
    "arguments that are a list": "class_path: predictors.gcn.GCN\ninit_args: [1]",
    "arguments that are a number": "class_path: predictors.gcn.GCN\ninit_args: 5",
    "a name of 10 kB": "class_path: predictors.gcn.GCN\ninit_args: {" + "x" * 10_000 + ": 5}",
    "a value of 10 kB": "class_path: predictors.gcn.GCN\ninit_args: {hidden: " + "x" * 10_000 + "}",
    "a key that is no text": "class_path: predictors.gcn.GCN\ninit_args: {null: 5, 5: 6}",
    "a number of 5,000 digits": "class_path: predictors.gcn.GCN\ninit_args: {hidden: " + "9" * 5000 + "}",
    "a scale that is a list": "class_path: predictors.gcn.GCN\ninit_args: {scale: [[]]}",
    "a file of itself": "class_path: predictors.gcn.GCN\ninit_args: {encoder: faulty.yaml}",
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_faulty_yaml_file_is_one_short_sentence_wherever_it_is_read(
    name: str, workplace: Path, capsys: pytest.CaptureFixture
) -> None:
    content = FAULTY[name]
    Path("faulty.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    Path("outer.yaml").write_text("predictor: faulty.yaml")
    readers = (read_device, read_sweep, read_claims, read_sets, read_plan, read_measurements)
    runs = [partial(reader, Path("faulty.yaml")) for reader in readers]
    runs += [command(f"--{flag}", "faulty.yaml") for flag in ("predictor", "data", "split", "config", "sweep")]
    runs += [command("--config", "outer.yaml")]
    if isinstance(content, str) and "\0" not in content:
        runs += [command(f"--{flag}={content}") for flag in ("predictor", "data", "split", "config")]
    for number, run in enumerate(runs):
        try:
            run()
        except SystemExit as stopped:
            error = capsys.readouterr().err
            assert stopped.code == 2 and error.startswith("error: ") and error.count("\n") == 1, (number, error)
        except InputError as refused:
            error = str(refused)
        else:
            raise AssertionError(f"{number}: accepted")
        assert len(error) < 2000, (number, error)
