"""The network of `DeviceNet`, in torch."""

from __future__ import annotations

import math

from torch import Tensor, nn


class Bilinear(nn.Module):
    """mean(d) + phi(x) . psi(d - mean(d)) [...] for x [..., F] and d [..., K]; leading dimensions are broadcast."""

    def __init__(self, features: int, references: int, hidden: int, rank: int) -> None:
        super().__init__()

        def net(inputs: int) -> nn.Module:
            layers = [nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()]
            return nn.Sequential(*layers, nn.Linear(hidden, rank))

        self.phi, self.psi = net(features), net(references)
        self.line, self.device_line = nn.Linear(features, rank, bias=False), nn.Linear(references, rank)

    def forward(self, x: Tensor, d: Tensor) -> Tensor:
        level = d.mean(dim=-1, keepdim=True)
        shape = 2 * (d - level)
        of_x, of_d = self.phi(x) + self.line(x), self.psi(shape) + self.device_line(shape)
        return (of_x * of_d).sum(dim=-1) / math.sqrt(of_d.shape[-1]) + level[..., 0]
