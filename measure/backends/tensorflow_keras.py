"""TensorFlow's own execution of a Keras model, on the CPU or on a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from datasets.networks.model import Model
from measure.base import Backend, Session
from measure.builders.keras_model import build_keras, tensorflow
from measure.builders.nhwc import to_nchw, to_nhwc
from measure.silence import quiet

if TYPE_CHECKING:
    import keras


@dataclass
class Keras(Backend):
    """Keras on one thread; the model is one compiled graph (a concrete `tf.function`), channels last."""

    runtime = "keras"
    packages = ("tensorflow", "keras")
    slow_to_build = True
    place: ClassVar[str] = "CPU"

    def build(self, model: Model, folder: Path) -> Path:
        path = folder / "model.keras"
        build_keras(model.network, model.weights or {}, self.batch).save(path)
        return path

    def load(self, artefact: Path) -> Session:
        tf = tensorflow()
        import keras

        with quiet(), tf.device(self.place):
            return _KerasSession(keras.saving.load_model(artefact), self.place)

    def versions(self) -> dict[str, str]:
        tf = tensorflow()
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
    def __init__(self, model: keras.Model, place: str) -> None:
        self.tf, self.place = tensorflow(), place
        spec = self.tf.TensorSpec(model.input.shape, "float32")
        self.call = self.tf.function(lambda x: model(x, training=False)).get_concrete_function(spec)

    def bind(self, x: np.ndarray) -> None:
        with self.tf.device(self.place):
            self.x = self.tf.constant(to_nhwc(x))
            self._wait()

    def run(self) -> None:
        self.y = self.call(self.x)
        self._wait()

    def fetch(self) -> np.ndarray:
        return to_nchw(self.y.numpy())

    def _wait(self) -> None:
        """Wait for a GPU, whose kernels are only queued when a call returns."""
        if self.place == "GPU":
            self.tf.test.experimental.sync_devices()
