"""Searches by beliefs: budgets that are kept with a probability, and costs that are measured where a belief is
unsure."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from datasets.measured import Measured
from datasets.records import Architectures, InputError
from measure.blackbox import BlackBox
from predictors.belief import Belief
from predictors.export import load_predictor
from predictors.gp import GaussianProcess
from predictors.mlp import MLP
from predictors.new_devices.conditioned import Conditioned
from predictors.scaling import Scale
from search.__main__ import bisect, evolve, exhaustive, hybrid
from search.base import Problem
from search.bisection import Bisection
from search.evolution import Evolution, Exhaustive
from search.gain import ExpectedGain
from search.hybrid import Hybrid
from search.task import Requirements
from tests.doubles.problems import SPACE, CountedColumn, random_problem

BUNDLED = Path("datasets/bundled/nasbench201.parquet")
ACCURACY = Path("datasets/bundled/accuracy.parquet")
TARGET = "xeon_openvino_fp32_1"


@dataclass(frozen=True)
class Believing:
    """Normal distributions of logarithms around a column."""

    column: CountedColumn
    deviation: float

    def __call__(self, archs: Architectures) -> np.ndarray:
        return self.column(archs)

    def belief(self, archs: Architectures) -> Belief:
        values = np.log(self.column(archs))
        return Belief(values, np.full(len(values), self.deviation), Scale.known("log"))


def believed(seed: int, n: int = 150, deviation: float = 0.1) -> tuple[Problem, Believing, np.ndarray, np.ndarray]:
    """A problem, a belief whose location is off by its deviation, qualities and true costs."""
    problem, quality, ms = random_problem(seed, n)
    noise = np.exp(deviation * np.random.default_rng(seed).standard_normal(len(ms)))
    return problem, Believing(CountedColumn(problem.candidates, ms[:, 0] * noise), deviation), quality, ms[:, 0]


@pytest.mark.parametrize("search", [Exhaustive(), Evolution(120), Bisection(20), ExpectedGain(40)], ids=repr)
def test_a_predicted_cost_keeps_its_budget_with_the_confidence(search) -> None:
    problem, cost, quality, _ = believed(0)
    budget = problem.budgets["cost_0"]
    chance = cost.belief(problem.candidates).cdf(budget)
    for confidence in (0.5, 0.8, 0.99):
        predicted = replace(problem, costs={"cost_0": cost}, confidence=confidence)
        decision = search(predicted, np.random.default_rng(0))
        assert decision.met and cost.belief(decision.arch).cdf(budget)[0] >= confidence
        if isinstance(search, Exhaustive):
            assert decision.quality == quality[chance >= confidence].max()


def test_point_predictions_decide_without_a_confidence() -> None:
    problem, cost, _, _ = believed(1)
    predicted = replace(problem, costs={"cost_0": cost})
    decision = Exhaustive()(predicted, np.random.default_rng(0))
    assert decision.costs["cost_0"] == cost(decision.arch)[0]
    for wrong in (0.3, 1.0, float("nan")):
        with pytest.raises(InputError, match=r"probability from 0.5 to below 1"):
            replace(problem, confidence=wrong)


def test_a_black_box_keeps_its_budget_with_a_confidence_by_quantiles() -> None:
    problem, cost, quality, _ = believed(2)
    archs, budget = problem.candidates, problem.budgets["cost_0"]
    sure = replace(problem, confidence=0.9)
    objective = BlackBox(SPACE, lambda a: sure.limited(cost, a), budget, problem.quality)
    for row in archs.decisions.tolist():
        objective(row)
    kept = (cost.belief(archs).cdf(budget) >= 0.9) & SPACE.connected(archs)
    assert objective.best() == archs.keys[int(np.where(kept, quality, -1).argmax())]


def test_expected_gain_with_a_confidence_measures_what_probably_keeps_the_budget() -> None:
    broken = {0.5: 0, 0.9: 0}
    for seed in range(8):
        problem, cost, _, _ = believed(seed, deviation=0.3)
        for confidence in broken:
            search = ExpectedGain(12, fits={"cost_0": lambda archs, costs, cost=cost: cost})
            decision = search(replace(problem, confidence=confidence), np.random.default_rng(seed))
            broken[confidence] += int((problem.excess(decision.measured_costs)[search.samples :] > 0).sum())
    assert broken[0.9] < broken[0.5] / 2


def test_a_hybrid_search_finds_the_optimum_with_a_tenth_of_the_measurements() -> None:
    for seed in range(5):
        problem, cost, quality, ms = believed(seed)
        search = Hybrid(40, 2, 0.01, {"cost_0": lambda archs, costs, cost=cost: cost})
        decision = search(problem, np.random.default_rng(seed))
        assert decision.quality == quality[ms <= problem.budgets["cost_0"]].max()
        assert decision.queries <= len(ms) / 10


def test_what_was_measured_replaces_what_was_predicted() -> None:
    """A predictor that is sure of wrong costs: its favourites are measured, and given up. One that learns from what was
    measured is wrong less often."""
    spent = np.zeros(2)
    for seed in range(8):
        problem, _, quality, ms = believed(seed)
        best = quality[ms <= problem.budgets["cost_0"]].max()
        optimistic = Believing(CountedColumn(problem.candidates, ms / 2), 0.01)
        fixed = Hybrid(100, 5, 0.1, {"cost_0": lambda *_, cost=optimistic: cost})
        for i, search in enumerate((fixed, Hybrid(100, 5))):
            decision = search(replace(problem, proxies={"cost_0": optimistic}), np.random.default_rng(seed))
            assert decision.met and decision.quality == best
            spent[i] += decision.queries
    assert spent[1] < spent[0]


def test_fewer_are_measured_the_surer_the_search_is_content_with() -> None:
    spent = []
    for doubt in (0.0, 0.05, 0.5):
        problem, cost, _, _ = believed(4, deviation=0.4)
        search = Hybrid(150, 2, doubt, {"cost_0": lambda archs, costs, cost=cost: cost}, search=Evolution(120))
        spent.append(search(problem, np.random.default_rng(0)).queries)
    assert spent[0] >= spent[1] >= spent[2] and spent[0] > spent[2]


def test_a_hybrid_search_goes_on_from_what_it_measured() -> None:
    """Costs that remember, as live ones with their journal do: an interrupted search measures nothing again."""
    problem, cost, _, _ = believed(5, deviation=0.4)
    whole = Hybrid(30, 3, 0.01, {"cost_0": lambda *_: cost}, search=Evolution(60))
    true, journal = problem.costs["cost_0"], dict[bytes, float]()

    def remembered(stop: int):
        def measure(archs: Architectures) -> np.ndarray:
            for i, row in enumerate(archs.decisions):
                if bytes(row) not in journal:
                    if len(journal) == stop:
                        raise KeyboardInterrupt
                    journal[bytes(row)] = float(true(archs[[i]])[0])
            return np.array([journal[bytes(row)] for row in archs.decisions])

        return measure

    expected = whole(problem, np.random.default_rng(0))
    before = true.queries
    with pytest.raises(KeyboardInterrupt):
        whole(replace(problem, costs={"cost_0": remembered(4)}), np.random.default_rng(0))
    decision = whole(replace(problem, costs={"cost_0": remembered(1000)}), np.random.default_rng(0))
    assert decision.arch == expected.arch and true.queries - before == expected.queries > 4


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"doubt": 0.6}, "doubt is a probability from 0 to 0.5"), ({"samples": 1}, "give two or more")],
)
def test_settings_that_cannot_work_are_refused(settings: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        Hybrid(**settings)


def test_a_predictor_without_distributions_cannot_say_where_to_measure() -> None:
    problem, _, _, _ = believed(6)
    with pytest.raises(InputError, match="gives no distributions"):
        Hybrid(20, 3, fits={"cost_0": lambda *_: problem.proxies["cost_0"]})(problem, np.random.default_rng(0))


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """Predictors of bundled devices: of sources, adapted to the target, a Gaussian process of it, an MLP."""
    folder, m = tmp_path_factory.mktemp("saved"), Measured(BUNDLED).measurements()
    on = m.where(devices=[TARGET])
    sources = Conditioned().fit(m.where(devices=["xeon_ort_fp32_1", "xeon_eager_fp32_1", "xeon_ort_int8_1"]))
    few = on.where(archs=np.arange(0, len(on.architectures), len(on.architectures) // 15))
    sources.save(folder / "sources.pt")
    sources.adapt(few).save(folder / "adapted.pt")
    GaussianProcess().fit(few).save(folder / "gp.pt")
    MLP(epochs=1, hidden=4).fit(few).save(folder / "mlp.pt")
    return folder


def test_the_command_decides_with_a_confidence(saved: Path, tmp_path: Path, capsys) -> None:
    expected = []
    for confidence in (0.5, 0.95):
        problem = Requirements(ACCURACY, str(saved / "adapted.pt"), 0.85, confidence=confidence, out=tmp_path / "x.png")
        exhaustive(problem)
        out = capsys.readouterr().out
        expected.append(float(out.split("predicted latency ")[1].split()[0]))
        assert ("with probability 0.95 at most" in out) == (confidence > 0.5)
        assert float(out.split("P(latency <= budget) = ")[1].split()[0]) >= confidence - 0.01
    assert expected[1] < expected[0] <= 1.0
    evolve(replace(problem, latency=str(saved / "gp.pt")), measurements=20)
    assert "with probability 0.95" in capsys.readouterr().out
    assert load_predictor(saved / "gp.pt").devices_[0].name == TARGET


@pytest.mark.parametrize(
    ("latency", "says"), [("mlp.pt", "without distributions"), ("sources.pt", "`adapt` to a few measurements first")]
)
def test_a_confidence_without_distributions_is_refused_in_a_sentence(
    saved: Path, tmp_path: Path, latency: str, says: str
) -> None:
    problem = Requirements(ACCURACY, str(saved / latency), 1.0, "", confidence=0.9, out=tmp_path / "x.png")
    if latency == "sources.pt":
        problem = replace(problem, device="xeon_ort_fp32_1")
    with pytest.raises(InputError, match=says):
        exhaustive(problem)


def test_a_confidence_of_measured_latencies_is_refused(tmp_path: Path, saved: Path) -> None:
    problem = Requirements(ACCURACY, str(BUNDLED), 1.0, TARGET, confidence=0.9, out=tmp_path / "x.png")
    for command in (exhaustive, evolve):
        with pytest.raises(InputError, match="leave --confidence out"):
            command(problem)
    with pytest.raises(InputError, match="leave --confidence out"):
        bisect(problem, str(BUNDLED), "xeon_ort_fp32_1", refine=False)
    with pytest.raises(InputError, match="probability from 0.5 to below 1"):
        replace(problem, confidence=1.0)


def test_the_command_measures_where_a_predictor_or_another_device_is_unsure(
    saved: Path, tmp_path: Path, capsys
) -> None:
    problem = Requirements(ACCURACY, str(BUNDLED), 1.0, TARGET, out=tmp_path / "x.png")
    exhaustive(problem)
    best = capsys.readouterr().out.splitlines()[1].split()[1]
    for proxy, device in ((saved / "sources.pt", ""), (BUNDLED, "xeon_ort_fp32_1")):
        hybrid(problem, str(proxy), device, measurements=30)
        out = capsys.readouterr().out
        assert "keeps the budget of 1 ms" in out
        assert float(out.split("accuracy ")[1].split()[0]) >= float(best) - 1
        assert int(out.split("ms; ")[1].split()[0]) <= 30
    hybrid(replace(problem, confidence=0.9), str(saved / "sources.pt"), measurements=20, evaluations=30)
    assert "keeps the budget" in capsys.readouterr().out
    with pytest.raises(InputError, match="choose one with --proxy-device"):
        hybrid(problem, str(BUNDLED))
    with pytest.raises(InputError, match="cannot learn a new device"):
        hybrid(problem, str(saved / "gp.pt"))
    with pytest.raises(InputError, match="without distributions"):
        hybrid(problem, str(saved / "mlp.pt"))
