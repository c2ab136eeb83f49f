"""FBNet's network written a second time, as a plain module, so that tests need not trust our own graph."""

import torch
from torch import nn

from datasets.spaces.fbnet import OPS, FBNet

WIDTHS = [16] + [24] * 4 + [32] * 4 + [64] * 4 + [112] * 4 + [184] * 4 + [352]
DOWN = {32: (1, 5, 9, 17), 8: (5, 9, 17)}
"""Places with stride 2, by how much the whole network shrinks its image."""


def conv_bn(a: int, b: int, kernel: int = 1, stride: int = 1, groups: int = 1, relu: bool = True) -> nn.Sequential:
    conv = nn.Conv2d(a, b, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(b), *([nn.ReLU()] if relu else []))


class Shuffle(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = x.chunk(2, dim=1)
        return torch.stack([first, second], dim=2).flatten(1, 2)


class Block(nn.Module):
    def __init__(self, name: str, a: int, b: int, stride: int) -> None:
        super().__init__()
        kernel, expansion = int(name[1]), int(name[4])
        groups, hidden = 2 if name.endswith("_g2") else 1, a * expansion
        self.layers = nn.Sequential(
            conv_bn(a, hidden, groups=groups),
            Shuffle() if groups == 2 else nn.Identity(),
            conv_bn(hidden, hidden, kernel, stride, groups=hidden),
            conv_bn(hidden, b, groups=groups, relu=False),
        )
        self.residual = a == b and stride == 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


class Network(nn.Module):
    def __init__(self, decisions: list[int], space: FBNet) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_bn(3, 16, 3, 2 if space.reduction == 32 else 1)]
        a = 16
        for place, (op, b) in enumerate(zip(decisions, WIDTHS, strict=True)):
            stride = 2 if place in DOWN[space.reduction] else 1
            if OPS[op] != "skip":
                layers.append(Block(OPS[op], a, b, stride))
            elif a != b:
                layers.append(conv_bn(a, b, 1, stride))
            a = b
        tail = [conv_bn(a, space.head), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(space.head, space.classes)]
        self.layers = nn.Sequential(*layers, *tail)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)
