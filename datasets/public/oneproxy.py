"""OneProxy's latency tables: 1,999 NAS-Bench-201 cells on 14 devices.

The tables are of "One Proxy Device Is Enough for Hardware-Aware Neural Architecture Search" (Lu et al., SIGMETRICS
2022), in milliseconds per run of one image. Names give the source of the numbers: eagle_* is LatBench of BRP-NAS,
rice_* is HW-NAS-Bench on CIFAR-10. Known traps: the numbers of eagle_gtx are those of eagle_i7, within 5 % everywhere
(Spearman 0.999), and their ranks differ from HELP's 1080 Ti (0.3), so it is listed here as that processor, in its
family; rice_{eyeriss,fpga,raspi4,pixel3} equal HELP's files of these names exactly and share their families; -1 is a
missing value (259 of rice_edgetpu), which gives no row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datasets.base import Dataset
from datasets.devices import device_on
from datasets.public.fetch import Source
from datasets.public.unpickle import unpickle
from datasets.records import Architectures, Device, InputError, Measurements
from datasets.spaces.nasbench201 import EDGES, OPS, NasBench201
from datasets.tabulate import rows

_LATENCY = "latency_data/{}.pickle"
_CELLS = "encode.pickle"
_SHA256 = {
    "eagle_cpu_855": "52949542d89c1acc223ee723be736247b29c7b530c72e382af6f9398b82b5102",
    "eagle_dsp_855": "89868844995af830d347b9bd4ae8d4afd7610cb62f604997adb04548d6695d53",
    "eagle_gpu_855": "550f44b04f6c816f7c757a592924f0ac46de252d84fbcb845f6cf5b34c5b51e5",
    "eagle_gtx": "46f247a949eb79ac8383f4b88ffd575abe272dc87da1cdbe8a859405bdee6c4a",
    "eagle_i7": "a49724cf2037cb6f56899e898b1f717f3b1fd33a9fa1c5525f74228fa2f3ab8e",
    "eagle_jetson": "6daeeebe5181c79f942b923f73f71f404b66853df4b8b9e5d713e8907008720e",
    "eagle_jetson_16": "78273cb35b47d4778390c4e07fdeaf5444e7b49122b5fe2fdbc5ce89dc39025b",
    "eagle_tpu": "0486c2beaca18c3f3a2eb427b6c5a36921596e95adebf2f4c241ee9be3aad9ea",
    "rice_edgegpu": "aba9f61d01d05d1fb2171a71bb6cb32445c4f92f02103b408d47438f1f9695b5",
    "rice_edgetpu": "f07a27890ed74945defeab32576bec7ac293c79973925960056a898326e3e8f5",
    "rice_eyeriss": "49acea9e8c9b6a7464f0725e59177f7caeb6d11aa562a37e8eba9094f125cb11",
    "rice_fpga": "5101ede0998a799769dc376c586eda2a18254a22935c4e066cd732d21038555a",
    "rice_pixel3": "6c5c1cda363c94a66d4e633513f6d65b13d3ce5afe4fd389bceed8db8d2d169f",
    "rice_raspi4": "668ee4b9b5a93245d1950802ba7d5ab265d24d50ef65e62c602b38b047e9167e",
}

SOURCE = Source(
    name="oneproxy",
    repository="Ren-Research/OneProxy",
    commit="e3c9b2c65113e16f1208988287810b283674f4de",
    licence="MIT",
    files={
        _CELLS: "e185be53421b6addd872e3a4fb4d2ad2a55bf8c06eb50c0213d4b921bde9343f",
        **{_LATENCY.format(name): digest for name, digest in _SHA256.items()},
    },
)

# Chip and precision; by LatBench's file names int8 on the Snapdragon and the Edge TPU, fp32 elsewhere.
_HARDWARE = {
    "eagle_cpu_855": ("snapdragon_855_cpu", "int8"),
    "eagle_dsp_855": ("snapdragon_855_dsp", "int8"),
    "eagle_gpu_855": ("snapdragon_855_gpu", "int8"),
    "eagle_gtx": ("i7_7820x", "fp32"),
    "eagle_i7": ("i7_7820x", "fp32"),
    "eagle_jetson": ("jetson_nano", "fp32"),
    "eagle_jetson_16": ("jetson_nano", "fp16"),
    "eagle_tpu": ("edgetpu", "int8"),
    "rice_edgegpu": ("jetson_tx2", "fp32"),
    "rice_edgetpu": ("edgetpu", "int8"),
    "rice_eyeriss": ("eyeriss", "fp32"),
    "rice_fpga": ("fpga", "fp32"),
    "rice_pixel3": ("pixel3", "fp32"),
    "rice_raspi4": ("raspi4", "fp32"),
}
_MISSING = -1


def device(name: str) -> Device:
    """The device of a file name."""
    chip, precision = _HARDWARE[name]
    return device_on(name, chip, precision=precision)


@dataclass
class OneProxy(Dataset):
    """OneProxy's NAS-Bench-201 latencies.

    Attributes:
        devices: names of devices; empty: all devices whose files are present.
    """

    devices: tuple[str, ...] = ()

    def measurements(self) -> Measurements:
        if unknown := set(self.devices) - set(_SHA256):
            raise InputError(f"OneProxy has no device '{min(unknown)}'; it has {', '.join(_SHA256)}.")
        names = list(self.devices) or [name for name in _SHA256 if SOURCE.path(_LATENCY.format(name)).is_file()]
        if not names:
            SOURCE.need(_LATENCY.format("eagle_i7"))
        if not self.devices:
            SOURCE.report_unknown(_LATENCY.format("eagle_i7"))
        archs = _cells()
        values = np.stack([_column(name, len(archs)) for name in names], axis=1)
        table = rows(values, measured=values != _MISSING)
        return Measurements(archs, [device(name) for name in names], table, "oneproxy")


def _cells() -> Architectures:
    """Cells from rows of 31 numbers: one of five ops one-hot on each of six edges, both in our order, then a constant
    1."""
    width = len(EDGES) * len(OPS)
    try:
        table = np.array(unpickle(SOURCE, _CELLS, list), dtype=float)
        one_hot = table[:, :width].reshape(-1, len(EDGES), len(OPS))
    except (ValueError, TypeError, IndexError):  # rows of unequal length, texts, ...
        one_hot = np.zeros((1, len(EDGES), len(OPS)))
    if not (np.isin(one_hot, (0, 1)).all() and (one_hot.sum(-1) == 1).all()):
        raise InputError(f"{SOURCE.path(_CELLS)} is no table of one-hot cells: delete it and fetch oneproxy again.")
    return Architectures(NasBench201(), one_hot.argmax(-1))


def _column(name: str, length: int) -> np.ndarray:
    content = unpickle(SOURCE, _LATENCY.format(name), list)
    try:
        column = np.array(content, dtype=float)
    except (ValueError, TypeError) as error:
        raise InputError(f"OneProxy's file of {name} holds more than numbers ({error}): fetch it again.") from error
    if column.shape != (length,):
        raise InputError(f"OneProxy's file of {name} has {column.size} values, not {length}: fetch it again.")
    return column
