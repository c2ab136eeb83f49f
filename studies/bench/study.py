"""Rows about comparisons and interrupted fits: `python -m studies.bench.study` writes a summary.json of them."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from datasets.cli import main
from predictors.compare import read_runs
from predictors.ranking import half_width, ranking
from predictors.run_folder import checkpoints_of
from studies.parts import run_parts

FIT = ("--predictor", "configs/predictors/gcn.yaml", "--predictor.epochs", "200", "--overwrite", "true")


def grid(folder: Path) -> list[dict]:
    """Numbers of lines and seeds of the sweep in `compare`, and the share of run folders named by what varies."""
    runs = read_runs(folder)
    ranked = ranking([row for rows in runs.values() for row in rows])
    named = [re.fullmatch(r"gcn-hidden=\d+-layers=\d-seed=\d", run.name) is not None for run in runs]
    seeds = {"fewest_seeds": int(ranked["seeds"].min()), "most_seeds": int(ranked["seeds"].max())}
    return [{"lines": len(ranked), **seeds, "named": float(np.mean(named))}]


def killed(folder: Path) -> list[dict]:
    """Largest relative difference between predictions of a fit that was killed (SIGKILL) at its first checkpoint and
    continued by the same command, and those of a fit that was not."""
    predictions, checkpoint = {}, checkpoints_of(folder / "killed") / "1.ckpt"
    for name in ("whole", "killed"):
        command = [sys.executable, "train.py", *FIT, "--out", str(folder / name)]
        if name == "killed":
            process = subprocess.Popen(command)
            while process.poll() is None and not checkpoint.is_file():
                time.sleep(0.02)
            process.kill()
            was_killed = process.wait() < 0
        subprocess.run(command, check=True)
        predictions[name] = pd.read_parquet(folder / name / "predictions.parquet")["predicted"]
    difference = float((predictions["killed"] / predictions["whole"] - 1).abs().max())
    return [{"killed": float(was_killed), "difference": difference}]


def intervals(seeds: int, draws: int = 4000) -> list[dict]:
    """Share of 95 % intervals over normally distributed scores of seeds that hold the true mean."""
    scores = np.random.default_rng(seeds).standard_normal((draws, seeds))
    held = [abs(np.mean(row)) <= half_width(row) for row in scores]
    return [{"seeds": seeds, "coverage": float(np.mean(held))}]


def check(out: Path = Path("runs/research_bench"), part: str = "grid,killed,intervals") -> None:
    """Write the rows of parts of the study.

    Args:
        out: folder of summary.json; rows of parts that are not run are kept.
        part: names of parts, separated by commas.
    """
    parts = {
        "grid": lambda: grid(out / "grid"),
        "killed": lambda: killed(out / "fits"),
        "intervals": lambda: [row for seeds in (2, 3, 5) for row in intervals(seeds)],
    }
    run_parts(parts, part, out)


if __name__ == "__main__":
    main(check, prog="python -m studies.bench.study")
