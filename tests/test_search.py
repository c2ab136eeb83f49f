"""Contract of `Search`, on every search that is there, over random small spaces whose optima are known."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.records import Architectures, InputError
from datasets.spaces.nasbench201 import NasBench201
from search.base import Problem, Search, pareto
from search.bisection import Bisection
from search.evolution import Exhaustive
from search.proxies import ProxyPool, monotonicity
from tests.conftest import implementations, run

SEARCHES = [cls() for cls in implementations("search", Search)] + [Bisection(equation="weighted")]
every_search = pytest.mark.parametrize("search", SEARCHES, ids=repr)
SPACE = NasBench201()


class Table:
    """A column over candidates that counts how many values were asked of it."""

    def __init__(self, archs: Architectures, values: np.ndarray) -> None:
        self.values = dict(zip(map(bytes, archs.decisions), values, strict=True))
        self.asked = 0

    def __call__(self, archs: Architectures) -> np.ndarray:
        self.asked += len(archs)
        return np.array([self.values[bytes(row)] for row in archs.decisions])


def small(seed: int, n: int, budget: float = 0.5, costs: int = 1) -> tuple[Problem, np.ndarray, np.ndarray]:
    """A problem of `n` candidates with random numbers, a monotone proxy of each cost, budgets at a quantile."""
    rng = np.random.default_rng(seed)
    drawn = SPACE.sample(4 * n, rng)
    archs = drawn[np.unique(drawn.decisions, axis=0, return_index=True)[1][:n]]
    ms, quality = rng.lognormal(0, 0.7, (len(archs), costs)), rng.uniform(10, 90, len(archs))
    names = [f"cost_{c}" for c in range(costs)]
    true = {name: Table(archs, ms[:, c]) for c, name in enumerate(names)}
    proxies = {name: Table(archs, 3 * ms[:, c] ** 1.3) for c, name in enumerate(names)}
    budgets = {name: float(np.quantile(ms[:, c], budget)) for c, name in enumerate(names)}
    return Problem(SPACE, Table(archs, quality), true, budgets, proxies, archs), quality, ms


@every_search
@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1), n=st.integers(2, 60), budget=st.sampled_from([0, 0.3, 0.9]), costs=st.integers(1, 2)
)
def test_keeps_budgets_and_counts_what_it_asked(search: Search, seed: int, n: int, budget: float, costs: int) -> None:
    problem, quality, ms = small(seed, n, budget, costs)
    decision = search(problem, np.random.default_rng(seed))
    for cost in problem.costs.values():
        assert decision.queries == cost.asked == len(decision.measured_costs)
    assert decision.queries <= (search.measurements or n)
    assert len(np.unique(decision.measured.decisions, axis=0)) == decision.queries  # nothing is measured twice
    kept = [decision.costs[name] <= problem.budgets[name] for name in problem.costs]
    assert decision.met == all(kept)
    feasible = (ms <= np.array(list(problem.budgets.values()))).all(axis=1)
    if decision.met:
        assert decision.quality <= quality[feasible].max()
    again = search(problem, np.random.default_rng(seed))
    assert again.arch == decision.arch and again.measured == decision.measured


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 200), budget=st.floats(0, 1), costs=st.integers(1, 2))
def test_exhaustive_finds_the_optimum(seed: int, n: int, budget: float, costs: int) -> None:
    problem, quality, ms = small(seed, n, budget, costs)
    feasible = (ms <= np.array(list(problem.budgets.values()))).all(axis=1)
    decision = Exhaustive()(problem, np.random.default_rng(0))
    assert decision.met == feasible.any()
    if decision.met:
        assert decision.quality == quality[feasible].max()


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 200), budget=st.floats(0, 1), granularity=st.floats(0.001, 0.4))
def test_bisection_needs_no_more_than_its_bound_and_finds_the_optimum(
    seed: int, n: int, budget: float, granularity: float
) -> None:
    """With a monotone proxy and a granularity finer than the front equation 5 has no gap."""
    problem, quality, ms = small(seed, n, budget)
    bound = math.ceil(math.log2(1 / granularity))
    decision = Bisection(bound)(problem, np.random.default_rng(0))
    assert decision.queries <= bound
    front = len(pareto(quality, ms))
    if 2 ** (bound - 1) > 2 * front:
        assert decision.met
        assert decision.quality == quality[ms[:, 0] <= problem.budgets["cost_0"]].max()


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 60), costs=st.integers(1, 3), ties=st.booleans())
def test_the_front_is_what_nothing_dominates(seed: int, n: int, costs: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    quality, values = rng.random(n), rng.random((n, costs))
    if ties:
        quality, values = quality.round(1), values.round(1)
    front = pareto(quality, values)
    for i in range(n):
        dominated = ((quality[front] >= quality[i]) & (values[front] <= values[i]).all(axis=1)).any()
        assert dominated  # by itself, where it stands there
    for i in front:
        better = (quality >= quality[i]) & (values <= values[i]).all(axis=1)
        strictly = (quality > quality[i]) | (values < values[i]).any(axis=1)
        assert not (better & strictly).any()
    assert (np.diff(values[front, 0]) >= 0).all()


@pytest.mark.parametrize("equation", ["weighted", "budget"])
def test_loose_and_impossible_budgets_are_answered(equation: str) -> None:
    problem, quality, ms = small(1, 150)
    loose = replace(problem, budgets={"cost_0": 1e9})
    found = Bisection(equation=equation)(loose, np.random.default_rng(0))
    assert found.met and found.quality == quality.max()
    impossible = replace(problem, budgets={"cost_0": 1e-9})
    found = Bisection(equation=equation)(impossible, np.random.default_rng(0))
    assert not found.met and found.costs["cost_0"] == ms.min()


def test_solved_optima_are_reused_for_other_budgets_and_delta_stops_early() -> None:
    problem, _, _ = small(2, 150)
    search = Bisection()
    search(problem, np.random.default_rng(0))
    asked = problem.proxies["cost_0"].asked, problem.quality.asked
    other = replace(problem, budgets={"cost_0": 1.2 * problem.budgets["cost_0"]})
    search(other, np.random.default_rng(0))
    assert problem.proxies["cost_0"].asked == asked[0]
    assert problem.quality.asked - asked[1] <= search.measurements  # only to tell the decision
    assert Bisection(delta=1.0)(problem, np.random.default_rng(0)).queries < search(problem, None).queries


def test_the_pool_takes_the_monotone_proxy_or_fits_one_that_joins() -> None:
    problem, _, ms = small(3, 120)
    archs, rng = problem.candidates, np.random.default_rng(0)
    noise = Table(archs, rng.random(len(archs)))
    pool = ProxyPool({"noise": noise, "alike": problem.proxies["cost_0"]})
    few = np.arange(10)
    name, _ = pool.match("target", archs[few], ms[few, 0], fit=None)
    assert name == "alike"
    alone = ProxyPool({"noise": noise})
    own = Table(archs, ms[:, 0])
    name, proxy = alone.match("target", archs[few], ms[few, 0], fit=lambda archs, costs: own)
    assert name == "target" and proxy is own and set(alone.proxies) == {"noise", "target"}


def test_confidence_in_monotonicity_grows_with_samples() -> None:
    rng = np.random.default_rng(0)
    a = rng.random(400)
    b = a + 0.2 * rng.random(400)
    few, many = monotonicity(a[:8], b[:8]), monotonicity(a, b)
    assert few.low < few.spearman and many.spearman - many.low < few.spearman - few.low
    with pytest.raises(InputError, match="four or more"):
        monotonicity(a[:3], b[:3])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"budgets": {"cost_0": -1.0}}, "positive"),
        ({"budgets": {"ms": 1.0}}, "same names"),
        ({"proxies": {"ms": None}}, "no budget"),
        ({"candidates": SPACE.all()[:0]}, "Candidates"),
    ],
)
def test_a_wrong_problem_is_refused_with_a_sentence(change: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        replace(small(0, 5)[0], **change)


def test_bisection_without_a_proxy_says_so() -> None:
    with pytest.raises(InputError, match="needs a proxy"):
        Bisection()(replace(small(0, 5)[0], proxies={}), np.random.default_rng(0))


def test_the_command_bisects_on_bundled_tables_and_draws(tmp_path) -> None:
    tables, out = "datasets/bundled/nasbench201.parquet", tmp_path / "path.png"
    common = ["--accuracy=datasets/bundled/accuracy.parquet", f"--latency={tables}", f"--proxy={tables}"]
    devices = ["--device=xeon_ort_fp32_1", "--proxy-device=xeon_ort_fp32_16", f"--out={out}"]
    done = run("-m", "search", "bisect", *common, *devices, "--budget-ms=5")
    assert done.returncode == 0, done.stderr
    assert "keeps the budget of 5 ms" in done.stdout and out.stat().st_size > 10_000
    wrong = run(
        "-m", "search", "bisect", *common, "--device=nobody", "--proxy-device=xeon_ort_fp32_16", "--budget-ms=5"
    )
    assert wrong.returncode == 2 and "There is no device 'nobody'" in wrong.stderr
