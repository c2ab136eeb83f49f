"""HELP's latency tables: NAS-Bench-201, FBNet and OFA, on the devices whose files are present.

The tables are of "Hardware-adaptive Efficient Latency Prediction for NAS via Meta-Learning" (Lee et al., NeurIPS 2021),
in milliseconds per batch. Known traps:

- NAS-Bench-201 (all 15,625 cells, CIFAR skeleton): raspi4, pixel3, eyeriss and fpga are the CIFAR-10 values of
  HW-NAS-Bench; on raspi4 and pixel3 the 341 cells without a path from input to output take nearly zero time (with
  large relative errors: use the rows `cells = connected`); on gold_6226 one label in eight is some 10 % above those of
  similar cells, in contiguous ranges of rows (autocorrelation between rows: 0.9), so that machine was slower for a
  while, which no predictor can learn from architectures alone.
- The phones' files hold whole milliseconds with many ties.
- FBNet: these four devices are HW-NAS-Bench's too, where no network was run as a whole: the values are sums over blocks
  that were timed alone (a linear model of the 22 choices has no residuals). Their index names CIFAR-100 and 100
  classes, and fpga's blocks of stride 1 take a millisecond per 2.0 to 2.1 million MACs in all stages if these work on
  32, 32, 16, 8, 8, 4 and 4 pixels: stem and second stage had stride 1. The head is equal in all rows, and its width is
  not in the tables.
- OFA: titan_xp of its files is titanxp here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from datasets.base import Dataset
from datasets.devices import CHIPS, device_on
from datasets.public.fetch import Source
from datasets.records import Architectures, Device, InputError, Measurements
from datasets.spaces.fbnet import FBNet
from datasets.spaces.nasbench201 import NasBench201
from datasets.spaces.ofa import DEPTHS, EXPANDS, KERNELS, OFA, RESOLUTIONS
from datasets.tabulate import rows

_INDEX = "data/nasbench201/str_arch2idx.pt"
_FBNET = "data/fbnet/arch.pt"
_OFA = "data/ofa/ofa_archs.pt"
_LATENCY = "data/{}/latency/{}.pt"
_SHA256 = {
    "nasbench201": {
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
    },
    "fbnet": {
        "1080ti_1": "e8dc124d658407e6e8f2cc0642162bae3ce2b56c8dee44b4bc629f2ac8ca4c28",
        "1080ti_32": "74c5c9801b4e6b7d0cb2fdd3c2d953fc9eea7569da9b9dbb5438c2c2b8687b85",
        "1080ti_64": "ec8e443e814c739df4d7153bf1902b64b987e1e158bc780fa3579d4e481ba462",
        "2080ti_1": "bc8ef435a048c8c44d5ab0b5636c9366bded86fcade1fd79c1bea2e0558e4fd7",
        "2080ti_32": "35ade96b5e88c60f9a176909b7dfe8033830f983a212b89379e557c1c98f93c1",
        "2080ti_64": "038c6438091fecb536c5e1fc70da13cbb2d99b4ef7ba44a7c545d2b141ec7654",
        "essential_ph_1": "0855ddb3f4fbb17e0dea2ed252a1aac3c720590ec13c2b3c946d50dcc3a7915d",
        "eyeriss": "eaf78708634cdada3fa52971a91fa851c41a3a3edc213c7d5dd3dc81ad205e7f",
        "fpga": "f1f0542554cf205f93593814d9e5012df90139043c1b878a24d36d66b0a5adaf",
        "gold_6226": "77a15ae6276ba8e5343fb3d2b9e7dd995629b0cca92af282d12619002745560c",
        "pixel2": "da0b0da71fc6195232a92d0cf2c23a4176756c8fbb600c74b3cc99d6c2e69d88",
        "pixel3": "ccd89872782b2c4f4c7b163e65983cffb7a14782b3a03f2837ccf5083f00ebd8",
        "raspi4": "51a9da87b02efb1a6ebd42e312c324abdaac0e75dbfc84825dff92b0804a44af",
        "samsung_a50": "378f93b6a278598470d354073d983ffaa0e80f72884b5370da3bb70b6a8e0f1d",
        "samsung_s7": "82660d5aa1839480d57c4b0188de510583f43f9c4b808eb5094a03280e8fe7eb",
        "silver_4114": "908e18175a31ec455f63292025bba736ad1e52831950c15e472ce1670048ce94",
        "silver_4210r": "e1732f783606639d40cb3ac40903e05c8dc06797be024c0643e8d14e7e270de5",
        "titan_rtx_1": "d13dc078b2a0e4c9d984f29d48f26f5659cddd2d2f83f753a5b1c3f7999af337",
        "titan_rtx_32": "3607673cd6a40a8290678b85d88d27c67429e8366394965c5f0d0fd649cf6f22",
        "titan_rtx_64": "066bd14333eb53ce2076c290bdb8944db4919444a77813158580ff3bfa57901f",
        "titanxp_1": "a4da9d78c7f3f39640051bcf3d843f26447254d50cab3beabdbab64e07fe27dd",
        "titanxp_32": "fb059a030b7c0f9c80357122d81e3c336c50ddbbab82eae8e1a0d0435fe92208",
        "titanxp_64": "6571f75d29bdbde84c1973b4e9d8e7a7205eae03d06299d1a5390b3c2939a888",
    },
    "ofa": {
        "2080ti_1": "fd02a4aa46d7ab468d9214ae20b73cbb58fd8d7a857df98861d83383744f9ca9",
        "2080ti_32": "0a40f72137451914e4296d8911c92429af357556c7caa5aa74803e17b2948eb6",
        "2080ti_64": "6b5b8ae9a25aa5c7df2a96c0e5d6baa91a0566fa935e8fcd709809fbfdee1bd8",
        "titan_rtx_1": "b308b08490eaf5af871bc0c5712a105e23c952ff55c5277abbc90e0ff7acf65a",
        "titan_rtx_32": "418618fe00b90d3495b2b4147689debb302dddcd038126c376b2bc4aef2867cf",
        "titan_rtx_64": "33bb74ee6430fb136ca00c41821842cf511eee5f28080b7745e6216e91d87b42",
        "titan_xp_1": "ab157a674a7ba7ad536a0afba7a791ab49fa5f3dbafa5f9628170b48030c2733",
        "titan_xp_32": "8e362f53dd522e6c26c54c7b4806301d3465947edf0935c9c1479aefee0271b6",
        "titan_xp_64": "9b377dc3de2c4ff12c735331762d7f957aa789a41583693082f33abfc4d6e018",
    },
}
"""SHA-256 of the tables of latencies: folder -> file -> digest."""

SOURCE = Source(
    name="help",
    repository="HayeonLee/HELP",
    commit="45f70eb92d0d735970a33b608d1544ad3c52f285",
    licence="MIT",
    files={
        _INDEX: "e1d7b7cc7cf51d7c3cd6f9e726e7395bea87d7ba674e26202fb8633f963aef0d",
        _FBNET: "ba5e1e45bb4134afd07b44ae8e69bf2576051935682368fd9c51cbde059c7fdc",
        _OFA: "77787b5c3e208b130282d4e239c1bb56e76fbb8f7d7f374c4fcc63df4970d574",
        **{_LATENCY.format(space, name): digest for space, names in _SHA256.items() for name, digest in names.items()},
    },
)

CIFAR_FBNET = FBNet(image=32, classes=100, reduction=8)
"""The skeleton with which HELP's FBNets were measured."""


