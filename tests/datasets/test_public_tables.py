"""Public tables: tiny files in each upstream's format, what loaders refuse, and what real files are known to hold."""

import importlib
import io
import json
import math
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from matplotlib.image import imread

from datasets.base import Dataset
from datasets.devices import CHIPS, GPU_NUMBERS, KINDS, NUMBERS, device_on
from datasets.figures import distributions, rank_correlation, spearman
from datasets.networks.precision import precisions
from datasets.public import accel_nasbench, timm
from datasets.public import help as help_data
from datasets.public.accel_nasbench import AccelNasBench
from datasets.public.ai_hub import AiHub
from datasets.public.help import HelpNasBench201
from datasets.public.latbench import LatBench
from datasets.public.nats import Nats
from datasets.public.ncnn import Ncnn, read_rows
from datasets.public.ncnn_devices import stated_numbers
from datasets.public.oneproxy import OneProxy
from datasets.public.pi5 import HwNasBench360
from datasets.records import Architectures, Device, InputError, Measurements
from datasets.spaces.nasbench201 import NasBench201
from datasets.spaces.zoo import Zoo
from datasets.splits import HeldOutFamilies
from datasets.tabulate import rows
from encoders.kinds import KindTotals
from predictors.config import from_config
from tests.conftest import ROOT, made_up, run
from tests.doubles.ncnn_files import IMAGES

SPACE = NasBench201()
CONFIGS = [p for p in sorted((ROOT / "configs" / "datasets").glob("*.yaml")) if not p.stem.startswith("bundled")]
SEVEN = np.random.default_rng(0).permutation(15_625)[:7]
"""Cells of the tiny files, in an order of their own."""


def real(data: Dataset) -> Measurements:
    """The measurements from the real files, where they are."""
    try:
        return data.measurements()
    except InputError as error:
        if "datasets fetch" not in str(error) or "There is no" not in str(error):
            raise
        pytest.skip(str(error))


# Tiny files


def write(path: Path, content: object, protocol: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def oneproxy_files(folder: Path) -> Path:
    cells = np.eye(5, dtype=int)[SPACE.all()[SEVEN].decisions].reshape(7, 30)
    write(folder / "oneproxy" / "encode.pickle", np.c_[cells, np.ones(7, int)].tolist())
    latency = folder / "oneproxy" / "latency_data"
    write(latency / "rice_edgetpu.pickle", [0.5, -1, 1.5, -1, 2.5, 3.5, 4.5])
    return write(latency / "eagle_i7.pickle", list(np.arange(1.0, 8)))  # numpy scalars, as some of theirs


def latbench_file(folder: Path) -> Path:
    seconds = {tuple(row): np.float64(i + 1) / 1000 for i, row in enumerate(SPACE.all()[SEVEN].decisions.tolist())}
    return write(folder / "latbench-brp-nas" / "examples" / "desktop-cpu-core-i7-7820x-fp32.pkl", seconds, protocol=3)


def nats_file(folder: Path) -> Path:
    accuracy = np.linspace(1, 90, 15_625)
    columns = {
        f"{name}TestAccuracy200Epochs": accuracy / i for i, name in enumerate(("CIFAR10", "CIFAR100", "ImageNet"), 1)
    }
    order = np.random.default_rng(1).permutation(15_625)
    path = folder / "nats-bench-landscape" / "nats_bench.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame({**columns, "ArchitectureString": SPACE.all()[order].keys, "UniqueString": "a text"}).to_csv(
        path, index=False
    )
    return path


def pi5_file(folder: Path) -> Path:
    index = folder / "help" / "data" / "nasbench201" / "str_arch2idx.pt"
    index.parent.mkdir(parents=True, exist_ok=True)
    torch.save({key: row for row, key in enumerate(SPACE.all()[np.arange(15_625)[::-1]].keys)}, index)
    table = [
        (arch, min(arch, 2), board, runtime, task, 1.0 + arch * (task == "darcy"), np.nan, energy, 50.0, "ok")
        for arch in range(4)
        for board, runtime, energy in (("pi5", "litert", 2.0), ("pixel", "litert", np.nan))
        for task in ("cifar100", "ninapro", "darcy")
    ]
    names = ["arch_idx", "rep_arch_idx", "device", "framework", "task"]
    names += ["lat_ms_median", "lat_ms_var", "energy_mj", "accuracy", "status"]
    path = folder / "hw-nas-bench-360" / "results" / "dataset.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(table, columns=names).to_parquet(path)
    return path


