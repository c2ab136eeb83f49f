"""What is measured: an architecture, a network, or a network in a file that is read only when its turn comes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.networks.model import Model
from datasets.networks.network import FILES, Network
from datasets.networks.sizes import Sizes
from datasets.records import Architecture, Space
from measure.rows import Row


@dataclass(frozen=True)
class NetworkFile:
    """A network in a file, which is read only when it is measured.

    Attributes:
        space: the file's suffix, `onnx`, `keras`, `tflite` or `pt2`.
        key: the file's name and a digest of its bytes.
        path: path of the file.
        sizes: sizes that the file leaves open; the key contains them.
        precision: precision of the file, which decides on the device of runtimes that run it as it is.
        others: files of other formats with the same network and weights.
        inputs: an .npz file of inputs, instead of drawn ones; the key contains a digest of it.
    """

    space: str
    key: str
    path: Path
    sizes: Sizes = Sizes()
    precision: str = "fp32"
    others: tuple[Path, ...] = ()
    inputs: Path | None = None


Subject = Architecture | Network | NetworkFile
"""What a row measures; journals identify it by its `space` and `key`."""

Prepare = Callable[[Any, int], Model]
"""A function of a subject and a batch that gives the model to measure."""


def whole(space: Space, arch: Architecture, batch: int) -> Model:
    """The whole network of an architecture."""
    return Model(space.expand(arch))


def block(space: Space, arch: Architecture, batch: int) -> Model:
    """The basic block of an architecture alone, as LETI measures it."""
    return Model(space.block(arch))


def shaped(network: Network, batch: int) -> Model:
    """The model of a network, with seeded weights."""
    return Model(network)


def network_of(subject: Subject, model: Model) -> Row:
    """The field `network` of a row of a file: its JSON form, so that the row can be used without the file."""
    return {"network": model.network.to_json()} if subject.space in FILES else {}