def device(name: str) -> Device:
    """The device of a file name, which is its chip, for GPUs followed by an underscore and the batch size."""
    chip, _, batch = name.rpartition("_")
    if chip not in CHIPS:
        chip, batch = name, "1"
    return device_on(name, chip, batch=int(batch))


def index_order() -> Architectures:
    """All 15,625 cells in the benchmark's order, the `arch_idx` of public tables.

    The order is random; it is read from HELP's file, which states a licence.
    """
    index = _load(_INDEX, dict)
    return NasBench201().parse(sorted(index, key=index.__getitem__))


@dataclass
class HelpNasBench201(Dataset):
    """HELP's NAS-Bench-201 latencies.

    Attributes:
        devices: names of devices; empty: all devices whose files are present.
    """

    devices: tuple[str, ...] = ()

    def measurements(self) -> Measurements:
        names = _names("nasbench201", self.devices)
        return _measurements("nasbench201", index_order(), names)


@dataclass
class HelpFBNet(Dataset):
    """HELP's latencies of 5,000 random FBNets, all distinct, on images and classes of CIFAR-100.

    Attributes:
        devices: names of devices; empty: all devices whose files are present.
    """

    devices: tuple[str, ...] = ()

    def measurements(self) -> Measurements:
        names = _names("fbnet", self.devices)
        decisions = _decisions(_FBNET, _load(_FBNET, list), lambda row: row)
        return _measurements("fbnet", Architectures(CIFAR_FBNET, decisions), names)


