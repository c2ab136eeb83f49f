"""Speed, one thread: `make bench`. Every figure is a median of CPU-seconds over interleaved rounds, beside an
alternative that was run in the same rounds; quote the ratios, since machines differ and drift."""

from __future__ import annotations

import json
import math
import os

for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[pool] = "1"

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from datasets.files.writing import write_text
from datasets.measured import Measured
from datasets.networks.reading import read_model
from datasets.public.fetch import data_folder
from datasets.public.help import HelpFBNet, HelpNasBench201, HelpOFA
from datasets.records import Architectures
from datasets.spaces.nasbench201 import NasBench201
from encoders.cell import CellGraph, CellOneHot
from encoders.flat import FlatVector
from measure.backends.ort import OnnxRuntime
from measure.base import reference_network
from measure.builders.onnx_graph import build_onnx
from measure.builders.weights import make_weights
from measure.host import cpu_model
from measure.timing import Timing
from predictors.export import OnnxPredictor, export
from predictors.gcn import GCN, BrpGCN
from predictors.networks.layer_sum import LayerSum
from predictors.networks.learnt import LAYERS, Learnt
from predictors.networks.pieces import pieces
from predictors.networks.price import price
from predictors.networks.shipped import load
from predictors.networks.table_files import read_tables
from predictors.neural import NeuralPredictor
from predictors.new_devices.conditioned import Conditioned
from predictors.onnx_check import _shapes
from predictors.regressor import Regressor
from predictors.trees import XGBoost
from search.netadapt.widths import Exact, PricedNetwork, Sequential
from studies.netadapt.study import fitted, groups_of, walk
from studies.pages import RESULTS, write
from studies.perfnetrt.networks import layers_200

Work = Callable[[], object]
HISTORY = RESULTS / "rows" / "benchmarks.json"
"""Ratios of all runs that were kept."""


def cpu_seconds(work: Work) -> float:
    """CPU-seconds of this process and of those that it started and awaited."""
    start = _cpu_now()
    work()
    return _cpu_now() - start


def _cpu_now() -> float:
    return time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def side_by_side(what: str, items: float, ours: Work, name: str, alternative: Work, rounds: int = 7) -> dict:
    """One row: items a CPU-second of ours and of the alternative, and the median of the rounds' ratios."""
    ours(), alternative()
    pairs = np.array([(cpu_seconds(ours), cpu_seconds(alternative)) for _ in range(rounds)])
    a, b = np.median(pairs, axis=0)
    ratio = float(np.median(pairs[:, 1] / pairs[:, 0]))
    told = {"what": what, "per_s": items / a, "cpu_s": a, "alternative": name}
    return {**told, "alternative_per_s": items / b, "ratio": ratio}


def _against_gemm(name: str, path: Path, exported: OnnxPredictor, archs: Architectures, size: int) -> dict:
    """Products with weights of an exported network, a second of predicting from decisions, against numpy's fp32
    products of the same sizes: the ratio is the share of the time in which numpy does them."""
    import onnx

    graph = (model := onnx.load(path)).graph
    inputs = exported.encode(archs[:size])
    shapes = _shapes(model, {i.name: inputs[i.name].shape for i in graph.input})
    weights = {tensor.name for tensor in graph.initializer}
    dense = [node for node in graph.node if node.op_type in ("Gemm", "MatMul") and node.input[1] in weights]
    sizes = [(math.prod(shapes[n.input[0]][:-1]), shapes[n.input[0]][-1], shapes[n.output[0]][-1]) for n in dense]
    operands = [[np.ones(shape, np.float32) for shape in ((m, k), (k, n), (m, n))] for m, k, n in sizes]
    batches = len(archs) // size
    return side_by_side(
        f"{name} exported: its dense products, Gflop",
        2e-9 * batches * sum(map(math.prod, sizes)),
        lambda: exported.predict_all(archs[: batches * size]),
        "numpy's fp32 products of the same sizes",
        lambda: [[np.matmul(a, b, out=c) for a, b, c in operands] for _ in range(batches)],
        rounds=3,
    )


