"""LiteRT (TensorFlow Lite) on the CPU, fp32 and int8: XNNPACK's kernels, or LiteRT's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from datasets.networks.model import Model
from measure.base import Backend, Session, Shapes, calibration_inputs
from measure.builders.tflite_session import LiteRTSession


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
        ranges = list[np.ndarray]()
        if self.precision == "int8":
            ranges = [x for (x,) in calibration_inputs(Model(model.network), self.batch, self.calibration)]
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
