"""A network with its weights as the files that others load: PyTorch's, ONNX and TFLite, all of them checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from datasets.networks.model import Model, Weights
from datasets.networks.network import Network
from measure.base import compare_output, expected_output, make_input

NAMES = ("network.pt2", "network.onnx", "network.tflite")


def save_network(network: Network, weights: Weights, folder: Path) -> list[Path]:
    """Write `NAMES` into a folder.

    network.pt2 is what `torch.export` writes: `torch.export.load(path).module()` is an ordinary module for batches of
    any size, and needs nothing of this project. The other two are for one image.

    Raises:
        WrongOutput: a file does not compute what the network does.
    """
    from measure.backends.litert import LiteRT
    from measure.backends.ort import OnnxRuntime

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in NAMES]
    model, x = Model(network, weights), make_input(network, 1)
    expected = expected_output(model, x)
    _save_torch(network, weights, paths[0])
    for backend, path in ((OnnxRuntime(), paths[1]), (LiteRT(), paths[2])):
        backend.build(model, folder).replace(path)
        session = backend.load(path)
        session.bind(x)
        session.run()
        compare_output(session.fetch(), expected, "fp32")
    return paths


def _save_torch(network: Network, weights: Weights, path: Path) -> None:
    import torch

    from measure.build.torch_module import NetworkModule

    module = NetworkModule(network, weights)
    batch = torch.from_numpy(make_input(network, 2))
    program = torch.export.export(module, (batch,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
    torch.export.save(program, path)
    found = torch.export.load(path).module()(batch).detach().numpy()
    compare_output(found, np.asarray(expected_output(Model(network, weights), batch.numpy())), "fp32")
