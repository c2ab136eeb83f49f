"""Torch modules as networks: exported to ONNX as they are at inference, and read back."""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.architectures import InputError
from datasets.files.reading import shortened
from datasets.networks.model import Model
from datasets.networks.network import Network

if TYPE_CHECKING:
    import torch

INPUT = (3, 224, 224)
"""Shape of the sample for which a module is exported that has no `example_input_array`."""


def read_module(module: torch.nn.Module, x: torch.Tensor) -> Network:
    """The network of a torch module as it is at inference, for batches like `x`; the module is left as it was."""
    from datasets.networks.onnx_file import read_onnx

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "module.onnx"
        _export(module, x, path)
        return read_onnx(path).network


def read_torch(name: str, batch: int | None = None) -> Model:
    """The network of a module that a person names: `torchvision.models:resnet50`; see `export_torch`."""
    from datasets.networks.onnx_file import read_onnx

    with tempfile.TemporaryDirectory() as folder:
        path = export_torch(name, Path(folder), batch)
        try:
            model = read_onnx(path)
        except InputError as error:
            raise InputError(str(error).replace(str(path), f"torch:{name}")) from None
        return Model(model.network, model.weights)


def export_torch(name: str, folder: Path, batch: int | None = None) -> Path:
    """Write the ONNX file of what a callable of a module returns, for its `example_input_array` or for samples of
    `INPUT`; which of them is told on stderr.

    The module is imported and the callable called without arguments, both of which run code; random weights are seeded.

    Args:
        name: `module:callable`.
        folder: of the file, which is named after the callable.
        batch: samples per run; by default those of the example, or 1.

    Raises:
        InputError: there is no such module or callable, it does not return a `torch.nn.Module`, or torch cannot export
            that for this input.
    """
    import torch

    torch.manual_seed(0)
    module = _called(name)
    x = getattr(module, "example_input_array", None)
    if not isinstance(x, torch.Tensor):
        x = torch.zeros(1, *INPUT)
    x = x if batch is None else x[:1].expand(batch, *x.shape[1:])
    print(f"torch:{name} is read for an input of {'x'.join(map(str, x.shape))}.", file=sys.stderr)
    path = folder / f"{name.rpartition(':')[2].rpartition('.')[2]}.onnx"
    try:
        _export(module, x, path)
    except (Exception, SystemExit) as error:  # a person's own module runs here, and torch's exporter
        why = shortened(" ".join(str(error).split()) or type(error).__name__)
        raise InputError(
            f"torch:{name} cannot be exported for an input of {'x'.join(map(str, x.shape))} ({why}); set its "
            "example_input_array, or export it to ONNX yourself and name that file."
        ) from error
    return path


def _called(name: str) -> torch.nn.Module:
    """What the callable of `module:callable` returns."""
    import torch

    module, _, path = name.partition(":")
    if not path or not all(part.isidentifier() for part in (*module.split("."), *path.split("."))):
        raise InputError(f"torch:{shortened(name)} names no module; write torch:torchvision.models:resnet50.")
    try:
        made: Any = importlib.import_module(module)
        for part in path.split("."):
            made = getattr(made, part)
        made = made if isinstance(made, torch.nn.Module) else made()
    except (Exception, SystemExit) as error:  # a person's own code runs here
        why = shortened(" ".join(str(error).split()) or type(error).__name__)
        raise InputError(f"torch:{name} gives no network ({type(error).__name__}: {why}).") from error
    if not isinstance(made, torch.nn.Module):
        raise InputError(f"torch:{name} gives a {type(made).__name__}, not a torch.nn.Module.")
    return made


def _export(module: torch.nn.Module, x: torch.Tensor, path: Path) -> None:
    import torch

    training = module.training
    device = next((p.device for p in module.parameters()), x.device)
    try:
        with torch.no_grad():
            torch.onnx.export(module.eval(), (x.to(device),), path, dynamo=False)
    finally:
        module.train(training)
