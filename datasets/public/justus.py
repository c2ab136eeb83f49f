"""Timings of convolutions and dense layers with TensorFlow on five NVIDIA GPUs, of "Predicting the Computational Cost
of Deep Learning Models" (Justus et al., IEEE Big Data 2018).

Milliseconds per run, medians over repeats. Known traps:

- Layers were sampled for each GPU anew, so nearly no layer was timed on two.
- Half of the rows are forward passes (`optimizer` none); the others are training steps with an optimizer, which are not
  comparable. A data set holds one optimizer.
- Square inputs and kernels; padding, strides and activations are numbers in TensorFlow's order. The dense table has no
  column for a bias; here all dense layers have one.
- Uniform sampling: 99 of 100 convolutions take longer than 0.2 ms, and half have at most 20 channels.
- The files were pickled by Python 2 and pandas 0.23, which pandas 3 does not read; `frames.py` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from datasets.base import Dataset
from datasets.blocks.layers import LayerSpace
from datasets.devices import device_on
from datasets.public.fetch import Source
from datasets.public.frames import read_frame
from datasets.records import Architectures, InputError, Measurements
from datasets.spaces.tf_convolution import TfConvolution
from datasets.spaces.tf_dense import TfDense

_SHA256 = {
    "convolution": {
        "1080ti": {
            "0/20180924": "6d787282f8a8ceb538fc7d93e30a22e0b31507fa16edecfaa4706ff396db3062",
            "2/20180925": "63cf44afacdf28e1bd5a7d1c36a38705f39c2ffc3b30633884a8d9632a3e4c55",
        },
        "K40": {
            "0/20180917": "5e328a4af1ecf9a92aa93bc62c0905b54479857ef5ff78ab3523fd0f93889f8c",
            "2/20181008": "87d233e11a4847518d285713f1125df002021a33400a26a6c36caff71e799c44",
        },
        "P100": {
            "0/20181030": "58f258d936e3bf79049fd2e7640c41519d2c960295a8e206440f1d8d3bca2c4b",
            "1/20181101": "b154b200dbc1752e3588c6578185cdc423e819d2cef97211a40658c6859a8efe",
        },
        "V100": {
            "2/20180904": "25ec2bf401be023195a5d821d1590b7dc39dafb50a7b9037975d82e999b892f4",
            "3/20180904": "f1075cb3bd262e707b80c6a6c5dc434fa5c96b99dbcf2a26c4ac0c8cf66a7660",
            "4/20180904": "a181abc5723838386225b446ae8e2836dc5d17c4f2a584a94ecfeb1bec06be8c",
            "5/20180904": "b2b70cb5ed2decdbf71b1dea92d105d156904d666e8981535578ad6e0132ce85",
            "6/20180904": "69ed418ed1c17cf23447ff0fb8fbb29ed134c0abc8b9848d2b174f1b8eb0ecbb",
        },
        "k80": {
            "0/20181031": "1480f44451bcc73d6a704adff860b1e06a157f584e548ff60e34772ea1b5de4c",
            "1/20181031": "66fdadfb5b93dffca50f1e166496ce3b3a5c7fc8c35574b9fc853c7a9e44e0ce",
            "2/20181031": "b2dfcc153f3a565cf46374abe3123275ae81092dfafec7853b9ea03c15a6ac84",
            "3/20181031": "b217cd98d3de3e7ac65f2495e25f92c0200f262e6b90b274b28e8aef464fd790",
            "4/20181031": "fde5bb73103ccbc52299f2fd2d2cc8bb7dc9d86a19794aff3673c5a9c5dc46a2",
            "5/20181031": "77d2df533e74aa251bb4c0e58d6c934bdb44c2388d01ba54aae0d46c70792fbb",
            "6/20181031": "529176a30069b21605ab7a1c46689eff53d58ff28cad9cc9b115ef0ebe3598c4",
            "7/20181031": "f2864999faf5ed4768db16bea4735552e3281afb8ce8299f208908253fcff771",
        },
    },
    "dense": {
        "1080ti": {
            "1/20180925": "78fabef2cd1f83c545fe44ee034b82111a2b706b69bc3c50a5ac64d702ac0cf0",
            "3/20180925": "b6057aca88e5bbadf23f57b18b9561e39a8d4730c968b9bb6780f1c463574700",
        },
        "K40": {
            "1/20180924": "ccf79954a6473dd7ee31942487246d672311bab6c5e4225fa810e35e126a8f8c",
            "3/20181005": "ec2ee44971774a0978ee3c6c9f150bd1ae93716d95decdb51ec8bcdf78925e29",
        },
        "P100": {
            "2/20181119": "ce78326cb5089f36128abb48cb3abc83a166e5d170c2869d036c70a5198c1448",
        },
        "V100": {
            "0/20180904": "ad7d71f317cefe8decd874edc891e8c8cd5e58b5f8a6cb48f0db24200157b7db",
            "1/20180904": "096abe5f2bf9b6428dcfd7a6187bc7615b7ba0c120f41ca83a984641ea68e1e5",
        },
        "k80": {
            "8/20180907": "9c05442e22c9396c3328dc467a20361fd4c31e1d9e609b8c48aaa8ec124e709f",
            "9/20180907": "01d91c1524f115e7b9b510c352523be62123d84f3a3f26474eb8f862363c9035",
        },
    },
}
"""Kind of layer -> GPU -> folder and date of a file -> SHA-256."""


def _path(kind: str, gpu: str, file: str) -> str:
    folder, date = file.split("/")
    return f"prediction_model/data/raw_data/{gpu}/{folder}/benchmark_{kind}__{date}.pkl"


SOURCE = Source(
    name="ml-performance-prediction",
    repository="CDECatapult/ml-performance-prediction",
    commit="e649f32d354d8246411b6adafdc65b46811dd111",
    licence="Apache-2.0",
    files={
        _path(kind, gpu, file): digest
        for kind, gpus in _SHA256.items()
        for gpu, files in gpus.items()
        for file, digest in files.items()
    },
)

OPTIMIZERS = ("none", "sgd", "adadelta", "adagrad", "momentum", "adam", "rmsprop")
"""Optimizers by their numbers in the files."""

_SPACES: dict[str, LayerSpace] = {"convolution": TfConvolution(), "dense": TfDense()}
_NAMES = {
    "batch_size": "batchsize",
    "matrix_size": "matsize",
    "kernel_size": "kernelsize",
    "channel_input": "channels_in",
    "channel_output": "channels_out",
    "dimension_input": "dim_input",
    "dimension_output": "dim_output",
    "strides": "strides",
    "padding": "padding",
    "activate_function": "activation_fct",
    "bias": "use_bias",
}
"""PerfNetRT's name of a feature -> name in the files."""


