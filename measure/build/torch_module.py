"""A shaped network as a torch module."""

from __future__ import annotations

import torch
from torch import nn

from datasets.records import Architecture, Op
from measure.build.weights import BN_EPSILON, Weights


class Network(nn.Module):
    """Runs every op of the graph in its order, dead branches included, as eager code written by hand would."""

    def __init__(self, network: Architecture, weights: Weights, batch: int = 1) -> None:
        super().__init__()
        inputs = network.inputs()
        self.steps: list[tuple[int, str, list[int]]] = []
        self.layers = nn.ModuleDict()
        for node, (op, sources) in enumerate(zip(network.ops, inputs, strict=True)):
            self.steps.append((node, op.kind, sources))
            if op.kind == "zero":
                self.register_buffer(f"zero_{node}", torch.zeros(batch, *op.attrs["shape"]))
            elif op.kind not in ("input", "add", "mul"):
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
            else:
                values.append(self.layers[str(node)](values[sources[0]]))
        return values[-1]


_ACTIVATIONS = {"relu": nn.ReLU, "hswish": nn.Hardswish, "hsigmoid": nn.Hardsigmoid}


def _layer(op: Op, in_shape: tuple[int, ...], w: dict) -> nn.Module:
    a, out = op.attrs, op.attrs["shape"][0]
    layer: nn.Module
    if op.kind in _ACTIVATIONS:
        return _ACTIVATIONS[op.kind]()
    if op.kind == "shuffle":
        return nn.ChannelShuffle(a["groups"])
    if op.kind == "avg_pool":
        return nn.AvgPool2d(a["kernel"], a["stride"], a["pad"], count_include_pad=False)
    if op.kind == "global_avg_pool":
        pool = nn.AdaptiveAvgPool2d(1)
        return pool if len(a["shape"]) == 3 else nn.Sequential(pool, nn.Flatten())
    if op.kind == "conv":
        layer = nn.Conv2d(
            in_shape[0], out, a["kernel"], a["stride"], a["pad"], groups=a["groups"], bias=bool(a["bias"])
        )
    elif op.kind == "dense":
        layer = nn.Linear(in_shape[0], out)
    elif op.kind == "bn":
        layer = nn.BatchNorm2d(out, eps=BN_EPSILON)
        w = {"weight": w["scale"], "bias": w["shift"], "running_mean": w["mean"], "running_var": w["var"]}
    else:
        raise ValueError(f"No torch layer is known for op '{op.kind}'.")
    layer.load_state_dict({name: torch.from_numpy(value) for name, value in w.items()}, strict=False)
    return nn.Sequential(nn.Flatten(), layer) if op.kind == "dense" and len(in_shape) == 3 else layer
