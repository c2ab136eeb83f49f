"""The optimizer network and what it learns from: small nets on made-up devices of NAS-Bench-201."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.records import Architectures, InputError, Measurements
from datasets.spaces import parse_space
from datasets.spaces.nasbench201 import NasBench201
from encoders.cell import CellOneHot
from predictors.base import Relaxable, write_checkpoint
from predictors.ensemble import Ensemble
from predictors.gcn import GCN
from predictors.gp import GaussianProcess
from predictors.mlp import MLP
from predictors.new_devices.conditioned import Conditioned
from predictors.relaxed import Relaxed
from predictors.scaling import Scale
from search.base import Problem
from search.optimizer.__main__ import Answering, OptimizerTraining, optimize
from search.optimizer.answers import answer
from search.optimizer.cost_models import CostModels
from search.optimizer.decoding import decoded
from search.optimizer.device_net import DeviceNet
from search.optimizer.exploration import explore
from search.optimizer.optimizer_network import OptimizerNetwork, RelaxedObjective, _one_hot
from search.optimizer.synthetic_devices import SyntheticDevices, distance_to_hull, reach_of
from tests.conftest import made_up, run

SPACE = NasBench201()
METHODS = [("imitate", "budget"), ("through", "budget"), ("imitate", "weight"), ("through", "weight")]


def accuracies(archs: Architectures, worth: tuple[float, ...] = (0, 4, 7, 11, 2)) -> Measurements:
    """Accuracies that grow with what stands on the edges."""
    value = 20 + np.array(worth)[archs.decisions] @ np.array([1, 0.6, 0.8, 0.7, 0.5, 0.9])
    rows = {"arch": range(len(archs)), "device": -1, "metric": "accuracy_cifar100", "value": value}
    return Measurements(archs, [], pd.DataFrame(rows), "made-up")


@pytest.fixture(scope="module")
def cells() -> Architectures:
    drawn = SPACE.sample(400, np.random.default_rng(0))
    return drawn[np.flatnonzero(SPACE.connected(drawn))]


@pytest.fixture(scope="module")
def accuracy(cells: Architectures) -> MLP:
    m = accuracies(cells)
    kind = {"encoder": CellOneHot(), "hidden": 32, "layers": 1, "epochs": 15, "batch_size": 64, "learning_rate": 1e-2}
    return MLP(metric="accuracy_cifar100", scale=Scale("linear"), **kind).fit(m)


@pytest.fixture(scope="module")
def costs(cells: Architectures) -> CostModels:
    return CostModels(Conditioned(), DeviceNet(steps=150, hidden=32), cells=300).fit(made_up(cells, 4), cells)


def objective(cells: Architectures, accuracy: Relaxable, costs: CostModels) -> RelaxedObjective:
    return RelaxedObjective(cells, lambda p: accuracy.predict_relaxed(p, p), (costs.net.predict_relaxed,))


def devices(costs: CostModels, n: int = 20) -> torch.Tensor:
    return torch.from_numpy(costs.devices(n, np.random.default_rng(0))).float()[:, None]


def predicted(cells: Architectures, accuracy: MLP, costs: CostModels, device: torch.Tensor, quantile: float) -> Problem:
    """A problem whose costs are what the net says of a device [C, K]."""
    vector = device[0].double().numpy()
    cost = {"latency_ms": lambda archs: costs.net.predict(archs, vector)}
    budget = {"latency_ms": float(np.quantile(costs.net.predict(cells, vector), quantile))}
    return Problem(SPACE, lambda archs: accuracy.predict(archs, None), cost, budget)


@pytest.mark.parametrize("kind", ["mlp", "gp", "ensemble"])
def test_relaxed_predictions_are_the_usual_ones_where_all_is_decided(kind: str, cells, accuracy) -> None:
    m = accuracies(cells[:80])
    model = accuracy
    if kind == "gp":
        one_hot = GaussianProcess(metric="accuracy_cifar100", scale=Scale("linear"), encoder=CellOneHot(), most=60)
        model = one_hot.fit(m)
    if kind == "ensemble":
        model = Ensemble(member=MLP(metric=accuracy.metric, hidden=8, layers=1, epochs=2), size=2).fit(m)
        with pytest.raises(InputError, match="GCN has no answers for relaxed"):
            replace(model, member=GCN(metric=accuracy.metric)).predict_relaxed(None, None)
    assert isinstance(model, Relaxable)
    p = torch.from_numpy(CellOneHot()(cells[:50])).requires_grad_()
    said = model.predict_relaxed(p, p)
    assert np.allclose(said.detach().numpy(), model.predict(cells[:50], None), rtol=1e-3)
    said.sum().backward()
    assert p.grad is not None and p.grad.abs().sum() > 0
    if kind == "gp":
        with pytest.raises(InputError, match="CellOneHot"):
            replace(model, encoder=CellOneHot(live=True)).predict_relaxed(p, p)


@pytest.mark.parametrize("name", ["nasbench201", "nasbench101", "fbnet", "ofa"])
def test_a_cost_without_interactions_is_its_own_relaxation(name: str) -> None:
    """It is a product of factors of single decisions, so its logarithm is linear in their probabilities."""
    space, rng = parse_space(name), np.random.default_rng(0)
    archs = space.sample(4, rng)
    weights = torch.from_numpy(rng.normal(0, 1, sum(space.num_choices)))

    def cost(archs: Architectures) -> np.ndarray:
        return torch.exp(_one_hot(archs).double() @ weights).numpy()

    relaxed = Relaxed(cost, space)
    p = _one_hot(archs).double().requires_grad_()
    found = relaxed.predict_relaxed(p, p)
    np.testing.assert_allclose(found.detach().numpy(), cost(archs), rtol=1e-9)
    if name == "nasbench201":  # all decisions are valid
        p = (0.5 * p + 0.1).detach().reshape(2, 2, -1).requires_grad_()
        found = relaxed.predict_relaxed(p, p)
        mixed = torch.exp(p @ weights)
        np.testing.assert_allclose((found / mixed).detach().numpy(), 1, rtol=1e-9)
        found.log().sum().backward()
        centred = p.grad.reshape(4, 6, 5) - weights.reshape(6, 5)
        np.testing.assert_allclose(centred.std(dim=-1).numpy(), 0, atol=1e-9)


def test_an_optimizer_network_learns_through_any_predictor(cells, accuracy) -> None:
    """The space is that of the cells; the cost has no gradient of its own."""

    def ms(archs: Architectures) -> np.ndarray:
        return 1 + archs.space.totals(archs)["macs"].to_numpy(float) / 1e7

    cost, device = Relaxed(ms, SPACE), torch.zeros(1, 1, 3)
    goal = RelaxedObjective(cells, lambda p: accuracy.predict_relaxed(p, p), (cost.predict_relaxed,))
    network = OptimizerNetwork("through", steps=300, hidden=32, batch=32, learning_rate=1e-2).fit(goal, device)
    budgets = torch.from_numpy(np.quantile(ms(cells), [0.1, 0.95])).float()[:, None]
    found = network.propose(device[0], budgets)
    assert len(found) == 2 and ms(found)[0] < ms(found)[1]
    worth = accuracy.predict(found, None)
    assert worth[0] < worth[1] and worth[1] > np.median(accuracy.predict(cells, None))


def test_a_device_that_is_slower_at_everything_costs_so_much_more(cells, costs) -> None:
    device = devices(costs)[0, 0].double().numpy()
    assert np.allclose(costs.net.predict(cells, device + np.log(3)), 3 * costs.net.predict(cells, device), rtol=1e-4)
    truth = made_up(cells, 4).matrix("latency_ms")[:, 0]
    assert np.median(np.abs(np.log(costs.net.predict(cells, device) / truth))) < 0.1


@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 6))
def test_synthetic_devices_stay_as_near_to_the_hull_as_real_ones(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    archs = SPACE.sample(60, rng)
    logs = np.log(made_up(archs, n, seed % 1000).matrix("latency_ms")) + 0.2 * rng.standard_normal((60, n))
    made = SyntheticDevices.of(logs, CellOneHot()(archs), SPACE.num_choices)
    for column in made.sample(5, rng).T:
        assert distance_to_hull(column, logs) <= reach_of(logs) + 1e-3
    weights = rng.dirichlet(np.ones(n))
    assert distance_to_hull(logs @ weights + 5, logs) < 1e-3  # a mixture of any speed lies inside


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), each=st.integers(1, 20))
def test_whatever_a_network_says_is_decoded_to_cells_with_a_path(seed: int, each: int) -> None:
    rng = np.random.default_rng(seed)
    logs = rng.normal(0, 3, (3, 30))
    logs[0, ::5] += 20  # as good as certain that all edges are `none`
    found = decoded(SPACE, logs, each)
    assert SPACE.connected(found).all() and 3 <= len(found) <= 3 * each
    if each == 1:
        others = SPACE.sample(300, rng)
        others = CellOneHot()(others[np.flatnonzero(SPACE.connected(others))])
        assert (others @ logs.T <= (CellOneHot()(found) * logs).sum(axis=1) + 1e-4).all()  # nothing usable is likelier


@pytest.mark.parametrize(("method", "asks"), METHODS)
def test_answers_keep_the_budget_by_prediction_and_are_good(method, asks, cells, accuracy, costs, tmp_path) -> None:
    network = OptimizerNetwork(method, asks, hidden=32, steps=150, batch=64)
    network.fit(objective(cells, accuracy, costs), devices(costs))
    regret, local = [], []
    for device in devices(costs)[-4:]:
        problem = predicted(cells, accuracy, costs, device, 0.5)
        cost, quality = problem.costs["latency_ms"](cells), problem.quality(cells)
        found = answer([network], device, problem)
        assert SPACE.connected(found.arch).all()
        assert found.met and found.costs["latency_ms"] <= problem.budgets["latency_ms"]
        regret.append(quality[cost <= problem.budgets["latency_ms"]].max() - found.quality)
        local.append(found.quality - answer([network], device, problem, rounds=1).quality)
    assert (
        np.mean(regret) < np.ptp(quality) / (5 if asks == "budget" else 3) and max(local) <= 0
    )  # a local search only finds what is better
    network.save(tmp_path / "network.pt")
    again = OptimizerNetwork.load(tmp_path / "network.pt")
    asked = torch.tensor([[float(problem.budgets["latency_ms"])]])
    assert again == network and again.propose(device, asked, 4) == network.propose(device, asked, 4)


def test_an_ensemble_is_as_good_as_its_best_member(cells, accuracy, costs) -> None:
    made = [
        OptimizerNetwork(hidden=16, steps=60, batch=32, seed=s).fit(objective(cells, accuracy, costs), devices(costs))
        for s in (0, 1)
    ]
    device = devices(costs)[-1]
    problem = predicted(cells, accuracy, costs, device, 0.4)
    alone = [answer([one], device, problem) for one in made]
    assert answer(made, device, problem).quality >= max(one.quality for one in alone if one.met)


def test_one_device_reduces_to_the_device_specific_method(cells, accuracy) -> None:
    """Nothing synthetic is there, and the network knows by heart what exhaustive search on the device's predictors
    finds."""
    lone = CostModels(Conditioned(), DeviceNet(steps=150, hidden=32), cells=300).fit(made_up(cells, 1), cells)
    only = lone.devices(50, np.random.default_rng(0))
    assert only.shape == (1, 10)
    assert np.allclose(lone.net.synthetic_.sample(3, np.random.default_rng(0)), lone.net.synthetic_.logs)
    network = OptimizerNetwork("imitate", hidden=64, steps=250, batch=64)
    device = torch.from_numpy(only).float()
    network.fit(objective(cells, accuracy, lone), device[:, None])
    for quantile in (0.3, 0.6, 0.9):
        problem = predicted(cells, accuracy, lone, device, quantile)
        cost, quality = problem.costs["latency_ms"](cells), problem.quality(cells)
        best = quality[cost <= problem.budgets["latency_ms"]].max()
        assert answer([network], device, problem, rounds=1).quality >= best - 1e-3


def test_new_accuracies_retrain_the_optimizer_and_leave_costs_alone(cells, accuracy, costs) -> None:
    before = {name: value.clone() for name, value in costs.net.network_.state_dict().items()}
    network = OptimizerNetwork("imitate", hidden=32, steps=100, batch=64)
    asked = torch.tensor([[1e3]])
    loose = network.fit(objective(cells, accuracy, costs), devices(costs)).propose(devices(costs)[0], asked)
    settings = {"encoder": CellOneHot(), "hidden": 32, "layers": 1, "epochs": 15, "batch_size": 64}
    other = MLP(metric="accuracy_cifar100", scale=Scale("linear"), learning_rate=1e-2, **settings)
    other.fit(accuracies(cells, (0, 4, 7, 1, 12)))  # now pooling is best
    new = network.fit(objective(cells, other, costs), devices(costs)).propose(devices(costs)[0], asked)
    assert (loose.decisions == 3).sum() > (new.decisions == 3).sum()
    assert (loose.decisions == 4).sum() < (new.decisions == 4).sum()
    OptimizerNetwork("through", hidden=16, steps=3, batch=16).fit(objective(cells, other, costs), devices(costs))
    after = costs.net.network_.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(value.grad is None for value in costs.net.network_.parameters())


def test_what_is_saved_says_the_same_in_a_fresh_process(cells, costs, tmp_path: Path) -> None:
    write_checkpoint(costs.net.state(), tmp_path / "net.pt")
    device = devices(costs)[-1, 0].double().numpy()
    np.save(tmp_path / "device.npy", device)
    (tmp_path / "keys.txt").write_text("\n".join(cells[:20].keys))
    code = (
        "import sys, numpy as np; from pathlib import Path; from search.optimizer.device_net import DeviceNet;"
        "from predictors.base import read_checkpoint; from datasets.spaces.nasbench201 import NasBench201;"
        "at = Path(sys.argv[1]); net = DeviceNet.restored(read_checkpoint(at / 'net.pt'));"
        "archs = NasBench201().parse((at / 'keys.txt').read_text().split());"
        "np.save(at / 'said.npy', net.predict(archs, np.load(at / 'device.npy')))"
    )
    done = run("-c", code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert np.allclose(np.load(tmp_path / "said.npy"), costs.net.predict(cells[:20], device))


def test_two_costs_are_kept_at_once(cells, accuracy, costs) -> None:
    both = RelaxedObjective(cells, lambda p: accuracy.predict_relaxed(p, p), (costs.net.predict_relaxed,) * 2)
    pairs = devices(costs).expand(-1, 2, -1)
    network = OptimizerNetwork(hidden=32, steps=60, batch=64).fit(both, pairs)
    problem = predicted(cells, accuracy, costs, pairs[0], 0.6)
    tight = {"latency_ms": problem.budgets["latency_ms"], "energy_mj": 0.8 * problem.budgets["latency_ms"]}
    problem = Problem(SPACE, problem.quality, dict.fromkeys(tight, problem.costs["latency_ms"]), tight)
    found = answer([network], pairs[0], problem)
    assert found.met and found.costs["energy_mj"] <= tight["energy_mj"]


def test_faults_are_told_in_a_sentence(cells, costs, tmp_path: Path) -> None:
    few = made_up(cells[:5], 1)
    with pytest.raises(InputError, match="reference architectures were not measured"):
        costs.net.vector(few)
    with pytest.raises(InputError, match="not an optimizer network"):
        (tmp_path / "bad.pt").write_bytes(b"no")
        OptimizerNetwork.load(tmp_path / "bad.pt")
    with pytest.raises(InputError, match="no file"):
        OptimizerNetwork.load(tmp_path / "none.pt")


def test_the_command_trains_once_and_answers_for_a_new_device(tmp_path: Path, capsys) -> None:
    tables = Path("datasets/bundled/accuracy.parquet"), Path("datasets/bundled/nasbench201.parquet")
    training = OptimizerTraining(networks=1, predictors=2, synthetic=10, steps=20)
    small = {"metric": "accuracy_digits", "training": training, "folder": tmp_path}
    optimize(*tables, 5, "xeon_ort_fp32_1", **small)
    first = capsys.readouterr().out
    assert "10 measurements of xeon_ort_fp32_1 used" in first and "P(latency <= budget)" in first
    assert len((tmp_path / "seed0" / "references.txt").read_text().split()) == 10
    started = json.loads((tmp_path / "seed0" / "started.json").read_text())  # compared byte by byte, so in this order
    assert " ".join(started) == "accuracy latency sources metric predictors networks synthetic steps"
    optimize(*tables, 5, "xeon_ort_fp32_1", **small)
    again = capsys.readouterr().out
    assert "trained" in first and "trained" not in again and first.splitlines()[1] == again.splitlines()[0]
    optimize(*tables, 5, "xeon_ort_fp32_1", **small, answering=Answering(confidence=0.99))
    sure = capsys.readouterr().out
    assert "with probability 0.99 at most" in sure and "keeps the budget" in sure
    assert float(sure.split("P(latency <= budget) = ")[1].split(";")[0]) >= 0.99
    with pytest.raises(InputError, match=r"probability from 0.5 to below 1"):
        Answering(confidence=0.2)
    (tmp_path / "seed0" / "settings.json").unlink()  # as a training that was stopped before its last network
    (tmp_path / "seed0" / "network_through_0.pt").unlink()
    kept = (tmp_path / "seed0" / "network_imitate_0.pt").stat().st_mtime_ns
    optimize(*tables, 5, "xeon_ort_fp32_1", **small)
    resumed = capsys.readouterr().out
    assert "trained" in resumed and again.splitlines()[0] in resumed.splitlines()
    assert (tmp_path / "seed0" / "network_imitate_0.pt").stat().st_mtime_ns == kept
    with pytest.raises(InputError, match="no device 'nobody'"):
        optimize(*tables, 5, "nobody", **small)
    with pytest.raises(InputError, match=r"other settings \(steps\); name another --folder"):
        optimize(*tables, 5, "xeon_ort_fp32_1", **{**small, "training": replace(training, steps=21)})
    with pytest.raises(
        InputError, match=r"other settings \(sources\)"
    ):  # the networks have learnt this one's latencies
        optimize(*tables, 5, "xeon_eager_fp32_1", **small)
    saved = tmp_path / "seed0"
    for content in ("[]", "{", "{}"):
        (saved / "settings.json").write_text(content)
        with pytest.raises(InputError, match="train again"):
            optimize(*tables, 5, "xeon_ort_fp32_1", **small)


def test_a_predictor_of_something_else_is_no_table_of_latencies(accuracy: MLP, tmp_path: Path) -> None:
    accuracy.save(tmp_path / "accuracy.pt")
    with pytest.raises(InputError, match="predicts accuracy_cifar100, not latency_ms"):
        optimize(Path("datasets/bundled/accuracy.parquet"), tmp_path / "accuracy.pt", 5, "mine", folder=tmp_path)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 30))
def test_exploration_chooses_new_cells_near_the_optima_and_far_from_known_ones(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    pool, known, optima = SPACE.sample(80, rng), SPACE.sample(20, rng), SPACE.sample(3, rng)
    pool = pool[np.unique(pool.decisions, axis=0, return_index=True)[1]]
    unsure = rng.random(len(pool))
    chosen = explore(pool, known, n, unsure, optima, rng)
    assert len(chosen) == len(set(chosen.tolist())) == n
    assert not {row.tobytes() for row in pool[chosen].decisions} & {row.tobytes() for row in known.decisions}
    (alone,) = explore(pool, known, 1, unsure, optima, rng, shares=(0, 1, 0))
    fresh = [i for i, row in enumerate(pool.decisions) if not (known.decisions == row).all(axis=1).any()]
    assert unsure[alone] == unsure[fresh].max()
