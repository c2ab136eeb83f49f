"""Tables of docs/results/files.md, made of rows of `python -m studies.files.study`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from studies.markdown import rounded, table

Rows = Sequence[Mapping[str, Any]]
SUMMARY = Path("runs/files/summary.json")
RUNTIMES = {"ort": "onnxruntime", "litert": "LiteRT", "openvino": "OpenVINO"}
METHODS = ("predicted", "weights", "weights and activations", "twice the weights, and activations")


def kept(rows: Rows) -> list[dict[str, Any]]:
    """Errors of peak memory and of the creation of sessions, over all sets of networks."""
    return [rounded(row, row) for row in rows if row["part"] == "memory" and row.get("set") == "all"]


def memory(rows: Rows) -> str:
    """Median errors of peak memory by our rule and by simple ones, and of the time of creating a session."""
    lines = []
    for runtime, name in RUNTIMES.items():
        peak = {row["method"]: row for row in rows if (row["what"], row["runtime"]) == ("peak", runtime)}
        (creation,) = (row for row in rows if (row["what"], row["runtime"]) == ("creation", runtime))
        shares = (peak["predicted"]["median"], peak["predicted"]["p90"],
                  *(peak[method]["median"] for method in METHODS[1:]), creation["median"])  # fmt: skip
        lines.append((name, peak["predicted"]["networks"], *(f"{100 * share:.1f} %" for share in shares)))
    header = ("peak memory, median error", "networks", METHODS[0], "a tenth is off by more than", *METHODS[1:],
              "creation of a session, predicted")  # fmt: skip
    return table(header, lines)
