"""Torch modules in inference mode as networks: by torch.export, or by an ONNX file if weights are needed."""

from __future__ import annotations

import hashlib
import importlib
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.architectures import InputError
from datasets.files.reading import shortened
from datasets.networks.model import Model
from datasets.networks.network import Network
from datasets.networks.onnx_graph import check_totals

if TYPE_CHECKING:
    import torch

INPUT = (3, 224, 224)
"""Shape of the sample with which modules without an `example_input_array` are exported."""


Inputs = Any
"""A tensor, or a tuple or dict of the arguments of a module's forward."""


def read_module(module: torch.nn.Module, example_inputs: Inputs, key: str = "") -> Network:
    """The network of a torch module in inference mode; nothing is computed, and the module does not change.

    Args:
        module: with weights, on the meta device, or of fake tensors.
        example_inputs: a tensor, or a tuple or dict of forward's arguments, of which only shapes and types matter.
        key: name of the network; by default that of the module's class.

    Raises:
        InputError: torch.export cannot export the module for these inputs, or the result is not a network.
    """
    import torch

    from datasets.networks.torch_ops import TorchReader
    from datasets.networks.torch_program import needs_writing_out, program_of

    what = key or type(module).__name__
    modes = {part: part.training for part in module.modules()}
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)  # one op for attention that no other runtime has
        args, kwargs = _arguments(module.eval(), example_inputs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # from attributes that a module sets during the export
            exported = torch.export.export(module, args, kwargs)
            exported = exported.run_decompositions({}) if needs_writing_out(exported) else exported
    except (Exception, SystemExit) as error:  # a person's own module runs here, and torch's exporter
        why = shortened(" ".join(str(error).split()) or type(error).__name__)
        why += "; set PYTHONPATH to its folder" if isinstance(error, ModuleNotFoundError) else ""
        mend = "set its example_input_array to what its forward takes" if key else "give what its forward takes"
        raise InputError(
            f"{what} cannot be exported by torch.export for an input of {_sizes(example_inputs)} ({why}); {mend}, or "
            "export it to ONNX yourself and name that file."
        ) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for part, mode in modes.items():
            part.training = mode
    network = TorchReader(program_of(exported), what).read("torch", "")
    check_totals(network, what)
    digest = hashlib.sha256(network.to_json().encode()).hexdigest()[:12]
    return replace(network, key=f"{what.rpartition(':')[2].rpartition('.')[2]}:{digest}")


def _arguments(module: torch.nn.Module, example: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and named arguments of forward, on the module's device."""
    import torch
    from torch.utils._pytree import tree_map_only

    device = next((p.device for p in (*module.parameters(), *module.buffers())), None)
    example = tree_map_only(torch.Tensor, lambda x: x if device in (None, x.device) else x.to(device), example)
    if isinstance(example, dict):
        return (), example
    return (example if isinstance(example, tuple) else (example,)), {}


def read_torch(name: str, batch: int | None = None, weights: bool = True) -> Model:
    """Read a module by its name, `torchvision.models:resnet50`; `export_torch` describes how it is made.

    Args:
        name: `module:callable`.
        batch: samples per run; by default those of the example, or 1.
        weights: whether to read the weights too; without them none are allocated.
    """
    if not weights:
        return Model(_named(name, batch))
    from datasets.networks.onnx_file import read_onnx

    with tempfile.TemporaryDirectory() as folder:
        path, *_ = export_torch(name, Path(folder), batch)
        try:
            model = read_onnx(path)
        except InputError as error:
            raise InputError(str(error).replace(str(path), f"torch:{name}")) from None
        return Model(model.network, model.weights)


def _named(name: str, batch: int | None) -> Network:
    """The network of a module, which is made with fake tensors if its code allows."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils._pytree import tree_map_only

    factory, module = _found(name), None
    if not isinstance(factory, torch.nn.Module):
        fake = FakeTensorMode(allow_non_fake_inputs=True)
        try:
            with fake, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # from code that reads values of fake tensors
                module = _called(name, factory)
                x = _example(name, module, batch)
            x = tree_map_only(torch.Tensor, lambda t: t if hasattr(t, "fake_mode") else fake.from_tensor(t), x)
        except InputError:  # its code needs values
            module = None
    if module is None:
        module = _called(name, factory)
        x = _example(name, module, batch)
    _report(name, x)
    return read_module(module, x, f"torch:{name}")


def _example(name: str, module: torch.nn.Module, batch: int | None) -> Inputs:
    """The module's `example_input_array`, or else a sample of shape `INPUT`, in the batch."""
    import torch
    from torch.utils._pytree import tree_leaves, tree_map_only

    x = getattr(module, "example_input_array", None)
    x = tuple(x) if isinstance(x, list) else x
    tensors = [leaf for leaf in tree_leaves(x) if isinstance(leaf, torch.Tensor)]
    if not tensors or not isinstance(x, torch.Tensor | tuple | dict):
        return torch.zeros(batch or 1, *INPUT)
    if batch is None:
        return x
    samples, count = tensors[0].shape[:1], batch

    def expanded(t: torch.Tensor) -> torch.Tensor:
        return t[:1].expand(count, *t.shape[1:]) if t.ndim and t.shape[:1] == samples else t

    return tree_map_only(torch.Tensor, expanded, x)


def _sizes(x: Inputs) -> str:
    """Shapes of tensors, for example 1x3x224x224."""
    import torch
    from torch.utils._pytree import tree_leaves

    shapes = ["x".join(map(str, leaf.shape)) or "1" for leaf in tree_leaves(x) if isinstance(leaf, torch.Tensor)]
    return " and ".join(shapes)


def _report(name: str, x: Inputs) -> None:
    print(f"torch:{name} is read for an input of {_sizes(x)}.", file=sys.stderr)


def export_torch(name: str, folder: Path, batch: int | None = None) -> list[Path]:
    """Write the module that a callable returns as an ONNX file and, if torch.export can, as a .pt2 file, for its
    `example_input_array` or else for samples of shape `INPUT`, and print the shape of the input to stderr.

    The module is imported and the callable called without arguments, both of which run code; random weights are seeded.

    Args:
        name: `module:callable`.
        folder: folder of the files, which are named after the callable.
        batch: samples per run; by default those of the example, or 1.

    Raises:
        InputError: there is no such module or callable, it does not return a `torch.nn.Module`, or torch cannot export
            the module for this input.
    """
    import torch

    torch.manual_seed(0)
    module = _called(name, _found(name))
    x = _example(name, module, batch)
    _report(name, x)
    path = folder / f"{name.rpartition(':')[2].rpartition('.')[2]}.onnx"
    try:
        write_onnx(module, x, path)
    except (Exception, SystemExit) as error:  # a person's own module runs here, and torch's exporter
        why = shortened(" ".join(str(error).split()) or type(error).__name__)
        raise InputError(
            f"torch:{name} cannot be exported for an input of {_sizes(x)} ({why}); set its "
            "example_input_array, or export it to ONNX yourself and name that file."
        ) from error
    return [path, *_saved(module, x, path.with_suffix(".pt2"))]


def _saved(module: torch.nn.Module, x: Inputs, path: Path) -> list[Path]:
    """Write a module by torch.export; no path if torch cannot."""
    import torch

    args, kwargs = _arguments(module.eval(), x)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.export.save(torch.export.export(module, args, kwargs), path)
    except Exception:  # a person's own module runs here, and torch's exporter; the ONNX file is enough
        return []
    return [path]


def _found(name: str) -> Any:
    """Import `module:callable`."""
    module, _, path = name.partition(":")
    if not path or not all(part.isidentifier() for part in (*module.split("."), *path.split("."))):
        raise InputError(f"torch:{shortened(name)} names no module; write torch:torchvision.models:resnet50.")
    with _own_code(name):
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    return found


def _called(name: str, found: Any) -> torch.nn.Module:
    """The module that a callable returns, or the argument itself if it is a module."""
    import torch

    with _own_code(name):
        made = found if isinstance(found, torch.nn.Module) else found()
    if not isinstance(made, torch.nn.Module):
        raise InputError(f"torch:{name} gives a {type(made).__name__}, not a torch.nn.Module.")
    return made


@contextmanager
def _own_code(name: str) -> Iterator[None]:
    """Turn errors of the user's own code into an `InputError`."""
    try:
        yield
    except (Exception, SystemExit) as error:
        why = shortened(" ".join(str(error).split()) or type(error).__name__)
        raise InputError(f"torch:{name} gives no network ({type(error).__name__}: {why}).") from error


def write_onnx(module: torch.nn.Module, x: Inputs, path: Path) -> None:
    """Write a module as an ONNX file for inputs of forward, by the exporter that traces or, for operators that it does
    not know, by the one of torch.export."""
    import torch

    training = module.training
    args, kwargs = _arguments(module, x)
    try:
        with torch.no_grad():
            try:
                torch.onnx.export(module.eval(), args, path, kwargs=kwargs, dynamo=False, verbose=False)
            except torch.onnx.errors.UnsupportedOperatorError:
                torch.onnx.export(module, args, path, kwargs=kwargs, dynamo=True, external_data=False, verbose=False)
    finally:
        module.train(training)
