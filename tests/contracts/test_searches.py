"""Contract of `Search`, on every search that is there, over random small problems whose optima are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.base import Search
from tests.conftest import implementations
from tests.doubles.problems import random_problem

SEARCHES = [one for cls in implementations("search", Search) for one in cls.examples()]
every_search = pytest.mark.parametrize("search", SEARCHES, ids=repr)


@every_search
@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1), n=st.integers(2, 60), budget=st.sampled_from([0, 0.3, 0.9]), costs=st.integers(1, 2)
)
def test_keeps_budgets_and_counts_what_it_asked(search: Search, seed: int, n: int, budget: float, costs: int) -> None:
    problem, quality, ms = random_problem(seed, n, budget, costs)
    decision = search(problem, np.random.default_rng(seed))
    for cost in problem.costs.values():
        assert decision.queries == cost.queries == len(decision.measured_costs)
    assert decision.queries <= (search.measurements or n)
    assert len(np.unique(decision.measured.decisions, axis=0)) == decision.queries  # nothing is measured twice
    kept = [decision.costs[name] <= problem.budgets[name] for name in problem.costs]
    assert decision.met == all(kept)
    feasible = (ms <= np.array(list(problem.budgets.values()))).all(axis=1)
    if decision.met:
        assert decision.quality <= quality[feasible].max()
    again = search(problem, np.random.default_rng(seed))
    assert again.arch == decision.arch and again.measured == decision.measured
