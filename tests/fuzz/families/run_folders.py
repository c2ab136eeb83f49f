"""Run folders of `train.py` that are compared, those of `transfer` that are summarised, and claims about them."""

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
    """A study of two runs, with claims."""
    import train

    bench(folder)
    study = folder / "study"
    for name in ("mean", "linear"):
        if not (study / name).exists():
            flags = {"data": folder / "data.yaml", "split": folder / "split.yaml", "predictor": folder / f"{name}.yaml"}
            train.command([f"--{flag}={value}" for flag, value in {**flags, "out": study / name}.items()])
    files = {str(path.relative_to(study)): path.read_bytes() for path in study.glob("*/*") if path.suffix != ".html"}
    claims = yaml.safe_dump([CLAIM, {**CLAIM, "where": {"predictor": "best", "set": "test"}}], sort_keys=False)
    return [{**files, "claims.yaml": claims.encode()}]


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
    return ["predictors", "compare", str(case), *rng.choice(([], ["--claims", str(case / "claims.yaml")]))]


def _edit_claims(files: Files, rng: Random) -> Files:
    return {**files, "claims.yaml": change_yaml(files["claims.yaml"], rng)}


def _study(folder: Path) -> list[Files]:
    """A study of new devices: one run, with claims about its rows."""
    from predictors.commands.studies import Sampling, transfer
    from predictors.new_devices.proxies import OwnLine

    bench(folder)
    study = folder / "transfers"
    if not study.exists():
        transfer(OwnLine(), folder / "sets.yaml", "toy", study, "own", 20, Sampling([5], 2))
    (run,) = study.iterdir()
    claims = yaml.safe_dump([{**CLAIM, "where": {"cells": "all"}}], sort_keys=False)
    return [{"own/metrics.json": (run / "metrics.json").read_bytes(), "claims.yaml": claims.encode()}]


def _edit_study(files: Files, rng: Random) -> Files:
    if rng.random() < 0.5:
        return _edit_claims(files, rng)
    return {**files, "own/metrics.json": change_json(files["own/metrics.json"], rng)}


def _summarise(case: Path, beside: Path, rng: Random) -> Command:
    return ["predictors", "summarise", str(case), "--claims", str(case / "claims.yaml")]


FAMILIES = (
    Family("run folder", _runs, _edit_runs, _compare, share=0.3),
    Family("transfer folder and claims", _study, _edit_study, _summarise, share=0.7),
    Family("claims yaml", _runs, _edit_claims, _compare, share=0.2),
)
