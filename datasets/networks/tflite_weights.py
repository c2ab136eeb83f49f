"""Weights of TFLite files in the order that networks have, channels first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from datasets.networks.model import Weights
from datasets.networks.network import Network
from datasets.networks.tflite_calls import Constant
from datasets.networks.tflite_schema import TFLite

_MOST = 4


def stored_weights(file: TFLite, network: Network, held: Mapping[int, Sequence[Constant]]) -> Weights | None:
    """The weights of all convolutions and dense layers, fp32; None where one of them is no float, or so many ops share
    them in different forms that all take more than `_MOST` times what the file does.

    Args:
        file: that the network was read from.
        network: what was read.
        held: node -> its weight, and its bias where it has one.
    """
    found: Weights = {}
    sources, made, taken = network.sources(), dict[tuple[Any, ...], np.ndarray](), 0
    for node, op in enumerate(network.ops):
        if op.kind not in ("conv", "dense"):
            continue
        found[node] = {}
        for name, constant in zip(("weight", "bias"), held[node], strict=False):
            form = (constant.tensor.stored, name, op.kind, network.shape(sources[node][0]), op.attrs["shape"][0])
            if form not in made:
                values = _floats(file, constant)
                if values is None:
                    return None
                turn = {"conv": _convolution, "dense": _dense}[op.kind]
                made[form] = turn(values, *form[-2:]) if name == "weight" else values
                taken += made[form].nbytes
                if taken > _MOST * len(file.content):
                    return None
            found[node][name] = made[form]
    return found


def _floats(file: TFLite, constant: Constant) -> np.ndarray | None:
    tensor = constant.tensor
    values = file.values(tensor) if tensor.dtype.startswith("float") and tensor.elements == constant.elements else None
    return None if values is None else values.reshape(tensor.shape).astype(np.float32)


def _convolution(weight: np.ndarray, in_shape: tuple[int, ...], out: int) -> np.ndarray:
    """Output channels come first, except in depthwise kernels, where they come last."""
    depthwise = weight.shape[0] != out
    return np.ascontiguousarray(weight.transpose(3, 0, 1, 2) if depthwise else weight.transpose(0, 3, 1, 2))


def _dense(weight: np.ndarray, in_shape: tuple[int, ...], out: int) -> np.ndarray:
    """Of an image that was flattened with its channels last."""
    if len(in_shape) != 3:
        return weight
    channels, height, width = in_shape
    return weight.reshape(out, height, width, channels).transpose(0, 3, 1, 2).reshape(out, -1)
