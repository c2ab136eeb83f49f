"""Timelines of kernels, by the runtimes' own profilers."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datasets.networks.model import Model
from datasets.networks.network import Network
from measure.base import Backend

if TYPE_CHECKING:
    import pandas as pd


def timeline(
    backend: Backend, network: Network | Model, runs: int = 20, warmup: int = 5, seed: int = 0
) -> pd.DataFrame:
    """The kernels of a network in the order of execution; times are medians over runs.

    For OpenVINO they are medians of means over four runs, each of a newly compiled model. Times are those of the
    runtime's own clock (whole microseconds in onnxruntime and OpenVINO), and profiling itself takes time: a timeline
    shows which kernels matter, `Timing` measures how long a run takes. Runtimes fuse and add nodes, so kernels are not
    the network's ops.

    Returns:
        name, kind (the runtime's own terms), start_us, duration_us, cpu_us (NaN where the runtime does not report it).

    Raises:
        InputError: the backend has no profiler.
    """
    import pandas as pd

    with tempfile.TemporaryDirectory() as folder:
        built = backend.built(network, Path(folder), seed)
        batch = backend.batch if built.own else len(built.inputs[0])
        profiled = replace(backend, batch=batch).profile(built.artefact, built.inputs, warmup, runs)
    names = pd.DataFrame([kernel[:2] for kernel in profiled[-1]], columns=["name", "kind"])
    same = [run for run in profiled if [kernel.kind for kernel in run] == list(names["kind"])]
    times = np.array([[kernel[2:] for kernel in run] for run in same])  # [runs, kernels, 3]
    middle = np.median(times, axis=0)
    middle[:, 0] = np.maximum.accumulate(middle[:, 0])  # medians of starts may overtake each other by a fraction
    return names.join(pd.DataFrame(middle, columns=["start_us", "duration_us", "cpu_us"]))
