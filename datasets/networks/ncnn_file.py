"""Reader of ncnn's .param files, which describe a network without its weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from datasets.files.reading import shortened
from datasets.networks.model import Model
from datasets.networks.ncnn_layers import Reader
from datasets.networks.ncnn_text import Layer, read_layers
from datasets.networks.onnx_file import file_key
from datasets.networks.onnx_graph import check_totals
from datasets.networks.open_sizes import CHANNELS_FIRST, OpenSizes
from datasets.networks.sizes import Sizes
from datasets.records import InputError


def read_ncnn(path: Path, batch: int | None = None, sizes: Sizes = Sizes()) -> Model:
    """Read the network in a file, without weights.

    The network's space is `param`, its key the file's name, the first twelve digits of the SHA-256 of its bytes, and
    `sizes`; its batch is 1, since ncnn computes one sample at a time. Its outputs are the tensors that no layer reads.

    Args:
        path: the file, in ncnn's text form.
        batch: 1, or None.
        sizes: sizes of the inputs instead of those that the file states; a shape by the name of a layer Input holds for
            all of its tensors that have none.

    Returns:
        The model; its notes list layers that are left out, and what is counted of outputs whose size depends on the
        input.

    Raises:
        InputError: it is no such file, is damaged or too large, or has layers that do not fit each other; it states no
            size of an input, and `sizes` gives none.
    """
    path = Path(path)
    if batch not in (None, 1):
        raise InputError(f"{path} is a network of ncnn, which runs one sample at a time; leave the batch {batch} out.")
    layers, notes = read_layers(path)
    reader = _File(path, changed=bool(sizes.label))
    known, unread = OpenSizes(sizes, 1, path, CHANNELS_FIRST), dict[str, None]()
    for layer in layers:
        if layer.kind == "Input":
            for name in layer.outputs:
                reader.input(name, _input_shape(layer, name, known), layer)
        else:
            reader.read(layer)
        for name in layer.inputs:
            unread.pop(name, None)
        unread.update(dict.fromkeys(layer.outputs))
    known.check()
    if not reader.ports:
        raise InputError(f"{path} has no layer Input, so there is no network to look at.")
    network = reader.finish(file_key(path) + sizes.label, list(unread))
    check_totals(network, str(path))
    shapes = tuple((1, *network.shape(port.node)) for port in network.inputs)
    return Model(network, None, path, (*notes, *reader.notes), shapes=shapes)


class _File(Reader):
    """Reads the layers of a file; shapes that it states hold unless its inputs are `changed`."""

    def __init__(self, path: Path, changed: bool) -> None:
        super().__init__(path)
        self.changed = changed

    def stated(self, layer: Layer) -> list[tuple[int, ...]]:
        return [] if self.changed else super().stated(layer)


def _input_shape(layer: Layer, name: str, known: OpenSizes) -> tuple[int, ...]:
    """The shape of an input: by `sizes`, else as the file states it."""
    tensor, name = name, layer.name if name not in known.shapes and layer.name in known.shapes else name
    stated = [layer.number(key, 0) for key in (2, 11, 1, 0) if key in layer.params]
    own = [side if side > 0 else None for side in stated] or [None] * (_rank(known.shapes.get(name, ())) or 3)
    found = known.shape(name, [1, *[None] * len(own)])[1:]
    shape = [own[i] if side is None else side for i, side in enumerate(found)]
    if None in shape:
        example = "x".join(str(side or 224) for side in (1, *(shape if stated else (3, None, None))))
        raise InputError(
            f"{known.path} does not state the size of its input {shortened(tensor, 60)}; give it, as in --shape "
            f"{shortened(tensor, 60)}={example}."
        )
    return tuple(side for side in shape if side is not None)


def _rank(shape: Sequence[int]) -> int:
    return max(len(shape) - 1, 0)
