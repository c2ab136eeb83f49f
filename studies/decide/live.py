"""Checks on this machine, of equal networks and of some that are 5 % slower."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from datasets.files.writing import write_text
from gnomon.check import Checked, against
from studies.decide.journals import NETWORKS
from studies.decide.replays import TOLERANCE

EQUAL, TURNS = ("cell1", "cell5", "mobilenet_v2", "squeezenet", "resnet18"), 4
CHAINS = ((16, 14), (16, 28), (32, 28), (64, 28), (32, 56))
"""Channels, and height and width, of chains of convolutions."""
SECONDS = 120.0
"""Of a check at most: this machine may be busy."""
LAYERS, SLOWER = 40, 42
"""Layers of a chain, and of one that takes 5 % longer."""


def live(out: Path) -> list[dict]:
    """One row for each of 20 checks of equal networks and of 10 of slower ones; goes on where it was stopped."""
    journal = out / "live.json"
    rows = json.loads(journal.read_text()) if journal.is_file() else []
    for turn in range(TURNS):
        pairs = {("equal", name): (NETWORKS[name], NETWORKS[name]) for name in EQUAL}
        for channels, side in CHAINS if turn < 2 else ():
            files = (write_chain(out / "chains", channels, side, layers) for layers in (SLOWER, LAYERS))
            first, second = map(str, files)
            pairs["slower", f"chain_{channels}_{side}"] = first, second
        for (what, name), (network, other) in pairs.items():
            identity = {"what": what, "network": name, "turn": turn}
            if any(identity.items() <= row.items() for row in rows):
                continue
            found = against(network, other, "ort", TOLERANCE, SECONDS)
            rows.append(identity | _row(found))
            print(rows[-1], flush=True)
            write_text(journal, json.dumps(rows))
    return rows


def _row(found: Checked) -> dict:
    values = found.record()
    return {name: values[name] for name in ("verdict", "ratio", "low", "high", "ms", "blocks", "seconds")} | {
        "wrong": float(found.verdict in ("SLOWER", "FASTER")),
        "found": float(found.verdict == "SLOWER"),
    }


def write_chain(folder: Path, channels: int, side: int, layers: int) -> Path:
    """Write an ONNX file of equal 3x3 convolutions, one after another."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(0)
    weights = [
        generator.standard_normal((channels, channels, 3, 3), np.float32) / np.sqrt(9 * channels) for _ in range(layers)
    ]
    nodes = [helper.make_node("Conv", [f"x{i}", f"w{i}"], [f"x{i + 1}"], pads=[1] * 4) for i in range(layers)]
    ends = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, side, side])
        for name in ("x0", f"x{layers}")
    )
    tensors = [numpy_helper.from_array(weight.astype(np.float32), f"w{i}") for i, weight in enumerate(weights)]
    start, end = ends
    graph = helper.make_graph(nodes, "chain", [start], [end], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"chain_{channels}_{side}_{layers}.onnx"
    onnx.save(model, path)
    return path
