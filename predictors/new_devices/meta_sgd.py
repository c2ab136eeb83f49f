"""HELP's network and its meta-learning (Lee et al., "Hardware-adaptive Efficient Latency Prediction for NAS via
Meta-Learning", NeurIPS 2021; Li et al., "Meta-SGD: Learning to Learn Quickly for Few-Shot Learning", 2017).

Tasks are devices and the first dimension of every parameter and array of tasks, so one pass computes all of them.
Shapes: T tasks, B architectures, N nodes, K references.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from predictors.base import Log
from predictors.descent import descend, one_cycle
from predictors.regressor import Inputs

STRENGTH = 0.01
"""Factor of modulators, which change weights and biases."""
MODULATED = 3
"""Number of layers, from the last, that have modulators."""

Parameters = dict[str, Tensor]


class TaskLinear(nn.Module):
    """Linear layer with separate weights per task: [T or 1, rows, inputs] to [T, rows, outputs]."""

    def __init__(self, tasks: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(tasks, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(tasks, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


class TaskNet(nn.Module):
    """Branches for an architecture and for a device's reference latencies, joined by a dense head."""

    hardware: Tensor

    def __init__(self, tasks: int, features: int, hidden: int, layers: int, references: int) -> None:
        super().__init__()
        self.trunk = _stack(tasks, [features] + [hidden] * layers)
        self.device = _stack(tasks, [references, hidden, hidden])
        self.head = _stack(tasks, [2 * hidden, 2 * hidden, 2 * hidden, 1])
        self.register_buffer("hardware", torch.zeros(tasks, references))

    def join(self, x: Tensor) -> Tensor:
        """Predictions [B, T] from outputs of the architecture's branch [T, B, hidden]."""
        hardware = self.hardware[:, None]
        for step in self.device:
            hardware = torch.relu(step(hardware))
        x = torch.cat([x, hardware.expand(-1, x.shape[1], -1)], dim=-1)
        *inner, last = self.head
        for step in inner:
            x = torch.relu(step(x))
        return last(x).squeeze(-1).T


class GraphTaskNet(TaskNet):
    """Graph convolutions (A + I) x W + b with the adjacency A not normalised; reads out node 0, the global node."""

    def forward(self, nodes: Tensor, adjacency: Tensor, mask: Tensor) -> Tensor:
        """Predictions [B, T] from arrays of a graph encoder, shared [B, ...] or per task [T, B, ...]."""
        x, reach = nodes, adjacency + torch.eye(adjacency.shape[-1])
        if nodes.dim() == 3:
            x, reach, mask = x[None], reach[None], mask[None]
        for i, step in enumerate(self.trunk, 1):
            read = slice(1 if i == len(self.trunk) else None)
            x = reach[:, :, read] @ x
            y = torch.relu(step(x.flatten(1, 2)))
            x = y.unflatten(1, x.shape[1:3]) * mask[:, :, read, None]
        return self.join(x[:, :, 0])


class VectorTaskNet(TaskNet):
    """Dense layers on vectors, shared [B, features] or per task [T, B, features]."""

    def forward(self, x: Tensor) -> Tensor:
        x = x[None] if x.dim() == 2 else x
        for step in self.trunk:
            x = torch.relu(step(x))
        return self.join(x)


def _stack(tasks: int, widths: Sequence[int]) -> nn.ModuleList:
    return nn.ModuleList(TaskLinear(tasks, a, b) for a, b in pairwise(widths))