def _predicting(name: str, predictor: Regressor, archs: Architectures, rounds: int = 3) -> list[dict]:
    """Architectures a second: from texts, from integer decisions, and of the network alone; and its dense products."""
    space, texts, size = archs.space, archs.keys, predictor.chunk
    with tempfile.TemporaryDirectory() as folder:
        export(predictor, path := Path(folder) / "predictor.onnx")
        exported = OnnxPredictor.load(path)
        products = [_against_gemm(name, path, exported, archs, size)] if isinstance(predictor, NeuralPredictor) else []
    batches = [predictor.encode(archs[i : i + size]) for i in range(0, len(archs), size)]

    def row(what: str, ours: Work, alternative: Work) -> dict:
        name_of_other = "the same predictor, not exported"
        return side_by_side(f"{name} exported, {what}", len(archs), ours, name_of_other, alternative, rounds)

    return [
        row(
            "from texts",
            lambda: exported.predict_all(space.parse(texts)),
            lambda: predictor.predict_all(space.parse(texts)),
        ),
        row("from decisions", lambda: exported.predict_all(archs), lambda: predictor.predict_all(archs)),
        row(
            "network alone",
            lambda: [exported.run(batch) for batch in batches],
            lambda: [predictor.forward(batch) for batch in batches],
        ),
        *products,
    ]


def _loading() -> list[dict]:
    """Reading all of HELP's tables, where they are here, against torch.load of the same files."""
    import torch

    files = sorted(path for path in (data_folder() / "help").glob("data/*/latency/*.pt"))
    if not files:
        print("no row on loading: HELP's tables are not here (python -m datasets fetch help)")
        return []
    tables = (HelpNasBench201(), HelpFBNet(), HelpOFA())
    return [
        side_by_side(
            "load all tables of HELP",
            len(files),
            lambda: [table.measurements() for table in tables],
            "torch.load of the same files",
            lambda: [torch.load(file, weights_only=False) for file in files],
            rounds=3,
        )
    ]


def _whole_space() -> list[dict]:
    """All 423,624 cells of NAS-Bench-101 by an exported GCN for three devices, also by the command that writes them."""
    m = Measured(Path("datasets/bundled/nasbench101_small.parquet")).measurements()
    predictor, archs = GCN(epochs=1).fit(m), m.architectures.space.all()
    rows = _predicting("GCN on all of NAS-Bench-101", predictor, archs, rounds=1)
    with tempfile.TemporaryDirectory() as folder:
        export(predictor, path := Path(folder) / "predictor.onnx")
        command = f"-m predictors score {path} {folder}/scores.parquet"
        scoring = side_by_side(
            f"command: score all {len(archs)} cells of NAS-Bench-101, texts written",
            len(archs),
            process(*command.split()),
            "the command for 10,000 of them",
            process(*command.split(), "--limit", 10_000),
            rounds=1,
        )
    return [*rows, scoring]


def _pricing() -> dict:
    """A network of 200 layers as a whole, from its shapes to its price, by a predictor of 1,000 layers of each kind."""
    tables = read_tables(Path("datasets/bundled"), LAYERS)
    few = {kind: m.where(archs=np.arange(1000)) for kind, m in zip(LAYERS, tables, strict=True)}
    layers, network = Learnt().fit(few), layers_200()
    predictor = LayerSum.summing(layers)
    found = pieces(network)
    return side_by_side(
        f"price a network of {len(found)} layers on one of three devices, networks",
        1,
        lambda: price(predictor, network, predictor.devices_[0]),
        "its layers one by one",
        lambda: [layers.piece_terms([piece]) for piece in found],
    )


def _new_device() -> list[dict]:
    """Learning a new device from 20 cells, eight bundled devices as sources, and answering for all cells."""
    m, rng = Measured().measurements(), np.random.default_rng(0)
    names = [device.name for device in m.devices]
    sources, new = m.where(devices=names[1:]), m.where(devices=names[:1])
    predictor = Conditioned().fit(sources)
    few = new.where(archs=rng.permutation(len(new.architectures))[:20])
    adapted, archs = predictor.adapt(few), m.architectures.space.all()
    with tempfile.TemporaryDirectory() as folder:
        export(adapted, path := Path(folder) / "predictor.onnx")
        exported = OnnxPredictor.load(path)
    return [
        side_by_side(
            "Conditioned, 20 samples of a new device learnt",
            20,
            lambda: predictor.adapt(few),
            f"fitting its {len(names) - 1} source devices, {len(m.architectures)} cells each",
            lambda: Conditioned().fit(sources),
        ),
        side_by_side(
            "Conditioned adapted, all cells of NAS-Bench-201, from decisions",
            len(archs),
            lambda: adapted.predict_all(archs, 4096),
            "the same, exported",
            lambda: exported.predict_all(archs),
        ),
    ]


def _narrowing() -> dict:
    """All proposals of NetAdapt without training, AlexNet, delta 0.05, by our search for widths and by the sequential
    one, both from one table."""
    model = PricedNetwork(groups := groups_of("zoo", "alexnet"), fitted(groups, "zoo"))
    proposals = len(walk(Exact(model), 0.05).queries)
    return side_by_side("AlexNet's proposals, exact search", proposals, lambda: walk(Exact(model), 0.05),
                        "sequential search, same table", lambda: walk(Sequential(model), 0.05))  # fmt: skip


