"""Tables of one's own: on a known space, on no space, of a folder of networks; in .csv and .parquet."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import train
from datasets.blocks.decisions import Column, NamedDecisions, choice, columns_of, quoted
from datasets.columns import Columns
from datasets.opening import open_measurements
from datasets.own_table import OwnTable
from datasets.records import Architectures, InputError
from datasets.spaces import parse_space
from datasets.spaces.nasbench201 import NasBench201
from encoders.cell import CellOneHot
from encoders.columns import ColumnVector
from encoders.flat import Totals
from predictors.base import Predictor
from predictors.commands.answers import predict
from predictors.commands.comparing import compare
from predictors.commands.learning import adapt
from search.__main__ import evolve, exhaustive
from search.task import Requirements
from tests.datasets.test_doors import write_files

COLUMN = "encoders.columns.ColumnVector"


def rows(n: int = 90, seed: int = 0) -> pd.DataFrame:
    """Layers with a kernel, an activation and their work, on three devices, in microseconds."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"kernel": rng.choice([1, 3, 5], n), "act": rng.choice(["relu", "h swish"], n)})
    table["macs"] = (table["kernel"] ** 2 * 1e5 * rng.uniform(1, 20, n)).round()
    parts = []
    for device, speed in (("phone", 1.0), ("board", 3.0), ("laptop", 0.3)):
        us = speed * (30 + table["macs"] / 1e5 + 10 * (table["act"] == "relu"))
        parts.append(table.assign(device=device, value_us=us * np.exp(0.01 * rng.standard_normal(n))))
    return pd.concat(parts, ignore_index=True)


def write(where: Path, table: pd.DataFrame, name: str = "mine.csv", **fields: Any) -> Path:
    """A table as .csv or .parquet, and a .yaml that describes it."""
    path = where / name
    table.to_parquet(path) if name.endswith(".parquet") else table.to_csv(path, index=False)
    described = path.with_suffix(".yaml")
    tree = {"class_path": "datasets.own_table.OwnTable", "init_args": {"path": str(path)} | fields}
    described.write_text(yaml.safe_dump(tree))
    return described


def on_columns(where: Path, table: pd.DataFrame, name: str = "mine.csv", **fields: Any) -> Path:
    return write(where, table, name, **{"features": ["macs"], "decisions": ["kernel", "act"]} | fields)


# What is read


@pytest.mark.parametrize("name", ["mine.csv", "mine.parquet"])
def test_columns_are_a_data_set_in_either_format(name: str, tmp_path: Path) -> None:
    table = rows()
    m = open_measurements(on_columns(tmp_path, table, name))
    assert [device.name for device in m.devices] == ["phone", "board", "laptop"] and len(m.architectures) == 90
    np.testing.assert_allclose(m.matrix("latency_ms").T.ravel(), table["value_us"] / 1000, rtol=1e-5)
    space = m.architectures.space
    assert isinstance(space, Columns) and space.columns[0] == Column("kernel", ("1", "3", "5"))
    assert space.columns[1].choices == ("h swish", "relu") and space.num_choices[:2] == (3, 2)
    values = space.values(m.architectures)
    np.testing.assert_array_equal(values["kernel"], table["kernel"][:90])
    np.testing.assert_array_equal(values["macs"], table["macs"][:90].astype(np.float32))


def test_decimal_commas_and_units_of_a_spreadsheet_are_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("kernel;load;time [s]\n3;0,5;0,002\n5,0;1,25;0,004\n")
    m = OwnTable(path, features=["load"], decisions=["kernel"]).measurements()
    assert m.architectures.keys == ["kernel=3,load=0.5", "kernel=5,load=1.25"]
    assert m.matrix("latency_ms")[:, 0].tolist() == [2, 4] and m.devices[0].name == "mine"


def test_a_parquet_on_a_known_space_is_a_data_set(tmp_path: Path) -> None:
    archs = NasBench201().sample(6, np.random.default_rng(0))
    table = pd.DataFrame({"key": archs.keys, "device": "phone", "value": np.arange(1.0, 7)})
    m = open_measurements(write(tmp_path, table, "mine.parquet", space="nasbench201"))
    assert m.architectures == archs and m.matrix("latency_ms")[:, 0].tolist() == [1, 2, 3, 4, 5, 6]


