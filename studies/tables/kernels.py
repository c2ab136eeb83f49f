"""What networks in fp32 and in int8 spend their time on: the kernels of runtimes' own timelines, by what they do."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence

import pandas as pd

from datasets.networks.reading import read_model
from measure.backends.ort import OnnxRuntime
from measure.backends.ov import OpenVino
from measure.base import Backend
from measure.kernels import timeline

PRECISIONS = ("fp32", "int8")
NETWORKS = ("zoo:squeezenet", "zoo:mobilenet_v2", "zoo:resnet18")
WORK = ("int8 products", "fp32 products", "other ops in int8", "other ops in fp32", "quantisation", "layout")
"""What kernels do: products are convolutions and matrix products; quantisation is from and to int8, layout reorders."""

_PRODUCTS = r"Conv|MatMul|Gemm|FullyConnected|Attention|Deconvolution|ScaledDotProduct"
_RULES = (
    (r"^(Dynamic)?Quantize|^Dequantize|^FakeQuantize|^Convert\b", "quantisation"),
    (r"^Reorder|^Transpose|^Permute", "layout"),
    (rf"^(QLinear|Q)({_PRODUCTS})|^(MatMul|Conv)Integer|^\S*({_PRODUCTS})\S* \S*_[IUiu]8$", "int8 products"),
    (rf"^\S*({_PRODUCTS})", "fp32 products"),
    (r"^QLinear|^Nhwc|_[IUiu]8$", "other ops in int8"),
)
"""Patterns of kinds of kernels, as onnxruntime and OpenVINO (with the name of the kernel behind it) call them."""


def work_of(kind: str) -> str:
    """What a kernel does, one of `WORK`."""
    return next((work for pattern, work in _RULES if re.search(pattern, kind)), "other ops in fp32")


def kernels(names: Iterable[str] = NETWORKS, backends: Sequence[type[Backend]] = (OnnxRuntime, OpenVino),
            runs: int = 20) -> list[dict]:  # fmt: skip
    """Time of the kernels of networks on runtimes, by precision and by what they do.

    Args:
        names: SPACE:ARCHITECTURE, or files.
        backends: runtimes with a profiler and int8; those that are not installed are left out.
        runs: runs of each timeline.

    Returns:
        One row per network, runtime, precision and kind of work (and `work` all): number of kernels, us, share of all.
    """
    rows = list[dict]()
    for name in names:
        model = read_model(name)
        for backend in (make(precision) for make in backends for precision in PRECISIONS):
            if reason := backend.unavailable():
                print(reason, file=sys.stderr)
                continue
            rows += summed(name, backend, timeline(backend, model, runs))
    return rows


def summed(name: str, backend: Backend, found: pd.DataFrame) -> list[dict]:
    """Rows of `kernels` of one timeline."""
    about = {"network": name.rpartition(":")[2], "runtime": backend.runtime, "precision": backend.precision}
    total = float(found["duration_us"].sum())
    rows = [{**about, "work": "all", "kernels": len(found), "us": total, "share": 1.0}]
    for work, own in found.groupby(found["kind"].map(work_of))["duration_us"]:
        us = float(own.sum())
        rows.append({**about, "work": work, "kernels": len(own), "us": us, "share": us / max(total, 1e-9)})
    return rows
