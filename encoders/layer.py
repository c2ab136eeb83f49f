"""Single layers as vectors: PerfNetRT's features, and what a runtime sees of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datasets.blocks.layers import Layer
from datasets.records import Architectures, InputError, Space
from encoders.base import VectorEncoder

BLOCKS = (4, 8, 16)
"""Channels that CPU kernels take at once (SSE, AVX2, AVX-512); GPUs' warps are multiples of the last."""
TILES = ((128, 32), (128, 64), (128, 128), (64, 64), (32, 32))
"""Rows x columns of the output that one block of a GPU's matrix product makes (cuDNN's kernels bear these in their
names)."""

Columns = dict[str, np.ndarray]


@dataclass
class LayerTable(VectorEncoder):
    """PerfNetRT's features (Tables I to III), as they are.

    Attributes:
        log: logarithms of the features with a wide range (sizes, channels, batch).
    """

    log: bool = False

    def num_features(self, space: Space) -> int:
        return len(_layer(space).features)

    def __call__(self, archs: Architectures) -> np.ndarray:
        space = _layer(archs.space)
        values = space.values(archs)
        columns = [np.log(values[f.name]) if self.log and f.log else values[f.name] for f in space.features]
        return np.stack(columns, axis=1).astype(np.float32).reshape(len(archs), -1)


@dataclass
class LayerWork(VectorEncoder):
    """What a roofline is made of: millions of multiply-accumulates (pooling: elements under a window) and megabytes
    moved, an activation's among them."""

    def num_features(self, space: Space) -> int:
        _layer(space)
        return 2

    def __call__(self, archs: Architectures) -> np.ndarray:
        space = _layer(archs.space)
        operations = space.work(space.values(archs)).operations
        moved = space.totals(archs)["moved_bytes"].to_numpy()
        return (np.stack([operations, moved], axis=1) / 1e6).astype(np.float32)


@dataclass
class LayerPhysics(VectorEncoder):
    """Logarithms of what a layer is and needs (sizes, elements read and written, parameters, operations, intensity, the
    matrices of its product), its switches (stride, padding, activation, whether Winograd's or a pointwise kernel
    fits), and where asked for, how its sizes fall into the blocks and tiles that kernels are written for.

    Attributes:
        blocks: remainders and shares of padding of the channels, and work on padded channels.
        tiles: blocks of a GPU's matrix product, and the share of them that is waste.
    """

    blocks: bool = True
    tiles: bool = True

    def names(self, space: Space) -> list[str]:
        """Of the features, in their order."""
        return list(self._columns(_layer(space).sample(1, np.random.default_rng(0))))

    def num_features(self, space: Space) -> int:
        return len(self.names(space))

    def __call__(self, archs: Architectures) -> np.ndarray:
        columns = self._columns(archs)
        return np.stack([np.asarray(column, np.float32) for column in columns.values()], axis=1)

    def _columns(self, archs: Architectures) -> Columns:
        space = _layer(archs.space)
        values = space.values(archs)
        work, moved = space.work(values), space.totals(archs)["moved_bytes"].to_numpy()
        windowed, weighted = "kernel" in values, "out" in values
        one = np.ones(len(archs), np.int64)
        kernel, stride = values.get("kernel", one), values.get("stride", one)
        side = space.side(values) if windowed else one  # type: ignore[attr-defined]
        into, out = values["in"], values.get("out", values["in"])
        pixels, depth = values["batch"] * side**2, kernel**2 * (into if weighted else one)
        columns = {f.name: _log(values[f.name]) if f.log else values[f.name] for f in space.features}
        columns |= {
            "operations": _log(work.operations),
            "inputs": _log(work.inputs),
            "outputs": _log(work.outputs),
            "moved": _log(moved),
            "intensity": _log(work.operations) - _log(moved),
            "act_relu": values["act"] == 1,
        }
        if weighted:
            columns |= {"params": _log(work.params), "depth": _log(depth), "unrolled": _log(pixels * depth)}
            columns |= {"image_operations": _log(out * depth * side**2)}
        if windowed:
            size = values["size"]
            padding = np.maximum((-(-size // stride) - 1) * stride + kernel - size, 0) * values["pad"]
            columns |= {
                "side": _log(side),
                "pixels": _log(pixels),
                "image_in": _log(into * size**2),
                "image_out": _log(out * side**2),
                "overlap": _log(kernel) - _log(stride),
                "winograd": (kernel == 3) & (stride == 1),
                "pointwise": kernel == 1,
                "padding": padding,
            }
        if self.blocks:
            columns |= _blocks(values, side, pixels, depth, windowed, weighted)
        if self.tiles and weighted:
            for rows, width in TILES:
                blocks = -(-pixels // rows) * -(-out // width)
                columns[f"tiles_{rows}x{width}"] = _log(blocks)
                columns[f"waste_{rows}x{width}"] = _log(blocks * rows * width) - _log(pixels * out)
        return columns


def _blocks(
    values: Columns, side: np.ndarray, pixels: np.ndarray, depth: np.ndarray, windowed: bool, weighted: bool
) -> Columns:
    columns: Columns = {}
    sides = {"in": values["in"]} | ({"out": values["out"]} if weighted else {})
    sides |= {"side": side, "size": values["size"]} if windowed else {}
    for block in BLOCKS:
        for name, value in sides.items():
            columns[f"{name}_mod_{block}"] = value % block
            columns[f"{name}_to_{block}"] = _log(_up(value, block)) - _log(value)
        if weighted:
            padded = _up(values["in"], block) * _up(values["out"], block)
            columns[f"operations_{block}"] = _log(pixels * (depth // values["in"]) * padded)
    return columns | {f"batch_mod_{block}": values["batch"] % block for block in BLOCKS[:2]}


def _up(value: np.ndarray, block: int) -> np.ndarray:
    """To the next multiple."""
    return -(-value // block) * block


def _log(value: np.ndarray) -> np.ndarray:
    """Of what may be zero where there is nothing; counts are 1 or more otherwise."""
    return np.log(np.maximum(value, 1))


def _layer(space: Space) -> Layer:
    if not isinstance(space, Layer):
        raise InputError(f"{space} is no space of single layers, which this encoder reads; use another encoder.")
    return space
