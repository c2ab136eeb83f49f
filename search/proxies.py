"""Performance monotonicity: whether a proxy ranks architectures like a target, from a few samples, and which does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from datasets.records import Architectures, Cost, Device, InputError, Measurements


@dataclass(frozen=True)
class Monotonicity:
    """How alike two devices rank.

    Attributes:
        spearman: of the samples.
        low: lower end of it; above it lies the true one with the confidence that was asked for.
    """

    spearman: float
    low: float


def monotonicity(proxy: np.ndarray, target: np.ndarray, confidence: float = 0.9) -> Monotonicity:
    """Spearman's correlation of costs [n] and [n], and its one-sided lower end by Fisher's z, with the standard error
    sqrt((1 + r^2 / 2) / (n - 3)) of Bonett and Wright (2000)."""
    from scipy.stats import norm, spearmanr

    if len(proxy) < 4:
        raise InputError(f"{len(proxy)} samples tell nothing about monotonicity; measure four or more.")
    if np.ptp(proxy) == 0 or np.ptp(target) == 0:
        return Monotonicity(0.0, -1.0)
    rho = float(np.clip(spearmanr(proxy, target).statistic, -1, 1))
    bounded = np.clip(rho, -0.999, 0.999)  # a perfect ranking of a few proves no perfect proxy
    error = norm.ppf(confidence) * np.sqrt((1 + bounded**2 / 2) / (len(proxy) - 3))
    return Monotonicity(rho, float(np.tanh(np.arctanh(bounded) - error)))


Fit = Callable[[Architectures, np.ndarray], Cost]
"""Makes a predictor of a target from a few of its measurements; best an `Unsure` one."""


@runtime_checkable
class Unsure(Protocol):
    """A cost that knows how sure it is."""

    def __call__(self, archs: Architectures) -> np.ndarray:
        """Expected costs [A]."""
        ...

    def chance(self, archs: Architectures, most: float) -> np.ndarray:
        """P(cost <= most) [A] of a new measurement."""
        ...


class Adaptable(Protocol):
    """A predictor of other devices that learns a new one from a few measurements (`predictors.base.Adaptable`)."""

    def adapt(self, few: Measurements) -> Any:
        """A predictor for the one device of `few`."""
        ...


@dataclass(frozen=True)
class Adapted:
    """A predictor of one device, as a cost that knows how sure it is.

    Attributes:
        model: its `probability` tells P(cost <= most).
        device: the one.
    """

    model: Any
    device: Device

    def __call__(self, archs: Architectures) -> np.ndarray:
        """Predicted costs [A]."""
        return self.model.predict(archs, self.device)

    def chance(self, archs: Architectures, most: float) -> np.ndarray:
        """See `Unsure.chance`."""
        return self.model.probability(archs, self.device, most)


def adapting(model: Adaptable, device: Device, metric: str = "latency_ms") -> Fit:
    """Learns a target as a predictor of other devices that is adapted to its measurements; one that has no
    `probability` is believed as it is."""

    def fit(archs: Architectures, costs: np.ndarray) -> Cost:
        import pandas as pd

        rows = pd.DataFrame({"arch": range(len(archs)), "device": 0, "metric": metric, "value": costs})
        adapted = model.adapt(Measurements(archs, [device], rows, device.name))
        if hasattr(adapted, "probability"):
            return Adapted(adapted, device)
        return lambda archs: adapted.predict(archs, device)

    return fit


@dataclass
class ProxyPool:
    """The proxies there are; a target gets its best match, or a predictor of its own that joins the pool (section 4.3).

    Attributes:
        proxies: name -> what it says, free of charge.
        least: the lower end of Spearman's correlation that a proxy needs.
        confidence: of that end.
    """

    proxies: dict[str, Cost] = field(default_factory=dict)
    least: float = 0.7
    confidence: float = 0.9

    def ranked(self, archs: Architectures, costs: np.ndarray) -> Mapping[str, Monotonicity]:
        """How like each proxy ranks the target, from its costs [n] of a few architectures; the best first, of equal
        ranks the one whose logarithms are straighter."""
        logs = np.log(costs)

        def straight(values: np.ndarray) -> float:
            return float(np.corrcoef(np.log(values), logs)[0, 1]) if np.ptp(values) and np.ptp(logs) else -1.0

        said = {name: np.asarray(proxy(archs), float) for name, proxy in self.proxies.items()}
        found = {name: monotonicity(values, costs, self.confidence) for name, values in said.items()}
        order = sorted(found, key=lambda name: (-found[name].spearman, -straight(said[name])))
        return {name: found[name] for name in order}

    def match(self, target: str, archs: Architectures, costs: np.ndarray, fit: Fit) -> tuple[str, Cost]:
        """The proxy for a target and its name: the best match if it is monotone, else `fit` makes one, which joins."""
        ranked = self.ranked(archs, costs)
        best = next(iter(ranked), "")
        if not best or ranked[best].low < self.least:
            best, self.proxies[target] = target, fit(archs, costs)
        return best, self.proxies[best]
