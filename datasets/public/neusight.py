"""NeuSight's convolution timings: 4,998 random layers on four NVIDIA GPUs with PyTorch 2.1, fp32.

They are of "Forecasting GPU Performance for Deep Learning Training and Inference" (Lee et al., ASPLOS 2025), in
milliseconds per run. All kernels are 3 x 3 with stride 1 and padding 1, which equals `same`. None of the listed GPU
kernels adds a bias, so there is none. 4,939 layers were timed on all four GPUs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from datasets.base import Dataset
from datasets.devices import device_on
from datasets.public.fetch import Source
from datasets.records import InputError, Measurements
from datasets.spaces.convolution import Convolution
from datasets.tabulate import tabulate

if TYPE_CHECKING:
    import pandas as pd

_FOLDER = "scripts/asplos/data/dataset/train/collect/conv/p2.1.0"
_FILES = {
    "p100": f"{_FOLDER}/Tesla P100-PCIE-16GB.csv",
    "p4": f"{_FOLDER}/Tesla P4.csv",
    "t4": f"{_FOLDER}/Tesla T4.csv",
    "v100_pcie": f"{_FOLDER}/Tesla V100-PCIE-32GB.csv",
}
SOURCE = Source(
    name="neusight",
    repository="sitar-lab/NeuSight",
    commit="6945927d9afcca2b9daf021f8395e53edc5b4eef",
    licence="MIT",
    files={
        _FILES["p100"]: "3a7eb104539ad56188932459a684ee87543cbf65f5dc4e03f99c676316b6aac9",
        _FILES["p4"]: "d541a7ef0f25e703ac9dfc3ba29ac7494431cc7d85df5d9a38df7dfbf8c2eefe",
        _FILES["t4"]: "558c37f7a30bbb3f39f4a53f4fb8af15e763b40de17ef489cf2730c07d27777a",
        _FILES["v100_pcie"]: "22b826579beabc585869fb83c2c14d0e7937cf8129b3f98c105fbb5f2e59124f",
    },
)

_SIZES = {"batch": "B", "size": "Input_Size", "in": "Input_Channel", "out": "Output_Channel"}
_FIXED = {"Kernel_Szie": 3, "Stride": 1, "Padding": 1}  # names of the files


@dataclass
class NeuSight(Dataset):
    """Convolution timings on GPUs.

    Attributes:
        devices: p100, p4, t4, v100_pcie; empty: all devices whose files are present.
    """

    devices: tuple[str, ...] = ()

    def measurements(self) -> Measurements:
        import pandas as pd

        if unknown := set(self.devices) - set(_FILES):
            raise InputError(f"NeuSight has no device '{min(unknown)}'; it has {', '.join(_FILES)}.")
        names = self.devices or [name for name, file in _FILES.items() if SOURCE.path(file).is_file()]
        tables = [self._rows(name) for name in names or _FILES]
        devices = [device_on(name, name, "pytorch") for name in names]
        return tabulate(pd.concat(tables, ignore_index=True), devices, "neusight")

    def _rows(self, name: str) -> pd.DataFrame:
        import pandas as pd

        path = SOURCE.need(_FILES[name])
        try:
            table = pd.read_csv(path, usecols=["Latency", *_SIZES.values(), *_FIXED])
            sizes = table[list(_SIZES.values())].astype(int)
            fixed = (table[list(_FIXED)] == list(_FIXED.values())).all(axis=None)
            value = table["Latency"].astype(float)
        except (ValueError, OSError, KeyError) as error:
            raise InputError(
                f"{path} is damaged or another table ({error}). Delete it and run "
                f"`python -m datasets fetch {SOURCE.name}`."
            ) from error
        if not fixed:
            raise InputError(f"{path} has kernels that are not 3 x 3 with stride and padding 1: fetch it again.")
        key = [
            f"batch={b},size={size},kernel=3,in={i},out={o},stride=1,pad=same,act=none,bias=0"
            for b, size, i, o in sizes.itertuples(index=False)
        ]
        return pd.DataFrame(
            {"space": str(Convolution()), "key": key, "device": name, "metric": "latency_ms", "value": value}
        )
