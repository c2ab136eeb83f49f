"""Energy of single layers on a server's processors: convolutions, dense and pooling layers, and activations.

They are the data of the repository dl-energy-estimator ("Accuracy is not the only Metric that matters: Estimating the
Energy Consumption of Deep Learning Models", Getzner et al., 2023): random layers of seven kinds, each run for half a
minute with PyTorch on a Xeon Gold 5120 while CodeCarbon read RAPL. Millijoules and milliseconds per forward pass of a
whole batch. Known traps:

- Energy is of the processors, in total: unlike `energy_mj` elsewhere it includes the machine at rest. It is 75.8 W
  times the time, within 5 % in 84 of 100 rows.
- The files have kWh per forward pass, and the seconds of all passes together. Their column `cpu_power` is a last
  reading (0 to 440 W), not that of the row's energy.
- Their column `macs` counts biases and, for pooling and ReLU, elements; totals are counted anew here.

The repository states no licence: this loader may fetch the files for its user, and nothing of them is bundled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from datasets.base import Dataset
from datasets.devices import device_on
from datasets.networks.builder import NetworkBuilder
from datasets.networks.network import Network
from datasets.public.fetch import Source
from datasets.records import InputError, Measurements, Networks
from datasets.tabulate import rows

if TYPE_CHECKING:
    import pandas as pd


def _path(kind: str) -> str:
    return f"estimator/data/{kind}.csv"


KINDS = ("conv2d", "linear", "maxpool2d", "relu", "sigmoid", "softmax", "tanh")
SOURCE = Source(
    name="dl-energy-estimator",
    repository="JohannesGetzner/dl-energy-estimator",
    commit="2279b0a5617facd9e34e1215c2605039c706d7cc",
    licence="none stated",
    files={
        _path("conv2d"): "fd7730f262bbc78f0fc478c263eaa46aa7672696df561db7006241645c04b246",
        _path("linear"): "9564fb230db4be7c8c587276f649cc7bed7f5bd7db85fffb96ecaf59c9a14cab",
        _path("maxpool2d"): "498b6cd2114675d73c11ba7d772562cea5740e403334786a36026b714d4c09cb",
        _path("relu"): "cc25e1dd787e04a1b3a964d277f11a0d196015216c3dd30404ba650fa15895bc",
        _path("sigmoid"): "53c28cc7b646c92686cf232fa73f3c6b9b8a562c807c3dee2a1d7b2223d06048",
        _path("softmax"): "af15e9eb89fadac2cb3d7ef1eac8aa7ed1cfe7389a55aaa2847cd7e396d89fc2",
        _path("tanh"): "ae275ad3ff87ed9aea761273f098979c8d821262b313555ace5997d4c97e45cc",
    },
)

MJ_PER_KWH = 3.6e9

_WINDOW = ("batch_size", "image_size", "kernel_size", "in_channels", "stride", "padding")
_SIZES = {
    "conv2d": (*_WINDOW, "out_channels"),
    "maxpool2d": _WINDOW,
    "linear": ("batch_size", "input_size", "output_size"),
}
_MEASURED = ("cpu_energy", "duration", "forward_passes")


@dataclass
class DlEnergy(Dataset):
    """Energy (`energy_mj`, machine at rest included) and latency (`latency_ms`) of single layers.

    Attributes:
        kinds: conv2d, linear, maxpool2d, relu, sigmoid, softmax, tanh; empty: all whose files are present.
    """

    kinds: tuple[str, ...] = ()

    def measurements(self) -> Measurements:
        if unknown := set(self.kinds) - set(KINDS):
            raise InputError(f"dl-energy-estimator has no kind '{min(unknown)}'; it has {', '.join(KINDS)}.")
        here = [kind for kind in KINDS if SOURCE.path(_path(kind)).is_file()]
        networks, values = [], []
        for kind in self.kinds or here or KINDS:
            sizes, measured = _read(kind)
            networks += [_layer(kind, **size) for size in sizes]
            values.append(measured)
        whole = Measurements(
            Networks(networks),
            [device_on("gold_5120", "gold_5120", "pytorch")],
            _table(np.concatenate(values)),
            "dl-energy-estimator",
        )
        return whole.distinct()


def _table(values: np.ndarray) -> pd.DataFrame:
    """Rows of the millijoules and milliseconds [A, 2] of layers."""
    import pandas as pd

    both = [rows(values[:, i : i + 1], metric) for i, metric in enumerate(("energy_mj", "latency_ms"))]
    return pd.concat(both, ignore_index=True)


def _read(kind: str) -> tuple[list[dict[str, int]], np.ndarray]:
    """Sizes of a kind's layers, and their mJ and ms [A, 2]."""
    import pandas as pd

    path, names = SOURCE.need(_path(kind)), _SIZES.get(kind, ("batch_size", "input_size"))
    again = f"Delete it and run `python -m datasets fetch {SOURCE.name}`."
    try:
        table = pd.read_csv(path, usecols=[*names, *_MEASURED])
        sizes = table[list(names)].astype(int)
        kwh, seconds, passes = table[list(_MEASURED)].astype(float).to_numpy().T
    except (ValueError, OSError, KeyError) as error:
        raise InputError(f"{path} is damaged or another table ({error}). {again}") from error
    least = np.array([0 if name == "padding" else 1 for name in names])
    if not len(sizes) or (sizes < least).any(axis=None) or (sizes > 2**24).any(axis=None):
        raise InputError(f"{path} has sizes that no layer has. {again}")
    if "image_size" in sizes and (sizes["image_size"] + 2 * sizes["padding"] < sizes["kernel_size"]).any():
        raise InputError(f"{path} has layers whose window does not fit in their input. {again}")
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.stack([MJ_PER_KWH * kwh, 1000 * seconds / passes], axis=1)
    return sizes.to_dict("records"), values  # type: ignore[return-value]


def _layer(kind: str, batch_size: int, **size: int) -> Network:
    """The network of one layer with its batch."""
    net = NetworkBuilder(batch_size)
    if kind in ("conv2d", "maxpool2d"):
        x = net.add("input", (size["in_channels"], size["image_size"], size["image_size"]))
        window = {"kernel": size["kernel_size"], "stride": size["stride"], "pad": size["padding"]}
        if kind == "conv2d":
            net.conv(x, size["out_channels"], bias=1, **window)
        else:
            net.pool("max_pool", x, **window)
    else:
        x = net.add("input", (size["input_size"],))
        if kind == "linear":
            net.add("dense", (size["output_size"],), x)
        else:
            net.pointwise(kind, x)
    return Network.of(net.ops, net.edges, batch_size)
