"""The study of the graph network: `python -m studies.graph_network.study` writes runs/graph_network/summary.json.

- `arena`: rows of the arena, which its own command wrote before.
- `cells`: a small `GraphNet` beside `GCN` on bundled cells that were held out.
- `layers`: `GraphNet` on bundled single layers that were held out, of the split of `studies.perfnetrt.layers`.
- `hosts`: a machine of which nothing was learnt but ten networks.
- `speed`: CPU milliseconds in which a `GraphNet` predicts a network of 500 pieces that it has not seen, with encoding.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from datasets.cli import main
from datasets.files.reading import read_json, read_yaml
from datasets.measured import Measured
from datasets.networks.builder import NetworkBuilder
from datasets.networks.network import Network
from datasets.records import Networks
from datasets.splits import HeldOutArchitectures
from encoders.pieces import PieceGraph
from predictors.base import Predictor
from predictors.config import from_config
from predictors.graph_net import GraphNet
from predictors.networks.together import together
from studies.arena.protocols import scores
from studies.graph_network.hosts import hosts
from studies.parts import run_parts
from studies.study import ROOT

BLOCKS = 167
"""Residual blocks of the network that is predicted: 502 pieces."""
REPEATS = 21
BUNDLED = ROOT / "datasets" / "bundled"


def arena(out: Path) -> list[dict]:
    """Rows of networks and devices that were left out, of the folder `arena` in the study's."""
    return [row for row in read_json(out / "arena" / "summary.json", "make study NAME=graph_network") if "mape" in row]


def held_out(table: str, predictor: Predictor) -> list[dict]:
    """Scores on the test part of a bundled table, per device; errors are in percent."""
    m = Measured(BUNDLED / f"{table}.parquet").measurements()
    parts, start = HeldOutArchitectures(0.7, 0.1)(m, np.random.default_rng(0)), time.process_time()
    predictor.fit(parts.train, parts.val)
    cpu, measured = time.process_time() - start, parts.test.matrix(predictor.metric)
    predicted = predictor.predict_all(parts.test.architectures)
    rows = [scores(y, p) for y, p in zip(measured.T, predicted.T, strict=True)]
    return [{"device": device.name, **row, "fit_cpu_s": cpu} for device, row in zip(m.devices, rows, strict=True)]


def cells() -> list[dict]:
    """Scores of a small `GraphNet` and of `GCN`; `behind`: by how much a rank correlation is below that of `GCN`."""
    rows = {}
    for name in ("gcn", "graph_net_small"):
        tree = read_yaml(ROOT / "configs" / "predictors" / f"{name}.yaml", "")
        rows[name] = held_out("nasbench201", from_config(tree, Predictor))  # type: ignore[type-abstract]
    return [
        {"predictor": name, "behind": gcn["spearman"] - row["spearman"], **row}
        for name, found in rows.items()
        for gcn, row in zip(rows["gcn"], found, strict=True)
    ]


def layers() -> list[dict]:
    """Scores on single layers, by their kind. Of 30, 50 and 60 epochs, validation layers chose."""
    return [
        {"layer": layer, **row}
        for layer in ("convolution", "pooling", "dense")
        for row in held_out(layer, GraphNet(encoder=PieceGraph(padding=True), metric="exe_ms", epochs=60))
    ]


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
    train = together(BUNDLED, ["zoo", "convnet"], [], 100, 0).train
    predictor, ms = GraphNet(epochs=1).fit(train), []
    for side in range(16, 16 + REPEATS):
        network = Networks([residual(BLOCKS, side)])
        start = time.process_time()
        predictor.predict_all(network)
        ms.append(1000 * (time.process_time() - start))
    pieces = len(PieceGraph()(network).nodes)
    return [{"pieces": pieces, "cpu_ms": float(np.median(ms)), "slowest_ms": max(ms)}]


def study(parts: str = "arena,cells,layers,hosts,speed", out: Path = Path("runs/graph_network")) -> None:
    """Collect rows.

    Args:
        parts: names of parts, separated by commas.
        out: folder of summary.json.
    """
    each: dict[str, Callable[[], list[dict]]] = {
        "arena": partial(arena, out),
        "cells": cells,
        "layers": layers,
        "hosts": hosts,
        "speed": speed,
    }
    run_parts(each, parts, out)


if __name__ == "__main__":
    main(study, prog="python -m studies.graph_network.study")
