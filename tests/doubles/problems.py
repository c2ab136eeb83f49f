"""Problems of searches whose optima are known."""

import numpy as np

from datasets.records import Architectures
from datasets.spaces.nasbench201 import NasBench201
from search.base import Problem

SPACE = NasBench201()


class CountedColumn:
    """A column over candidates that counts how many values were requested of it."""

    def __init__(self, archs: Architectures, values: np.ndarray) -> None:
        self.values = dict(zip(map(bytes, archs.decisions), values, strict=True))
        self.queries = 0

    def __call__(self, archs: Architectures) -> np.ndarray:
        self.queries += len(archs)
        return np.array([self.values[bytes(row)] for row in archs.decisions])


def random_problem(seed: int, n: int, budget: float = 0.5, costs: int = 1) -> tuple[Problem, np.ndarray, np.ndarray]:
    """A problem of `n` candidates with random numbers, a monotone proxy of each cost, budgets at a quantile."""
    rng = np.random.default_rng(seed)
    drawn = SPACE.sample(4 * n, rng)
    archs = drawn[np.unique(drawn.decisions, axis=0, return_index=True)[1][:n]]
    ms, quality = rng.lognormal(0, 0.7, (len(archs), costs)), rng.uniform(10, 90, len(archs))
    names = [f"cost_{c}" for c in range(costs)]
    true = {name: CountedColumn(archs, ms[:, c]) for c, name in enumerate(names)}
    proxies = {name: CountedColumn(archs, 3 * ms[:, c] ** 1.3) for c, name in enumerate(names)}
    budgets = {name: float(np.quantile(ms[:, c], budget)) for c, name in enumerate(names)}
    return Problem(SPACE, CountedColumn(archs, quality), true, budgets, proxies, archs), quality, ms
