"""HELP's latency tables (Lee et al., NeurIPS 2021): NAS-Bench-201 on the devices whose files are present.

Milliseconds a batch, all 15,625 cells, CIFAR skeleton. Known traps: raspi4, pixel3, eyeriss and fpga are the CIFAR-10
values of HW-NAS-Bench; on raspi4 and pixel3 the 341 cells without a path from input to output take near zero (their
relative errors explode: look at the rows `cells = connected`); the phones' files hold whole milliseconds with many
ties; on gold_6226 one label in eight lies some 10 % above what its like take, in contiguous stretches of the row order
(autocorrelation of such labels from row to row: 0.9), so that machine ran slower for a while and no predictor that
sees architectures only can know when.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from datasets.base import Dataset
from datasets.devices import CHIPS, device_on
from datasets.fetch import Source
from datasets.records import Architectures, Device, InputError, Measurements
from datasets.spaces.nasbench201 import NasBench201
from datasets.tabulate import rows

_LATENCY = "data/nasbench201/latency/{}.pt"
_INDEX = "data/nasbench201/str_arch2idx.pt"
_SHA256 = {
    "1080ti_1": "4028f52b2c2441da126932e3827ae11a7f76d39818c4374c1b9ab9df236e23f4",
    "1080ti_256": "435af0ccfab01f5dc55dc9f2e8b90ca37b396b2656e327bba5ee0b6eb9c24464",
    "1080ti_32": "affce4fcdcf6f28622365995ef2ec018bb07d448add59f80633c0978c393cdea",
    "2080ti_1": "38cf0e8f698abf8696c69b41a358fe9ddedf5d54cb1ae6f85b04dd8a8f89a1b3",
    "2080ti_256": "daee655c44c46955d8318ddf0fa39254e70bab1ae723a6abc53d7b7e4e1561ae",
    "2080ti_32": "ebc603ad325850663fc56c8e0fde52fadea28e585a8405864baa20f986eaf29d",
    "essential_ph_1": "a97165c8669a216b9ca046041c83a07352bd07f2a42e2d8fea8b51e7ddbcabf0",
    "eyeriss": "6f1dd2f8c0442289a09ab78e63e49bde96489f6d455cc33d5fa5aed37edb5d03",
    "fpga": "6a0333c1476a3ab039d8c39e5d42ac99efe9e7f3ff521289569013fa84233b28",
    "gold_6226": "6a00f63d14f67f8007ec04519f638a90aa6ed5357cf5c0e60c391df37f186c99",
    "pixel2": "051845ddefc2bc138f21e2217f6c7827fe280c78375cbfb4b5bd252a888cb950",
    "pixel3": "cf1387da12e06b1d4541ce85f3ca4869d551084e09daf4acf024b6e21a80d465",
    "raspi4": "2fae425c50bcaef7aacc5391244cd0af98bfc7fba689a8741e461cb18192f57c",
    "samsung_a50": "0872cb4ec8ecc7ea1b3bd8c98dd705f2d0f6e4940f3af833b313e484de39b155",
    "samsung_s7": "dbae32364b882022adb044b2aa1af77b66f43a180930d9be4d4c13532429f0ea",
    "silver_4114": "0cce9dc9ba62ad81c21275298a88cb0e4534db6474a878f089df0abb13293421",
    "silver_4210r": "f976049bda39abde94b8f8cac90140cb78a5069fc145c462d6d6bc2f8450727a",
    "titan_rtx_1": "a854dac331e2a37d7dcd6ee1f63d1bc6d73ead3aeb0a86f803f45ea1b294859e",
    "titan_rtx_256": "cff1fba40b1743d3716cfb74c86ac2463d0682c146f356fa9095ac0d02dfb2a5",
    "titan_rtx_32": "1258bee5501fe191530b9898a4f55a122ab30beec9c6ea74598c47a0173babed",
    "titanxp_1": "935aa0041c6592bed90f2f94ff3b4d40e892c066467864b704e6583682a57b20",
    "titanxp_256": "9f03206bc62b0dcfc882820de07f55dc1fb7f43f57dfc977e4f0f4b019cb5041",
    "titanxp_32": "4b6db63c7a9fb55177aa2649d70031dd86d2ed1609467ef5803dc1089a73cb1b",
}

SOURCE = Source(
    name="help",
    repository="HayeonLee/HELP",
    commit="45f70eb92d0d735970a33b608d1544ad3c52f285",
    licence="MIT",
    files={
        _INDEX: "e1d7b7cc7cf51d7c3cd6f9e726e7395bea87d7ba674e26202fb8633f963aef0d",
        **{_LATENCY.format(name): digest for name, digest in _SHA256.items()},
    },
)


def device(name: str) -> Device:
    """The device of a file name: hardware, and for GPUs the batch size after the last underscore."""
    chip, _, batch = name.rpartition("_")
    if chip not in CHIPS:
        chip, batch = name, "1"
    return device_on(name, chip, batch=int(batch))


def index_order() -> Architectures:
    """All 15,625 cells in the benchmark's own order, the `arch_idx` of everybody's tables.

    It is a shuffled order that no rule gives back; HELP's file of it is taken since it states a licence.
    """
    index = _load(_INDEX, dict)
    return NasBench201().parse(sorted(index, key=index.__getitem__))


@dataclass
class HelpNasBench201(Dataset):
    """HELP's NAS-Bench-201 latencies.

    Attributes:
        devices: names of devices; empty means every one whose file is present.
    """

    devices: tuple[str, ...] = ()

    def measurements(self) -> Measurements:
        if unknown := set(self.devices) - set(_SHA256):
            raise InputError(f"HELP has no device '{min(unknown)}'; it has {', '.join(_SHA256)}.")
        names = list(self.devices) or [name for name in _SHA256 if SOURCE.path(_LATENCY.format(name)).is_file()]
        if not names:
            SOURCE.need(_LATENCY.format("gold_6226"))
        archs = index_order()
        columns = [np.asarray(_load(_LATENCY.format(name), list), dtype=float) for name in names]
        for name, column in zip(names, columns, strict=True):
            if column.shape != (len(archs),):
                raise InputError(f"HELP's file of {name} has {column.size} values, not {len(archs)}: fetch it again.")
        table = rows(np.stack(columns, axis=1))
        return Measurements(archs, [device(name) for name in names], table, "help-nasbench201")


def _load(file: str, kind: type) -> Any:
    """Read one of their pickles; only plain containers are let in."""
    import torch

    path = SOURCE.need(file)
    try:
        content = torch.load(path, weights_only=True)
    except Exception as error:  # torch raises half a dozen types on damaged or hostile files
        raise InputError(
            f"{path} is damaged, or a pickle that holds more than plain numbers; it was not loaded. "
            "Delete it and run `python -m datasets fetch help`."
        ) from error
    if not isinstance(content, kind):
        raise InputError(f"{path} holds a {type(content).__name__}, not a {kind.__name__}: fetch it again.")
    return content
