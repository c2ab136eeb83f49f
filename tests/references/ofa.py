"""OFA-MobileNetV3's network written a second time, as a plain module, so that tests need not trust our own graph."""

import torch
from torch import nn

from datasets.spaces.ofa import OFA

SQUEEZED = {72: 24, 96: 24, 120: 32, 144: 40, 160: 40, 240: 64, 320: 80, 336: 88, 448: 112, 480: 120, 640: 160,
            672: 168, 960: 240}  # fmt: skip
"""Channels -> channels between squeeze and excitation, worked out by hand."""


def conv_bn(a: int, b: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: type | None = None) -> nn.Module:
    conv = nn.Conv2d(a, b, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(b), *([act()] if act else []))


class Squeeze(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(c, SQUEEZED[c], 1), nn.Conv2d(SQUEEZED[c], c, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = self.expand(torch.relu(self.reduce(x.mean((2, 3), keepdim=True))))
        return x * (torch.clamp(gate + 3, 0, 6) / 6)


class Residual(nn.Sequential):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + super().forward(x)


class Network(nn.Module):
    def __init__(self, decisions: list[int], space: OFA) -> None:
        super().__init__()
        kernels, expands, depths = decisions[:20], decisions[20:40], decisions[40:45]
        relu, swish = nn.ReLU, nn.Hardswish
        first = Residual(conv_bn(16, 16, 3, groups=16, act=relu), conv_bn(16, 16))
        layers: list[nn.Module] = [conv_bn(3, 16, 3, 2, act=swish), first]
        a = 16
        for stage, (b, stride) in enumerate(((24, 2), (40, 2), (80, 2), (112, 1), (160, 2))):
            act = relu if stage < 2 else swish
            for i in range(4 * stage, 4 * stage + 2 + depths[stage]):
                kernel, c = (3, 5, 7)[kernels[i]], a * (3, 4, 6)[expands[i]]
                begins = i == 4 * stage
                squeeze = Squeeze(c) if stage in (1, 3, 4) else nn.Identity()
                depthwise = conv_bn(c, c, kernel, stride if begins else 1, groups=c, act=act)
                parts = (conv_bn(a, c, act=act), depthwise, squeeze, conv_bn(c, b))
                layers.append(nn.Sequential(*parts) if begins else Residual(*parts))
                a = b
        tail = [nn.AdaptiveAvgPool2d(1), nn.Conv2d(960, 1280, 1, bias=False), swish(), nn.Flatten()]
        self.layers = nn.Sequential(*layers, conv_bn(160, 960, act=swish), *tail, nn.Linear(1280, space.classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)
