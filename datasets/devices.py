"""Published numbers of the chips of public tables, with their sources.

    cores       CUDA cores of a GPU, CPU cores of everything else (fast and slow ones together)
    clock_ghz   highest clock of the vendor without overclocking (boost; Intel: Turbo Boost 2.0), of the fastest cores
    memory_gbs  peak bandwidth of the main memory, 10^9 bytes per second
    peak_gflops fp32, a multiply-add as two: 2 x CUDA cores x clock for GPUs
    l2_mb       second-level cache of a GPU, 2^20 bytes
    sms         streaming multiprocessors of an NVIDIA GPU
    capability  its compute capability, whose generations are 3 Kepler, 5 Maxwell, 6 Pascal, 7.0 Volta, 7.5 Turing,
                8.6 Ampere, 8.9 Ada, 12.0 Blackwell

A card with two GPUs (K80, M60) is described as one of them, which is what a program runs on.

They describe the whole chip, even if a benchmark used a part of it. Numbers that are not public, or on which sources
disagree (the clock of Xeons under AVX-512, and so their peak), are absent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from datasets.files.reading import read_yaml, shortened
from datasets.records import Device, InputError


@dataclass(frozen=True)
class Chip:
    """Hardware without runtime, precision and batch.

    Attributes:
        family: the chip generation, whose members rank networks similarly (titan_rtx_256 and 2080ti_256: Spearman
            0.9995).
        kind: one of `KINDS`.
        source: source of the numbers.
        features: the known numbers, with the names above.
    """

    family: str
    kind: str
    source: str = ""
    features: Mapping[str, float] = field(default_factory=dict)


NUMBERS = ("cores", "clock_ghz", "memory_gbs", "peak_gflops", "l2_mb")
GPU_NUMBERS = ("sms", "capability")
"""Further numbers of NVIDIA GPUs."""
KINDS = (
    "gpu",
    "embedded-gpu",
    "mobile-gpu",
    "server-cpu",
    "desktop-cpu",
    "mobile-cpu",
    "embedded-cpu",
    "dsp",
    "asic",
    "fpga",
)


def _chip(family: str, kind: str, source: str = "", **features: float) -> Chip:
    return Chip(family, kind, source, features)


def _gpu(generation: str, source: str, **features: float) -> Chip:
    return Chip(f"nvidia-{generation}", "gpu", source, features)


_LIST = "Wikipedia, List of Nvidia graphics processing units"
_MLPREDICT = f"mlpredict's src/mlpredict/GPUs/*.json (cores, clock, bandwidth); {_LIST} (cache)"
_NEUSIGHT = "NeuSight's scripts/asplos/data/device_configs/*.json"
_ARK = "Intel ARK"
_SNAPDRAGON = "Wikipedia, List of Qualcomm Snapdragon systems on chips"

CHIPS: dict[str, Chip] = {
    "1080ti": _chip(
        "nvidia-pascal",
        "gpu",
        f"{_LIST}; mlpredict's 1080Ti.json (cores, clock, bandwidth)",
        cores=3584,
        clock_ghz=1.582,
        memory_gbs=484,
        peak_gflops=11340,
        l2_mb=2.75,
    ),
    "titanxp": _gpu("pascal", _LIST, cores=3840, clock_ghz=1.582, memory_gbs=547.7, peak_gflops=12150, l2_mb=3),
    "2080ti": _gpu("turing", _LIST, cores=4352, clock_ghz=1.545, memory_gbs=616, peak_gflops=13448, l2_mb=5.5),
    "titan_rtx": _gpu("turing", _LIST, cores=4608, clock_ghz=1.770, memory_gbs=672, peak_gflops=16312, l2_mb=6),
    # Clocks and bandwidths of mlpredict's and NeuSight's descriptors; one of the two GPUs of a K80, and of an M60.
    # The V100 of Justus et al. has 1455 MHz there, NeuSight's PCIe card 1370 MHz.
    "k40": _gpu("kepler", _MLPREDICT, cores=2880, clock_ghz=0.875, memory_gbs=288, peak_gflops=5040, l2_mb=1.5),
    "k80": _gpu("kepler", _MLPREDICT, cores=2496, clock_ghz=0.875, memory_gbs=240, peak_gflops=4368, l2_mb=1.5),
    "m60": _gpu("maxwell", _LIST, cores=2048, clock_ghz=1.178, memory_gbs=160, peak_gflops=4825, l2_mb=2),
    "p100": _gpu("pascal-hpc", _MLPREDICT, cores=3584, clock_ghz=1.303, memory_gbs=732, peak_gflops=9340, l2_mb=4),
    "v100": _gpu("volta", _MLPREDICT, cores=5120, clock_ghz=1.455, memory_gbs=900, peak_gflops=14899, l2_mb=6),
    "v100_pcie": _gpu("volta", _NEUSIGHT, cores=5120, clock_ghz=1.370, memory_gbs=900, peak_gflops=14029, l2_mb=6),
    "p4": _gpu("pascal", _NEUSIGHT, cores=2560, clock_ghz=1.113, memory_gbs=192, peak_gflops=5699, l2_mb=2),
    "t4": _gpu("turing", _NEUSIGHT, cores=2560, clock_ghz=1.590, memory_gbs=320, peak_gflops=8141, l2_mb=4),
    "rtx3090": _gpu("ampere", _LIST, cores=10496, clock_ghz=1.695, memory_gbs=936, peak_gflops=35580, l2_mb=6),
    "rtx4090": _gpu("ada", _LIST, cores=16384, clock_ghz=2.520, memory_gbs=1008, peak_gflops=82580, l2_mb=72),
    "rtx5090": _gpu("blackwell", _LIST, cores=21760, clock_ghz=2.407, memory_gbs=1792, peak_gflops=104800, l2_mb=96),
    # Six channels of DDR4-2933 (6226) and DDR4-2400 (4114, 4210R, 5120), 8 bytes wide each.
    "gold_6226": _chip("intel-cascade-lake", "server-cpu", _ARK, cores=12, clock_ghz=3.7, memory_gbs=140.8),
    "silver_4210r": _chip("intel-cascade-lake", "server-cpu", _ARK, cores=10, clock_ghz=3.2, memory_gbs=115.2),
    "gold_5120": _chip("intel-skylake-sp", "server-cpu", _ARK, cores=14, clock_ghz=3.2, memory_gbs=115.2),
    "silver_4114": _chip("intel-skylake-sp", "server-cpu", _ARK, cores=10, clock_ghz=3.0, memory_gbs=115.2),
    "i7_12700h": _chip("intel-alder-lake", "desktop-cpu", _ARK, cores=14, clock_ghz=4.7, memory_gbs=76.8),
    "i9_10940x": _chip("intel-cascade-lake-x", "desktop-cpu", _ARK, cores=14, clock_ghz=4.6, memory_gbs=94),
    "i7_7820x": _chip("intel-skylake-x", "desktop-cpu", _ARK, cores=8, clock_ghz=4.3, memory_gbs=85.3),
    "pixel2": _chip(
        "snapdragon-835",
        "mobile-cpu",
        f"Google's Pixel 2 specifications (clock); {_SNAPDRAGON}",
        cores=8,
        clock_ghz=2.35,
        memory_gbs=29.8,
    ),
    "essential_ph_1": _chip("snapdragon-835", "mobile-cpu", _SNAPDRAGON, cores=8, clock_ghz=2.45, memory_gbs=29.8),
    "pixel3": _chip(
        "snapdragon-845",
        "mobile-cpu",
        f"Google's Pixel 3 specifications (clock); {_SNAPDRAGON}",
        cores=8,
        clock_ghz=2.5,
        memory_gbs=29.8,
    ),
    "samsung_a50": _chip("exynos-9610", "mobile-cpu", "Samsung's Exynos 9610 page", cores=8, clock_ghz=2.3),
    "samsung_s7": _chip("samsung-s7", "mobile-cpu"),  # sold with two different chips; the source does not state which
    "raspi4": _chip(
        "bcm2711",
        "embedded-cpu",
        "Raspberry Pi 4 Model B product brief: 1.5 GHz Cortex-A72; 32 bits of LPDDR4-3200",
        cores=4,
        clock_ghz=1.5,
        memory_gbs=12.8,
    ),
    "pi5": _chip(
        "bcm2712",
        "embedded-cpu",
        "Raspberry Pi 5 product brief: 2.4 GHz Cortex-A76; 32 bits of LPDDR4X-4267; two 128-bit FMA pipes a core",
        cores=4,
        clock_ghz=2.4,
        memory_gbs=17.1,
        peak_gflops=153.6,
    ),
    "pixel6a": _chip("google-tensor", "mobile-cpu", "Wikipedia, Google Tensor", cores=8, clock_ghz=2.8),
    "snapdragon_855_cpu": _chip("snapdragon-855", "mobile-cpu", _SNAPDRAGON, cores=8, clock_ghz=2.84, memory_gbs=34.1),
    "snapdragon_855_gpu": _chip("snapdragon-855", "mobile-gpu", _SNAPDRAGON, memory_gbs=34.1),
    "snapdragon_855_dsp": _chip("snapdragon-855", "dsp", _SNAPDRAGON, memory_gbs=34.1),
    "jetson_nano": _chip(
        "jetson-nano",
        "embedded-gpu",
        "NVIDIA Jetson Nano data sheet",
        cores=128,
        clock_ghz=0.9216,
        memory_gbs=25.6,
        peak_gflops=236,
    ),
    "jetson_tx2": _chip(
        "jetson-tx2",
        "embedded-gpu",
        "NVIDIA Jetson TX2 data sheet",
        cores=256,
        clock_ghz=1.3,
        memory_gbs=59.7,
        peak_gflops=666,
    ),
    "edgetpu": _chip("edgetpu", "asic"),  # 4 TOPS in int8; none of the numbers above is public
    "fpga": _chip("fpga", "fpga"),
    "eyeriss": _chip("eyeriss", "asic"),
}

_GPUS = {
    "1080ti": (28, 6.1), "titanxp": (30, 6.1), "2080ti": (68, 7.5), "titan_rtx": (72, 7.5), "k40": (15, 3.5),
    "k80": (13, 3.7), "m60": (16, 5.2), "p100": (56, 6.0), "v100": (80, 7.0), "v100_pcie": (80, 7.0), "p4": (20, 6.1),
    "t4": (40, 7.5), "rtx3090": (82, 8.6), "rtx4090": (128, 8.9), "rtx5090": (170, 12.0),
    "jetson_nano": (1, 5.3), "jetson_tx2": (2, 6.2),
}  # fmt: skip
"""Streaming multiprocessors and compute capability (NVIDIA, CUDA GPUs; Wikipedia, List of Nvidia graphics processing
units)."""
CHIPS = CHIPS | {
    name: replace(CHIPS[name], features={**CHIPS[name].features, **dict(zip(GPU_NUMBERS, numbers, strict=True))})
    for name, numbers in _GPUS.items()
}


def device_on(name: str, chip: str, runtime: str = "", precision: str = "fp32", batch: int = 1) -> Device:
    """The `Device` of a chip of the table with a runtime, precision and batch.

    Raises:
        InputError: the chip is not in the table.
    """
    if chip not in CHIPS:
        raise InputError(f"There is no chip '{chip}' in datasets/devices.py; it knows {', '.join(CHIPS)}.")
    known = CHIPS[chip]
    return Device(name, known.family, known.kind, runtime, precision, batch, dict(known.features))


def read_device(path: Path) -> Device:
    """The hardware in a file of `python -m measure host`: name, family, kind, features.

    Raises:
        InputError: the file is missing, or describes no device.
    """
    content = read_yaml(path, "`python -m measure host` writes one for the machine it runs on")
    content = content if isinstance(content, dict) else {}
    name, family, kind, features = (content.get(key) for key in ("name", "family", "kind", "features"))
    if not (isinstance(name, str) and isinstance(family, str) and isinstance(kind, str) and isinstance(features, dict)):
        raise InputError(f"{path} does not describe a device: it needs name, family, kind and features.")
    if not re.fullmatch(r"\w[\w.+-]{0,99}", name):
        raise InputError(f"{path}: '{shortened(name)}' is no name of a device; letters, digits, _, - and . make one.")
    if kind not in KINDS:
        raise InputError(f"{path}: there is no kind '{shortened(kind)}'; kinds are {', '.join(KINDS)}.")
    for key, value in features.items():
        if type(value) not in (int, float) or not 0 <= value < 1e15:
            raise InputError(f"{path}: feature '{shortened(key)}' has to be a number, 0 or more.")
    return Device(name, family, kind, features={str(key): float(value) for key, value in features.items()})
