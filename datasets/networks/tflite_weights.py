"""Weights of TFLite files, channels first."""

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
    """The fp32 weights of all convolutions and dense layers; None if one is not of floats, or if weights that ops share
    in different layouts need more than `_MOST` times the bytes of the file.

    Args:
        file: file of the network.
        network: the network.
        held: node -> its weight, and its bias if it has one.
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
    """A kernel in the network's layout; TFLite's has output channels last if it is depthwise, else first."""
    depthwise = weight.shape[0] != out
    return np.ascontiguousarray(weight.transpose(3, 0, 1, 2) if depthwise else weight.transpose(0, 3, 1, 2))


def _dense(weight: np.ndarray, in_shape: tuple[int, ...], out: int) -> np.ndarray:
    """A matrix in the network's layout; an image that it reads is flattened with its channels last in TFLite."""
    if len(in_shape) != 3:
        return weight
    channels, height, width = in_shape
    return weight.reshape(out, height, width, channels).transpose(0, 3, 1, 2).reshape(out, -1)
