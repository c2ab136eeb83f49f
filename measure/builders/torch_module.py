"""A shaped network as a torch module."""

from __future__ import annotations

import math

import torch
from torch import nn

from datasets.networks.model import Weights
from datasets.networks.network import Network
from datasets.networks.ops import pads, pair
from datasets.records import InputError, Op
from measure.builders.weights import BN_EPSILON


class NetworkModule(nn.Module):
    """Runs all ops of a network in order, including dead branches, like eager code that is written by hand."""

    def __init__(self, network: Network, weights: Weights, batch: int = 1) -> None:
        super().__init__()
        inputs = network.sources()
        self.steps: list[tuple[int, str, list[int]]] = []
        self.layers = nn.ModuleDict()
        for node, (op, sources) in enumerate(zip(network.ops, inputs, strict=True)):
            self.steps.append((node, op.kind, sources))
            if op.kind == "zero":
                self.register_buffer(f"zero_{node}", torch.zeros(batch, *op.attrs["shape"]))
            elif op.kind not in ("input", "add", "mul", "concat"):
                in_shape = network.ops[sources[0]].attrs["shape"]
                self.layers[str(node)] = _layer(op, in_shape, weights.get(node, {}))
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values: list[torch.Tensor] = []
        for node, kind, sources in self.steps:
            if kind == "input":
                values.append(x)
            elif kind == "zero":
                values.append(getattr(self, f"zero_{node}"))
            elif kind == "add":
                values.append(values[sources[0]] + values[sources[1]])
            elif kind == "mul":
                values.append(values[sources[0]] * values[sources[1]])
            elif kind == "concat":
                values.append(torch.cat([values[source] for source in sources], dim=1))
            else:
                values.append(self.layers[str(node)](values[sources[0]]))
        return values[-1]


_ACTIVATIONS = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hswish": nn.Hardswish,
    "hsigmoid": nn.Hardsigmoid,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
}


def _layer(op: Op, in_shape: tuple[int, ...], w: dict) -> nn.Module:
    a, out = op.attrs, op.attrs["shape"][0]
    layer: nn.Module
    if op.kind in _ACTIVATIONS:
        return _ACTIVATIONS[op.kind]()
    if op.kind == "softmax":
        return nn.Softmax(dim=1)
    if op.kind == "shuffle":
        return nn.ChannelShuffle(a["groups"])
    if op.kind in ("avg_pool", "max_pool"):
        return _pool(op)
    if op.kind == "pad":
        top, left, bottom, right = pads(a["pad"])
        return nn.ZeroPad2d((left, right, top, bottom))
    if op.kind == "truncate":
        return _Truncate(out)
    if op.kind == "global_avg_pool":
        pool = nn.AdaptiveAvgPool2d(1)
        return pool if len(a["shape"]) == 3 else nn.Sequential(pool, nn.Flatten())
    before: list[nn.Module] = []
    if op.kind == "conv":
        before, pad = _padding(op)
        layer = nn.Conv2d(
            in_shape[0],
            out,
            pair(a["kernel"]),
            pair(a.get("stride", 1)),
            pad,
            pair(a.get("dilation", 1)),
            a.get("groups", 1),
            bool(a.get("bias", 0)),
        )
    elif op.kind == "dense":
        before = [nn.Flatten()] if len(in_shape) == 3 else []
        layer = nn.Linear(math.prod(in_shape), out, bias=bool(a.get("bias", 1)))
    elif op.kind == "bn":
        layer = nn.BatchNorm2d(out, eps=BN_EPSILON)
        w = {"weight": w["scale"], "bias": w["shift"], "running_mean": w["mean"], "running_var": w["var"]}
    else:
        raise InputError(f"PyTorch modules are not built for the op '{op.kind}'; run the ONNX file with ort instead.")
    layer.load_state_dict({name: torch.from_numpy(value) for name, value in w.items()}, strict=False)
    return nn.Sequential(*before, layer) if before else layer


def _padding(op: Op, fill: float = 0.0) -> tuple[list[nn.Module], tuple[int, int]]:
    """Modules before a layer whose own padding is not sufficient, and the padding of the layer."""
    top, left, bottom, right = pads(op.attrs.get("pad", 0))
    kernel = pair(op.attrs["kernel"])
    if (top, left) == (bottom, right) and (op.kind == "conv" or (2 * top <= kernel[0] and 2 * left <= kernel[1])):
        return [], (top, left)
    return [nn.ConstantPad2d((left, right, top, bottom), fill)], (0, 0)


def _pool(op: Op) -> nn.Module:
    kernel, stride = pair(op.attrs["kernel"]), pair(op.attrs.get("stride", 1))
    if op.kind == "max_pool":
        before, pad = _padding(op, fill=-math.inf)
        return nn.Sequential(*before, nn.MaxPool2d(kernel, stride, pad, pair(op.attrs.get("dilation", 1))))
    before, pad = _padding(op)
    include = bool(op.attrs.get("include_pad"))
    if before and not include:
        return _LopsidedAvgPool(before[0], nn.AvgPool2d(kernel, stride))
    return nn.Sequential(*before, nn.AvgPool2d(kernel, stride, pad, count_include_pad=include))


class _Truncate(nn.Module):
    """Keeps the first channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, : self.channels]


class _LopsidedAvgPool(nn.Module):
    """An average that excludes a padding that differs between sides."""

    def __init__(self, pad: nn.Module, pool: nn.Module) -> None:
        super().__init__()
        self.pad, self.pool = pad, pool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pool(self.pad(x)) / self.pool(self.pad(torch.ones_like(x[:1, :1])))
