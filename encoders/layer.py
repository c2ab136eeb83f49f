"""Single layers as vectors: PerfNetRT's features, and quantities that determine the time of kernels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datasets.blocks.layers import LayerSpace
from datasets.blocks.operations import Operation
from datasets.records import Architectures, InputError, Space
from encoders.base import VectorEncoder

BLOCKS = (4, 8, 16)
"""Numbers of channels per vector of CPU kernels (SSE, AVX2, AVX-512); GPUs' warps are multiples of the last."""
TILES = ((128, 32), (128, 64), (128, 128), (64, 64), (32, 32))
"""Rows x columns of the output tile of one block of a GPU's matrix product (from names of cuDNN's kernels)."""

Columns = dict[str, np.ndarray]


@dataclass
class LayerFeatures(VectorEncoder):
    """The features of Tables I to III of "PerfNetRT: Platform-Aware Performance Modeling for Optimized Deep Neural
    Networks" (Liao et al., 2020).

    Attributes:
        log: use logarithms of the features with a wide range (sizes, channels, batch).
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
    """Inputs of a roofline: millions of multiply-accumulates (pooling: elements under a window) and megabytes moved,
    including an activation's."""

    def num_features(self, space: Space) -> int:
        _layer(space)
        return 2

    def __call__(self, archs: Architectures) -> np.ndarray:
        space = _layer(archs.space)
        operations = space.work(space.values(archs)).operations
        moved = space.sums(archs)["moved_bytes"]
        return (np.stack([operations, moved], axis=1) / 1e6).astype(np.float32)