NCNN = """### Raspberry Pi 5 Broadcom BCM2712, Cortex-A76 (ARMv8) (2.4GHz x 4)
```
pi@pi:~ $ ./benchncnn 10 4 2 -1 0
loop_count = 10
num_threads = 4
powersave = 2
gpu_device = -1
          squeezenet  min =    4.00  max =    9.00  avg =    5.00
 squeezenet-int8  min =    3.00  max =    9.00  avg =    4.00
pi@pi:~ $ ./benchncnn 10 4 2 -1 0
num_threads = 4
powersave = 2
gpu_device = -1
          squeezenet  min =    6.00  max =    9.00  avg =    7.00
    mobilenet_yolov3  min =    6.00  max =    9.00  avg =    7.00
```
### Kirin 970 (Cortex-A73 2.4GHz x 4 + Cortex-A53 1.8GHz x 4)
```
root@k:/ # ./benchncnn 4 1 0 0 0
[0 Mali-G72]  queueC=0[2]  queueG=0[2]  queueT=0[2]
num_threads = 1
powersave = 0
gpu_device = 0
          squeezenet  min =   10.00  max =   12.00  avg =   11.00
     squeezenet_int8  min =   30.00  max =   32.00  avg =   31.00
```
"""


def ncnn_files(folder: Path) -> Path:
    path = folder / "ncnn" / "benchmark" / "README.md"
    (path.parent / "models").mkdir(parents=True, exist_ok=True)
    (path.parent / "models" / "squeezenet.param").write_text(IMAGES)
    path.write_text(NCNN)
    return path


