"""How commands end: exit codes and one sentence, whatever happens."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import predictors.__main__
import train
from datasets.base import Dataset
from datasets.classes import classes_of
from datasets.cli import main, one_sentence
from datasets.records import InputError
from datasets.splits import Split
from encoders.base import VectorEncoder
from encoders.cell import CellOneHot
from measure.commands.campaigns import run
from measure.commands.flags import Runs, Subjects
from measure.commands.networks import blackbox
from measure.commands.tables import table
from predictors.base import Predictor
from predictors.commands.answers import export, predict, score
from predictors.commands.comparing import transfer
from predictors.commands.learning import adapt, choose, layerwise
from search.__main__ import bisect, exhaustive
from search.netadapt.__main__ import netadapt
from search.netadapt.grids import layers
from search.optimizer.__main__ import optimize
from tests.conftest import ROOT, implementations

TRANSFER = ["--predictor", "predictors.new_devices.proxies.OwnLine", "--device_set", "ND"]
PRINTS = "from datasets.cli import one_sentence\nwith one_sentence('x'):\n    print('y' * {})\n"


def shell(line: str, **environment: str) -> subprocess.CompletedProcess:
    """What a shell, which knows the states of a pipe's parts, makes of a line."""
    environment = {**os.environ, "PYTHON": sys.executable, **environment}
    command = ["bash", "-c", line]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("characters", [10, 10_000_000])
def test_a_pipe_that_nobody_reads_ends_a_command_well(characters: int) -> None:
    done = shell(f"""sleep 0 | {{ "$PYTHON" -c "{PRINTS.format(characters)}"; echo "ended $?" >&2; }} | true""")
    assert done.stderr == "ended 0\n"


def test_a_full_disk_behind_stdout_is_one_sentence() -> None:
    done = shell(f"""exec "$PYTHON" -c "{PRINTS.format(10)}" > /dev/full""")
    assert done.returncode == 2 and done.stderr.startswith("error: No space left") and done.stderr.count("\n") == 1


def test_no_stdout_at_all_is_no_fault() -> None:
    assert shell(f"""exec "$PYTHON" -c "{PRINTS.format(10)}" >&-""").returncode == 0


@pytest.mark.parametrize(
    "interrupted", ["raise KeyboardInterrupt", "with one_sentence('x'):\n    raise KeyboardInterrupt"]
)
def test_an_interruption_is_130_and_one_sentence_even_outside_of_a_command(interrupted: str) -> None:
    code = f"from datasets.cli import one_sentence\n{interrupted}\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr == "error: Interrupted; run the same command again to go on.\n"


