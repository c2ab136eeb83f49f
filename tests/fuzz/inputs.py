"""Valid inputs that families start from: predictors learnt on thirty made-up samples, tables, networks, journals."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from datasets.records import Measurements
from datasets.spaces.convnet import ConvNet
from datasets.spaces.convolution import Convolution
from datasets.spaces.dense import Dense
from datasets.spaces.nasbench201 import NasBench201
from datasets.spaces.pooling import Pooling
from measure.table import write_table
from tests.conftest import made_up

SPACE = NasBench201()
NETWORKS = ConvNet(image=32, classes=10, megamacs=60)
BATCHES = {"convolution": Convolution(128, 400), "pooling": Pooling(128, 50), "dense": Dense(128, 400)}
DEVICE = "toy_0"


def once(path: Path, make: Callable[[Path], Any]) -> Path:
    """The path, of a file that is made where it is not there yet."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path)
    return path


def samples(devices: int = 2, count: int = 30) -> Measurements:
    return made_up(SPACE.sample(count, np.random.default_rng(0)), devices)


def keys(count: int = 10) -> list[str]:
    return SPACE.sample(count, np.random.default_rng(1)).keys


# Predictors


def predictors(folder: Path) -> dict[str, Path]:
    """A saved predictor of each kind, by name."""
    return {name: once(folder / f"{name}.pt", partial(_fit, make)) for name, make in KINDS.items()}


def predictor(folder: Path, name: str) -> Path:
    return once(folder / f"{name}.pt", partial(_fit, KINDS[name]))


def exported(folder: Path, name: str) -> Path:
    from predictors.base import Predictor
    from predictors.export import export

    return once(folder / f"{name}.onnx", lambda path: export(Predictor.load(predictor(folder, name)), path))


def _fit(make: Callable[[], Any], path: Path) -> None:
    m = samples()
    fitted = make().fit(m, m)
    fitted.metadata_ = {"dataset": m.name, "fingerprint": m.fingerprint(), "split": {}, "scores": []}
    fitted.save(path)


def _linear() -> Any:
    from encoders.flat import Totals
    from predictors.linear import Linear

    return Linear(encoder=Totals(("macs", "moved_bytes")))


def _trees() -> Any:
    from encoders.cell import CellOneHot
    from predictors.trees import XGBoost

    return XGBoost(encoder=CellOneHot(), trees=5)


def _compact() -> Any:
    from encoders.cell import CellOneHot
    from predictors.compact_trees import CompactTrees

    return CompactTrees(encoder=CellOneHot(), trees=5)


def _gaussian() -> Any:
    from encoders.flat import Joined
    from predictors.gp import GaussianProcess

    return GaussianProcess(encoder=Joined())


def _gcn() -> Any:
    from encoders.cell import CellGraph
    from predictors.gcn import GCN

    return GCN(encoder=CellGraph(), hidden=8, layers=2, epochs=1)


def _blend() -> Any:
    from predictors.blend import Blend

    return Blend(members=[_linear(), _trees()])


def _ensemble() -> Any:
    from predictors.ensemble import Ensemble

    return Ensemble(member=_trees(), size=2)


def _conditioned() -> Any:
    from predictors.new_devices.conditioned import Conditioned

    return Conditioned()


def _ridge() -> Any:
    from predictors.new_devices.proxies import SourceRidge

    return SourceRidge(source=_linear())


def _estimator() -> Any:
    from predictors.sklearn_regressor import SklearnRegressor

    return SklearnRegressor(params={"n_estimators": 2, "max_depth": 3})


KINDS: dict[str, Callable[[], Any]] = {
    "linear": _linear, "trees": _trees, "gaussian": _gaussian, "gcn": _gcn, "blend": _blend, "ensemble": _ensemble,
    "conditioned": _conditioned, "ridge": _ridge, "estimator": _estimator, "compact": _compact,
}  # fmt: skip


def adapted(folder: Path) -> Path:
    """A predictor of one new device, which knows intervals."""

    def adapt(path: Path) -> None:
        from predictors.base import Predictor

        m = made_up(SPACE.sample(20, np.random.default_rng(2)), 3).where(devices=["toy_2"])
        Predictor.load(predictor(folder, "conditioned")).adapt(m).save(path)  # type: ignore[attr-defined]

    return once(folder / "adapted.pt", adapt)


