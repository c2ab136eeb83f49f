"""The one way a network is named: a file, `space:key` or `zoo:NAME`."""

from __future__ import annotations

from pathlib import Path

from datasets.architectures import InputError
from datasets.files.reading import shortened
from datasets.networks.model import Model

SUFFIXES = (".onnx", ".keras")


def read_model(name: str | Path, batch: int | None = None, weights: bool = True) -> Model:
    """The network that a text names.

    Args:
        name: an ONNX or Keras file, or an architecture of a space after the space's text form and a colon:
            `zoo:resnet18`, `nasbench201(cells=1):|nor_conv_3x3~0|+...`.
        batch: samples per run, where the file or the space leaves it open.
        weights: whether the weights of a Keras file are read too.

    Raises:
        InputError: there is no such file or space, or the network cannot be read.
    """
    text = str(name)
    if text.endswith(".keras"):
        from datasets.networks.keras_file import read_keras

        return read_keras(Path(text), batch or 1, weights)
    if text.endswith(".onnx") or Path(text).is_file():
        from datasets.networks.onnx_file import read_onnx

        return read_onnx(Path(text), batch)
    space, colon, key = text.partition(":")
    if not colon:
        raise InputError(
            f"There is no file {shortened(text)}; a network is an .onnx or .keras file, or SPACE:ARCHITECTURE as in "
            "zoo:resnet18."
        )
    from datasets.spaces import parse_space

    parsed = parse_space(space)
    return Model(parsed.expand(parsed.parse([key])[0]))
