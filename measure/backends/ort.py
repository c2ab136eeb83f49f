"""onnxruntime on the CPU, fp32 and int8."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from datasets.networks.model import Model
from measure.base import Backend, Kernel, Session, Shapes, calibration_inputs
from measure.own_files import files_beside
from measure.references import tensor_outputs


@dataclass
class OnnxRuntime(Backend):
    """Onnxruntime, by default on one thread with all graph optimisations.

    int8 is static QDQ of the pre-processed model (batch norms folded) with unsigned activations and signed per-channel
    weights, calibrated on seeded inputs.

    Attributes:
        calibration: number of batches that determine the ranges of int8.
        optimization: of the graph: all, extended, basic or none.
        execution: whether nodes that do not depend on each other run in parallel, each on `threads` threads.
    """

    calibration: int = 4
    optimization: Literal["all", "extended", "basic", "none"] = "all"
    execution: Literal["sequential", "parallel"] = "sequential"

    runtime = "ort"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "int8")
    packages: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    files: ClassVar[tuple[str, ...]] = (".onnx",)
    sources: ClassVar[tuple[str, ...]] = (".onnx",)
    options: ClassVar[tuple[str, ...]] = ("optimization", "execution")
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

        path = model.file(self.sources)
        if path is None:
            path = folder / "model.onnx"
            onnx.save(build_onnx(model.network, model.weights or {}, self.batch), path)
        if self.precision == "int8":
            ranges = calibration_inputs(model, self.batch, self.calibration)
            return quantise(path, folder, ranges, self.symmetric)
        return halve(path, folder) if self.precision == "fp16" else path

    def parts(self, artefact: Path) -> list[Path]:
        return [artefact, *files_beside(artefact)]

    def load(self, artefact: Path, shapes: Shapes = ()) -> Session:
        return _OrtSession(self.inference_session(artefact), self.place)

    def inference_session(self, artefact: Path, profile: Path | None = None) -> Any:
        """Onnxruntime's own session; with `profile`, it writes its profile to files with that prefix."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = self.threads if self.execution == "parallel" else 1
        options.execution_mode = getattr(onnxruntime.ExecutionMode, f"ORT_{self.execution.upper()}")
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, _LEVELS[self.optimization])
        # threads of a session would spin after a run, on cores that another session needs: with as many threads as
        # cores, a network takes up to twice as long beside the reference network as alone
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.log_severity_level = 3
        if profile:
            options.enable_profiling, options.profile_file_prefix = True, str(profile)
        return onnxruntime.InferenceSession(artefact, options, providers=self.providers())

    def providers(self) -> list[Any]:
        """Execution providers, in order of preference."""
        return ["CPUExecutionProvider"]

    def versions(self) -> dict[str, str]:
        import onnxruntime

        chosen = {name: str(getattr(self, name)) for name in self.options}
        return {"onnxruntime": onnxruntime.__version__, **chosen}

    def profile(self, artefact: Path, inputs: Sequence[np.ndarray], warmup: int, runs: int) -> list[list[Kernel]]:
        with tempfile.TemporaryDirectory() as folder:
            inference = self.inference_session(artefact, Path(folder) / "profile")
            session = _OrtSession(inference, self.place)
            session.bind(inputs)
            for _ in range(warmup + runs):
                session.run()
            return read_profile(json.loads(Path(inference.end_profiling()).read_text()))[warmup:]


_LEVELS = {"all": "ORT_ENABLE_ALL", "extended": "ORT_ENABLE_EXTENDED", "basic": "ORT_ENABLE_BASIC",
           "none": "ORT_DISABLE_ALL"}  # fmt: skip


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
    """A session whose inputs and outputs are on the network's device; `bind` and `fetch` copy, `run` does not."""

    def __init__(self, session: Any, place: str) -> None:
        self.session, self.place = session, place
        self.names = [x.name for x in session.get_inputs()]
        self.values: dict[str, Any] = {}
        self.binding = session.io_binding()
        self.declared = tensor_outputs(session)
        self.anew = False
        self._bind_outputs()

    def _bind_outputs(self) -> None:
        for name in self.declared:
            self.binding.bind_output(name, self.place)

    def bind(self, inputs: Sequence[np.ndarray]) -> None:
        from onnxruntime import OrtValue

        for name, x in zip(self.names, inputs, strict=True):
            value = self.values.get(name)
            if value is not None and tuple(value.shape()) == x.shape and x.size:
                value.update_inplace(x)
            else:  # on the CPU, the value is the memory of the array itself
                self.values[name] = OrtValue.ortvalue_from_numpy(x.copy(), self.place, 0)
                self.binding.bind_ortvalue_input(name, self.values[name])

    def run(self) -> None:
        if self.anew:
            self._bind_outputs()
        self.session.run_with_iobinding(self.binding)
        self.binding.synchronize_outputs()

    def fetch(self) -> list[np.ndarray]:
        outputs = list(self.binding.copy_outputs_to_cpu())
        # outputs of the last run are refused by the next one where the file says another shape than they have
        self.anew = any(_contradicts(a, y.shape) for a, y in zip(self.declared.values(), outputs, strict=True))
        return outputs


def _contradicts(declared: Sequence[Any], shape: Sequence[int]) -> bool:
    """Whether a shape differs from the one that a file declares, in which sizes may be names."""
    sides = zip(declared, shape, strict=False)
    return len(declared) != len(shape) or any(isinstance(a, int) and a != b for a, b in sides)
