"""PerfNetRT's Figure 4 on made-up machines: what is predicted, measured and drawn."""

from pathlib import Path

import numpy as np
import pytest

from datasets.records import Architectures, Device, InputError, Networks
from datasets.spaces.convnet import ConvNet
from datasets.spaces.zoo import Zoo
from encoders.flat import Totals
from predictors.linear import Linear
from predictors.networks.pieces import pieces
from studies.perfnetrt.figure4 import figure4
from studies.perfnetrt.inputs import Inputs
from tests.doubles.toy_layers import law, table, write
from tests.predictors.test_table_files import SPACES, beyond, phases


def device(runtime: str, batch: int = 1) -> Device:
    return Device(f"h_{runtime}_fp32_{batch}", f"h-{runtime}-fp32", "server-cpu", runtime, "fp32", batch)


def ms(archs: Architectures, batch: int = 1) -> np.ndarray:
    """The times of networks as sums of their pieces [A]."""
    found = [pieces(network, batch) for network in Networks.of(archs)]
    work = [(sum(p.macs for p in parts), sum(p.moved for p in parts)) for parts in found]
    calls = np.array([len(parts) for parts in found])
    return 0.005 + 0.004 * calls + law(np.array(work, float), (1,))[:, 0]


def test_three_curves_of_each_network_on_each_runtime(tmp_path: Path) -> None:
    tables, out, rng = tmp_path / "tables", tmp_path / "out", np.random.default_rng(0)
    tables.mkdir()
    out.mkdir()
    for kind, space in SPACES.items():
        for name, archs in ((kind, space.sample(150, rng)), (f"{kind}_large", beyond(space).sample(150, rng))):
            write(phases(kind, archs, (device("ort"),), name), tables)
    random, zoo = ConvNet(image=32, classes=10, megamacs=60).sample(12, rng), Zoo().parse(["lenet5", "squeezenet"])
    for name, archs in (("convnet", random), ("zoo", zoo)):
        write(table(archs, {"latency_ms": ms(archs)[:, None]}, name, (device("ort"),)), tables)
    inputs = Inputs(out, tables, Linear(metric="exe_ms", encoder=Totals(("macs", "moved_bytes"))), 10)
    with pytest.raises(InputError, match="figure4_measure"):
        figure4(inputs)
    archs = Zoo().parse(["lenet5", "alexnet"])
    devices = [device(runtime, batch) for batch in (1, 64) for runtime in ("ort", "eager")]
    exe = np.stack([ms(archs, d.batch) * (2 if d.runtime == "eager" else 1) for d in devices], axis=1)
    values = {"exe_ms": exe, "pre_ms": 0.01 * exe, "post_ms": 0.01 * exe}
    write(table(archs, values, "figure4", tuple(devices)), tables)
    rows = figure4(inputs)
    assert [(row["network"], row["batch"]) for row in rows] == [(key, n) for key in archs.keys for n in (1, 64)]
    for row in rows:
        assert row["runtime"] == "ort" and row["unoptimised_ms"] == pytest.approx(2 * row["measured_ms"], rel=1e-4)
        assert row["error"] == pytest.approx(abs(row["predicted_ms"] / row["measured_ms"] - 1))
    assert np.mean([row["error"] for row in rows]) < 0.6
    assert (out / "figure4.png").stat().st_size > 10_000
