"""PerfNetRT's study, the layers: `python -m studies.perfnetrt.layers` writes rows of runs/perfnetrt/summary.json.

Each fit is kept in a folder that bears the table's fingerprint, so what is stopped goes on, and a table that was
measured anew is learnt anew. Validation chooses (least MAPE, mean over devices); the test set is scored once for each
fit.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from datasets.cli import main
from datasets.files.writing import write_bytes, write_text
from datasets.measured import Measured
from datasets.public.justus import Justus
from datasets.public.neusight import NeuSight
from datasets.records import Device, Measurements
from datasets.splits import HeldOutArchitectures, Parts, Random
from encoders.layer import LayerFeatures, LayerPhysics, LayerWork
from predictors.base import Predictor
from predictors.blend import Blend
from predictors.gp import GaussianProcess
from predictors.layers.perfnetrt import PerfNetRT
from predictors.layers.roofline_trees import NEEDED, RooflineTrees
from predictors.metrics import report
from predictors.mlp import MLP
from predictors.polynomial import Polynomial
from predictors.roofline import Roofline
from predictors.scaling import Scale
from predictors.trees import XGBoost
from studies.parts import run_parts
from studies.perfnetrt.report import write_report
from studies.study import ROOT

LAYERS = ("convolution", "pooling", "dense")
PHASES = ("exe_ms", "pre_ms", "post_ms")
SIZES = (200, 400, 800, 1600)
"""Layers to learn from and to choose by, for the learning curves."""
PER_GPU = 1500
"""Layers a GPU that a predictor of all GPUs learns from, and is tested on."""
Make = Callable[[], Predictor]

PAPER = {
    ("convolution", "pre_ms"): (0.962, 0.0741, 1.682, 0.99),
    ("convolution", "exe_ms"): (0.327, 0.1753, 0.785, 0.96),
    ("convolution", "post_ms"): (0.152, 0.070, 0.452, 0.99),
    ("pooling", "pre_ms"): (1.133, 0.0864, 2.072, 0.99),
    ("pooling", "exe_ms"): (0.206, 0.1968, 0.513, 0.95),
    ("pooling", "post_ms"): (0.142, 0.0727, 0.331, 0.99),
    ("dense", "pre_ms"): (0.035, 0.0562, 0.055, 0.95),
    ("dense", "exe_ms"): (0.048, 0.3688, 0.103, 0.95),
    ("dense", "post_ms"): (0.013, 0.1929, 0.017, 0.57),
}
"""Table IV: MAE (ms), MAPE, RMSE (ms), R2 of PerfNetRT on a GTX 1080 Ti with TensorRT."""
PAPER_POLYNOMIAL = {
    ("convolution", "pre_ms"): (0.595, 0.1599, 1.412, 0.99),
    ("convolution", "exe_ms"): (0.993, 3.1654, 1.758, 0.84),
    ("convolution", "post_ms"): (1.743, 3.1873, 2.739, 0.91),
    ("pooling", "pre_ms"): (0.546, 0.1023, 0.828, 0.99),
    ("pooling", "exe_ms"): (0.629, 3.1278, 1.213, 0.76),
    ("pooling", "post_ms"): (1.600, 2.9119, 2.324, 0.90),
    ("dense", "pre_ms"): (0.037, 0.0630, 0.057, 0.95),
    ("dense", "exe_ms"): (0.090, 5.9468, 0.146, 0.91),
    ("dense", "post_ms"): (0.014, 0.1974, 0.017, 0.56),
}
"""Table V: the same of its polynomial regression."""


def trees(metric: str, **changes: object) -> XGBoost:
    settings = {"columns": 0.5, "depth": 5, "min_child_weight": 2.0, "encoder": LayerPhysics(tiles=False)} | changes
    return XGBoost(metric=metric, **settings)  # type: ignore[arg-type]


def process(metric: str) -> GaussianProcess:
    return GaussianProcess(metric=metric, encoder=LayerPhysics(tiles=False))


def net(metric: str) -> MLP:
    return MLP(metric=metric, encoder=LayerPhysics(), scale=Scale("log"), loss="l1", epochs=200, hidden=512)


def on_logarithms(metric: str) -> PerfNetRT:
    """PerfNetRT's network on logarithms of its features and labels, taught as slowly as that takes."""
    return PerfNetRT(metric=metric, learning_rate=1e-3, encoder=LayerFeatures(log=True), scale=Scale("log"), loss="l1")


