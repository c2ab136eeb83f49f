"""The table of docs/decide.md on choices on our hosts, made of rows of the part `hosts`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from studies.markdown import table

Rows = Sequence[Mapping[str, Any]]
SUMMARY = Path("runs/decide/summary.json")
RUNTIMES = {"ort": "onnxruntime", "openvino": "OpenVINO", "eager": "eager PyTorch"}


def kept(rows: Rows) -> list[dict[str, Any]]:
    """Rows of the part `hosts`."""
    return [dict(row) for row in rows if row["part"] == "hosts"]


def choices_on_hosts(rows: Rows) -> str:
    """Regret of the best fixed rule, and of predictions before and after measurements, by host."""
    lines = []
    for host in dict.fromkeys(row["source"] for row in rows):
        own = [row for row in rows if row["source"] == host]
        best = next(row for row in own if row["rule"] == "best fixed")
        always = [row for row in own if row["rule"].startswith("always ") and row["regret"] == best["regret"]]
        rule = f" (always {_setting(always[0]['rule'])})" if always else ""
        predicted = {row["measured"]: row for row in own if row["rule"] == "predicted"}
        after = ", ".join(f"{100 * row['regret']:.1f}" for n, row in predicted.items()
                          if n and row["choices"] == best["choices"]) + " %"  # fmt: skip
        name = "both" if host == "all" else f"`{host}`"
        lines.append((name, best["choices"], _percent(best["regret"]) + rule, _percent(predicted[0]["regret"]), after,
                      f"{100 * predicted[0]['within_2']:.0f} %"))  # fmt: skip
    most = max(row["measured"] for row in rows)
    numbers = ", ".join(str(n) for n in range(1, most + 1))
    header = ("host", "networks", "best fixed rule", "predicted", f"after {numbers} measurements",
              "within 2 %, predicted")  # fmt: skip
    return table(header, lines)


def _setting(rule: str) -> str:
    """Runtime and precision of a rule `always HOST_RUNTIME_PRECISION_BATCH`."""
    _, runtime, precision, *_ = rule.split("_")
    return RUNTIMES[runtime] + (f" in {precision}" if precision != "fp32" else "")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
