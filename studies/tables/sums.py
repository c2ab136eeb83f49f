"""Sums of single layers against whole networks, per runtime and family: what fusion and layouts account for."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from datasets.files.table_file import read_table
from datasets.measured import Measured
from predictors.networks.calibration import Calibration, calibrate, totals_of
from predictors.networks.layer_sum import LayerSum
from predictors.networks.learnt import Learnt
from predictors.networks.related import with_related
from predictors.regressor import Regressor


def sums(tables: Path, table: str = "networks.parquet", layer: Regressor | None = None) -> list[dict]:
    """Predicted over measured times of the networks of a table on each device with tables of layers.

    `uncorrected` sums have the coefficients that follow from tables of layers alone. `corrected` ones have those that
    the networks of all other families give: a factor below one of a kind of layers is what runtimes save in a network
    beside a layer alone (its tensors need not be laid out anew, other ops are fused into it).

    Args:
        tables: folder of the tables of layers.
        table: table of networks in it, with a column `family`.
        layer: predictor of single layers; by default boosted trees.

    Returns:
        One row per device and family (`family` all: of all): networks; uncorrected, corrected: median ratio; their mean
        absolute errors. And one row per device and term of the sum: the factor by which networks move its coefficient.
    """
    m, (values, _) = Measured(tables / table).measurements(), read_table(tables / table)
    family = dict(zip(values["key"], values["family"], strict=True))
    families = np.array([family[key] for key in m.architectures.keys])
    costs = Learnt.with_layer(layer) if layer else Learnt()
    costs.tables = tables

    def log(message: str, **numbers: float) -> None:
        print(message, file=sys.stderr, flush=True)

    predictor = with_related(LayerSum.summing(costs.learn(log)), tables, log=log)
    terms, measured, rows = predictor.costs(m.architectures)[0], m.matrix("latency_ms"), list[dict]()
    for device in predictor.devices_:
        if device.name not in [other.name for other in m.devices]:
            continue
        before = predictor.calibration(device)
        ms, own = measured[:, m.devices.index(m.device(device.name))], terms[:, before.source]
        known = ~np.isnan(ms) & ~np.isnan(own).any(axis=1)
        plain, corrected = totals_of(own, before), np.full(len(ms), np.nan)
        for held_out in np.unique(families[known]):
            others, rest = known & (families != held_out), families == held_out
            if others.any():
                corrected[rest] = totals_of(own[rest], _fitted(own[others], ms[others], before, costs))
        about = {"device": device.name, "runtime": device.runtime}
        for name in ("all", *np.unique(families[known]).tolist()):
            chosen = known & ((families == name) | (name == "all"))
            found = {"uncorrected": plain[chosen] / ms[chosen], "corrected": corrected[chosen] / ms[chosen]}
            row = {**about, "family": name, "networks": int(chosen.sum())}
            row |= {kind: float(np.nanmedian(ratio)) for kind, ratio in found.items()}
            rows.append(row | {f"{kind}_error": float(np.nanmean(np.abs(ratio - 1))) for kind, ratio in found.items()})
        factors = _fitted(own[known], ms[known], before, costs).coefficients / before.coefficients
        rows += [{**about, "term": term, "factor": float(f)} for term, f in zip(costs.terms, factors, strict=True)]
    return rows


def _fitted(own: np.ndarray, ms: np.ndarray, before: Calibration, costs: Learnt) -> Calibration:
    """The coefficients that measured networks [n] with cost terms [n, K] give."""
    found = calibrate(own, ms, before.coefficients, costs.prior, costs.noise)
    return Calibration(before.source, found, before.covariance, np.empty(0))
