"""The one way networks are named: a file, `space:key` or `zoo:NAME`; on command lines also a torch module."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from datasets.architectures import Architectures, InputError
from datasets.files.reading import shortened
from datasets.networks.analysis import check_network
from datasets.networks.collection import AnyNetwork, Networks
from datasets.networks.model import Model
from datasets.networks.network import KEYED_BY_JSON, Network, of_key
from datasets.networks.sizes import Sizes

SUFFIXES = (".onnx", ".keras", ".tflite", ".pt2")
OTHERS = tuple(suffix for suffix in SUFFIXES if suffix != ".onnx")
"""Files whose sizes are fixed, except for the batch."""
TORCH = "torch:"
"""What names of torch modules begin with: `torch:torchvision.models:resnet50`."""


def read_model(
    name: str | Path,
    batch: int | None = None,
    weights: bool = True,
    space: str = "",
    modules: bool = False,
    sizes: Sizes = Sizes(),
) -> Model:
    """The network that a text names.

    Args:
        name: an ONNX, Keras or TFLite file, one of torch.export (.pt2), or an architecture of a space after the space's
            text form and a colon: `zoo:resnet18`, `nasbench201(cells=1):|nor_conv_3x3~0|+...`.
        batch: samples per run, where a file leaves it open; networks of spaces leave it open still (`of_batch`).
        weights: whether the weights of a Keras or TFLite file or a torch module are read too.
        space: text form of the space of which a name without a space is an architecture.
        modules: whether `torch:module:callable` is a name too. It imports the module, which runs its code: for texts of
            a command line only, never for those that stand in a file.
        sizes: of dimensions that an ONNX file leaves open, and trips of its loops; other networks have none, and for
            them only what a dimension is for may be given, which is ignored.

    Raises:
        InputError: there is no such file or space, the network cannot be read, or has no such sizes.
    """
    text = str(name)
    if not is_file(text) or text.endswith(OTHERS):
        if flag := sizes.foreign():
            raise InputError(f"{shortened(text)} leaves no sizes open, as ONNX files may; leave {flag} out.")
        batch = batch or sizes.sizes().get("batch")
    if text.startswith(TORCH) and modules:
        from datasets.networks.torch_module import read_torch

        return read_torch(text.removeprefix(TORCH), batch, weights)
    if text.endswith(".keras"):
        from datasets.networks.keras_file import read_keras

        return read_keras(Path(text), batch or 1, weights)
    if text.endswith(".pt2"):
        from datasets.networks.pt2_file import read_pt2

        return read_pt2(Path(text), batch)
    if text.endswith(".tflite"):
        from datasets.networks.tflite_file import read_tflite

        return read_tflite(Path(text), batch, weights)
    if is_file(text):
        from datasets.networks.onnx_file import read_onnx

        return read_onnx(Path(text), batch, sizes)
    archs = read_architectures([text], space)
    return Model(of_batch(archs.space.expand(archs[0]), sizes.sizes().get("batch")))


def of_batch(network: Network, batch: int | None) -> Network:
    """A network for runs of so many samples; None: what it says itself.

    Raises:
        InputError: the network fixes another batch.
    """
    if batch in (None, network.batch):
        return network
    if network.batch is not None:
        raise InputError(f"{shortened(network.key)} fixes its batch at {network.batch}; leave the batch {batch} out.")
    if batch < 1:
        raise InputError(f"A batch has 1 or more images, not {batch}.")
    return replace(network, batch=batch)


def read_architectures(names: Sequence[str], space: str = "") -> Architectures:
    """Networks that texts name: architectures where all are of one space, `Networks` otherwise.

    Args:
        names: as `read_model` takes them, or JSON forms of networks.
        space: text form of the space of which names without a space are architectures.

    Raises:
        InputError: `read_model` refuses a name, or an architecture is malformed.
    """
    return architectures_of([space_and_key(name, space) for name in names])


def architectures_of(pairs: Sequence[tuple[str, str]]) -> Architectures:
    """What pairs of a space and a key, as `space_and_key` gives them, stand for: architectures where all are of one
    space, `Networks` otherwise; as `read_architectures` raises."""
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
    """The text forms of a space and of an architecture that a name stands for; '' and the name where that is a file.

    Args:
        name: `space:key`, the JSON form of a network (of the space `layers`), or a key of `space`.
        space: text form of a space; '' where names have to begin with theirs.

    Raises:
        InputError: the name begins with no space, and none is given.
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
    raise InputError(
        f"There is no file {shortened(name)}; a network is an .onnx, .keras, .tflite or .pt2 file, or "
        "SPACE:ARCHITECTURE as in zoo:resnet18."
    )


_NAMED = re.compile(r"\s*([a-z]\w*(?:\([^()]*\))?):(.*)", re.DOTALL)


def _spaces() -> set[str]:
    import pkgutil

    import datasets.spaces

    return {*(module.name for module in pkgutil.iter_modules(datasets.spaces.__path__)), KEYED_BY_JSON}


def is_file(name: str) -> bool:
    """Whether a text names a file: by its suffix, or because there is one."""
    if name.endswith(SUFFIXES):
        return True
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # a name that is too long, or holds a zero byte
        return False


def split_names(texts: str) -> list[str]:
    """Names of networks that stand in one text, separated by commas; commas of a space's parameters and of its
    architectures do not separate."""
    found: list[str] = []
    for part in re.split(r",(?![^()]*\))", texts):
        name = part.strip()
        inside = found and not is_file(found[-1]) and _NAMED.match(found[-1])
        if inside and not is_file(name) and not _NAMED.match(name):
            found[-1] += f",{part}"
        else:
            found.append(name)
    return found
