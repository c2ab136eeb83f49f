"""A predictor with the device as an input: section 5.2 of "Scaling up Deep Neural Network Optimization for Edge
Inference" (Lu et al., 2020)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from datasets.files.checkpoint import array, module, number, restoring
from datasets.records import Architectures, InputError, Measurements
from datasets.spaces import parse_space
from encoders.cell import CellOneHot
from predictors.base import Log, silent
from search.optimizer.synthetic_devices import SyntheticDevices

if TYPE_CHECKING:
    from torch import Tensor, nn

SYNTHETIC = 150
"""Number of synthetic devices that are drawn at once."""
FRESH = 10
"""Number of training steps that use the same synthetic devices."""


@dataclass
class DeviceNet:
    """log cost = mean of d + phi(x) . psi(d - its mean), for an architecture x and a device d.

    A device is the vector of its log costs on K reference architectures, so a device that is twice as slow throughout
    has twice the cost by construction, and a new device needs K measurements. phi reads decisions, relaxed ones too;
    phi and psi are small networks, each plus a linear map. The loss is the squared error of logarithms on real and on
    synthetic devices. It is no `Predictor`, whose devices are a fixed list: it predicts for any device.

    Attributes:
        metric: the predicted metric.
        rank: length of phi and psi.
        hidden: width of the two layers of phi and psi.
        steps: training steps of AdamW.
        devices: devices per step.
        cells: architectures per step.
        real: share of real devices among those of a step.
        learning_rate: peak of the rate, which warms up and then falls to zero along a cosine.
        weight_decay: of AdamW.
        seed: seed of weights, devices and batches.
    """

    metric: str = "latency_ms"
    rank: int = 24
    hidden: int = 64
    steps: int = 1000
    devices: int = 32
    cells: int = 256
    real: float = 0.125
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    seed: int = 0

    references_: Architectures = field(init=False, repr=False, compare=False)
    places_: np.ndarray = field(init=False, repr=False, compare=False)  # [K], of the references in `synthetic_`
    synthetic_: SyntheticDevices = field(init=False, repr=False, compare=False)

    def fit(self, sources: Measurements, references: Architectures, log: Log = silent) -> Self:
        """Fit to source devices, on each of which the `references` were measured.

        Raises:
            InputError: a reference was not measured, or a cost is not above zero.
        """
        import torch

        y = sources.matrix(self.metric)
        rows = np.flatnonzero(~np.isnan(y).any(axis=1))
        archs = sources.architectures[rows]
        self.references_, self.places_ = references, _places(references, archs)
        if not (y[rows] > 0).all():
            raise InputError(f"{self.metric} of {sources.name} has values that are not above zero.")
        x = CellOneHot()(archs)
        self.synthetic_ = SyntheticDevices.of(np.log(y[rows]), x, archs.space.num_choices)
        rng, tensor = np.random.default_rng(self.seed), torch.from_numpy(x)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            self.network_ = self._network(x.shape[1], len(references))
            self._train(torch.from_numpy(np.log(y[rows])).float(), tensor, rng, log)
        return self

    def _train(self, real: Tensor, x: Tensor, rng: np.random.Generator, log: Log) -> None:
        import torch

        from predictors.descent import descend, one_cycle

        optimizer = torch.optim.AdamW(self.network_.parameters(), self.learning_rate, weight_decay=self.weight_decay)
        schedule, count = one_cycle(optimizer, self.learning_rate, self.steps), round(self.real * self.devices)

        def losses() -> Iterator[Tensor]:
            for step in range(self.steps):
                if step % FRESH == 0:
                    drawn = self.synthetic_.sample(SYNTHETIC, rng)
                    logs = torch.cat([real, torch.from_numpy(drawn).float()], dim=1)
                chosen = [rng.integers(0, real.shape[1], count), rng.integers(0, logs.shape[1], self.devices - count)]
                columns = logs[:, np.concatenate(chosen)]
                rows = rng.integers(0, len(x), min(self.cells, len(x)))
                loss = ((self.network_(x[rows][None], columns[self.places_].T[:, None]) - columns[rows].T) ** 2).mean()
                yield loss
                if step % 200 == 199:
                    log(f"step {step + 1} of {self.steps}: loss {float(loss.detach()):.5f}", loss=float(loss.detach()))

        descend(optimizer, losses(), schedule)
        optimizer.zero_grad()
        self.network_.eval().requires_grad_(False)

    def _network(self, features: int, references: int) -> nn.Module:
        from search.optimizer.bilinear import Bilinear

        return Bilinear(features, references, self.hidden, self.rank)

    def vector(self, samples: Measurements) -> np.ndarray:
        """The vector [K] of a device, from measurements of one device that include all references."""
        if len(samples.devices) != 1:
            raise InputError(f"One device at a time: {samples.name} has {len(samples.devices)}.")
        y = samples.matrix(self.metric)[:, 0]
        rows = np.flatnonzero(~np.isnan(y))
        return np.log(y[rows][_places(self.references_, samples.architectures[rows])])

    def predict_relaxed(self, p: Tensor, device: Tensor) -> Tensor:
        """Predictions [...] of relaxed architectures [..., F] on devices [..., K]; leading dimensions are broadcast."""
        return self.network_(p, device).exp()

    def predict(self, archs: Architectures, device: np.ndarray) -> np.ndarray:
        """Costs [A] on one device [K], in the metric's unit."""
        import torch

        with torch.inference_mode():
            costs = self.predict_relaxed(torch.from_numpy(CellOneHot()(archs)), torch.from_numpy(device).float())
        return costs.double().numpy()

    def state(self) -> dict[str, Any]:
        """The fitted network as plain containers and tensors, for `write_checkpoint`."""
        archs, s = self.references_, self.synthetic_
        about = {"space": str(archs.space), "references": archs.keys, "choices": list(s.choices), "reach": s.reach}
        return {
            "settings": {f.name: getattr(self, f.name) for f in fields(self) if f.init},
            **about,
            "logs": s.logs,
            "one_hot": s.one_hot,
            "places": self.places_,
            "network": self.network_.state_dict(),
        }

    @staticmethod
    def restored(state: dict[str, Any]) -> DeviceNet:
        """The network of a `state`.

        Raises:
            InputError: the state was edited.
        """
        with restoring("This network of devices does not fit its settings; was its file edited?"):
            net = DeviceNet(**state["settings"])
            net.references_ = parse_space(state["space"]).parse(state["references"])
            choices = net.references_.space.num_choices
            logs, reach = array(state["logs"], None, None), number(state["reach"])
            net.synthetic_ = SyntheticDevices(logs, array(state["one_hot"], len(logs), sum(choices)), choices, reach)
            net.places_ = array(state["places"], len(net.references_), kind="i")
            if tuple(state["choices"]) != choices or not logs.size or not reach >= 0:
                raise ValueError("devices are of another space")
            if net.places_.min() < 0 or net.places_.max() >= len(logs):
                raise ValueError("references were not measured")
            net.network_ = module(lambda: net._network(sum(choices), len(net.places_)), state["network"])
            net.network_.requires_grad_(False)
            if not np.isfinite(net.predict(net.references_, logs[net.places_, 0])).all():
                raise ValueError("predictions are not finite")
        return net


def _places(wanted: Architectures, among: Architectures) -> np.ndarray:
    """Positions [K] of `wanted` in `among`.

    Raises:
        InputError: some are missing.
    """
    places = among.positions(wanted)
    if wanted.space != among.space or (places < 0).any():
        missing = int((places < 0).sum())
        raise InputError(f"{missing} of {len(wanted)} reference architectures were not measured; measure all of them.")
    return places