def layerwise(folder: Path) -> Path:
    """What prices networks layer by layer."""

    def learn(path: Path) -> None:
        from predictors.networks.layer_sum import LayerSum
        from predictors.networks.learnt import Learnt

        networks = made_up(NETWORKS.sample(6, np.random.default_rng(5)))
        costs = Learnt.with_layer(_linear()).fit({kind: layers(kind) for kind in BATCHES})
        LayerSum.summing(costs).fit(networks).save(path)

    return once(folder / "layerwise.pt", learn)


def tabulated(folder: Path) -> Path:
    """What prices `ours.onnx` by a look-up table of its layers."""

    def learn(path: Path) -> None:
        from datasets.networks.network import SMALLEST, Network
        from datasets.networks.reading import read_model
        from predictors.networks.layer_sum import LayerSum
        from predictors.networks.tabulated import layers_of

        (folder / "ours.onnx").write_bytes(network_files(folder)["ours.onnx"])
        network = read_model(str(folder / "ours.onnx"), 1).network
        found = [SMALLEST, *layers_of(network), Network.of(network.ops, network.edges)]
        names = [device.name for device in samples().devices]
        rows = {(one.key, name): (1 + i) * (1 + d) for i, one in enumerate(found) for d, name in enumerate(names)}
        frame = pd.DataFrame([(*which, ms) for which, ms in rows.items()], columns=["key", "device", "value"])
        meta = {"devices": [device.to_dict() for device in samples().devices]}
        table = folder / "lut.parquet"
        write_table(frame.assign(space="layers", metric="latency_ms", repeats=1), meta, table)
        LayerSum.tabulated(table).save(path)

    return once(folder / "tabulated.pt", learn)


def layers(kind: str, count: int = 40) -> Measurements:
    """Phases of single layers on two devices."""
    archs = BATCHES[kind].sample(count, np.random.default_rng(0))
    totals = archs.space.totals(archs)
    ms = 0.005 + totals["macs"].to_numpy() / 3e7 + totals["moved_bytes"].to_numpy() / 1e7
    rows = [
        pd.DataFrame({"arch": range(count), "device": d, "metric": metric, "value": factor * (1 + 2 * d) * ms})
        for metric, factor in (("exe_ms", 1.0), ("pre_ms", 0.1), ("post_ms", 0.1))
        for d in range(2)
    ]
    return Measurements(archs, samples().devices, pd.concat(rows, ignore_index=True), kind)


# Tables and journals


def write_measurements(m: Measurements, path: Path) -> None:
    """A table as `python -m measure table` writes it."""
    names = [d.name for d in m.devices]
    rows = m.table.assign(
        space=str(m.architectures.space),
        key=[m.architectures.keys[i] for i in m.table["arch"]],
        device=[names[d] if d >= 0 else None for d in m.table["device"]],
        repeats=2, spread=0.01, cv=0.01, raw_cv=0.02, raw_ms=m.table["value"],
    )  # fmt: skip
    meta = {"devices": [d.to_dict() for d in m.devices], "reference_ms": dict.fromkeys(names, 1.0)}
    write_table(rows.drop(columns="arch"), meta, path)


def table(folder: Path) -> Path:
    return once(folder / "table.parquet", lambda path: write_measurements(samples(), path))


def accuracies(folder: Path) -> Path:
    """Accuracies of the same architectures, which belong to no device."""

    def write(path: Path) -> None:
        archs = samples().architectures
        value = 50 + 40 * np.random.default_rng(0).random(len(archs))
        rows = {"arch": range(len(archs)), "device": -1, "metric": "accuracy_digits", "value": value}
        write_measurements(Measurements(archs, [], pd.DataFrame(rows), "made-up"), path)

    return once(folder / "accuracy.parquet", write)


