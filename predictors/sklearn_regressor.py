"""`SklearnRegressor`: any regressor of scikit-learn that has an ONNX form."""

from __future__ import annotations

import inspect
import warnings
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Self

import numpy as np

from datasets.files.checkpoint import array
from datasets.files.reading import listed, shortened
from datasets.records import InputError, Measurements
from encoders.base import VectorEncoder
from encoders.cell import CellOneHot
from predictors.base import Log, silent
from predictors.regressor import Inputs, Regressor

TRIED = 64
"""Number of architectures that an estimator is fitted to first, to check that it has an ONNX form."""


@dataclass
class SklearnRegressor(Regressor):
    """Estimators of scikit-learn, one per device, by their name in `sklearn.utils.discovery.all_estimators`.

    Fitted estimators are converted to an ONNX graph by skl2onnx, which computes all predictions, so a saved predictor
    holds no pickle and needs no scikit-learn.

    Attributes:
        encoder: architectures to vectors.
        estimator: the name of the class.
        params: its parameters by name: numbers, texts and lists of such.
        standardise: scale features to mean 0 and deviation 1 first, for estimators with distances, kernels, penalties
            or networks.
        seed: its `random_state`, if it has one.
    """

    encoder: VectorEncoder = field(default_factory=CellOneHot)
    estimator: str = "RandomForestRegressor"
    params: dict[str, Any] = field(default_factory=dict)
    standardise: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.params = {name: list(v) if isinstance(v, tuple) else v for name, v in self.params.items()}
        for name, value in self.params.items():
            for item in value if isinstance(value, list) else [value]:
                if item is not None and type(item) not in (bool, int, float, str):
                    raise InputError(
                        f"The setting '{shortened(name, 60)}' of {shortened(self.estimator, 60)} has to be a number, a "
                        f"text or a list of such, not {shortened(repr(value), 60)}."
                    )

    @classmethod
    def examples(cls) -> list[Self]:
        quick = cls(estimator="MLPRegressor")
        others = [cls(params={"alpha": 1.0}), cls(estimator="SVR", params={"C": 100.0, "epsilon": 1e-3})]
        return [quick, *others]

    def fit(self, train: Measurements, val: Measurements | None = None, log: Log = silent) -> Self:
        """Learn from `train`; `val` is used for `tolerance` only. Replaces an earlier fit.

        Raises:
            InputError: scikit-learn has no such regressor, it has other parameters, or it has no ONNX form.
        """
        self._unfitted()
        return super().fit(train, val, log)

    def learn(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None:
        from predictors.sklearn_onnx import converted, one_graph

        mean, std = x["x"].mean(axis=0), x["x"].std(axis=0)
        std = np.where((std > 0) & self.standardise, std, np.float32(1))
        mean = mean * np.float32(self.standardise)
        features, parts = ((x["x"] - mean) / std).astype(float), []
        for device, target in enumerate(z.T):
            known = np.flatnonzero(~np.isnan(target))
            if not device and len(known) > TRIED:
                self._tried(features[known[:TRIED]], target[known[:TRIED]])
            fitted = self._fitted(features[known], target[known], log)
            parts.append(converted(fitted, features[known], target[known]))
            log(f"device {device + 1} of {z.shape[1]}: {self.estimator}")
        self._open(one_graph(parts, mean, std), features.shape[1], z.shape[1])

    def forward(self, x: Inputs) -> np.ndarray:
        if x["x"].shape[1] != self._features_:
            raise ValueError(f"{x['x'].shape[1]} features, not {self._features_}")
        return self._session_.run(None, {"x": x["x"]})[0]

    def state(self) -> dict[str, Any]:
        return {"graph": np.frombuffer(self._graph_, np.uint8).copy(), "features": self._features_}

    def restore(self, state: dict[str, Any]) -> None:
        self._open(array(state["graph"], None, kind="u").tobytes(), state["features"], len(self.scale.mean_))

    def to_onnx(self, x: Inputs) -> Any:
        import onnx

        return onnx.load_model_from_string(self._graph_)

    def _open(self, graph: bytes, features: int, devices: int) -> None:
        """Check and open a serialised graph; a damaged one raises ValueError."""
        from predictors.sklearn_onnx import opened

        self._session_, self._graph_, self._features_ = opened(graph, features, devices, self.chunk), graph, features

    def _unfitted(self) -> Any:
        """The estimator with its parameters; raises `InputError` where it does not exist, or has other parameters."""
        from sklearn.utils.discovery import all_estimators

        kinds = dict(all_estimators(type_filter="regressor"))
        if self.estimator not in kinds:
            near = get_close_matches(str(self.estimator), kinds, 3, 0.3) or list(kinds)[:3]
            raise InputError(
                f"scikit-learn has no regressor '{shortened(self.estimator, 60)}'; near are {', '.join(near)}."
            )
        known = inspect.signature(kinds[self.estimator]).parameters
        if unknown := [name for name in self.params if name not in known]:
            raise InputError(
                f"{self.estimator} has no setting '{shortened(unknown[0], 60)}'; it has {listed(list(known), 40)}."
            )
        if lacking := [n for n, p in known.items() if p.default is inspect.Parameter.empty and n not in self.params]:
            raise InputError(f"{self.estimator} needs {lacking[0]}, which is no plain value; choose another regressor.")
        seed = {"random_state": self.seed % 2**32} if "random_state" in known else {}
        return kinds[self.estimator](**{**seed, **self.params})

    def _fitted(self, features: np.ndarray, target: np.ndarray, log: Log) -> Any:
        estimator = self._unfitted()
        with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
            warnings.simplefilter("always")
            try:
                estimator.fit(features, target)
            except (ValueError, TypeError) as error:
                why = shortened(error, 300)
                raise InputError(f"{self.estimator} cannot be fitted with these settings and labels: {why}") from error
        for text in {str(warning.message).split("\n")[0] for warning in caught}:
            log(f"{self.estimator}: {text}")
        return estimator

    def _tried(self, features: np.ndarray, target: np.ndarray) -> None:
        """Refuse an estimator without an ONNX form, before a full fit."""
        from predictors.sklearn_onnx import converted

        try:
            fitted = self._fitted(features, target, silent)
        except InputError:  # a full fit may succeed where this one fails
            return
        converted(fitted, features, target)
