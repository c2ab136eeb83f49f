"""The study of the graph network: `python -m studies.graph_network.study` writes runs/graph_network/summary.json.

- `arena`: rows of the arena, which its own command wrote before.
- `speed`: CPU milliseconds in which a `GraphNet` predicts a network of 500 pieces that it has not seen, with encoding.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import numpy as np

from datasets.cli import main
from datasets.files.reading import read_json
from datasets.networks.builder import NetworkBuilder
from datasets.networks.network import Network
from datasets.records import Networks
from encoders.pieces import PieceGraph
from predictors.graph_net import GraphNet
from predictors.networks.together import together
from studies.parts import run_parts
from studies.study import ROOT

BLOCKS = 167
"""Residual blocks of the network that is predicted: 502 pieces."""
REPEATS = 21


def arena(out: Path) -> list[dict]:
    """Rows of networks and devices that were left out, of the folder `arena` in the study's."""
    return [row for row in read_json(out / "arena" / "summary.json", "make study NAME=graph_network") if "mape" in row]


def residual(blocks: int, side: int) -> Network:
    """Blocks of two convolutions and a sum, for images of a side."""
    net = NetworkBuilder()
    x = net.pointwise("relu", net.conv(net.add("input", (3, side, side)), 32, 3))
    for _ in range(blocks):
        y = net.conv(net.pointwise("relu", net.conv(x, 32, 3)), 32, 1)
        x = net.add("add", (32, side, side), x, y)
    return Network.of(net.ops, net.edges)


def speed() -> list[dict]:
    """Median CPU milliseconds of one prediction on one thread, of networks of different sizes of images."""
    import torch

    torch.set_num_threads(1)
    train = together(ROOT / "datasets" / "bundled", ["zoo", "convnet"], [], 100, 0).train
    predictor, ms = GraphNet(epochs=1).fit(train), []
    for side in range(16, 16 + REPEATS):
        network = Networks([residual(BLOCKS, side)])
        start = time.process_time()
        predictor.predict_all(network)
        ms.append(1000 * (time.process_time() - start))
    pieces = len(PieceGraph()(network).nodes)
    return [{"pieces": pieces, "cpu_ms": float(np.median(ms)), "slowest_ms": max(ms)}]


def study(parts: str = "arena,speed", out: Path = Path("runs/graph_network")) -> None:
    """Collect rows.

    Args:
        parts: names of parts, separated by commas.
        out: folder of summary.json.
    """
    run_parts({"arena": partial(arena, out), "speed": speed}, parts, out)


if __name__ == "__main__":
    main(study, prog="python -m studies.graph_network.study")
