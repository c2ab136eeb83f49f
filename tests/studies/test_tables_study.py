"""The parts of the study of the bundled tables that compare devices, on tables that are made up."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datasets.networks.reading import of_batch
from datasets.records import Device, InputError
from datasets.spaces.convnet import ConvNet
from datasets.spaces.dense import Dense
from encoders.flat import Totals
from measure.backends.ort import OnnxRuntime
from measure.table import write_table
from predictors.linear import Linear
from studies.tables.kernels import WORK, kernels, work_of
from studies.tables.page import TABLES, agrees, filled
from studies.tables.ratios import by_precision, by_size, by_threads
from studies.tables.sums import sums
from tests.doubles.toy_layers import SPACES, write
from tests.predictors.test_table_files import phases
from tests.studies.test_figure4 import ms


def device(precision: str = "fp32", threads: int = 1) -> Device:
    name = f"h_ort_{precision}_1" + (f"_t{threads}" if threads > 1 else "")
    return Device(name, "h", "server-cpu", "ort", precision, threads=threads)


DEVICES = (device(), device("int8"), device(threads=2))


def write_networks(folder: Path, values: np.ndarray, archs: list, families: list[str]) -> None:
    """networks.parquet with values [A, D] of networks on `DEVICES`."""
    rows = [
        {"space": "onnx", "key": f"{a}.onnx:00", "device": DEVICES[d].name, "metric": "latency_ms", "value": value,
         "repeats": 1, "network": archs[a].to_json() if d == 0 else None, "family": families[a]}
        for (a, d), value in np.ndenumerate(values)
    ]  # fmt: skip
    write_table(pd.DataFrame(rows), {"devices": [d.to_dict() for d in DEVICES]}, folder / "networks.parquet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables of layers, and twelve networks of two families, which take longer than the sums of their layers."""
    found, rng, space = tmp_path_factory.mktemp("tables"), np.random.default_rng(0), ConvNet(32, 10, 60)
    for kind, layers in SPACES.items():
        write(phases(kind, layers.sample(120, rng), DEVICES[:1], kind), found)
    archs = space.sample(12, rng)
    plain, families = 1.5 * ms(archs), ["small"] * 6 + ["large"] * 6
    values = np.stack([plain, plain * np.where(np.arange(12) < 6, 2.0, 0.5), plain / 1.6], axis=1)
    accuracies = {"space": "nasbench201", "key": "a", "device": [None], "metric": "accuracy_digits", "value": 80.0}
    write_table(pd.DataFrame({**accuracies, "repeats": 1}), {"devices": []}, found / "accuracy.parquet")
    write_networks(found, values, [space.expand(arch) for arch in archs], families)
    return found


def test_int8_against_fp32_and_two_threads_against_one_by_family_and_kind(folder: Path, tmp_path: Path) -> None:
    rows = {row["group"]: row for row in by_precision(folder)}
    assert {name: row["cells"] for name, row in rows.items()} == {"all": 12, "small": 6, "large": 6}
    assert rows["small"]["ratio"] == pytest.approx(2, rel=1e-5) and rows["small"]["slower"] == 1
    assert rows["large"]["ratio"] == pytest.approx(0.5, rel=1e-5) and rows["all"]["slower"] == 0.5
    assert rows["all"]["precision"] == "int8" and rows["all"]["base"] == "h_ort_fp32_1"
    faster = by_threads(folder)
    assert {row["group"] for row in faster} == {"all", "small", "large"} and faster[0]["threads"] == 2
    assert all(row["speed_up"] == pytest.approx(1.6, rel=1e-5) for row in faster)
    space = Dense()
    archs = space.sample(5, np.random.default_rng(1))
    fp32 = phases("dense", archs, DEVICES[:1], "dense")
    write(fp32, tmp_path)
    more = pd.read_parquet(tmp_path / "dense.parquet").assign(device=DEVICES[2].name)
    write_table(more.assign(value=more["value"] / 2), {"devices": [DEVICES[2].to_dict()]}, tmp_path / "t2.parquet")
    (whole, kind, *durations) = by_threads(tmp_path)  # of different tables; copies in and out do not count
    assert {row["by"] for row in durations} == {"duration"} and sum(row["cells"] for row in durations) == 5
    assert (whole["by"], kind["group"], kind["cells"]) == ("space", "dense", 5) and kind["speed_up"] == 2
    assert by_precision(tmp_path) == []
    slow = [more.assign(device=DEVICES[d].name, value=factor * more["value"]) for d, factor in ((0, 3), (1, 6))]
    write_table(pd.concat(slow), {"devices": [d.to_dict() for d in DEVICES[:2]]}, tmp_path / "slow_day.parquet")
    assert by_precision(tmp_path)[0]["ratio"] == 2  # of the table that has both, not of times of different days


