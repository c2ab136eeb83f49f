"""PyTorch, eager mode, on the CPU."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from datasets.networks.model import Model
from datasets.networks.network import Network
from measure.base import Backend, Kernel, Session, Shapes
from measure.host import has_bf16

if TYPE_CHECKING:
    import torch


@dataclass
class Eager(Backend):
    """Inference mode, contiguous (NCHW) tensors, by default one thread.

    In bf16, weights and all floats between ops are bf16.
    """

    runtime = "eager"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "bf16")
    packages = ("torch",)
    files = (".pt2",)
    computes: ClassVar[tuple[str, ...]] = ("bf16",)

    def lacks(self) -> str:
        return "" if self.precision != "bf16" or has_bf16() else "this processor has no bf16 arithmetic (/proc/cpuinfo)"

    def build(self, model: Model, folder: Path) -> Path:
        import torch

        path = folder / "model.pt"
        weights = (model.weights or {}).items()
        arrays = {node: {k: torch.tensor(v) for k, v in w.items()} for node, w in weights}
        torch.save({"network": model.network.to_json(), "weights": arrays}, path)
        return path

    def module(self, artefact: Path, shapes: Shapes = ()) -> tuple[torch.nn.Module, list[torch.Tensor]]:
        """The network of an artefact in this precision, and tensors of zeros for its inputs."""
        module, inputs = self._read(artefact, shapes)
        import torch

        dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(self.precision)
        if dtype is None:
            return module, inputs
        return module.to(dtype), [x.to(dtype) if x.is_floating_point() else x for x in inputs]

    def _read(self, artefact: Path, shapes: Shapes) -> tuple[torch.nn.Module, list[torch.Tensor]]:
        import torch

        from measure.builders.torch_module import NetworkModule

        torch.set_num_threads(self.threads)
        if artefact.suffix == ".pt2":
            from measure.builders.pt2_module import load_pt2

            return load_pt2(artefact, shapes)
        saved = torch.load(artefact, weights_only=True)
        network = Network.from_json(saved["network"])
        weights = {node: {k: v.numpy() for k, v in w.items()} for node, w in saved["weights"].items()}
        return NetworkModule(network, weights, self.batch), [torch.zeros(self.batch, *network.shape(0))]

    def load(self, artefact: Path, shapes: Shapes = ()) -> Session:
        return TorchSession(*self.module(artefact, shapes))

    def versions(self) -> dict[str, str]:
        import torch

        return {"torch": torch.__version__}

    def profile(self, artefact: Path, inputs: Sequence[np.ndarray], warmup: int, runs: int) -> list[list[Kernel]]:
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # otherwise it reports its start and stop on stderr
        import torch
        from torch.profiler import ProfilerActivity, profile, record_function

        session = self.load(artefact, [x.shape for x in inputs])
        session.bind(inputs)
        for _ in range(warmup):
            session.run()
        on_gpu = self.kind == "gpu"
        with profile(activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu) as profiler:
            for _ in range(runs):
                with record_function(_RUN):
                    session.run()
        device = torch.autograd.DeviceType.CUDA if on_gpu else torch.autograd.DeviceType.CPU
        return read_profile(profiler.events(), device)


_RUN = "gnomon run"


def read_profile(events: Any, device: Any) -> list[list[Kernel]]:
    """The events of torch.profiler on a device, per run.

    On a GPU these are kernels and copies, on the CPU the ops that `forward` called itself.
    """
    runs = []
    for run in (event for event in events if event.name == _RUN and event.device_type.name == "CPU"):
        start, end = run.time_range.start, run.time_range.end
        inside = [
            event
            for event in events
            if event.device_type == device and event.name != _RUN and start <= event.time_range.start < end
        ]
        runs.append(
            [
                Kernel(event.name, device.name.lower(), event.time_range.start - start, event.time_range.elapsed_us())
                for event in sorted(inside, key=lambda event: event.time_range.start)
                if event.cpu_parent in (run, None)
            ]
        )
    return runs


class TorchSession:
    """A session of a module with fixed input tensors, on any device and in any precision."""

    def __init__(self, module: Any, inputs: list[torch.Tensor]) -> None:
        self.module, self.inputs = module, inputs

    def bind(self, inputs: Sequence[np.ndarray]) -> None:
        import torch

        for tensor, x in zip(self.inputs, inputs, strict=True):
            tensor.copy_(torch.from_numpy(x))

    def run(self) -> None:
        import torch

        with torch.inference_mode():
            self.outputs = self.module(*self.inputs)

    def fetch(self) -> list[np.ndarray]:
        import torch

        outputs = [self.outputs] if isinstance(self.outputs, torch.Tensor) else self.outputs
        return [(y.float() if y.dtype in (torch.float16, torch.bfloat16) else y).cpu().numpy().copy() for y in outputs]
