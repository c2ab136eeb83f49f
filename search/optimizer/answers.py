"""The best architecture for a device that an ensemble of optimizer networks proposes, by predicted costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from datasets.records import Architectures, Space
from search.base import Decision, Ledger, Problem, Progress, silent
from search.optimizer.decoding import usable
from search.optimizer.optimizer_network import GRID, WEIGHTS, OptimizerNetwork

if TYPE_CHECKING:
    from torch import Tensor

NEAR = (1.05, 0.85)
"""Range of factors of the budgets that are given to the networks, which do not keep budgets exactly."""


def answer(
    networks: Sequence[OptimizerNetwork],
    device: Tensor,
    problem: Problem,
    grid: int = GRID,
    each: int = 8,
    rounds: int = 0,
    width: int = 3,
    progress: Progress = silent,
) -> Decision:
    """The best architecture that an ensemble proposes, by predicted costs: the best quality within the budgets.

    Args:
        networks: networks conditioned on a weight receive a grid of weights, the others the budgets and similar ones.
        device: log costs on the reference architectures [C, K].
        problem: its costs are predictions; nothing is measured.
        grid: number of conditions per network; 1: the budgets themselves.
        each: number of architectures decoded per condition.
        rounds: rounds of local search.
        width: number of best architectures whose neighbours are evaluated in a round.
        progress: receives a line per evaluation.
    """
    import torch

    proposed = []
    budgets = torch.tensor([list(problem.budgets[name] for name in problem.costs)])
    for network in networks:
        if network.asks == "weight":
            conditions = (
                torch.from_numpy(np.geomspace(*WEIGHTS, max(grid, 2))).float()[:, None].expand(-1, budgets.shape[1])
            )
        else:
            conditions = (
                budgets * torch.from_numpy(np.geomspace(*NEAR, grid) if grid > 1 else np.ones(1)).float()[:, None]
            )
        proposed.append(network.propose(device, conditions, each).decisions)
    ledger = Ledger(problem, 10**9, progress)
    ledger.measure(_unique(problem.space, np.concatenate(proposed)))
    for _ in range(rounds):
        before = len(ledger.costs)
        near = [problem.space.neighbours(best).decisions for best in _best(ledger, width)]
        found = _unique(problem.space, np.concatenate(near))
        ledger.measure(found[np.flatnonzero(usable(found.space, found.decisions))])
        if len(ledger.costs) == before:
            break
    return ledger.decide()


def _best(ledger: Ledger, width: int) -> list[Architectures]:
    """The `width` best evaluated architectures, one batch each."""
    problem = ledger.problem
    archs = Architectures(problem.space, np.array(list(ledger.costs)))
    excess = problem.excess(np.array(list(ledger.costs.values())))
    return [archs[[i]] for i in np.lexsort((-np.asarray(problem.quality(archs)), excess))[:width]]


def _unique(space: Space, decisions: np.ndarray) -> Architectures:
    return Architectures(space, np.unique(decisions, axis=0))