def test_times_in_other_sizes_beside_the_work(tmp_path: Path) -> None:
    space, rng = ConvNet(32, 10, 60), np.random.default_rng(0)
    network = space.expand(space.sample(1, rng)[0])
    found = {"a": (1, 2.0), "b": (1, 3.0), "a__batch4": (4, 6.0), "b__batch4": (4, 12.0), "a__batch16": (16, 48.0)}
    rows = [
        {"space": "onnx", "key": f"{name}.onnx:00", "device": f"h_ort_fp32_{batch}", "metric": "latency_ms",
         "value": ms, "repeats": 1, "network": of_batch(network, batch).to_json(), "name": name, "family": "small"}
        for name, (batch, ms) in found.items()
    ]  # fmt: skip
    devices = [Device(f"h_ort_fp32_{batch}", "h", "server-cpu", "ort", "fp32", batch).to_dict() for batch in (1, 4, 16)]
    write_table(pd.DataFrame(rows), {"devices": devices}, tmp_path / "sizes.parquet")
    four, sixteen = by_size(tmp_path / "sizes.parquet", lambda networks, name: np.array([1.0, 1, 4, 4, 16]))
    assert (four["what"], four["size"], four["networks"], four["time"], four["work"]) == ("batch", 4, 2, 3.5, 4.0)
    assert four["quotient"] == pytest.approx(0.875) and sixteen["quotient"] == pytest.approx(1.5)
    assert four["error"] == pytest.approx((1 / 3 + 0) / 2) and sixteen["error"] == pytest.approx(1 / 3)
    assert "| ort | batch 16 | 1 | 24.00 | 16.00 | 1.50 | 1.50 to 1.50 | 33 % |" in TABLES["sizes"]([four, sixteen])


def test_sums_of_layers_are_corrected_by_the_networks_of_other_families(folder: Path) -> None:
    rows = sums(folder, layer=Linear(metric="exe_ms", encoder=Totals(("macs", "moved_bytes"))))
    by_family = {row["family"]: row for row in rows if "family" in row}
    assert {name: row["networks"] for name, row in by_family.items()} == {"all": 12, "small": 6, "large": 6}
    assert by_family["all"]["uncorrected"] < 0.85 and abs(by_family["all"]["corrected"] - 1) < 0.1
    assert by_family["all"]["corrected_error"] < by_family["all"]["uncorrected_error"]
    factors = {row["term"]: row["factor"] for row in rows if "term" in row}
    assert factors["convolution"] > 1 and all(factor > 0 for factor in factors.values())
    with pytest.raises(InputError, match="There is no file"):
        sums(folder, "absent.parquet")


@pytest.mark.parametrize(
    ("kind", "work"),
    [("QLinearConv", "int8 products"), ("Convolution brgconv_avx512_1x1_I8", "int8 products"),
     ("MatMulInteger", "int8 products"), ("QGemm", "int8 products"), ("Conv", "fp32 products"),
     ("Convolution brgconv_avx512_f32", "fp32 products"), ("FullyConnected brgemm_avx512_BF16", "fp32 products"),
     ("QuantizeLinear", "quantisation"), ("DequantizeLinear", "quantisation"), ("FakeQuantize jit", "quantisation"),
     ("ReorderOutput", "layout"), ("Reorder jit_uni_I8", "layout"), ("Transpose", "layout"),
     ("QLinearGlobalAveragePool", "other ops in int8"), ("NhwcMaxPool", "other ops in int8"),
     ("FullyConnectedQuantizedLegacy jit_gemm_i8", "int8 products"), ("MVN jit_avx2_i8", "other ops in int8"),
     ("MaxPool jit_avx512_I8", "other ops in int8"), ("Softmax", "other ops in fp32"),
     ("Subgraph jit_avx512_f32", "other ops in fp32")],
)  # fmt: skip
def test_kernels_are_grouped_by_what_they_do(kind: str, work: str) -> None:
    assert work_of(kind) == work


def test_timelines_show_where_the_time_of_int8_goes() -> None:
    rows = kernels(["zoo:lenet5"], [OnnxRuntime], runs=2)
    assert {row["precision"] for row in rows} == {"fp32", "int8"} and {row["network"] for row in rows} == {"lenet5"}
    for name in ("fp32", "int8"):
        whole, *parts = (row for row in rows if row["precision"] == name)
        assert whole["work"] == "all" and {row["work"] for row in parts} <= set(WORK)
        assert sum(row["us"] for row in parts) == pytest.approx(whole["us"])
        assert sum(row["kernels"] for row in parts) == whole["kernels"]
    assert {"quantisation", "int8 products"} <= {row["work"] for row in rows if row["precision"] == "int8"}
    text = filled("<!-- table kernels -->\n<!-- end -->", [{"part": "kernels", **row} for row in rows])[0]
    assert "| lenet5 | ort |" in text and text.count("|\n") == 3


def test_tables_of_the_page_are_made_of_the_study_s_rows(folder: Path, tmp_path: Path) -> None:
    layer = Linear(metric="exe_ms", encoder=Totals(("macs", "moved_bytes")))
    parts = {"precision": by_precision(folder), "threads": by_threads(folder), "sums": sums(folder, layer=layer)}
    rows = [{"part": name, **row} for name, found in parts.items() for row in found]
    blank = "Text.\n" + "".join(f"\n<!-- table {name} -->\nold\n<!-- end -->\n" for name in TABLES) + "More.\n"
    text, changed = filled(blank, rows)
    assert changed == ["precision", "threads", "sums"] and text.startswith("Text.") and text.endswith("More.\n")
    assert "| `h_ort_int8_1` | family: large | 6 | 0.50 | 0.50 to 0.50 | 0.00 |" in text
    assert "| `h_ort_fp32_1_t2` | family: all | 12 | 0.62 |" in text and text.count("old") == 5
    page = tmp_path / "README.md"
    page.write_text(text)
    assert agrees(rows, page) == [{"changed": 0, "tables": ""}]
    page.write_text(text.replace("0.50 to 0.50", "0.40 to 0.50"))
    assert agrees(rows, page) == [{"changed": 1, "tables": "precision"}]
    with pytest.raises(InputError, match="a table 'tea'; there are counts"):
        filled("<!-- table tea -->\n<!-- end -->", rows)