@pytest.mark.parametrize("script", [("train.py",), ("-m", "predictors"), ("-m", "datasets"), ("-m", "search")])
def test_an_interruption_during_imports_is_130_too(script: tuple[str, ...], tmp_path: Path) -> None:
    """A module that is imported interrupts, as Ctrl-C does at that moment."""
    (tmp_path / "numpy.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, *script, "--help"]
    if script == ("train.py",):  # whose own folder comes first
        command = [sys.executable, "-c", "import runpy; runpy.run_path('train.py', run_name='__main__')"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:  # help may do without numpy
        assert done.returncode == 130 and done.stderr.count("\n") == 1, done.stderr


def refuse(error: Callable[[], object]) -> int:
    with pytest.raises(SystemExit) as stopped, one_sentence("x"):
        error()
    return int(stopped.value.code or 0)


def raises(error: BaseException) -> Callable[[], object]:
    def run() -> None:
        raise error

    return run


@pytest.mark.parametrize(
    "error, status, sentence",
    [
        (InputError("This is wrong."), 2, "This is wrong."),
        (InputError("One\nand\tanother \x1b[31mline"), 2, "One and another ?[31mline"),
        (FileNotFoundError(2, "No such file", "x"), 2, "x: No such file."),
        (MemoryError(), 2, "There is not enough memory"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), 2, "A file is not text in UTF-8"),
        (KeyboardInterrupt(), 130, "Interrupted; run the same command again"),
        (InputError("x" * 10_000 + " end"), 2, "(10,000 characters) end"),
        (InputError("word " * 10_000), 2, " ... "),
    ],
)
def test_every_end_has_its_code_and_one_short_line(
    error: BaseException, status: int, sentence: str, capsys: pytest.CaptureFixture
) -> None:
    assert refuse(raises(error)) == status
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and sentence in printed and printed.count("\n") == 1 and len(printed) < 1600


def test_a_bug_keeps_its_traceback() -> None:
    for error in (ValueError("ours"), RecursionError(), TypeError()):
        with pytest.raises(type(error)), one_sentence("x"):
            raises(error)()


def test_arguments_that_are_no_text_are_one_sentence(capsys: pytest.CaptureFixture) -> None:
    def show(name: str) -> None:
        """Show a name.

        Args:
            name: what is shown.
        """

    with pytest.raises(SystemExit) as stopped:
        main(show, "show", ["--name", "a\udcff"])
    assert stopped.value.code == 2 and "is not text in UTF-8" in capsys.readouterr().err


def test_a_value_that_is_no_number_is_named_as_one(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        main([predict], prog="x", arguments=["predict", "p.pt", "--level", "nan"])
    assert ended.value.code == 2 and "--level: 'nan' is not a finite number" in capsys.readouterr().err
    with pytest.raises(InputError, match="as in --batch 4 or --batch 1,4,16, not 'nan'"):
        predict(Path("p.pt"), batch="nan")


SEARCH = ["--accuracy", "a.csv", "--latency", "b.csv", "--budget-ms", "5"]


@pytest.mark.parametrize(
    "command, flags, sentence",
    [
        (run, ["--repeats", "3"], "unrecognized arguments: --repeats 3. Did you mean --timing.repeats?"),
        (run, ["--python", "python3"], "Did you mean --remote.python?"),
        (run, ["--timing.repeets", "3"], "Did you mean --timing.repeats?"),
        (run, ["--spase", "ofa"], "Did you mean --space?"),
        (run, ["--wholly-else", "1"], "unrecognized arguments: --wholly_else 1. See x --help."),
        (exhaustive, [*SEARCH, "--memory-mb", "1"], "Did you mean --problem.memory_mb?"),
        (netadapt, ["--lut", "a.csv", "--steps", "1"], "Did you mean --adaptation.steps?"),
        (netadapt, ["--lut", "a.csv", "--batch", "1"], "Did you mean --training.batch?"),
    ],
)
def test_a_flag_that_a_command_lacks_is_answered_by_the_likeliest(
    command: Callable[..., object], flags: list[str], sentence: str, capsys: pytest.CaptureFixture
) -> None:
    for arguments, components in ((flags, command), ([command.__name__, *flags], [command, table])):
        with pytest.raises(SystemExit) as ended:
            main(components, prog="x", arguments=arguments)
        printed = capsys.readouterr().err
        assert ended.value.code == 2 and sentence in printed and printed.count("\n") == 1


@pytest.mark.parametrize(
    "command, flags, sentence",
    [
        (
            bisect,
            [*SEARCH, "--proxy", "c.csv", "--delta", "-1"],
            "delta is a share of the budget, from 0 to 1, not -1.",
        ),
        (
            bisect,
            ["--proxy", "c.csv", *SEARCH[:4], "--budget-ms", "0"],
            "--budget-ms must be a latency above 0, not 0.",
        ),
        (exhaustive, [*SEARCH, "--problem.budget-mj=-1"], "--problem.budget_mj must be 0 (any) or more, not -1."),
        (exhaustive, [*SEARCH, "--problem.memory-mb=-1"], "--problem.memory_mb must be 0 (any) or more, not -1."),
        (optimize, [*SEARCH, "--device", "d", "--training.networks", "0"], "--training.networks must be 1 to 1,000"),
        (optimize, [*SEARCH, "--device", "d", "--rounds=-1"], "--rounds must be 0 to 1,000, not -1."),
        (netadapt, ["--lut", "a.csv", "--budget-ms=-2"], "--budget-ms and --latency.measured_ms are 0 or more"),
        (
            netadapt,
            ["--lut", "a.csv", "--training.first-steps=-2"],
            "--training.first_steps must be 0 or more, not -2.",
        ),
        (netadapt, ["--lut", "a.csv", "--adaptation.delta", "2"], "An adaptation takes a delta between 0 and 1"),
        (netadapt, ["--lut", "a.csv", "--widths.conv", "0"], "--widths.conv must be 1 or more, not 0."),
        (layers, ["--direct=-1"], "--direct must be 0 to 10,000, not -1."),
        (blackbox, ["--budget-ms", "1", "--timing.timeout", "0"], "--timing.timeout must be at least 0.001, not 0"),
        (transfer, [*TRANSFER, "--draws", "0"], "a draw or more, not 20 and 0."),
        (transfer, [*TRANSFER, "--shots", "[-1]"], "numbers of samples, each 0 or more"),
        (transfer, [*TRANSFER, "--sources=-3"], "--sources 0 (all) or more, not 900 and -3."),
    ],
)
def test_a_number_beyond_its_limits_is_refused_before_anything_is_read(
    command: Callable[..., object], flags: list[str], sentence: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(command, prog="x", arguments=flags)
    printed = capsys.readouterr().err
    assert ended.value.code == 2 and sentence in printed and printed.count("\n") == 1, printed


def test_what_is_missing_is_named_as_its_flag(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        main([exhaustive, table], prog="x", arguments=["exhaustive", "--accuracy", "a.csv"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "error: the following arguments are required: latency, budget_ms. See x --help.\n"
    )


@pytest.mark.parametrize(
    "words",
    [
        ["--predictor.help", "predictors.gcn.GCN"],
        ["--predictor.help=GCN"],
        ["--predictor", "configs/predictors/mlp.yaml", "--predictor.help", "GCN", "--out", "runs/x"],
        ["--seed=1", "--predictor.help", "GCN", "--study", "runs"],
    ],
)
def test_fields_of_a_class_are_shown_whatever_other_flags_there_are(
    words: list[str], capsys: pytest.CaptureFixture
) -> None:
    for command in (train.command, predictors.__main__.run_transfer):
        with pytest.raises(SystemExit) as ended:
            command(words)
        assert not ended.value.code and "--predictor.hidden HIDDEN" in capsys.readouterr().out


def test_help_of_a_flag_lists_the_classes_that_it_takes(capsys: pytest.CaptureFixture) -> None:
    for words, shown in (("--split.help", "datasets.splits.Random"), ("--data.help", "datasets.own_table.OwnTable")):
        with pytest.raises(SystemExit) as ended:
            train.command([words])
        assert not ended.value.code and f"\n  {shown}\n" in capsys.readouterr().out
    for name, sentence in (("GNN", "there is no class 'GNN'; --predictor.help without a name lists"),
                           ("predictors.gcn.GNN", "There is no class 'predictors.gcn.GNN'"),
                           ("os.system", "not a class of Gnomon")):  # fmt: skip
        with pytest.raises(SystemExit) as ended:
            train.command(["--predictor.help", name])
        assert ended.value.code == 2 and sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    "package, kind",
    [("predictors", Predictor), ("datasets", Split), ("datasets", Dataset), ("encoders", VectorEncoder)],
)
def test_listed_classes_are_those_that_can_be_made(package: str, kind: type) -> None:
    own = [cls for cls in implementations(package, kind) if not cls.__name__.startswith("_")]
    assert classes_of(kind) == sorted(f"{cls.__module__}.{cls.__qualname__}" for cls in own)


PLUGIN = """
from __future__ import annotations
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from encoders.cell import CellOneHot
from predictors.base import Predictor
from predictors.regressor import Regressor
if TYPE_CHECKING:
    from encoders.base import GraphEncoder
from encoders.base import VectorEncoder

class Methods:
    def fit(self, train, val=None, log=None): ...
    def predict_all(self, archs, chunk=0): ...
    def state(self): ...
    def restore(self, state): ...
    def learn(self, x, z, val, log): ...
    def forward(self, x): ...
    def to_onnx(self, x): ...

@dataclass
class Direct(Methods, Predictor):
    encoder: VectorEncoder = field(default_factory=CellOneHot)
    metric: str = "latency_ms"

@dataclass
class Mixed(Methods, Regressor):
    encoder: VectorEncoder = field(default_factory=CellOneHot)

@dataclass
class Unknown(Methods, Predictor):
    encoder: GraphEncoder = None
"""


def test_fields_of_a_plugin_with_postponed_annotations_are_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """They were jsonargparse's namespaces where a base class names types that the module does not import."""
    (tmp_path / "postponed").mkdir()
    (tmp_path / "postponed" / "one.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("GNOMON_PLUGINS", "postponed")

    def command(predictor: Predictor) -> Predictor:
        return predictor

    for name in ("Direct", "Mixed"):
        for words in ([], ["--predictor.encoder.live", "true"]):
            made = main(command, prog="x", arguments=["--predictor", f"postponed.one.{name}", *words])
            assert made.encoder == CellOneHot(live=bool(words))
    with pytest.raises(SystemExit) as ended:
        main(command, prog="x", arguments=["--predictor", "postponed.one.Unknown", "--predictor.encoder", "null"])
    assert ended.value.code == 2 and "name 'GraphEncoder' is not defined" in capsys.readouterr().err


def test_a_short_flag_is_the_field_of_a_dataclass() -> None:
    def show(subjects: Subjects = Subjects(), timing: Runs = Runs(repeats=3)) -> tuple[Subjects, Runs]:
        return subjects, timing

    expected = Subjects("zoo", limit=3, block=True), Runs(core=1, repeats=3, protocol="quick")
    short = ["--space", "zoo", "--limit=3", "--core", "1", "--protocol=quick", "--subjects.block", "true"]
    long = ["--subjects.space=zoo", "--subjects.limit", "3", "--timing.core=1", "--timing.protocol", "quick"]
    assert main(show, "x", short) == expected == main(show, "x", [*long, "--subjects.block=true"])
    assert main([show, table], "x", ["show", *short]) == expected


def test_a_negative_limit_of_scores_is_refused(tmp_path: Path) -> None:
    """Python would leave out as many at the end."""
    with pytest.raises(InputError, match="--limit has to be 0 or more, not -4"):
        score(tmp_path / "absent.pt", tmp_path / "out.parquet", limit=-4)


@pytest.mark.parametrize(
    "command",
    [lambda file: score(file, file), lambda file: export(file, file), lambda file: adapt(file, "few.csv", out=file),
     lambda file: adapt(Path("absent.pt"), f"few.csv,{file}", out=file), lambda file: table(file, file),
     lambda file: layerwise(out=file, tables=file.parent)],
)  # fmt: skip
def test_what_a_command_reads_is_never_written_over(command: Callable[[Path], object], tmp_path: Path) -> None:
    file = tmp_path / "mine.parquet"
    file.write_text("learnt for hours")
    with pytest.raises(InputError, match="mine.parquet is itself read for this, and would be lost"):
        command(file)
    assert file.read_text() == "learnt for hours"


def test_a_seed_that_no_generator_takes_is_refused(capsys: pytest.CaptureFixture) -> None:
    """Written into a run it would be refused whenever the run is read."""
    with pytest.raises(SystemExit) as ended:
        main([choose], prog="x", arguments=["p.pt", "--seed", str(2**70)], positional=True)
    assert ended.value.code == 2 and "--seed has to be 0 or more and below 2,147,483,648" in capsys.readouterr().err
