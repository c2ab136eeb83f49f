"""Fit one predictor on one split of one data set and write one run folder.

python train.py --predictor configs/predictors/gcn.yaml --predictor.hidden 64 --out runs/mine
python train.py --config runs/mine/config.yaml --out runs/again
"""

from __future__ import annotations

import os

for _pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_pool, "1")  # two threads are ten times slower than one on small graphs and busy cores

import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np

from datasets.base import Dataset
from datasets.cli import main
from datasets.records import UNITS, InputError
from datasets.splits import Split
from predictors.base import Predictor


def train(
    data: Dataset, predictor: Predictor, split: Split, out: Path, seed: int = 0, overwrite: bool = False
) -> None:
    """Fit a predictor, score it and write a run folder: config.yaml, predictor.pt, predictor.onnx, metrics.json,
    predictions.parquet and report.html.

    Args:
        data: measurements to learn from and to be tested on (a file of configs/datasets).
        predictor: what is fitted (a file of configs/predictors; fields as --predictor.FIELD after it).
        split: which part is learnt, chosen by and tested on (a file of configs/splits).
        out: the run folder to write; it appears when everything in it is finished.
        seed: of the split; a predictor has a seed of its own.
        overwrite: replace a run folder that is already there.
    """
    if out.exists() and not overwrite:
        raise InputError(f"{out} is already there; name another folder with --out, or replace it with --overwrite true.")
    if sys.platform != "win32" and "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    m = data.measurements()
    parts = split(m, np.random.default_rng(seed))
    for name in ("train", "val", "test"):
        part = getattr(parts, name)
        print(f"{name:5} {len(part.architectures):6} architectures x {max(1, len(part.devices))} devices")
    start = time.process_time()
    predictor.fit(parts.train, parts.val, log=_progress)
    fit_cpu_s = time.process_time() - start
    _write(out, data, predictor, split, seed, parts, m.fingerprint(), fit_cpu_s)
    print(f"finished: {out}, see {out / 'report.html'}")


def _progress(message: str) -> None:
    print(f"  {message}", end="\r" if sys.stderr.isatty() else "\n", flush=True)


def _write(out: Path, data: Dataset, predictor: Predictor, split: Split, seed: int, parts, fingerprint: str, fit_cpu_s: float) -> None:  # type: ignore[no-untyped-def]  # fmt: skip
    import pandas as pd
    import yaml

    from predictors.config import to_config
    from predictors.evaluation import evaluate
    from predictors.export import export
    from predictors.figures import device_bars, errors, scatter
    from predictors.report import page

    about = {
        "dataset": parts.train.name,
        "predictor": out.name,
        "shots": None,
        "draw": 0,
        "seed": seed,
        "fit_cpu_s": fit_cpu_s,
    }
    rows, predictions = evaluate(predictor, parts, about)
    config = {**{k: to_config(v) for k, v in (("data", data), ("predictor", predictor), ("split", split))}, "seed": seed}
    predictor.metadata_ = {"dataset": parts.train.name, "fingerprint": fingerprint, "split": config["split"], "scores": rows}

    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        (part / "config.yaml").write_text(yaml.safe_dump({**config, "out": str(out)}, sort_keys=False))
        predictor.save(part / "predictor.pt")
        export(predictor, part / "predictor.onnx")
        (part / "metrics.json").write_text(json.dumps(rows, indent=1))
        predictions.to_parquet(part / "predictions.parquet", index=False)
        tested = predictions[predictions["set"] == "test"]
        table = pd.DataFrame(rows)
        unit = UNITS.get(predictor.metric, predictor.metric)
        sections = [
            ("Scores", table.drop(columns=["dataset", "shots", "draw"])),
            ("Measured against predicted, test set", scatter(tested, unit)),
            ("Relative errors, test set", errors(tested)),
            ("Devices, test set", device_bars(table[(table["set"] == "test") & (table["cells"] == "all")])),
            ("Configuration", yaml.safe_dump(config, sort_keys=False)),
        ]
        (part / "report.html").write_text(page(f"{out.name} on {parts.train.name}", sections))
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
