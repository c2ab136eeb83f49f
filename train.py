"""Fit one predictor on one split of one data set and write one run folder.

python train.py --predictor configs/predictors/gcn.yaml --predictor.hidden 64 --out runs/mine
python train.py --config runs/mine/config.yaml --out runs/again
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from datasets.base import Dataset
from datasets.cli import main
from datasets.records import InputError
from datasets.splits import Split
from predictors.base import Predictor
from predictors.config import to_config


def train(
    data: Dataset,
    predictor: Predictor,
    split: Split,
    out: Path,
    name: str = "",
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Fit a predictor, score it and write a run folder: config.yaml, predictor.pt, predictor.onnx, metrics.json,
    predictions.parquet and report.html.

    Args:
        data: measurements to learn from and to be tested on (a file of configs/datasets).
        predictor: what is fitted (a file of configs/predictors; fields as --predictor.FIELD after it).
        split: which part is learnt, chosen by and tested on (a file of configs/splits).
        out: the run folder to write; it appears when everything in it is finished.
        name: what rows and reports call the predictor; by default the name of the run folder. Runs of one predictor
            with several seeds share a name.
        seed: of the split; a predictor has a seed of its own.
        overwrite: replace a run folder that is already there.
    """
    if out.exists() and not overwrite:
        raise InputError(f"{out} is already there; name another --out, or replace it with --overwrite true.")
    m = data.measurements()
    parts = split(m, np.random.default_rng(seed))
    for which in ("train", "val", "test"):
        part = getattr(parts, which)
        print(f"{which:5} {len(part.architectures):6} architectures x {max(1, len(part.devices))} devices")
    start = time.process_time()
    predictor.fit(parts.train, parts.val, log=_progress)
    fit_cpu_s = time.process_time() - start

    from predictors.evaluation import evaluate  # scipy and pandas: a --help does not wait for them

    about: dict[str, Any] = {"dataset": m.name, "predictor": name or out.name, "shots": None, "draw": 0, "seed": seed}
    about["fit_cpu_s"] = fit_cpu_s
    rows, predictions = evaluate(predictor, parts, about)
    config: dict[str, Any] = {"data": to_config(data), "predictor": to_config(predictor), "split": to_config(split)}
    config |= {"name": about["predictor"], "seed": seed}
    predictor.metadata_ = {"dataset": m.name, "fingerprint": m.fingerprint(), "split": config["split"], "scores": rows}
    _write(out, predictor, config, rows, predictions)
    print(f"finished: {out}, see {out / 'report.html'}")


def _progress(message: str) -> None:
    print(f"  {message}", end="\r" if sys.stdout.isatty() else "\n", flush=True)


def _write(out: Path, predictor: Predictor, config: dict[str, Any], rows: list[dict], predictions: Any) -> None:
    """Write the folder beside its place, then move it there: a run folder is whole or not there."""
    import yaml

    from predictors.export import export
    from predictors.report import run_report

    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        (part / "config.yaml").write_text(yaml.safe_dump({**config, "out": str(out)}, sort_keys=False))
        predictor.save(part / "predictor.pt")
        export(predictor, part / "predictor.onnx")
        (part / "metrics.json").write_text(json.dumps(rows, indent=1))
        predictions.to_parquet(part / "predictions.parquet", index=False)
        (part / "report.html").write_text(run_report(config, rows, predictions))
        shutil.rmtree(out, ignore_errors=True)
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


if __name__ == "__main__":
    main(
        train,
        prog="train.py",
        defaults={
            "data": {"class_path": "datasets.measured.Measured"},
            "split": {"class_path": "datasets.splits.HeldOutArchitectures"},
        },
    )
