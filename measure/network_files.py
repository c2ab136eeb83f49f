"""Networks in files, from the key that a campaign gives them to the model that is measured."""

from __future__ import annotations

import os
from pathlib import Path

from datasets.files.reading import listed
from datasets.networks.memory import memory
from datasets.networks.model import Model
from datasets.networks.network import FILES, Network
from datasets.networks.ops import ITEM, VOCABULARY
from datasets.networks.reading import read_model
from datasets.networks.sizes import Sizes
from datasets.records import InputError
from measure.subjects import NetworkFile, shaped


def name_file(path: Path, sizes: Sizes = Sizes()) -> NetworkFile:
    """A network's file under the key that its reader gives it: its name, a digest of its bytes, and given sizes."""
    from datasets.networks.onnx_file import file_key

    suffix = path.suffix.removeprefix(".")
    space = suffix if suffix in FILES else "onnx"
    return NetworkFile(space, file_key(path) + (sizes.label if space == "onnx" else ""), path, sizes)


def read_subject(subject: NetworkFile | Network, batch: int) -> Model:
    """The model of a file, or of a network with seeded weights.

    Onnxruntime runs an ONNX file unchanged; of Keras and TFLite files, and on other runtimes, the network that was read
    from the file is run.

    Raises:
        InputError: the file cannot be read, or is a TFLite file that cannot be built again from what was read.
    """
    if isinstance(subject, Network):
        return shaped(subject, batch)
    model = read_model(subject.path, batch, sizes=subject.sizes)
    if subject.space == "tflite":
        _check_rebuilt(model.network)
    _check_memory(model.network)
    return model


def _check_rebuilt(network: Network) -> None:
    """Refuse a network that is not run from its own file, and has parts that builders do not support."""
    others = {op.kind for op in network.ops} - VOCABULARY - {ITEM}
    others |= {op.attrs["dtype"] for op in network.ops if "dtype" in op.attrs}
    if others or (len(network.inputs), len(network.outputs)) != (1, 1):
        more = f" with {listed(sorted(others))}" if others else ""
        raise InputError(
            f"{network.key} has {len(network.inputs)} inputs and {len(network.outputs)} outputs{more}; of TFLite files "
            "only fp32 networks of one input, one output and known ops are measured. Give it as .onnx, or as the "
            "network that it was written from."
        )


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