def blend(metric: str) -> Blend:
    return Blend(metric=metric, relative=True, members=[make(metric) for make in (trees, process, net, on_logarithms)])


def kinds(metric: str) -> dict[str, Make]:
    """Every predictor of the tables, the paper's first."""
    return {
        "perfnetrt": lambda: PerfNetRT(metric=metric),
        "polynomial": lambda: Polynomial(metric=metric),
        "polynomial_log": lambda: Polynomial(metric=metric, encoder=LayerFeatures(log=True), scale=Scale("log")),
        "roofline": lambda: Roofline(metric=metric, encoder=LayerWork()),
        "xgboost_raw": lambda: XGBoost(metric=metric, encoder=LayerFeatures(), scale=Scale("linear")),
        "xgboost_log": lambda: XGBoost(metric=metric, encoder=LayerFeatures()),
        "trees": lambda: trees(metric),
        "gp": lambda: process(metric),
        "net": lambda: net(metric),
        "perfnetrt_log": lambda: on_logarithms(metric),
        "blend": lambda: blend(metric),
    }


def variants(metric: str) -> dict[str, Make]:
    """PerfNetRT's model with one thing changed at a time, then with all."""
    return {
        "as published": lambda: PerfNetRT(metric=metric),
        "learning rate 0.001": lambda: PerfNetRT(metric=metric, learning_rate=1e-3),
        "0.001, 400 epochs": lambda: PerfNetRT(metric=metric, learning_rate=1e-3, epochs=400, halving=100),
        "0.001, logarithms of features": lambda: PerfNetRT(
            metric=metric, learning_rate=1e-3, encoder=LayerFeatures(log=True)
        ),
        "0.001, logarithms of features and labels, L1": lambda: on_logarithms(metric),
    }


def fitted(folder: Path, name: str, make: Make, parts: Parts, keep: bool = True) -> list[dict]:
    """Rows of one fit, a device and set (val, test) each; what the folder has already is read."""
    file = folder / f"{name.replace(' ', '_')}.json"
    if file.is_file():
        return json.loads(file.read_text())
    start, predictor = time.process_time(), make()
    predictor.fit(parts.train, parts.val)
    about = {"predictor": name, "fit_cpu_s": time.process_time() - start}
    about["labels"] = len(parts.train.architectures) + len(parts.val.architectures)
    rows = []
    for which in ("val", "test"):
        part: Measurements = getattr(parts, which)
        measured, predicted = part.matrix(predictor.metric), predictor.predict_all(part.architectures)
        for j, device in enumerate(part.devices):
            rows.append({**about, "set": which, "device": device.name} | report(measured[:, j], predicted[:, j]))
    folder.mkdir(parents=True, exist_ok=True)
    if keep:
        predictor.save(file.with_suffix(".pt"))
    write_text(file, json.dumps(rows))
    return rows


def compared(folder: Path, makes: dict[str, Make], parts: Parts, keep: bool = True) -> Iterable[dict]:
    """Rows of all fits, each saying whether validation chooses its predictor."""
    runs = {}
    for name, make in makes.items():
        runs[name] = fitted(folder, name, make, parts, keep)
        val = np.mean([row["mape"] for row in runs[name] if row["set"] == "val"])
        print(f"  {folder.name} {name}: validation MAPE {100 * val:.1f} %", flush=True)
    scores = {name: np.mean([row["mape"] for row in rows if row["set"] == "val"]) for name, rows in runs.items()}
    best = min(scores, key=scores.__getitem__)
    if keep:
        write_bytes(folder / "best.pt", (folder / f"{best.replace(' ', '_')}.pt").read_bytes())
    for name, rows in runs.items():
        yield from ({**row, "chosen": float(name == best)} for row in rows)


