"""The table of ncnn's benchmark: 27 networks on 102 machines (phones, boards, PCs, servers), in milliseconds per run
of one image.

Rows were sent in by many people since 2018, with ncnn's versions and compilers of their time. Known traps:

- A row has the smallest, largest and mean time of a few runs (mostly 4 to 10). The mean is more than 1.5 times the
  smallest in 1 of 94 rows, where something else ran: the smallest one is the value by default.
- Eight networks were measured quantised too, under names that end in `_int8`: rows of the same networks on devices of
  int8, or of networks of their own on the same devices (`quantised`). On GPUs ncnn computes them on the processor
  beside, mostly with one thread: these 296 rows are left out.
- `fp32` is the precision of the file: where processors have fp16 arithmetic (ARMv8.2, GPUs), ncnn computes in fp16.
- `powersave` 1 and 2 restrict a run to the little or the big cores, which is part of the device's name, as threads are.
- Of one machine in one setting there may be two runs (their median is the value); with and without AVX-512, and of two
  operating systems, they are devices of their own.
- Two machines print gpu_device = 0 without a GPU: they ran on the processor.
- mobilenet_yolov3 (2 rows) has no .param file any more and is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from datasets.base import Dataset
from datasets.files.reading import listed
from datasets.networks.network import Network
from datasets.networks.ops import params
from datasets.public.fetch import Source
from datasets.public.ncnn_devices import MACHINES, Machine, gpu_family, stated_numbers
from datasets.records import Device, InputError, Measurements, Networks, Op

_SHA256 = {
    "FastestDet": "6c91541f5264cc4889880d207a9e8de6f451430a9c7e1ea3658ce53690c7efd2",
    "alexnet": "4b9e7d95dc93424c25fe619869bc0fad5b10ccf91bc4e135669dd06df21d777a",
    "blazeface": "94332ed5c58b6e121437f132f2f8425cfba48dbbc5c254f78d6ef06f9320324f",
    "efficientnet_b0": "3de4bc626ecd13ed76bb7efca271db335fb68944b2a340e23bf171e0211ce1b8",
    "efficientnetv2_b0": "3eabf908be1882edab63b1a50e8dc0f5dc1127e823366d35be0117b8bfaf62c5",
    "googlenet": "4bdc89dc5f5335b0973305e3b8b7aa42775e0ca72dbf7180cced157bf5e21e30",
    "mnasnet": "022d844b99a6cfbcc4ea96b4e4d8afd3972525266f62f24ade38b8973ba41fc5",
    "mobilenet": "dfc2f99705068690453dbf9f9fb55aa04d3504fd5c22b768852058d7619b2d53",
    "mobilenet_ssd": "815610f918bea74c8f6535a4c40b0f1a159a7dff340ce70ddf348300a17567bd",
    "mobilenet_v2": "0da0b999a7c2c8332c639eee659864c13aa18132792540a72feaaa94a64729e2",
    "mobilenet_v3": "4643a84eaa2d6244ce1819b37819c19b3425c653f5095dd6da447ed3b4efea1a",
    "mobilenet_yolo": "2402b5fa7f18b91fda8b17bb6cc20436881b6acff68dd44333e28af35540e700",
    "mobilenetv2_yolov3": "c6f0fefd8674ab6f9d6f38d7d03ef5679a42c706f64361bf1e817ac2b9dd515b",
    "nanodet_m": "712a5d37a0ba0363a9bfb55b56b8982112676e5a4bb896909178ac3f54d8f83d",
    "proxylessnasnet": "2085d9bc1ef6f828c7d3afb2a6355355223a5dc951f1a463ccfd9cc9e026a19b",
    "regnety_400m": "f69c2ac3da6634b0a6d2d8579b3173ee2f62320a59f8d0c42b8caae9ee41dba6",
    "resnet18": "e01ce18ed0a8faa7d2615612d95db546236430edfc9971dd1346a03d7a0d5f37",
    "resnet50": "fd5882c2e3816507712189820097996b3821db33d6a6aa06045c9cdf9687dac9",
    "shufflenet": "f9eb98f8cab9231428058ca5d1e196db585f5e0f7d4610332e7eb078ed7ad21a",
    "shufflenet_v2": "462613429fdc450c7596c3b552ab37f1d1e55b2e5978a89d88a3e665118dcb96",
    "squeezenet": "daab2a6813058e168f36b0fd3c453da547b1b9d3dcc4a39fef4546d402094146",
    "squeezenet_ssd": "f674942b1aa2f533fed02c13c457d8a2529d1d466b3d3fdf78cbf73f5c129260",
    "vgg16": "f48d4ef4908edce94dd88e0c81946ac7532dc2210c9d2d23198223d05ca2359d",
    "vision_transformer": "86b78d163981963e74f0eb4d818d6ad722d7e42e90b2b46fc3abaf78ff8df247",
    "yolo-fastest-1.1": "3924d5c7e1945ae3b86e958f7335b730828659be9bc6355784823974a92793c9",
    "yolo-fastestv2": "a78b66cc596cae010fc2b6f84bdfa78a5078d3653f610ace857227486796f84c",
    "yolov4-tiny": "69f1e3d07602445ee820e366900d1d29d16d1af987de63d4933ff2c8a636f560",
}
"""Network -> SHA-256 of its file."""

_TABLE = "benchmark/README.md"
SOURCE = Source(
    name="ncnn",
    repository="Tencent/ncnn",
    commit="a4d2ea1d4422c9e849f166fd7a4aefb52f942f6a",
    licence="BSD-3-Clause",
    files={_TABLE: "a0bf366647d99ed1044c766f0c821d70e4998c7ff0e1e6ed5e53ab01052293cc"}
    | {f"benchmark/models/{name}.param": digest for name, digest in _SHA256.items()},
)

SIZES = {"FastestDet": "height=352 width=352 channels=3", "vision_transformer": "height=384 width=384 channels=3"}
"""Sizes of inputs that the benchmark gives networks whose files leave them open."""

_HEADING = re.compile(r"### (.*)")
_PART = re.compile(r"\*\*Results \((With|Without) AVX512\)\*\*")
_GPU = re.compile(r"\[(\d+) (.*?)\]\s+queueC")
_SETTING = re.compile(r"\s*(num_threads|powersave|gpu_device) = (-?\d{1,6})\s*$")
_ROW = re.compile(r"\s*(\S+)\s+min =\s*(\d+\.\d+)\s+max =\s*(\d+\.\d+)\s+avg =\s*(\d+\.\d+)\s*")
_CORES = ("", "_little", "_big")  # by powersave


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        machine: that was measured.
        part: number of the machine's section and way of building, as a suffix of its name.
        gpu: name of the GPU that computed, '' for the processor.
        settings: of the benchmark, by name.
        numbers: cores and clock of the processor, as far as the section's heading states them.
        network: name, without the `_int8` of quantised ones.
        quantised: whether it computed in int8.
        ms: smallest, largest and mean time.
    """

    machine: Machine
    part: str
    gpu: str
    settings: dict[str, int] = field(hash=False)
    numbers: dict[str, float] = field(hash=False)
    network: str
    quantised: bool
    ms: tuple[float, float, float]


