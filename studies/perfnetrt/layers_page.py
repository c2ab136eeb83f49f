"""Tables of docs/results/layers.md, made of rows of `python -m studies.perfnetrt.layers`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import mean
from typing import Any

from studies.markdown import rounded, table

Rows = Sequence[Mapping[str, Any]]
LAYERS = ("convolution", "pooling", "dense")
RUNTIMES = ("ort", "litert", "openvino")
PREDICTORS = {
    "paper: PerfNetRT": "paper, GTX 1080 Ti with TensorRT: PerfNetRT",
    "paper: polynomial": "paper: polynomial",
    "perfnetrt": "PerfNetRT's network as published",
    "polynomial": "polynomial, raw features (theirs)",
    "polynomial_log": "polynomial, logarithms",
    "roofline": "roofline fitted to the device",
    "xgboost_raw": "XGBoost, raw features",
    "xgboost_log": "XGBoost, logarithms of labels",
    "trees": "trees on what a kernel sees",
    "gp": "Gaussian process on these features",
    "net": "net, 3 x 512 wide, on these features",
    "perfnetrt_log": "PerfNetRT's network on logarithms (below)",
    "blend": "blend of these four",
}
GPUS = {"conditioned": "RooflineTrees", "nearest scaled": "nearest, scaled", "roofline": "roofline"}
COLUMNS = ("part", "layer", "phase", "predictor", "device", "labels", "chosen", "table", "gpu", "mape")
"""Columns of the tables; others of the summary are not kept beside the page."""


def kept(rows: Rows) -> list[dict[str, Any]]:
    """Errors on test sets of single layers."""
    return [
        rounded(row, COLUMNS, 5)
        for row in rows
        if row["part"] in ("layers", "training", "curves", "public", "gpus") and row.get("set", "test") == "test"
    ]


def execution(rows: Rows) -> str:
    """Errors of execution times by runtime; what validation chose is bold."""
    own = [row for row in rows if row["part"] == "layers" and row["phase"] == "exe_ms"]
    lines = []
    for name, shown in PREDICTORS.items():
        cells = []
        for layer in LAYERS:
            chosen = [row for row in own if (row["predictor"], row["layer"]) == (name, layer)]
            text = " / ".join(_percent(row["mape"]) for row in sorted(chosen, key=_runtime))
            cells.append(f"**{text}**" if chosen[0]["chosen"] else text)
        lines.append((shown, *cells))
    return table(("predictor", *LAYERS), lines)


def phases(rows: Rows) -> str:
    """Errors of copying in and out, of what validation chose."""
    names = {"pre_ms": "copying in", "post_ms": "copying out"}
    lines = []
    for phase, shown in names.items():
        cells = []
        for layer in LAYERS:
            about = {"part": "layers", "layer": layer, "phase": phase, "chosen": 1.0}
            cells.append(" / ".join(_percent(row["mape"]) for row in sorted(_where(rows, **about), key=_runtime)))
        lines.append((shown, *cells))
    return table(("phase", *LAYERS), lines)


def training(rows: Rows) -> str:
    """Means over runtimes of errors of PerfNetRT's network with single settings of its training changed."""
    names = dict.fromkeys(row["predictor"] for row in rows if row["part"] == "training")
    lines = [
        (name, *(_mean(_where(rows, part="training", predictor=name, layer=layer)) for layer in LAYERS))
        for name in names
    ]
    return table(("PerfNetRT's network", *LAYERS), lines)


def curves(rows: Rows) -> str:
    """Means over runtimes of errors, by the number of layers for training and validation."""
    own = [row for row in rows if row["part"] == "curves"]
    numbers = sorted({row["labels"] for row in own})
    lines = []
    for name in ("trees", "polynomial_log", "perfnetrt"):
        cells = []
        for layer in LAYERS:
            errors = (_where(own, predictor=name, layer=layer, labels=number) for number in numbers)
            cells.append(" / ".join(_mean(found) for found in errors if found))
        lines.append((PREDICTORS[name], *cells))
    return table((f"from {' / '.join(f'{number:,}' for number in numbers)} layers", *LAYERS), lines)


def public(rows: Rows) -> str:
    """Errors on convolutions on a GTX 1080 Ti."""
    own = sorted((row for row in rows if row["part"] == "public"), key=lambda row: row["mape"])
    return table(("predictor", "MAPE, %"), [(PREDICTORS[row["predictor"]], _percent(row["mape"])) for row in own])


def gpus(rows: Rows) -> str:
    """Errors on GPUs that were left out, the least of a line bold."""
    own = {(row["table"], row["gpu"], row["predictor"]): row["mape"] for row in rows if row["part"] == "gpus"}
    lines = []
    for layers, gpu in dict.fromkeys(key[:2] for key in own):
        errors = [own[layers, gpu, name] for name in GPUS]
        lines.append((layers, gpu, *(f"**{_percent(e)}**" if e == min(errors) else _percent(e) for e in errors)))
    return table(("layers", "GPU", *GPUS.values()), lines)


TABLES: dict[str, Callable[[Rows], str]] = {
    "layer_execution": execution, "layer_phases": phases, "layer_training": training, "layer_curves": curves,
    "layer_public": public, "layer_gpus": gpus,
}  # fmt: skip
"""Tables by their names on pages."""


def _where(rows: Rows, **where: object) -> list[Mapping[str, Any]]:
    return [row for row in rows if all(row.get(name) == value for name, value in where.items())]


def _runtime(row: Mapping[str, Any]) -> int:
    """Place of a row's runtime; the paper's device comes alone."""
    return next((place for place, name in enumerate(RUNTIMES) if f"_{name}_" in row["device"]), 0)


def _mean(rows: Rows) -> str:
    return _percent(mean(row["mape"] for row in rows))


def _percent(share: float) -> str:
    return f"{100 * share:,.1f}" if share < 10 else f"{100 * share:,.0f}"
