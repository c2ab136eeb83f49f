"""LiteRT (TensorFlow Lite) on the CPU, fp32 and int8: XNNPACK's kernels, or LiteRT's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from datasets.networks.model import Model
from measure.base import Backend, Session, Shapes, calibration_inputs
from measure.builders.affine import Affine
from measure.silence import quiet


@dataclass
class LiteRT(Backend):
    """LiteRT with XNNPACK, by default on one thread.

    int8 files that are built here have integer inputs and outputs too, as delegates require: `bind` quantises and
    `fetch` dequantises, so that `run` includes neither.

    Attributes:
        calibration: number of batches that determine the ranges of int8.
        converter: write the file with TensorFlow's converter (seconds) instead of directly (milliseconds).
    """

    calibration: int = 4
    converter: bool = False

    runtime = "litert"
    packages = ("ai_edge_litert",)
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "int8")
    files = (".tflite",)
    options: ClassVar[tuple[str, ...]] = ("converter",)
    channels_last = True
    kernels: ClassVar[str] = "BUILTIN"

    def builders(self) -> tuple[str, ...]:
        return ("ai_edge_litert", "flatbuffers")

    def build(self, model: Model, folder: Path) -> Path:
        if self.converter:
            from measure.builders.tflite_converter import convert_tflite as build
        else:
            from measure.builders.tflite_graph import build_tflite as build
        count = self.calibration if self.precision == "int8" else 0
        ranges = [x for (x,) in calibration_inputs(Model(model.network), self.batch, count)]
        path = folder / "model.tflite"
        path.write_bytes(build(model.network, model.weights or {}, self.batch, ranges))
        return path

    def load(self, artefact: Path, shapes: Shapes = ()) -> Session:
        return LiteRTSession.of_file(artefact, self.kernels, shapes, self.threads)

    def versions(self) -> dict[str, str]:
        from importlib.metadata import version

        versions = {"ai-edge-litert": version("ai-edge-litert")}
        if self.converter:
            from measure.builders.keras_model import tensorflow

            versions["tensorflow"] = tensorflow().__version__
        return versions


@dataclass
class LiteRTBuiltin(LiteRT):
    """LiteRT's own kernels, without XNNPACK or any other delegate."""

    runtime = "litert_builtin"
    kernels = "BUILTIN_WITHOUT_DEFAULT_DELEGATES"


class LiteRTSession:
    """A session of LiteRT's interpreter on this host.

    Floats for an input of int8 are quantised; if there were such inputs, outputs of int8 are dequantised.
    """

    def __init__(self, interpreter: Any) -> None:
        self.interpreter = interpreter
        self.inputs, self.outputs = interpreter.get_input_details(), interpreter.get_output_details()
        self.real = False

    @classmethod
    def of_file(cls, file: Path, kernels: str, shapes: Shapes = (), threads: int = 1) -> Self:
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
