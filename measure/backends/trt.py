"""TensorRT on an NVIDIA GPU, engines built from ONNX files; its name is `tensorrt`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datasets.networks.model import Model
from measure.backends.ort import OnnxRuntime
from measure.base import Session, Shapes
from measure.timing import clock


@dataclass
class TensorRt(OnnxRuntime):
    """TensorRT 10 with strongly typed networks.

    The precision is that of the ONNX file (fp16 by conversion, int8 by explicit QDQ); fp32 excludes TF32. Buffers and
    the stream are torch's.
    """

    runtime = "tensorrt"
    precisions = ("fp32", "fp16", "int8")
    kind = "gpu"
    packages = ("tensorrt", "torch", "onnx", "onnxruntime")
    files = ()
    options = ()
    symmetric = True
    slow_to_build = True
    builds_in_child = True
    bound = "an engine runs only on the kind of GPU that it was built on"

    def builders(self) -> tuple[str, ...]:
        return self.packages

    def lacks(self) -> str:
        import torch

        return "" if torch.cuda.is_available() else "torch.cuda.is_available() is false: no GPU, or torch without CUDA"

    def build(self, model: Model, folder: Path) -> Path:
        import tensorrt as trt

        logger = trt.Logger(trt.Logger.ERROR)
        builder = trt.Builder(logger)
        definition = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(definition, logger)
        if not parser.parse_from_file(str(super().build(model, folder))):
            raise RuntimeError(f"TensorRT does not read the ONNX file: {parser.get_error(0).desc()}")
        config = builder.create_builder_config()
        config.clear_flag(trt.BuilderFlag.TF32)
        engine = builder.build_serialized_network(definition, config)
        if engine is None:
            raise RuntimeError("TensorRT built no engine; its own log has the reason.")
        path = folder / "model.engine"
        path.write_bytes(engine)
        return path

    def parts(self, artefact: Path) -> list[Path]:
        return [artefact]

    def load(self, artefact: Path, shapes: Shapes = ()) -> Session:
        return _TrtSession(artefact.read_bytes())

    def versions(self) -> dict[str, str]:
        import tensorrt as trt
        import torch

        return {"tensorrt": trt.__version__, "cuda": str(torch.version.cuda), "gpu": torch.cuda.get_device_name()}


class _TrtSession:
    def __init__(self, serialised: bytes) -> None:
        import tensorrt as trt
        import torch

        self.runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))  # has to live as long as its engine
        engines: list[Any] = []
        self.engine_ms, _ = clock(lambda: engines.append(self.runtime.deserialize_cuda_engine(serialised)))
        (self.engine,) = engines
        self.context = self.engine.create_execution_context()
        self.stream = torch.cuda.Stream()
        names = [self.engine.get_tensor_name(i) for i in range(self.engine.num_io_tensors)]
        reads = [self.engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT for name in names]
        buffers = [self._buffer(name) for name in names]
        self.inputs = [buffer for buffer, read in zip(buffers, reads, strict=True) if read]
        self.outputs = [buffer for buffer, read in zip(buffers, reads, strict=True) if not read]

    def _buffer(self, name: str) -> Any:
        import tensorrt as trt
        import torch

        dtype = getattr(torch, np.dtype(trt.nptype(self.engine.get_tensor_dtype(name))).name)
        buffer = torch.zeros(tuple(self.engine.get_tensor_shape(name)), device="cuda", dtype=dtype)
        self.context.set_tensor_address(name, buffer.data_ptr())
        return buffer

    def bind(self, inputs: Sequence[np.ndarray]) -> None:
        import torch

        for buffer, x in zip(self.inputs, inputs, strict=True):
            buffer.copy_(torch.from_numpy(x))
        torch.cuda.synchronize()

    def run(self) -> None:
        if not self.context.execute_async_v3(self.stream.cuda_stream):
            raise RuntimeError("TensorRT could not run its engine; its own log has the reason.")
        self.stream.synchronize()

    def fetch(self) -> list[np.ndarray]:
        return [buffer.cpu().numpy() for buffer in self.outputs]
