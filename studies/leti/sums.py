"""LETI's Table 1: networks as sums of their layers, on the bundled tables."""

from __future__ import annotations

import numpy as np

from datasets.figures import spearman
from datasets.measured import Measured
from datasets.records import Networks
from measure.lookup import label
from predictors.networks.tabulated import Tabulated, layers_of
from studies.study import ROOT

BUNDLED = ROOT / "datasets" / "bundled"


def bundled_sums(cells: int) -> list[dict]:
    """Bundled cells as sums of their layers: ratio of the sum to the measured whole, and their rank correlation. Also
    the factor per kind of layer with which the sums fit the whole best (1: as long as alone)."""
    from scipy.optimize import nnls

    path, m = BUNDLED / "lookup" / "nasbench201.parquet", Measured().measurements()
    samples, rows = m.architectures[:cells], []
    layers = [layers_of(network) for network in Networks.of(samples)]
    prices = Tabulated(path)
    flops = samples.space.totals(samples)["flops"].to_numpy(float)
    for device, whole in zip(m.devices, m.matrix("latency_ms")[:cells].T, strict=True):
        if device.name not in {name for name, *_ in prices.exact}:
            continue
        ms = [
            {layer.key: prices.exact.get((device.name, "latency_ms", layer.key)) for layer in part} for part in layers
        ]
        parts = list(zip(layers, ms, strict=True))
        missing = sorted({label(layer) for part, by in parts for layer in part if by[layer.key] is None})
        kinds = sorted({kind(label(layer)) for part in layers for layer in part})
        summed = np.zeros((len(samples), len(kinds)))
        for row, (part, by) in enumerate(parts):
            for layer in part:
                summed[row, kinds.index(kind(label(layer)))] += by[layer.key] or 0.0
        known = np.isfinite(whole)
        ratio = summed.sum(1)[known] / whole[known]
        rank = spearman(np.column_stack([summed.sum(1), flops, whole]))[2]
        about = {"device": device.name, "cells": int(known.sum())}
        rows.append(
            {"what": "sum", **about, "median_ratio": float(np.median(ratio)), "p10": float(np.percentile(ratio, 10)),
             "p90": float(np.percentile(ratio, 90)), "within_10": float((abs(ratio - 1) <= 0.1).mean()),
             "spearman": float(rank[0]), "flops_spearman": float(rank[1]), "not_in_table": ", ".join(missing)}
        )  # fmt: skip
        factors, _ = nnls(summed[known] / whole[known, None], np.ones(known.sum()))
        left = abs(summed[known] @ factors / whole[known] - 1)
        shares = summed.sum(0) / summed.sum()
        for name, factor, share in zip(kinds, factors, shares, strict=True):
            values = {"layer": name, "factor": float(factor), "share_of_sum": float(share)}
            rows.append({"what": "factor", **about, **values, "median_error": float(np.median(left))})
    return rows


def kind(name: str) -> str:
    """The kind of a NAS-Bench-201 network's layer by its label; layers that no cell decides are the skeleton's."""
    ops, _, window = name.partition(" ")
    kinds = {"conv 3/1": "conv 3x3", "conv 1/1": "conv 1x1", "avg_pool 3/1": "avg_pool", "add": "add", "relu": "relu"}
    first = ops.partition("+")[0]
    return kinds.get(first, kinds.get(f"{first} {window.partition(' ')[0]}", "skeleton"))
