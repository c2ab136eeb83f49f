"""LatBench's table of a Core i7-7820X in fp32, the only one in a public repository.

LatBench is of "BRP-NAS: Prediction-based NAS using GCNs" (Dudziak et al., NeurIPS 2020).

It has 15,284 NAS-Bench-201 cells, all but the 341 without a path from input to output. The file maps the ops of the six
edges to SECONDS; here they are milliseconds. OneProxy's eagle_i7 has these numbers for 1,999 of the cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datasets.base import Dataset
from datasets.devices import device_on
from datasets.public.fetch import Source
from datasets.public.unpickle import unpickle
from datasets.records import Architectures, InputError, Measurements
from datasets.spaces.nasbench201 import NasBench201
from datasets.tabulate import rows

_FILE = "examples/desktop-cpu-core-i7-7820x-fp32.pkl"

SOURCE = Source(
    name="latbench-brp-nas",
    repository="zheng-ningxin/brp-nas",
    commit="53313d8dc7f3ef53fe8551824fdf9f55bd353677",
    licence="Apache-2.0",
    files={_FILE: "27f61a49ce38eac55c33070ae5cbabc64919daaa8f69d99828e5000b14750046"},
)


@dataclass
class LatBench(Dataset):
    """LatBench's NAS-Bench-201 latencies on a desktop processor."""

    def measurements(self) -> Measurements:
        content = unpickle(SOURCE, _FILE, dict)
        try:
            decisions = np.array(list(content))
            seconds = np.array(list(content.values()), dtype=float)
            if decisions.dtype.kind != "i" or seconds.ndim != 1 or not len(seconds):
                raise ValueError("its keys are not op numbers, or its values not numbers")
        except (ValueError, TypeError) as error:
            raise InputError(
                f"{SOURCE.path(_FILE)} is no table of cells and seconds ({error}): delete it and fetch "
                "latbench-brp-nas again."
            ) from error
        with np.errstate(over="ignore"):  # `Measurements` refuses infinite values
            ms = 1000 * seconds[:, None]
        archs = Architectures(NasBench201(), decisions)  # their op numbers and order of edges are ours
        return Measurements(archs, [device_on("i7_7820x", "i7_7820x")], rows(ms), "latbench")
