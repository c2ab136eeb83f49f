"""The arena of whole networks, on made-up ones."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datasets.networks.collection import AnyNetwork
from datasets.public import timm
from datasets.records import Device, InputError, Measurements
from encoders.kinds import GROUPS, QUANTITIES, WHOLE, KindTotals, totals_by_kind
from studies.arena import study
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def networks() -> Measurements:
    """Times of 200 networks of twenty families that are a line of their totals, with 2 % noise."""
    rng = np.random.default_rng(0)
    archs = AnyNetwork().sample(200, rng)
    x = KindTotals(groups=False, log=False)(archs).astype(float)
    ms = (1e-2 + x[:, :3] @ [0.2, 3.0, 0.1]) * rng.lognormal(0, 0.02, len(archs))
    rows = {"arch": np.arange(200), "device": 0, "metric": "latency_ms", "value": ms}
    table = pd.DataFrame(rows).assign(family=[f"f{i % 20}" for i in range(200)])
    return Measurements(archs, [Device("toy", "toys", "server-cpu")], table, "toys")


@pytest.mark.parametrize("by", ["families", "random"])
def test_the_line_finds_a_line_and_its_intervals_hold(networks: Measurements, by: str) -> None:
    rows = {name: study.crossed(networks, ROOT / "configs" / "predictors" / f"{name}.yaml", by)[0]
            for name in ("network_macs", "network_line")}  # fmt: skip
    line, macs = rows["network_line"], rows["network_macs"]
    assert line["n"] > (190 if by == "families" else 150) and line["mape"] < 2.5 < macs["mape"]
    assert 80 < line["coverage"] <= 100 and line["width"] < macs["width"]


def test_every_network_is_tested_once_by_families(networks: Measurements) -> None:
    tested = [key for parts in study.folds(networks, "families") for key in parts.test.architectures.keys]
    assert sorted(tested) == sorted(networks.architectures.keys)


def test_totals_by_kind_add_up_to_the_whole(networks: Measurements) -> None:
    for network in networks.architectures[:5]:
        whole, by_group = np.split(totals_by_kind(network), [len(WHOLE)])
        table = by_group.reshape(len(GROUPS), len(QUANTITIES)).sum(axis=0)
        assert table[QUANTITIES.index("macs")] == whole[WHOLE.index("macs")] > 0
        assert table[QUANTITIES.index("weights")] == 4 * whole[WHOLE.index("params")]
        assert table[QUANTITIES.index("count")] == whole[WHOLE.index("ops")] >= whole[WHOLE.index("longest")]


def test_unknown_tables_and_totals_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no table nnlq; tables are timm"):
        study.arena(tmp_path, tables="nnlq")
    with pytest.raises(InputError, match="no total 'flops'"):
        KindTotals(("flops",))(AnyNetwork().sample(1, np.random.default_rng(0)))


@pytest.mark.skipif(not (timm.GRAPHS.exists() and timm.SOURCE.present()), reason="timm's tables are not downloaded")
def test_timm_has_families_and_agreeing_counts() -> None:
    m = timm.Timm().measurements()
    assert len(m.devices) == 5 and m.table["family"].notna().all()
    assert m.table.groupby("device")["arch"].nunique().min() > 250
