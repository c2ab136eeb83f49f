"""Accel-NASBench's measurements: 5,125 networks of its space on two GPUs, two TPUs and two FPGAs.

The table is of "Accel-NASBench: Sustainable Benchmarking for Accelerator-Aware NAS" (Ahmad et al., DAC 2024). Metrics
are `throughput`, images per second on all six devices; `latency_ms` of one image, on the FPGAs; and
`accuracy_imagenet`, top-1 in percent after the benchmark's shortened training. Known traps:

- Throughput is that of a batch of the device's own size, so 1000 / throughput is no latency of one image.
- 13 networks are listed twice; their median is the value. A few networks lack the number of a device.
- Both TPUs stop at 1,803 images a second: something before them is the limit of fast networks.
- Precision and batch are not stated, but for the FPGAs, whose DPUs compute in int8.
- `params` and `macs` of the files are in millions; their MACs count batch norms and poolings too
  (`datasets.spaces.efficientnet`).
"""

from __future__ import annotations

import json
import math
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datasets.base import Dataset
from datasets.public.fetch import Source
from datasets.records import Architectures, Device, InputError, Measurements
from datasets.spaces.efficientnet import DEPTHS, EXPANDS, KERNELS, STAGES, EfficientNet

_FILE = "anb_dataset/anb_dataset_jsons.tar.gz"
SOURCE = Source(
    name="accel-nasbench",
    repository="afzalxo/Accel-NASBench",
    commit="42603572d530310e6bac7191d00cf45625a6b197",
    licence="Apache-2.0",
    files={_FILE: "3520992d42e368b7c08c99fc3f6612855b5b366bf98668a7f19d49f3131aa4ae"},
)

DEVICES = (
    Device("zcu102", "xilinx-zynq", "fpga", "vitis-ai", "int8"),
    Device("vck190", "xilinx-versal", "fpga", "vitis-ai", "int8"),
    Device("a100", "nvidia-ampere-hpc", "gpu", precision=""),
    Device("rtx_3090", "nvidia-ampere", "gpu", precision=""),
    Device("tpu_v2", "google-tpu", "asic", precision=""),
    Device("tpu_v3", "google-tpu", "asic", precision=""),
)
_NAMES = ("zcu102", "vck190", "a100", "3090", "tpuv2", "tpuv3")
"""Names of `DEVICES` in the files."""
_MOST_FILES, _MOST_BYTES = 20_000, 100_000


@dataclass
class AccelNasBench(Dataset):
    """Throughput, latency and accuracy of networks of `EfficientNet`."""

    def measurements(self) -> Measurements:
        import pandas as pd

        path = SOURCE.need(_FILE)
        decisions, rows = list[list[int]](), list[tuple[int, int, str, float]]()
        try:
            for record in _records(path):
                decisions.append(_decisions(record["architecture"]))
                rows += [(len(decisions) - 1, *row) for row in _values(record)]
        except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path} is damaged ({error}): delete it and fetch {SOURCE.name} again.") from None
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            raise InputError(
                f"{path} is damaged or another file ({error!r:.100}): delete it and fetch {SOURCE.name} again."
            ) from None
        if not rows:
            raise InputError(f"{path} has no measurements: delete it and fetch {SOURCE.name} again.")
        distinct, position = np.unique(np.array(decisions), axis=0, return_inverse=True)
        table = pd.DataFrame(rows, columns=["arch", "device", "metric", "value"])
        table["arch"] = position.ravel()[table["arch"]]
        groups = table.groupby(["arch", "device", "metric"], sort=False)["value"]
        table = groups.agg(value="median", repeats="size").reset_index()
        return Measurements(Architectures(EfficientNet(), distinct), DEVICES, table, "accel-nasbench")


def _records(path: Path) -> Iterator[Any]:
    """The JSON files of the archive, which is read and never extracted."""
    with tarfile.open(path, "r:gz") as archive:
        for number, member in enumerate(archive):
            if number >= _MOST_FILES or member.size > _MOST_BYTES:
                raise ValueError(f"{member.name[:60]} is too large, or there are too many files")
            content = archive.extractfile(member) if member.isreg() and member.name.endswith(".json") else None
            if content is not None:
                yield json.load(content)


def _decisions(architecture: dict[str, Any]) -> list[int]:
    """Positions of the choices of each stage."""
    found = []
    for stage in range(len(STAGES)):
        e, k, depth, squeeze = (architecture[f"block{stage}_{name}"] for name in ("e", "k", "l", "se"))
        found += [EXPANDS.index(e), KERNELS.index(k), DEPTHS.index(depth), int(bool(squeeze))]
    return found


def _values(record: dict[str, Any]) -> Iterator[tuple[int, str, float]]:
    """Device, metric and value of a record's numbers; device -1 for accuracies."""
    yield -1, "accuracy_imagenet", float(record["metrics"]["val_top1"])
    for device, name in enumerate(_NAMES):
        for metric, kind in (("throughput", "throughput"), ("latency_ms", "latency")):
            value = record["platform_perf"].get(f"{kind}_{name}", {}).get(f"{kind}_mean")
            if value is not None and math.isfinite(value) and value > 0:
                yield device, metric, float(value)
