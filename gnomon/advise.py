"""Edits of a network that would make it faster on a device, with predicted gains: `python -m gnomon advise`.

In Python: `advise("zoo:mobilenet_v2").to_frame()`.

The gain of an edit is 1 - new time / old time. Its uncertainty is that of the difference of two networks that share
most of their layers: the error of a layer that both have cancels out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.networks.changed import changed
from datasets.networks.network import Network
from datasets.networks.sizes import Sizes
from datasets.records import Device, Networks
from gnomon.edits import Edit, Kind, edits
from predictors.belief import Belief
from predictors.networks.calibration import Calibration, totals_of
from predictors.networks.pieces import Piece, pieces
from predictors.networks.price import price, read_noted
from predictors.scaling import Scale

if TYPE_CHECKING:
    import pandas as pd

    from predictors.networks.layer_sum import LayerSum

MOST_OF_KIND = 2
"""Largest number of edits of one kind that are listed while there are enough of others."""
LEAST = 0.01
"""Least predicted gain of an edit that is listed."""
ALIKE = 0.5
"""Share of the variance of a layer's error that all layers of its op and kernel have in common."""


@dataclass(frozen=True)
class Advice:
    """An edit of a network.

    Attributes:
        kind: width, kernel, resolution, activation, normalisation, precision or fusion.
        edit: what is changed.
        ms: predicted time after the edit.
        gain, low, high: predicted share of the time that it saves, with its interval.
        measured: measured gain; None if it was not measured.
        network: after the edit.
        device: on which it runs then, which edits of the precision change.
    """

    kind: Kind
    edit: str
    ms: float
    gain: float
    low: float
    high: float
    measured: float | None
    network: Network
    device: Device


@dataclass(frozen=True)
class Advised:
    """The edits of a network that win most.

    Attributes:
        network: its name.
        device: on which it runs.
        level: probability of intervals.
        ms: predicted time of the network.
        edits: with the largest predicted gain first.
        base: the network whose copies are edited.
        notes: what prices do not rest on, and why edits could not be measured.
    """

    network: str
    device: Device
    level: float
    ms: float
    edits: tuple[Advice, ...]
    base: Network
    notes: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """The result as plain values, as `--json` prints them; networks are in their JSON form."""
        kept = [{**_plain(each), "network": each.network.to_json()} for each in self.edits]
        return {"format": 1, "network": self.network, "device": self.device.name, "level": self.level, "ms": self.ms,
                "edits": kept, "notes": list(self.notes)}  # fmt: skip

    def to_frame(self) -> pd.DataFrame:
        """One row per edit."""
        import pandas as pd

        return pd.DataFrame([_plain(each) for each in self.edits])


def _plain(each: Advice) -> dict[str, Any]:
    values = {name: getattr(each, name) for name in ("kind", "edit", "ms", "gain", "low", "high", "measured")}
    return {**values, "device": each.device.name}


def advise(
    name: str | Network,
    device: str = "",
    number: int = 5,
    predictor: LayerSum | None = None,
    level: float = 0.9,
    sizes: Sizes = Sizes(),
) -> Advised:
    """Predict which edits of a network save the most time on a device. How accurate it is after an edit, and after it
    was trained again, is not predicted.

    Args:
        name: the network, or its name as `measure run --onnx` takes it.
        device: one of the predictor's; by default its first.
        number: number of edits.
        predictor: a sum of layers; by default the pricer that comes with Gnomon.
        level: probability of intervals.
        sizes: that files leave open.

    Raises:
        InputError: the network cannot be read or priced.
    """
    from datasets.records import find_device
    from predictors.networks.shipped import load

    predictor = predictor or load()
    on = find_device(predictor.devices_, device) if device else predictor.devices_[0]
    network = name if isinstance(name, Network) else read_noted(name, None, sizes)[0]
    whole = price(predictor, network, on, level)
    base = changed(network, {})
    candidates = {each.network.key: each for each in edits(base, [piece.ms for piece in whole.pieces])}
    candidates.pop(base.key, None)
    tried = [*candidates.values()]
    places = [on] * len(tried) + (others := _other_precisions(predictor, on))
    tried += [Edit("precision", f"{on.precision} -> {other.precision}", base) for other in others]
    found = _gains(predictor, base, on, tried, places)
    text = network.key if isinstance(name, Network) else name
    best = _best(found, tried, places, number, level)
    return Advised(text, on, level, whole.latency_ms, best, base, whole.warnings)


def _other_precisions(predictor: LayerSum, on: Device) -> list[Device]:
    """Devices that differ from one in nothing but the precision."""
    from gnomon.decide import machine_of

    return [
        other for other in predictor.devices_
        if other.precision != on.precision and machine_of(other) == machine_of(on)
        and (other.runtime, other.batch, other.threads) == (on.runtime, on.batch, on.threads)
    ]  # fmt: skip


@dataclass(frozen=True)
class _Gains:
    """Predicted ms [A] after edits, and distributions [A] of new time / old time."""

    ms: np.ndarray
    ratio: Belief


