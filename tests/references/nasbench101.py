"""NAS-Bench-101's network written a second time, from its matrix, so that tests need not trust our own graph."""

import torch
from torch import nn


def conv_bn_relu(a: int, b: int, kernel: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(a, b, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(b), nn.ReLU())


def vertex_widths(matrix: list[list[int]], channels: int) -> list[int]:
    """Channels of all vertices but the input."""
    last = len(matrix) - 1
    feeding = [v for v in range(1, last) if matrix[v][last]]
    widths = [0] * last + [channels]
    for v in range(last - 1, 0, -1):
        if v in feeding:
            widths[v] = channels // len(feeding) + (feeding.index(v) < channels % len(feeding))
        else:
            widths[v] = max(widths[w] for w in range(v + 1, last) if matrix[v][w])
    return widths


class Cell(nn.Module):
    def __init__(self, matrix: list[list[int]], ops: list[str], a: int, b: int) -> None:
        super().__init__()
        self.matrix, self.last = matrix, len(matrix) - 1
        self.widths = vertex_widths(matrix, b)
        self.layers = nn.ModuleDict()
        for v in range(1, self.last + 1):  # in the order in which they run
            width = self.widths[v]
            if matrix[0][v]:
                self.layers[f"project {v}"] = conv_bn_relu(a, width, 1)
            if v < self.last:
                op = ops[v - 1]
                self.layers[f"op {v}"] = (
                    nn.MaxPool2d(3, 1, 1) if op == "maxpool3x3" else conv_bn_relu(width, width, int(op[4]))
                )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = [x]
        for v in range(1, self.last):
            terms = [values[u][:, : self.widths[v]] for u in range(1, v) if self.matrix[u][v]]
            if self.matrix[0][v]:
                terms.append(self.layers[f"project {v}"](x))
            values.append(self.layers[f"op {v}"](torch.stack(terms).sum(0)))
        joined = [values[v] for v in range(1, self.last) if self.matrix[v][self.last]]
        y = torch.cat(joined, 1) if joined else 0
        return y + self.layers[f"project {self.last}"](x) if self.matrix[0][self.last] else y


class Network(nn.Module):
    def __init__(self, matrix: list[list[int]], ops: list[str], c: int, stacks: int, cells: int, classes: int) -> None:
        super().__init__()
        layers = [conv_bn_relu(3, c, 3)]
        for stack in range(stacks):
            if stack:
                layers.append(nn.MaxPool2d(2, 2, ceil_mode=True))
            for i in range(cells):
                a = c // 2 if stack and i == 0 else c
                layers.append(Cell(matrix, ops, a, c))
            c *= 2
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c // 2, classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)
