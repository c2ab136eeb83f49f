"""Sums of energies of layers, made of sums of their times."""

from pathlib import Path

import numpy as np
import pytest

from datasets.networks.builder import NetworkBuilder
from datasets.networks.network import Network, Port
from datasets.records import Device, InputError, Measurements, Networks
from predictors.base import Predictor
from predictors.commands.answers import predict
from predictors.commands.learning import adapt
from predictors.networks.energy import Energies
from predictors.networks.layer_sum import LayerSum
from tests.doubles.toy_layers import table, write
from tests.predictors.test_layer_sum import knows_layers, network_table

BOARD = Device("board", "toy", "embedded-cpu")


@pytest.fixture(scope="module")
def fitted() -> LayerSum:
    """Knows layers only."""
    return knows_layers()


def energy_table(n: int, seed: int, watts: float, mj_per_mmac: float) -> Measurements:
    """Networks whose energy is a power times their time, plus an energy per multiply-accumulate."""
    m = network_table(n, seed, (3,), (BOARD,))
    macs = m.architectures.space.totals(m.architectures)["macs"].to_numpy()
    mj = watts * m.matrix("latency_ms")[:, 0] + mj_per_mmac * macs / 1e6
    return table(m.architectures, {"energy_mj": mj[:, None]}, "energies", (BOARD,))


def test_ten_networks_with_energies_make_a_sum_of_energies(fitted: LayerSum, tmp_path: Path) -> None:
    energies = Energies.like(fitted)
    assert energies.metric == "energy_mj" and fitted.metric == "latency_ms"
    for watts, mj_per_mmac in ((1.5, 0.0), (80.0, 5.0)):
        new = energies.adapt(energy_table(10, 9, watts, mj_per_mmac))
        test = energy_table(40, 6, watts, mj_per_mmac)
        truth = test.matrix("energy_mj")[:, 0]
        assert np.abs(new.on(BOARD, "energy_mj")(test.architectures) / truth - 1).mean() < 0.15
        low, high = new.belief(test.architectures, BOARD).interval(0.9)
        assert ((low < truth) & (truth < high)).mean() > 0.75
    new.save(tmp_path / "energy.pt")
    again = Predictor.load(tmp_path / "energy.pt")
    np.testing.assert_array_equal(again.predict(test.architectures), new.predict(test.architectures))
    with pytest.raises(InputError, match="predicts energy_mj, not latency_ms"):
        again.on(BOARD)
    with pytest.raises(InputError, match="has no metric 'energy_mj'"):
        again.adapt(network_table(4, 3, (3,), (BOARD,)))


def test_work_that_no_output_needs_counts_for_energy(fitted: LayerSum) -> None:
    net = NetworkBuilder()
    x = net.add("input", (3, 16, 16))
    out = net.conv(x, 8, 3)
    net.conv(x, 64, 3)
    dead = Network.of(net.ops, net.edges, outputs=(Port("y", out),))
    whole, _ = Energies.like(fitted).costs(Networks([dead]))
    np.testing.assert_allclose(whole[0, :, -1], 16 * 16 * 27 * 72 / 1e6)


def test_energies_are_learnt_and_priced_by_commands(
    fitted: LayerSum, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(energy_table(10, 9, 2.0, 1.0), tmp_path)
    saved, out = tmp_path / "times.pt", tmp_path / "energy.pt"
    fitted.save(saved)
    adapt(saved, str(tmp_path / "energies.parquet"), out, metric="energy_mj")
    assert "answers for board; 10 measurements of 10 architectures" in capsys.readouterr().out
    predict(str(out), network="zoo:resnet18")
    assert "mJ" in capsys.readouterr().out
    with pytest.raises(InputError, match="predicts energy_mj and cannot learn 'latency_ms'"):
        adapt(out, "none.csv", tmp_path / "other.pt", metric="latency_ms")
