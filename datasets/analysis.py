"""What a shaped network costs in theory, whatever the device: operations, parameters, memory.

The vocabulary of shaped ops, with `shape` = output shape without the batch dimension, as (channels, height, width) or
(features,): input, zero (a constant), conv (kernel, stride, pad, groups, bias), bn, relu, hswish, hsigmoid, avg_pool
(kernel, stride, pad), global_avg_pool (to (channels,) or (channels, 1, 1)), shuffle (of channels between `groups`), add
(two inputs), mul (two inputs; the second may be one number a channel, (channels, 1, 1)), dense (reads its input flat).
"""

from __future__ import annotations

import math

from datasets.records import Architecture, Op

BYTES = 4
"""Bytes of one fp32 number."""

TOTALS = ("macs", "flops", "params", "peak_bytes", "moved_bytes", "kernels")
"""Names of what `totals` gives, in its order."""


def macs(op: Op, in_shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of the convolutions and dense layers (a bias adds none), as NAS-Bench-201 counts them."""
    if op.kind == "conv":
        per_output = in_shape[0] // op.attrs["groups"] * op.attrs["kernel"] ** 2
        return per_output * math.prod(op.attrs["shape"])
    if op.kind == "dense":
        return in_shape[0] * op.attrs["shape"][0]
    return 0


def params(op: Op, in_shape: tuple[int, ...]) -> int:
    """Trainable parameters (batch norm: scale and shift)."""
    out = op.attrs["shape"][0]
    if op.kind == "conv":
        return out * (in_shape[0] // op.attrs["groups"] * op.attrs["kernel"] ** 2 + op.attrs["bias"])
    if op.kind == "dense":
        return out * (in_shape[0] + 1)
    return 2 * out if op.kind == "bn" else 0


def totals(network: Architecture, batch: int = 1) -> dict[str, int]:
    """Totals of a shaped network.

    Returns:
        macs: multiply-accumulates; flops: twice that; params: trainable parameters; peak_bytes: the most bytes of
        activations alive at once when ops run in order, nothing is done in place and a tensor dies after its last
        use (weights not counted); moved_bytes: activations read and written plus weights read, op by op without
        fusion; kernels: ops that run.
    """
    inputs = network.inputs()
    shapes = [tuple(op.attrs["shape"]) for op in network.ops]
    size = [BYTES * batch * math.prod(shape) for shape in shapes]
    last_use = list(range(len(network.ops)))
    for target, sources in enumerate(inputs):
        for source in sources:
            last_use[source] = target
    last_use[-1] = len(network.ops)  # the network's output outlives it
    dies: list[list[int]] = [[] for _ in range(len(network.ops) + 1)]
    for index, end in enumerate(last_use):
        dies[end].append(index)

    total = dict.fromkeys(TOTALS, 0)
    alive = 0
    for index, (op, sources) in enumerate(zip(network.ops, inputs, strict=True)):
        alive += size[index]
        total["peak_bytes"] = max(total["peak_bytes"], alive)
        alive -= sum(size[dead] for dead in dies[index])
        if op.kind in ("input", "zero"):
            continue
        in_shape = shapes[sources[0]]
        weights = params(op, in_shape)
        total["macs"] += batch * macs(op, in_shape)
        total["params"] += weights
        total["moved_bytes"] += size[index] + sum(size[source] for source in sources) + BYTES * weights
        total["kernels"] += 1
    total["flops"] = 2 * total["macs"]
    return total
