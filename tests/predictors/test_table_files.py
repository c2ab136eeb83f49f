"""Several tables of one kind of layers in a folder: of other machines, other limits, other days."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datasets.blocks.layers import LayerSpace
from datasets.networks.builder import NetworkBuilder
from datasets.records import Architectures, Device, InputError, Measurements, Networks
from datasets.spaces.dense import Dense
from encoders.flat import Totals
from measure.table import write_table
from predictors.linear import Linear
from predictors.networks.learnt import LAYERS, Learnt
from predictors.networks.table_files import read_beside, read_tables
from tests.doubles.toy_layers import DEVICES, SPACES, law, layer_tables, table, write

OTHER = Device("other_1", "toy", "server-cpu")


def beyond(space: LayerSpace) -> LayerSpace:
    wider = {"widest": 32768} if isinstance(space, Dense) else {}
    limits = {"megabytes": 512, "megamacs": 15000, "beyond_megabytes": space.megabytes}
    return replace(space, **limits, beyond_megamacs=space.megamacs, **wider)


def phases(kind: str, archs: Architectures, devices: tuple[Device, ...], name: str) -> Measurements:
    totals = archs.space.totals(archs)
    exe = 0.005 + law(totals[["macs", "moved_bytes"]].to_numpy(), (1, 3)[: len(devices)])
    copied = 0.001 + np.outer(totals["peak_bytes"] / 2e7, np.ones(len(devices)))
    return table(archs, {"exe_ms": exe, "pre_ms": copied, "post_ms": copied}, name, devices)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small tables of two devices, and one more of each kind, of another device and of both limits."""
    found = tmp_path_factory.mktemp("tables")
    shutil.copytree(layer_tables(200), found, dirs_exist_ok=True)
    for kind, space in SPACES.items():
        rng = np.random.default_rng(1)
        for name, archs in (("large", beyond(space).sample(150, rng)), ("small", space.sample(150, rng))):
            write(phases(kind, archs, (OTHER,), f"{kind}_{name}"), found)
    return found


def test_tables_of_other_machines_and_limits_become_one(folder: Path) -> None:
    for kind, space in SPACES.items():
        m = read_beside(folder, kind)
        assert m.architectures.space == beyond(space) and len(m.architectures) > 480
        assert [device.name for device in m.devices] == ["fast_1", "slow_1", "other_1"]
        large = ~space.feasible(m.architectures)
        assert large.sum() == 150 and np.isnan(m.matrix("exe_ms")[large, :2]).all()
    (alone,) = read_tables(layer_tables(200), ["dense"])
    assert alone.architectures.space == SPACES["dense"]


def test_a_device_of_small_layers_only_is_priced_within_their_limits_also_beside_others(folder: Path) -> None:
    def learnt(tables: Path) -> Learnt:
        model = Linear(metric="exe_ms", encoder=Totals(("macs", "moved_bytes")))
        return Learnt(*(replace(model) for _ in LAYERS), tables=tables).learn()

    both, small = learnt(folder), learnt(layer_tables(200))
    assert both.wide.tolist() == [[0, 0, 0], [0, 0, 0], [1, 1, 1]] and (small.wide == 1).all()
    net = NetworkBuilder(batch=64)
    net.add("dense", (4096,), net.add("input", (25088,)))
    networks = Networks([net.finish("", "")])
    (found,) = both.network_terms(networks)
    (before,) = small.network_terms(networks)
    dense = both.terms.index("dense")
    assert found[0, :2, dense] == pytest.approx(before[0, :, dense], rel=0.15)  # of other layers that were held out
    (far,) = both.beyond(networks)
    assert far[0, 2] == 1 and (far[0, :2] > 10).all()
    again = Learnt(**{kind: Linear(metric="exe_ms", encoder=Totals(("macs", "moved_bytes"))) for kind in LAYERS})
    state = both.state()
    again.restore(state, "here")
    assert (again.wide == both.wide).all()
    del state["wide"]  # written by an older version
    again.restore(state, "here")
    assert (again.wide == 1).all()
    with pytest.raises(ValueError, match="wide"):
        again.restore(both.state() | {"wide": both.wide + 1}, "here")


def test_times_of_one_device_are_multiples_of_one_reference_time(tmp_path: Path) -> None:
    archs = SPACES["dense"].sample(8, np.random.default_rng(0))
    m = phases("dense", archs, DEVICES, "dense")
    rows = m.table.assign(space=str(archs.space), key=[archs.keys[i] for i in m.table["arch"]], repeats=1)
    rows["device"] = [DEVICES[d].name for d in rows["device"]]
    meta = {"devices": [d.to_dict() for d in DEVICES], "reference_ms": {"fast_1": 0.5, "slow_1": 1.0}}
    write_table(rows.drop(columns="arch"), meta, tmp_path / "dense.parquet")
    slow_day = rows.assign(value=2 * rows["value"]).drop(columns="arch")
    meta["reference_ms"] = {"fast_1": 1.0, "slow_1": 2.0}
    write_table(slow_day, meta, tmp_path / "dense_again.parquet")
    assert read_beside(tmp_path, "dense").matrix("exe_ms") == pytest.approx(m.matrix("exe_ms"), rel=1e-6)
    (tmp_path / "dense_again.parquet").rename(tmp_path / "other.parquet")
    first, other = read_tables(tmp_path, ["dense", "other"])
    assert other.matrix("exe_ms") == pytest.approx(first.matrix("exe_ms"), rel=1e-6)


def test_a_table_of_other_layers_under_this_name_is_one_sentence(tmp_path: Path) -> None:
    shutil.copy(layer_tables(200) / "dense.parquet", tmp_path / "dense.parquet")
    shutil.copy(layer_tables(200) / "pooling.parquet", tmp_path / "dense_large.parquet")
    with pytest.raises(InputError, match="dense_large.parquet in .* holds other things than the dense layers"):
        read_beside(tmp_path, "dense")