class Study:
    """The parts, and where their fits are kept."""

    def __init__(self, tables: Path, out: Path, layers: Sequence[str], phases: Sequence[str]) -> None:
        self.tables, self.out, self.layers, self.phases = tables, out, layers, phases

    def bundled(self, layer: str, size: int = 0) -> tuple[Path, Parts]:
        """A folder for fits on a layer's table, and its parts; `size`: so many layers to learn from and choose by."""
        m = Measured(self.tables / f"{layer}.parquet").measurements()
        train = HeldOutArchitectures(0.875 * size, 0.125 * size, 0.2) if size else HeldOutArchitectures(0.7, 0.1)
        return self.out / "layers" / f"{layer}-{m.fingerprint()[:8]}", train(m, np.random.default_rng(0))

    def layer_tables(self) -> Iterable[dict]:
        """Tables IV and V on the bundled layers, beside the paper's rows."""
        for layer in self.layers:
            folder, parts = self.bundled(layer)
            for phase in self.phases:
                about = {"layer": layer, "phase": phase}
                for row in compared(folder / phase, kinds(phase), parts):
                    yield about | row
                published = {"paper: PerfNetRT": PAPER, "paper: polynomial": PAPER_POLYNOMIAL}
                for name, table in published.items():
                    told = dict(zip(("mae", "mape", "rmse", "r2"), table[layer, phase], strict=True))
                    yield about | {"predictor": name, "set": "test", "device": "1080ti_tensorrt", "chosen": 0.0} | told

    def trained(self) -> Iterable[dict]:
        """What of PerfNetRT's training is in its way, on execution times."""
        for layer in self.layers:
            folder, parts = self.bundled(layer)
            for row in compared(folder / "variants", variants("exe_ms"), parts, keep=False):
                yield {"layer": layer, "phase": "exe_ms"} | row

    def curves(self) -> Iterable[dict]:
        """Test MAPE over the number of layers learnt from, on one test set."""
        chosen = ("perfnetrt", "polynomial_log", "roofline", "xgboost_log", "trees")
        for layer in self.layers:
            most = len(Measured(self.tables / f"{layer}.parquet").measurements().architectures)
            for size in (n for n in SIZES if n <= 0.8 * most):
                folder, parts = self.bundled(layer, size)
                makes = {name: make for name, make in kinds("exe_ms").items() if name in chosen}
                for row in compared(folder / f"exe_ms_{size}", makes, parts, keep=False):
                    yield {"layer": layer, "phase": "exe_ms"} | row

    def public(self) -> Iterable[dict]:
        """Forward passes of convolutions on the paper's own GPU, 80/20 (a tenth of all chooses)."""
        m = Justus(devices=("1080ti",)).measurements()
        parts = Random(0.7, 0.1)(m, np.random.default_rng(0))
        metric = "latency_ms"
        slow = ("polynomial", "gp", "net", "blend")  # of ten thousand layers
        makes = {name: make for name, make in kinds(metric).items() if name not in slow}
        makes["trees"] = lambda: trees(metric, encoder=LayerPhysics(), depth=6, min_child_weight=3.0)
        return compared(self.out / "layers" / f"justus-{m.fingerprint()[:8]}", makes, parts)

    def gpus(self) -> Iterable[dict]:
        """Every GPU left out once: the predictor conditioned on descriptors, the roofline that is fitted to the other
        GPUs' share of their published one, and the nearest GPU's own trees scaled by both rooflines."""
        tables = (Justus("convolution"), Justus("dense"), NeuSight())
        for m in (table.measurements() for table in tables):
            few = thinned(m, PER_GPU)
            folder = self.out / "layers" / f"{m.name}-{m.fingerprint()[:8]}"
            for device in m.devices:
                file = folder / f"without_{device.name}.json"
                if not file.is_file():
                    rows = left_out(few, device)
                    folder.mkdir(parents=True, exist_ok=True)
                    write_text(file, json.dumps(rows))
                ours, *others = json.loads(file.read_text())
                ours["share_of_better"] = ours["mape"] / min(other["mape"] for other in others)
                for row in (ours, *others):
                    yield {"table": m.name, "gpu": device.name} | row