@dataclass
class HelpOFA(Dataset):
    """HELP's latencies of 5,000 random sub-networks of OFA-MobileNetV3, all distinct, at resolutions 128 to 224.

    Attributes:
        devices: names of devices; empty: all devices whose files are present.
    """

    devices: tuple[str, ...] = ()

    def measurements(self) -> Measurements:
        names = _names("ofa", self.devices)
        content = _load(_OFA, dict, allowed=_numpy_scalar())
        decisions = _decisions(_OFA, content.get("arch"), _ofa_decisions)
        return _measurements("ofa", Architectures(OFA(), decisions), names)


def _ofa_decisions(row: dict[str, Any]) -> list[int]:
    choices = ((KERNELS, row["ks"]), (EXPANDS, row["e"]), (DEPTHS, row["d"]), (RESOLUTIONS, [row["r"]]))
    return [known.index(value) for known, values in choices for value in values]


def _names(space: str, requested: Sequence[str]) -> dict[str, str]:
    """File names by device: of the requested ones, or of all whose files are present."""
    files = {name.replace("titan_xp", "titanxp"): name for name in _SHA256[space]}
    if unknown := set(requested) - set(files):
        raise InputError(f"HELP has no device '{min(unknown)}'; it has {', '.join(files)}.")
    names = list(requested) or [name for name in files if SOURCE.path(_LATENCY.format(space, files[name])).is_file()]
    if not requested:
        SOURCE.report_unknown(_LATENCY.format(space, next(iter(files.values()))))
    if not names:
        SOURCE.need(_LATENCY.format(space, next(iter(files.values()))))
    return {name: files[name] for name in names}


def _decisions(file: str, content: Any, decisions: Callable[[Any], list[int]]) -> np.ndarray:
    """Decisions [A, n] of the rows of a list of a file."""
    try:
        return np.array([decisions(row) for row in content], dtype=np.int8)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{SOURCE.path(file)} does not hold the architectures it should: fetch it again.") from error


def _measurements(space: str, archs: Architectures, names: dict[str, str]) -> Measurements:
    columns = [np.asarray(_load(_LATENCY.format(space, file), list), dtype=float) for file in names.values()]
    for name, column in zip(names, columns, strict=True):
        if column.shape != (len(archs),):
            raise InputError(f"HELP's file of {name} has {column.size} values, not {len(archs)}: fetch it again.")
    table = rows(np.stack(columns, axis=1))
    return Measurements(archs, [device(name) for name in names], table, f"help-{space}")


def _numpy_scalar() -> list[Any]:
    """Globals of a pickled numpy integer, under their names in numpy 1."""
    import _codecs

    scalar = np.int64().__reduce__()[0]
    return [(scalar, "numpy.core.multiarray.scalar"), np.dtype, np.dtypes.Int64DType, _codecs.encode]


def _load(file: str, kind: type, allowed: Sequence[Any] = ()) -> Any:
    """Read a pickle of the source; only plain containers and the `allowed` globals are accepted."""
    import torch

    path = SOURCE.need(file)
    try:
        with torch.serialization.safe_globals(list(allowed)):
            content = torch.load(path, weights_only=True)
    except Exception as error:  # torch raises half a dozen types on damaged or hostile files
        raise InputError(
            f"{path} is damaged, or a pickle that holds more than plain numbers; it was not loaded. "
            "Delete it and run `python -m datasets fetch help`."
        ) from error
    if not isinstance(content, kind):
        raise InputError(f"{path} holds a {type(content).__name__}, not a {kind.__name__}: fetch it again.")
    return content
