"""Journals that are damaged, doubled, of several machines, or no journals at all."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.cli import main
from datasets.records import InputError
from measure.backends.ort import OnnxRuntime
from measure.bench import this_host
from measure.campaign import Journal, distinct_sample, pending, read_journal, run_campaign
from measure.commands.campaigns import campaign, run
from measure.commands.flags import Subjects
from measure.commands.tables import table
from measure.host import checked_name, machine, machine_name, name_of
from measure.rows import Machines, distinct, machine_of
from measure.table import quiet_rows, to_accuracies, to_table
from tests.conftest import run as run_command
from tests.measure.test_campaign import QUICK, TINY

HOST = {"machine": "x86_64", "system": "Linux", "cpu": "AMD EPYC", "cores": [1]}
ROW: dict[str, Any] = {
    "space": "nasbench201",
    "key": "a",
    "device": {"name": "d_ort_fp32_1", "family": "f", "kind": "server-cpu", "runtime": "ort", "batch": 1},
    "repeat": 0,
    "metric": "latency_ms",
    "date": "2026-01-01T00:00:00+00:00",
    "host": HOST,
    "protocol": {},
    "versions": {},
    "ratio": 2.0,
    "raw_ms": 4.0,
    "reference_ms": 2.0,
    "deviation": 0.01,
    "quantiles": [1.9, 1.95, 2.05, 2.1],
    "stable": True,
}


def journal_of(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def without(name: str) -> dict[str, Any]:
    return {field: value for field, value in ROW.items() if field != name}


# Damaged rows


def test_rows_of_no_device_and_failed_ones_are_no_milliseconds_whatever_else_they_hold() -> None:
    accuracy = {**ROW, "device": None, "value": 90.0, "reference_ms": "fast"}
    failed = {**ROW, "repeat": 1, "error": "Timeout", "reference_ms": [3], "ratio": {}}
    assert len(to_table(quiet_rows([ROW, failed], 1.1))[0]) == 1
    for rows in ([accuracy], [failed]):
        with pytest.raises(InputError, match="is a stable measurement"):
            to_table(quiet_rows(rows, 1.1))
    assert len(list(distinct([failed, failed, {**failed, "ratio": []}]))) == 2


@pytest.mark.parametrize("name", [name for name in ROW if name != "metric"])
def test_a_field_that_is_missing_is_named_with_its_file_and_line(name: str, tmp_path: Path) -> None:
    path = journal_of(tmp_path / "j.jsonl", ROW, without(name))
    what = "is not a row of a journal" if name in ("space", "key", "device") else f"has no field '{name}'"
    with pytest.raises(InputError, match=f"j.jsonl, line 2 {what}"):
        read_journal(path)


@pytest.mark.parametrize(
    "name, value",
    [(name, value) for name in ("ratio", "raw_ms") for value in (-1, 0, math.nan, math.inf, "2", True, None)]
    + [("reference_ms", 0.0)]
    + [(name, value) for name in ("space", "key", "metric", "date") for value in (3, [], None, {})]
    + [(name, value) for name in ("host", "protocol", "versions") for value in (3, [], None, "x")]
    + [("repeat", -1), ("repeat", 0.5), ("repeat", True), ("repeat", "0"), ("stable", 1), ("deviation", -0.1)]
    + [("deviation", math.nan), ("quantiles", [1, 2, 3]), ("quantiles", [1, 2, 3, "4"]), ("quantiles", 3)]
    + [("device", "d"), ("device", []), ("device", {"name": 3}), ("phases", {"pre": 3}), ("phases", [])]
    + [("phases", {"pre": {"ratio": -1}}), ("pre_ms", -1), ("energy_mj", 1.0), ("ratio", 10**400)],
)  # fmt: skip
def test_a_field_of_another_kind_is_named_with_its_file_and_line(name: str, value: object, tmp_path: Path) -> None:
    path = journal_of(tmp_path / "j.jsonl", ROW, {**ROW, name: value})
    with pytest.raises(InputError, match=f"j.jsonl, line 2.*'{name.removesuffix('_mj')}") as refused:
        read_journal(path)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"colour": "red"}, "unknown field 'colour'; known are name, family"),
        ({"batch": 16}, "'d_ort_fp32_1' is of batch 1 by its name and of batch 16"),
        ({"batch": "1"}, "field 'batch' must be a whole number"),
        ({"batch": 0, "name": "d"}, "a batch of 1 or more"),
        ({"features": {"cores": "many"}}, "'cores' of 'features' must be a finite number"),
        ({"features": [1]}, "field 'features' must be a mapping"),
    ],
)
def test_a_device_that_is_described_wrongly_is_refused(change: dict, sentence: str, tmp_path: Path) -> None:
    path = journal_of(tmp_path / "j.jsonl", {**ROW, "device": {**ROW["device"], **change}})
    with pytest.raises(InputError, match=f"j.jsonl, line 1: field 'device'.*{sentence}"):
        read_journal(path)


def test_a_device_whose_rows_contradict_each_other_is_refused(tmp_path: Path) -> None:
    device = {**ROW["device"], "name": "d"}
    path = journal_of(tmp_path / "j.jsonl", {**ROW, "device": device}, {**ROW, "device": {**device, "batch": 16}})
    with pytest.raises(InputError, match="describes the device 'd' with the batch 16 and with 1"):
        read_journal(path)


def test_failed_rows_and_rows_of_before_are_read(tmp_path: Path) -> None:
    failed = {"space": "s", "key": "k", "device": {"name": "d"}, "repeat": 0, "error": "it failed"}
    path = journal_of(tmp_path / "j.jsonl", failed, without("metric"))
    assert [row["metric"] for row in read_journal(path)] == ["latency_ms"] * 2


HOSTILE = [
    b"\x00\x01\x02\xff\n" * 3,
    '{"space": "s"}\n'.encode("utf-16"),
    b"[" * 100_000 + b"]" * 100_000 + b"\n",
    b"[1, 2, 3]\n",
    b"3\n",
    b'"' + b"x" * 1_000_000 + b'"\n',
    b"hello\nno newline at the end",
    b"# A heading, and no newline",
    b'{"some": "json"}',
    b"1" * 5000,
    b"\xff\xfe",
]


@pytest.mark.parametrize("content", HOSTILE, ids=range(len(HOSTILE)))
def test_a_file_that_is_no_journal_is_one_sentence_and_left_as_it_is(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_bytes(content)
    for opened in (read_journal, Journal):
        with pytest.raises(InputError, match="notes, line [12] is not a row of a journal") as refused:
            opened(path)
        assert path.read_bytes() == content and len(str(refused.value)) < 400


def test_a_journal_that_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, sentence in ((tmp_path, "is no regular file"), (tmp_path / "file" / "j.jsonl", "Cannot write")):
        with pytest.raises(InputError, match=sentence):
            Journal(path)
    with pytest.raises(InputError, match="There is no file"):
        read_journal(tmp_path / "none.jsonl")


def test_a_last_row_without_its_end_is_kept_and_a_torn_one_is_cut_off(tmp_path: Path) -> None:
    path, line = tmp_path / "j.jsonl", json.dumps(ROW)
    for content, rows in (
        (line, 1),
        (f"{line}\n{line}", 2),
        (f"{line}\n{line[:99]}", 1),
        (line[:99], 0),
        ("", 0),
        ('{"s', 0),
    ):
        path.write_text(content)
        assert len(read_journal(path)) == rows and path.read_text() == content
        journal = Journal(path)
        journal.append({**ROW, "key": "b"})
        journal.file.close()
        assert [row["key"] for row in read_journal(path)] == ["a"] * rows + ["b"]


# Rows that stand there twice


def test_a_journal_contained_twice_is_not_two_repeats(tmp_path: Path) -> None:
    rows = [ROW, {**ROW, "repeat": 1, "ratio": 2.2}, {**ROW, "key": "b"}]
    once, twice = to_table(rows), to_table([*rows, *rows])
    assert once[0].equals(twice[0]) and once[1] == twice[1]
    assert list(once[0]["repeats"]) == [2, 1] and once[0]["value"][0] == pytest.approx(4.2)
    accuracies = [{**without("ratio"), "device": None, "value": 50.0, "repeat": seed} for seed in (0, 1)]
    assert to_accuracies([*accuracies, *accuracies])[0]["repeats"].tolist() == [2]


# Machines


def test_rows_of_two_machines_under_one_device_name_are_refused(tmp_path: Path) -> None:
    other = {**ROW, "key": "b", "host": {**HOST, "cpu": "Intel(R) Xeon(R) Processor"}}
    path = journal_of(tmp_path / "j.jsonl", ROW, other)
    for refused in (read_journal, Journal, lambda path: table(path, tmp_path / "t.parquet")):
        with pytest.raises(InputError, match="rows of another machine .* 'd_ort_fp32_1': its cpu .* with --host"):
            refused(path)
    journal = Journal(journal_of(tmp_path / "one.jsonl", ROW))
    with pytest.raises(InputError, match="rows of another machine"):
        journal.append(other)
    assert len(read_journal(journal.path)) == 1


def test_cores_failures_and_what_old_rows_do_not_record_make_no_other_machine(tmp_path: Path) -> None:
    more = {**HOST, "cores": [0], "vendor": "AuthenticAMD", "memory_gib": 24.0}
    failed = {**ROW, "host": {"cpu": "another"}, "error": "it failed"}
    path = journal_of(
        tmp_path / "j.jsonl", ROW, {**ROW, "key": "b", "host": more}, {**ROW, "key": "c", "host": {}}, failed
    )
    assert len(read_journal(path)) == 4
    with pytest.raises(InputError, match="its memory_gib is 24.0, not 16.0"):
        Journal(path).append({**ROW, "key": "d", "host": {**HOST, "memory_gib": 16.0}})


def test_a_phone_is_the_machine_whatever_computer_it_hangs_on() -> None:
    phone = {**ROW, "versions": {"device": "Google Pixel (arm64)"}}
    machines = Machines("j.jsonl")
    machines.add(phone)
    machines.add({**phone, "host": {"cpu": "another laptop"}})
    with pytest.raises(InputError, match="its phone is Google Pixel"):
        machines.add({**phone, "versions": {"device": "Google Pixel 2 (arm64)"}})


def test_nothing_is_measured_into_a_journal_of_another_machine(tmp_path: Path) -> None:
    name = f"here_{OnnxRuntime.runtime}_fp32_1"
    strange = {**ROW, "device": {**ROW["device"], "name": name}, "host": {**HOST, "cpu": "a processor of long ago"}}
    path = journal_of(tmp_path / "j.jsonl", strange)
    with pytest.raises(InputError, match=f"rows of another machine under the device name '{name}'"):
        run(Subjects(str(TINY), limit=1), journal=path, host="here")
    assert read_journal(path) == [strange]


def test_this_machine_is_named_after_its_processor() -> None:
    for model, name in (
        ("AMD EPYC 7B13 64-Core Processor", "epyc-7b13"),
        ("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", "xeon-platinum-8481c"),
        ("13th Gen Intel(R) Core(TM) i7-1360P", "core-i7-1360p"),
        ("AMD Ryzen 7 PRO 4750U with Radeon Graphics", "ryzen-7-pro-4750u"),
        ("Raspberry Pi 5 Model B Rev 1.0", "raspberry-pi-5-model-b"),
        ("AMD EPYC", "epyc-25-17"),
        ("", "25-17"),
    ):
        assert name_of(model, "25", "17") == checked_name(name) == name
    assert name_of("") == "host" and OnnxRuntime().device().name == f"{machine_name()}_ort_fp32_1"
    assert {"machine", "system", "cpu"} <= machine().keys() == machine_of({"host": this_host()}).keys()


@pytest.mark.parametrize("name", ["", "a/b", "a,b", "a\nb", "..", "x" * 101, "a b"])
def test_a_name_that_cannot_be_one_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be a name|Several hosts"):
        run(Subjects(str(TINY), limit=1), journal=tmp_path / "j.jsonl", host=name)
    assert not (tmp_path / "j.jsonl").exists()


# What cannot be measured


@pytest.mark.parametrize(
    "flags, sentence",
    [
        ({"limit": 0}, "--limit must be at least 1"),
        ({"limit": -1}, "--limit must be at least 1"),
        ({"limit": 10**9}, "--limit must be at least 1 and at most 500,000"),
        ({"timing.repeats": 0}, "--timing.repeats must be at least 1"),
        ({"seed": -1}, "seed has to be 0 or more"),
        ({"timing.timeout": -1}, "--timing.timeout must be at least 0.001"),
        ({"timing.timeout": math.nan}, "--timing.timeout: "),
        ({"core": 999}, "Core 999 is not one"),
        ({"backend": "ort:fp32:0"}, "does not name a backend"),
        ({"backend": "ort:fp32:²"}, "does not name a backend"),
        ({"backend": "ort:fp32:99999"}, "is larger than 4,096"),
        ({"backend": ""}, "does not name a backend"),
        ({"onnx": "none.onnx"}, "There is no file none.onnx"),
        ({"space": "layers", "archs": Path("none.txt")}, "There is no file none.txt"),
    ],
)
def test_a_flag_that_cannot_be_is_one_sentence(
    flags: dict[str, Any], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = {"space": str(TINY), "limit": 1, "journal": tmp_path / "j.jsonl", **flags}
    with pytest.raises(SystemExit) as ended:
        main([run], prog="measure", arguments=[f"--{name}={value}" for name, value in flags.items()])
    assert ended.value.code == 2 and re.search(sentence, capsys.readouterr().err)
    assert not (tmp_path / "j.jsonl").exists()


def test_architectures_in_utf_16_are_read_and_an_empty_file_is_refused(tmp_path: Path) -> None:
    from measure.campaign import of_space

    keys = distinct_sample(TINY, 2, 0).keys
    path = tmp_path / "archs.txt"
    path.write_text("\n".join(keys), encoding="utf-16")
    assert of_space(str(TINY), 1, path, 0, False)[0].keys == keys
    path.write_text("")
    with pytest.raises(InputError, match="archs.txt is empty; it should hold one architecture per line"):
        of_space(str(TINY), 1, path, 0, False)


def test_more_draws_only_add_architectures() -> None:
    few, many = distinct_sample(TINY, 20, 3), distinct_sample(TINY, 2000, 3)
    assert many.keys[:20] == few.keys and len(set(many.keys)) == 2000


def test_numbers_that_no_table_takes_make_a_failed_row(tmp_path: Path) -> None:
    def broken(*_: object) -> dict[str, Any]:
        return {**ROW, "ratio": float("nan"), "quantiles": [np.nan] * 4}

    archs, journal = distinct_sample(TINY, 1, 0), Journal(tmp_path / "j.jsonl")
    backend = OnnxRuntime(timing=QUICK, host="d")
    (row,) = run_campaign(archs, pending(archs, [backend], journal), journal, bench=broken)
    assert row["error"].startswith("Unusable: the measurement: field 'ratio' must be a positive number, not nan")
    assert read_journal(journal.path) == [row]


def test_a_campaign_in_which_every_row_failed_exits_with_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(f"parts:\n- {{space: '{TINY}', backend: ort, limit: 1}}\nagain: 0\n")

    def fails(self: object, backend: Any, *_: object) -> dict[str, Any]:
        return {"date": "2026-01-01", "host": this_host(), "protocol": {}, "error": "it failed"}

    monkeypatch.setattr("measure.bench.Worker.__call__", fails)
    for command in (
        lambda: run(Subjects(str(TINY), limit=1), journal=tmp_path / "run.jsonl"),
        lambda: campaign(plan, tmp_path / "t.parquet", tmp_path / "campaign.jsonl"),
    ):
        with pytest.raises(SystemExit) as ended:
            command()
        assert ended.value.code == 1
    run(Subjects(str(TINY), limit=1), journal=tmp_path / "run.jsonl")  # nothing is left to measure, so nothing fails


def test_a_journal_is_not_replaced_by_its_table(tmp_path: Path) -> None:
    path = journal_of(tmp_path / "j.jsonl", ROW)
    with pytest.raises(InputError, match="is itself read for this, and would be lost"):
        table(path, path)
    assert len(read_journal(path)) == 1


def test_the_command_line_refuses_a_damaged_journal(tmp_path: Path) -> None:
    path = journal_of(tmp_path / "j.jsonl", without("ratio"))
    done = run_command("-m", "measure", "table", "--journal", path, "--out", tmp_path / "t.parquet")
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "j.jsonl, line 1 has no field 'ratio'; delete that line and measure it again." in done.stderr


def test_a_device_of_another_batch_keeps_its_own_name() -> None:
    names = {replace(OnnxRuntime(host="d"), batch=batch).device().name for batch in (1, 16)}
    assert names == {"d_ort_fp32_1", "d_ort_fp32_16"}
