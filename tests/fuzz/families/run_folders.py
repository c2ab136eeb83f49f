"""Run folders of `train.py` that are compared, those of `transfer` that are summarised, and claims about rows."""

import json
from pathlib import Path
from random import Random

import yaml

from tests.fuzz.families.configurations import bench, change_yaml
from tests.fuzz.families.tables import change_table
from tests.fuzz.family import Command, Family, Files
from tests.fuzz.mutations import WORDS, any_damage, change_bytes, change_json

CLAIM = {"claim": "it ranks", "metric": "spearman", "target": 0.5, "where": {"set": "test", "cells": "all",
"predictor": "linear"},
         "better": "higher", "command": "make it"}  # fmt: skip


def _runs(folder: Path) -> list[Files]:
    """A folder of two runs."""
    import train

    bench(folder)
    study = folder / "study"
    for name in ("mean", "linear"):
        if not (study / name).exists():
            flags = {"data": folder / "data.yaml", "split": folder / "split.yaml", "predictor": folder / f"{name}.yaml"}
            train.command([f"--{flag}={value}" for flag, value in {**flags, "out": study / name}.items()])
    return [{str(path.relative_to(study)): path.read_bytes() for path in study.glob("*/*") if path.suffix != ".html"}]


def _edit_runs(files: Files, rng: Random) -> Files:
    """Rows, predictions or another file of a run, edited or gone; runs of other names."""
    kind, run = rng.random(), rng.choice(("mean", "linear"))
    metrics, predictions = f"{run}/metrics.json", f"{run}/predictions.parquet"
    if kind < 0.45:
        return {**files, metrics: change_json(files[metrics], rng)}
    if kind < 0.65:
        return {**files, predictions: change_table(files[predictions], rng)}
    name = rng.choice([name for name in sorted(files) if "/" in name])
    if kind < 0.75:
        return {other: content for other, content in files.items() if other != name}
    if kind < 0.85:
        word = rng.choice(
            [
                word
                for word in WORDS
                if word not in ("", ".", "/", "../x", "/dev/null", "/proc/self/mem") and "\0" not in word
            ]
        )
        return {name.replace(f"{run}/", f"{word[:100]}/"): content for name, content in files.items()}
    return {**files, name: rng.choice((change_bytes, any_damage))(files[name], rng)}


def _compare(case: Path, beside: Path, rng: Random) -> Command:
    return ["predictors", "compare", str(case)]


def _claims(folder: Path) -> list[Files]:
    """Claims, and the rows that they are about."""
    rows = [row for run in ("mean", "linear") for row in json.loads(_runs(folder)[0][f"{run}/metrics.json"])]
    claims = yaml.safe_dump([CLAIM, {**CLAIM, "where": {"predictor": "best", "set": "test"}}], sort_keys=False)
    return [{"summary.json": json.dumps(rows).encode(), "claims.yaml": claims.encode()}]


def _edit_claims(files: Files, rng: Random) -> Files:
    if rng.random() < 0.7:
        return {**files, "claims.yaml": change_yaml(files["claims.yaml"], rng)}
    return {**files, "summary.json": change_json(files["summary.json"], rng)}


def _check(case: Path, beside: Path, rng: Random) -> Command:
    return ["studies", "claims", str(case), "--file", str(case / "claims.yaml")]


def _study(folder: Path) -> list[Files]:
    """A study of new devices: one run."""
    from predictors.commands.comparing import Sampling, transfer
    from predictors.new_devices.proxies import OwnLine

    bench(folder)
    study = folder / "transfers"
    if not study.exists():
        transfer(OwnLine(), folder / "sets.yaml", "toy", study, "own", 20, Sampling([5], 2))
    (run,) = study.iterdir()
    return [{f"own/{name}": (run / name).read_bytes() for name in ("metrics.json", "config.yaml")}]


def _edit_study(files: Files, rng: Random) -> Files:
    if rng.random() < 0.8:
        return {**files, "own/metrics.json": change_json(files["own/metrics.json"], rng)}
    return {**files, "own/config.yaml": change_yaml(files["own/config.yaml"], rng)}


def _summarise(case: Path, beside: Path, rng: Random) -> Command:
    return ["predictors", "summarise", str(case)]


FAMILIES = (
    Family("run folder", _runs, _edit_runs, _compare, share=0.3),
    Family("transfer folder", _study, _edit_study, _summarise, share=0.7),
    Family("claims yaml", _claims, _edit_claims, _check, share=0.2),
)
