"""onnxruntime on the CPU, fp32 and int8."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.records import Architecture
from measure.base import Backend, Session, make_input
from measure.build.weights import Weights


@dataclass
class OnnxRuntime(Backend):
    """One thread, all graph optimisations. int8: static QDQ of the pre-processed model (batch norms folded),
    unsigned activations and signed per-channel weights, calibrated on seeded inputs.

    Attributes:
        calibration: batches that int8 ranges are taken from.
    """

    calibration: int = 4

    runtime = "ort"
    precisions = ("fp32", "int8")

    def build(self, network: Architecture, weights: Weights, folder: Path) -> Path:
        import onnx

        from measure.build.onnx_graph import build_onnx

        if file := network.ops[0].attrs.get("file"):
            path = Path(file)
        else:
            path = folder / "model.onnx"
            onnx.save(build_onnx(network, weights, self.batch), path)
        return path if self.precision == "fp32" else self._quantised(network, path, folder)

    def _quantised(self, network: Architecture, path: Path, folder: Path) -> Path:
        import logging

        import onnx
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

        (name, *_) = (tensor.name for tensor in onnx.load(path, load_external_data=False).graph.input)
        inputs = [make_input(network, self.batch, seed=1000 + i) for i in range(self.calibration)]

        class Reader(CalibrationDataReader):
            def __init__(self) -> None:
                self.batches: Iterator[np.ndarray] = iter(inputs)

            def get_next(self) -> dict[str, np.ndarray] | None:
                x = next(self.batches, None)
                return None if x is None else {name: x}

        prepared, quantised = folder / "prepared.onnx", folder / "int8.onnx"
        logging.disable(logging.WARNING)  # it asks for the pre-processing that has just been done
        try:
            quant_pre_process(path, prepared, skip_symbolic_shape=True)
            quantize_static(
                prepared,
                quantised,
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        finally:
            logging.disable(logging.NOTSET)
        return quantised

    def load(self, artefact: Path) -> Session:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return _OrtSession(onnxruntime.InferenceSession(artefact, options, providers=["CPUExecutionProvider"]))

    def versions(self) -> dict[str, str]:
        import onnxruntime

        return {"onnxruntime": onnxruntime.__version__}


class _OrtSession:
    def __init__(self, session) -> None:  # type: ignore[no-untyped-def]
        self.session = session
        self.binding = session.io_binding()
        self.binding.bind_output(session.get_outputs()[0].name)

    def bind(self, x: np.ndarray) -> None:
        self.binding.bind_cpu_input(self.session.get_inputs()[0].name, x)

    def run(self) -> None:
        self.session.run_with_iobinding(self.binding)

    def fetch(self) -> np.ndarray:
        return self.binding.copy_outputs_to_cpu()[0]