TINY: dict[type[Dataset], Callable[[Path], Path]] = {
    OneProxy: oneproxy_files,
    LatBench: latbench_file,
    Nats: nats_file,
    HwNasBench360: pi5_file,
    Ncnn: ncnn_files,
    AccelNasBench: lambda folder: accel_file(folder),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GNOMON_DATA", str(tmp_path))
    return tmp_path


def test_oneproxy_decodes_cells_and_leaves_out_what_is_missing(folder: Path) -> None:
    oneproxy_files(folder)
    m = OneProxy().measurements()
    assert [d.name for d in m.devices] == ["eagle_i7", "rice_edgetpu"]
    assert m.architectures == SPACE.all()[SEVEN]
    nan = np.nan
    np.testing.assert_array_equal(m.matrix("latency_ms").T, [np.arange(1.0, 8), [0.5, nan, 1.5, nan, 2.5, 3.5, 4.5]])
    assert len(m.table) == 12
    assert [d.name for d in OneProxy(devices=("rice_edgetpu",)).measurements().devices] == ["rice_edgetpu"]
    with pytest.raises(InputError, match="OneProxy has no device 'eagle_i8'; it has eagle_cpu_855"):
        OneProxy(devices=("eagle_i8",)).measurements()


def test_files_that_a_loader_does_not_know_are_named(folder: Path, capsys: pytest.CaptureFixture) -> None:
    """The repositories hold 27 and 18 devices, of which 23 and 14 are pinned: nothing said that some were left out."""
    write(oneproxy_files(folder).parent / "mobile_dsp_675.pickle", [1.0] * 7)
    OneProxy().measurements()
    assert "1 file that Gnomon does not know and leaves out: mobile_dsp_675." in capsys.readouterr().err
    OneProxy(devices=("eagle_i7",)).measurements()
    assert capsys.readouterr().err == ""


def test_latbench_counts_in_seconds(folder: Path) -> None:
    latbench_file(folder)
    m = LatBench().measurements()
    assert m.architectures == SPACE.all()[SEVEN]
    np.testing.assert_allclose(m.matrix("latency_ms")[:, 0], np.arange(1.0, 8))


def test_accuracies_are_percent_of_no_device(folder: Path) -> None:
    nats_file(folder)
    m = Nats().measurements()
    assert m.devices == () and (m.table["device"] == -1).all()
    assert m.matrix("accuracy_cifar10")[-1, 0] == 90 and m.matrix("accuracy_imagenet16_120")[-1, 0] == 30
    np.testing.assert_array_equal(Nats().on(None, "accuracy_cifar100")(m.architectures[-1:]), [45])


def test_pi5_leaves_copies_out(folder: Path) -> None:
    pi5_file(folder)
    m = HwNasBench360().measurements()
    assert [d.name for d in m.devices] == ["pi5_litert", "pixel_litert"]
    assert m.architectures.keys == SPACE.all()[[15_624, 15_623, 15_622]].keys
    assert str(m.architectures.space) == "nasbench201(channels=16,cells=5,image=32,classes=100)"
    np.testing.assert_array_equal(m.matrix("energy_mj"), [[2, np.nan]] * 3)
    whole = HwNasBench360(task="darcy", copies=True).measurements()
    np.testing.assert_array_equal(whole.matrix("latency_ms")[:, 0], [1, 2, 3, 4])
    one = HwNasBench360(devices=("pi5_litert",)).measurements()
    assert [d.name for d in one.devices] == ["pi5_litert"] and np.isfinite(one.matrix("energy_mj")).all()
    with pytest.raises(InputError, match="no device 'pi4_litert' here; did you mean 'pi5_litert'"):
        HwNasBench360(devices=("pi4_litert",)).measurements()
    with pytest.raises(InputError, match="no task 'cifar'; it has cifar100, ninapro, darcy"):
        HwNasBench360(task="cifar").measurements()


def test_ncnn_has_a_device_per_machine_cores_precision_and_threads(folder: Path) -> None:
    ncnn_files(folder)
    m = Ncnn().measurements()
    names = ["raspberry_pi_5_big_ncnn_fp32_1_t4", "raspberry_pi_5_big_ncnn_int8_1_t4", "kirin_970_gpu0_ncnn_fp32_1"]
    assert [device.name for device in m.devices] == names
    cpu, quantised, gpu = m.devices
    assert (cpu.family, cpu.kind, cpu.threads, cpu.precision) == ("cortex-a76", "embedded-cpu", 4, "fp32")
    assert (quantised.precision, gpu.family, gpu.kind, gpu.runtime) == (
        "int8",
        "mali-bifrost",
        "mobile-gpu",
        "ncnn-vulkan",
    )
    assert cpu.features == quantised.features == {"cores": 4, "clock_ghz": 2.4} and gpu.features == {}
    np.testing.assert_array_equal(m.matrix("latency_ms"), [[5, 3, 10]])  # two runs: their median
    assert Ncnn(statistic="avg", machines=("kirin_970",)).measurements().matrix("latency_ms").tolist() == [[11]]
    assert [key.partition(":")[0] for key in m.architectures.keys] == ["squeezenet.param"]
    with pytest.raises(InputError, match="no machine 'pi'; it has jetson_agx_orin"):
        Ncnn(machines=("pi",)).measurements()
    with pytest.raises(InputError, match="no int8 rows of kirin_970; name others"):
        Ncnn(machines=("kirin_970",), precision="int8").measurements()
    with pytest.raises(InputError, match="no int8 gpu rows of any machine; name others"):
        Ncnn(hardware="gpu", precision="int8").measurements()


def test_quantised_networks_of_ncnn_may_be_networks_of_their_own(folder: Path) -> None:
    ncnn_files(folder)
    m = Ncnn(quantised="networks", hardware="processor").measurements()
    assert [device.name for device in m.devices] == ["raspberry_pi_5_big_ncnn_fp32_1_t4"]
    np.testing.assert_array_equal(m.matrix("latency_ms"), [[5], [3]])
    plain, quantised = m.architectures
    assert quantised.key == f"{plain.key}_int8" and {"int8"} == {p for p in precisions(quantised) if p} - {"fp32"}
    assert (KindTotals()(m.architectures[:1]) != KindTotals()(m.architectures[1:])).any()
    assert set(m.table["family"]) == {"squeezenet"}


HUB = """
precisions:
  float:
    components:
      Encoder:
        performance_metrics:
          Samsung Galaxy S24:
            tflite: &run
              inference_time_milliseconds: 3.5
              estimated_peak_memory_range_mb: {min: 0, max: 52}
              layer_counts: {total: 80, npu: 60, cpu: 20}
            qnn_dlc: {inference_time_milliseconds: null}
          QCS8275 (Proxy):
            onnx: {<<: *run, estimated_peak_memory_range_mb: {min: 0, max: 0}, layer_counts: {total: 4, npu: 4}}
          A Phone That Nobody Knows: {tflite: *run}
      Decoder: {performance_metrics: {Samsung Galaxy S24: {tflite: *run}}}
  w8a8: {components: {Encoder: {performance_metrics: null}}}
"""


def hub_file(folder: Path) -> Path:
    path = folder / "ai-hub-models" / "qai_hub_models" / "models" / "sam2" / "perf.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(HUB)
    return path


@pytest.mark.parametrize(
    ("heading", "numbers"),
    [
        ("Qualcomm SM8550 Snapdragon 8 Gen 2 (Kyro 3.20 GHz + 2.8 GHz x 2 + 2.80 GHz x 2 + 2.00 GHz * 3 + Adreno 740)",
         {"cores": 8, "clock_ghz": 3.2}),
        ("Radxa Orion O6 (Big Cortex-A720 2.6Ghz x4 + Medium Cortex-A720 x 4 + Little Cortex-A520 x 4 + Arm Immortals)",
         {"cores": 12, "clock_ghz": 2.6}),
        ("AMD Ryzen Embedded V1605B (Zen 2.0 GHz ~ 3.6 GHz x 4 + Radeon Vega 8 1.1GHz 8CU)",
         {"cores": 4, "clock_ghz": 3.6}),
        ("Z7-Lite 7020 XC7Z020CLG400-2 (Cortex-A9 766MHz x 2)", {"cores": 2, "clock_ghz": 0.766}),
        ("NVIDIA Quadro RTX 8000 (TU102 SM x 72 + Tensor Core x 576)", {}),
        ("Intel Atom x5-Z8350", {}),
    ],
)  # fmt: skip
def test_headings_state_cores_and_clocks_of_processors(heading: str, numbers: dict[str, float]) -> None:
    assert stated_numbers(heading) == numbers


def test_ai_hub_has_latency_memory_and_what_ran_off_the_npu(folder: Path) -> None:
    with pytest.raises(InputError, match="`python -m datasets fetch ai-hub-models` downloads it"):
        AiHub().measurements()
    path = hub_file(folder)
    m = AiHub().measurements()
    assert m.architectures.keys == ["network=sam2/Decoder", "network=sam2/Encoder"]
    assert [device.name for device in m.devices] == ["samsung_galaxy_s24_tflite_float_1", "qcs8275_proxy_onnx_float_1"]
    assert (m.devices[1].family, m.devices[1].kind, m.devices[1].runtime) == ("qcs8275", "dsp", "onnx")
    np.testing.assert_array_equal(m.matrix("latency_ms"), [[3.5, np.nan], [3.5, 3.5]])
    np.testing.assert_array_equal(m.matrix("off_npu"), [[0.25, np.nan], [0.25, 0]])
    np.testing.assert_array_equal(m.matrix("peak_mb"), [[52, np.nan], [52, np.nan]])
    assert len(AiHub(runtime="onnx").measurements().table) == 2
    with pytest.raises(InputError, match="no rows of precision 'w8a8' and runtime ''"):
        AiHub(precision="w8a8").measurements()
    wrong = "precisions: {float: {components: {a: {performance_metrics: 3}}}}"
    damaged = (HUB.replace("total: 80", "total: x"), HUB.replace("3.5", "soon"), "a: [", "!!python/object:x {}")
    for content in ("", "[]", "precisions: 3", wrong, *damaged):
        path.write_text(content)
        with pytest.raises(InputError, match=r"is damaged or another file .* fetch ai-hub-models|is not valid YAML"):
            AiHub().measurements()


def test_models_of_ai_hub_are_networks_where_their_graphs_are_known(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = hub_file(folder)
    for model in ("densenet121", "resnet50", "resnet101"):
        (path.parent.parent / model).mkdir()
        (path.parent.parent / model / "perf.yaml").write_text(HUB.replace("      Decoder:", "      #"))
    monkeypatch.setattr(timm, "GRAPHS", folder / "timm.parquet")
    with pytest.raises(InputError, match=r"studies.arena.graphs` writes it"):
        AiHub(graphs=True).measurements()
    network = Zoo().expand(Zoo().parse(["lenet5"])[0]).to_json()
    rows = {
        "model": ["densenet121", "resnet101"],
        "family": "any",
        "network": network,
        "side": [224, 160],
        "gmacs": 1.0,
    }
    pd.DataFrame(rows).to_parquet(folder / "timm.parquet")
    m = AiHub(graphs=True).measurements()
    assert m.architectures.keys == ["densenet121__224", "resnet50"] and str(m.architectures.space) == "networks"
    assert m.matrix("latency_ms").tolist() == [[3.5, 3.5], [3.5, 3.5]]


def test_real_ai_hub_holds_what_was_measured() -> None:
    m = real(AiHub())
    rows = m.table["metric"].value_counts()
    assert rows["latency_ms"] == rows["off_npu"] == 7_233 and rows["peak_mb"] == 7_118
    assert len({key.partition("/")[0] for key in m.architectures.keys}) == 148
    assert len({device.name.partition("_")[0] + device.family for device in m.devices}) >= 13
    twins = m.where(
        devices=[d.name for d in m.devices if d.name.startswith(("sa7255p_adp_qnn_dlc_f", "qcs8275_proxy_qnn_dlc_f"))]
    )
    values = twins.matrix("latency_ms")
    both = np.isfinite(values).all(1)
    assert (
        both.sum() > 100 and (values[both, 0] == values[both, 1]).all() and len({d.family for d in twins.devices}) == 1
    )


@pytest.mark.parametrize("cls", TINY, ids=lambda cls: cls.__name__)
def test_missing_and_truncated_files_are_one_sentence(cls: type[Dataset], folder: Path) -> None:
    with pytest.raises(InputError, match=r"There is no .*; `python -m datasets fetch [\w-]+` downloads it\."):
        cls().measurements()
    path = TINY[cls](folder)
    content = path.read_bytes()
    for size in (0, 1, len(content) // 2, len(content) - 30):
        path.write_bytes(content[:size])
        with pytest.raises(InputError, match="fetch"):
            cls().measurements()
    path.write_bytes(b"\x00 something else \xff" * 9)
    with pytest.raises(InputError, match="fetch"):
        cls().measurements()


def test_wrong_contents_are_one_sentence(folder: Path) -> None:
    latency, lat, csv, parquet = oneproxy_files(folder), latbench_file(folder), nats_file(folder), pi5_file(folder)
    for content, sentence in (
        ([1.0, 2.0], "eagle_i7 has 2 values, not 7"),
        ({"a": 1}, "holds a dict, not a list"),
        ([None] * 7, "missing, infinite"),
        (["a"] * 7, "holds more than numbers"),
        ([-2.0] * 7, "missing, infinite, zero or negative"),
    ):
        write(latency, content)
        with pytest.raises(InputError, match=sentence):
            OneProxy().measurements()
    oneproxy_files(folder)
    for content in ([[1, 2], [3]], [], [[0] * 31] * 7, [["a"] * 31] * 7, [1, 2, 3]):
        write(folder / "oneproxy" / "encode.pickle", content)
        with pytest.raises(InputError, match="no table of one-hot cells"):
            OneProxy().measurements()
    for content, sentence in (
        ({}, "no table of cells and seconds"),
        ({"abc": 1.0}, "no table of cells and seconds"),
        ({(0,) * 6: "x"}, "no table of cells and seconds"),
        ({(0,) * 5: 1.0}, "takes 6 decisions a row"),
        ({(0, 0, 0, 0, 0, 7): 1.0}, "out of range"),
        ({(300, 0, 0, 0, 0, 0): 1.0}, "out of range|no table of cells"),
    ):
        write(lat, content)
        with pytest.raises(InputError, match=sentence):
            LatBench().measurements()
    table = pd.read_csv(csv)
    for changed, sentence in (
        (table.drop(columns="CIFAR10TestAccuracy200Epochs"), "is damaged or another table"),
        (table[:-1], "lists 15624 cells, not each of the 15625 once"),
        (table.assign(CIFAR10TestAccuracy200Epochs="good"), "is damaged or another table"),
        (table.assign(CIFAR10TestAccuracy200Epochs=np.nan), "missing, infinite"),
    ):
        changed.to_csv(csv, index=False)
        with pytest.raises(InputError, match=sentence):
            Nats().measurements()
    table = pd.read_parquet(parquet)
    for changed, sentence in (
        (table.drop(columns="status"), "is damaged or another table"),
        (table.assign(arch_idx=99_999, rep_arch_idx=99_999), "cells that nobody knows"),
        (table.assign(status="failed"), "has no rows of cifar100"),
        (table.assign(device="abacus"), "There is no chip 'abacus'"),
        (table.assign(lat_ms_median=np.nan), "missing, infinite"),
    ):
        changed.to_parquet(parquet)
        with pytest.raises(InputError, match=sentence):
            HwNasBench360().measurements()


class Calls:
    """What pickles to a call of any function."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


def test_a_hostile_pickle_is_refused_and_runs_nothing(folder: Path) -> None:
    path, trace = oneproxy_files(folder), folder / "trace"
    for content in (
        [Calls(Path.touch, trace)],
        [Calls(exec, f"open({str(trace)!r}, 'w')")],
        [Calls(importlib.import_module, "os")],
        [np.arange(3)],
        [np.dtype("O")],
        np.float64(1).__class__,
    ):
        write(path, content)
        with pytest.raises(InputError, match="asks to call .*, which plain numbers do not need: not loaded"):
            OneProxy().measurements()
    path.write_bytes(b"\x80\x04\x8c\x05numpy\x94\x8c\x05dtype\x94\x93\x94\x8c\x02f8\x94\x85\x94R\x94.")
    with pytest.raises(InputError, match="holds a Dtype, not a list"):
        OneProxy().measurements()
    assert not trace.exists()


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", ["<f8", ">f8", "<f4", "<i8"])
def test_numpy_scalars_are_read_as_numbers(protocol: int, kind: str, folder: Path) -> None:
    path = oneproxy_files(folder)
    write(path, [np.arange(1, 8).astype(kind)[i] for i in range(7)], protocol)
    np.testing.assert_array_equal(
        OneProxy(devices=("eagle_i7",)).measurements().matrix("latency_ms")[:, 0], range(1, 8)
    )


# Real files, where they are


def test_oneproxy_is_help_and_latbench_again() -> None:
    ours, theirs, desktop = real(OneProxy()), real(HelpNasBench201()), real(LatBench())
    place = {key: i for i, key in enumerate(theirs.architectures.keys)}
    index = [place[key] for key in ours.architectures.keys]
    assert len(ours.architectures) == 1_999 and index[:4] == [910, 16, 13_605, 11_299]
    values, helps = ours.matrix("latency_ms"), theirs.matrix("latency_ms")[index]
    names, twins = [d.name for d in ours.devices], [d.name for d in theirs.devices]
    for name in ("eyeriss", "fpga", "raspi4", "pixel3"):
        np.testing.assert_array_equal(values[:, names.index(f"rice_{name}")], helps[:, twins.index(name)])
        assert ours.device(f"rice_{name}").family == theirs.device(name).family
    np.testing.assert_array_equal(values[:, names.index("eagle_i7")], LatBench().on(None)(ours.architectures))
    ratio = values[:, names.index("eagle_gtx")] / values[:, names.index("eagle_i7")]
    assert (np.abs(ratio - 1) < 0.05).all()
    assert ours.device("eagle_gtx").family == ours.device("eagle_i7").family == desktop.devices[0].family
    assert np.isnan(values).sum(0).tolist() == [259 * (name == "rice_edgetpu") for name in names]


def test_latbench_holds_the_cells_with_a_path() -> None:
    m = real(LatBench())
    assert len(m.architectures) == 15_284 and SPACE.connected(m.architectures).all()


def test_accuracies_are_the_published_ones() -> None:
    m = real(Nats())
    best = {
        "accuracy_cifar10": (6111, 94.37),
        "accuracy_cifar100": (9930, 73.51),
        "accuracy_imagenet16_120": (857, 47.31),
    }
    for metric, (row, value) in best.items():
        column = m.matrix(metric)[:, 0]
        assert int(column.argmax()) == row and round(column.max(), 2) == value
    order = real(HelpNasBench201(devices=("gold_6226",))).architectures
    assert m.architectures == order == help_data.index_order()


def test_ncnn_s_table_is_read_row_by_row() -> None:
    m = real(Ncnn())
    rows = read_rows()
    settings = {(row.machine, tuple(sorted(row.settings.items()))) for row in rows}
    assert len(rows) == 8_554 and len({row.machine for row in rows}) == 102 and len(settings) == 247
    names = {(row.network, row.quantised) for row in rows}
    assert len(names) == 36 and sum(quantised for _, quantised in names) == 8
    assert sum(row.gpu != "" and row.quantised for row in rows) == 296
    assert len(m.architectures) == 27 and len(m.devices) == 472 and m.table["family"].nunique() == 14
    parts = HeldOutFamilies(fold=3, folds=5)(m, np.random.default_rng(0))
    assert sum(len(part.architectures) for part in (parts.train, parts.val, parts.test)) == 27
    assert m.table["repeats"].sum() == 8_554 - 296 - 2 and len(m.table) == 8_229
    assert max(device.threads for device in m.devices) == 224
    pi = Ncnn(machines=("raspberry_pi_5",), precision="fp32").measurements()
    networks = [key.partition(".param")[0] for key in pi.architectures.keys]
    times = dict(zip((d.threads for d in pi.devices), pi.matrix("latency_ms")[networks.index("resnet50")], strict=True))
    assert times[1] > 1.5 * times[4], "four threads are faster than one"


ACCEL = {
    "architecture": {f"block{i}_{name}": value for i in range(7) for name, value in zip("ekl", (4, 3, 2), strict=True)}
    | {f"block{i}_se": i > 3 for i in range(7)},
    "metrics": {"val_top1": 60.5},
    "model_info": {"macs": 1.0, "params": 1.0},
    "platform_perf": {
        "throughput_a100": {"throughput_mean": 5000.0},
        "latency_zcu102": {"latency_mean": 3.0},
        "throughput_zcu102": {"throughput_mean": None},
    },
}


def accel_file(folder: Path, *records: object) -> Path:
    path = folder / "accel-nasbench" / "anb_dataset" / "anb_dataset_jsons.tar.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for i, record in enumerate(records or (ACCEL, ACCEL | {"metrics": {"val_top1": 61.5}})):
            content = record if isinstance(record, bytes) else json.dumps(record).encode()
            entry = tarfile.TarInfo(f"./anb/../../result_{i}.json")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def test_accel_nasbench_is_read_without_being_extracted(folder: Path) -> None:
    accel_file(folder)
    m = AccelNasBench().measurements()
    assert m.architectures.keys == ["e4k3l2|e4k3l2|e4k3l2|e4k3l2|e4k3l2s|e4k3l2s|e4k3l2s"]
    assert m.matrix("accuracy_imagenet").tolist() == [[61]]  # of two records
    assert m.matrix("latency_ms")[0, 0] == 3 and m.matrix("throughput")[0, 2] == 5000
    assert len(m.table) == 3 and not list(folder.rglob("result_*"))
    less = {name: value for name, value in ACCEL["architecture"].items() if name != "block6_k"}
    for record in ([], b"{", b"\xff", ACCEL | {"architecture": less}, ACCEL | {"platform_perf": 3}, bytes(200_000)):
        accel_file(folder, record)
        with pytest.raises(InputError, match="is damaged or another file .* fetch accel-nasbench again"):
            AccelNasBench().measurements()


def test_real_accel_nasbench_has_the_published_parameters_and_macs() -> None:
    m = real(AccelNasBench())
    assert len(m.architectures) == 5_125 and m.table["metric"].value_counts()["latency_ms"] == 2 * 5_123
    assert m.table.loc[m.table["metric"] == "throughput", "repeats"].sum() == 5138 + 5135 + 5101 + 5094 + 2 * 5136
    published = {}
    for record in accel_nasbench._records(accel_nasbench.SOURCE.need(accel_nasbench._FILE)):
        published[tuple(accel_nasbench._decisions(record["architecture"]))] = record["model_info"]
    ours = m.architectures.space.totals(m.architectures)
    theirs = [published[tuple(row)] for row in m.architectures.decisions.tolist()]
    assert ours["params"].tolist() == [round(1e6 * info["params"]) for info in theirs]
    for place in (0, 1234, 5124):
        network, counted = m.architectures.space.expand(m.architectures[place]), 0
        for op, sources in zip(network.ops, network.sources(), strict=True):
            made = math.prod(op.attrs["shape"])
            counted += 4 * made if op.kind == "bn" else 0
            counted += made + math.prod(network.shape(sources[0])) if op.kind == "global_avg_pool" else 0
        assert ours["macs"][place] + counted == round(1e6 * theirs[place]["macs"])


PI5_MEDIANS = {
    ("cifar100", "pi5_litert"): (3.261, 5.183),
    ("cifar100", "pi5_onnx"): (4.965, 7.148),
    ("cifar100", "pi5_torchmobile"): (7.92, 9.511),
    ("ninapro", "pi5_onnx"): (4.535, 6.167),
    ("darcy", "pi5_litert"): (24.17, 38.05),
    ("darcy", "pixel_litert"): (24.66, None),
}


@pytest.mark.parametrize("task", ["cifar100", "ninapro", "darcy"])
def test_pi5_holds_what_was_measured(task: str) -> None:
    whole = real(HwNasBench360(task, copies=True))
    names = [device.name for device in whole.devices]
    for (other, name), medians in PI5_MEDIANS.items():
        for metric, median in zip(("latency_ms", "energy_mj"), medians, strict=True):
            if other == task and median is not None:
                assert np.median(whole.matrix(metric)[:, names.index(name)]) == pytest.approx(median, rel=2e-3)
    m = HwNasBench360(task).measurements()
    assert len(whole.architectures) == 15_625 and len(m.architectures) == 6_466
    assert len(set(SPACE.canonical(Architectures(SPACE, m.architectures.decisions)))) == 4_930
    assert np.isnan(m.matrix("energy_mj")[:, names.index("pixel_litert")]).all()


MEDIANS = {
    "eagle_cpu_855": 13.45,
    "eagle_tpu": 1.195,
    "rice_edgegpu": 6.248,
    "rice_edgetpu": 1.209,
    "rice_raspi4": 44.63,
}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_an_absent_table_says_how_to_get_it(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GNOMON_DATA", str(tmp_path))
    with pytest.raises(InputError, match=r"There is no .*; `python -m datasets fetch [\w-]+` downloads it"):
        from_config(yaml.safe_load(path.read_text()), Dataset).measurements()


def test_oneproxy_has_its_medians() -> None:
    m = real(OneProxy(tuple(MEDIANS)))
    np.testing.assert_allclose(np.nanmedian(m.matrix("latency_ms"), axis=0), list(MEDIANS.values()), rtol=1e-3)


# Devices


@pytest.mark.parametrize("name", CHIPS)
def test_a_chip_says_where_its_numbers_stand(name: str) -> None:
    chip = CHIPS[name]
    assert chip.kind in KINDS and bool(chip.source) == bool(chip.features)
    assert set(chip.features) <= {*NUMBERS, *GPU_NUMBERS}
    assert all(number > 0 for number in chip.features.values())
    if chip.kind in ("gpu", "embedded-gpu"):
        known = chip.features
        assert known["peak_gflops"] == pytest.approx(2 * known["cores"] * known["clock_ghz"], rel=0.002)
        assert known["cores"] / known["sms"] in (64, 128, 192)


def test_devices_of_tables_carry_their_features() -> None:
    assert help_data.device("1080ti_32").features["cores"] == 3584 and help_data.device("1080ti_32").batch == 32
    assert help_data.device("samsung_a50").batch == 1 and help_data.device("samsung_s7").features == {}
    with pytest.raises(InputError, match="no chip 'abacus'"):
        device_on("abacus_1", "abacus")


# What `describe` draws


def gappy() -> Measurements:
    """Two devices that rank alike, one that does not, one with gaps and one without values."""
    m = made_up(SPACE.sample(60, np.random.default_rng(0)))
    one = m.matrix("latency_ms")[:, 0]
    values = np.stack([one, 2 * one, 100 / one, one, one], axis=1)
    measured = np.ones(values.shape, bool)
    measured[::2, 3], measured[:, 4] = False, False
    devices = [Device(name, "family" + name[0], "gpu") for name in ("a1", "b", "c", "a2", "d")]
    return Measurements(m.architectures, devices, rows(values, measured=measured), "gappy")


def test_rank_correlation_clusters_devices() -> None:
    m = gappy()
    rho = spearman(m.matrix("latency_ms"))
    np.testing.assert_allclose(
        rho[:4, :4], np.where(np.arange(4) == 2, -1, 1) * np.where(np.arange(4) == 2, -1, 1)[:, None]
    )
    axis = rank_correlation(m, "latency_ms").axes[0]
    names = [label.get_text() for label in axis.get_xticklabels()]
    assert sorted(names) == ["a1", "a2", "b", "c"] and names.index("c") in (0, 3)
    assert len(axis.texts) == 16
    with pytest.raises(InputError, match="a rank correlation needs two"):
        rank_correlation(m.where(devices=["a1"]), "latency_ms")


def test_the_rank_correlation_of_hundreds_of_devices_is_a_picture_of_colours() -> None:
    """Numbers of 472 devices needed a picture of 26,000 pixels a side, and more memory than there was."""
    space, devices = NasBench201(), [Device(f"d{i}", "f", "gpu") for i in range(150)]
    values = np.random.default_rng(0).uniform(1, 2, (4, 150))
    arch, device = np.indices(values.shape)
    columns = {"arch": arch.ravel(), "device": device.ravel(), "metric": "latency_ms", "value": values.ravel()}
    figure = rank_correlation(Measurements(space.all()[:4], devices, pd.DataFrame(columns), "many"), "latency_ms")
    assert max(figure.get_size_inches()) < 50 and not figure.axes[0].texts


def test_distributions_stand_by_family_and_count_outliers() -> None:
    m = gappy()
    table = m.table.copy()
    table.loc[0, "value"] = 1e-6
    axis = distributions(Measurements(m.architectures, m.devices, table, "gappy"), "latency_ms").axes[0]
    names = [label.get_text().split(" ")[0] for label in axis.get_yticklabels()]
    assert sorted(names) == ["a1", "a2", "b", "c"] and abs(names.index("a1") - names.index("a2")) == 1
    assert [text.get_text().strip() for text in axis.texts] == ["‹ 1 more, down to 1e-06"]


def test_describe_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Two of the bundled tables; `make tables-check` describes all."""
    import datasets.__main__ as command

    few = [path for path in command._bundled() if path.stem in ("nasbench201", "zoo")]
    monkeypatch.setattr(command, "_bundled", lambda: few)
    command.describe("bundled", out=tmp_path / "new" / "folder")
    assert capsys.readouterr().out.count("Spearman between devices") == len(few) == 2
    for name in ("distributions.png", "rank_correlation.png"):
        image = imread(tmp_path / "new" / "folder" / "nasbench201" / name)
        assert min(image.shape[:2]) > 150 and len(np.unique(image.reshape(-1, image.shape[2]), axis=0)) > 50
    (tmp_path / "file").write_text("")
    done = run("-m", "datasets", "describe", few[0], "--out", tmp_path / "file")
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_describe_draws_a_metric_of_no_device(folder: Path) -> None:
    nats_file(folder)
    config = ROOT / "configs" / "datasets" / "nats.yaml"
    arguments = (config, "--metric", "accuracy_cifar10", "--out", folder)
    told = run("-m", "datasets", "describe", *arguments)
    assert "no device" in told.stdout and (folder / "distributions.png").exists(), told.stderr
    assert not (folder / "rank_correlation.png").exists()


def test_every_source_is_pinned_and_has_a_configuration() -> None:
    modules = {}
    for path in sorted((ROOT / "configs" / "datasets").glob("*.yaml")):
        tree = yaml.safe_load(path.read_text())
        from_config(tree, Dataset)
        modules[tree["class_path"].rpartition(".")[0]] = path
    for name in ("help", "oneproxy", "latbench", "nats", "pi5", "justus", "neusight", "dl_energy", "timm"):
        source = importlib.import_module(f"datasets.public.{name}").SOURCE
        assert f"datasets.public.{name}" in modules and len(source.commit) == 40 and source.licence
        assert all(len(digest) == 64 for digest in source.files.values())
