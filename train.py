"""Fit one predictor on one split of one data set and write one run folder, or do so for a whole sweep.

python train.py --predictor configs/predictors/gcn.yaml --predictor.hidden 64 --out runs/mine
python train.py --config runs/mine/config.yaml --out runs/again
python train.py --sweep studies/help_900/sweep.yaml --seed 0
"""

from __future__ import annotations

import importlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.cli import main, one_sentence

# isort: split
import numpy as np

from datasets.base import Dataset
from datasets.files.folders import Outcome
from datasets.opening import with_datasets
from datasets.records import InputError
from datasets.splits import Random, Split
from predictors.base import Predictor
from predictors.config import to_config
from predictors.run_folder import FILES, Run, named, run_once
from predictors.trainer import Trainer, check_trained_by_lightning, checkpoints_of, fitting


@dataclass(frozen=True)
class Logging:
    """Destinations of a run's progress beside the terminal.

    Attributes:
        wandb: log to Weights & Biases (WANDB_MODE=offline keeps the log on this machine).
        project: project of Weights & Biases.
    """

    wandb: bool = False
    project: str = "gnomon"


@dataclass(frozen=True)
class Place:
    """A folder of runs.

    Attributes:
        study: folder of runs, in which those that are complete are skipped.
        label: name of the run folder in it, after the predictor's name; by default the settings that the command line
            names (hidden=64-seed=1), of a sweep those that vary.
    """

    study: Path | None = None
    label: str = ""


def train(
    data: Dataset,
    split: Split,
    predictor: Predictor,
    out: Path | None = None,
    place: Place = Place(),
    name: str = "",
    seed: int = 0,
    overwrite: bool = False,
    log: Logging = Logging(),
    trainer: Trainer = Trainer(),
) -> Outcome:
    """Fit a predictor, score it and write a run folder.

    It holds config.yaml, predictor.pt, predictor.onnx (where the predictor has that form), metrics.json,
    predictions.parquet and report.html. With --sweep FILE, a sweep in W&B's format, all its combinations that are not
    complete yet are run; other flags are given to every run, and replace the sweep's parameters of the same name.

    Args:
        data: measurements for training and test: a .yaml of configs/datasets, a .parquet of `python -m
            measure table`, a .csv (key, device, value), or several of these separated by commas.
        split: split into training, validation and test (a file of configs/splits).
        predictor: predictor to fit (a file of configs/predictors, then fields as --predictor.FIELD).
        out: run folder to write, complete or not at all. One process at a time writes it.
        place: instead of --out, a folder of runs, in which the run is skipped if complete.
        name: name of the predictor in rows and reports; by default that of its file, or of its class.
        seed: seed of the split; a predictor has a seed of its own.
        overwrite: replace an existing run folder; other folders are never replaced.
        log: destinations of progress beside the terminal.
        trainer: arguments of Lightning's trainer, for predictors that it trains.

    Returns:
        Whether the run was done now, was complete before, or is being trained by another process.
    """
    if (out is None) == (place.study is None):
        raise InputError("Name the run folder to write with --out, or a folder of runs with --study.")
    name = name or type(predictor).__name__.lower()
    config: dict[str, Any] = {"data": to_config(data), "predictor": to_config(predictor), "split": to_config(split)}
    config |= {"name": name, "seed": seed}
    config |= {"trainer": trainer.settings()} if trainer.settings() else {}
    if place.study is not None:
        out = named(place.study, name, config, place.label)
    assert out is not None
    config = {**config, "out": str(out)}
    check_trained_by_lightning(trainer, predictor)

    def work(locked: Path) -> Run:
        return _train(data, split, predictor, config, locked, log, trainer)

    return run_once(out, FILES, work, study=place.study is not None, overwrite=overwrite)


