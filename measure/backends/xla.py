"""JAX on the CPU: XLA, compiled ahead of time; its name is `jax`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.networks.model import Model
from measure.base import Backend, Session, Shapes
from measure.silence import fix_xla_threads

if TYPE_CHECKING:
    from types import ModuleType


@dataclass
class Jax(Backend):
    """JAX. The artefact is StableHLO with its weights; `load` compiles it, which takes a second."""

    runtime = "jax"
    packages = ("jax",)
    fixed_threads = True

    def build(self, model: Model, folder: Path) -> Path:
        jax = _jax(self.threads)
        from measure.builders.jax_function import build_jax

        x = jax.ShapeDtypeStruct((self.batch, *model.network.shape(0)), np.float32)
        path = folder / "model.stablehlo"
        function = jax.jit(build_jax(model.network, model.weights or {}))
        path.write_bytes(jax.export.export(function)(x).serialize())
        return path

    def load(self, artefact: Path, shapes: Shapes = ()) -> Session:
        jax = _jax(self.threads)
        exported = jax.export.deserialize(bytearray(artefact.read_bytes()))
        return _JaxSession(jax.jit(exported.call).lower(*exported.in_avals).compile())

    def versions(self) -> dict[str, str]:
        return {"jax": _jax(self.threads).__version__}


def _jax(threads: int) -> ModuleType:
    """JAX, restricted to a number of threads."""
    fix_xla_threads(threads)
    import jax
    import jax.export

    return jax


class _JaxSession:
    def __init__(self, compiled: Any) -> None:
        self.compiled = compiled

    def bind(self, inputs: Sequence[np.ndarray]) -> None:
        import jax.numpy as jnp

        self.x = jnp.array(inputs[0], copy=True).block_until_ready()  # without a copy it may share the caller's memory

    def run(self) -> None:
        self.y = self.compiled(self.x).block_until_ready()

    def fetch(self) -> list[np.ndarray]:
        return [np.array(self.y)]
