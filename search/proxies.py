"""Proxies of a target device: which ranks architectures most like it (performance monotonicity, Lu et al., section 4.3:
"Scaling up DNN optimization for edge inference", 2020), and predictors that are adapted to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from datasets.records import Architectures, Cost, Device, InputError, Measurements
from predictors.base import Adaptable, Uncertain
from predictors.belief import Belief


def ranked(proxies: Mapping[str, Cost], archs: Architectures, costs: np.ndarray) -> dict[str, float]:
    """Spearman's correlation of each proxy with a target, from the target's costs [n] of a few architectures; the best
    first, of equal ranks the one whose logarithms are straighter. Four samples at least."""
    from scipy.stats import spearmanr

    if len(costs) < 4:
        raise InputError(f"{len(costs)} samples tell nothing about monotonicity; measure four or more.")
    said = {name: np.asarray(proxy(archs), float) for name, proxy in proxies.items()}

    def scores(values: np.ndarray) -> tuple[float, float]:
        if np.ptp(values) == 0 or np.ptp(costs) == 0:
            return 0.0, -1.0
        straight = float(np.corrcoef(np.log(values), np.log(costs))[0, 1])
        return float(spearmanr(values, costs).statistic), straight

    found = {name: scores(values) for name, values in said.items()}
    return {name: found[name][0] for name in sorted(found, key=lambda name: found[name], reverse=True)}


Fit = Callable[[Architectures, np.ndarray], Cost]
"""Makes a predictor of a target from a few of its measurements; best an `Unsure` one."""


@runtime_checkable
class Unsure(Protocol):
    """A cost that knows how sure it is."""

    def __call__(self, archs: Architectures) -> np.ndarray:
        """Expected costs [A]."""
        ...

    def belief(self, archs: Architectures) -> Belief:
        """Distributions [A] of new measurements."""
        ...


@dataclass(frozen=True)
class Adapted:
    """An `Uncertain` predictor of one device, as a cost that knows how sure it is."""

    model: Any
    device: Device

    def __call__(self, archs: Architectures) -> np.ndarray:
        """Predicted costs [A]."""
        return self.model.predict(archs, self.device)

    def belief(self, archs: Architectures) -> Belief:
        """Distributions [A] of new measurements on the device."""
        return self.model.belief(archs, self.device)


def adapting(model: Adaptable, device: Device, metric: str = "latency_ms") -> Fit:
    """Learns a target as a predictor of other devices that is adapted to its measurements; one that is not `Uncertain`
    is believed as it is."""

    def fit(archs: Architectures, costs: np.ndarray) -> Cost:
        import pandas as pd

        rows = pd.DataFrame({"arch": range(len(archs)), "device": 0, "metric": metric, "value": costs})
        adapted = model.adapt(Measurements(archs, [device], rows, device.name))
        return Adapted(adapted, device) if isinstance(adapted, Uncertain) else adapted.on(device, metric)

    return fit
