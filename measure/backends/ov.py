"""OpenVINO on the CPU, fp32, bf16 and int8; its name is `openvino`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from datasets.networks.model import Model
from measure.base import Backend, Kernel, Session, Shapes, calibration_inputs
from measure.own_files import files_beside


@dataclass
class OpenVino(Backend):
    """OpenVINO on one stream, with the hint for latency and an explicit precision.

    By default OpenVINO computes fp32 files in bf16 if the processor can. int8 is nncf's post-training quantisation,
    calibrated on seeded inputs.

    Attributes:
        calibration: number of batches that determine the ranges of int8.
    """

    calibration: int = 4

    runtime = "openvino"
    precisions = ("fp32", "bf16", "int8")
    packages = ("openvino",)
    files = (".onnx",)
    sources = (".onnx",)
    computes = ("bf16",)

    def builders(self) -> tuple[str, ...]:
        return ("onnx", "openvino", "nncf") if self.precision == "int8" else ("onnx",)

    def lacks(self) -> str:
        import openvino

        able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return "this processor has no bf16 arithmetic" if self.precision == "bf16" and "BF16" not in able else ""

    def build(self, model: Model, folder: Path) -> Path:
        import onnx

        from measure.builders.onnx_graph import build_onnx

        path = model.file(self.sources)
        if path is None:
            path = folder / "model.onnx"
            onnx.save(build_onnx(model.network, model.weights or {}, self.batch), path)
        return self._quantised(model, path, folder) if self.precision == "int8" else path

    def _quantised(self, model: Model, path: Path, folder: Path) -> Path:
        import contextlib
        import io
        import os

        # otherwise it forks a process that sends telemetry, during measurements
        os.environ.setdefault("NNCF_CI", "1")
        import nncf
        import openvino

        from measure.builders.onnx_precision import quantising

        inputs = calibration_inputs(model, self.batch, self.calibration)

        def quantised(ignored: Any = None) -> Any:
            read = reshaped(openvino.Core().read_model(path), [x.shape for x in inputs[0]])
            return nncf.quantize(read, nncf.Dataset(inputs), subset_size=len(inputs), ignored_scope=ignored)

        with quantising("nncf"), contextlib.redirect_stdout(io.StringIO()):  # progress bars
            try:
                found = quantised()
            except KeyError:  # nncf fails on look-ups at constant indices; look-ups stay in fp32 then
                found = quantised(nncf.IgnoredScope(types=["Gather"], validate=False))
        openvino.save_model(found, folder / "int8.xml", compress_to_fp16=False)
        return folder / "int8.xml"

    def parts(self, artefact: Path) -> list[Path]:
        return [artefact, *([artefact.with_suffix(".bin")] if artefact.suffix == ".xml" else files_beside(artefact))]

    def load(self, artefact: Path, shapes: Shapes = ()) -> Session:
        return _OvSession(self._compiled(artefact, shapes))

    def _compiled(self, artefact: Path, shapes: Shapes, **options: Any) -> Any:
        import openvino

        core = openvino.Core()
        precision = "bf16" if self.precision == "bf16" else "f32"  # also of ops that int8 does not cover
        fixed = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": self.threads, "NUM_STREAMS": 1}
        model = reshaped(core.read_model(artefact), shapes)
        return core.compile_model(model, "CPU", {**fixed, "PERFORMANCE_HINT": "LATENCY", **options})

    def versions(self) -> dict[str, str]:
        import openvino

        return {"openvino": openvino.__version__}

    def profile(self, artefact: Path, inputs: Sequence[np.ndarray], warmup: int, runs: int) -> list[list[Kernel]]:
        shapes = [x.shape for x in inputs]

        def means(count: int = 4) -> list[Kernel]:
            session = _OvSession(self._compiled(artefact, shapes, PERF_COUNT=True))
            session.bind(inputs)
            counters = []
            for number in (warmup, count):
                for _ in range(number):
                    session.run()
                counters.append(session.request.profiling_info)
            before, after = counters
            return mean_kernels(before, after, warmup, count)

        return [means() for _ in range(max(1, runs // 4))]


def mean_kernels(before: list[Any], after: list[Any], warmup: int, runs: int) -> list[Kernel]:
    """Mean times of `runs` runs after `warmup` others, from OpenVINO's counters after the warm-up and after the runs.

    A counter is the mean over all runs since the model was compiled, including the slow first ones, in whole
    microseconds, so that only a small number of runs can be separated from earlier ones. Starts of kernels are not
    reported: each is set to the end of the kernel before.
    """
    kernels, start = [], 0.0
    for old, new in zip(before, after, strict=True):
        if new.status == new.Status.EXECUTED:
            times = ((old.real_time, new.real_time), (old.cpu_time, new.cpu_time))
            total = (((warmup + runs) * b - warmup * a) / timedelta(microseconds=runs) for a, b in times)
            duration, cpu = (max(0.0, mean) for mean in total)  # whole microseconds: a difference may fall below 0
            kernels.append(Kernel(new.node_name, f"{new.node_type} {new.exec_type}", start, duration, cpu))
            start += duration
    return kernels


def reshaped(model: Any, shapes: Shapes) -> Any:
    """OpenVINO's model with the shapes of its inputs fixed, where it leaves sizes open."""
    import openvino

    if shapes and any(x.partial_shape.is_dynamic for x in model.inputs):
        pairs = zip(model.inputs, shapes, strict=True)
        model.reshape({x: openvino.PartialShape(list(shape)) for x, shape in pairs})
    return model


class _OvSession:
    def __init__(self, compiled: Any) -> None:
        self.request = compiled.create_infer_request()
        self.types = [x.element_type for x in compiled.inputs]
        self.inputs: list[Any] = []
        self.outputs = range(len(compiled.outputs))

    def bind(self, inputs: Sequence[np.ndarray]) -> None:
        import openvino

        if not self.inputs:
            pairs = zip(self.types, inputs, strict=True)
            self.inputs = [openvino.Tensor(type_, openvino.Shape(x.shape)) for type_, x in pairs]
            for i, tensor in enumerate(self.inputs):
                self.request.set_input_tensor(i, tensor)
        for tensor, x in zip(self.inputs, inputs, strict=True):
            np.copyto(tensor.data, x)

    def run(self) -> None:
        # start_async and wait: `infer` would also copy the output into a dictionary of arrays
        self.request.start_async()
        self.request.wait()

    def fetch(self) -> list[np.ndarray]:
        return [self.request.get_output_tensor(i).data.copy() for i in self.outputs]
