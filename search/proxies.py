"""Proxies of a target device, ranked by how well their order of architectures agrees with the target's (performance
monotonicity, section 4.3 of "Scaling up Deep Neural Network Optimization for Edge Inference", Lu et al., 2020), and
predictors that are adapted to the target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from datasets.records import Architectures, Cost, Device, InputError, Measurements
from predictors.base import Adaptable, Uncertain
from predictors.belief import Belief


def ranked(proxies: Mapping[str, Cost], archs: Architectures, costs: np.ndarray) -> dict[str, float]:
    """Spearman's rank correlation of each proxy with the target's costs [n] of some architectures, the best first; ties
    are broken by the correlation of logarithms.

    Raises:
        InputError: there are fewer than four samples.
    """
    from scipy.stats import spearmanr

    if len(costs) < 4:
        raise InputError(f"{len(costs)} samples are too few to compare rankings; measure four or more.")
    predicted = {name: np.asarray(proxy(archs), float) for name, proxy in proxies.items()}

    def scores(values: np.ndarray) -> tuple[float, float]:
        if np.ptp(values) == 0 or np.ptp(costs) == 0:
            return 0.0, -1.0
        linear = float(np.corrcoef(np.log(values), np.log(costs))[0, 1])
        return float(spearmanr(values, costs).statistic), linear

    found = {name: scores(values) for name, values in predicted.items()}
    return {name: found[name][0] for name in sorted(found, key=lambda name: found[name], reverse=True)}


Fit = Callable[[Architectures, np.ndarray], Cost]
"""Fits a cost to measurements [n] of a target; an `UncertainCost` where possible."""


@runtime_checkable
class UncertainCost(Protocol):
    """A cost with a predictive distribution."""

    def __call__(self, archs: Architectures) -> np.ndarray:
        """Expected costs [A]."""
        ...

    def belief(self, archs: Architectures) -> Belief:
        """Distributions [A] of new measurements."""
        ...


@dataclass(frozen=True)
class AdaptedCost:
    """An `Uncertain` predictor of one device as a cost with a predictive distribution."""

    model: Any
    device: Device

    def __call__(self, archs: Architectures) -> np.ndarray:
        """Predicted costs [A]."""
        return self.model.predict(archs, self.device)

    def belief(self, archs: Architectures) -> Belief:
        """Distributions [A] of new measurements on the device."""
        return self.model.belief(archs, self.device)


def adapting(model: Adaptable, device: Device, metric: str = "latency_ms") -> Fit:
    """A function that fits a cost by adapting a predictor of other devices to the target's measurements; predictions of
    one that is not `Uncertain` count as certain."""

    def fit(archs: Architectures, costs: np.ndarray) -> Cost:
        import pandas as pd

        rows = pd.DataFrame({"arch": range(len(archs)), "device": 0, "metric": metric, "value": costs})
        adapted = model.adapt(Measurements(archs, [device], rows, device.name))
        return AdaptedCost(adapted, device) if isinstance(adapted, Uncertain) else adapted.on(device, metric)

    return fit
