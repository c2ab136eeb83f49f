"""A network with its weights and the file that it was read from."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from datasets.architectures import InputError
from datasets.files.reading import existing, shortened
from datasets.networks.network import Network

Weights = dict[int, dict[str, np.ndarray]]
"""fp32 arrays by node: weight and bias of conv and dense (output channels first; bias only if the op has one), scale,
shift, mean and var of bn."""

MOST_BYTES = 2**31
"""Largest size of a decompressed file of weights."""


def suffix_of(path: Path) -> str:
    """The suffix that says what a file is: .keras, .tflite, .pt2 or .param, and .onnx for files of any other name."""
    return path.suffix if path.suffix in (".keras", ".tflite", ".pt2", ".param") else ".onnx"


@dataclass(frozen=True)
class Model:
    """A network from which runtimes are built.

    Attributes:
        network: the graph.
        weights: by node; None for random ones.
        source: file that the network was read from, for runtimes that run it as it is; None if there is none.
        notes: sentences on what the reader assumed, for example which branch it counted.
        others: files of other formats with the same network and the same weights.
        shapes: shapes of the inputs of `source`, batch included, in the file's own order of dimensions.
        inputs: values of inputs by their names, instead of drawn ones.
    """

    network: Network
    weights: Weights | None = None
    source: Path | None = None
    notes: tuple[str, ...] = ()
    others: tuple[Path, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()
    inputs: Mapping[str, np.ndarray] = field(default_factory=dict)

    def file(self, suffixes: tuple[str, ...]) -> Path | None:
        """The first file of this model that has one of the suffixes; None if there is none."""
        files = ([self.source] if self.source else []) + list(self.others)
        return next((path for path in files if suffix_of(path) in suffixes), None)


def weights_to_npz(weights: Weights) -> bytes:
    """Content of an .npz file with every array under the name `node.name`; `read_weights` reads it back."""
    buffer = io.BytesIO()
    named = {f"{node}.{name}": array for node, arrays in weights.items() for name, array in arrays.items()}
    np.savez(buffer, allow_pickle=False, **named)
    return buffer.getvalue()


def read_weights(path: Path, mend: str = "write it again") -> Weights:
    """Read weights that `weights_to_npz` wrote.

    Args:
        path: the .npz file.
        mend: how to repair a faulty file, the end of the error's sentence.

    Raises:
        InputError: the file is missing, damaged or expands to more than `MOST_BYTES`.
    """
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
