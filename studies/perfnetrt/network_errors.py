"""Errors of whole networks by device and method, before and after a few measured networks correct the sums."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from datasets.records import Device
from predictors.metrics import report
from predictors.networks.calibration import Calibration, calibrate, most_informative
from predictors.networks.coefficients import PRIOR
from predictors.networks.layer_sum import LayerSum
from studies.perfnetrt.figures import draw_networks
from studies.perfnetrt.inputs import Inputs

PARTITIONS, CURVE = 20, (5, 10, 20, 31)
"""Random partitions of the networks; numbers of networks that correct a device while the last 13 are the test set."""


def networks(inputs: Inputs) -> list[dict]:
    """Errors of whole networks by device, method and set; `as is` are sums of layers that nothing corrected."""
    rows, drawn = [], {}
    for device in inputs.fp32():
        measured = inputs.measured(device)
        places = [np.flatnonzero(~np.isnan(y)) for y in measured]
        samples, places[0] = places[0][: inputs.few], places[0][inputs.few :]
        truth = [y[place] for y, place in zip(measured, places, strict=True)]
        for name, (plain, costs) in inputs.summed.items():
            s = plain.calibration(device).source
            corrected = _corrected(plain, device, costs[0][0][samples, s], measured[0][samples])
            for how, predictor in ((name, corrected), (f"{name}, as is", plain)):
                sums = [whole[place, s] for (whole, _), place in zip(costs, places, strict=True)]
                found = [(y, c @ predictor.calibration(device).coefficients) for y, c in zip(truth, sums, strict=True)]
                rows += score_rows(device.name, how, ("convnet", "zoo"), found)
                if how != name:
                    continue
                drawn[device.name, name] = found
                for row in rows[-3:]:
                    row["val_mape"] = float(np.abs(np.expm1(-corrected.calibration(device).errors)).mean())
                for row, y, (whole, parts), place in zip(rows[-3:-1], truth, costs, places, strict=True):
                    low, high = corrected.believed(device, whole[place], [parts[i] for i in place]).interval(0.9)
                    row["in_90_interval"] = float(((low <= y) & (y <= high)).mean())
        by = {row["method"]: row["mape"] for row in rows if row["device"] == device.name and row["set"] == "both"}
        for how in ("look-up table", "look-up table, as is"):
            rows.append({"device": device.name, "against": how, "mape_ratio": by["layerwise"] / by[how]})
    draw_networks(drawn, inputs.out / "networks.png")
    return rows


def _corrected(plain: LayerSum, device: Device, costs: np.ndarray, ms: np.ndarray) -> LayerSum:
    """A predictor of one device, calibrated on networks' cost terms [n, K] and latencies in ms [n]."""
    s = plain.calibration(device).source
    found = Calibration.fitted(s, costs, ms, plain.layers.guess()[s], PRIOR, plain.layers.noise)
    return plain.with_devices([device], [found])


def partitions(inputs: Inputs) -> list[dict]:
    """Errors on networks other than the first `few`, on which settings were chosen. `few` of the others, drawn at
    random, correct a device; the rest and the zoo are the test set. Mean, standard deviation and worst over partitions,
    since the draw matters. Also how the error depends on the number of networks, and whether choosing them (of all but
    the last 13) is better than drawing them."""
    rng, rows = np.random.default_rng(0), list[dict[str, Any]]()
    others = np.arange(inputs.few, len(inputs.networks[0].architectures))
    orders = [rng.permutation(others) for _ in range(PARTITIONS)]
    for device in inputs.fp32():
        measured = inputs.measured(device)
        known, count, last = [order[~np.isnan(measured[0][order])] for order in orders], inputs.few, max(CURVE)
        for name, (plain, costs) in inputs.summed.items():
            s = plain.calibration(device).source
            errors_of = partial(_errors, plain, s, [whole[:, s] for whole, _ in costs], measured)
            about = {"device": device.name, "method": name}
            errors = np.array([errors_of(order[:count], order[count:]) for order in known])
            for part, column in zip(("convnet", "zoo", "both"), errors.T, strict=True):
                rows.append({**about, "set": part, "drawn": count, **_spread(column)})
            if name != "layerwise":
                continue
            inside = [_inside(plain, device, costs[0], measured[0], order[:count], order[count:]) for order in known]
            rows[-3]["in_90_interval"] = float(np.mean(inside))
            for n in CURVE:
                errors = np.array([errors_of(order[:n], order[last:])[0] for order in known])
                rows.append({**about, "set": "13 convnet", "labels": n, **_spread(errors)})
            guess, whole = plain.layers.guess()[s], costs[0][0][:, s]
            noise = plain.layers.noise
            chosen = [order[most_informative(whole[order[:last]], guess, PRIOR, noise, count)] for order in known]
            errors = np.array([errors_of(c, order[last:])[0] for c, order in zip(chosen, known, strict=True)])
            rows.append({**about, "set": "13 convnet", "chosen": count, **_spread(errors)})
        whole_set = [row for row in rows if row["device"] == device.name and row.get("set") == "both"]
        by = {row["method"]: float(row["mape"]) for row in whole_set}
        ratio = by["layerwise"] / by["look-up table"]
        rows.append({"device": device.name, "against": "look-up table", "mape_ratio": ratio})
    return rows


def _errors(
    plain: LayerSum,
    s: int,
    costs: Sequence[np.ndarray],
    measured: Sequence[np.ndarray],
    samples: np.ndarray,
    tests: np.ndarray,
) -> list[float]:
    """Mean errors of the random networks `tests`, the zoo and both, after the random networks `samples` have corrected
    the sums."""
    mix = calibrate(costs[0][samples], measured[0][samples], plain.layers.guess()[s], PRIOR, plain.layers.noise)
    found = [np.abs(c @ mix / ms - 1) for c, ms in zip(costs, measured, strict=True)]
    return [
        float(np.nanmean(part)) for part in (found[0][tests], found[1], np.concatenate([found[0][tests], found[1]]))
    ]


def _inside(
    plain: LayerSum,
    device: Device,
    costs: tuple[np.ndarray, list[np.ndarray]],
    ms: np.ndarray,
    samples: np.ndarray,
    tests: np.ndarray,
) -> float:
    """Share of the networks `tests` whose latency lies within their 90 % interval."""
    (whole, parts), s = costs, plain.calibration(device).source
    corrected = _corrected(plain, device, whole[samples, s], ms[samples])
    low, high = corrected.believed(device, whole[tests], [parts[i] for i in tests]).interval(0.9)
    return float(((low <= ms[tests]) & (ms[tests] <= high)).mean())


def _spread(errors: np.ndarray) -> dict[str, float]:
    return {"mape": float(np.mean(errors)), "mape_sd": float(np.std(errors)), "mape_worst": float(np.max(errors))}


def score_rows(
    device: str, method: str, sets: Sequence[str], found: Sequence[tuple[np.ndarray, np.ndarray]]
) -> list[dict]:
    pooled = tuple(np.concatenate(part) for part in zip(*found, strict=True))
    return [
        {"device": device, "method": method, "set": name, **report(y, p)}
        for name, (y, p) in zip([*sets, "both"], [*found, pooled], strict=True)
    ]
