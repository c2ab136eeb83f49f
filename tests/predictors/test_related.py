"""Devices in another precision or on more threads, which measured some layers beside a device that measured all."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datasets.records import Architectures, Device, Measurements
from datasets.spaces.convnet import ConvNet
from datasets.spaces.smooth import Smooth
from encoders.flat import Totals
from measure.table import write_table
from predictors.base import Predictor
from predictors.commands.learning import layerwise
from predictors.linear import Linear
from predictors.networks.layer_sum import LayerSum
from predictors.networks.table_files import base_name, fastest_references, scaled_to
from tests.doubles.toy_layers import SPACES, law, table, write
from tests.predictors.test_table_files import phases
from tests.studies.test_tables_study import DEVICES

FP32, INT8, THREADS = DEVICES
NETS = ConvNet(32, 10, 60).sample(20, np.random.default_rng(4))
LAYER = Linear(metric="exe_ms", encoder=Totals(("macs", "moved_bytes")))


def times(archs: Architectures, factor: float) -> np.ndarray:
    """Ms [A, 1] of a session that takes as long everywhere, and of work."""
    work = archs.space.totals(archs)[["macs", "moved_bytes"]].to_numpy()
    return 0.005 + factor * law(work, (1,))


def rows(archs: Architectures, device: Device, factor: float, metric: str) -> pd.DataFrame:
    values = times(archs, factor)[:, 0]
    names = {"space": str(archs.space), "key": archs.keys, "device": device.name}
    return pd.DataFrame({**names, "metric": metric, "value": values, "repeats": 1})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All layers of one device; of another some convolutions in int8, of which half take twice as long and the others
    half as long, and a third one's on two threads."""
    found, rng = tmp_path_factory.mktemp("tables"), np.random.default_rng(0)
    drawn = {kind: space.sample(150, rng) for kind, space in SPACES.items()}
    smooth = Smooth(8, 50).sample(60, rng)
    for kind, archs in drawn.items():
        write(phases(kind, archs, (FP32,), kind), found)
    write(Measurements.concat([table(smooth, {"latency_ms": times(smooth, 1)}, "smooth", (FP32,))]), found)
    int8 = [rows(drawn["convolution"][:60], device, factor, "exe_ms") for device, factor in ((FP32, 1), (INT8, 0.5))]
    meta = {"devices": [FP32.to_dict(), INT8.to_dict()]}
    write_table(pd.concat(int8), meta, found / "convolution_int8.parquet")
    two = [rows(drawn[kind][:60], THREADS, 0.6, "exe_ms") for kind in ("convolution", "dense")]
    two.append(rows(smooth[:30], THREADS, 0.9, "latency_ms"))
    write_table(pd.concat(two), {"devices": [THREADS.to_dict()]}, found / "layers_two_threads.parquet")
    return found


def test_names_of_related_devices_lead_to_their_base() -> None:
    assert base_name("a_ort_int8_1") == base_name("a_ort_fp32_1_t2") == base_name("a_ort_fp32_1") == "a_ort_fp32_1"
    assert base_name("a_openvino_bf16_16_t4") == "a_openvino_fp32_16"


def test_times_count_at_the_speed_of_a_machine_that_is_left_alone(tmp_path: Path) -> None:
    """One day was slow: what only that day measured is as much faster on others as the device in fp32 beside it."""
    drawn = Smooth(8, 50).sample(5, np.random.default_rng(0))
    days = {"quiet": {FP32.name: 0.5}, "slow": {FP32.name: 0.8, INT8.name: 1.2}}
    for day, references in days.items():
        meta = {"devices": [FP32.to_dict(), INT8.to_dict()], "reference_ms": references}
        write_table(
            pd.concat([rows(drawn, d, 1, "latency_ms") for d in (FP32, INT8)]), meta, tmp_path / f"{day}.parquet"
        )
    found = fastest_references(tmp_path)
    assert found == pytest.approx({FP32.name: 0.5, INT8.name: 0.75})
    devices = pd.Series([FP32.name, INT8.name, "other"])
    assert scaled_to(found, {"reference_ms": days["slow"]}, devices).tolist() == pytest.approx([0.625, 0.625, 1])


def test_layerwise_learns_other_precisions_and_threads_as_ratios(folder: Path, tmp_path: Path, capsys) -> None:
    layerwise(tmp_path / "p.pt", LAYER, folder, networks="")
    assert "h_ort_int8_1: times over those of h_ort_fp32_1: " in (printed := capsys.readouterr().out)
    assert "convolution 0.50" in printed and "operation 0.90" in printed
    found = Predictor.load(tmp_path / "p.pt")
    assert isinstance(found, LayerSum)
    assert [device.name for device in found.devices_] == [FP32.name, INT8.name, THREADS.name]
    ms = found.predict_all(NETS)
    session = found.layers.machine[0, 2]
    assert np.median((ms[:, 1] - session) / (ms[:, 0] - session)) == pytest.approx(0.5, abs=0.07)
    assert np.median((ms[:, 2] - session) / (ms[:, 0] - session)) == pytest.approx(0.65, abs=0.07)
    spreads = [found.belief(NETS[:1], device).interval(0.9) for device in found.devices_]
    assert all((low < high).all() for low, high in spreads)
    layerwise(tmp_path / "t2.pt", LAYER, folder, networks="", devices=THREADS.name)
    (again,) = [d for d in Predictor.load(tmp_path / "t2.pt").devices_ if d.threads == 2]
    assert again == found.devices_[2]


def test_networks_correct_related_devices_from_their_own_ratios(folder: Path) -> None:
    from predictors.networks.learnt import Learnt
    from predictors.networks.related import with_related

    costs = Learnt.with_layer(LAYER)
    costs.tables = folder
    before = with_related(LayerSum.summing(costs.learn()), folder)
    truth = 1.3 * before.predict(NETS, INT8)
    m = table(NETS, {"latency_ms": truth[:, None]}, "networks", (INT8,))
    after = before.calibrated(m)
    assert np.abs(after.predict(NETS, INT8) / truth - 1).mean() < 0.05
    assert after.predict(NETS, THREADS).tolist() == before.predict(NETS, THREADS).tolist()


def test_networks_alone_add_a_precision_of_a_known_machine_and_runtime(folder: Path, tmp_path: Path) -> None:
    """Nothing but networks was measured in bf16; those of another runtime add nothing."""
    bf16, other = (replace(FP32, name=FP32.name.replace(*pair)) for pair in (("fp32", "bf16"), ("ort", "litert")))
    ms = np.concatenate([0.4 * times(NETS, 1), 2 * times(NETS, 1)], axis=1)
    write_table(*_table(ms, (bf16, other)), folder / "some_networks.parquet")
    layerwise(tmp_path / "p.pt", LAYER, folder, networks="some_networks")
    found = Predictor.load(tmp_path / "p.pt")
    assert [device.name for device in found.devices_] == [FP32.name, INT8.name, THREADS.name, bf16.name]
    assert np.abs(found.predict(NETS, bf16) / ms[:, 0] - 1).mean() < 0.1


def _table(ms: np.ndarray, devices: tuple[Device, ...]) -> tuple[pd.DataFrame, dict]:
    """Latencies [A, D] of `NETS` as a table and what describes it."""
    columns = {"space": str(NETS.space), "key": NETS.keys, "metric": "latency_ms", "repeats": 1}
    each = [pd.DataFrame({**columns, "device": d.name, "value": own}) for d, own in zip(devices, ms.T, strict=True)]
    return pd.concat(each), {"devices": [device.to_dict() for device in devices]}
