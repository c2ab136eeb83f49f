"""`FewShot`: predictors that learn source devices once, and a new device as a linear model from a few measurements."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np

from datasets.files.checkpoint import array, number
from datasets.records import Architectures, Device, InputError, Measurements
from encoders.base import VectorEncoder
from encoders.cell import CellOneHot
from encoders.device import DeviceSpecs
from encoders.flat import Joined
from predictors.base import Log
from predictors.linear import Linear
from predictors.new_devices.few_shot import adapted_by, distances, new_device, random_subset, read_samples, required
from predictors.regressor import Inputs, Regressor
from predictors.scaling import Scale
from predictors.trees import XGBoost

KEPT = 20_000
"""Largest number of architectures whose features are cached."""
GUESSES = 3.0
"""Number of devices as whose errors the prior of `guessed_variance` counts."""


def additive() -> Regressor:
    """Default source model: per source device a linear model of the logarithm of labels on one-hot decisions. On source
    devices that were left out, a small net and a mean of both were no better."""
    return Linear(scale=Scale("log"), encoder=CellOneHot())


@dataclass
class FewShot(Regressor):
    """Predicts the source devices once fitted, and a new device once adapted.

    The model of a new device is linear in the predictions of the source model (one per source device) and in an
    encoded vector; subclasses fit its weights. So adapting takes milliseconds, predicting costs little more than the
    source model, and adapted predictors are saved and exported like any other.

    Attributes:
        source: model of the source devices; it is fitted with this predictor.
        encoder: gives the features beside the source model's predictions.
        labels: kind of label scale of a new device; that of the source devices is `scale`.
    """

    source: Regressor = field(default_factory=additive)
    encoder: VectorEncoder = field(default_factory=CellOneHot)
    labels: Literal["log", "linear"] = "log"

    line_: np.ndarray | None = field(init=False, repr=False, compare=False, default=None)  # weights, once adapted
    sources_: Scale = field(init=False, repr=False, compare=False)  # of the source devices' labels
    cache_: dict[str, Any] = field(init=False, repr=False, compare=False)  # of `features`

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(), cls(source=XGBoost.examples()[-1])]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source.metric != self.metric:
            raise InputError(f"The source model predicts {self.source.metric}, not {self.metric}.")

    @property
    def chunk(self) -> int:  # type: ignore[override]
        """Number of architectures that are predicted at once: that of the source model."""
        return self.source.chunk

    @abstractmethod
    def _learn(self, samples: np.ndarray, t: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, float]:
        """Fit weights [features] and bias to features [n, features] and scaled labels [n] of the new device; `noise`
        [n] is the variance of the labels as estimated from repeats."""

    def _label_scale(self, features: np.ndarray, y: np.ndarray) -> Scale:
        """Label scale of the new device, from labels [n, 1] and features [n, features]."""
        return Scale(self.labels).fit(y)

    # Fitting on the source devices

    def arrays(self, archs: Architectures) -> Inputs:
        sources = {f"source_{name}": value for name, value in self.source.arrays(archs).items()}
        return {**sources, "x": self.encoder(archs)}

    def _source_predictions(self, x: Inputs) -> np.ndarray:
        """Predictions [A, S] of the source model, on the label scale of the source devices."""
        return self.sources_.transform(self.source.scale.inverse(self.source.forward(_source_inputs(x))))

    def _features(self, x: Inputs) -> np.ndarray:
        """Standardised features [A, S + F]: predictions of the source model, then the encoded vector."""
        return (np.concatenate([self._source_predictions(x), x["x"]], axis=1) - self.center_) / self.width_

    def features(self, archs: Architectures) -> np.ndarray:
        """Standardised features [A, S + F]; cached for the last `archs` object, since adapting does not change them."""
        if self.cache_.get("archs") is not archs:
            parts = [self._features(self.encode(archs[i : i + self.chunk])) for i in range(0, len(archs), self.chunk)]
            self.cache_.update(archs=archs, features=np.concatenate(parts))
        return self.cache_["features"]

    def predict_all(self, archs: Architectures, chunk: int = 0) -> np.ndarray:
        """Predictions [A, D] in the metric's unit; features of the last `archs` are cached."""
        if self.line_ is None or chunk or not 0 < len(archs) <= KEPT:
            return super().predict_all(archs, chunk)
        return self.scale.inverse(self.features(archs) @ self.line_[:, None] + self.bias_)

    def _sizes(self) -> list[int]:
        """Number of features per block: the source predictions, then the parts of the vector that have any."""
        sources = len(self.sources_.std_)
        parts = self.encoder.sizes(self.space_) if isinstance(self.encoder, Joined) else [len(self.width_) - sources]
        return [sources, *(size for size in parts if size)]

    def learn(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None:
        y = self.scale.inverse(z)
        self.sources_, self.line_, self.cache_ = copy.deepcopy(self.scale), None, {}
        self.source.space_, self.source.devices_ = self.space_, self.devices_
        self.source.scale.fit(y)
        source_val = None
        if val is not None:
            source_val = _source_inputs(val[0]), self.source.scale.transform(self.scale.inverse(val[1]))
        self.source.learn(_source_inputs(x), self.source.scale.transform(y), source_val, log)
        all_ = np.concatenate([self._source_predictions(x), x["x"]], axis=1)
        self.center_, std = all_.mean(axis=0), all_.std(axis=0)
        self.width_ = np.where(std > 1e-9 * np.abs(all_).max(axis=0), std, 1.0)
        self.width_ = self.width_ * np.sqrt(np.repeat(self._sizes(), self._sizes()))  # every block has variance 1
        self.covariance_ = np.atleast_2d(np.cov(all_[:, : len(self.sources_.std_)].T))  # of source predictions [S, S]

    # A new device

    def choose(self, archs: Architectures, n: int, rng: np.random.Generator) -> Architectures:
        """Select `n` of `archs` at random."""
        return random_subset(archs, n, rng)

    def check_new_device(self, device: Device, samples: int) -> None:
        """Accept any device with samples, and devices of known kinds without."""
        if not samples:
            DeviceSpecs()([device])

    def adapt(self, measurements: Measurements | None, device: Device | None = None) -> Self:
        """Return a predictor of one new device, as `Adaptable.adapt` specifies."""
        if measurements is None:
            return self._from_specs(new_device(None, device))
        measurements = required(self, measurements, device)
        archs, y, noise = read_samples(self, measurements, self.labels)
        new, features = copy.copy(self), self._features(self.encode(archs))
        new.devices_, new.scale = measurements.devices, self._label_scale(features, y)
        unit = (1.0 if self.labels == "log" else y[:, 0]) / new.scale.std_
        new.line_, new.bias_ = new._learn(features, new.scale.transform(y)[:, 0], noise * unit**2)
        new.metadata_ = adapted_by(self, measurements, len(archs))
        return new

    def _from_specs(self, device: Device) -> Self:
        """Predictor of a device without measurements: mean of the source devices, weighted by exp(-d^2 / 2) with the
        distance d of published specifications. The unit of d is chosen by leaving each source device out; mean and
        deviation of the labels are weighted means too."""
        self._require_sources()
        squared = distances(self.devices_, device)
        weights = _kernel_weights(squared, _squared_unit(squared[:-1], self.covariance_))[-1]
        new = copy.copy(self)
        new.devices_, new.scale = (device,), Scale(self.sources_.kind)
        new.scale.mean_, new.scale.std_ = (
            np.array([weights @ part]) for part in (self.sources_.mean_, self.sources_.std_)
        )
        sources = len(weights)
        new.line_ = np.append(weights * self.width_[:sources], np.zeros(len(self.width_) - sources))
        new.bias_ = float(weights @ self.center_[:sources])
        new.metadata_ = {"adapted": {"samples": 0, "sources": [known.name for known in self.devices_]}}
        return new

    def _require_sources(self) -> None:
        """Raise `InputError` where this predictor was adapted, so that it is not of its source devices any more."""
        if len(self.devices_) != len(self.covariance_) or self.line_ is not None:
            raise InputError(
                f"This predictor was adapted to {self.devices_[0].name}; published numbers need the one of its source "
                "devices."
            )

    def forward(self, x: Inputs) -> np.ndarray:
        if self.line_ is None:
            return self._source_predictions(x)
        return self._features(x) @ self.line_[:, None] + self.bias_

    # Artefacts

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = {"source": self.source.state(), "source_scale": self.source.scale.state()}
        state |= {
            "sources": self.sources_.state(),
            "sources_kind": self.sources_.kind,
            "center": self.center_,
            "width": self.width_,
        }
        state |= {"alike": self.covariance_}
        return state if self.line_ is None else state | {"line": self.line_, "bias": float(self.bias_)}

    def restore(self, state: dict[str, Any]) -> None:
        self.source.space_, self.cache_ = self.space_, {}
        sources = len(state["sources"]["mean"])
        self.source.scale.restore(state["source_scale"], sources)
        self.source.restore(state["source"])
        self.sources_ = Scale(state["sources_kind"])
        self.sources_.restore(state["sources"], sources)
        self.center_ = array(state["center"], None)
        self.width_ = array(state["width"], len(self.center_))
        self.covariance_ = array(state["alike"], sources, sources)
        if "line" not in state:
            self.source.devices_ = self.devices_
        else:
            self.line_, self.bias_ = array(state["line"], len(self.width_)), number(state["bias"])
        if len(self.scale.mean_) != (1 if "line" in state else sources):
            raise ValueError("it answers for other devices")

    def to_onnx(self, x: Inputs) -> Any:
        from onnx import TensorProto, compose, helper, numpy_helper

        from predictors.export import append_inverse_scale

        model = self.source.to_onnx(_source_inputs(x))
        append_inverse_scale(model, self.source)
        model = compose.add_prefix(model, "source_")
        graph, output = model.graph, f"source_{self.metric}"
        width = len(self.sources_.std_)
        ends = "z" if self.line_ is None else "predicted"
        log = self.sources_.kind == "log"
        steps = [("Log", [output], "logarithm")] if log else []
        steps += [
            ("Sub", ["logarithm" if log else output, "sources_mean"], "moved"),
            ("Div", ["moved", "sources_std"], ends),
        ]
        tensors = {"sources_mean": self.sources_.mean_, "sources_std": self.sources_.std_}
        if self.line_ is not None:
            line = self.line_ / self.width_
            tensors |= {"w_predicted": line[:width, None], "w_x": line[width:, None]}
            tensors |= {"bias": np.array([self.bias_ - self.center_ @ line])}
            steps += [("MatMul", ["predicted", "w_predicted"], "of_sources"), ("MatMul", ["x", "w_x"], "of_x")]
            steps += [("Sum", ["of_sources", "of_x", "bias"], "z")]
            graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", x["x"].shape[1]]))
        graph.node.extend(helper.make_node(op, inputs, [name]) for op, inputs, name in steps)
        graph.initializer.extend(numpy_helper.from_array(v.astype(np.float32), name) for name, v in tensors.items())
        del graph.output[:]
        graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", None]))
        return model


def _source_inputs(x: Inputs) -> Inputs:
    """Inputs of the source model."""
    return {name.removeprefix("source_"): value for name, value in x.items() if name != "x"}


def guessed_variance(
    squared: np.ndarray, families: Sequence[str], sources: Scale, covariance: np.ndarray, doubt: float
) -> float:
    """Mean squared error, on the scale of labels before they are standardised, with which source devices are predicted
    by `_from_specs` from those of other families. Devices differ by more than published numbers say, so errors of
    `doubt` count as that of `GUESSES` further devices.

    Args:
        squared: distances between sources [S, S].
        families: of the sources [S].
        sources: label scale of the sources.
        covariance: of the standardised source predictions [S, S].
        doubt: prior deviation of the errors.
    """
    names = np.array(families)
    other = names[:, None] != names
    known = other.any(axis=1)
    far = np.where(other[known], squared[known], np.inf)
    weights = _kernel_weights(far, _squared_unit(squared, covariance))
    level = sources.mean_[known] - weights @ sources.mean_
    own, mixed = sources.std_[known], (weights @ sources.std_)[:, None] * weights
    shape = own**2 * np.diagonal(covariance)[known] - 2 * own * (mixed * covariance[known]).sum(axis=1)
    shape += np.einsum("ij,jk,ik->i", mixed, covariance, mixed)
    return float((GUESSES * doubt**2 + (level**2 + shape).sum()) / (GUESSES + known.sum()))


def _kernel_weights(squared: np.ndarray, unit: float) -> np.ndarray:
    """Weights [rows, S], each row summing to 1, from squared distances [rows, S]."""
    weights = np.exp(-(squared - squared.min(axis=1, keepdims=True)) / (2 * unit))
    return weights / weights.sum(axis=1, keepdims=True)


def _squared_unit(squared: np.ndarray, covariance: np.ndarray) -> float:
    """Squared unit of distances under which each source device correlates most with the weighted mean of the others.

    Args:
        squared: distances between sources [S, S].
        covariance: of the source predictions [S, S].
    """
    units = np.logspace(-1, 2, 13)
    if len(squared) < 3:
        return 1.0
    scores = []
    for unit in units:
        weights = _kernel_weights(np.where(np.eye(len(squared), dtype=bool), np.inf, squared), unit)
        size = np.sqrt(np.einsum("ij,jk,ik->i", weights, covariance, weights) * np.diagonal(covariance))
        scores.append(float(((weights * covariance).sum(axis=1) / np.maximum(size, 1e-12)).mean()))
    return float(units[int(np.argmax(scores))])
