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

PLAN = ROOT / "configs" / "campaigns" / "figure4.yaml"


def figure4_measure(inputs: Inputs, core: int | None, host: str) -> list[dict]:
    """LeNet-5, AlexNet and VGG16 over batches, three phases each, optimised (three runtimes) and not (eager)."""
    out = inputs.out / "figure4.parquet"
    command = [sys.executable, "-m", "measure", "campaign", "--plan", PLAN, "--out", out, "--host", host]
    command += ["--journal", out.with_suffix(".jsonl"), *([] if core is None else ["--core", core])]
    subprocess.run(list(map(str, command)), cwd=ROOT, check=True)
    return [{"rows": len(Measured(out).measurements().table)}]


def figure4(inputs: Inputs) -> list[dict]:
    """Predicted, measured optimised and measured unoptimised times of three networks that the predictor never saw."""
    path = next((folder / "figure4.parquet" for folder in (inputs.out, inputs.tables)
                 if (folder / "figure4.parquet").is_file()), None)  # fmt: skip
    if path is None:
        raise InputError(
            f"There is no figure4.parquet in {inputs.out} or {inputs.tables}; run the part figure4_measure first, on "
            "an idle machine."
        )
    m, rows = Measured(path).measurements(), []
    parts = {phase: m.matrix(f"{phase}_ms") for phase in ("pre", "exe", "post")}
    names = [device.name for device in m.devices]
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
                row = {"device": device.name, "runtime": device.runtime, "network": arch.key, "batch": measured.batch}
                row |= {"measured_ms": total, "predicted_ms": priced.total_ms}
                row["error"] = abs(priced.total_ms / total - 1)
                eager = f"{measured.name.partition('_')[0]}_eager_fp32_{measured.batch}"
                if eager in names:
                    e = names.index(eager)
                    row["unoptimised_ms"] = float(sum(part[a, e] for part in parts.values()))
                rows.append(row)
    draw_figure4(rows, inputs.out / "figure4.png")
    return rows
