"""LiteRT (TensorFlow Lite) on the CPU, fp32 and int8: XNNPACK's kernels, or LiteRT's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from datasets.networks.model import Model
from measure.base import Backend, Session, calibration_inputs
from measure.builders.affine import Affine
from measure.builders.nhwc import to_nchw, to_nhwc
from measure.silence import quiet


@dataclass
class LiteRT(Backend):
    """LiteRT on one thread with XNNPACK.

    int8 files have integer inputs and outputs too, as delegates require: `bind` quantises and `fetch` dequantises, so
    that `run` includes neither.

    Attributes:
        calibration: number of batches that determine the ranges of int8.
        converter: write the file with TensorFlow's converter (seconds) instead of directly (milliseconds).
    """

    calibration: int = 4
    converter: bool = False

    runtime = "litert"
    packages = ("ai_edge_litert",)
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "int8")
    kernels: ClassVar[str] = "BUILTIN"

    def builders(self) -> tuple[str, ...]:
        return ("ai_edge_litert", "flatbuffers")

    def build(self, model: Model, folder: Path) -> Path:
        if self.converter:
            from measure.builders.tflite_converter import convert_tflite as build
        else:
            from measure.builders.tflite_graph import build_tflite as build
        count = self.calibration if self.precision == "int8" else 0
        ranges = calibration_inputs(model.network, self.batch, count)
        path = folder / "model.tflite"
        path.write_bytes(build(model.network, model.weights or {}, self.batch, ranges))
        return path

    def load(self, artefact: Path) -> Session:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        with quiet():
            interpreter = Interpreter(
                str(artefact), num_threads=1, experimental_op_resolver_type=OpResolverType[self.kernels]
            )
            interpreter.allocate_tensors()
        return LiteRTSession(interpreter)

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
    """A session of LiteRT's interpreter on this host."""

    def __init__(self, interpreter: Any) -> None:
        self.interpreter = interpreter
        (self.input,), (self.output,) = interpreter.get_input_details(), interpreter.get_output_details()

    def bind(self, x: np.ndarray) -> None:
        self.interpreter.set_tensor(self.input["index"], self.quantise(to_nhwc(x)))

    def run(self) -> None:
        self.interpreter.invoke()

    def fetch(self) -> np.ndarray:
        return to_nchw(self.dequantise(self.interpreter.get_tensor(self.output["index"])))

    def quantise(self, x: np.ndarray) -> np.ndarray:
        """Quantise an input if the file's input is int8."""
        affine = _affine(self.input)
        return affine.quantise(x) if affine else x

    def dequantise(self, y: np.ndarray) -> np.ndarray:
        """Dequantise an output if the file's output is int8."""
        affine = _affine(self.output)
        return affine.dequantise(y) if affine else y


def _affine(detail: dict[str, Any]) -> Affine | None:
    return Affine(*detail["quantization"]) if detail["dtype"] == np.int8 else None
