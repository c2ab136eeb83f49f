"""Timelines of kernels: what a runtime itself says about where the time of a run goes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datasets.networks.model import Model
from datasets.networks.network import Network
from measure.base import Backend, make_input, with_weights

if TYPE_CHECKING:
    import pandas as pd


def timeline(
    backend: Backend, network: Network | Model, runs: int = 20, warmup: int = 5, seed: int = 0
) -> pd.DataFrame:
    """The kernels of a shaped network in the order of execution, every time the median over runs (OpenVINO: over
    means of four, each in a model compiled anew).

    The runtime's own clocks count, whole microseconds in onnxruntime and OpenVINO, and profiling costs time itself: a
    timeline says which kernels matter, `Timing` says how long a run takes. Runtimes fuse and add nodes, so kernels are
    not the network's ops.

    Returns:
        name, kind (the runtime's own terms), start_us, duration_us, cpu_us (nan where the runtime does not tell).

    Raises:
        InputError: the backend keeps no timeline.
    """
    import pandas as pd

    model = with_weights(network, seed)
    backend = backend.for_network(model.network)
    with tempfile.TemporaryDirectory() as folder:
        artefact = backend.artefact(model, Path(folder))
        kept = backend.profile(artefact, make_input(model.network, backend.batch, seed), warmup, runs)
    names = pd.DataFrame([kernel[:2] for kernel in kept[-1]], columns=["name", "kind"])
    same = [run for run in kept if [kernel.kind for kernel in run] == list(names["kind"])]
    times = np.array([[kernel[2:] for kernel in run] for run in same])  # [runs, kernels, 3]
    middle = np.median(times, axis=0)
    middle[:, 0] = np.maximum.accumulate(middle[:, 0])  # medians of starts may overtake each other by a fraction
    return names.join(pd.DataFrame(middle, columns=["start_us", "duration_us", "cpu_us"]))