def read_rows() -> list[Row]:
    """All rows of the table.

    Raises:
        InputError: the file is missing or damaged.
    """
    path = SOURCE.need(_TABLE)
    text = path.read_bytes().decode(errors="replace")
    rows = list(_rows(text))
    if not rows or not text.endswith("```\n"):
        raise InputError(f"{path} is damaged or another table: delete it and fetch ncnn again.")
    return rows


def _rows(text: str) -> Iterator[Row]:
    machine, part, sections = None, "", dict[Machine, int]()
    gpus, settings, numbers = dict[int, str](), dict[str, int](), dict[str, float]()
    for line in text.splitlines():
        if match := _HEADING.match(line):
            found = [m for m in MACHINES if match[1].startswith(m.heading)]
            machine = max(found, key=lambda m: len(m.heading), default=None)
            gpus, settings, part, numbers = {}, {}, "", stated_numbers(match[1])
            if machine:
                sections[machine] = sections.get(machine, 0) + 1
                part = f"_{sections[machine]}" if sections[machine] > 1 else ""
        elif match := _PART.match(line):
            part = "_avx512" if match[1] == "With" else "_no_avx512"
        elif "benchncnn " in line:
            gpus, settings = {}, {}
        elif match := _GPU.match(line):
            gpus[int(match[1])] = match[2]
        elif match := _SETTING.match(line):
            settings = {**settings, match[1]: int(match[2])}
        elif machine and (match := _ROW.fullmatch(line)):
            ms = (float(match[2]), float(match[3]), float(match[4]))
            gpu = gpus.get(settings.get("gpu_device", -1), "")
            name = match[1].replace("-", "_")
            yield Row(machine, part, gpu, settings, numbers, name.removesuffix("_int8"), name.endswith("_int8"), ms)


