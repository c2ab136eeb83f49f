"""Layers to measure so that a table covers all widths of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.files.writing import write_text
from datasets.networks.network import Network
from datasets.networks.reading import read_model, split_names
from datasets.records import InputError
from predictors.networks.layer_kinds import Layer
from search.netadapt.channels import Groups, find_groups


@dataclass(frozen=True)
class Grid:
    """Numbers of channels with which a layer is measured, on its input and its output side.

    Attributes:
        points: largest number of points per side, evenly spaced on a logarithmic scale; 0: all steps.
        conv: step of convolutions' channels, also the smallest width.
        dense: step of dense layers' features.
    """

    points: int = 6
    conv: int = 8
    dense: int = 64

    def __post_init__(self) -> None:
        if self.points < 0 or self.points == 1 or min(self.conv, self.dense) < 1:
            raise InputError(f"{self} leaves nothing between a layer's ends; give two points or more, steps above 0.")

    def axis(self, size: int, step: int) -> list[int]:
        """Multiples of the step up to a size, and the size itself, ascending."""
        if size <= step:
            return [size]
        if self.points == 0:
            return [*range(step, size, step), size]
        rounded = np.round(np.geomspace(step, size, self.points) / step).astype(int) * step
        return sorted({*rounded[rounded < size].tolist(), size})


def layers_to_measure(networks: Sequence[Groups], grid: Grid) -> list[Layer]:
    """The layers of the networks with the grid's channels, without duplicates and ordered by kind.

    A kind that occurs several times is measured up to its widest occurrence, and at the width of each.
    """
    widest: dict[str, list[dict[int, int]]] = {}
    for groups in networks:
        sizes, steps = groups.channels(groups.sizes), groups.steps(grid.conv, grid.dense)
        for layer in groups.layers:
            sides = widest.setdefault(layer.kind, [{}, {}])
            for side, group in zip(sides, (layer.in_group, layer.out_group), strict=True):
                side[int(sizes[group])] = int(steps[group]) if group < len(groups) else 0
    layers = []
    for kind, sides in widest.items():
        ins, outs = (_axis(side, grid) for side in sides)
        narrow = Layer(kind, 1, 1).narrow
        layers += [Layer(kind, i, o) for i in ins for o in ([i] if narrow else outs)]
    return layers


def _axis(side: dict[int, int], grid: Grid) -> list[int]:
    """Channels of one side, from its sizes in different occurrences and their steps (0 where a size is fixed)."""
    moving = {size: step for size, step in side.items() if step}
    most = max(moving, default=0)
    return sorted({*side, *(grid.axis(most, moving[most]) if most else ())})


def open_network(name: str, space: str) -> Network:
    """The network that a command line names: a network of the space, or any other name that `read_model` accepts."""
    return read_model(name, 1, space=space, modules=True).network


def layers(
    network: str = "alexnet",
    out: Path = Path("runs/netadapt/layers.txt"),
    space: str = "small_zoo",
    grid: Grid = Grid(),
    direct: int = 0,
    seed: int = 0,
) -> None:
    """List the layers whose latencies a network's adaptation needs.

    `python -m measure run --space layers --archs FILE` measures them.

    Args:
        network: networks of the space, .onnx or .keras files, SPACE:ARCHITECTURE such as zoo:resnet18, or
            torch:MODULE:CALLABLE, which imports that module; several are separated by commas.
        out: file to write, one layer per line.
        space: of the networks.
        grid: numbers of channels.
        direct: number of whole networks of random widths to add per network, beside itself, for checking the sums.
        seed: of the random widths.
    """
    if not 0 <= direct <= 10_000:
        raise InputError(f"--direct must be 0 to 10,000, not {direct}.")
    found = [find_groups(open_network(name, space)) for name in split_names(network)]
    lines = [layer.network().key for layer in layers_to_measure(found, grid)]
    for groups in found if direct else ():
        lines += [Network.of(whole.ops, whole.edges).key for whole in direct_networks(groups, grid, direct, seed)]
    write_text(out, "".join(line + "\n" for line in lines))
    print(f"{len(lines)} layers of {len(found)} networks in {out}")


def direct_networks(groups: Groups, grid: Grid, count: int, seed: int) -> list[Network]:
    """The network and `count` networks of random widths, each width an independent share between a fifth and one."""
    rng = np.random.default_rng(seed)
    steps = groups.steps(grid.conv, grid.dense)
    drawn = np.exp(rng.uniform(np.log(0.2), 0, (count, len(groups)))) * groups.sizes
    widths = np.minimum(np.maximum(np.round(drawn / steps).astype(int), 1) * steps, groups.sizes)
    return [groups.network, *(groups.resized(row) for row in widths)]