def test_a_folder_of_networks_with_a_csv_is_a_data_set(tmp_path: Path) -> None:
    files = write_files(tmp_path / "nets", 3)
    table = pd.DataFrame({"network": ["m0", "m1.onnx", "m2"], "device": "phone", "latency_us": [10, 20, 30]})
    m = open_measurements(write(tmp_path, table, folder=str(tmp_path / "nets")))
    assert [network.space for network in m.architectures] == ["onnx"] * 3 and len(files) == 3
    assert m.matrix("latency_ms")[:, 0].tolist() == [0.01, 0.02, 0.03]
    table.loc[1, "network"] = "m7"
    with pytest.raises(InputError, match=r"mine.csv, line 3: there is no file m7 in .*nets"):
        open_measurements(write(tmp_path, table, folder=str(tmp_path / "nets")))


def test_accuracies_beside_latencies_need_no_device(tmp_path: Path) -> None:
    table = pd.DataFrame({"kernel": [1, 3, 1, 3], "device": ["phone", "phone", "", ""], "value": [1, 2, -0.5, 0],
                          "metric": ["latency_ms"] * 2 + ["score"] * 2})  # fmt: skip
    m = open_measurements(write(tmp_path, table, decisions=["kernel"]))
    assert [device.name for device in m.devices] == ["phone"] and m.matrix("score").tolist() == [[-0.5], [0]]


def test_choices_that_the_table_lacks_may_be_stated(tmp_path: Path) -> None:
    m = open_measurements(on_columns(tmp_path, rows(), choices={"kernel": [7, 3.0], "act": ["tanh"]}))
    assert [column.choices for column in m.architectures.space.columns[:2]] == [  # type: ignore[attr-defined]
        ("1", "3", "5", "7"), ("h swish", "relu", "tanh")]  # fmt: skip


# What is refused


def edited(row: int, column: str, value: object) -> pd.DataFrame:
    table = rows().astype({"macs": object, "kernel": object, "value_us": object, "act": object})
    table.loc[row, column] = value
    return table


BAD = [
    (edited(4, "macs", "1,2 million"), {}, r"mine.csv, line 6 has '1,2 million' in the column macs, which holds num"),
    (edited(4, "macs", np.nan), {}, r"mine.csv, line 6 has nothing in the column macs"),
    (edited(4, "macs", "1e60"), {}, r"line 6 has '1e\+60' in the column macs"),
    (edited(4, "act", np.nan), {}, r"line 6 has no value in the column act"),
    (edited(4, "value_us", np.nan), {}, r"line 6: '' is no number"),
    (edited(4, "value_us", "12 us"), {}, r"line 6: '12 us' is no number; write units into the header or a column unit"),
    (edited(4, "value_us", -3), {}, r"line 6: -3 is no measured value"),
    (rows().assign(unit="ms"), {}, r"line 2 is in ms by its column unit and in us by the header of its values"),
    (rows().drop(columns="macs"), {}, r"has no such column; it has kernel, act, device, value_us, and needs macs once"),
    (rows().rename(columns={"value_us": "result"}), {}, r"needs a column value, or the field `value` its name"),
    (rows(), {"value": "result"}, "needs result once"),
    (rows(), {"features": ["macs", "kernel"]}, "named twice among features and decisions"),
    (rows(), {"choices": {"width": [3]}}, "choices of 'width', which is none of its decisions"),
    (rows(), {"space": "nasbench201"}, "leave space and folder out"),
    (rows(), {"decisions": [], "features": []}, r"needs the columns key and value; it has .*docs/own_data.md"),
    (rows().assign(batch=[1, 2] * 135), {}, "several batches of phone"),
]  # fmt: skip


