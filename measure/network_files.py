"""Networks in files, from the key that a campaign gives them to the model that is measured."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.files.reading import existing, listed, shortened
from datasets.networks.memory import memory
from datasets.networks.model import Model, suffix_of
from datasets.networks.network import Network
from datasets.networks.precision import file_precision
from datasets.networks.reading import TORCH, is_file, no_open_sizes, read_model
from datasets.networks.sizes import Sizes
from datasets.records import InputError
from measure.inputs import read_inputs, sizes_of
from measure.subjects import NetworkFile, Subject, shaped

if TYPE_CHECKING:
    from measure.base import Backend


Named = NetworkFile | Network
"""What a network's name stands for."""


def name_file(
    path: Path, sizes: Sizes = Sizes(), inputs: Path | None = None, others: tuple[Path, ...] = ()
) -> NetworkFile:
    """A network's file under the key that its reader gives it: its name, a digest of its bytes, given sizes and inputs.

    Args:
        path: the file.
        sizes: sizes that the file leaves open.
        inputs: an .npz file of inputs.
        others: files of other formats with the same network and weights.
    """
    from datasets.networks.onnx_file import file_key

    suffix = suffix_of(path)
    space = suffix.removeprefix(".")
    key = file_key(path) + (sizes.label if space != "pt2" else "")
    if inputs:
        read_inputs(inputs)  # refused before anything is measured
    key += f"(inputs={file_key(inputs).rpartition(':')[2]})" if inputs else ""
    return NetworkFile(space, key, path, sizes, file_precision(path), others, inputs)


def name_network(name: str, modules: bool = False, sizes: Sizes = Sizes(), inputs: Path | None = None) -> Named:
    """What a name stands for: a file, a torch module, or the network of an architecture.

    Args:
        name: one that `read_model` accepts.
        modules: whether `torch:module:callable` is accepted too; its module is exported into a temporary folder of
            this process.
        sizes: sizes that the file leaves open besides the batch.
        inputs: an .npz file of the network's inputs.

    Raises:
        InputError: there is no such file or space, or an architecture is malformed.
    """
    if modules and name.startswith(TORCH):
        if flag := sizes.foreign():
            raise no_open_sizes(name, flag)
        from datasets.networks.torch_module import export_torch

        folder = tempfile.mkdtemp()
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        path, *others = export_torch(name.removeprefix(TORCH), Path(folder))
        return name_file(path, inputs=inputs, others=tuple(others))
    if is_file(name):
        return name_file(existing(Path(name), "name an .onnx, .keras, .tflite, .pt2 or .param file"), sizes, inputs)
    if inputs:
        raise InputError(f"--inputs are of networks in files, and {shortened(name)} is none; leave --inputs out.")
    return read_model(name, weights=False, sizes=sizes).network


def subject_of(name: str, space: str, sizes: Sizes = Sizes(), inputs: Path | None = None) -> Named:
    """What a name on the command line stands for, as `name_network` does; other names are architectures of `space`."""
    if is_file(name) or name.startswith(TORCH):
        return name_network(name, modules=True, sizes=sizes, inputs=inputs)
    if inputs:
        raise InputError(f"--inputs are of networks in files, and {shortened(name)} is none; leave --inputs out.")
    return read_model(name, space=space, modules=True, sizes=sizes).network


def named_model(name: str, backend: Backend, space: str, sizes: Sizes = Sizes(), inputs: Path | None = None) -> Model:
    """The model that a name on the command line stands for, for the batch of a backend."""
    return read_subject(subject_of(name, space, sizes, inputs), backend.batch)


def on_device(backend: Backend, subject: Subject) -> Backend:
    """The backend with the precision of a file that it runs as it is: a quantised file belongs to a device of int8."""
    if not isinstance(subject, NetworkFile) or subject.precision == "fp32":
        return backend
    suffixes = {suffix_of(path) for path in (subject.path, *subject.others)}
    return replace(backend, precision=subject.precision) if suffixes & set(backend.files) else backend


def moved_devices(subjects: Sequence[Subject], backends: Sequence[Backend]) -> list[str]:
    """A sentence for each file whose rows belong to devices of another precision than named."""
    found = []
    for file in (subject for subject in subjects if isinstance(subject, NetworkFile)):
        own = [on_device(backend, file).device().name for backend in backends]
        names = [name for name, backend in zip(own, backends, strict=True) if name != backend.device().name]
        if names:
            found.append(f"{file.path.name} computes in {file.precision}: its rows are of {listed(names)}.")
    return found


def read_subject(subject: Named, batch: int) -> Model:
    """The model of a file, or of a network with seeded weights.

    Raises:
        InputError: the file cannot be read, or needs more memory than there is.
    """
    if isinstance(subject, Network):
        return shaped(subject, batch)
    own = read_inputs(subject.inputs) if subject.inputs else {}
    sizes = sizes_of(own, subject.sizes) if own else subject.sizes
    model = read_model(subject.path, batch if batch > 1 else None, sizes=sizes)
    if (fixed := model.network.batch or 1) != batch:
        raise InputError(
            f"{subject.path} has runs of {fixed} samples; name a backend with that batch, as in ort:fp32:{fixed}."
        )
    model = replace(model, others=subject.others, inputs=own)
    _check_memory(model.network)
    return model


def _check_memory(network: Network) -> None:
    """Refuse a network that does not fit into this machine's memory, before a runtime takes all of it."""
    needs = memory(network)
    needed = needs.weights + needs.activations
    available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > available:
        raise InputError(
            f"{network.key} needs {needed / 2**30:.3g} GiB for weights and activations, and this machine has "
            f"{available / 2**30:.3g} GiB; choose a smaller batch or input."
        )
