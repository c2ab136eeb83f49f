"""HW-NAS-Bench-360: latency and energy of NAS-Bench-201 on a Raspberry Pi 5 with three runtimes, and on a Pixel.

Milliseconds and millijoules per run of one image, with one core of the Pi. Known traps: upstream measured one cell of
each of 6,466 classes (equal `UniqueString`) and COPIED its number to the other 9,159, so a random split of all rows
would have copies of test rows in training; by default only measured rows are given. Cells without a path from input to
output take less than 0.1 ms on LiteRT (use the rows `cells = connected`). Energy is of the core rail without idle, not
available for the Pixel, and similar to latency (Spearman 0.93-0.99).

A task is a field and not a device: another task is another network (image, classes) on the same device, and devices
rank cells similarly for all three (Spearman >= 0.994 on the Pi), so three tasks as nine devices would be three copies
of each. The three runtimes of the Pi are one family. The repository states no licence: this loader may fetch
the file for its user, and nothing of it is bundled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datasets.base import Dataset
from datasets.devices import device_on
from datasets.public.fetch import Source
from datasets.public.help import index_order
from datasets.records import Architectures, InputError, Measurements
from datasets.spaces.nasbench201 import NasBench201

_FILE = "results/dataset.parquet"
_METRICS = {"latency_ms": "lat_ms_median", "energy_mj": "energy_mj"}
_COLUMNS = ("arch_idx", "rep_arch_idx", "device", "framework", "task", *_METRICS.values(), "status")
_CHIPS = {"pi5": "pi5", "pixel": "pixel6a"}  # the later README names the phone: a Pixel 6a

SOURCE = Source(
    name="hw-nas-bench-360",
    repository="roldebijvank/HW-NAS-Bench-360",
    commit="a9b243e07fb8f0671ee56587696e7b8ef1ca702d",
    licence="none stated",
    files={_FILE: "d3ce4198e31564486b7194ba28507bea3867cb16a2587d68d82e3b62cfff4cce"},
)

# Only the first is exact: inputs are 1 x 52 x 16 for NinaPro and 1 x 88 x 88 for Darcy, and our skeleton has square RGB
# images. Totals of NinaPro are of an image with 1.23 times the pixels, those of Darcy differ by two input channels.
_SKELETONS = {
    "cifar100": NasBench201(classes=100),
    "ninapro": NasBench201(classes=18),
    "darcy": NasBench201(image=88, classes=1),
}


@dataclass
class HwNasBench360(Dataset):
    """Latency and energy on small boards.

    Attributes:
        task: images of the networks: cifar100, ninapro or darcy.
        copies: include cells that upstream did not measure, with the value of the measured cell of their class.
        devices: names of devices (pi5_onnx, ...); empty: all. For energy, leave out the Pixel.
    """

    task: str = "cifar100"
    copies: bool = False
    devices: tuple[str, ...] = ()

    def measurements(self) -> Measurements:
        import pandas as pd

        if self.task not in _SKELETONS:
            raise InputError(f"HW-NAS-Bench-360 has no task '{self.task}'; it has {', '.join(_SKELETONS)}.")
        path = SOURCE.need(_FILE)
        order = index_order()
        try:
            content = pd.read_parquet(path, columns=list(_COLUMNS))
        except (ValueError, OSError, KeyError) as error:  # pyarrow's errors are ValueErrors and OSErrors
            raise InputError(
                f"{path} is damaged or another table ({error}). Delete it and run "
                f"`python -m datasets fetch {SOURCE.name}`."
            ) from error
        content = content[(content["task"] == self.task) & (content["status"] == "ok")]
        if not self.copies:
            content = content[content["arch_idx"] == content["rep_arch_idx"]]
        index = content["arch_idx"].to_numpy()
        if not len(index) or not ((index >= 0) & (index < len(order))).all():
            raise InputError(f"{path} has no rows of {self.task}, or cells that nobody knows: fetch it again.")
        known, arch = np.unique(index, return_inverse=True)
        names = content["device"] + "_" + content["framework"]
        devices = [
            device_on(f"{board}_{runtime}", _CHIPS.get(board, board), runtime)
            for board, runtime in sorted(set(zip(content["device"], content["framework"], strict=True)))
        ]
        device = names.map({known_device.name: place for place, known_device in enumerate(devices)})
        parts = [
            pd.DataFrame({"arch": arch, "device": device, "metric": metric, "value": content[column]})
            for metric, column in _METRICS.items()
        ]
        table = pd.concat(parts, ignore_index=True)
        unmeasured = table["value"].isna() & (table["metric"] == "energy_mj")  # the Pixel has no meter
        archs = Architectures(_SKELETONS[self.task], order.decisions[known])
        name = f"hw-nas-bench-360-{self.task}"
        m = Measurements(archs, devices, table[~unmeasured].reset_index(drop=True), name)
        return m.where(devices=self.devices) if self.devices else m