@dataclass
class LayerPhysics(VectorEncoder):
    """Logarithms of a layer's sizes and work (elements read and written, parameters, operations, intensity, sizes of
    its matrix product), its switches (stride, padding, activation, whether a Winograd or pointwise kernel applies),
    loop counts of pooling kernels, and optionally remainders of its sizes by the blocks and tiles of kernels. Single
    operations (`blocks.operations`) have sizes, words, work and remainders only.

    Attributes:
        blocks: add remainders and padding of the channels, and work on padded channels.
        tiles: add the number of blocks of a GPU's matrix product, and their wasted share.
    """

    blocks: bool = True
    tiles: bool = True

    def names(self, space: Space) -> list[str]:
        """Names of the features in order."""
        return list(self._columns(_layer(space).sample(1, np.random.default_rng(0))))

    def num_features(self, space: Space) -> int:
        return len(self.names(space))

    def __call__(self, archs: Architectures) -> np.ndarray:
        columns = self._columns(archs)
        return np.stack([np.asarray(column, np.float32) for column in columns.values()], axis=1)

    def _columns(self, archs: Architectures) -> Columns:
        space = _layer(archs.space)
        if isinstance(space, Operation):
            return _operation(space, archs, self.blocks)
        values = space.values(archs)
        work, moved = space.work(values), space.sums(archs)["moved_bytes"]
        windowed, weighted = "kernel" in values, "out" in values
        ones = np.ones(len(archs), np.int64)
        kernel, stride = values.get("kernel", ones), values.get("stride", ones)
        side = space.side(values) if windowed else ones  # type: ignore[attr-defined]
        into, out = values["in"], values.get("out", values["in"])
        pixels, depth = values["batch"] * side**2, kernel**2 * (into if weighted else ones)
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
        if windowed and not weighted:
            columns |= _pooled(values, side)
        if windowed and weighted:
            columns |= _convolved(values, side)
        if self.blocks:
            columns |= _blocks(values, side, pixels, depth, windowed, weighted)
        if self.tiles and weighted:
            for rows, width in TILES:
                blocks = -(-pixels // rows) * -(-out // width)
                columns[f"tiles_{rows}x{width}"] = _log(blocks)
                columns[f"waste_{rows}x{width}"] = _log(blocks * rows * width) - _log(pixels * out)
        return columns


def _operation(space: Operation, archs: Architectures, blocks: bool) -> Columns:
    """Sizes, words and work of single operations, and remainders of those sizes that are often multiples."""
    values, sums = space.values(archs), space.sums(archs)
    work, columns = space.work(values), Columns()
    for f in space.features:
        columns |= {f"{f.name}_{word}": values[f.name] == i for i, word in enumerate(f.words)}
        columns |= {} if f.words else {f.name: _log(values[f.name])}
        for block in BLOCKS if blocks and f.multiples else ():
            columns[f"{f.name}_mod_{block}"] = values[f.name] % block
            columns[f"{f.name}_to_{block}"] = _log(_up(values[f.name], block)) - _log(values[f.name])
    columns |= {f"{name}_elements": _log(count) for name, count in work._asdict().items()}
    moved = _log(sums["moved_bytes"])
    return columns | {"moved": moved, "intensity": _log(work.operations) - moved, "nodes": sums["kernels"]}


def _pooled(values: Columns, side: np.ndarray) -> Columns:
    """Loop counts of pooling kernels: rows before columns (onnxruntime), or a vector of channels at each position of
    the window (LiteRT, OpenVINO); a window of one element is a copy, or nothing."""
    batch, channels, kernel, size = (values[name] for name in ("batch", "in", "kernel", "size"))
    columns = {
        "lines": _log(batch * channels * side),
        "by_rows": _log(batch * channels * side * kernel * size),
        "by_columns": _log(batch * channels * side**2 * kernel),
        "line_places": _log(batch * side * kernel * size),
        "places": _log(batch * side**2 * kernel**2),
        "apart": kernel <= values["stride"],
        "nothing": (kernel == 1) & (values["stride"] == 1),
    }
    for block in BLOCKS:
        vectors = _up(channels, block)
        columns[f"by_channels_{block}"] = _log(batch * side**2 * kernel**2 * vectors)
        columns[f"in_{block}"], columns[f"out_{block}"] = (
            _log(batch * size**2 * vectors),
            _log(batch * side**2 * vectors),
        )
        columns[f"by_pixels_{block}"] = _log(batch * channels * side * _up(side, block) * kernel**2)
    return columns


def _convolved(values: Columns, side: np.ndarray) -> Columns:
    """Sizes of an image's matrix products in blocks of registers, and their data in a cache: im2col in onnxruntime (6 x
    16 of channels by pixels), pixels by channels in LiteRT, blocks of 8 channels in OpenVINO, all with AVX2."""
    batch, into, out, kernel, size = (values[name] for name in ("batch", "in", "out", "kernel", "size"))
    pixels, depth = side**2, kernel**2 * into
    blocks_in, blocks_out = _up(into, 8), _up(out, 8)
    return {
        "waste_pixels": _log(_up(pixels, 16)) - _log(pixels),
        "channels_by_pixels": _log(batch * _up(out, 6) * _up(pixels, 16) * depth),
        "pixels_by_channels": _log(_up(batch * pixels, 6) * _up(out, 16) * depth),
        "blocked": _log(batch * blocks_in * blocks_out * kernel**2 * side * _up(side, 3)),
        "image_unrolled": _log(pixels * depth),
        "image_product": _log(pixels * (out + depth)),
        "weights": _log(out * depth),
        "blocked_in": _log(batch * blocks_in * size**2),
        "blocked_out": _log(batch * blocks_out * pixels),
        "few_in": np.minimum(into, 8),
        "few_out": np.minimum(out, 16),
        "all_blocks": (into % 8 == 0) & (out % 8 == 0),
        "all_wide_blocks": (into % 16 == 0) & (out % 16 == 0),
        "out_to_pixels": _log(out) - _log(pixels),
        "out_to_depth": _log(out) - _log(depth),
        "pixels_to_depth": _log(pixels) - _log(depth),
        "by_columns": _log(batch * into * pixels * kernel),
        "plain_product": (kernel == 1) & (values["stride"] == 1),
        "lines": _log(batch * side),
        "line": _log(side * out),
    }


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
    """The next multiple of `block`."""
    return -(-value // block) * block


def _log(value: np.ndarray) -> np.ndarray:
    """Logarithms of counts; a count of 0 is taken as 1."""
    return np.log(np.maximum(value, 1))


def _layer(space: Space) -> LayerSpace:
    if not isinstance(space, LayerSpace):
        raise InputError(f"{space} is no space of single layers, which this encoder reads; use another encoder.")
    return space
