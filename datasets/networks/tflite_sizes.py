"""Sizes that a TFLite file leaves open: LiteRT computes the shapes that all tensors then have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from datasets.files.reading import shortened
from datasets.networks.open_sizes import OpenSizes
from datasets.networks.sizes import Sizes
from datasets.networks.tflite_schema import TFLite
from datasets.packages import absent, not_installed
from datasets.records import InputError


def resized(file: TFLite, path: Path, batch: int | None, sizes: Sizes) -> TFLite:
    """The file with the shapes that its tensors have for other sizes of its inputs."""
    main, known = file.subgraphs[0], OpenSizes(sizes, batch or 1, path)
    shapes = []
    for tensor in (main.tensors[index] for index in main.inputs):
        own = [None if axis in tensor.open else side for axis, side in enumerate(tensor.shape)]
        found = known.shape(tensor.name, own)
        shapes.append([b if a is None or (not i and i in tensor.open) else a
                       for i, (a, b) in enumerate(zip(found, tensor.shape, strict=True))])  # fmt: skip
    known.check()
    if all(tuple(shape) == main.tensors[index].shape for shape, index in zip(shapes, main.inputs, strict=True)):
        return file
    if missing := absent(("ai_edge_litert",)):
        raise InputError(f"{path} leaves sizes open, which LiteRT computes with; {not_installed(missing[0])}.")
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(str(path))
        for detail, shape in zip(interpreter.get_input_details(), shapes, strict=True):
            interpreter.resize_tensor_input(detail["index"], shape)
        interpreter.allocate_tensors()
        found_shapes = {d["index"]: tuple(map(int, d["shape"])) for d in interpreter.get_tensor_details()}
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{path} does not take these sizes ({shortened(error, 100)}); give it others.") from error
    tensors = [
        tensor if tensor.stored else replace(tensor, shape=found_shapes.get(index, tensor.shape), open=tensor.open[:1])
        for index, tensor in enumerate(main.tensors)
    ]
    return replace(file, subgraphs=[replace(main, tensors=tensors), *file.subgraphs[1:]])