@dataclass
class Ncnn(Dataset):
    """Latencies of networks on machines, each in several settings; the column `family` groups networks by the one that
    they are built on.

    Attributes:
        machines: short names of machines, such as raspberry_pi_5; empty: all.
        precision: fp32 or int8 files; '' for both.
        hardware: processor or gpu; '' for both.
        quantised: whether rows in int8 are of the same networks on devices of int8, or of networks of their own, whose
            weights are of one byte, on the devices of fp32.
        statistic: min or avg of a row's runs.
    """

    machines: tuple[str, ...] = ()
    precision: Literal["", "fp32", "int8"] = ""
    hardware: Literal["", "processor", "gpu"] = ""
    quantised: Literal["devices", "networks"] = "devices"
    statistic: Literal["min", "avg"] = "min"

    def measurements(self) -> Measurements:
        import pandas as pd

        from datasets.networks.ncnn_file import read_ncnn
        from datasets.networks.sizes import Sizes

        if unknown := {*self.machines} - {machine.name for machine in MACHINES}:
            known = listed([machine.name for machine in MACHINES], len(MACHINES))
            raise InputError(f"ncnn's table has no machine '{min(unknown)}'; it has {known}.")
        rows = [row for row in read_rows() if row.network in _FILES and not (row.gpu and row.quantised)]
        rows = [row for row in rows if not self.machines or row.machine.name in self.machines]
        rows = [row for row in rows if self.precision in ("", device(row).precision)]
        rows = [row for row in rows if self.hardware in ("", "gpu" if row.gpu else "processor")]
        if not rows:
            what = " ".join(filter(None, (self.precision, self.hardware)))
            raise InputError(
                f"ncnn's table has no {what} rows of {', '.join(self.machines) or 'any machine'}; name others."
            )
        own = self.quantised == "networks"
        described = [device(replace(row, quantised=False) if own else row) for row in rows]
        devices = {found.name: found for found in described}
        names = list(dict.fromkeys((row.network, own and row.quantised) for row in rows))
        networks = []
        for name, quantised in names:
            path = SOURCE.need(f"benchmark/models/{_FILES[name]}.param")
            network = read_ncnn(path, 1, Sizes(size=SIZES.get(name, ""))).network
            networks.append(_quantised(network) if quantised else network)
        places = {name: place for place, name in enumerate(devices)}
        table = pd.DataFrame({
            "arch": [names.index((row.network, own and row.quantised)) for row in rows],
            "device": [places[found.name] for found in described],
            "metric": "latency_ms",
            "value": [row.ms[0 if self.statistic == "min" else 2] for row in rows],
        })  # fmt: skip
        groups = table.groupby(["arch", "device", "metric"], sort=False)["value"]
        table = groups.agg(value="median", repeats="size").reset_index()
        table["family"] = [FAMILIES[names[arch][0]] for arch in table["arch"]]
        return Measurements(Networks(networks), list(devices.values()), table, "ncnn")


_FAMILIES = {
    "squeezenet": "squeezenet squeezenet_ssd",
    "mobilenet": "mobilenet mobilenet_v2 mobilenet_v3 mobilenet_ssd mobilenet_yolo mobilenetv2_yolov3",
    "shufflenet": "shufflenet shufflenet_v2 nanodet_m yolo_fastestv2 FastestDet",
    "mnasnet": "mnasnet proxylessnasnet",
    "efficientnet": "efficientnet_b0 efficientnetv2_b0",
    "resnet": "resnet18 resnet50",
    **{name: name for name in ("regnety_400m", "blazeface", "googlenet", "alexnet", "vgg16", "yolov4_tiny",
                               "yolo_fastest_1.1", "vision_transformer")},
}  # fmt: skip
FAMILIES = {name: family for family, names in _FAMILIES.items() for name in names.split()}
"""Network -> its family."""
_FILES = {name.replace("-", "_"): name for name in _SHA256}
"""Network's name with underscores -> in its file's name; old rows have other dashes."""


def _quantised(network: Network) -> Network:
    """A copy of a network whose weights are of one byte each, with a key of its own."""
    ops = [
        Op(op.kind, {**op.attrs, "param_bytes": held})
        if sources and (held := params(op, network.shape(sources[0])))
        else op
        for op, sources in zip(network.ops, network.sources(), strict=True)
    ]
    return replace(network, key=f"{network.key}_int8", ops=tuple(ops))


def device(row: Row) -> Device:
    """The device of a row: the processor or GPU of a machine, with its cores, precision and threads."""
    machine, threads = row.machine, row.settings.get("num_threads", 1)
    precision = "int8" if row.quantised else "fp32"
    name, family, kind = machine.name, machine.family, machine.kind
    cores = _CORES[row.settings.get("powersave", 0) % 3]
    if row.gpu:
        number = row.settings["gpu_device"]
        name = f"{name.removesuffix('_host').removesuffix('_gpu')}_gpu{number}"
        family, cores = gpu_family(row.gpu), ""
        kind = {"mobile-cpu": "mobile-gpu", "embedded-cpu": "embedded-gpu"}.get(kind, "gpu")
    suffix, numbers = f"_t{threads}" if threads > 1 else "", {} if row.gpu else row.numbers
    name = f"{name}{row.part}{cores}_ncnn_{precision}_1{suffix}"
    return Device(name, family, kind, "ncnn-vulkan" if row.gpu else "ncnn", precision, 1, numbers, threads)
