"""Networks by name: a file, `space:key` or `zoo:NAME`; on command lines also a torch module."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from datasets.architectures import Architectures, InputError
from datasets.files.reading import shortened
from datasets.networks.analysis import check_network
from datasets.networks.collection import AnyNetwork, Networks
from datasets.networks.model import Model
from datasets.networks.network import KEYED_BY_JSON, Network, of_key
from datasets.networks.sizes import ROLES, Sizes

SUFFIXES = (".onnx", ".keras", ".tflite", ".pt2", ".param")
OTHERS = tuple(suffix for suffix in SUFFIXES if suffix != ".onnx")
"""Suffixes of files that give their sizes no names."""
FIXED = (".pt2",)
"""Suffixes of files that fix all sizes."""
TORCH = "torch:"
"""Prefix of names of torch modules: `torch:torchvision.models:resnet50`."""


def read_model(
    name: str | Path,
    batch: int | None = None,
    weights: bool = True,
    space: str = "",
    modules: bool = False,
    sizes: Sizes = Sizes(),
) -> Model:
    """Read a network by its name.

    Args:
        name: path of an ONNX, Keras, TFLite, torch.export (.pt2) or ncnn (.param) file, or the text form of a space, a
            colon and an architecture: `zoo:resnet18`, `nasbench201(cells=1):|nor_conv_3x3~0|+...`.
        batch: samples per run of a file that leaves it open; architectures of spaces keep it open (`of_batch`).
        weights: whether to read the weights of Keras and TFLite files and torch modules.
        space: text form of the space of names that begin with no space.
        modules: whether to accept `torch:module:callable`, which imports the module and so runs its code: only for
            names from a command line, never for names from a file.
        sizes: dimensions that a file leaves open, and trips of the loops of an ONNX file. TFLite and Keras files have
            dimensions by role and no trips. Other networks leave none open: of sizes by role they use the batch and
            ignore the rest, and refuse sizes of any other kind. A note names sizes by role that no input has.

    Raises:
        InputError: there is no such file or space, the network cannot be read, or has no such sizes.
    """
    model = _read(str(name), batch, weights, space, modules, sizes)
    return replace(model, notes=(*model.notes, *_unmet(shortened(name), model.network, sizes)))


def no_open_sizes(name: str, flag: str) -> InputError:
    """The error of a flag for sizes that a network does not leave open, to be raised."""
    module = f" Inputs of a module are {EXAMPLE}." if name.startswith(TORCH) else ""
    return InputError(f"{shortened(name)} leaves no sizes open, as ONNX files may; leave {flag} out.{module}")


EXAMPLE = "its attribute example_input_array, without one a tensor of 1x3x224x224"
"""Where the inputs of a torch module come from."""


def _unmet(name: str, network: Network, sizes: Sizes) -> list[str]:
    """A sentence for each size by role, but the batch, that no input of a network has."""
    sides = {side for port in network.inputs for side in network.ops[port.node].attrs["shape"]}
    module = f"; inputs of a module are {EXAMPLE}" if name.startswith(TORCH) else ""
    return [
        f"No input of {name} has the size of --size {role}={size}{module}."
        for role, size in sizes.sizes().items()
        if role in ROLES[1:] and size not in sides
    ]


def _read(text: str, batch: int | None, weights: bool, space: str, modules: bool, sizes: Sizes) -> Model:
    """The model that `read_model` gives, without notes on sizes."""
    if (not is_file(text) or text.endswith(FIXED)) and (flag := sizes.foreign()):
        raise no_open_sizes(text, flag)
    if not is_file(text) or text.endswith(OTHERS):
        batch = batch or sizes.sizes().get("batch")
    if text.startswith(TORCH) and modules:
        from datasets.networks.torch_module import read_torch

        return read_torch(text.removeprefix(TORCH), batch, weights)
    if text.endswith(".keras"):
        from datasets.networks.keras_file import read_keras

        return read_keras(Path(text), batch or 1, weights, sizes)
    if text.endswith(".pt2"):
        from datasets.networks.pt2_file import read_pt2

        return read_pt2(Path(text), batch)
    if text.endswith(".tflite"):
        from datasets.networks.tflite_file import read_tflite

        return read_tflite(Path(text), batch, weights, sizes)
    if text.endswith(".param"):
        from datasets.networks.ncnn_file import read_ncnn

        return read_ncnn(Path(text), batch, sizes)
    if is_file(text):
        from datasets.networks.onnx_file import read_onnx

        return read_onnx(Path(text), batch, sizes)
    archs = read_architectures([text], space)
    return Model(of_batch(archs.space.expand(archs[0]), sizes.sizes().get("batch")))


def of_batch(network: Network, batch: int | None) -> Network:
    """The network with runs of `batch` samples; None keeps its own batch.

    Raises:
        InputError: the batch is less than 1, or the network fixes another.
    """
    if batch in (None, network.batch):
        return network
    if network.batch is not None:
        raise InputError(f"{shortened(network.key)} fixes its batch at {network.batch}; leave the batch {batch} out.")
    if batch < 1:
        raise InputError(f"A batch has 1 or more images, not {batch}.")
    return replace(network, batch=batch)


def read_architectures(names: Sequence[str], space: str = "") -> Architectures:
    """Networks by their names: architectures if all are of one space, otherwise `Networks`.

    Args:
        names: names that `read_model` accepts, and JSON forms of networks.
        space: text form of the space of names that begin with no space.

    Raises:
        InputError: `read_model` refuses a name, or an architecture is malformed.
    """
    return architectures_of([space_and_key(name, space) for name in names])


def architectures_of(pairs: Sequence[tuple[str, str]]) -> Architectures:
    """Networks by pairs of a space and a key, which `space_and_key` returns: architectures if all are of one space,
    otherwise `Networks`. Raises what `read_architectures` raises."""
    from datasets.spaces import parse_space

    spaces = {space for space, _ in pairs}
    if len(spaces) == 1 and not spaces & {"", KEYED_BY_JSON, str(AnyNetwork())}:
        return parse_space(*spaces).parse([key for _, key in pairs])
    found = {}
    for space, key in dict.fromkeys(pairs):
        if space in (KEYED_BY_JSON, str(AnyNetwork())):
            found[space, key] = check_network(of_key(key))
        elif space:
            found[space, key] = Networks.of(parse_space(space).parse([key]))[0]
        else:
            found[space, key] = read_model(key, weights=False).network
    return Networks(found[pair] for pair in pairs)


def space_and_key(name: str, space: str = "") -> tuple[str, str]:
    """Split a name into the text forms of a space and of an architecture; '' and the name if it is that of a file.

    Args:
        name: `space:key`, the JSON form of a network (of the space `layers`), or a key of `space`.
        space: text form of a space; '' if names must begin with their own.

    Raises:
        InputError: the name begins with no space, and `space` is ''.
    """
    if is_file(name):
        return "", name
    if name.startswith("[["):
        return KEYED_BY_JSON, name
    if name.startswith(TORCH):
        raise InputError(
            f"{shortened(name)} would import a module: only a command line may name one, not what stands in a file."
        )
    if match := _NAMED.match(name):
        own, key = match.groups()
        if not space or own.partition("(")[0] in _spaces():
            return own, key
    if space:
        return space, name
    fault = f"There is no file {shortened(name)}" if name.strip() else "The name of a network is empty"
    with suppress(OSError, ValueError):  # of names that are too long, or hold a zero byte
        fault = f"{shortened(name)} is a folder" if name.strip() and Path(name).is_dir() else fault
    raise InputError(
        f"{fault}; a network is an .onnx, .keras, .tflite, .pt2 or .param file, or SPACE:ARCHITECTURE as in "
        "zoo:resnet18."
    )


_NAMED = re.compile(r"\s*([a-z]\w*(?:\([^()]*\))?):(.*)", re.DOTALL)


def _spaces() -> set[str]:
    import pkgutil

    import datasets.spaces

    return {*(module.name for module in pkgutil.iter_modules(datasets.spaces.__path__)), KEYED_BY_JSON}


def is_file(name: str) -> bool:
    """Whether a text is the name of a file: it has a suffix of `SUFFIXES`, or such a file exists."""
    if name.endswith(SUFFIXES):
        return True
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # a name that is too long, or holds a zero byte
        return False


def split_names(texts: str) -> list[str]:
    """Split a text into names of networks at its commas, except for those within the parameters of a space or within an
    architecture."""
    found: list[str] = []
    for part in re.split(r",(?![^()]*\))", texts):
        name = part.strip()
        inside = found and not is_file(found[-1]) and _NAMED.match(found[-1])
        if inside and not is_file(name) and not _NAMED.match(name):
            found[-1] += f",{part}"
        else:
            found.append(name)
    return found
