"""HELP's network and how it learns to learn devices (Lee et al., NeurIPS 2021; Meta-SGD: Li et al., 2017).

Every parameter and every array of a task has the tasks (devices) first: T tasks, B architectures, N nodes, K
references. So one pass trains, adapts or answers for all of them.
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
"""How much a modulator changes a weight or a bias."""
MODULATED = 3
"""Layers, the last ones, that have modulators."""

Parameters = dict[str, Tensor]


class TaskLinear(nn.Module):
    """x W + b with weights of its own for every task: [T or 1, rows, inputs] to [T, rows, outputs]."""

    def __init__(self, tasks: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(tasks, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(tasks, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


class TaskNet(nn.Module):
    """An architecture's features and a device's reference latencies, joined by a dense head."""

    hardware: Tensor

    def __init__(self, tasks: int, features: int, hidden: int, layers: int, references: int) -> None:
        super().__init__()
        self.trunk = _stack(tasks, [features] + [hidden] * layers)
        self.device = _stack(tasks, [references, hidden, hidden])
        self.head = _stack(tasks, [2 * hidden, 2 * hidden, 2 * hidden, 1])
        self.register_buffer("hardware", torch.zeros(tasks, references))

    def join(self, x: Tensor) -> Tensor:
        """Predictions [B, T] from what the trunk makes of architectures [T, B, hidden]."""
        hardware = self.hardware[:, None]
        for step in self.device:
            hardware = torch.relu(step(hardware))
        x = torch.cat([x, hardware.expand(-1, x.shape[1], -1)], dim=-1)
        *inner, last = self.head
        for step in inner:
            x = torch.relu(step(x))
        return last(x).squeeze(-1).T


class GraphTaskNet(TaskNet):
    """Graph convolutions (A + I) x W + b, the adjacency not normalised; node 0, the global one, is read out."""

    def forward(self, nodes: Tensor, adjacency: Tensor, mask: Tensor) -> Tensor:
        """Arrays as a graph encoder gives them [B, ...], or those of each task [T, B, ...]."""
        x, hears = nodes, adjacency + torch.eye(adjacency.shape[-1])
        if nodes.dim() == 3:
            x, hears, mask = x[None], hears[None], mask[None]
        for i, step in enumerate(self.trunk, 1):
            read = slice(1 if i == len(self.trunk) else None)
            x = hears[:, :, read] @ x
            y = torch.relu(step(x.flatten(1, 2)))
            x = y.unflatten(1, x.shape[1:3]) * mask[:, :, read, None]
        return self.join(x[:, :, 0])


class VectorTaskNet(TaskNet):
    """Dense layers on vectors [B, features], or on those of each task [T, B, features]."""

    def forward(self, x: Tensor) -> Tensor:
        x = x[None] if x.dim() == 2 else x
        for step in self.trunk:
            x = torch.relu(step(x))
        return self.join(x)


def _stack(tasks: int, widths: Sequence[int]) -> nn.ModuleList:
    return nn.ModuleList(TaskLinear(tasks, a, b) for a, b in pairwise(widths))


class Learner(nn.Module):
    """Where a new device starts, and how large each weight's steps are; both are learnt.

    A small net reads the reference latencies and gives a Gaussian over modulators: for each of the last layers one
    that scales its weights and one that moves its biases.
    """

    def __init__(self, net: TaskNet, rate: float) -> None:
        super().__init__()
        self.net = net  # of one task
        self.names = [name for name, _ in net.named_parameters()]
        self.rates = nn.ParameterList(torch.full_like(p, rate) for p in net.parameters())
        told: Any = net
        references, hidden = told.hardware.shape[1], told.device[0].weight.shape[-1]
        widths = [nn.Linear(references, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()]
        self.infer = nn.Sequential(*widths, nn.Linear(hidden, 4 * MODULATED))

    def adapted(self, x: Parameters, z: Tensor, hardware: Tensor, steps: int) -> tuple[Parameters, Tensor]:
        """Each task's parameters after steps on its own measurements.

        Args:
            x: inputs, shared [B, ...] or of each task [T, B, ...].
            z: scaled labels [B, T], NaN where unknown.
            hardware: [T, K].
            steps: of gradient descent.

        Returns:
            Parameters [T, ...], and the Kullback-Leibler divergence of the modulators from a standard normal, a task.
        """
        mean, spread = self.infer(hardware).chunk(2, dim=-1)
        kl = (spread.exp() + mean**2 - 1 - spread).sum(dim=-1).mean() / 2
        m = mean + torch.randn_like(mean) * (spread / 2).exp() if self.training else mean
        tasks = len(hardware)
        now = {name: p.expand(tasks, *p.shape[1:]) for name, p in self.net.named_parameters()}
        first = len(self.net.head) - MODULATED
        for i in range(MODULATED):
            weight, bias = (f"head.{first + i}.{kind}" for kind in ("weight", "bias"))
            now[weight] = now[weight] * (1 + STRENGTH * m[:, i, None, None])
            now[bias] = now[bias] + STRENGTH * m[:, MODULATED + i, None, None]
        for _ in range(steps):
            loss = task_losses(self.predict(now, x, hardware), z).sum()
            slopes = torch.autograd.grad(loss, list(now.values()), create_graph=self.training)
            moved = zip(now.items(), self.rates, slopes, strict=True)
            now = {name: p - rate * slope for (name, p), rate, slope in moved}
        return now, kl

    def predict(self, parameters: Parameters, x: Parameters, hardware: Tensor) -> Tensor:
        """Predictions [B, T] with the parameters of T tasks."""
        return torch.func.functional_call(self.net, parameters | {"hardware": hardware}, (), x)


def task_losses(predicted: Tensor, z: Tensor) -> Tensor:
    """Mean squared error [T] of [B, T]; NaN labels do not count."""
    known = ~torch.isnan(z)
    errors = torch.where(known, predicted - z, 0.0) ** 2
    return errors.sum(dim=0) / known.sum(dim=0)


def tensors(x: Mapping[str, np.ndarray]) -> Parameters:
    """Inputs as tensors."""
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in x.items()}


@dataclass(frozen=True)
class Episodes:
    """How it is learnt; the fields are those of `HelpMeta`."""

    episodes: int
    tasks: int
    support: int
    query: int
    steps: int
    learning_rate: float
    divergence: float
    seed: int

    def __call__(self, learner: Learner, x: Inputs, z: np.ndarray, hardware: np.ndarray, log: Log) -> None:
        """An episode draws devices and architectures of each, adapts on the first few, and is judged by the others."""
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
                few, many = ({k: v[part] for k, v in inputs.items()} for part in (rows[:, :support], rows[:, support:]))
                chosen = references[devices]
                now, kl = learner.adapted(few, y[:support], chosen, self.steps)
                loss = task_losses(learner.predict(now, many, chosen), y[support:]).mean()
                yield loss + self.divergence * kl
                total += float(loss.detach())
                if episode % max(1, self.episodes // 20) == 0:
                    mean = total / max(1, self.episodes // 20)
                    log(f"episode {episode} of {self.episodes}: loss {mean:.4f}", episode=episode, loss=mean)
                    total = 0.0

        learner.train()
        descend(optimizer, losses(), schedule)
        learner.eval()
