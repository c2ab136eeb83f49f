"""Figures before and after a change: `python -m tests.before_after --before CHECKOUT` runs the same commands in another
checkout of this repository and in this one, and prints both side by side.

Needs the public files (python -m datasets fetch help; oneproxy; hw-nas-bench-360), and for the part `bundled` that
`make train` has run in both. Half an hour of one core for each checkout.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from datasets.cli import main
from datasets.records import InputError
from tests.conftest import ROOT

NETWORKS = ("alexnet", "vgg16", "resnet18", "mobilenet_v2", "squeezenet")
DEVICES = ("milan_ort_fp32_1", "milan_litert_fp32_1")
Figures = dict[str, float]


def run(checkout: Path, *arguments: str) -> str:
    """What a command prints in a checkout."""
    done = subprocess.run([sys.executable, *arguments], cwd=checkout, capture_output=True, text=True, env=os.environ)
    if done.returncode:
        raise InputError(f"{' '.join(arguments)} in {checkout}: {done.stderr.strip()[-300:]}")
    return done.stdout


def rows_of(folder: Path) -> pd.DataFrame:
    """Rows of metrics of all runs in a folder, also as earlier versions wrote them."""
    contents = [json.loads(path.read_text()) for path in sorted(folder.glob("*/metrics.json"))]
    rows = [row for content in contents for row in (content["rows"] if isinstance(content, dict) else content)]
    table = pd.DataFrame(rows)
    return table[table["cells"] == "all"] if "cells" in table else table


def bundled(checkout: Path, out: Path) -> Figures:
    """The table of `make train`."""
    table = rows_of(checkout / "runs" / "bundled")
    means = table[table["set"] == "test"].groupby("predictor")[["spearman", "within_10"]].mean()
    return {f"make train, {name}, {column}": means.loc[name, column] for name in means.index for column in means}


def new_devices(checkout: Path, out: Path) -> Figures:
    """NASFLAT's set ND: 20 random samples of each target, ten draws, three seeds."""
    for seed in "012":
        how = (
            "--device_set",
            "ND",
            "--sampler",
            "random",
            "--shots",
            "[20]",
            "--seed",
            seed,
            "--study",
            str(out / "nd"),
        )
        run(checkout, "-m", "predictors", "transfer", "--predictor", "configs/predictors/conditioned.yaml", *how,
            "--seed", seed, "--study", str(out / "nd"))  # fmt: skip
    table = rows_of(out / "nd")
    return {"ND, 20 samples, Spearman": table[table["shots"] == 20]["spearman"].mean()}


def gold(checkout: Path, out: Path) -> Figures:
    """The GCN on 900 labels of HELP's Xeon Gold 6226, aimed at staying within 10 %, three seeds."""
    for seed in "012":
        data = ("--data", "configs/datasets/help.yaml", "--data.devices", "[gold_6226]")
        gcn = ("--predictor", "configs/predictors/gcn.yaml", "--predictor.tolerance", "0.1")
        how = ("--split", "configs/splits/random_900.yaml", "--seed", seed, "--study", str(out / "gold"))
        run(checkout, "train.py", *data, *gcn, *how)
    table = rows_of(out / "gold")
    return {"gold_6226, GCN, within 10 %": table[table["set"] == "test"]["within_10"].mean()}


def prices(checkout: Path, out: Path) -> Figures:
    """Milliseconds of running published networks, from their ONNX files."""
    run(checkout, "-m", "predictors", "layerwise", "--out", str(out / "layers.pt"))
    found = {}
    for name in NETWORKS:
        space = ("--space", "zoo", "--backend", "ort", "--out", str(out / name))
        run(checkout, "-m", "measure", "build", "--arch", name, *space)
        for device in DEVICES:
            network = ("--network", str(next((out / name).glob("*.onnx"))), "--device", device)
            printed = run(checkout, "-m", "predictors", "predict", str(out / "layers.pt"), *network)
            without_copies = re.findall(r"\brun ([\d.e+-]+)", printed) or re.findall(r": ([\d.e+-]+) ms \(", printed)
            found[f"{name} on {device}, ms of a run"] = float(without_copies[0])
    return found


PARTS: dict[str, Callable[[Path, Path], Figures]] = {
    "bundled": bundled, "new_devices": new_devices, "gold": gold, "prices": prices,
}  # fmt: skip


def check(before: Path, parts: str = ",".join(PARTS), out: Path = Path("runs/before_after")) -> None:
    """Run parts in both checkouts and print their figures.

    Args:
        before: the other checkout.
        parts: names, separated by commas.
        out: folder of runs; what is there is not run again.
    """
    sides = {"before": before.resolve(), "after": ROOT}
    columns: dict[str, Figures] = {side: {} for side in sides}
    for side, checkout in sides.items():
        (folder := out.resolve() / side).mkdir(parents=True, exist_ok=True)
        for name in parts.split(","):
            columns[side] |= PARTS[name](checkout, folder)
    table = pd.DataFrame(columns)
    table["difference"] = table["after"] - table["before"]
    print(table.to_string(float_format="%.4g"))


if __name__ == "__main__":
    main(check, prog="python -m tests.before_after")
