"""How well predictors learn new devices: one fit on source devices, many rows (targets, numbers of samples, draws)."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from datasets.files.folders import Outcome
from datasets.records import InputError, Measurements
from predictors.base import Log, Predictor, Uncertain, silent
from predictors.config import to_config
from predictors.evaluation import Answer, check_learns, learn_device, score
from predictors.metrics import report
from predictors.new_devices.device_sets import DeviceSet, load_set
from predictors.new_devices.few_shot import distances
from predictors.run_folder import SHORT, Run, named, run_once

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
        shots: how many samples of the target; 0: none, the device's published numbers only.
        draws: how often they are drawn; predictor and source cells stay.
        sampler: `own` (the predictor's `choose`), `random`, or `fixed`: those that a choice with one seed gives always.
        seed: of cells and draws.

    Yields:
        Rows. `cells` says on which architectures a row was scored: all but the samples, or of these the connected ones.
        Nothing of a target but its samples reaches the predictor.
    """
    if sampler not in SAMPLERS:
        raise InputError(f"There is no sampler '{sampler}'; there are {', '.join(SAMPLERS)}.")
    m, rng = devices.measurements, np.random.default_rng(seed)
    for name, n in itertools.product(devices.targets, shots):
        check_learns(predictor, m.device(name), n)
    rows = np.sort(rng.permutation(len(m.architectures))[:cells])
    start = time.process_time()
    predictor.fit(m.where(archs=rows, devices=devices.sources), log=log)
    about: dict[str, Any] = {"dataset": m.name, "device_set": devices.name, "seed": seed, "source_cells": len(rows)}
    about |= {"sampler": sampler, "sources": len(devices.sources), "left_out": ", ".join(devices.left_out)}
    about |= {"fit_cpu_s": time.process_time() - start, "set": "test"}
    connected = m.architectures.space.connected(m.architectures)
    for target in devices.targets:
        table = m.where(devices=[target])
        about |= {"device": target, "shared_family": devices.shares_family(target)}
        for n in shots:
            for draw in range(draws if n else 1):
                log(f"{devices.name}: {target}, {n} samples, draw {draw}")
                draw_rng = np.random.default_rng([seed, 0 if sampler == "fixed" else draw, n])
                answer = learn_device(predictor, table, n, sampler, draw_rng)
                more = _certainty(answer, table) if n else _simple(predictor, answer, table)
                for row in score({**about, "shots": n, "draw": draw, **more}, answer, connected):
                    if row["cells"] == "all" or not connected.all():
                        yield row


def _simple(predictor: Predictor, answer: Answer, table: Measurements) -> dict[str, Any]:
    """How well two simple ways rank a device of which nothing was measured: the source device whose published numbers
    are nearest, and FLOPs."""
    (device,), archs = table.devices, table.architectures
    nearest = predictor.devices_[int(distances(predictor.devices_, device)[-1].argmin())]
    ways = answer.predicted, predictor.predict(archs, nearest), archs.space.totals(archs)["flops"].to_numpy()
    own, near, flops = (float(report(answer.measured, told)["spearman"] or 0) for told in ways)
    row = {"nearest_spearman": near, "flops_spearman": flops, "over_simple": own - max(near, flops)}
    row |= {"over_nearest": own - near, "over_flops": own - flops}
    return row | {"published_numbers": len(device.features)}


def _certainty(answer: Answer, table: Measurements) -> dict[str, Any]:
    """How many measurements the intervals of an adapted predictor hold, and whether wide ones are where errors are."""
    from scipy.stats import spearmanr

    if not isinstance(answer.predictor, Uncertain):
        return {}
    low, high = answer.predictor.belief(table.architectures, answer.device).interval(LEVEL)
    truth, known = answer.measured, answer.scored & ~np.isnan(answer.measured)
    error, width = np.abs(answer.predicted - truth)[known], (high - low)[known]
    row = {"coverage": float(((low <= truth) & (truth <= high))[known].mean())}
    row["width_spearman"] = float(spearmanr(error, width).statistic)
    wide = width >= np.median(width)
    ratio = float(error[wide].mean() / max(error[~wide].mean(), 1e-12)) if (~wide).any() else None
    return {**row, "wide_error_ratio": ratio}


def run(
    predictor: Predictor, sets: Path, device_set: str, folder: Path, name: str, settings: dict[str, Any]
) -> Outcome:
    """One run folder of a study (`run_folder.SHORT`), which appears when it is whole; complete ones stay.

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
    samples = {key: settings[key] for key in ("shots", "draws", "sampler")}
    flags = {key: value for key, value in config.items() if key not in samples} | {"samples": samples}

    def work(place: Path) -> Run:
        devices = _devices(sets, device_set, settings["sources"], settings["seed"])
        told = {key: value for key, value in settings.items() if key != "sources"}
        rows = [{"predictor": name, **row} for row in study(devices, predictor, **told, log=_tell)]
        m = devices.measurements
        predictor.metadata_ = {"dataset": m.name, "fingerprint": m.fingerprint(), "device_set": devices.name}
        return Run(flags, predictor, rows)

    named_ = f"{name}-{device_set.replace(':', '-')}-{settings['seed']}"
    return run_once(named(folder, named_, config), SHORT, work, study=True)


def _devices(sets: Path, device_set: str, sources: int, seed: int) -> DeviceSet:
    """A set of a file, with so many of its sources, drawn by the seed; 0: all."""
    devices = load_set(sets, device_set)
    if not sources:
        return devices
    if sources > len(devices.sources):
        raise InputError(f"The set '{device_set}' has {len(devices.sources)} sources, not {sources}.")
    order = np.random.default_rng(seed).permutation(len(devices.sources))[:sources]
    return replace(devices, sources=tuple(devices.sources[i] for i in order))


def _tell(message: str, **numbers: float) -> None:
    if sys.stdout.isatty():
        print(f"  {message:70}", end="\r", flush=True)
