"""Approach 2 of "Scaling up Deep Neural Network Optimization for Edge Inference" (Lu et al., 2020, section 5): a
network that is trained to optimize maps a device and a condition (budgets or weights) to an architecture.

A device is a tensor [C, K]: for each of C costs the logarithms of K reference architectures' costs on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from datasets.files.checkpoint import array, module, read_checkpoint, restoring, write_checkpoint
from datasets.records import Architectures, Space
from datasets.spaces import parse_space
from search.base import Progress, silent
from search.optimizer.decoding import decoded

if TYPE_CHECKING:
    from torch import Tensor, nn

GRID = 16
"""Number of conditions per device for which Method 1 searches optima, and that are used for a new device."""
WEIGHTS = (0.02, 20.0)
"""Range of lambda: standard deviations of quality that outweigh a cost higher by a factor of e."""
CHUNK = 16
"""Number of devices whose costs of all architectures are in memory at once."""


@dataclass(frozen=True)
class RelaxedObjective:
    """Predicted quality and costs of relaxed architectures [..., F], by predictors with frozen weights.

    Attributes:
        archs: architectures among which optima are searched.
        quality: p [B, F] -> [B].
        costs: for each cost (p [..., F], device [..., K]) -> [...], above zero; leading dimensions are broadcast.
    """

    archs: Architectures
    quality: Callable[[Tensor], Tensor]
    costs: tuple[Callable[[Tensor, Tensor], Tensor], ...]

    def log_costs(self, p: Tensor, devices: Tensor) -> Tensor:
        """Log costs [..., C] of relaxed architectures [..., F] on devices [..., C, K]."""
        import torch

        return torch.stack([cost(p, devices[..., c, :]).log() for c, cost in enumerate(self.costs)], dim=-1)


@dataclass
class OptimizerNetwork:
    """Two dense layers from a device and a condition for each cost to the probabilities of every decision.

    Attributes:
        method: `imitate` learns the optima of an exhaustive search (Method 1, equation 9); `through` minimises the
            predicted objective through the frozen predictors (Method 2, equation 10): forward a discrete architecture,
            backward the gradient of the relaxed one (straight-through Gumbel-softmax), since predictors were not
            trained on relaxed ones.
        asks: the condition. `weight`: lambda of equation 8, with log costs and standardised quality, so that its scale
            is equal on all devices. `budget`: largest cost (equations 1 to 3); an excess has a proportional penalty.
        penalty: penalty of exceeding a budget by a factor of e, in standard deviations of quality.
        hidden: width of the layers.
        steps: training steps of AdamW.
        batch: pairs of a device and a condition per step.
        learning_rate: peak of the rate, which falls to zero along a cosine.
        weight_decay: mu of equations 9 and 10.
        seed: seed of weights, conditions and batches.
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

    def fit(self, objective: RelaxedObjective, devices: Tensor, progress: Progress = silent) -> Self:
        """Train on real and synthetic devices [n, C, K]; the predictors are not changed."""
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

    def _conditions(self, objective: RelaxedObjective, p: Tensor, devices: Tensor) -> Tensor:
        """Random conditions [n, GRID, C]: weights, or log budgets within the range of the architectures' costs."""
        import torch

        n, c = devices.shape[:2]
        if self.asks == "weight":
            low, high = np.log(WEIGHTS)
            return (low + (high - low) * torch.rand(n, GRID, c)).exp()
        samples = p[torch.randperm(len(p))[:1000]]
        with torch.no_grad():
            logs = objective.log_costs(samples[:, None], devices[None]).sort(dim=0).values  # [samples, n, C]
        at = (torch.rand(GRID, n, c) * len(samples)).long()
        return logs.gather(0, at).transpose(0, 1)

    def _inputs(self, devices: Tensor, conditions: Tensor) -> Tensor:
        """Inputs of the network [..., C K + C]; the mean level of a device's costs appears in the budget alone."""
        import torch

        level = devices.mean(dim=-1, keepdim=True)
        relative = conditions.log() if self.asks == "weight" else conditions - level[..., 0]
        return torch.cat([(devices - level).flatten(-2), relative], dim=-1)

    def _loss(
        self, objective: RelaxedObjective, merit: Callable, p: Tensor, devices: Tensor, conditions: Tensor
    ) -> Tensor:
        """Mean objective: equation 8, or quality with a penalty for exceeded budgets."""
        logs = objective.log_costs(p, devices)
        penalties = conditions * logs if self.asks == "weight" else self.penalty * (logs - conditions).clamp(min=0)
        return (penalties.sum(dim=-1) - merit(p)).mean()

    def _optima(
        self, objective: RelaxedObjective, p: Tensor, merit: Tensor, devices: Tensor, conditions: Tensor
    ) -> Tensor:
        """Positions [n GRID] of the best architectures by the predicted objective."""
        import torch

        found = []
        with torch.no_grad():
            for chunk, chunk_conditions in zip(devices.split(CHUNK), conditions.split(CHUNK), strict=True):
                logs = objective.log_costs(p[None], chunk[:, None])  # [CHUNK, A, C]
                for own, rows in zip(logs, chunk_conditions, strict=True):
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
        """Apply a function to the choices of each decision."""
        import torch

        return torch.cat([each(block, dim=-1) for block in logits.split(self.space_.num_choices, dim=-1)], dim=-1)

    def relaxed(self, device: Tensor, conditions: Tensor) -> Tensor:
        """Log probabilities [n, F] for a device [C, K] and conditions [n, C]: weights, or budgets."""
        import torch

        logs = conditions if self.asks == "weight" else conditions.log()
        with torch.inference_mode():
            x = self._inputs(device.expand(len(logs), -1, -1), logs)
            end = self.known_.shape[1]  # budgets outside of the training range count as its ends
            x[:, -end:] = x[:, -end:].clamp(*self.known_)
            return self._blocks(self.network_((x - self.mean_) / self.std_), torch.log_softmax)

    def propose(self, device: Tensor, conditions: Tensor, each: int = 1) -> Architectures:
        """At most the `each` likeliest architectures per condition [n, C], of those with a path from input to
        output."""
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
