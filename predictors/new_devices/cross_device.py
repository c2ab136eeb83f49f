"""How well predictors learn new devices: one fit on source devices, many rows (targets, numbers of samples, draws)."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from datasets.files.folders import Busy, Outcome, complete, inside, locked, whole_folder
from datasets.files.writing import write_text
from datasets.records import Architectures, InputError, Measurements
from predictors.base import Adaptable, Log, Predictor, Uncertain, silent
from predictors.config import to_config
from predictors.metrics import report
from predictors.new_devices.device_sets import DeviceSet, load_set

FILES = ("metrics.json",)
"""What a run folder holds."""
SAMPLERS = ("own", "random", "fixed")
LEVEL = 0.9
"""Of the intervals whose coverage is counted."""


def study(
    devices: DeviceSet,
    predictor: Predictor,
    *,
    cells: int = 900,
    shots: Sequence[int] = (20,),
    draws: int = 10,
    sampler: str = "own",
    seed: int = 0,
    log: Log = silent,
) -> Iterator[dict[str, Any]]:
    """Fit on the sources, adapt to each target, score on all its other architectures.

    Args:
        devices: sources and targets.
        predictor: an `Adaptable` one.
        cells: architectures that are measured on each source device; the same on all, drawn by `seed`.
        shots: how many samples of the target; 0: none, the device's published numbers only (`transfer`).
        draws: how often they are drawn; predictor and source cells stay.
        sampler: `own` (the predictor's `choose`), `random`, or `fixed`: those that a choice with one seed gives always.
        seed: of cells and draws.

    Yields:
        Rows. `cells` says on which architectures a row was scored: all but the samples, or of these the connected ones.
        Nothing of a target but its samples reaches the predictor.
    """
    if sampler not in SAMPLERS:
        raise InputError(f"There is no sampler '{sampler}'; there are {', '.join(SAMPLERS)}.")
    if not isinstance(predictor, Adaptable):
        raise InputError(f"{type(predictor).__name__} cannot adapt to a new device: it has no `choose` and `adapt`.")
    if 0 in shots and not hasattr(predictor, "transfer"):
        raise InputError(f"{type(predictor).__name__} needs samples of a new device; leave 0 out of shots.")
    m, rng = devices.measurements, np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(m.architectures))[:cells])
    start = time.process_time()
    predictor.fit(m.where(archs=rows, devices=devices.sources), log=log)
    about: dict[str, Any] = {"dataset": m.name, "device_set": devices.name, "seed": seed, "source_cells": len(rows)}
    about |= {"sampler": sampler, "sources": len(devices.sources), "left_out": ", ".join(devices.left_out)}
    about |= {"fit_cpu_s": time.process_time() - start}
    connected = m.architectures.space.connected(m.architectures)
    for target in devices.targets:
        table = m.where(devices=[target])
        truth = table.matrix(predictor.metric)[:, 0]
        measured = np.flatnonzero(~np.isnan(truth))
        told = {"device": target, "shared_family": devices.shares_family(target)}
        for n in shots:
            for draw in range(draws if n else 1):
                log(f"{devices.name}: {target}, {n} samples, draw {draw}")
                few = measured[:0]
                if n:
                    draw_rng = np.random.default_rng([seed, 0 if sampler == "fixed" else draw, n])
                    archs = m.architectures[measured]
                    chosen = _choice(predictor, archs, n, sampler, draw_rng)
                    few = m.architectures.positions(chosen)
                scores = _scores(predictor, table, m.architectures, truth, few, connected)
                yield from ({**about, **told, "shots": n, "draw": draw, **row} for row in scores)


def _choice(
    predictor: Adaptable, archs: Architectures, n: int, sampler: str, rng: np.random.Generator
) -> Architectures:
    if sampler == "random":
        return archs[rng.permutation(len(archs))[:n]]
    return predictor.choose(archs, n, rng)


def _scores(
    predictor: Any, table: Measurements, archs: Architectures, truth: np.ndarray, few: np.ndarray, connected: np.ndarray
) -> Iterator[dict[str, Any]]:
    """Rows of one adaptation, predicted for `archs`, the table's."""
    from scipy.stats import spearmanr

    (device,) = table.devices
    start = time.process_time()
    adapted = predictor.adapt(table.where(archs=few)) if len(few) else predictor.transfer(device)
    row: dict[str, Any] = {"adapt_ms": 1000 * (time.process_time() - start)}
    start = time.process_time()
    predicted = adapted.predict(archs, device)
    row["predict_cpu_s"] = time.process_time() - start
    if not len(few):
        near = predictor.transfer(device, nearest=True).predict(archs, device)
        flops = archs.space.totals(archs)["flops"].to_numpy()
        own, *simple = (float(report(truth, told)["spearman"] or 0) for told in (predicted, near, flops))
        row |= {"nearest_spearman": simple[0], "flops_spearman": simple[1], "over_simple": own - max(simple)}
        row |= {"over_nearest": own - simple[0], "over_flops": own - simple[1]}
        row["published_numbers"] = len(device.features)
    others = np.ones(len(truth), dtype=bool)
    others[few] = False
    if isinstance(adapted, Uncertain) and len(few):
        low, high = adapted.predict_interval(archs, device, LEVEL)
        known = others & ~np.isnan(truth)
        error, width = np.abs(predicted - truth)[known], (high - low)[known]
        row["coverage"] = float(((low <= truth) & (truth <= high))[known].mean())
        row["width_spearman"] = float(spearmanr(error, width).statistic)
        wide = width >= np.median(width)
        row["wide_error_ratio"] = float(error[wide].mean() / max(error[~wide].mean(), 1e-12)) if (~wide).any() else None
    sets = {"all": others} | ({} if connected.all() else {"connected": others & connected})
    for name, chosen in sets.items():
        yield {"cells": name, **row, **report(truth[chosen], predicted[chosen])}


def run(
    predictor: Predictor, sets: Path, device_set: str, folder: Path, name: str, settings: dict[str, Any]
) -> Outcome:
    """One run folder of a study, `metrics.json` with all rows, which appears when it is whole; complete ones stay.

    Args:
        predictor: an `Adaptable` one.
        sets: a file of device sets.
        device_set: one of them.
        folder: of the study.
        name: what rows call the predictor.
        settings: cells, shots, draws, sampler, seed, and how many of the sources.

    Returns:
        Whether the run is done now, was complete before, or another process is at it.
    """
    config = {"predictor": to_config(predictor), "sets": str(sets), "device_set": device_set, "name": name, **settings}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:10]
    out = inside(folder, f"{name}-{device_set.replace(':', '-')}-{settings['seed']}-{digest}")
    try:
        if not complete(out, FILES):
            with locked(out) as place:
                if not complete(place, FILES):  # since another process may have done it meanwhile
                    rows = _rows(predictor, sets, device_set, name, settings)
                    with whole_folder(place, FILES) as part:
                        write_text(part / "metrics.json", json.dumps({"config": config, "rows": rows}, indent=1))
                    return "done"
    except Busy as reason:
        print(f"left out: {reason}")
        return "busy"
    print(f"complete: {out}")
    return "complete"


def _rows(
    predictor: Predictor, sets: Path, device_set: str, name: str, settings: dict[str, Any]
) -> list[dict[str, Any]]:
    devices, settings = load_set(sets, device_set), dict(settings)
    if few := settings.pop("sources"):
        if few > len(devices.sources):
            raise InputError(f"The set '{device_set}' has {len(devices.sources)} sources, not {few}.")
        order = np.random.default_rng(settings["seed"]).permutation(len(devices.sources))[:few]
        devices = replace(devices, sources=tuple(devices.sources[i] for i in order))

    def tell(message: str, **numbers: float) -> None:
        if sys.stdout.isatty():
            print(f"  {message:70}", end="\r", flush=True)

    return [{"predictor": name, **row} for row in study(devices, predictor, **settings, log=tell)]
