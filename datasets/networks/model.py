"""A network with its weights and, where it has one, the file that it came from."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from datasets.architectures import InputError
from datasets.networks.network import Network

Weights = dict[int, dict[str, np.ndarray]]
"""Node -> {weight, bias} of conv and dense (output channels first; no bias where the op has none), {scale, shift, mean,
var} of bn; fp32."""


@dataclass(frozen=True)
class Model:
    """What a runtime builds from, or runs as it is.

    Attributes:
        network: the graph.
        weights: by node; None where seeded ones will do.
        source: the file that the network was read from, for runtimes that take it.
    """

    network: Network
    weights: Weights | None = None
    source: Path | None = None


def weights_to_npz(weights: Weights) -> bytes:
    """The content of an .npz file with every array under the name `node.name`."""
    buffer = io.BytesIO()
    named = {f"{node}.{name}": array for node, arrays in weights.items() for name, array in arrays.items()}
    np.savez(buffer, allow_pickle=False, **named)
    return buffer.getvalue()


def read_weights(path: Path) -> Weights:
    """The weights that `weights_to_npz` wrote; raises `InputError` where the file is missing or damaged."""
    weights: Weights = {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for name in arrays.files:
                node, _, kind = name.partition(".")
                weights.setdefault(int(node), {})[kind] = arrays[name]
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise InputError(f"{path} holds no weights ({error}); write it again.") from error
    return weights
