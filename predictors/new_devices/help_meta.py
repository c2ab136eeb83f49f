"""HELP: a meta-learnt network that adapts to a device by latencies of a few reference architectures."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from datasets.files.checkpoint import array, module
from datasets.records import Architectures, Device, InputError, Measurements
from encoders.base import GraphEncoder, VectorEncoder
from encoders.cell import CellGraph
from predictors.base import Log, silent
from predictors.neural import TorchPredictor
from predictors.new_devices.few_shot import for_new_device, random_subset, required, too_few
from predictors.regressor import Inputs
from predictors.scaling import Scale

if TYPE_CHECKING:
    from predictors.new_devices.meta_sgd import Learner, TaskNet


@dataclass
class HelpMeta(TorchPredictor):
    """HELP (Lee et al., "Hardware-adaptive Efficient Latency Prediction for NAS via Meta-Learning", NeurIPS 2021).

    A device is represented by its latencies on fixed reference architectures, scaled to [0, 1]; two steps of gradient
    descent, of learnt sizes, adapt the network to the measurements. The references, drawn from the training set, have
    to be measured on every device, the new one included. HELP averages over random modulators; here their mean is used,
    so an adapted predictor is one network.

    Attributes:
        encoder: graphs with a global node first, or vectors (HELP: one-hot, two layers).
        hidden: width of graph convolutions (or dense layers on vectors) and of the device's branch; the head is twice
            as wide.
        layers: of the architecture's branch.
        references: number of reference architectures.
        episodes: of meta-training.
        tasks: devices per episode.
        support: architectures per device that networks are adapted on.
        query: architectures per device that adapted networks are evaluated on.
        steps: of gradient descent when adapting.
        step_size: initial value of the learnt step sizes.
        learning_rate: peak of Adam's learning rate, which warms up and then falls to zero along a cosine.
        divergence: weight of the modulators' Kullback-Leibler divergence.
        seed: seed of weights, episodes and references.
    """

    scale: Scale = field(default_factory=lambda: Scale("linear"))
    encoder: GraphEncoder | VectorEncoder = field(default_factory=CellGraph)
    hidden: int = 100
    layers: int = 4
    references: int = 10
    episodes: int = 2000
    tasks: int = 8
    support: int = 10
    query: int = 200
    steps: int = 2
    step_size: float = 1e-3
    learning_rate: float = 1e-3
    divergence: float = 0.1
    seed: int = 0

    references_: Architectures = field(init=False, repr=False, compare=False)

    @classmethod
    def examples(cls) -> list[Self]:
        quick = cls(hidden=16, layers=2, episodes=30, query=20, references=5, tasks=1, support=4)
        return [quick, cls(hidden=64, layers=3, episodes=150, learning_rate=3e-3)]

    def fit(self, train: Measurements, val: Measurements | None = None, log: Log = silent) -> Self:
        y = train.matrix(self.metric)
        common = np.flatnonzero(~np.isnan(y).any(axis=1))
        if len(common) < self.references:
            raise InputError(
                f"{len(common)} architectures of {train.name} were measured on all of its devices; "
                f"{self.references} are needed as references."
            )
        rows = np.random.default_rng(self.seed).choice(common, self.references, replace=False)
        self.references_ = train.architectures[rows]
        self._rows = np.cumsum(~np.isnan(y).all(axis=1))[rows] - 1  # among the rows with a label
        return super().fit(train, val, log)

    def _network(self, x: Inputs, outputs: int) -> TaskNet:
        from predictors.new_devices.meta_sgd import GraphTaskNet, VectorTaskNet

        kind, features = (GraphTaskNet, x["nodes"]) if "nodes" in x else (VectorTaskNet, x["x"])
        return kind(outputs, features.shape[-1], self.hidden, self.layers, self.references)

    def _learner(self, x: Inputs) -> Learner:
        from predictors.new_devices.meta_sgd import Learner

        return Learner(self._network(x, 1), self.step_size)

    def learn(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None:
        import torch

        from predictors.new_devices.meta_sgd import Episodes

        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            self.learner_ = self._learner(x)
            hardware = _hardware(z[self._rows])
            Episodes(**{f.name: getattr(self, f.name) for f in fields(Episodes)})(self.learner_, x, z, hardware, log)
        self._adapt(x, z, hardware)

    def _adapt(self, x: Inputs, z: np.ndarray, hardware: np.ndarray) -> None:
        """Build the network of the devices of scaled labels [A, D], adapted on all labels."""
        import torch

        from predictors.new_devices.meta_sgd import tensors

        labels, references = torch.from_numpy(z.astype(np.float32)), torch.from_numpy(hardware)
        weights, _ = self.learner_.adapted(tensors(x), labels, references, self.steps)
        self._shapes_ = {name: list(value.shape[1:]) for name, value in x.items()}
        self.network_ = self._network(x, z.shape[1])
        self.network_.load_state_dict({k: v.detach() for k, v in weights.items()} | {"hardware": references})
        self.network_.eval()

    def choose(self, archs: Architectures, n: int, rng: np.random.Generator) -> Architectures:
        """Select all references, whether among `archs` or not, then random others of `archs`."""
        if n < self.references:
            raise InputError(
                f"HELP measures its {self.references} references first; ask for {self.references} or more."
            )
        known = set(self.references_.keys)
        others = archs[np.array([i for i, key in enumerate(archs.keys) if key not in known], int)]
        if n == self.references:
            return self.references_
        more = random_subset(others, n - self.references, rng)
        return Architectures(archs.space, np.concatenate([self.references_.decisions, more.decisions]))

    def check_new_device(self, device: Device, samples: int) -> None:
        """Require as many samples as references."""
        if samples < self.references:
            raise too_few(self, self.references, samples)

    def adapt(self, measurements: Measurements | None, device: Device | None = None) -> Self:
        """Return a predictor of one new device, adapted on all measurements, which must hold the references."""
        measurements = required(self, measurements, device)
        new, archs, z = for_new_device(self, measurements)
        place = {key: i for i, key in enumerate(archs.keys)}
        if missing := [key for key in self.references_.keys if key not in place]:
            raise InputError(
                f"{measurements.name} lacks {len(missing)} of HELP's references (first: {missing[0]}): measure them."
            )
        new.references_, new.learner_ = self.references_, self.learner_
        new._adapt(new.encode(archs), z, _hardware(z[[place[key] for key in self.references_.keys]]))
        return new

    def state(self) -> dict[str, Any]:
        return super().state() | {"learner": self.learner_.state_dict(), "references": self.references_.decisions}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        example = self._example()
        self.learner_ = module(lambda: self._learner(example), state["learner"])
        self.references_ = Architectures(self.space_, array(state["references"], self.references, None, kind="i"))


def _hardware(z: np.ndarray) -> np.ndarray:
    """Device vectors [D, K]: scaled labels of the references [K, D], per device from 0 to 1."""
    low, high = z.min(axis=0), z.max(axis=0)
    return ((z - low) / np.where(high > low, high - low, 1)).T.astype(np.float32)
