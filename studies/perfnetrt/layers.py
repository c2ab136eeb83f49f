"""PerfNetRT's study, the layers: `python -m studies.perfnetrt.layers` writes rows of runs/perfnetrt/summary.json.

The method is "PerfNetRT: Platform-Aware Performance Modeling for Optimized Deep Neural Networks" (Liao et al., 2020).

Each fit is kept in a folder named after the table's fingerprint, so a stopped study continues, and a table that was
measured anew is fitted anew. The predictor with the least validation MAPE (mean over devices) is chosen; the test set
is scored once per fit.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from datasets.cli import main
from datasets.files.writing import write_bytes, write_text
from datasets.measured import Measured
from datasets.public.justus import Justus
from datasets.public.neusight import NeuSight
from datasets.records import Measurements
from datasets.splits import HeldOutArchitectures, Parts, Random
from encoders.layer import LayerPhysics
from predictors.metrics import report
from studies.parts import run_parts
from studies.perfnetrt.gpus import PER_GPU, generation_rows, held_out_rows, thinned
from studies.perfnetrt.models import PAPER, PAPER_POLYNOMIAL, Make, kinds, trees, variants
from studies.perfnetrt.report import write_report
from studies.study import ROOT

LAYERS = ("convolution", "pooling", "dense")
PHASES = ("exe_ms", "pre_ms", "post_ms")
SIZES = (200, 400, 800, 1600)
"""Training and validation layers together, for the learning curves."""


def fitted(folder: Path, name: str, make: Make, parts: Parts, keep: bool = True) -> list[dict]:
    """Rows of one fit, one per device and set (val, test); read from the folder where it was done already."""
    file = folder / f"{name.replace(' ', '_')}.json"
    if file.is_file():
        return json.loads(file.read_text())
    start, predictor = time.process_time(), make()
    predictor.fit(parts.train, parts.val)
    about = {"predictor": name, "fit_cpu_s": time.process_time() - start}
    about["labels"] = len(parts.train.architectures) + len(parts.val.architectures)
    rows = []
    for set_ in ("val", "test"):
        part: Measurements = getattr(parts, set_)
        measured, predicted = part.matrix(predictor.metric), predictor.predict_all(part.architectures)
        for j, device in enumerate(part.devices):
            rows.append({**about, "set": set_, "device": device.name} | report(measured[:, j], predicted[:, j]))
    folder.mkdir(parents=True, exist_ok=True)
    if keep:
        predictor.save(file.with_suffix(".pt"))
    write_text(file, json.dumps(rows))
    return rows


def compared(folder: Path, makes: dict[str, Make], parts: Parts, keep: bool = True) -> Iterable[dict]:
    """Rows of all fits; `chosen` is 1 for the predictor with the least validation MAPE."""
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


class LayerStudy:
    """The parts of the study, and the folder of their fits."""

    def __init__(self, tables: Path, out: Path, layers: Sequence[str], phases: Sequence[str]) -> None:
        self.tables, self.out, self.layers, self.phases = tables, out, layers, phases

    def bundled(self, layer: str, size: int = 0) -> tuple[Path, Parts]:
        """The folder of the fits on a layer's table, and its split; `size`: training and validation layers together."""
        m = Measured(self.tables / f"{layer}.parquet").measurements()
        split = HeldOutArchitectures(0.875 * size, 0.125 * size, 0.2) if size else HeldOutArchitectures(0.7, 0.1)
        return self.out / "layers" / f"{layer}-{m.fingerprint()[:8]}", split(m, np.random.default_rng(0))

    def layer_tables(self) -> Iterable[dict]:
        """Tables IV and V on the bundled layers, with the paper's own rows."""
        for layer in self.layers:
            folder, parts = self.bundled(layer)
            for phase in self.phases:
                about = {"layer": layer, "phase": phase}
                for row in compared(folder / phase, kinds(phase), parts):
                    yield about | row
                published = {"paper: PerfNetRT": PAPER, "paper: polynomial": PAPER_POLYNOMIAL}
                for name, table in published.items():
                    errors = dict(zip(("mae", "mape", "rmse", "r2"), table[layer, phase], strict=True))
                    yield (
                        about | {"predictor": name, "set": "test", "device": "1080ti_tensorrt", "chosen": 0.0} | errors
                    )

    def trained(self) -> Iterable[dict]:
        """How single settings of PerfNetRT's training change its errors, on execution times."""
        for layer in self.layers:
            folder, parts = self.bundled(layer)
            for row in compared(folder / "variants", variants("exe_ms"), parts, keep=False):
                yield {"layer": layer, "phase": "exe_ms"} | row

    def curves(self) -> Iterable[dict]:
        """Test MAPE over the number of training layers, on one test set."""
        chosen = ("perfnetrt", "polynomial_log", "roofline", "xgboost_log", "trees")
        for layer in self.layers:
            most = len(Measured(self.tables / f"{layer}.parquet").measurements().architectures)
            for size in (n for n in SIZES if n <= 0.8 * most):
                folder, parts = self.bundled(layer, size)
                makes = {name: make for name, make in kinds("exe_ms").items() if name in chosen}
                for row in compared(folder / f"exe_ms_{size}", makes, parts, keep=False):
                    yield {"layer": layer, "phase": "exe_ms"} | row

    def public(self) -> Iterable[dict]:
        """Forward passes of convolutions on the paper's own GPU: 70 % train, 10 % validation, 20 % test."""
        m = Justus(devices=("1080ti",)).measurements()
        parts = Random(0.7, 0.1)(m, np.random.default_rng(0))
        metric = "latency_ms"
        slow = ("polynomial", "gp", "net", "blend")  # of ten thousand layers
        makes = {name: make for name, make in kinds(metric).items() if name not in slow}
        makes["trees"] = lambda: trees(metric, encoder=LayerPhysics(), depth=6, min_child_weight=3.0)
        return compared(self.out / "layers" / f"justus-{m.fingerprint()[:8]}", makes, parts)

    def gpus(self) -> Iterable[dict]:
        """Each GPU held out in turn: the predictor conditioned on device descriptors, the published roofline times the
        other GPUs' median ratio to theirs, and the nearest GPU's trees scaled by both rooflines."""
        tables = (Justus("convolution"), Justus("dense"), NeuSight())
        for m in (table.measurements() for table in tables):
            samples = thinned(m, PER_GPU)
            folder = self.out / "layers" / f"{m.name}-{m.fingerprint()[:8]}"
            for device in m.devices:
                file = folder / f"without_{device.name}.json"
                if not file.is_file():
                    rows = held_out_rows(samples, device)
                    folder.mkdir(parents=True, exist_ok=True)
                    write_text(file, json.dumps(rows))
                ours, *others = json.loads(file.read_text())
                ours["share_of_better"] = ours["mape"] / min(other["mape"] for other in others)
                for row in (ours, *others):
                    yield {"table": m.name, "gpu": device.name} | row

    def generations(self) -> Iterable[dict]:
        """What it costs `RooflineTrees` that no GPU of a generation was measured: each GPU left out alone, and with all
        others of its generation."""
        for m in (table.measurements() for table in (Justus("convolution"), Justus("dense"), NeuSight())):
            samples = thinned(m, PER_GPU)
            for device in m.devices:
                yield from ({"table": m.name, "gpu": device.name} | row for row in generation_rows(samples, device))


def study(
    out: Path = Path("runs/perfnetrt"),
    part: str = "public,layers,training,curves,gpus,generations,report",
    tables: Path = ROOT / "datasets" / "bundled",
    layers: tuple[str, ...] = LAYERS,
    phases: tuple[str, ...] = PHASES,
) -> None:
    """Run the parts and write what they find.

    Args:
        out: folder of fits and of summary.json; rows of parts that are not run stay as they are.
        part: names of parts, separated by commas; public, gpus and generations need justus and neusight (`python -m
            datasets fetch`).
        tables: folder of convolution.parquet, pooling.parquet and dense.parquet.
        layers: names of tables that are used.
        phases: metrics that are predicted.
    """
    parts = LayerStudy(tables, out, layers, phases)
    found = {
        "layers": parts.layer_tables,
        "training": parts.trained,
        "curves": parts.curves,
        "public": parts.public,
        "gpus": parts.gpus,
        "generations": parts.generations,
        "report": lambda: write_report(json.loads((out / "summary.json").read_text()), out / "layers.html"),
    }
    run_parts(found, part, out)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(study, prog="python -m studies.perfnetrt.layers")
