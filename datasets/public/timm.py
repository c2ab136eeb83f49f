"""Times of timm's image networks on two CPUs and three GPUs, with the graphs of those whose counts agree.

They are the benchmark tables of the repository pytorch-image-models (timm): i7-12700H and i9-10940X in fp32 with
torch.compile, one image at a time; RTX 3090, 4090 and 5090 with automatic mixed precision, by the batch that was
fastest. Known traps:

- The files have images per second; here are milliseconds per image, of the CPUs and of the GPUs' large batches alike.
- The CPUs' numbers of threads are not stated. PyTorch 2.4 over 2.2 on one of them moves times by about 10 %.
- A name may stand for another network than when it was measured, and some rows have the counts of another image size.
  Graphs are bundled (`studies.arena.graphs` made them from timm itself) only where their multiply-accumulates are those
  of the tables (the median, where they differ); other rows are left out.
- On the RTX 4090 and 5090 thirteen networks (RepVGG, MobileOne, RepGhostNet) were measured with their branches merged
  into one convolution: their rows there are left out, too.
- The module of timm that defines a network is its family: networks of one module are alike, so split by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.base import Dataset
from datasets.devices import device_on
from datasets.networks.network import Network
from datasets.public.fetch import Source
from datasets.records import InputError, Measurements, Networks

if TYPE_CHECKING:
    import pandas as pd

GRAPHS = Path(__file__).resolve().parent.parent / "bundled" / "graphs" / "timm.parquet"

_FILES = {
    "i7_12700h": "fp32-nchw-pt240-cpu-i7_12700h-dynamo",
    "i9_10940x": "fp32-nchw-pt240-cpu-i9_10940x-dynamo",
    "rtx3090": "amp-nchw-pt240-cu124-rtx3090",
    "rtx4090": "amp-nchw-pt291-cu128-4090",
    "rtx5090": "amp-nchw-pt291-cu130-5090",
}
_DIGESTS = {
    "i7_12700h": "d0566bba4da7273d662b89ac8ff8705027c2921b3cb946967fa22ffa8713fd5b",
    "i9_10940x": "3491328c13aac76d638ca0bf94c7fcc8a7ba69a32e83612a7b6b3deb1da9c80e",
    "rtx3090": "229c10d809d5ef0cc28cc5d875f1170e5554c25ad5251bbcd8cfe1890380981d",
    "rtx4090": "7ef180f30bfcf3271aed993ddff2114c88a83b58e6f7e56acbd76e702e6f3136",
    "rtx5090": "6e1260e7fa846cb43cd928c1a5a02ea798fb579ecca7042d099c29ee031f3f2a",
}


def _path(chip: str) -> str:
    return f"results/benchmark-infer-{_FILES[chip]}.csv"


SOURCE = Source(
    name="timm",
    repository="huggingface/pytorch-image-models",
    commit="aa4b5850c1543fa488abf260f18390eda46cf85d",
    licence="Apache-2.0",
    files={_path(chip): digest for chip, digest in _DIGESTS.items()},
)

CLOSE = 0.05
"""Largest accepted difference between multiply-accumulates that should be equal, as a share."""
ROUNDING = 0.005
"""Of the tables' 10^9 multiply-accumulates, which have two decimals."""
_COLUMNS = {"model": "model", "infer_img_size": "side", "infer_samples_per_sec": "rate", "infer_gmacs": "gmacs"}


@dataclass
class Timm(Dataset):
    """Milliseconds per image (`latency_ms`) of timm's image networks; the column `family` is the module that defines
    the network.

    Attributes:
        devices: i7_12700h, i9_10940x, rtx3090, rtx4090, rtx5090; empty: all whose files are present.
    """

    devices: tuple[str, ...] = ()

    def measurements(self) -> Measurements:
        table = read_tables(self.devices)
        graphs, networks = read_graphs()
        known = {(row.model, row.side): i for i, row in enumerate(graphs.itertuples())}
        arch = [known.get(pair, -1) for pair in zip(table["model"], table["side"], strict=True)]
        table = table.assign(arch=arch, metric="latency_ms", value=1000 / table["rate"])
        counted = graphs["gmacs"].to_numpy()[table["arch"]]  # of another row where there is no graph
        close = (table["gmacs"] - counted).abs() <= CLOSE * counted + ROUNDING
        table = table[(table["arch"] >= 0) & close]
        chips = list(dict.fromkeys(table["chip"]))
        table["device"] = table["chip"].map(chips.index)
        table["family"] = graphs["family"].to_numpy()[table["arch"]]
        columns = ["arch", "device", "metric", "value", "family"]
        devices = [device_on(_name(chip), chip, *_RUNS[chip.startswith("rtx")]) for chip in chips]
        return Measurements(Networks(networks), devices, table[columns].reset_index(drop=True), "timm")


_RUNS = {False: ("pytorch-compiled", "fp32"), True: ("pytorch-eager", "amp")}


def _name(chip: str) -> str:
    """Name of the device: chip, runtime and precision."""
    return f"{chip}_eager_amp" if chip.startswith("rtx") else f"{chip}_compiled_fp32"


def read_graphs() -> tuple[pd.DataFrame, list[Network]]:
    """The bundled graphs: a table of their model, family, side of images and 10^9 multiply-accumulates in the tables,
    and the networks in its order.

    Raises:
        InputError: the file is missing or damaged.
    """
    from datasets.files.parquet_file import read_parquet
    from datasets.networks.analysis import check_network

    texts, numbers = ("model", "family", "network"), ("side", "gmacs")
    graphs, _ = read_parquet(GRAPHS, texts, numbers, "`python -m studies.arena.graphs` writes it")
    keys = graphs["model"] + "__" + graphs["side"].astype(str)
    networks = [
        check_network(Network.from_json(text, "torch", key)) for text, key in zip(graphs["network"], keys, strict=True)
    ]
    return graphs, networks


def read_tables(devices: tuple[str, ...] = ()) -> pd.DataFrame:
    """Columns chip, model, side (of images), rate (images per second) and gmacs of the tables.

    Raises:
        InputError: there is no such device, or a file is missing or damaged.
    """
    import pandas as pd

    if unknown := set(devices) - set(_FILES):
        raise InputError(f"timm has no device '{min(unknown)}'; it has {', '.join(_FILES)}.")
    here = [chip for chip in _FILES if SOURCE.path(_path(chip)).is_file()]
    parts = [_read(chip).assign(chip=chip) for chip in devices or here or _FILES]
    return pd.concat(parts, ignore_index=True)


def _read(chip: str) -> pd.DataFrame:
    import pandas as pd

    path = SOURCE.need(_path(chip))
    again = f"Delete it and run `python -m datasets fetch {SOURCE.name}`."
    try:
        table = pd.read_csv(path, usecols=list(_COLUMNS)).rename(columns=_COLUMNS)
        table = table.astype({"model": str, "side": int, "rate": float, "gmacs": float})
    except (ValueError, OSError, KeyError) as error:
        raise InputError(f"{path} is damaged or another table ({error}). {again}") from error
    if table.empty or not (table["rate"] > 0).all() or not (table["side"] > 0).all():
        raise InputError(f"{path} has rates or sizes that are no positive numbers. {again}")
    return table.drop_duplicates(["model", "side"])