class Learner(nn.Module):
    """Learns the initial weights of new devices and a step size per weight.

    A small net maps reference latencies to a Gaussian over modulators: for each of the last layers, one that scales
    its weights and one that shifts its biases.
    """

    def __init__(self, net: TaskNet, rate: float) -> None:
        super().__init__()
        self.net = net  # of one task
        self.names = [name for name, _ in net.named_parameters()]
        self.rates = nn.ParameterList(torch.full_like(p, rate) for p in net.parameters())
        untyped: Any = net
        references, hidden = untyped.hardware.shape[1], untyped.device[0].weight.shape[-1]
        widths = [nn.Linear(references, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()]
        self.infer = nn.Sequential(*widths, nn.Linear(hidden, 4 * MODULATED))

    def adapted(self, x: Parameters, z: Tensor, hardware: Tensor, steps: int) -> tuple[Parameters, Tensor]:
        """Parameters of each task after gradient steps on its measurements.

        Args:
            x: inputs, shared [B, ...] or per task [T, B, ...].
            z: scaled labels [B, T], NaN where unknown.
            hardware: scaled reference latencies [T, K].
            steps: of gradient descent.

        Returns:
            Parameters [T, ...], and the mean Kullback-Leibler divergence of the modulators from a standard normal.
        """
        mean, spread = self.infer(hardware).chunk(2, dim=-1)
        kl = (spread.exp() + mean**2 - 1 - spread).sum(dim=-1).mean() / 2
        m = mean + torch.randn_like(mean) * (spread / 2).exp() if self.training else mean
        tasks = len(hardware)
        weights = {name: p.expand(tasks, *p.shape[1:]) for name, p in self.net.named_parameters()}
        first = len(self.net.head) - MODULATED
        for i in range(MODULATED):
            weight, bias = (f"head.{first + i}.{kind}" for kind in ("weight", "bias"))
            weights[weight] = weights[weight] * (1 + STRENGTH * m[:, i, None, None])
            weights[bias] = weights[bias] + STRENGTH * m[:, MODULATED + i, None, None]
        for _ in range(steps):
            loss = task_losses(self.predict(weights, x, hardware), z).sum()
            slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=self.training)
            updates = zip(weights.items(), self.rates, slopes, strict=True)
            weights = {name: p - rate * slope for (name, p), rate, slope in updates}
        return weights, kl

    def predict(self, parameters: Parameters, x: Parameters, hardware: Tensor) -> Tensor:
        """Predictions [B, T] with given parameters [T, ...]."""
        return torch.func.functional_call(self.net, parameters | {"hardware": hardware}, (), x)


def task_losses(predicted: Tensor, z: Tensor) -> Tensor:
    """Mean squared errors [T] of predictions and scaled labels [B, T]; NaN labels are ignored."""
    known = ~torch.isnan(z)
    errors = torch.where(known, predicted - z, 0.0) ** 2
    return errors.sum(dim=0) / known.sum(dim=0)


def tensors(x: Mapping[str, np.ndarray]) -> Parameters:
    """Inputs as tensors."""
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in x.items()}


@dataclass(frozen=True)
class Episodes:
    """Meta-training of a `Learner`; the fields are those of `HelpMeta`."""

    episodes: int
    tasks: int
    support: int
    query: int
    steps: int
    learning_rate: float
    divergence: float
    seed: int

    def __call__(self, learner: Learner, x: Inputs, z: np.ndarray, hardware: np.ndarray, log: Log) -> None:
        """Train on episodes: each draws devices and architectures, adapts on the support set, and minimises the loss on
        the query set."""
        rng = np.random.default_rng(self.seed)
        inputs, labels, references = tensors(x), torch.from_numpy(z.T.astype(np.float32)), torch.from_numpy(hardware)
        known = [np.flatnonzero(~np.isnan(column)) for column in z.T]
        least = min(len(rows) for rows in known)
        support = min(self.support, least // 2)
        size = min(support + self.query, least)
        optimizer = torch.optim.Adam(learner.parameters(), self.learning_rate)
        schedule = one_cycle(optimizer, self.learning_rate, self.episodes)

        def losses() -> Iterator[torch.Tensor]:
            total = 0.0
            for episode in range(1, self.episodes + 1):
                devices = rng.choice(len(known), min(self.tasks, len(known)), replace=False)
                rows = torch.from_numpy(np.stack([rng.choice(known[d], size, replace=False) for d in devices]))
                y = labels[torch.from_numpy(devices)[:, None], rows].T
                support_x, query_x = (
                    {k: v[part] for k, v in inputs.items()} for part in (rows[:, :support], rows[:, support:])
                )
                chosen = references[devices]
                weights, kl = learner.adapted(support_x, y[:support], chosen, self.steps)
                loss = task_losses(learner.predict(weights, query_x, chosen), y[support:]).mean()
                yield loss + self.divergence * kl
                total += float(loss.detach())
                if episode % max(1, self.episodes // 20) == 0:
                    mean = total / max(1, self.episodes // 20)
                    log(f"episode {episode} of {self.episodes}: loss {mean:.4f}", episode=episode, loss=mean)
                    total = 0.0

        learner.train()
        descend(optimizer, losses(), schedule)
        learner.eval()
