"""The arena of public whole networks: `python -m studies.arena.study` writes runs/arena/summary.json.

`families`: every family of networks is held out once, in ten folds; predictors learn all devices of a table from the
other families. `random` divides networks at random, which flatters. Any predictor of networks joins: its configuration
is one file, and `--predictors FILE` scores it alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from datasets.cli import main
from datasets.files.reading import read_yaml
from datasets.public.timm import Timm
from datasets.records import InputError, Measurements
from datasets.splits import HeldOutFamilies, Parts, Random
from predictors.base import Predictor, Uncertain
from predictors.config import from_config
from predictors.metrics import report
from studies.parts import run_parts
from studies.study import ROOT

PREDICTORS = ("network_macs", "network_line", "network_trees", "network_corrected")
TABLES: dict[str, Callable[[], Measurements]] = {"timm": lambda: Timm().measurements()}
FOLDS = 10
LEVEL = 0.9


def folds(m: Measurements, by: str) -> Iterator[Parts]:
    """The parts of each fold; equal calls give equal folds."""
    for fold in range(FOLDS):
        rng = np.random.default_rng(0 if by == "families" else fold)
        split = HeldOutFamilies(fold, FOLDS) if by == "families" else Random(1 - 2 / FOLDS, 1 / FOLDS)
        yield split(m, rng)


def conformal(predictor: Predictor, val: Measurements) -> np.ndarray:
    """Factors [D] that predictions of 90 % of the validation networks are off by at most (split conformal prediction,
    Vovk et al., "Algorithmic Learning in a Random World", 2005)."""
    errors = np.abs(np.log(val.matrix(predictor.metric) / predictor.predict_all(val.architectures)))
    count = (~np.isnan(errors)).sum(axis=0)
    level = np.minimum(1.0, LEVEL * (count + 1) / count)
    return np.exp([np.nanquantile(column, q, method="higher") for column, q in zip(errors.T, level, strict=True)])


def intervals(predictor: Predictor, parts: Parts) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends [A, D] of 90 % intervals of the test part: of the predictor's own belief where it has one,
    else by the errors of the validation part."""
    test = parts.test
    if isinstance(predictor, Uncertain):
        ends = [predictor.belief(test.architectures, device).interval(LEVEL) for device in test.devices]
        low, high = (np.stack(side, axis=1) for side in zip(*ends, strict=True))
        return low, high
    predicted, factor = predictor.predict_all(test.architectures), conformal(predictor, parts.val)
    return predicted / factor, predicted * factor


def crossed(m: Measurements, predictor: Path, by: str) -> list[dict[str, Any]]:
    """Scores of one predictor per device, over the test parts of all folds."""
    found: list[tuple[np.ndarray, ...]] = []
    start = time.process_time()
    for parts in folds(m, by):
        tree = read_yaml(predictor, "configs/predictors has examples")
        fitted = from_config(tree, Predictor)  # type: ignore[type-abstract]
        fitted.fit(parts.train, parts.val)
        predicted = fitted.predict_all(parts.test.architectures)
        found.append((parts.test.matrix("latency_ms"), predicted, *intervals(fitted, parts)))
    measured, predicted, low, high = (np.concatenate(part) for part in zip(*found, strict=True))
    cpu = time.process_time() - start
    about = {"table": m.name, "split": by, "predictor": predictor.stem, "cpu_s": cpu}
    return [
        {**about, "device": device.name, **scores(*(part[:, j] for part in (measured, predicted, low, high)))}
        for j, device in enumerate(m.devices)
    ]


def scores(measured: np.ndarray, predicted: np.ndarray, low: np.ndarray, high: np.ndarray) -> dict[str, Any]:
    """Errors in percent, shares, and the coverage and the median half width of 90 % intervals, in percent."""
    known = ~np.isnan(measured)
    y, p, low, high = measured[known], predicted[known], low[known], high[known]
    row, error = report(y, p), 100 * np.abs(p / y - 1)
    inside = 100 * float(np.mean((low <= y) & (y <= high)))
    return {
        "n": len(y), "mape": float(error.mean()), "median": float(np.median(error)),
        "within_5": row["within_5"], "within_10": row["within_10"], "spearman": row["spearman"],
        "coverage": inside, "width": float(100 * np.median((high - low) / (2 * p))),
    }  # fmt: skip


def arena(
    out: Path = Path("runs/arena"),
    part: str = "families,random",
    tables: str = "timm",
    predictors: str = ",".join(PREDICTORS),
) -> None:
    """Score predictors of whole networks.

    Args:
        out: folder of summary.json; rows of parts that are not run are kept.
        part: names of parts, separated by commas.
        tables: names of tables, separated by commas.
        predictors: names in configs/predictors, or files, separated by commas.
    """
    if unknown := set(tables.split(",")) - set(TABLES):
        raise InputError(f"There is no table {min(unknown)}; tables are {', '.join(TABLES)}.")
    measurements = {name: TABLES[name]() for name in tables.split(",")}
    files = [Path(name) if name.endswith(".yaml") else ROOT / "configs" / "predictors" / f"{name}.yaml"
             for name in predictors.split(",")]  # fmt: skip

    def scored(by: str) -> list[dict[str, Any]]:
        return [row for m in measurements.values() for file in files for row in crossed(m, file, by)]

    run_parts({by: partial(scored, by) for by in ("families", "random")}, part, out)


if __name__ == "__main__":
    main(arena, prog="python -m studies.arena.study")