def process(*words: object) -> Work:
    """Python with these arguments, as work."""
    return lambda: subprocess.run([sys.executable, *map(str, words)], capture_output=True)


SESSION = """
import sys, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
"""


def startup() -> list[dict]:
    """Whole commands, beside a process that imports onnxruntime and creates the session of the same file."""
    network = read_model("zoo:squeezenet", weights=False).network
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        path.write_bytes(build_onnx(network, make_weights(network)).SerializeToString())
        device, absent = load().devices_[0].name, Path(folder) / "absent.onnx"
        layers = len(pieces(network))
        commands = {
            f"command: price a file of {layers} layers": f"predictors predict --network {path} --device {device}",
            "command: price a file that is missing": f"predictors predict --network {absent} --device {device}",
            "command: measure run with an unknown flag": "measure run --nosuch 1",
            "command: measure doctor": "measure doctor",
        }

        session, name = process("-c", SESSION, path), "import onnxruntime, create the session of that file"
        return [side_by_side(what, 1, process("-m", *line.split()), name, session) for what, line in commands.items()]


def harness(timing: Timing, run: Callable[[], None]) -> dict:
    """Runs that the timing protocol makes, of every kind (some share a reading of the clock, rounds are repeated),
    against as many in a bare loop: in each round of the bench as many as the protocol has just made."""
    count = 0

    def counted() -> None:
        nonlocal count
        count += 1
        run()

    def timed() -> None:
        nonlocal count
        count = 0
        timing(counted, counted)

    def bare() -> None:
        for _ in range(count):
            run()

    row = side_by_side("timed runs of the reference network", 1, timed, "bare loop", bare)
    return {**row, "per_s": count / row["cpu_s"], "alternative_per_s": count * row["alternative_per_s"]}


def record(rows: list[dict]) -> None:
    """Add the ratios of a run to the history of the bench, with the date and the processor."""
    history = json.loads(HISTORY.read_text())
    ratios = {row["what"]: float(f"{row['ratio']:.2g}") for row in rows}
    history.append({"date": time.strftime("%Y-%m-%d"), "processor": cpu_model(), "ratios": ratios})
    write_text(HISTORY, json.dumps(history, indent=1) + "\n")
    write()


def main() -> None:
    space = NasBench201()
    archs = space.all()
    n = len(archs)
    m = Measured().measurements()
    predictors = {
        "GCN on NAS-Bench-201": GCN(epochs=1).fit(m),
        "BrpGCN 3 x 128": BrpGCN(epochs=1, layers=3, hidden=128).fit(m),
        "BrpGCN 4 x 600": BrpGCN(epochs=1).fit(m),
        "XGBoost": XGBoost().fit(m),
    }
    rows = startup()
    for encoder in (CellGraph(), CellGraph(pruned=True), CellOneHot(), FlatVector()):
        few = archs[::50]
        one_by_one = side_by_side(
            f"encode, {encoder}",
            len(few),
            lambda encoder=encoder, few=few: encoder(few),
            "the same encoder, cell by cell",
            lambda encoder=encoder, few=few: [encoder(few[i : i + 1]) for i in range(len(few))],
        )
        rows.append(one_by_one)
        rows.append(
            side_by_side(
                f"encode all {n} cells at once, {encoder}",
                n,
                lambda encoder=encoder: encoder(archs),
                "in chunks of 256",
                lambda encoder=encoder: [encoder(archs[i : i + 256]) for i in range(0, n, 256)],
            )
        )
    for name, predictor in predictors.items():
        rows += _predicting(name, predictor, archs[:: 8 if name == "BrpGCN 4 x 600" else 1])
    rows.append(
        side_by_side("parse arch strings", n, lambda k=archs.keys: space.parse(k), "format them", lambda: archs.keys)
    )
    rows += [*_whole_space(), *_new_device(), *_loading(), _pricing(), _narrowing()]
    rows.append(harness(OnnxRuntime().timing, OnnxRuntime().session(reference_network()).run))
    table = pd.DataFrame(rows)
    print(table.to_string(index=False, float_format="%.4g", na_rep=""))
    out = Path("runs/bench")
    out.mkdir(parents=True, exist_ok=True)
    (out / "summary.json").write_text(json.dumps(rows, indent=1))
    print(f"\nratio: how many times faster than the alternative. Rows: {out / 'summary.json'}")
    record(rows)


if __name__ == "__main__":
    main()