@pytest.mark.parametrize("table, fields, sentence", BAD)
def test_a_faulty_table_is_one_sentence(
    table: pd.DataFrame, fields: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        open_measurements(on_columns(tmp_path, table, **fields))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_repeats_are_one_value_unless_they_contradict_each_other(tmp_path: Path) -> None:
    table = pd.concat([rows(), rows().head(3).assign(value_us=lambda t: 1.1 * t["value_us"])], ignore_index=True)
    m = open_measurements(on_columns(tmp_path, table))
    assert len(m.architectures) == 90 and len(m.table) == 273
    table.loc[271, "value_us"] *= 20
    with pytest.raises(InputError, match=r"mine.csv, line 3 and line 273 measure the same and contradict each other"):
        open_measurements(on_columns(tmp_path, table))


def test_tables_with_other_choices_are_neither_joined_nor_compared(tmp_path: Path) -> None:
    """Their decisions are equal numbers with other meanings."""
    one = rows().query("kernel != 1")
    other = rows().query("kernel != 3 and device == 'phone'")
    first, second = on_columns(tmp_path, one, "a.csv"), on_columns(tmp_path, other.assign(device="tv"), "b.csv")
    with pytest.raises(InputError, match="are different spaces; state choices"):
        open_measurements(f"{first},{second}")
    with pytest.raises(InputError, match="are different spaces"):
        exhaustive(Requirements(first, str(second), 1.0, metric="latency_ms", device="tv", out=tmp_path / "x.png"))
    whole = {"choices": {"kernel": [1, 3, 5]}}
    first, second = (
        on_columns(tmp_path, one, "a.csv", **whole),
        on_columns(tmp_path, other.assign(device="tv"), "b.csv", **whole),
    )
    m = open_measurements(f"{first},{second}")
    assert len(m.devices) == 4 and set(m.architectures.space.values(m.architectures)["kernel"]) == {1, 3, 5}  # type: ignore[attr-defined]


def test_rows_are_no_networks_and_say_so() -> None:
    space = Columns((Column("kernel", ("1", "3")), Column("macs", (), 0, 1e6)))
    archs = space.sample(2, np.random.default_rng(0))
    for refuse in (lambda: Totals()(archs), lambda: space.graph(archs), lambda: space.expand(archs[0])):
        with pytest.raises(InputError, match="Rows of columns are no networks"):
            refuse()
    with pytest.raises(InputError, match="cannot be one-hot; choose the encoder encoders.columns.ColumnVector"):
        CellOneHot().num_features(space)
    for refuse in (
        space.all,
        lambda: space.neighbours(archs[:1]),
        lambda: space.mutate(archs, np.random.default_rng()),
    ):
        with pytest.raises(InputError, match=r"Rows with numbers \(macs\) cannot be made up"):
            refuse()


# The space of rows

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp", "Zs"]) | st.just(" "), min_size=1)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32)


@settings(deadline=None)
@given(
    st.lists(WORDS, min_size=2, max_size=2, unique=True),
    st.lists(st.one_of(WORDS, NUMBERS, st.integers(-(10**6), 10**6)), min_size=1, max_size=5, unique_by=choice),
    st.lists(NUMBERS, min_size=1, max_size=5),
)
def test_any_names_choices_and_numbers_come_back_from_texts(
    names: list[str], choices: list[Any], numbers: list[float]
) -> None:
    texts = tuple(choice(value) for value in choices)
    if any(len(text) > 200 for text in (*texts, *names)):
        return
    space = Columns((Column(names[0], texts), Column(names[1], (), -1, 1)))
    assert parse_space(str(space)) == space
    assert (
        columns_of(map(str, space.columns))[0] == space.columns[0]
        and quoted(names[0]) == str(space.columns[0]).split("=")[0]
    )
    drawn = [[texts[i % len(texts)], repr(float(number))] for i, number in enumerate(numbers)]
    archs = space.of_texts(drawn, [""] * len(drawn))
    assert space.parse(archs.keys) == archs and [arch.key for arch in archs] == archs.keys
    assert not any(set(key) & set(" \t\n") for key in archs.keys)
    np.testing.assert_array_equal(space.values(archs)[names[1]], np.array(numbers, np.float32))
    order = np.argsort(archs.decisions[:, 1], kind="stable")
    assert (np.diff(np.array(numbers, np.float32)[order]) >= 0).all(), "decisions are in the order of the numbers"


def test_samples_of_columns_are_rows_within_the_range() -> None:
    space = Columns((Column("kernel", ("1", "3")), Column("macs", (), -5, 1e6)))
    archs = space.sample(300, np.random.default_rng(0))
    assert set(archs.decisions[:, 0]) == {0, 1} and space.parse(archs.keys) == archs
    macs = space.values(archs)["macs"]
    assert macs.min() >= -5 and macs.max() <= 1e6 and np.ptp(macs) > 5e5
    assert space == Columns((space.columns[0], Column("macs"))), "the range is no part of what a row is"
    assert Architectures(space, archs.decisions)[5].ops[0].attrs["kernel"] in (1, 3)


@pytest.mark.parametrize(
    "text",
    ["columns(", "columns()", "columns(a)", "columns(=1|2)", "columns(a=1|1)", "columns(a=1,a=2)", "columns(a=2..1)",
     "columns(a=1..2", "columns(a=nan..1)", "columns(a=|)", "columns(a=%00)", "columns(" + "a=1," * 2000 + "b=1)"],
)  # fmt: skip
def test_a_malformed_space_of_columns_is_one_short_sentence(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_space(text)
    assert len(str(caught.value)) < 500


def test_a_table_that_is_not_there_says_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"There is no file toaster.csv; it was looked for in {tmp_path};"):
        OwnTable(Path("toaster.csv")).measurements()


def test_columns_are_encoded_as_numbers_and_one_hot() -> None:
    space = Columns((Column("kernel", ("1", "3")), Column("act", ("relu", "silu")), Column("macs", (), 0, 10)))
    archs = space.parse(["kernel=3,act=relu,macs=10", "kernel=1,act=silu,macs=0"])
    assert ColumnVector()(archs).tolist() == [[0, 1, 1, 0, 3, 10], [1, 0, 0, 1, 1, 0]]
    assert ColumnVector(ordinal=False)(archs).tolist() == [[0, 1, 1, 0, 10], [1, 0, 0, 1, 0]]
    np.testing.assert_allclose(ColumnVector(log=True)(archs)[:, 4:], [[np.log(3), np.log(10)], [0, 0]], rtol=1e-6)
    wide = Columns((Column("id", tuple(map(str, range(2000)))),))
    with pytest.raises(InputError, match="make decisions with many choices features instead"):
        ColumnVector().num_features(wide)
    assert isinstance(space, NamedDecisions)


# What is done with them


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a table and of two predictors that were fitted on it."""
    folder = tmp_path_factory.mktemp("own")
    data = on_columns(folder, rows(200))
    for name, more in (("flops", []), ("mlp", ["--predictor.epochs=40"])):
        flags = [f"--data={data}", f"--predictor=configs/predictors/{name}.yaml", f"--predictor.encoder={COLUMN}"]
        assert train.command([*flags, *more, f"--out={folder / 'runs' / name}"]) == "done"
    return folder


def test_predictors_of_columns_are_trained_compared_exported_and_answer(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare(trained / "runs")
    assert capsys.readouterr().out.count("flops") and (trained / "runs/best.onnx").is_file()
    for name in ("flops", "mlp"):
        scores = json.loads((trained / "runs" / name / "metrics.json").read_text())
        assert all(row["spearman"] > 0.9 for row in scores if row["set"] == "test")
    for file in ("predictor.pt", "predictor.onnx"):
        predict(trained / "runs/flops" / file, "phone", "kernel=3,act=h%20swish,macs=1e6")
        assert float(capsys.readouterr().out.split()[0]) == pytest.approx(0.040, rel=0.05)
    with pytest.raises(
        InputError, match=r"'kernel=2,.*' is not a row; write kernel=1\|3\|5,act=h%20swish\|relu,macs=NUM"
    ):
        predict(trained / "runs/flops/predictor.pt", "phone", "kernel=2,act=relu,macs=1e6")


@pytest.mark.parametrize("name", ["more.csv", "more.yaml"])
def test_a_predictor_of_columns_learns_a_new_device_from_rows_of_the_same_columns(
    name: str, trained: Path, tmp_path: Path
) -> None:
    """Of a .csv they are found by their names; a .yaml may have seen fewer choices than the predictor."""
    table = rows(40, seed=5).query("device == 'phone' and kernel != 5").assign(device="watch")
    table = table.assign(value_us=7 * table["value_us"]).head(20)
    on_columns(tmp_path, table, "more.csv")
    adapt(trained / "runs/mlp/predictor.pt", str(tmp_path / name), tmp_path / "new.pt")
    new = Predictor.load(tmp_path / "new.pt")
    test = rows(200).query("device == 'phone'")
    m = OwnTable(trained / "mine.csv", features=["macs"], decisions=["kernel", "act"]).measurements()
    predicted = new.predict(m.architectures, new.devices_[0])
    assert np.median(np.abs(predicted / (7 * test["value_us"] / 1000) - 1)) < 0.25


def test_a_device_of_a_table_of_columns_is_held_out(trained: Path, tmp_path: Path) -> None:
    split = ["--split=datasets.splits.HeldOutDevices", '--split.devices=["board"]', "--split.samples=15"]
    flags = ["--predictor=configs/predictors/conditioned.yaml", f"--predictor.encoder={COLUMN}"]
    flags += [f"--predictor.source.encoder={COLUMN}", f"--data={trained / 'mine.yaml'}"]
    assert train.command([*flags, *split, f"--out={tmp_path / 'run'}"]) == "done"
    (row,) = [r for r in json.loads((tmp_path / "run/metrics.json").read_text())
              if (r["set"], r["cells"]) == ("test", "all")]  # fmt: skip
    assert row["device"] == "board" and row["n"] == 185 and row["spearman"] > 0.95


def test_decisions_are_searched_and_numbers_are_not(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The best activation and kernel within a budget, of rows that were never measured among them."""
    grid = pd.DataFrame([(k, d, a) for k in (1, 3, 5) for d in (1, 2, 3, 4) for a in ("relu", "silu")],
                        columns=["kernel", "depth", "act"])  # fmt: skip
    ms = 0.1 * grid["kernel"] * grid["depth"] + 0.01 * (grid["act"] == "silu")
    score = 70 + grid["kernel"] + grid["depth"] + (grid["act"] == "silu")
    seen = np.arange(len(grid)) % 5 != 2
    parts = [
        grid.assign(device="phone", metric="latency_ms", value=ms),
        grid.assign(device="", metric="accuracy", value=score),
    ]
    data = write(tmp_path, pd.concat([part[seen] for part in parts]), decisions=["kernel", "depth", "act"])
    for metric in ("latency_ms", "accuracy"):
        flags = [f"--data={data}", "--predictor=predictors.gp.GaussianProcess", f"--predictor.metric={metric}"]
        train.command(
            [*flags, f"--predictor.encoder={COLUMN}", "--predictor.scale.kind=linear", f"--out={tmp_path / metric}"]
        )
    best = grid[(ms <= 0.65)].assign(score=score).sort_values("score").iloc[-1]
    capsys.readouterr()
    limits = {"budget_ms": 0.65, "device": "phone", "out": tmp_path / "x.png"}
    exhaustive(Requirements(tmp_path / "accuracy/predictor.pt", str(tmp_path / "latency_ms/predictor.pt"), **limits))
    found = dict(part.split("=") for part in capsys.readouterr().out.splitlines()[0].split(","))
    wanted = score[
        (grid["kernel"] == int(found["kernel"]))
        & (grid["depth"] == int(found["depth"]))
        & (grid["act"] == found["act"])
    ]
    assert float(wanted.iloc[0]) >= best["score"] - 1
    evolve(Requirements(data, str(data), metric="accuracy", **limits), measurements=15)
    assert "keeps the budget of 0.65 ms" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"Rows with numbers \(macs\) cannot be made up; search among the rows"):
        file = trained / "runs/flops/predictor.pt"
        exhaustive(Requirements(file, str(file), **limits))


def test_describe_prints_a_table_of_decisions_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from datasets.__main__ import describe

    (tmp_path / "mine.csv").write_text("act,value\nrelu,1\ntanh,2\n")
    describe(OwnTable(tmp_path / "mine.csv", decisions=["act"]))
    shown = capsys.readouterr().out
    assert "2 architectures of columns(act=relu|tanh)" in shown and "Spearman with" not in shown


def test_describe_correlates_columns_of_numbers(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from datasets.__main__ import describe

    describe(OwnTable(trained / "mine.csv", features=["macs"], decisions=["kernel", "act"]))
    out = capsys.readouterr().out
    assert "mine: 200 architectures of columns(kernel=1|3|5" in out and "Spearman with columns of numbers" in out


def test_a_command_line_reports_a_faulty_table_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = on_columns(tmp_path, edited(4, "macs", "many"))
    with pytest.raises(SystemExit) as ended:
        train.command([f"--data={data}", "--predictor=configs/predictors/mean.yaml", f"--out={tmp_path / 'run'}"])
    assert ended.value.code == 2 and capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "run").exists()
