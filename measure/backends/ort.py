"""onnxruntime on the CPU, fp32 and int8."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from datasets.networks.model import Model
from measure.base import Backend, Kernel, Session, calibration_inputs


@dataclass
class OnnxRuntime(Backend):
    """Onnxruntime on one thread with all graph optimizations.

    int8 is static QDQ of the pre-processed model (batch norms folded) with unsigned activations and signed per-channel
    weights, calibrated on seeded inputs.

    Attributes:
        calibration: number of batches that determine the ranges of int8.
    """

    calibration: int = 4

    runtime = "ort"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "int8")
    packages: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    symmetric: ClassVar[bool] = False
    """Whether int8 activations are signed, around zero."""
    place: ClassVar[str] = "cpu"
    """Device of input and output while the network runs."""

    def builders(self) -> tuple[str, ...]:
        return ("onnx",) if self.precision == "fp32" else ("onnx", "onnxruntime")

    def build(self, model: Model, folder: Path) -> Path:
        import onnx

        from measure.builders.onnx_graph import build_onnx
        from measure.builders.onnx_precision import halve, quantise

        path = model.source
        if path is None:
            path = folder / "model.onnx"
            onnx.save(build_onnx(model.network, model.weights or {}, self.batch), path)
        if self.precision == "int8":
            ranges = calibration_inputs(model.network, self.batch, self.calibration)
            return quantise(path, folder, ranges, self.symmetric)
        return halve(path, folder) if self.precision == "fp16" else path

    def load(self, artefact: Path) -> Session:
        return _OrtSession(self.inference_session(artefact), self.place)

    def inference_session(self, artefact: Path, profile: Path | None = None) -> Any:
        """Onnxruntime's own session; with `profile`, it writes its profile to files with that prefix."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if profile:
            options.enable_profiling, options.profile_file_prefix = True, str(profile)
        return onnxruntime.InferenceSession(artefact, options, providers=self.providers())

    def providers(self) -> list[Any]:
        """Execution providers, in order of preference."""
        return ["CPUExecutionProvider"]

    def versions(self) -> dict[str, str]:
        import onnxruntime

        return {"onnxruntime": onnxruntime.__version__}

    def profile(self, artefact: Path, x: np.ndarray, warmup: int, runs: int) -> list[list[Kernel]]:
        inference = self.inference_session(artefact, artefact.with_name("profile"))
        session = _OrtSession(inference, self.place)
        session.bind(x)
        for _ in range(warmup + runs):
            session.run()
        return read_profile(json.loads(Path(inference.end_profiling()).read_text()))[warmup:]


def read_profile(events: list[dict[str, Any]]) -> list[list[Kernel]]:
    """The kernels of each run in onnxruntime's profile; starts count from the start of the run."""
    starts = sorted(event["ts"] for event in events if event["name"] == "model_run")
    runs: list[list[Kernel]] = [[] for _ in starts]
    for event in sorted(events, key=lambda event: event["ts"]):
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            run = int(np.searchsorted(starts, event["ts"], side="right")) - 1
            name, kind = event["name"].removesuffix("_kernel_time"), event["args"]["op_name"]
            runs[run].append(Kernel(name, kind, event["ts"] - starts[run], event["dur"]))
    return runs


class _OrtSession:
    """A session whose input and output are on the network's device; `bind` and `fetch` copy, `run` does not."""

    def __init__(self, session: Any, place: str) -> None:
        from onnxruntime import OrtValue

        self.session = session
        (x,), (y,) = session.get_inputs(), session.get_outputs()
        self.name, self.place = x.name, place
        self.x: Any = None
        self.binding = session.io_binding()
        if all(isinstance(side, int) for side in x.shape):
            self._take(OrtValue.ortvalue_from_shape_and_type(x.shape, np.float32, place, 0))
        self.binding.bind_output(y.name, place)

    def _take(self, x: Any) -> None:
        """Read the input from this memory in every run."""
        self.x = x
        self.binding.bind_ortvalue_input(self.name, x)

    def bind(self, x: np.ndarray) -> None:
        from onnxruntime import OrtValue

        if self.x is None:  # the file leaves sizes open
            self._take(OrtValue.ortvalue_from_numpy(x, self.place, 0))
        else:
            self.x.update_inplace(x)

    def run(self) -> None:
        self.session.run_with_iobinding(self.binding)
        self.binding.synchronize_outputs()

    def fetch(self) -> np.ndarray:
        return self.binding.copy_outputs_to_cpu()[0]
