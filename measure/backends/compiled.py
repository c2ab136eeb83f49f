"""PyTorch, compiled by inductor to C++, on the CPU."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measure.backends.eager import Eager, TorchSession
from measure.base import Backend, Session, Shapes

if TYPE_CHECKING:
    import torch


@dataclass
class Compiled(Eager):
    """`torch.compile` of the whole network; compiling is part of `load` and takes seconds."""

    runtime = "compiled"
    slow_to_build = True
    profile = Backend.profile  # inductor's fused loops are not timed one by one

    def lacks(self) -> str:
        named = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")  # by inductor too
        found = shutil.which(named) or os.environ.get("TORCH_INDUCTOR_INSTALL_GXX")
        return super().lacks() if found else "torch.compile needs a C++ compiler and found none"

    def load(self, artefact: Path, shapes: Shapes = ()) -> Session:
        module, inputs = self.module(artefact, shapes)
        session = TorchSession(compiled(module), inputs)
        session.run()
        return session


def compiled(module: torch.nn.Module) -> Any:
    """A module that inductor compiles in its first run."""
    import torch

    # Dynamo caches compiled code by the code of `forward`, and falls back to eager mode after the eighth module that
    # shares it. A traced module has code of its own.
    traced = module if isinstance(module, torch.fx.GraphModule) else torch.fx.symbolic_trace(module)
    return torch.compile(traced, fullgraph=True)
