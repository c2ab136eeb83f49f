"""Predictors that learn source devices once and a new device from a few measurements, as one line."""

from __future__ import annotations

import copy
from abc import abstractmethod
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
from predictors.new_devices.few_shot import distances, draw, given, new_one, read_samples
from predictors.regressor import Inputs, Regressor
from predictors.scaling import Scale
from predictors.trees import XGBoost

KEPT = 20_000
"""Features of at most so many architectures are kept."""


def additive() -> Regressor:
    """The source model: for each source device, the logarithm of its labels as a sum over decisions. On source devices
    that were left out, a small net and a mean of both were no better."""
    return Linear(scale=Scale("log"), encoder=CellOneHot())


@dataclass
class FewShot(Regressor):
    """Answers for the source devices when it is fitted, for the new device when it is adapted.

    What is learnt of a new device is a line on what the source model says of an architecture (one number a source
    device) and on a vector of its own; how, the kinds say. So adapting takes milliseconds, predicting costs little more
    than the source model, and what is adapted is saved and exported like any predictor.

    Attributes:
        source: learns the source devices, and is fitted with this predictor.
        encoder: the vector beside the source model's outputs.
        labels: the scale on which the line of a new device is learnt; that of the source devices is `scale`.
    """

    source: Regressor = field(default_factory=additive)
    encoder: VectorEncoder = field(default_factory=CellOneHot)
    labels: Literal["log", "linear"] = "log"

    line_: np.ndarray | None = field(init=False, repr=False, compare=False, default=None)  # [features], once adapted
    sources_: Scale = field(init=False, repr=False, compare=False)  # of the source devices' labels
    asked_: dict[str, Any] = field(init=False, repr=False, compare=False)  # see `features`

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(), cls(source=XGBoost.examples()[-1])]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source.metric != self.metric:
            raise InputError(f"The source model predicts {self.source.metric}, not {self.metric}.")

    @abstractmethod
    def _learn(self, samples: np.ndarray, t: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, float]:
        """The line, weights [features] and what is added, from features [n, features] and scaled labels [n] of the new
        device; `noise` [n] is the variance of labels as far as repeated measurements tell it."""

    def _label_scale(self, features: np.ndarray, y: np.ndarray) -> Scale:
        """The scale of the new device's labels [n, 1], whose architectures have `features` [n, features]."""
        return Scale(self.labels).fit(y)

    # Fitting on the source devices

    def arrays(self, archs: Architectures) -> Inputs:
        sources = {f"source_{name}": value for name, value in self.source.arrays(archs).items()}
        return {**sources, "x": self.encoder(archs)}

    def _said(self, x: Inputs) -> np.ndarray:
        """What the source model says [A, S], on the scale of the source devices' labels."""
        return self.sources_.transform(self.source.scale.inverse(self.source.forward(_part(x))))

    def _features(self, x: Inputs) -> np.ndarray:
        """Standardised features [A, S + F]: what the source model says, then the vector."""
        return (np.concatenate([self._said(x), x["x"]], axis=1) - self.center_) / self.width_

    def features(self, archs: Architectures) -> np.ndarray:
        """Standardised features [A, S + F]. Cached for the last `archs` object, since adapting does not change them."""
        if self.asked_.get("archs") is not archs:
            parts = [self._features(self.encode(archs[i : i + self.chunk])) for i in range(0, len(archs), self.chunk)]
            self.asked_.update(archs=archs, features=np.concatenate(parts))
        return self.asked_["features"]

    def predict_all(self, archs: Architectures, chunk: int = 0) -> np.ndarray:
        """What `Predictor.predict_all` gives; features of the last `archs` are not computed again."""
        if self.line_ is None or chunk or not 0 < len(archs) <= KEPT:
            return super().predict_all(archs, chunk)
        return self.scale.inverse(self.features(archs) @ self.line_[:, None] + self.bias_)

    def _sizes(self) -> list[int]:
        """How many features each block has: the sources, and the parts of the vector."""
        sources = len(self.sources_.std_)
        parts = self.encoder.sizes(self.space_) if isinstance(self.encoder, Joined) else [len(self.width_) - sources]
        return [sources, *parts]

    def learn(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None:
        y = self.scale.inverse(z)
        self.sources_, self.line_, self.asked_ = copy.deepcopy(self.scale), None, {}
        self.source.space_, self.source.devices_ = self.space_, self.devices_
        self.source.scale.fit(y)
        held = None
        if val is not None:
            held = _part(val[0]), self.source.scale.transform(self.scale.inverse(val[1]))
        self.source.learn(_part(x), self.source.scale.transform(y), held, log)
        all_ = np.concatenate([self._said(x), x["x"]], axis=1)
        self.center_, std = all_.mean(axis=0), all_.std(axis=0)
        self.width_ = np.where(std > 1e-9 * np.abs(all_).max(axis=0), std, 1.0)
        self.width_ = self.width_ * np.sqrt(np.repeat(self._sizes(), self._sizes()))  # every block has variance 1
        said = all_[:, : len(self.sources_.std_)]
        self.alike_ = np.atleast_2d(np.cov(said.T))  # [S, S]

    # A new device

    def choose(self, archs: Architectures, n: int, rng: np.random.Generator) -> Architectures:
        """`n` of `archs` at random."""
        return draw(archs, n, rng)

    def check_new_device(self, device: Device, samples: int) -> None:
        """Any device of a known kind will do, with samples or without."""
        if not samples:
            DeviceSpecs()([device])

    def adapt(self, few: Measurements | None, device: Device | None = None) -> Self:
        """A new predictor of one new device (`Adaptable.adapt`)."""
        if few is None:
            return self._from_numbers(new_one(few, device))
        few = given(self, few, device)
        archs, y, noise = read_samples(self, few, self.labels)
        new, features = copy.copy(self), self._features(self.encode(archs))
        new.devices_, new.scale = few.devices, self._label_scale(features, y)
        unit = (1.0 if self.labels == "log" else y[:, 0]) / new.scale.std_
        new.line_, new.bias_ = new._learn(features, new.scale.transform(y)[:, 0], noise * unit**2)
        told = {"samples": len(archs), "sources": [device.name for device in self.devices_]}
        new.metadata_ = {"dataset": few.name, "fingerprint": few.fingerprint(), "adapted": told}
        return new

    def _from_numbers(self, device: Device) -> Self:
        """A new predictor for a device of which nothing was measured: the mean of the source devices, each weighing
        exp(-d^2 / 2) for its distance d of published numbers. The unit of d is the one under which the source devices
        predict each other best, one left out after the other; level and spread are weighted means too."""
        if len(self.devices_) != len(self.alike_) or self.line_ is not None:
            raise InputError(
                f"This predictor was adapted to {self.devices_[0].name}; published numbers need the one of its source "
                "devices."
            )
        far = distances(self.devices_, device)
        weights = _nearness(far, _unit(far[:-1], self.alike_))[-1]
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

    def forward(self, x: Inputs) -> np.ndarray:
        if self.line_ is None:
            return self._said(x)
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
        state |= {"alike": self.alike_}
        return state if self.line_ is None else state | {"line": self.line_, "bias": float(self.bias_)}

    def restore(self, state: dict[str, Any]) -> None:
        self.source.space_, self.asked_ = self.space_, {}
        sources = len(state["sources"]["mean"])
        self.source.scale.restore(state["source_scale"], sources)
        self.source.restore(state["source"])
        self.sources_ = Scale(state["sources_kind"])
        self.sources_.restore(state["sources"], sources)
        self.center_ = array(state["center"], None)
        self.width_ = array(state["width"], len(self.center_))
        self.alike_ = array(state["alike"], sources, sources)
        if "line" in state:
            self.line_, self.bias_ = array(state["line"], len(self.width_)), number(state["bias"])
        if len(self.scale.mean_) != (1 if "line" in state else sources):
            raise ValueError("it answers for other devices")

    def to_onnx(self, x: Inputs) -> Any:
        from onnx import TensorProto, compose, helper, numpy_helper

        from predictors.export import append_inverse_scale

        model = self.source.to_onnx(_part(x))
        append_inverse_scale(model, self.source)
        model = compose.add_prefix(model, "source_")
        graph, said = model.graph, f"source_{self.metric}"
        width = len(self.sources_.std_)
        ends = "z" if self.line_ is None else "said"
        log = self.sources_.kind == "log"
        steps = [("Log", [said], "logarithm")] if log else []
        steps += [
            ("Sub", ["logarithm" if log else said, "sources_mean"], "moved"),
            ("Div", ["moved", "sources_std"], ends),
        ]
        tensors = {"sources_mean": self.sources_.mean_, "sources_std": self.sources_.std_}
        if self.line_ is not None:
            line = self.line_ / self.width_
            tensors |= {"w_said": line[:width, None], "w_x": line[width:, None]}
            tensors |= {"bias": np.array([self.bias_ - self.center_ @ line])}
            steps += [("MatMul", ["said", "w_said"], "of_sources"), ("MatMul", ["x", "w_x"], "of_x")]
            steps += [("Sum", ["of_sources", "of_x", "bias"], "z")]
            graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", x["x"].shape[1]]))
        graph.node.extend(helper.make_node(op, inputs, [output]) for op, inputs, output in steps)
        graph.initializer.extend(numpy_helper.from_array(v.astype(np.float32), name) for name, v in tensors.items())
        del graph.output[:]
        graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", None]))
        return model


def _part(x: Inputs) -> Inputs:
    """The source model's own inputs."""
    return {name.removeprefix("source_"): value for name, value in x.items() if name != "x"}


def _nearness(far: np.ndarray, unit: float) -> np.ndarray:
    """Weights [rows, S] that sum to 1, from squared distances."""
    weights = np.exp(-(far - far.min(axis=1, keepdims=True)) / (2 * unit))
    return weights / weights.sum(axis=1, keepdims=True)


def _unit(far: np.ndarray, alike: np.ndarray) -> float:
    """The squared unit of distance [S, S] under which each source correlates most with the weighted mean of the others,
    given the covariance [S, S] of what they say."""
    units = np.logspace(-1, 2, 13)
    if len(far) < 3:
        return 1.0
    scores = []
    for unit in units:
        weights = _nearness(np.where(np.eye(len(far), dtype=bool), np.inf, far), unit)
        size = np.sqrt(np.einsum("ij,jk,ik->i", weights, alike, weights) * np.diagonal(alike))
        scores.append(float(((weights * alike).sum(axis=1) / np.maximum(size, 1e-12)).mean()))
    return float(units[int(np.argmax(scores))])
