"""PyTorch on an NVIDIA GPU: eager mode, CUDA graphs, and compiled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.packages import absent, version_of
from measure.backends.compiled import compiled
from measure.backends.eager import Eager, TorchSession
from measure.base import Session, Shapes

if TYPE_CHECKING:
    import torch


@dataclass
class Cuda(Eager):
    """Eager mode on the current GPU, where input and output stay. fp32 excludes TF32."""

    runtime = "cuda"
    precisions = ("fp32", "fp16", "bf16")
    computes = ("fp16", "bf16")
    kind = "gpu"

    def lacks(self) -> str:
        if version_of("torch").endswith("+cpu"):  # importing it takes a second
            return "torch was built without CUDA"
        import torch

        return "" if torch.cuda.is_available() else "torch.cuda.is_available() is false: no GPU, or torch without CUDA"

    def module(self, artefact: Path, shapes: Shapes = ()) -> tuple[torch.nn.Module, list[torch.Tensor]]:
        import torch

        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        module, inputs = super().module(artefact, shapes)
        return module.to("cuda"), [x.to("cuda") for x in inputs]

    def load(self, artefact: Path, shapes: Shapes = ()) -> Session:
        return _CudaSession(*self.module(artefact, shapes))

    def versions(self) -> dict[str, str]:
        import torch

        gpu = torch.cuda.get_device_name()
        return {
            **super().versions(),
            "cuda": str(torch.version.cuda),
            "cudnn": str(torch.backends.cudnn.version()),
            "gpu": gpu,
        }


@dataclass
class CudaGraphs(Cuda):
    """CUDA graphs: all kernels of the network are captured once by `load` and started together."""

    runtime = "cuda_graphs"

    def load(self, artefact: Path, shapes: Shapes = ()) -> Session:
        return _GraphSession(*self.module(artefact, shapes))


@dataclass
class CudaCompiled(Cuda):
    """`torch.compile` of the whole network to Triton's kernels; compiling is part of `load` and takes many seconds."""

    runtime = "cuda_compiled"
    slow_to_build = True

    def lacks(self) -> str:
        return super().lacks() or ("torch.compile needs Triton for GPUs" if absent(("triton",)) else "")

    def load(self, artefact: Path, shapes: Shapes = ()) -> Session:
        module, inputs = self.module(artefact, shapes)
        session = _CudaSession(compiled(module), inputs)
        session.run()
        return session


class _CudaSession(TorchSession):
    def bind(self, inputs: Sequence[np.ndarray]) -> None:
        import torch

        super().bind(inputs)
        torch.cuda.synchronize()

    def run(self) -> None:
        import torch

        super().run()
        torch.cuda.synchronize()


class _GraphSession(_CudaSession):
    """A session of a graph with fixed buffers: `bind` writes its input, `fetch` reads its output."""

    def __init__(self, module: Any, inputs: list[torch.Tensor]) -> None:
        import torch

        super().__init__(module, inputs)
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # libraries choose their algorithms and take their memory in the first runs
            for _ in range(3):
                TorchSession.run(self)
        torch.cuda.current_stream().wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            TorchSession.run(self)

    def run(self) -> None:
        import torch

        self.graph.replay()
        torch.cuda.synchronize()
