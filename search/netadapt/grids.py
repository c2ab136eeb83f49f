"""Layers to measure for a look-up table of latencies that covers a network at all widths, as NetAdapt needs.

The latency of a network is estimated as the sum of its layers' latencies ("NetAdapt: Platform-Aware Neural Network
Adaptation for Mobile Applications", Yang et al., 2018). A width is a number of channels or of a dense layer's features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datasets.files.writing import write_text
from datasets.networks.network import Network
from datasets.networks.reading import read_model, split_names
from datasets.records import Device, InputError, Networks
from predictors.networks.layer_kinds import SizedLayer
from predictors.networks.layer_table import LayerTable
from search.netadapt.channels import Groups, find_groups

if TYPE_CHECKING:
    from predictors.networks.layer_sum import LayerSum


@dataclass(frozen=True)
class Grid:
    """Widths at which a layer is measured: the same rule gives those of its input and those of its output.

    Attributes:
        points: largest number of widths of the input and of the output, evenly spaced on a logarithmic scale; with 0,
            all multiples of the step.
        conv: step between the numbers of channels of convolutions, and the smallest number.
        dense: step between the numbers of features of dense layers, and the smallest number.
    """

    points: int = 6
    conv: int = 8
    dense: int = 64

    def __post_init__(self) -> None:
        if self.points < 0 or self.points == 1 or min(self.conv, self.dense) < 1:
            raise InputError(f"{self} leaves nothing between a layer's ends; give two points or more, steps above 0.")

    def axis(self, size: int, step: int) -> list[int]:
        """Widths at which to measure up to `size`, ascending: multiples of `step`, and `size` itself."""
        if size <= step:
            return [size]
        if self.points == 0:
            return [*range(step, size, step), size]
        rounded = np.round(np.geomspace(step, size, self.points) / step).astype(int) * step
        return sorted({*rounded[rounded < size].tolist(), size})


def layers_to_measure(networks: Sequence[Groups], grid: Grid) -> list[SizedLayer]:
    """Layers of the networks at the widths of the grid, without duplicates, ordered by kind.

    A kind is a layer without its numbers of channels (`predictors.networks.layer_kinds`). One that occurs several times
    is measured at the widths up to its widest occurrence, and at the width of each occurrence.
    """
    # By kind, for its inputs and for its outputs: the step of each occurring width, 0 if the width is fixed.
    occurring: dict[str, list[dict[int, int]]] = {}
    for groups in networks:
        sizes, steps = groups.channels(groups.sizes), groups.steps(grid.conv, grid.dense)
        for layer in groups.layers:
            sides = occurring.setdefault(layer.kind, [{}, {}])
            for side, group in zip(sides, (layer.in_group, layer.out_group), strict=True):
                side[int(sizes[group])] = int(steps[group]) if group < len(groups) else 0
    layers = []
    for kind, sides in occurring.items():
        inputs, outputs = (_widths_to_measure(side, grid) for side in sides)
        equal = SizedLayer(kind, 1, 1).narrow  # as many output channels as input channels
        layers += [SizedLayer(kind, i, o) for i in inputs for o in ([i] if equal else outputs)]
    return layers


def _widths_to_measure(side: dict[int, int], grid: Grid) -> list[int]:
    """Widths of a kind's inputs or outputs, from the step of each occurring width (0 if the width is fixed)."""
    variable = {size: step for size, step in side.items() if step}
    largest = max(variable, default=0)
    return sorted({*side, *(grid.axis(largest, variable[largest]) if largest else ())})


def predicted_table(predictor: LayerSum, device: Device, groups: Groups, grid: Grid = Grid()) -> LayerTable:
    """Table of a network's layers at the widths of a grid, as a sum of layers predicts them for a device."""
    layers = layers_to_measure([groups], grid)
    ms = predictor.predict(Networks(layer.network() for layer in layers), device)
    session = float(predictor.calibration(device).coefficients[0])
    return LayerTable.of(zip(layers, ms.tolist(), strict=True), session, device.name)


def open_network(name: str, space: str) -> Network:
    """The network with a name from the command line: a network of the space, or what else `read_model` accepts."""
    return read_model(name, 1, space=space, modules=True).network


def layers(
    network: str = "alexnet",
    out: Path = Path("runs/netadapt/layers.txt"),
    space: str = "small_zoo",
    grid: Grid = Grid(),
    direct: int = 0,
    seed: int = 0,
) -> None:
    """List the layers whose latencies are needed to adapt a network.

    `python -m measure run --space layers --archs FILE` measures them.

    Args:
        network: networks of the space, .onnx or .keras files, SPACE:ARCHITECTURE such as zoo:resnet18, or
            torch:MODULE:CALLABLE, which imports that module; separate several by commas.
        out: file to write, one layer per line.
        space: space of the networks.
        grid: widths at which layers are measured.
        direct: number of whole networks of random widths to add per network. With them, and with the network itself,
            the sums of layers can be compared with direct measurements. 0: add no whole network.
        seed: seed of the random widths.
    """
    if not 0 <= direct <= 10_000:
        raise InputError(f"--direct must be 0 to 10,000, not {direct}.")
    found = [find_groups(open_network(name, space)) for name in split_names(network)]
    lines = [layer.network().key for layer in layers_to_measure(found, grid)]
    for groups in found if direct else ():
        lines += [Network.of(resized.ops, resized.edges).key for resized in direct_networks(groups, grid, direct, seed)]
    write_text(out, "".join(line + "\n" for line in lines))
    print(f"{len(lines)} layers of {len(found)} networks in {out}")


def direct_networks(groups: Groups, grid: Grid, count: int, seed: int) -> list[Network]:
    """The network, and `count` networks of random widths.

    Each width is an independent share of its size, drawn log-uniformly between a fifth and one and rounded to its step.
    """
    rng = np.random.default_rng(seed)
    steps = groups.steps(grid.conv, grid.dense)
    drawn = np.exp(rng.uniform(np.log(0.2), 0, (count, len(groups)))) * groups.sizes
    widths = np.minimum(np.maximum(np.round(drawn / steps).astype(int), 1) * steps, groups.sizes)
    return [groups.network, *(groups.resized(row) for row in widths)]
