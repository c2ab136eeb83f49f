"""Accuracies of NAS-Bench-201 from the csv of v-tao/nats-bench-landscape.

They are of "NATS-Bench: Benchmarking NAS Algorithms for Architecture Topology and Size" (Dong et al., 2021): test
accuracy in percent after 200 epochs, the mean over trained seeds, on CIFAR-10, CIFAR-100 and
ImageNet16-120 (the csv's column ImageNet...). They have no device. The repository states no licence: this loader
may fetch the file for its user, and nothing of it is bundled.
"""

from __future__ import annotations

from dataclasses import dataclass

from datasets.base import Dataset
from datasets.public.fetch import Source
from datasets.records import InputError, Measurements
from datasets.spaces.nasbench201 import NasBench201

_FILE = "nats_bench.csv"
_KEY = "ArchitectureString"
_COLUMNS = {
    "accuracy_cifar10": "CIFAR10TestAccuracy200Epochs",
    "accuracy_cifar100": "CIFAR100TestAccuracy200Epochs",
    "accuracy_imagenet16_120": "ImageNetTestAccuracy200Epochs",
}

SOURCE = Source(
    name="nats-bench-landscape",
    repository="v-tao/nats-bench-landscape",
    commit="b307ae5fe6e8d7043cd4fe7d1c3532288271adb7",
    licence="none stated",
    files={_FILE: "cb5d777ec3368be83c8f9b3aa4d520696051cb0eb8d94b8f85b519f9ea4afa3e"},
)


@dataclass
class Nats(Dataset):
    """Accuracies of all 15,625 cells, in percent; rows are in the benchmark's order."""

    def measurements(self) -> Measurements:
        import pandas as pd

        path = SOURCE.need(_FILE)
        remedy = f"Delete it and run `python -m datasets fetch {SOURCE.name}`."
        try:
            content = pd.read_csv(path, usecols=[_KEY, *_COLUMNS.values()])
            values = content[list(_COLUMNS.values())].astype(float)
            archs = NasBench201().parse(content[_KEY].fillna("").astype(str).tolist())
        except (ValueError, InputError) as error:  # pandas' errors of parsing are ValueErrors
            raise InputError(f"{path} is damaged or another table ({error}). {remedy}") from error
        size = len(NasBench201().all())
        if len(set(archs.keys)) != size or len(archs) != size:
            raise InputError(f"{path} lists {len(archs)} cells, not each of the {size} once. {remedy}")
        parts = [
            pd.DataFrame({"arch": range(size), "device": -1, "metric": metric, "value": values[column]})
            for metric, column in _COLUMNS.items()
        ]
        return Measurements(archs, [], pd.concat(parts, ignore_index=True), "nats")