@dataclass
class Justus(Dataset):
    """Layer timings of one kind on GPUs.

    Attributes:
        kind: kind of the layers.
        devices: 1080ti, k40, k80, p100, v100; empty: all devices whose files are present.
        optimizer: none for the forward pass alone; otherwise training steps with it.
    """

    kind: Literal["convolution", "dense"] = "convolution"
    devices: tuple[str, ...] = ()
    optimizer: Literal["none", "sgd", "adadelta", "adagrad", "momentum", "adam", "rmsprop"] = "none"

    def measurements(self) -> Measurements:
        import pandas as pd

        space = _SPACES[self.kind]
        tables = []
        names = self._names()
        for place, files in enumerate(names.values()):
            for file in files:
                decisions, ms = self._rows(space, file)
                tables.append(pd.DataFrame(decisions).assign(device=place, value=ms))
        table = pd.concat(tables, ignore_index=True)
        columns = list(range(len(space.features)))
        # A layer that was sampled twice for a GPU has the median of its times.
        table = table.groupby([*columns, "device"], sort=False)["value"].median().reset_index()
        layers, arch = np.unique(table[columns].to_numpy(), axis=0, return_inverse=True)
        table = table[["device", "value"]].assign(arch=arch.ravel(), metric="latency_ms")
        devices = [device_on(name, name, "tensorflow") for name in names]
        return Measurements(Architectures(space, layers), devices, table, f"justus-{self.kind}")

    def _names(self) -> dict[str, list[str]]:
        """Files of each device: of the requested ones, or of all with a file here."""
        known = {
            gpu.lower(): [_path(self.kind, gpu, file) for file in files] for gpu, files in _SHA256[self.kind].items()
        }
        if unknown := set(self.devices) - set(known):
            raise InputError(f"Justus et al. have no device '{min(unknown)}'; they have {', '.join(known)}.")
        here = {gpu: [file for file in files if SOURCE.path(file).is_file()] for gpu, files in known.items()}
        chosen = {gpu: here[gpu] for gpu in self.devices or known if here[gpu]}
        for gpu in self.devices or ([] if chosen else known):
            SOURCE.need(known[gpu][0]) if not here[gpu] else None
        return chosen

    def _rows(self, space: LayerSpace, file: str) -> tuple[np.ndarray, np.ndarray]:
        """Decisions [rows, n] and times in ms [rows] of a file's rows with the optimizer."""
        frame = read_frame(SOURCE, file)
        if missing := {"optimizer", "timeUsed_median", *(_NAMES[f.column] for f in space.features)} - set(frame):
            raise InputError(f"{SOURCE.path(file)} has no column {min(missing)}: fetch {SOURCE.name} again.")
        chosen = np.flatnonzero(frame["optimizer"] == OPTIMIZERS.index(self.optimizer))
        values = [frame[_NAMES[f.column]][chosen].astype(np.int64) - f.low for f in space.features]
        return np.stack(values, axis=1), frame["timeUsed_median"][chosen].astype(float)
