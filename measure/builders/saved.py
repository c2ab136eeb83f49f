"""Saves a network with its weights for use elsewhere: as PyTorch, ONNX and TFLite files, each of them checked."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from datasets.files.writing import whole_file
from datasets.networks.model import Model, Weights
from datasets.networks.network import Network
from measure.inputs import make_input
from measure.outputs import Expected, compare_output, compare_outputs
from measure.references import expected_output

NAMES = ("network.pt2", "network.onnx", "network.tflite")


def save_network(network: Network, weights: Weights, folder: Path) -> list[Path]:
    """Write the files `NAMES` into a folder, the last one only if LiteRT is installed.

    network.pt2 is written by `torch.export`: `torch.export.load(path).module()` is an ordinary module for batches of
    any size, independent of this project. The other two files are for one image.

    Raises:
        WrongOutput: the output of a file differs from the network's.
    """
    from measure.backends.litert import LiteRT
    from measure.backends.ort import OnnxRuntime

    model, x = Model(network, weights), make_input(network, 1)
    expected = expected_output(model, x)
    with TemporaryDirectory() as made:
        files = [_save_torch(network, weights, Path(made) / NAMES[0])]
        for backend in (runtime for runtime in (OnnxRuntime(), LiteRT()) if not runtime.unavailable()):
            files.append(backend.build(model, Path(made)))
            session = backend.load(files[-1])
            session.bind([backend.layout(x)])
            session.run()
            compare_outputs(session.fetch(), Expected([backend.layout(expected)]), "fp32")
        for file, name in zip(files, NAMES, strict=False):
            with whole_file(folder / name) as part:
                shutil.copyfile(file, part)
    return [folder / name for name in NAMES[: len(files)]]


def _save_torch(network: Network, weights: Weights, path: Path) -> Path:
    import torch

    from measure.builders.torch_module import NetworkModule

    module = NetworkModule(network, weights)
    batch = torch.from_numpy(make_input(network, 2))
    program = torch.export.export(module, (batch,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
    torch.export.save(program, path)
    found = torch.export.load(path).module()(batch).detach().numpy()
    compare_output(found, np.asarray(expected_output(Model(network, weights), batch.numpy())), "fp32")
    return path
