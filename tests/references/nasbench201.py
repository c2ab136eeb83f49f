"""NAS-Bench-201's network written a second time, as a plain module, so that tests need not trust our own graph."""

import torch
from torch import nn

from datasets.records import Architectures
from datasets.spaces.nasbench201 import EDGES, OPS


def relu_conv_bn(a: int, b: int, kernel: int, stride: int = 1) -> nn.Module:
    conv = nn.Conv2d(a, b, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(b))


class Zero(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 0.0


class Cell(nn.Module):
    def __init__(self, c: int, ops: list[int]) -> None:
        super().__init__()
        make = {
            "none": Zero,
            "skip_connect": nn.Identity,
            "nor_conv_1x1": lambda: relu_conv_bn(c, c, 1),
            "nor_conv_3x3": lambda: relu_conv_bn(c, c, 3),
            "avg_pool_3x3": lambda: nn.AvgPool2d(3, 1, 1, count_include_pad=False),
        }
        self.edges = nn.ModuleList(make[OPS[op]]() for op in ops)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        nodes = [x]
        for target in (1, 2, 3):
            nodes.append(sum(op(nodes[s]) for (s, t), op in zip(EDGES, self.edges, strict=True) if t == target))
        return nodes[-1]


class Residual(nn.Module):
    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.main = nn.Sequential(relu_conv_bn(a, b, 3, 2), relu_conv_bn(b, b, 3))
        self.short = nn.Sequential(nn.AvgPool2d(2, 2), nn.Conv2d(a, b, 1, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.main(x) + self.short(x)


class Network(nn.Module):
    def __init__(self, ops: list[int], c: int = 16, n: int = 5, classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, c, 3, 1, 1, bias=False), nn.BatchNorm2d(c)]
        for stage in range(3):
            if stage:
                layers.append(Residual(c, 2 * c))
                c *= 2
            layers += [Cell(c, ops) for _ in range(n)]
        tail = [nn.BatchNorm2d(c), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, classes)]
        self.layers = nn.Sequential(*layers, *tail)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def unique_strings(archs: Architectures) -> list[str]:
    """The benchmark's own text of a cell's function (6,466 classes): a term is `#` where its op is `none` or its
    source is exactly `#`, so sums that hold a zero beside other terms, or two zeros, keep it."""
    return [_unique_string([OPS[op] for op in row]) for row in archs.decisions.tolist()]


def _unique_string(ops: list[str]) -> str:
    nodes = ["0"]
    for target in (1, 2, 3):
        terms = []
        for (source, end), op in zip(EDGES, ops, strict=True):
            if end == target:
                zero = op == "none" or nodes[source] == "#"
                terms.append("#" if zero else nodes[source] if op == "skip_connect" else f"({nodes[source]})@{op}")
        nodes.append("+".join(sorted(terms)))
    return nodes[3]