def _gains(predictor: LayerSum, base: Network, on: Device, tried: Sequence[Edit], places: Sequence[Device]) -> _Gains:
    """What edits on some devices save of the time of a network."""
    networks = [base, *(each.network for each in tried)]
    whole, terms = predictor.costs(Networks(networks))
    c, devices = predictor.calibration(on), [on, *places]
    own = [predictor.calibration(device) for device in devices]
    costs = np.array([row[each.source] for row, each in zip(whole, own, strict=True)])
    ms = np.array([totals_of(row[None], each)[0] for row, each in zip(costs, own, strict=True)])
    if np.isnan(ms).any():
        raise predictor.layers.unknown(networks[int(np.isnan(ms).argmax())], c.source)
    each = [pieces(network) for network in networks]
    shares = [_shares(found, part[:, c.source], c) for found, part in zip(each, terms, strict=True)]
    error = float((c.errors**2).mean()) if len(c.errors) > 2 else predictor.layers.noise**2
    variance = np.empty(len(tried))
    for i, place in enumerate(places, 1):
        if place is on:
            variance[i - 1] = _coefficients(c, costs[0], costs[i]) + _pieces(shares[0], shares[i], error)
        else:  # errors of two devices of a machine have a correlation of a half (`decide.TOGETHER`)
            variance[i - 1] = (c.variance(costs[:1])[0] + own[i].variance(costs[i : i + 1])[0]) / 2
    degrees = max(len(c.errors) - 1, 5)
    ratio = Belief(np.log(ms[1:] / ms[0]), np.sqrt(variance), Scale.known("log"), degrees)
    return _Gains(ms[1:], ratio)


_Shares = tuple[Counter[str], Counter[str]]


def _shares(found: Sequence[Piece], terms: np.ndarray, c: Calibration) -> _Shares:
    """Shares of pieces in the time of their network, by kind of op and kernel, and by all of their sizes."""
    ms = np.maximum(terms @ c.coefficients, 0)
    by_kind, by_label = Counter[str](), Counter[str]()
    for piece, share in zip(found, (ms / max(ms.sum(), 1e-12)).tolist(), strict=True):
        by_kind[f"{piece.op} {piece.layer.get('kernel', '')} {piece.kind}"] += share
        by_label[piece.label] += share
    return by_kind, by_label


def _pieces(old: _Shares, new: _Shares, error: float) -> float:
    """Variance of the logarithm of new time / old time due to errors of pieces, which are such that a network errs by
    the variance `error`, and are equal for equal pieces."""
    found = 0.0
    for weight, before, after in zip((ALIKE, 1 - ALIKE), old, new, strict=True):
        scale = weight * error / sum(share**2 for share in before.values())
        found += scale * sum((after[key] - before[key]) ** 2 for key in {*before, *after})
    return found


def _coefficients(c: Calibration, old: np.ndarray, new: np.ndarray) -> float:
    """Variance of the logarithm of new time / old time due to the coefficients."""
    parts = np.stack([old, new]) * c.coefficients
    before, after = parts / parts.sum(axis=1, keepdims=True)
    return float((after - before) @ c.covariance @ (after - before))


def _best(
    found: _Gains, tried: Sequence[Edit], places: Sequence[Device], number: int, level: float
) -> tuple[Advice, ...]:
    """The edits of the largest gain, some of each kind."""
    fastest, slowest = found.ratio.interval(level) if tried else (np.empty(0), np.empty(0))
    gains, counts = 1 - np.exp(found.ratio.location), Counter[Kind]()
    order = [i for i in np.argsort(-gains, kind="stable").tolist() if gains[i] >= LEAST]
    rank = {i: counts.update([tried[i].kind]) or counts[tried[i].kind] for i in order}
    chosen = sorted(order, key=lambda i: rank[i] > MOST_OF_KIND)[:number]  # others only where there are too few
    return tuple(
        Advice(tried[i].kind, tried[i].text, float(found.ms[i]), float(gains[i]), float(1 - slowest[i]),
               float(1 - fastest[i]), None, tried[i].network, places[i])
        for i in sorted(chosen, key=order.index)
    )  # fmt: skip


def report(found: Advised) -> str:
    """The edits as a table."""
    from predictors.metrics import plain
    from predictors.networks.price_report import end_of, table

    head = f"{end_of(found.network)} on {found.device.name}: {plain(found.ms)} ms"
    if not found.edits:
        return f"{head}; no edit is predicted to save {100 * LEAST:.0f} % of it"
    measured = any(each.measured is not None for each in found.edits)
    rows = [
        {"edit": each.edit, "kind": each.kind, "ms": plain(each.ms), "saves": f"{100 * each.gain:.3g} %",
         f"{100 * found.level:.10g} % from": f"{100 * each.low:.3g} %", "to": f"{100 * each.high:.3g} %",
         **({"measured": "-" if each.measured is None else f"{100 * each.measured:.3g} %"} if measured else {})}
        for each in found.edits
    ]  # fmt: skip
    return "\n".join([head, table(rows)])
