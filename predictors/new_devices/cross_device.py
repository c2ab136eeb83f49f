"""Evaluation of predictors on new devices: one fit on source devices, a row per target, number of samples and draw."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from datasets.devices import NUMBERS
from datasets.files.folders import Outcome
from datasets.records import InputError, Measurements
from predictors.base import Log, Predictor, Uncertain, silent
from predictors.config import to_config
from predictors.evaluation import DevicePredictions, adaptable, learn_device, score_rows
from predictors.metrics import report
from predictors.new_devices.device_sets import DeviceSet, load_set
from predictors.new_devices.few_shot import distances
from predictors.run_folder import SHORT, Run, named, run_once

SAMPLERS = ("own", "random", "fixed")
LEVEL = 0.9
"""Nominal coverage of the intervals whose coverage is reported."""


def evaluate_transfer(
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
    """Fit on the source devices, adapt to each target, score on all its other architectures.

    Args:
        devices: sources and targets.
        predictor: `Adaptable`.
        cells: number of architectures measured on each source device; the same ones on all, drawn by `seed`.
        shots: numbers of samples of the target; 0: the device's published specifications only.
        draws: number of draws of samples, with the same fitted predictor.
        sampler: `own` (the predictor's `choose`), `random`, or `fixed` (`choose` with the same seed for every draw).
        seed: seed of source cells and draws.

    Yields:
        Rows. Column `cells`: whether all architectures but the samples are scored, or the connected ones of these;
        `target_cells`: number of architectures in the target's table.
        Only the samples of a target reach the predictor.
    """
    if sampler not in SAMPLERS:
        raise InputError(f"There is no sampler '{sampler}'; there are {', '.join(SAMPLERS)}.")
    m, rng = devices.measurements, np.random.default_rng(seed)
    for name, n in itertools.product(devices.targets, shots):
        adaptable(predictor, m.device(name), n)
    rows = np.sort(rng.permutation(len(m.architectures))[:cells])
    start = time.process_time()
    predictor.fit(m.where(archs=rows, devices=devices.sources), log=log)
    about: dict[str, Any] = {"dataset": m.name, "device_set": devices.name, "seed": seed, "source_cells": len(rows)}
    about |= {"sampler": sampler, "sources": len(devices.sources), "left_out": ", ".join(devices.left_out)}
    about |= {"fit_cpu_s": time.process_time() - start, "set": "test"}
    for target in devices.targets:
        table = devices.table(target)
        connected = table.architectures.space.connected(table.architectures)
        about |= {"device": target, "shared_family": devices.shares_family(target)}
        about |= {"target_cells": len(table.architectures)}
        for n in shots:
            for draw in range(draws if n else 1):
                log(f"{devices.name}: {target}, {n} samples, draw {draw}")
                draw_rng = np.random.default_rng([seed, 0 if sampler == "fixed" else draw, n])
                result = learn_device(predictor, table, n, sampler, draw_rng)
                more = _coverage(result, table) | ({} if n else _baselines(predictor, result, table))
                for row in score_rows({**about, "shots": n, "draw": draw, **more}, result, connected):
                    if row["cells"] == "all" or not connected.all():
                        yield row
                if predictor.metric == "energy_mj" and n:
                    for name, simple in _rates(result, table):
                        yield score_rows({**about, "predictor": name, "shots": n, "draw": draw}, simple, connected)[0]


def _rates(result: DevicePredictions, table: Measurements) -> Iterator[tuple[str, DevicePredictions]]:
    """Energies by one number per MAC, and per millisecond that was measured of each architecture: the median of the
    samples."""
    archs = table.architectures
    units = {"mj_per_mac": archs.space.totals(archs)["macs"].to_numpy(float)}
    if "latency_ms" in set(table.table["metric"]):
        units["mj_per_ms"] = table.matrix("latency_ms")[:, 0]
    for name, unit in units.items():
        rate = np.nanmedian((result.measured / unit)[~result.scored])
        known = np.where(np.isnan(unit), np.nan, result.measured)
        yield name, replace(result, measured=known, predicted=rate * unit, columns={"predict_cpu_s": 0.0})


def _baselines(predictor: Predictor, result: DevicePredictions, table: Measurements) -> dict[str, Any]:
    """Spearman of two baselines on a device without measurements: the source device with the nearest published
    specifications, and FLOPs."""
    (device,), archs = table.devices, table.architectures
    nearest = predictor.devices_[int(distances(predictor.devices_, device)[-1].argmin())]
    ranked = result.predicted, predictor.predict(archs, nearest), archs.space.totals(archs)["flops"].to_numpy()
    own, near, flops = (float(report(result.measured, values)["spearman"] or 0) for values in ranked)
    row = {"nearest_spearman": near, "flops_spearman": flops, "over_simple": own - max(near, flops)}
    row |= {"over_nearest": own - near, "over_flops": own - flops}
    return row | {"published_numbers": len(device.features.keys() & set(NUMBERS))}


def _coverage(result: DevicePredictions, table: Measurements) -> dict[str, Any]:
    """Coverage of the intervals of an adapted predictor, and how their widths go with the errors."""
    from scipy.stats import spearmanr

    if not isinstance(result.predictor, Uncertain):
        return {}
    low, high = result.predictor.belief(table.architectures, result.device).interval(LEVEL)
    truth, known = result.measured, result.scored & ~np.isnan(result.measured)
    error, width = np.abs(result.predicted - truth)[known], (high - low)[known]
    row = {"coverage": float(((low <= truth) & (truth <= high))[known].mean())}
    row["width_spearman"] = float(spearmanr(error, width).statistic)
    wide = width >= np.median(width)
    ratio = float(error[wide].mean() / max(error[~wide].mean(), 1e-12)) if (~wide).any() else None
    return {**row, "wide_error_ratio": ratio}


def run(
    predictor: Predictor,
    sets: Path,
    device_set: str,
    folder: Path,
    name: str,
    settings: dict[str, Any],
    label: str = "",
) -> Outcome:
    """Write one run folder of a study (`run_folder.SHORT`), whole or not at all; complete ones are kept.

    Args:
        predictor: `Adaptable`.
        sets: a file of device sets.
        device_set: name of a set in it.
        folder: folder of the study.
        name: name of the predictor in the rows.
        settings: cells, shots, draws, sampler, seed, and the number of sources.
        label: of the run folder, after the name.

    Returns:
        Whether the run is done now, was complete before, or is being done by another process.
    """
    config = {"predictor": to_config(predictor), "sets": str(sets), "device_set": device_set, "name": name, **settings}
    samples = {key: settings[key] for key in ("shots", "draws", "sampler")}
    flags = {key: value for key, value in config.items() if key not in samples} | {"samples": samples}

    def work(place: Path) -> Run:
        from tqdm import tqdm

        devices = _devices(sets, device_set, settings["sources"], settings["seed"])
        own = {key: value for key, value in settings.items() if key != "sources"}
        draws = sum(settings["draws"] if n else 1 for n in settings["shots"])
        with tqdm(total=len(devices.targets) * draws, unit="draw", disable=None) as bar:

            def log(message: str, **numbers: float) -> None:
                bar.set_postfix_str(message, refresh=False)
                bar.update(message.startswith(f"{devices.name}: "))

            rows = [{"predictor": name, **row} for row in evaluate_transfer(devices, predictor, **own, log=log)]
        m = devices.measurements
        predictor.metadata_ = {"dataset": m.name, "fingerprint": m.fingerprint(), "device_set": devices.name}
        return Run(flags, predictor, rows)

    return run_once(named(folder, name, flags, label), SHORT, work, study=True)


def _devices(sets: Path, device_set: str, sources: int, seed: int) -> DeviceSet:
    """Load a device set with `sources` of its source devices, drawn by the seed; 0: all."""
    devices = load_set(sets, device_set)
    if not sources:
        return devices
    if sources > len(devices.sources):
        raise InputError(f"The set '{device_set}' has {len(devices.sources)} sources, not {sources}.")
    order = np.random.default_rng(seed).permutation(len(devices.sources))[:sources]
    return replace(devices, sources=tuple(devices.sources[i] for i in order))
