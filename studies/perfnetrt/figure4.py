"""PerfNetRT's Figure 4: LeNet-5, AlexNet and VGG16 over batches, predicted and measured."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np

from datasets.measured import Measured
from datasets.records import InputError
from datasets.spaces.zoo import Zoo
from predictors.networks.price import price
from studies.perfnetrt.figures import draw_figure4
from studies.perfnetrt.inputs import Inputs
from studies.study import ROOT

BATCHES = (1, 2, 4, 8, 16, 32, 64)
FIGURE4 = {"lenet5": 64, "alexnet": 64, "vgg16": 8}
"""Largest batch of each network; VGG16 takes longer than a minute per run with more."""
RUNTIMES = ("ort", "litert", "openvino", "eager")
"""The last runtime does not optimise the network."""


def figure4_measure(inputs: Inputs, core: int | None, host: str) -> list[dict]:
    """LeNet-5, AlexNet and VGG16 over batches, three phases each, optimised (three runtimes) and not (eager)."""
    journal, failed = inputs.out / "figure4.jsonl", 0
    for name, most in FIGURE4.items():
        listed = inputs.out / f"{name}.txt"
        listed.write_text(name)
        backends = ",".join(f"{runtime}:fp32:{b}" for b in BATCHES if b <= most for runtime in RUNTIMES)
        command = [sys.executable, "-m", "measure", "run", "--space", "zoo", "--archs", listed, "--backend", backends]
        command += ["--phases", "true", "--protocol", "layer", "--journal", journal, "--host", host]
        command += [] if core is None else ["--core", core]
        failed += subprocess.run(list(map(str, command)), cwd=ROOT).returncode != 0
    table = [sys.executable, "-m", "measure", "table", "--journal", journal, "--out", inputs.out / "figure4.parquet"]
    subprocess.run(list(map(str, table)), cwd=ROOT, check=True)
    return [{"failed": failed, "rows": sum(1 for _ in journal.open())}]


def figure4(inputs: Inputs) -> list[dict]:
    """Predicted, measured optimised and measured unoptimised times of three networks that the predictor never saw."""
    path = inputs.out / "figure4.parquet"
    if not path.is_file():
        raise InputError(f"There is no {path}; run the part figure4_measure first, on an idle machine.")
    m, rows = Measured(path).measurements(), []
    parts = {phase: m.matrix(f"{phase}_ms") for phase in ("pre", "exe", "post")}
    for device in inputs.fp32():
        corrected = inputs.predictor.calibrated(inputs.divided(device.name)[0])
        for a, arch in enumerate(m.architectures):
            network = Zoo().expand(arch)
            for d, measured in enumerate(m.devices):
                same_runtime = measured.name.rpartition("_")[0] == device.name.rpartition("_")[0]
                if not same_runtime or np.isnan(parts["exe"][a, d]):
                    continue
                priced = price(corrected, replace(network, batch=measured.batch), device)
                total = float(sum(part[a, d] for part in parts.values()))
                row = {"device": device.name, "network": arch.key, "batch": measured.batch, "measured_ms": total}
                row |= {"predicted_ms": priced.total_ms, "error": abs(priced.total_ms / total - 1)}
                eager = [e for e in m.devices if "_eager_" in e.name and e.batch == measured.batch]
                if eager:
                    e = m.devices.index(eager[0])
                    row["unoptimised_ms"] = float(sum(part[a, e] for part in parts.values()))
                rows.append(row)
    draw_figure4(rows, inputs.out / "figure4.png")
    return rows
