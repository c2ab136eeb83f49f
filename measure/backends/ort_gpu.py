"""onnxruntime's CUDA and TensorRT execution providers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from measure.backends.ort import OnnxRuntime


@dataclass
class OrtCuda(OnnxRuntime):
    """Input and output stay on the first GPU; unsupported ops run on the CPU. fp32 excludes TF32."""

    runtime = "ort_cuda"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16")
    kind = "gpu"
    place = "cuda"
    provider: ClassVar[str] = "CUDAExecutionProvider"

    def lacks(self) -> str:
        import numpy as np
        import onnxruntime

        found = onnxruntime.get_available_providers()
        if self.provider not in found:
            return f"onnxruntime has no {self.provider} (pip install onnxruntime-gpu), only {' and '.join(found)}"
        try:
            onnxruntime.OrtValue.ortvalue_from_shape_and_type([1], np.float32, self.place, 0)
        except RuntimeError as error:
            return f"onnxruntime finds no GPU: {str(error).splitlines()[0].rstrip('.')}"
        return ""

    def inference_session(self, artefact: Path, profile: Path | None = None) -> Any:
        session = super().inference_session(artefact, profile)
        if self.provider not in session.get_providers():  # it would run on the CPU, with no more than a log entry
            raise RuntimeError(f"onnxruntime could not start its {self.provider}; its own log has the reason.")
        return session

    def providers(self) -> list[Any]:
        return [("CUDAExecutionProvider", {"device_id": 0, "use_tf32": 0}), "CPUExecutionProvider"]


@dataclass
class OrtTensorRt(OrtCuda):
    """TensorRT's provider, which builds engines when the session is created: `init` takes seconds to minutes.

    TensorRT uses TF32 for fp32 on GPUs that have it, unless NVIDIA_TF32_OVERRIDE=0 is set.
    """

    runtime = "ort_tensorrt"
    precisions = ("fp32", "fp16", "int8")
    symmetric = True
    provider = "TensorrtExecutionProvider"

    def providers(self) -> list[Any]:
        options = {"device_id": 0} | ({} if self.precision == "fp32" else {f"trt_{self.precision}_enable": True})
        return [(self.provider, options), *super().providers()]
