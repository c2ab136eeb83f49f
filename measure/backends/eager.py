"""PyTorch, eager mode, on the CPU."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datasets.records import Architecture, Op
from measure.base import Backend, Session
from measure.build.weights import Weights

if TYPE_CHECKING:
    import torch


@dataclass
class Eager(Backend):
    """One thread, inference mode, contiguous (NCHW) tensors."""

    runtime = "eager"

    def build(self, network: Architecture, weights: Weights, folder: Path) -> Path:
        import torch

        path = folder / "model.pt"
        graph = {**asdict(network), "ops": [(op.kind, dict(op.attrs)) for op in network.ops]}
        arrays = {node: {k: torch.from_numpy(v) for k, v in w.items()} for node, w in weights.items()}
        torch.save({"graph": graph, "weights": arrays}, path)
        return path

    def load(self, artefact: Path) -> Session:
        import torch

        from measure.build.torch_module import Network

        torch.set_num_threads(1)
        saved = torch.load(artefact, weights_only=True)
        ops = tuple(Op(kind, attrs) for kind, attrs in saved["graph"].pop("ops"))
        weights = {node: {k: v.numpy() for k, v in w.items()} for node, w in saved["weights"].items()}
        return _EagerSession(Network(Architecture(ops=ops, **saved["graph"]), weights, self.batch))

    def versions(self) -> dict[str, str]:
        import torch

        return {"torch": torch.__version__}


class _EagerSession:
    def __init__(self, module: torch.nn.Module) -> None:
        self.module = module

    def bind(self, x: np.ndarray) -> None:
        import torch

        self.x = torch.from_numpy(x)

    def run(self) -> None:
        import torch

        with torch.inference_mode():
            self.y = self.module(self.x)

    def fetch(self) -> np.ndarray:
        return self.y.numpy().copy()