def _train(
    data: Dataset,
    split: Split,
    predictor: Predictor,
    config: dict[str, Any],
    out: Path,
    log: Logging,
    trainer: Trainer,
) -> Run:
    """Fit and score; `out` is the run folder, which no other process uses."""
    m = data.measurements()
    import yaml

    # scipy, which faulty input does not need
    from predictors.evaluation import check_new_devices, evaluate, new_devices
    from predictors.metrics import LEAST

    for needed in ("onnx", "onnxruntime", "pyarrow", "matplotlib"):
        importlib.import_module(needed)  # a missing package is found before the fit
    name, seed = config["name"], config["seed"]
    parts = split(m, np.random.default_rng(seed))
    check_new_devices(predictor, parts)
    for set_ in ("train", "val", "test"):
        part = getattr(parts, set_)
        devices = max(1, len(part.devices))
        print(f"{set_:5} {len(part.architectures):6} architectures x {devices} device{'s' * (devices > 1)}")
    if (fewest := min(len(parts.val.architectures), len(parts.test.architectures))) < LEAST:
        how = ", as by --split.train 0.4 --split.val 0.3" if isinstance(split, Random) else ""
        print(
            f"warning: {fewest} architectures for validation or test are fewer than the {LEAST} that ranks are scored "
            f"on; enlarge these parts{how}."
        )
    board = _wandb_run(log, out, config) if log.wandb else None

    def progress(message: str, **numbers: float) -> None:
        if message:
            print(f"  {message}", end="\r" if sys.stdout.isatty() else "\n", flush=True)
        if board is not None and numbers:
            board.log(numbers)

    start = time.process_time()
    with fitting(trainer, checkpoints_of(out), f"{yaml.safe_dump(config)}{m.fingerprint()}"):
        predictor.fit(parts.train, parts.val, log=progress)
    about: dict[str, Any] = {"dataset": m.name, "predictor": name, "draw": 0, "seed": seed}
    about["fit_cpu_s"] = time.process_time() - start
    about["shots"] = len(parts.train.architectures) + len(parts.val.architectures)
    if new_devices(parts):
        sources = {"sources": len(parts.train.devices), "source_cells": about["shots"]}
        about |= {"shots": parts.samples, "sampler": parts.sampler, **sources}

    rows, predictions = evaluate(predictor, parts, about)
    if not np.isfinite(predictions["predicted"]).all():
        raise InputError(
            f"{name} predicts values that are no finite numbers: its fit diverged; fit it with other settings."
        )
    predictor.metadata_ = {"dataset": m.name, "fingerprint": m.fingerprint(), "split": config["split"], "scores": rows}
    if board is not None:
        for row in rows:
            prefix = f"{row['set']}/{row['device']}/{row['cells']}"
            board.summary.update({f"{prefix}/{k}": v for k, v in row.items() if isinstance(v, float)})
        board.finish()
    return Run(config, predictor, rows, predictions)


def _wandb_run(log: Logging, out: Path, config: dict[str, Any]) -> Any:
    import wandb

    return wandb.init(project=log.project, name=out.name, config=config, dir=out.parent)


def command(arguments: list[str]) -> Outcome:
    """Run one command line: a run, or a sweep of runs."""
    from predictors.sweep import flags_of, folder_label, run_name, run_sweep

    flags = flags_of(arguments)
    if sweep := flags.pop("sweep", ""):
        return run_sweep(Path(sweep), command, flags=flags)
    arguments = [*arguments, *run_name(arguments), *folder_label(arguments)]
    if "study" in flags and "out" not in flags:
        arguments.append("--out=null")  # the configuration of an earlier run (--config) names that run's folder
    defaults = {
        "data": {"class_path": "datasets.measured.Measured"},
        "split": {"class_path": "datasets.splits.HeldOutArchitectures"},
    }
    return main(train, prog="train.py", arguments=with_datasets(arguments), defaults=defaults)


if __name__ == "__main__":
    with one_sentence("train.py"):
        sys.exit(command(sys.argv[1:]) == "busy")
