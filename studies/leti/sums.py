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
    """Bundled cells as sums of their layers: ratio of the sum to the whole, and how alike both rank. Then why: by how
    much each kind of layer must be multiplied for the sums to fit the whole best (1: it takes as long as alone)."""
    from scipy.optimize import nnls

    path, m = BUNDLED / "lookup" / "nasbench201.parquet", Measured().measurements()
    few, rows = m.architectures[:cells], []
    layers = [layers_of(network) for network in Networks.of(few)]
    prices = Tabulated(path)
    flops = few.space.totals(few)["flops"].to_numpy(float)
    for device, whole in zip(m.devices, m.matrix("latency_ms")[:cells].T, strict=True):
        if device.name not in {name for name, *_ in prices.exact}:
            continue
        ms = [{one.key: prices.exact.get((device.name, "latency_ms", one.key)) for one in part} for part in layers]
        parts = list(zip(layers, ms, strict=True))
        missing = sorted({label(one) for part, by in parts for one in part if by[one.key] is None})
        kinds = sorted({kind(label(one)) for part in layers for one in part})
        summed = np.zeros((len(few), len(kinds)))
        for row, (part, by) in enumerate(parts):
            for one in part:
                summed[row, kinds.index(kind(label(one)))] += by[one.key] or 0.0
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
            told = {"layer": name, "factor": float(factor), "share_of_sum": float(share)}
            rows.append({"what": "factor", **about, **told, "median_error": float(np.median(left))})
    return rows


def kind(name: str) -> str:
    """What sort of layer of a NAS-Bench-201 network a label names; what no cell decides is of the skeleton."""
    ops, _, window = name.partition(" ")
    sorts = {"conv 3/1": "conv 3x3", "conv 1/1": "conv 1x1", "avg_pool 3/1": "avg_pool", "add": "add", "relu": "relu"}
    first = ops.partition("+")[0]
    return sorts.get(first, sorts.get(f"{first} {window.partition(' ')[0]}", "skeleton"))
