"""Tables, journals, files of a few measurements, and data that others store."""

import io
import json
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz import inputs
from tests.fuzz.family import Command, Family, Files, any_of, one_file
from tests.fuzz.mutations import NUMBERS, WORDS, any_damage, change_bytes, change_json, change_text, change_tree, odd

DATA = "class_path: datasets.{}\ninit_args: {{path: {}}}\n"


def change_table(content: bytes, rng: Random) -> bytes:
    """A Parquet file with edited columns or an edited description, or damaged bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if rng.random() < 0.25:
        return change_bytes(content, rng)
    data = pq.read_table(io.BytesIO(content))
    about = dict(data.schema.metadata or {})
    for _ in range(rng.choice((1, 1, 2))):
        if rng.random() < 0.35 and b"gnomon" in about:
            kind = rng.random()
            if kind < 0.1:
                about = rng.choice(
                    ({}, {b"gnomon": b""}, {b"gnomon": b"[" * 5000}, {b"gnomon": b"\xff\xfe"}, {b"gnomon": b"{}"})
                )
            else:
                edited = change_tree(json.loads(about[b"gnomon"]), rng)
                about[b"gnomon"] = json.dumps(edited).encode(errors="surrogatepass")
        else:
            data = _changed_column(data, rng)
    saved = io.BytesIO()
    try:
        pq.write_table(data.replace_schema_metadata(about), saved)
    except (pa.ArrowException, ValueError):  # two columns of one name, and types that Parquet lacks
        return change_bytes(content, rng)
    return saved.getvalue()


def _changed_column(data: Any, rng: Random) -> Any:
    import pyarrow as pa

    if not data.num_columns:
        return data
    i = rng.randrange(data.num_columns)
    name, column = data.column_names[i], data.column(i).to_pylist()
    kind = rng.randrange(12)
    if kind == 0:
        return data.remove_column(i)
    if kind == 1:
        return data.rename_columns(
            [rng.choice((*WORDS, *data.column_names)) if j == i else n for j, n in enumerate(data.column_names)]
        )
    if kind == 2:
        return rng.choice((data.slice(0, 0), data.slice(0, 1), data.slice(1), pa.concat_tables([data, data])))
    if kind == 3:
        return pa.concat_tables([data] * 100)
    if kind == 4:
        return data.append_column(name, data.column(i))
    if kind == 5:
        column = [rng.choice((*NUMBERS[:5], *NUMBERS[9:]))] * len(column)
    elif kind == 6:
        column = [str(value) for value in column]
    elif kind == 7:
        column = [rng.choice(WORDS).encode("utf-8", "replace").decode()] * len(column)
    elif kind == 8:
        column = [None if rng.random() < rng.choice((0.1, 1)) else value for value in column]
    elif kind == 9:
        column = [[value] for value in column]
    elif kind == 10:
        column = [{"a": value} for value in column]
    elif column:
        for _ in range(rng.choice((1, 3))):
            column[rng.randrange(len(column))] = odd(rng)
    try:
        return data.set_column(i, name, pa.array(column))
    except (pa.ArrowException, OverflowError, TypeError, ValueError):  # of several types
        return data.set_column(i, name, pa.array([str(value).encode("utf-8", "replace").decode() for value in column]))


def _tables(folder: Path) -> list[Files]:
    for name in ("conditioned", "ridge"):
        inputs.predictor(folder, name)
    inputs.accuracies(folder)
    (folder / "mean.yaml").write_text("class_path: predictors.linear.Mean\n")
    (folder / "split.yaml").write_text(
        "class_path: datasets.splits.HeldOutArchitectures\ninit_args: {train: 10, val: 5}\n"
    )
    data = DATA.format("measured.Measured", "t.parquet").encode()
    return [{"t.parquet": inputs.table(folder).read_bytes(), "data.yaml": data}]


def _use_table(case: Path, beside: Path, rng: Random) -> Command:
    file, data = str(case / "t.parquet"), str(case / "data.yaml")
    limits = ["--budget_ms", "5", "--device", inputs.DEVICE]
    commands: list[Command] = [
        ["predictors", "adapt", str(beside / f"{rng.choice(('conditioned', 'ridge'))}.pt"), "--measurements", file,
        "--out", "new.pt",
         *rng.choice(([], ["--device", inputs.DEVICE]))],
        ["measure", "repeatability", "--file", file],
        ["datasets", "describe", data],
        ["search", "exhaustive", "--accuracy", str(beside / "accuracy.parquet"), "--latency", file, *limits, "--out",
        "x.png"],
        ["search", "exhaustive", "--accuracy", file, "--latency", str(beside / "table.parquet"), *limits, "--out",
        "x.png"],
        ["train.py", "--data", data, "--predictor", str(beside / "mean.yaml"), "--split", str(beside / "split.yaml"),
        "--out", "run"],
        ["predictors", "choose", str(beside / "conditioned.pt"), "--archs", file],
    ]  # fmt: skip
    return rng.choices(commands, (5, 3, 3, 1, 1, 1, 0.2))[0]


def _edit_table(files: Files, rng: Random) -> Files:
    return {**files, "t.parquet": change_table(files["t.parquet"], rng)}


def change_journal(content: bytes, rng: Random) -> bytes:
    """Rows with edited fields; rows that are torn, twice there or of something else."""
    lines = content.decode().splitlines()
    for _ in range(rng.choice((1, 1, 2, 5))):
        i = rng.randrange(len(lines))
        try:
            lines[i] = json.dumps(change_tree(json.loads(lines[i]), rng))
        except ValueError:
            continue
        if rng.random() < 0.1:
            lines.insert(
                rng.randrange(len(lines)), rng.choice(("", "null", "[]", "{}", "1", '"x"', lines[i][:50], lines[i] * 2))
            )
    if rng.random() < 0.3:  # one field of all rows
        trees = [tree for tree in map(json.loads, filter(_is_json, lines)) if isinstance(tree, dict)]
        name = rng.choice(sorted(trees[0])) if trees and trees[0] else "x"
        value = odd(rng)
        lines = [json.dumps({**tree, name: value}) for tree in trees]
    return "\n".join(lines).encode(errors="surrogatepass") + b"\n"


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _journals(folder: Path) -> list[Files]:
    (folder / "plan.yaml").write_text("parts: [{space: nasbench201, backend: tensorrt, limit: 2}]\n")
    return [{"j.jsonl": inputs.journal()}, {"j.jsonl": inputs.journal(deviceless=True)}]


def _use_journal(case: Path, beside: Path, rng: Random) -> Command:
    file = str(case / "j.jsonl")
    table = ["measure", "table", "--journal", file, "--out", "t.parquet"]
    commands: list[Command] = [
        table,
        [*table, "--unstable", "true"],
        [*table, "--quiet", "1.1"],
        ["measure", "repeatability", "--file", file],
        ["measure", "campaign", "--plan", str(beside / "plan.yaml"), "--journal", file, "--out", "t.parquet"],
    ]
    return rng.choices(commands, (3, 1, 1, 1, 1))[0]


def _few(folder: Path) -> list[Files]:
    from datasets.records import Architectures

    for name in ("conditioned", "ridge"):
        inputs.predictor(folder, name)
    m = inputs.samples().where(devices=["toy_1"])
    assert isinstance(m.architectures, Architectures)
    rows = [f"{key},{value}" for key, value in zip(m.architectures.keys[:12], m.table["value"], strict=False)]
    unit = [
        f"{key},{1000 * value},toy" for key, value in zip(m.architectures.keys[:12], m.table["value"], strict=False)
    ]
    return [
        {"few.csv": "\n".join(("key,value", *rows)).encode()},
        {"few.csv": "\n".join(("key,value_us,device", *unit)).encode()},
    ]


def _adapt(case: Path, beside: Path, rng: Random) -> Command:
    more = rng.choice(([], [], ["--device", "mine"], ["--device", "$\\frac{"]))
    file = str(beside / f"{rng.choice(('conditioned', 'ridge'))}.pt")
    return ["predictors", "adapt", file, "--measurements", str(case / "few.csv"), "--out", "new.pt", *more]


def _leti(folder: Path) -> list[Files]:
    import numpy as np

    from datasets.leti import to_leti
    from datasets.spaces.nasbench101 import NasBench101
    from tests.conftest import made_up

    content = to_leti(made_up(NasBench101().sample(5, np.random.default_rng(0))))
    return [{"leti.json": json.dumps(content).encode(), "data.yaml": DATA.format("leti.Leti", "leti.json").encode()}]


def _edit_leti(files: Files, rng: Random) -> Files:
    return {**files, "leti.json": change_json(files["leti.json"], rng)}


def _use_leti(case: Path, beside: Path, rng: Random) -> Command:
    data = str(case / "data.yaml")
    return rng.choice((["datasets", "describe", data], ["datasets", "leti", data, "out.json"]))


def _own(folder: Path) -> list[Files]:
    """Tables of features and decisions, as .csv and as .parquet, with the .yaml that describes them."""
    import pandas as pd

    (folder / "mean.yaml").write_text("class_path: predictors.linear.Mean\n")
    table = pd.DataFrame({"kernel": [1, 3, 5] * 5, "act": ["relu", "silu", "a,b"] * 5, "macs": range(15)})
    table = table.assign(device="phone", latency_us=range(1, 16))
    saved = io.BytesIO()
    table.to_parquet(saved)
    fields = "features: [macs], decisions: [kernel, act], choices: {act: [tanh]}"
    named = {
        name: DATA.format("own_table.OwnTable", f"{name}, {fields}").encode() for name in ("own.csv", "own.parquet")
    }
    spaces = (
        "class_path: datasets.spaces.built.Built\ninit_args: {decisions: {depth: [1, 2], width: [8], kernel: [1]}}\n"
    )
    return [
        {"own.csv": table.to_csv(index=False).encode(), "data.yaml": named["own.csv"]},
        {"own.csv": table.to_csv(index=False, sep=";").encode(), "data.yaml": named["own.csv"]},
        {"own.parquet": saved.getvalue(), "data.yaml": named["own.parquet"]},
        {"space.yaml": spaces.encode()},
    ]


def _edit_own(files: Files, rng: Random) -> Files:
    name = rng.choice(sorted(files))
    change = change_table if name.endswith(".parquet") else any_of(change_text, change_text, any_damage)
    return {**files, name: change(files[name], rng)}


def _use_own(case: Path, beside: Path, rng: Random) -> Command:
    if (case / "space.yaml").exists():
        return ["datasets", "enumerate", str(case / "space.yaml"), "out.parquet"]
    data = str(case / "data.yaml")
    if rng.random() < 0.6:
        return ["datasets", "describe", data]
    return ["train.py", "--data", data, "--predictor", str(beside / "mean.yaml"), "--out", "run"]


FAMILIES = (
    Family("own table", _own, _edit_own, _use_own),
    Family("parquet table", _tables, _edit_table, _use_table),
    Family(
        "journal",
        _journals,
        one_file(any_of(change_journal, change_journal, any_damage)),
        _use_journal,
        share=1.5,
        rewrites=("j.jsonl",),
    ),
    Family("few measurements", _few, one_file(any_of(change_text, change_text, any_damage)), _adapt, share=1.5),
    Family("leti json", _leti, _edit_leti, _use_leti, share=0.5),
)
