"""A session of LiteRT's interpreter, with any of its kernels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from measure.builders.affine import Affine
from measure.silence import quiet


class LiteRTSession:
    """A session of LiteRT's interpreter on this host.

    Floats for an input of int8 are quantised; if there were such inputs, outputs of int8 are dequantised.
    """

    def __init__(self, interpreter: Any) -> None:
        self.interpreter = interpreter
        self.inputs, self.outputs = interpreter.get_input_details(), interpreter.get_output_details()
        self.real = False

    @classmethod
    def of_file(cls, file: Path, kernels: str, shapes: Sequence[tuple[int, ...]] = (), threads: int = 1) -> Self:
        """A session of a file.

        Args:
            file: the .tflite file.
            kernels: name of one of LiteRT's `OpResolverType`s.
            shapes: of all inputs, for files that leave sizes open.
            threads: number of threads.
        """
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        with quiet():
            interpreter = Interpreter(
                str(file), num_threads=threads, experimental_op_resolver_type=OpResolverType[kernels]
            )
            for x, shape in zip(interpreter.get_input_details(), shapes, strict=False):
                if tuple(x["shape"]) != tuple(shape):
                    interpreter.resize_tensor_input(x["index"], list(shape))
            interpreter.allocate_tensors()
        return cls(interpreter)

    def bind(self, inputs: Sequence[np.ndarray]) -> None:
        for detail, x in zip(self.inputs, self.quantise(inputs), strict=True):
            self.interpreter.set_tensor(detail["index"], x)

    def run(self) -> None:
        self.interpreter.invoke()

    def fetch(self) -> list[np.ndarray]:
        return self.dequantise([self.interpreter.get_tensor(detail["index"]) for detail in self.outputs])

    def quantise(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Quantise floats for inputs of int8."""
        affine = [
            _affine(detail) if x.dtype.kind == "f" else None for detail, x in zip(self.inputs, inputs, strict=True)
        ]
        self.real = any(affine)
        return [a.quantise(x) if a else x for a, x in zip(affine, inputs, strict=True)]

    def dequantise(self, outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Dequantise outputs of int8 if the inputs were quantised here."""
        affine = [_affine(detail) if self.real else None for detail in self.outputs]
        return [a.dequantise(y) if a else y for a, y in zip(affine, outputs, strict=True)]

    def steps(self) -> tuple[float, ...]:
        """Distance between two values of each output as it is fetched; 0 if it is not quantised."""
        scales = [float(detail["quantization"][0]) for detail in self.outputs]
        whole = [np.dtype(detail["dtype"]).kind in "iu" and not self.real for detail in self.outputs]
        return tuple(1.0 if scale and raw else scale for scale, raw in zip(scales, whole, strict=True))


def _affine(detail: dict[str, Any]) -> Affine | None:
    return Affine(*detail["quantization"]) if detail["dtype"] == np.int8 else None
