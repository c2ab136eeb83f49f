"""TensorFlow's own execution of a Keras model, on the CPU or on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from datasets.networks.model import Model
from measure.base import Backend, Session, Shapes
from measure.builders.keras_model import build_keras, in_order, read_model, tensorflow
from measure.silence import quiet

if TYPE_CHECKING:
    import keras


@dataclass
class Keras(Backend):
    """Keras; the model is one compiled graph (a concrete `tf.function`), channels last."""

    runtime = "keras"
    packages = ("tensorflow", "keras")
    files = (".keras",)
    channels_last = True
    fixed_threads = True
    slow_to_build = True
    place: ClassVar[str] = "CPU"

    def build(self, model: Model, folder: Path) -> Path:
        path = folder / "model.keras"
        build_keras(model.network, model.weights or {}, self.batch).save(path)
        return path

    def load(self, artefact: Path, shapes: Shapes = ()) -> Session:
        tf = tensorflow(self.threads)
        with quiet(), tf.device(self.place):
            return _KerasSession(read_model(artefact), self.place, shapes)

    def versions(self) -> dict[str, str]:
        tf = tensorflow(self.threads)
        import keras

        return {"tensorflow": tf.__version__, "keras": keras.__version__}


@dataclass
class KerasGPU(Keras):
    """Keras on the first NVIDIA GPU, as LETI measures its Keras networks."""

    runtime = "keras_gpu"
    kind = "gpu"
    place = "GPU"

    def lacks(self) -> str:
        if not Path("/dev/nvidiactl").exists():
            return "it has no NVIDIA driver"
        return "" if tensorflow().config.list_physical_devices("GPU") else "TensorFlow sees no GPU"


class _KerasSession:
    def __init__(self, model: keras.Model, place: str, shapes: Shapes = ()) -> None:
        import keras

        self.tf, self.place = tensorflow(), place
        sizes = shapes or [x.shape for x in model.inputs]
        specs = [self.tf.TensorSpec(size, x.dtype) for size, x in zip(sizes, model.inputs, strict=True)]
        function = self.tf.function(lambda *xs: keras.tree.flatten(model(in_order(model, xs), training=False)))
        self.call = function.get_concrete_function(*specs)

    def bind(self, inputs: Sequence[np.ndarray]) -> None:
        with self.tf.device(self.place):
            self.inputs = [self.tf.constant(x) for x in inputs]
            self._wait()

    def run(self) -> None:
        self.outputs = self.call(*self.inputs)
        self._wait()

    def fetch(self) -> list[np.ndarray]:
        return [y.numpy() for y in self.outputs]

    def _wait(self) -> None:
        """Wait for a GPU, whose kernels are only queued when a call returns."""
        if self.place == "GPU":
            self.tf.test.experimental.sync_devices()
