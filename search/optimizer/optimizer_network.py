"""Approach 2 of "Scaling up DNN optimization for edge inference" (Lu et al., section 5): a network that has learnt to
optimize takes a device and what is asked for, and says an architecture.

A device is a tensor [C, K]: for each of C costs the logarithms of what K reference architectures cost on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from datasets.files.checkpoint import array, module, read_checkpoint, restoring, write_checkpoint
from datasets.records import Architectures, Space
from datasets.spaces import parse_space
from search.base import Decision, Ledger, Problem, Progress, silent
from search.optimizer.decoding import decoded, usable

if TYPE_CHECKING:
    from torch import Tensor, nn

GRID = 16
"""Conditions a device of which Method 1 looks for optima, and that an answer tries."""
WEIGHTS = (0.02, 20.0)
"""Least and largest lambda: standard deviations of quality for a cost that is e times as high."""
NEAR = (1.05, 0.85)
"""Shares of the budgets that an answer asks for: networks do not keep to them exactly."""
CHUNK = 16
"""Devices whose costs of all architectures are in memory at once."""


@dataclass(frozen=True)
class Objective:
    """What is predicted of relaxed architectures [..., F], by predictors that are no longer trained.

    Attributes:
        archs: those that may be chosen; optima are looked for among them.
        quality: p [B, F] -> [B].
        costs: for each cost (p [..., F], device [..., K]) -> [...], above zero; leading dimensions are broadcast.
    """

    archs: Architectures
    quality: Callable[[Tensor], Tensor]
    costs: tuple[Callable[[Tensor, Tensor], Tensor], ...]

    def log_costs(self, p: Tensor, devices: Tensor) -> Tensor:
        """Logarithms [..., C] on devices [..., C, K]."""
        import torch

        return torch.stack([cost(p, devices[..., c, :]).log() for c, cost in enumerate(self.costs)], dim=-1)


@dataclass
class OptimizerNetwork:
    """Two dense layers from a device and a condition for each cost to the probabilities of every decision.

    Attributes:
        method: `imitate` learns optima that were found by looking at all architectures (Method 1, equation 9);
            `through` minimises the predicted objective through the frozen predictors (Method 2, equation 10): forward a
            decided architecture, backward the gradient of the relaxed one (straight-through Gumbel-softmax), since
            predictors know nothing of half-decided ones.
        asks: the condition. `weight`: lambda of equation 8, costs being logarithms and quality standardised, so that it
            means the same on every device. `budget`: most that a cost may be (equations 1 to 3); exceeding it is
            punished in proportion.
        penalty: of exceeding a budget by a factor of e, in standard deviations of quality.
        hidden: width of the layers.
        steps: of AdamW.
        batch: devices and conditions a step.
        learning_rate: the peak; it falls to zero along a cosine.
        weight_decay: mu of equations 9 and 10.
        seed: of weights, conditions and batches.
    """

    method: Literal["imitate", "through"] = "through"
    asks: Literal["budget", "weight"] = "budget"
    penalty: float = 10.0
    hidden: int = 128
    steps: int = 1500
    batch: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    seed: int = 0

    space_: Space = field(init=False, repr=False, compare=False)

    def fit(self, objective: Objective, devices: Tensor, progress: Progress = silent) -> Self:
        """Learn from devices [n, C, K], real and synthetic ones; predictors stay as they are."""
        import torch

        from predictors.descent import descend

        self.space_ = objective.archs.space
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            p = _one_hot(objective.archs)
            with torch.no_grad():
                quality = objective.quality(p)
            level, spread = quality.mean(), quality.std().clamp(min=1e-6)

            def merit(p: Tensor) -> Tensor:
                return (objective.quality(p) - level) / spread

            conditions = self._conditions(objective, p, devices)  # [n, GRID, C]
            inputs = self._inputs(devices[:, None].expand(-1, GRID, -1, -1), conditions).flatten(0, 1)
            self.mean_, std = inputs.mean(dim=0), inputs.std(dim=0)
            self.std_ = torch.where(std > 1e-6, std, 1.0)
            self.known_ = torch.stack([inputs.amin(dim=0), inputs.amax(dim=0)])[:, -conditions.shape[-1] :]
            self.network_ = self._network(inputs.shape[1])
            labels = None
            if self.method == "imitate":
                labels = p[self._optima(objective, p, merit(p).detach(), devices, conditions)]
            optimizer = torch.optim.AdamW(
                self.network_.parameters(), self.learning_rate, weight_decay=self.weight_decay
            )
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)

            def losses() -> Iterator[Tensor]:
                for step in range(self.steps):
                    rows = torch.randint(len(inputs), (self.batch,))
                    logits = self.network_((inputs[rows] - self.mean_) / self.std_)
                    if labels is not None:
                        loss = ((self._blocks(logits, torch.softmax) - labels[rows]) ** 2).sum(dim=1).mean()
                    else:
                        chosen = devices[rows // GRID], conditions.flatten(0, 1)[rows]
                        loss = self._loss(objective, merit, self._blocks(logits, _decided), *chosen)
                    yield loss
                    if step % 500 == 499:
                        progress(f"step {step + 1} of {self.steps}: loss {float(loss.detach()):.4f}")

            descend(optimizer, losses(), schedule)
        self.network_.eval()
        return self

    def _conditions(self, objective: Objective, p: Tensor, devices: Tensor) -> Tensor:
        """GRID conditions a device, at random: weights, or logarithms of budgets between what architectures cost."""
        import torch

        n, c = devices.shape[:2]
        if self.asks == "weight":
            low, high = np.log(WEIGHTS)
            return (low + (high - low) * torch.rand(n, GRID, c)).exp()
        few = p[torch.randperm(len(p))[:1000]]
        with torch.no_grad():
            logs = objective.log_costs(few[:, None], devices[None]).sort(dim=0).values  # [few, n, C]
        at = (torch.rand(GRID, n, c) * len(few)).long()
        return logs.gather(0, at).transpose(0, 1)

    def _inputs(self, devices: Tensor, conditions: Tensor) -> Tensor:
        """What the network reads [..., C K + C]: a device's speed is told by nothing but the budget."""
        import torch

        level = devices.mean(dim=-1, keepdim=True)
        asked = conditions.log() if self.asks == "weight" else conditions - level[..., 0]
        return torch.cat([(devices - level).flatten(-2), asked], dim=-1)

    def _loss(self, objective: Objective, merit: Callable, p: Tensor, devices: Tensor, conditions: Tensor) -> Tensor:
        """Mean of the objective: equation 8, or quality with budgets as penalties."""
        logs = objective.log_costs(p, devices)
        paid = conditions * logs if self.asks == "weight" else self.penalty * (logs - conditions).clamp(min=0)
        return (paid.sum(dim=-1) - merit(p)).mean()

    def _optima(self, objective: Objective, p: Tensor, merit: Tensor, devices: Tensor, conditions: Tensor) -> Tensor:
        """Positions [n GRID] of the best of all architectures by the predicted objective."""
        import torch

        found = []
        with torch.no_grad():
            for some, asked in zip(devices.split(CHUNK), conditions.split(CHUNK), strict=True):
                logs = objective.log_costs(p[None], some[:, None])  # [CHUNK, A, C]
                for own, rows in zip(logs, asked, strict=True):
                    if self.asks == "weight":
                        worth = merit - rows @ own.T
                    else:
                        worth = merit - 1e3 * (own.T - rows[..., None]).clamp(min=0).sum(dim=1)
                    found.append(worth.argmax(dim=1))
        return torch.cat(found)

    def _network(self, inputs: int) -> nn.Module:
        from torch import nn

        hidden, outputs = self.hidden, sum(self.space_.num_choices)
        layers = [nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(hidden, outputs))

    def _blocks(self, logits: Tensor, each: Callable[..., Tensor]) -> Tensor:
        """Apply something to every decision's choices."""
        import torch

        return torch.cat([each(block, dim=-1) for block in logits.split(self.space_.num_choices, dim=-1)], dim=-1)

    def relaxed(self, device: Tensor, conditions: Tensor) -> Tensor:
        """Logarithms of the probabilities [n, F] for a device [C, K] and conditions [n, C]: weights, or budgets."""
        import torch

        asked = conditions if self.asks == "weight" else conditions.log()
        with torch.inference_mode():
            x = self._inputs(device.expand(len(asked), -1, -1), asked)
            end = self.known_.shape[1]  # a looser or tighter budget than it was trained on is the loosest or tightest
            x[:, -end:] = x[:, -end:].clamp(*self.known_)
            return self._blocks(self.network_((x - self.mean_) / self.std_), torch.log_softmax)

    def propose(self, device: Tensor, conditions: Tensor, each: int = 1) -> Architectures:
        """At most the `each` likeliest architectures for each condition, of those with a path from input to output."""
        return decoded(self.space_, self.relaxed(device, conditions).double().numpy(), each)

    def save(self, path: Path) -> None:
        """Write plain data and tensors, whole or not at all."""
        settings = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        state = {"settings": settings, "space": str(self.space_), "mean": self.mean_, "std": self.std_}
        write_checkpoint({**state, "known": self.known_, "network": self.network_.state_dict()}, path)

    @staticmethod
    def load(path: Path) -> OptimizerNetwork:
        """Read what `save` wrote; nothing in the file is executed.

        Raises:
            InputError: no such file, a truncated, damaged, foreign or edited one.
        """
        import torch

        saved = read_checkpoint(path, "an optimizer network")
        with restoring(f"What was learnt in {path} does not fit its settings; was it edited?"):
            new = OptimizerNetwork(**saved["settings"])
            new.space_ = parse_space(saved["space"])
            mean, std = array(saved["mean"], None), array(saved["std"], len(saved["mean"]))
            known = array(saved["known"], 2, None)
            if new.asks not in ("budget", "weight") or not 0 < known.shape[1] <= len(mean) or not (std > 0).all():
                raise ValueError("what it asks for does not fit")
            new.mean_, new.std_, new.known_ = (torch.from_numpy(part) for part in (mean, std, known))
            new.network_ = module(lambda: new._network(len(mean)), saved["network"])
            costs = known.shape[1]
            device = torch.zeros(costs, len(mean) // costs - 1)
            if not bool(torch.isfinite(new.relaxed(device, torch.ones(1, costs))).all()):
                raise ValueError("probabilities are not finite")
        return new


def _one_hot(archs: Architectures) -> Tensor:
    import torch
    from torch.nn.functional import one_hot

    chosen = torch.from_numpy(archs.decisions.astype(np.int64))
    return torch.cat([one_hot(chosen[:, i], n) for i, n in enumerate(archs.space.num_choices)], dim=1).float()


def _decided(logits: Tensor, dim: int) -> Tensor:
    from torch.nn.functional import gumbel_softmax

    return gumbel_softmax(logits, hard=True, dim=dim)


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
    """The best that an ensemble proposes, by predictions: of what keeps the budgets the best quality.

    Args:
        networks: those that ask for a weight are asked a grid of them, the others the budgets and some a little off.
        device: [C, K].
        problem: its costs are predictions, and nothing is measured.
        grid: conditions a network is asked; 1: the budgets themselves.
        each: architectures that are decoded for a condition.
        rounds: of a local search.
        width: how many of the best have all their neighbours looked at in a round.
        progress: is told what is asked of predictions.
    """
    import torch

    proposed = []
    budgets = torch.tensor([list(problem.budgets[name] for name in problem.costs)])
    for network in networks:
        if network.asks == "weight":
            asked = torch.from_numpy(np.geomspace(*WEIGHTS, max(grid, 2))).float()[:, None].expand(-1, budgets.shape[1])
        else:
            asked = budgets * torch.from_numpy(np.geomspace(*NEAR, grid) if grid > 1 else np.ones(1)).float()[:, None]
        proposed.append(network.propose(device, asked, each).decisions)
    ledger = Ledger(problem, 10**9, progress)
    ledger.measure(_unique(problem.space, np.concatenate(proposed)))
    for _ in range(rounds):
        before = len(ledger.costs)
        near = [problem.space.neighbours(one).decisions for one in _best(ledger, width)]
        found = _unique(problem.space, np.concatenate(near))
        ledger.measure(found[np.flatnonzero(usable(found.space, found.decisions))])
        if len(ledger.costs) == before:
            break
    return ledger.decide()


def _best(ledger: Ledger, width: int) -> list[Architectures]:
    """The best of what a ledger knows, each alone."""
    problem = ledger.problem
    archs = Architectures(problem.space, np.array(list(ledger.costs)))
    excess = problem.excess(np.array(list(ledger.costs.values())))
    return [archs[[i]] for i in np.lexsort((-np.asarray(problem.quality(archs)), excess))[:width]]


def _unique(space: Space, decisions: np.ndarray) -> Architectures:
    return Architectures(space, np.unique(decisions, axis=0))
