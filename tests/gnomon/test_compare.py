"""`python -m gnomon compare`: measured and priced side by side."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import gnomon.compare
from datasets.machine import machine_name
from gnomon.commands.compare import files_as_one
from gnomon.compare import compare, device_of, frame, reference_times
from gnomon.compare_report import draw, report
from measure.backends import parse_backend
from measure.bench import Bench
from predictors.networks.shipped import load
from studies.decide.live import write_chain
from tests.gnomon.test_check import command, dense

DEVICE = "milan_ort_fp32_1"


def benches(found: object) -> Callable[[float], AbstractContextManager]:
    """What stands in for `Worker`, which measures in a process of its own."""
    return lambda timeout: nullcontext(found)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("chains")
    return [str(write_chain(folder, 8, 16, layers)) for layers in (4, 40)]


@pytest.fixture(scope="module")
def journal(files: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The journal of two passes over the files."""
    path, rows = tmp_path_factory.mktemp("journal") / "journal.jsonl", list[int]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gnomon.compare, "Worker", benches(Bench()))
        compare(files, "ort", device=DEVICE, journal=path, repeats=2, after=lambda row, total: rows.append(total))
    assert rows == [4] * 4
    return path


@pytest.fixture(autouse=True)
def nothing_is_measured(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gnomon.compare, "Worker", benches(None))