def journal(deviceless: bool = False) -> bytes:
    """Rows as `measure run` journals them, or as `measure accuracy` does; one of them failed."""
    rng, lines = np.random.default_rng(0), []
    device = {"name": "toy_ort_fp32_1", "family": "toy-ort-fp32", "kind": "server-cpu", "runtime": "ort",
    "precision": "fp32",
              "batch": 1, "features": {"cores": 2.0}}  # fmt: skip
    protocol = {"warmup": 2, "pairs": 31, "max_deviation": 0.1, "max_rounds": 5, "by": "cpu", "in_a_row": True}
    for key in keys(5):
        for repeat in range(2):
            row: dict[str, Any] = {
                "space": str(SPACE),
                "key": key,
                "device": device,
                "repeat": repeat,
                "metric": "latency_ms",
            }
            row |= {"date": "2026-11-29T10:54:25+00:00", "versions": {"python": "3.11.7", "onnxruntime": "1.31.1"}}
            row |= {
                "host": {"machine": "x86_64", "system": "Linux", "cpu": "AMD EPYC", "cores": [1]},
                "protocol": protocol,
            }
            ratio = 2 + rng.random()
            row |= {
                "ratio": ratio,
                "deviation": 0.02,
                "quantiles": [0.9 * ratio, ratio, ratio, 1.1 * ratio],
                "stable": True,
            }
            row |= {"raw_ms": 0.4 * ratio, "reference_ms": 0.4, "rounds": 1, "dropped": 1, "load": 1.2}
            row |= {"interrupted": 0.1, "processors": 2, "init_ms": 5.0, "first_ms": 2.0}
            row |= {
                "single_runs": {"count": 50, "median": 1.0, "p90": 2.0, "p90_bound": 3.0, "p99": 3.0, "p99_needs": 459}
            }
            row |= {"energy_mj": 3.0, "energy": {"spread": 0.1}} if repeat else {}
            row |= {"metric": "exe_ms", "pre_ms": 0.1, "phases": {"pre": {"ratio": 0.2}}} if len(lines) > 6 else {}
            if deviceless:
                row |= {"device": None, "metric": "accuracy_digits", "value": 90 + ratio, "cpu_s": 1.0}
            lines.append(json.dumps(row))
    failed = {k: v for k, v in json.loads(lines[0]).items() if k not in ("ratio", "stable", "value")}
    lines.append(json.dumps({**failed, "repeat": 2, "error": "Timeout: not measured within 600 s"}))
    return "\n".join(lines).encode() + b"\n"


# Networks


def network_files(folder: Path) -> dict[str, bytes]:
    """ONNX files: a network as this project writes it, and one as exporters do, with computed shapes."""
    from datasets.networks.builder import NetworkBuilder
    from measure.builders.onnx_graph import build_onnx
    from measure.builders.weights import make_weights

    net = NetworkBuilder()
    x = net.conv_bn(net.add("input", (3, 12, 12)), 8, 3, act="relu")
    x = net.pool("max_pool", net.conv_bn(x, 8, 3, groups=8, act="hswish"), 2, 2)
    gate = net.conv(net.add("global_avg_pool", (8, 1, 1), x), 8, 1, bias=1)
    x = net.concat(net.pointwise("mul", x, net.pointwise("sigmoid", gate)), x)
    network = net.finish("", "small", net.add("dense", (4,), net.pool("avg_pool", x, 2, 2)))
    return {"ours.onnx": build_onnx(network, make_weights(network)).SerializeToString(), "theirs.onnx": _exported()}


def _exported() -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    tensors: dict[str, np.ndarray] = {
        "w": rng.standard_normal((4, 3, 3, 3)).astype(np.float32), "b": np.zeros(4, np.float32), "s": np.ones(4,
        np.float32),
        "zero": np.array([0]), "one": np.array([1]), "rest": np.array([-1]), "m": rng.standard_normal((75,
        5)).astype(np.float32),
    }  # fmt: skip
    nodes = [
        ("Conv", "x w b", "c", {"strides": [1, 1], "pads": [1, 1, 1, 1]}),
        ("BatchNormalization", "c s b b s", "n", {}), ("Relu", "n", "r", {}),
        ("AveragePool", "r", "a", {"kernel_shape": [2, 2], "strides": [1, 1], "ceil_mode": 1}),
        ("Add", "r r", "d", {}), ("Slice", "d zero rest one", "e", {}), ("MaxPool", "e", "p", {"kernel_shape": [3, 3]}),
        ("Shape", "p", "f", {}), ("Gather", "f zero", "g", {"axis": 0}), ("Concat", "g rest", "h", {"axis": 0}),
        ("Reshape", "p h", "i", {}), ("MatMul", "i m", "j", {}), ("Softmax", "j", "y", {"axis": 1}),
    ]  # fmt: skip
    protos = [helper.make_node(op, ins.split(), [out], **attributes) for op, ins, out, attributes in nodes]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])
    initializers = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    graph = helper.make_graph(protos, "exported", [x], [y], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
