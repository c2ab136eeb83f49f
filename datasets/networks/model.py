"""A network with its weights and, where it has one, the file that it came from."""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.architectures import InputError
from datasets.files.reading import existing, shortened
from datasets.networks.network import Network

Weights = dict[int, dict[str, np.ndarray]]
"""Node -> {weight, bias} of conv and dense (output channels first; no bias where the op has none), {scale, shift, mean,
var} of bn; fp32."""


MOST_BYTES = 2**31
"""Largest file of weights, once it is decompressed."""


@dataclass(frozen=True)
class Model:
    """What a runtime builds from, or runs as it is.

    Attributes:
        network: the graph.
        weights: by node; None where seeded ones will do.
        source: the file that the network was read from, for runtimes that take it.
        notes: what the reader assumed, in sentences: which branch was counted, say.
    """

    network: Network
    weights: Weights | None = None
    source: Path | None = None
    notes: tuple[str, ...] = ()


def weights_to_npz(weights: Weights) -> bytes:
    """The content of an .npz file with every array under the name `node.name`."""
    buffer = io.BytesIO()
    named = {f"{node}.{name}": array for node, arrays in weights.items() for name, array in arrays.items()}
    np.savez(buffer, allow_pickle=False, **named)
    return buffer.getvalue()


def read_weights(path: Path, mend: str = "write it again") -> Weights:
    """The weights that `weights_to_npz` wrote; raises `InputError` where the file is missing, damaged or larger than
    `MOST_BYTES`, whose sentence ends with how to `mend` that."""
    weights: Weights = {}
    path = existing(path, f"it should hold weights; {mend}")
    try:
        with zipfile.ZipFile(path) as parts:
            if sum(part.file_size for part in parts.infolist()) > MOST_BYTES:
                raise InputError(f"{path} expands to more than {MOST_BYTES:,} bytes; {mend}.")
        with np.load(path, allow_pickle=False) as arrays:
            for name in arrays.files:
                node, part = name.split(".")
                weights.setdefault(int(node), {})[part] = arrays[name]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise InputError(f"{path} is damaged ({shortened(error)}); {mend}.") from error
    return weights
