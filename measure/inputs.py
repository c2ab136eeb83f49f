"""Inputs of networks: drawn by their type and meaning, or a person's own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datasets.files.reading import existing, listed, shortened
from datasets.networks.model import Model
from datasets.networks.network import Network
from datasets.networks.ops import ITEM
from datasets.networks.sizes import Sizes
from datasets.records import InputError

MOST_BYTES = 2**31
"""Largest size of all arrays of a person's inputs."""
_MOVING = ("Cast", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Identity", "Transpose", "Expand", "Slice", "Split",
           "Tile", "Concat", "Clip", ITEM)  # fmt: skip
_TABLES = ("gather", "embedding")
_PLACES = ("scatter",)
_SAMPLE_RATE = 16000


class Input(NamedTuple):
    """An input of a network.

    Attributes:
        name: in the file.
        shape: with the batch.
        dtype: element type.
        rows: rows of the smallest table that the input is an index of; 0 if it is none.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    rows: int


def inputs_of(model: Model, batch: int = 1) -> list[Input]:
    """The inputs of a model's file, in the file's order.

    Args:
        model: a model that was read from a file.
        batch: samples per run, where neither the model nor its network knows.

    Raises:
        InputError: an element type is one that numpy does not have.
    """
    ports, ops = model.network.inputs, [model.network.ops[port.node] for port in model.network.inputs]
    batch = model.network.batch or batch
    shapes = model.shapes or [(() if op.attrs.get("whole") else (batch,)) + op.attrs["shape"] for op in ops]
    found = []
    for port, shape in zip(ports, shapes, strict=True):
        if port.dtype not in np.sctypeDict:
            raise InputError(
                f"The input '{shortened(port.name, 60)}' of {model.network.key} is of type {port.dtype}, which numpy "
                "cannot hold; cut it off the network by onnx.utils.extract_model."
            )
        found.append(Input(port.name, shape, np.dtype(port.dtype), table_rows(model.network, port.node)))
    return found


def table_rows(network: Network, node: int) -> int:
    """Rows of the smallest table that an input is an index of, as it is or moved; 0 if it is none."""
    readers: dict[int, list[tuple[int, int]]] = {}
    for source, target, port in network.edges:
        readers.setdefault(source, []).append((target, port))
    sources, waiting, seen, rows = network.sources(), [node], {node}, list[int]()
    while waiting:
        at = waiting.pop()
        for target, _ in readers.get(at, ()):
            op = network.ops[target]
            table = op.kind.lower().startswith(_TABLES)
            taken = table and len(sources[target]) == 1 and not {"params", "tied"} & op.attrs.keys()
            if (op.kind in _MOVING or taken) and target not in seen:
                seen.add(target)
                waiting.append(target)
            elif op.kind.lower().startswith(_PLACES):
                rows.append(_smallest_side(network, target))
            elif table and not taken and sources[target][-1] == at:
                rows.append(_rows(network, target, at))
    return min(rows, default=0)


def _rows(network: Network, table: int, ids: int) -> int:
    """Rows of what an op takes from: of its weights, or of the tensor that it reads beside the indices."""
    op, read = network.ops[table], network.sources()[table]
    if len(read) > 1:
        return _smallest_side(network, read[0])
    width = math.prod(op.attrs["shape"]) / max(1, math.prod(network.shape(ids)))
    return max(1, int(op.attrs.get("params", 0) / max(width, 1))) if "params" in op.attrs else 2


def _smallest_side(network: Network, node: int) -> int:
    """The smallest side of a tensor, batch included: an index below it is valid along any of its dimensions."""
    op = network.ops[node]
    whole = () if op.attrs.get("whole") else (network.batch or 1,)
    return max(1, min((*whole, *op.attrs["shape"]), default=1))


def draw(model: Model, batch: int = 1, seed: int = 0) -> list[np.ndarray]:
    """Seeded values of all inputs of a model's file; those in `model.inputs` are taken from there.

    Indices are drawn below the rows of the table that reads them, masks are ones, types of tokens zeros, positions
    count, lengths are those of the sequences, other integers are ones. Bytes are drawn over their whole range, other
    numbers from a standard normal distribution.

    Raises:
        InputError: `model.inputs` has a name, type or shape that the file does not have.
    """
    inputs, generator = inputs_of(model, batch), seeded(seed)
    _check(model, inputs)
    longest = max((x.shape[1] for x in inputs if len(x.shape) > 1), default=1)
    return [
        np.ascontiguousarray(model.inputs[x.name]) if x.name in model.inputs else _drawn(x, longest, generator)
        for x in inputs
    ]


def make_input(network: Network, batch: int, seed: int = 0) -> np.ndarray:
    """A seeded standard-normal batch for a shaped network, fp32."""
    shape = (batch, *network.ops[0].attrs["shape"])
    return seeded(seed).standard_normal(shape, dtype=np.float32)


def seeded(seed: int) -> np.random.Generator:
    """A generator of inputs. Its numbers are not those that weights of this seed are made of: a layer whose first
    weights are its inputs has an output far beyond the range that other inputs give, and int8 cuts it off."""
    return np.random.default_rng((seed, 1))


ENOUGH, MOST_BATCHES = 256, 64
"""Number of outputs that calibration should see, and the largest number of batches for it."""


def calibration_inputs(model: Model, batch: int, count: int) -> list[list[np.ndarray]]:
    """Seeded inputs that determine the ranges of int8; they are never measured.

    There are more than `count` batches where the output has so few numbers that their range would be a matter of luck.
    """
    outputs = batch * math.prod(model.network.ops[-1].attrs["shape"])
    count = max(count, min(MOST_BATCHES, ENOUGH // max(outputs, 1)))
    if model.source:
        return [draw(model, batch, seed=1000 + i) for i in range(count)]
    return [[make_input(model.network, batch, seed=1000 + i)] for i in range(count)]


def _drawn(x: Input, longest: int, generator: np.random.Generator) -> np.ndarray:
    name, kind = x.name.lower(), x.dtype.kind
    if "mask" in name:
        return np.ones(x.shape, x.dtype)
    if kind == "b":
        return generator.integers(2, size=x.shape).astype(bool)
    if kind in "iu":
        return _integers(x, name, longest, generator).astype(x.dtype)
    if kind == "c":
        return (generator.standard_normal(x.shape) + 1j * generator.standard_normal(x.shape)).astype(x.dtype)
    if "length" in name or name.endswith(("_len", "_lens")):
        return np.full(x.shape, longest, x.dtype)
    return generator.standard_normal(x.shape, np.float32).astype(x.dtype)


def _integers(x: Input, name: str, longest: int, generator: np.random.Generator) -> np.ndarray:
    if "position" in name:
        count = np.arange(x.shape[-1]) if x.shape else np.array(0)
        return np.broadcast_to(np.minimum(count, x.rows - 1) if x.rows else count, x.shape)
    if "token_type" in name or "segment" in name:
        return np.zeros(x.shape, int)
    if x.rows:
        return generator.integers(x.rows, size=x.shape)
    if "length" in name or name.endswith(("_len", "_lens")):
        return np.full(x.shape, longest)
    if name in ("sr", "rate", "sample_rate", "sampling_rate"):
        return np.full(x.shape, _SAMPLE_RATE)
    if x.dtype.itemsize == 1:
        limits = np.iinfo(x.dtype)
        return generator.integers(limits.min, limits.max, size=x.shape, endpoint=True)
    return np.ones(x.shape, int)


def _check(model: Model, inputs: Iterable[Input]) -> None:
    """Refuse own inputs that do not fit."""
    known = {x.name: x for x in inputs}
    for name, value in model.inputs.items():
        if name not in known:
            raise InputError(
                f"--inputs has '{shortened(name, 60)}', which is no input of {model.network.key}; those are "
                f"{listed(list(known))}."
            )
        x = known[name]
        if (value.shape, value.dtype) != (x.shape, x.dtype):
            raise InputError(
                f"--inputs has {value.dtype} of shape {value.shape} as '{shortened(name, 60)}', and {model.network.key}"
                f" takes {x.dtype} of shape {x.shape}."
            )


def read_inputs(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name, without running code.

    Raises:
        InputError: the file is missing or damaged, holds Python objects, no arrays, or more than `MOST_BYTES`.
    """
    import zipfile
    import zlib

    path, mend = existing(path, "write one by numpy.savez"), "write it by numpy.savez('sample.npz', name=array)"
    try:
        with zipfile.ZipFile(path) as parts:
            if sum(part.file_size for part in parts.infolist()) > MOST_BYTES:
                raise InputError(f"{path} expands to more than {MOST_BYTES:,} bytes; give smaller inputs.")
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (
        zipfile.BadZipFile,
        zlib.error,
        OSError,
        ValueError,
        EOFError,
        KeyError,
        NotImplementedError,
        MemoryError,
    ) as error:
        raise InputError(f"{path} is no .npz file of arrays of numbers ({shortened(error, 100)}); {mend}.") from error
    if not found:
        raise InputError(f"{path} holds no arrays; {mend}.")
    return found


def sizes_of(inputs: Mapping[str, np.ndarray], sizes: Sizes) -> Sizes:
    """The sizes with the shapes of own inputs, where none are given."""
    from dataclasses import replace

    shapes = [f"{name}={'x'.join(map(str, value.shape))}" for name, value in inputs.items()
              if value.size and value.ndim and name not in sizes.shapes()]  # fmt: skip
    return replace(sizes, shape=" ".join(filter(None, [sizes.shape, *shapes])))
