"""Base classes of neural predictors; Lightning trains them (`training.py`)."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from datasets.files.checkpoint import module
from datasets.records import Architectures, Device, Measurements
from predictors.base import Log
from predictors.new_devices.few_shot import adapted_by, best_ranking, random_subset, read_samples, required, too_few
from predictors.regressor import Inputs, Regressor

if TYPE_CHECKING:
    from torch import nn

    from predictors.training import Batches, TrainingLoop

MOST_INPUTS = 10_000_000
"""Largest number of inputs per architecture; a cell has a few hundred."""


@dataclass
class TorchPredictor(Regressor):
    """A torch network from the encoder's arrays to one scaled label per device; subclasses train it."""

    chunk: ClassVar[int] = 256  # graphs stay in the cache: 1.4 times as fast as 4,096

    @abstractmethod
    def _network(self, x: Inputs, outputs: int) -> nn.Module:
        """An untrained network for inputs like `x`; its `forward` takes them by name."""

    def forward(self, x: Inputs) -> np.ndarray:
        import torch

        with torch.inference_mode():
            return self.network_(**{name: torch.from_numpy(value) for name, value in x.items()}).numpy()

    def state(self) -> dict[str, Any]:
        return {"network": self.network_.state_dict(), "shapes": self._shapes_, "outputs": len(self.scale.mean_)}

    def restore(self, state: dict[str, Any]) -> None:
        outputs = len(self.scale.mean_)
        if state["outputs"] != outputs or getattr(self, "layers", 0) > len(state["network"]):
            raise ValueError("the network has other outputs, or fewer layers")
        self._shapes_ = state["shapes"]
        example = self._example()
        self.network_ = module(lambda: self._network(example, outputs), state["network"])

    def _example(self) -> Inputs:
        """Zeros in the shape of the inputs of one architecture."""
        if any(math.prod(shape) > MOST_INPUTS for shape in self._shapes_.values()):
            raise ValueError(f"an architecture is more than {MOST_INPUTS:,} numbers")
        return {name: np.zeros((1, *shape), np.float32) for name, shape in self._shapes_.items()}

    def to_onnx(self, x: Inputs) -> Any:
        return self._exported(self.network_, x)

    def _exported(self, network: nn.Module, x: Inputs) -> Any:
        """ONNX model of a network that takes inputs like `x` by name."""
        import logging
        import warnings

        import torch

        names = list(x)
        free = {name: {0: torch.export.Dim.DYNAMIC} for name in names}
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network,
                kwargs={name: torch.from_numpy(x[name]) for name in names},
                input_names=names,
                output_names=["z"],
                dynamic_shapes=free,
                dynamo=True,
                verbose=False,
                optimize=True,
            )
        assert program is not None
        return program.model_proto


@dataclass
class NeuralPredictor(TorchPredictor):
    """A torch network that is trained by `TrainingLoop`.

    Attributes:
        epochs: passes over the training set.
        batch_size: architectures per step.
        learning_rate: peak of AdamW's learning rate, which warms up and then falls to zero along a cosine.
        weight_decay: of AdamW.
        loss: between scaled labels and predictions.
        seed: seed of weights, dropout and the order of batches.

    A new device is learnt by fine-tuning: `steps` steps of AdamW at `tuning_rate`, each on all of its labels.
    """

    steps: ClassVar[int] = 40
    tuning_rate: ClassVar[float] = 1e-3

    epochs: int = 100
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    loss: Literal["l1", "mse", "huber"] = "l1"
    seed: int = 0

    @classmethod
    def examples(cls) -> list[Self]:
        quick = {"epochs": 3, "hidden": 16, "layers": 2}
        thorough = {"epochs": 300, "hidden": 64, "layers": 3, "batch_size": 10, "learning_rate": 3e-3}
        known = {f.name for f in fields(cls)}
        return [cls(**{k: v for k, v in args.items() if k in known}) for args in (quick, thorough)]  # type: ignore[arg-type]

    def learn(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None:
        self.network_ = self._training_loop()(lambda: self._initial(x, z), x, z, val, log, self._batches)
        self._shapes_ = {name: list(value.shape[1:]) for name, value in x.items()}

    def _initial(self, x: Inputs, z: np.ndarray) -> nn.Module:
        """The network that training starts from."""
        return self._network(x, z.shape[1])

    def _batches(self, x: Inputs, z: np.ndarray, size: int, shuffle: bool) -> Batches:
        """Divide inputs and labels into batches."""
        from predictors.training import Slices

        return Slices(x, z, size, shuffle)

    def _training_loop(self) -> TrainingLoop:
        from predictors.training import TrainingLoop

        return TrainingLoop(**{f.name: getattr(self, f.name) for f in fields(TrainingLoop)})

    # A new device (`Adaptable`)

    def choose(self, archs: Architectures, n: int, rng: np.random.Generator) -> Architectures:
        """Select `n` of `archs` at random."""
        return random_subset(archs, n, rng)

    def check_new_device(self, device: Device, samples: int) -> None:
        """Require at least one sample."""
        if not samples:
            raise too_few(self, 1, samples)

    def adapt(self, measurements: Measurements | None, device: Device | None = None) -> Self:
        """Return a predictor of one new device, as `Adaptable.adapt` specifies: the network, with the output of the
        source device that ranks the labels best, is trained further."""
        import torch

        from predictors.fine_tuning import aligned, tune, with_output

        m = required(self, measurements, device)
        archs, y, _ = read_samples(self, m, self.scale.kind)
        x = self.encode(archs)
        predicted = self.forward(x)
        best = best_ranking(predicted, y[:, 0])
        new = copy.copy(self)
        new.devices_, new.scale = m.devices, aligned(self.scale, best, predicted[:, best], y[:, 0])
        with torch.random.fork_rng():
            new.network_ = self._network(self._example(), 1)
        with_output(new.network_, self.network_.state_dict(), best, predicted.shape[1])
        ((inputs, target),) = self._batches(x, new.scale.transform(y), len(y), False)
        tune(new.network_, inputs, target, self.steps, self.tuning_rate)
        new.metadata_ = adapted_by(self, m, len(archs))
        return new
