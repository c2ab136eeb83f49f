"""PyTorch, compiled by inductor to C++, on the CPU."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from measure.backends.eager import Eager, TorchSession
from measure.base import Backend, Session, Shapes


@dataclass
class Compiled(Eager):
    """`torch.compile` of the whole network; compiling is part of `load` and takes seconds."""

    runtime = "compiled"
    slow_to_build = True
    profile = Backend.profile  # inductor's fused loops are not timed one by one

    def lacks(self) -> str:
        named = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")  # by inductor too
        found = shutil.which(named) or os.environ.get("TORCH_INDUCTOR_INSTALL_GXX")
        return "" if found else "torch.compile needs a C++ compiler and found none"

    def load(self, artefact: Path, shapes: Shapes = ()) -> Session:
        import torch

        module, inputs = self.module(artefact, shapes)
        # Dynamo caches compiled code by the code of `forward`, and falls back to eager mode after the eighth module
        # that shares it. A traced module has code of its own.
        traced = module if isinstance(module, torch.fx.GraphModule) else torch.fx.symbolic_trace(module)
        session = TorchSession(torch.compile(traced, fullgraph=True), inputs)
        session.run()
        return session
