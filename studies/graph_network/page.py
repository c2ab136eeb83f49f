"""Tables of docs/graph_network.md on a machine that was left out and on single layers, made of rows of the study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from studies.graph_network.hosts import DEVICES
from studies.markdown import table

Rows = Sequence[Mapping[str, Any]]
SUMMARY = Path("runs/graph_network/summary.json")
ORDER = ("network_conditioned", "network_gaussian", "layer_sum", "network_nearest", "network_blend")


def kept(rows: Rows) -> list[dict[str, Any]]:
    """Rows of the parts `hosts` and `layers`."""
    return [dict(row) for row in rows if row["part"] in ("hosts", "layers")]


def single_layers(rows: Rows) -> str:
    """Mean and median errors of layers that were held out, per runtime, and CPU-seconds of the fit."""
    lines = []
    for layer in ("convolution", "pooling", "dense"):
        own = {row["device"]: row for row in rows if row.get("layer") == layer}
        each = [own[f"milan_{runtime}_fp32_1"] for runtime in ("ort", "litert", "openvino")]
        cells = [f"{row['mape']:.1f} % ({row['median']:.1f})" for row in each]
        mean = sum(row["mape"] for row in each) / len(each)
        lines.append((layer, *cells, f"{mean:.1f} %", f"{each[0]['fit_cpu_s']:.0f}"))
    return table(("layers", "onnxruntime", "LiteRT", "OpenVINO", "mean", "fit, CPU-s"), lines)


def machine_left_out(rows: Rows) -> str:
    """Mean errors on both runtimes of `milan`, and half widths of intervals; the best of a column is bold."""
    found = {name: {part: _cell(rows, name, part) for part in ("measured", "unseen")} for name in ORDER}
    best = {part: min(found.values(), key=lambda cells: cells[part][0])[part][1] for part in ("measured", "unseen")}
    lines = [
        (f"`{name}`" + ", fitted to the ten alone" * (name == "network_blend"),
         *(text.replace(errors, f"**{errors}**") if errors == best[part] else text
           for part, (_, errors, text) in cells.items()))
        for name, cells in found.items()
    ]  # fmt: skip
    return table(("predictor", "networks that `genoa` measured", "families measured nowhere"), lines)


def _cell(rows: Rows, predictor: str, networks: str) -> tuple[float, str, str]:
    """Sum of the errors, the errors, and both with half widths, where there are any."""
    own = {row["device"]: row for row in rows if (row.get("predictor"), row.get("networks")) == (predictor, networks)}
    each = [own[device] for device in DEVICES]
    errors = ", ".join(f"{row['mape']:.1f}" for row in each) + " %"
    widths = ", ".join(f"±{row['width']:.0f}" for row in each if row["width"] is not None)
    return sum(row["mape"] for row in each), errors, errors + (f" ({widths} %)" if widths else "")