def thinned(m: Measurements, most: int) -> Measurements:
    """At most so many layers of each device, drawn at random."""
    table = m.table.sample(frac=1, random_state=0).groupby("device").head(most)
    kept = np.unique(table["arch"])
    return Measurements(m.architectures, m.devices, table, m.name).where(archs=kept)


def share(m: Measurements, device: Device) -> tuple[np.ndarray, np.ndarray]:
    """Milliseconds measured and those of the published roofline [n], of a device's layers."""
    y = m.matrix("latency_ms")[:, [d.name for d in m.devices].index(device.name)]
    rows = np.flatnonzero(~np.isnan(y))
    return y[rows], roof(m, rows, device)


def roof(m: Measurements, rows: np.ndarray, device: Device) -> np.ndarray:
    rate, bandwidth = (device.features[name] for name in NEEDED)
    work = LayerWork()(m.architectures[rows]).astype(float)
    return np.maximum(2 * work[:, 0] / rate, work[:, 1] / bandwidth)


def nearest(device: Device, others: Sequence[Device]) -> Device:
    """The GPU whose published numbers differ least in their logarithms."""
    names = [name for name in device.features if all(name in other.features for other in others)]
    far = [sum(np.log(device.features[n] / other.features[n]) ** 2 for n in names) for other in others]
    return others[int(np.argmin(far))]


def left_out(m: Measurements, device: Device) -> list[dict]:
    """Rows of three predictors on a GPU that none of them saw."""
    others = [other for other in m.devices if other.name != device.name]
    known = m.where(devices=[other.name for other in others])
    measured, published = share(m, device)
    y = m.matrix("latency_ms")[:, [d.name for d in m.devices].index(device.name)]
    rows = np.flatnonzero(~np.isnan(y))
    archs = m.architectures[rows]
    slower = np.exp(np.mean([np.median(np.log(np.divide(*share(m, other)))) for other in others]))
    near = nearest(device, others)
    settings = {"trees": 300, "learning_rate": 0.1, "depth": 6, "columns": 0.5, "min_child_weight": 3.0}
    own = trees("latency_ms", encoder=LayerPhysics(), **settings).fit(m.where(devices=[near.name]))
    conditioned = RooflineTrees(**settings).fit(known)  # type: ignore[arg-type]
    predicted = {
        "conditioned": conditioned.predict(archs, device),
        "roofline": slower * published,
        "nearest scaled": own.predict(archs, near) * published / roof(m, rows, near),
    }
    return [{"predictor": name, "nearest": near.name} | report(measured, p) for name, p in predicted.items()]


def study(
    out: Path = Path("runs/perfnetrt"),
    part: str = "public,layers,training,curves,gpus,report",
    tables: Path = ROOT / "datasets" / "bundled",
    layers: tuple[str, ...] = LAYERS,
    phases: tuple[str, ...] = PHASES,
) -> None:
    """Run the parts and write what they find.

    Args:
        out: folder of fits and of summary.json; rows of parts that are not run stay as they are.
        part: which, separated by commas; public and gpus need justus and neusight (`python -m datasets fetch`).
        tables: folder of convolution.parquet, pooling.parquet and dense.parquet.
        layers: which of these.
        phases: which metrics of theirs.
    """
    parts = Study(tables, out, layers, phases)
    found = {
        "layers": parts.layer_tables,
        "training": parts.trained,
        "curves": parts.curves,
        "public": parts.public,
        "gpus": parts.gpus,
        "report": lambda: write_report(json.loads((out / "summary.json").read_text()), out / "layers.html"),
    }
    run_parts(found, part, out)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(study, prog="python -m studies.perfnetrt.layers")
