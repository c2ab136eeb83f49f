"""Coefficients of the prediction of peak memory and of the creation of sessions, and its errors.

    python -m studies.files.coefficients --fit true    # writes predictors/networks/session.json

Both use what `studies.files.memory` measured: the half that chooses, and the half that is scored.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datasets.cli import main
from datasets.files.writing import write_text
from datasets.networks.memory import memory
from datasets.networks.network import Network
from measure.backends import parse_backend
from measure.host import machine_name
from predictors.networks.session import (
    COEFFICIENTS,
    CREATION,
    LOADING,
    MB,
    RUNNING,
    coefficients,
    features,
    init_ms,
    peak_mb,
)
from studies.files.memory import RUNTIMES, measured

LEAST = 2.0
"""MB that errors are a share of where a network takes less: a fresh process is repeatable to some 0.3 MB at best."""
COPIES = 4.0
"""Largest coefficient of memory: no runtime holds more copies of a weight at once, and rare kinds of ops may not stand
for something else."""


def quantities(row: dict[str, Any]) -> dict[str, float]:
    """The features of a row's network."""
    return features(Network.from_json(row["network"]), row["runtime"], row["file"])


def fitted(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Coefficients of one runtime: every stage by least absolute relative errors, none below 0."""
    known = [quantities(row) for row in rows]
    values = {name: np.array([row[name] for row in rows]) for name in ("loading", "loaded", "peak", "init_ms")}
    found: dict[str, Any] = {
        stage: _regressed(_columns(known, LOADING), values[stage], LOADING, LEAST, COPIES)
        for stage in ("loading", "loaded")
    }
    found["creation"] = _regressed(_columns(known, CREATION), values["init_ms"], CREATION, 1.0, np.inf)

    def loss(running: Sequence[float]) -> float:
        trial = found | {"running": dict(zip(RUNNING, running, strict=True))}
        return float(np.mean(relative_errors([peak_mb(one, trial) for one in known], values["peak"].tolist())))

    found["running"] = dict(zip(RUNNING, _descended(loss), strict=True))
    return found


def _columns(known: Sequence[dict[str, float]], names: Sequence[str]) -> np.ndarray:
    return np.array([[one[name] for name in names] for one in known])


def _regressed(x: np.ndarray, y: np.ndarray, names: Sequence[str], least: float, most: float) -> dict[str, float]:
    """Coefficients from 0 to `most` with the least mean of absolute errors, relative to the value or `least`."""
    from scipy.optimize import lsq_linear

    scale = np.maximum(y, least)
    weights = 1 / scale
    for _ in range(50):
        found = lsq_linear(x * weights[:, None], y * weights, (0, most)).x
        weights = 1 / scale / np.sqrt(np.maximum(np.abs(x @ found - y) / scale, 0.05))
    return dict(zip(names, np.round(found, 4).tolist(), strict=True))


def _descended(loss: Callable[[Sequence[float]], float]) -> list[float]:
    """Three coefficients of 0 or more with the least loss, from several starts."""
    from scipy.optimize import minimize

    starts = ([1.0, 0.5, 0.05], [1.0, 0.1, 0.02], [0.8, 1.0, 0.1], [2.0, 0.0, 0.05])
    results = [minimize(lambda p: loss(np.abs(p)), start, method="Nelder-Mead") for start in starts]
    return np.round(np.abs(min(results, key=lambda result: result.fun).x), 4).tolist()


# Scores


def relative_errors(predicted: Sequence[float], true: Sequence[float], least: float = LEAST) -> np.ndarray:
    """Absolute errors as shares of the true values, or of `least` where these are smaller."""
    y = np.asarray(true)
    return np.abs(np.asarray(predicted) - y) / np.maximum(y, least)


def alternatives(row: dict[str, Any]) -> dict[str, float]:
    """Peaks in MB by rules without coefficients."""
    network = Network.from_json(row["network"])
    needs = memory(network)
    return {
        "weights": needs.weights / MB,
        "weights and activations": (needs.weights + needs.activations) / MB,
        "twice the weights, and activations": (2 * needs.weights + needs.activations) / MB,
    }


def scores(out: Path) -> list[dict[str, Any]]:
    """Errors of the half that is scored, by runtime and set, beside those of rules without coefficients."""
    rows = [row for row in measured(out) if "error" not in row and row["half"] == "score"]
    found = []
    for runtime in RUNTIMES:
        fit = coefficients()[runtime]
        here = [row for row in rows if row["runtime"] == runtime]
        for group in ("all", *dict.fromkeys(row["set"] for row in here)):
            part = [row for row in here if group in ("all", row["set"])]
            known, peaks = [quantities(row) for row in part], [row["peak"] for row in part]
            methods = {"predicted": [peak_mb(one, fit) for one in known]}
            others = [alternatives(row) for row in part]
            methods |= {name: [other[name] for other in others] for name in others[0]}
            for method, values in methods.items():
                errors = relative_errors(values, peaks)
                row = {"what": "peak", "runtime": runtime, "set": group, "method": method, "networks": len(part)}
                found.append(row | {"median": float(np.median(errors)), "p90": float(np.quantile(errors, 0.9))})
            errors = relative_errors([init_ms(one, fit) for one in known], [row["init_ms"] for row in part], 1.0)
            row = {"what": "creation", "runtime": runtime, "set": group, "networks": len(part)}
            found.append(row | {"median": float(np.median(errors)), "p90": float(np.quantile(errors, 0.9))})
    return found


def fit(fit: bool = False, out: Path = Path("runs/files")) -> None:
    """Measure all networks, and choose the coefficients or print the errors of both halves.

    Args:
        fit: write the coefficients of predictors/networks/session.json anew.
        out: folder of the networks and of memory.jsonl.
    """
    rows = [row for row in measured(out) if "error" not in row and row["half"] == "choose"]
    found = dict(coefficients()) if COEFFICIENTS.is_file() else {}
    for runtime in RUNTIMES:
        part = [row for row in rows if row["runtime"] == runtime]
        if fit:
            versions = parse_backend(runtime).versions()
            found[runtime] = {"host": machine_name(), "versions": versions, "networks": len(part), **fitted(part)}
        errors = relative_errors([peak_mb(quantities(row), found[runtime]) for row in part], [r["peak"] for r in part])
        print(f"{runtime}: {len(part)} networks that choose, median error {100 * np.median(errors):.1f} %")
    if fit:
        write_text(COEFFICIENTS, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(fit, prog="python -m studies.files.coefficients")