def test_files_are_priced_shown_drawn_and_not_measured_again(
    files: list[str], journal: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    words = ["compare", *files, "--device", DEVICE, "--repeats", "2", "--journal", str(journal)]
    assert command(*words, "--out", tmp_path / "drawn.png", "--json") == 0
    found = json.loads(capsys.readouterr().out)["networks"]
    assert [row["network"] for row in found] == files and {row["priced"] for row in found} == {DEVICE}
    for row in found:
        assert 0 < row["measured_low"] <= row["measured_ms"] <= row["measured_high"]
        assert 0 < row["low"] < row["predicted_ms"] < row["high"]
        assert row["off"] == pytest.approx(row["predicted_ms"] / row["measured_ms"] - 1)
        assert row["inside"] == (row["low"] <= row["measured_ms"] <= row["high"])
    assert 2 < found[1]["measured_ms"] / found[0]["measured_ms"] < 50
    assert (tmp_path / "drawn.png").stat().st_size > 5000
    assert command(*words) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[0].split()[:3] == ["network", "measured", "ms"] and "chain_8_16_40.onnx" in text


def test_in_python_the_results_are_a_table(files: list[str], journal: Path) -> None:
    found = compare(files[:1], parse_backend("ort"), device=DEVICE, journal=journal, repeats=2)
    table = frame(found)
    assert table.loc[0, "network"] == files[0] and table.loc[0, "measured_ms"] > 0
    assert "chain_8_16_4.onnx" in report(found, 0.9) and draw(found, 0.9)


def test_what_cannot_be_measured_or_priced_is_shown_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def fails(*arguments: object) -> dict:
        return {"error": "Crash: it did not run", "date": "", "host": {}, "protocol": {}}

    monkeypatch.setattr(gnomon.compare, "Worker", benches(fails))
    words = ["--device", DEVICE, "--journal", tmp_path / "journal.jsonl", "--repeats", "2"]
    file = dense(tmp_path / "a.onnx")
    assert command("compare", file, *words) == 1
    text = capsys.readouterr().out
    assert "1: It was not measured: Crash: it did not run" in text and " - " in text
    assert command("compare", file, *words, "--json") == 1
    (row,) = json.loads(capsys.readouterr().out)["networks"]
    assert row["measured_ms"] is None and row["off"] is None and row["predicted_ms"] > 0 and not row["inside"]


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["missing.onnx", "--device", DEVICE], "missing.onnx"),
        (["zoo:nosuch", "--device", DEVICE], "'nosuch' is not a zoo network"),
        (["zoo:lenet5", "--device", "nosuch"], "nosuch"),
        (["zoo:lenet5", "--repeats", "1"], "--repeats must be at least 2"),
        (["zoo:lenet5", "--level", "2"], "--level 2.0 must lie between 0 and 1"),
        (["zoo:lenet5", "--out", "picture.doc"], "has no suffix of a picture"),
        (["zoo:lenet5", "--predictor", "missing.pt"], "missing.pt"),
        (["--device", DEVICE], "files"),
    ],
)
def test_faulty_requests_are_one_sentence(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert command("compare", *words, "--journal", tmp_path / "journal.jsonl") == 2
    text = capsys.readouterr().err
    assert text.startswith("error: ") and text.count("\n") == 1 and sentence in text
    assert not (tmp_path / "journal.jsonl").exists()


def test_the_device_is_that_of_this_machine_or_has_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor, backend = load(), parse_backend("ort")
    monkeypatch.setattr(gnomon.compare, "reference_times", lambda: {DEVICE: 0.6})
    found = device_of(predictor, "", backend)
    assert found is not None and found.name == DEVICE
    monkeypatch.setattr(gnomon.compare, "reference_times", dict)
    with pytest.raises(gnomon.compare.InputError, match="no device of this machine with ort in fp32; name the most"):
        device_of(predictor, "", backend)


def test_a_device_of_this_machine_prices_all_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was not found for another batch than its own, and called another machine's where it was named."""
    monkeypatch.setattr(gnomon.compare, "reference_times", dict)
    backend, known = parse_backend("ort:fp32:8"), load()
    own = [replace(known.devices_[0], name=f"{machine_name()}_ort_fp32_{batch}", batch=batch) for batch in (1, 8, 4)]
    predictor = known.with_devices(own[:1], known.calibrations_[:1])
    assert device_of(predictor, "", backend) == own[0]
    row = {"error": "InputError: it did not run", "date": "", "host": {}, "protocol": {}}
    monkeypatch.setattr(gnomon.compare, "Worker", benches(lambda *arguments: row))
    (found,) = compare(["zoo:lenet5"], backend, predictor, own[0].name, tmp_path / "journal.jsonl", 2)
    assert found.predicted_ms > 0 and found.notes[0] == "It was not measured: it did not run"
    assert not any("another machine" in note for note in found.notes)
    predictor = known.with_devices(own, [known.calibrations_[0]] * 3)
    assert device_of(predictor, "", backend) == own[1]
    with pytest.raises(gnomon.compare.InputError, match="with ort in int8"):
        device_of(predictor, "", parse_backend("ort:int8"))
    board = known.with_devices([replace(own[0], name="board_ort_fp32_1")], known.calibrations_[:1])
    board.metadata_ = {"adapted": {"samples": 10, "machine": machine_name()}}  # on this machine, perhaps not to it
    with pytest.raises(gnomon.compare.InputError, match="no device of this machine"):
        device_of(board, "", backend)


def test_measured_ms_are_those_at_the_usual_speed_of_the_tables(
    files: list[str], journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where tables were measured on such a machine, ms of a journal scale with the reference's time in the tables."""
    arguments = (files[:1], "ort", None, DEVICE, journal, 2)
    ms = []
    for usual in (1.0, 2.0):
        monkeypatch.setattr(gnomon.compare, "reference_times", lambda usual=usual: {DEVICE: usual})
        ms.append(compare(*arguments)[0].measured_ms)
    assert ms[1] == pytest.approx(2 * ms[0])


def test_bundled_tables_have_usual_times_of_their_own_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    reference_times.cache_clear()
    monkeypatch.setattr(gnomon.compare, "machine", lambda: {"cpu": "another"})
    assert reference_times() == {}
    reference_times.cache_clear()
    zen4 = {"cpu": "AMD EPYC", "family": "25", "flags": "6a93d771884c", "machine": "x86_64", "memory_gib": 24.0,
            "model": "17", "stepping": "1", "system": "Linux", "vendor": "AuthenticAMD"}  # fmt: skip
    monkeypatch.setattr(gnomon.compare, "machine", lambda: zen4)
    assert 0.3 < reference_times()["genoa_ort_fp32_1"] < 0.7
    assert all(name.startswith("genoa") and np.isfinite(ms) for name, ms in reference_times().items())
    reference_times.cache_clear()


def test_files_of_a_command_line_become_one_word() -> None:
    assert files_as_one(["compare", "a", "--device", "d", "b", "--json=true"]) == [
        "compare", "a\nb", "--device", "d", "--json=true",
    ]  # fmt: skip
    assert files_as_one(["check", "a", "--against", "b"]) == ["check", "a", "--against", "b"]
    assert files_as_one(["compare", "--help"]) == ["compare", "--help"] and files_as_one([]) == []
