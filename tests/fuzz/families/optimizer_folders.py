"""The folder of networks that `python -m search optimize` has trained and asks again."""

from pathlib import Path
from random import Random

import numpy as np
import pandas as pd

from tests.fuzz import inputs
from tests.fuzz.families.predictor_files import change_checkpoint
from tests.fuzz.family import Command, Family, Files
from tests.fuzz.mutations import change_json, change_text

SIZES = ["--training.networks", "1", "--training.synthetic", "8", "--training.steps", "3", "--rounds", "1"]


def _command(beside: Path, folder: Path) -> Command:
    tables = [
        "--accuracy",
        str(beside / "optimizer" / "accuracy.parquet"),
        "--latency",
        str(beside / "optimizer" / "ms.parquet"),
    ]
    return ["search", "optimize", *tables, *SIZES, "--budget_ms", "5", "--device", "toy_3", "--folder", str(folder)]


def _make(folder: Path) -> list[Files]:
    from datasets.cli import main
    from datasets.records import Measurements
    from search.__main__ import commands
    from tests.conftest import made_up

    place = folder / "optimizer"
    if not (place / "nets").exists():
        place.mkdir(exist_ok=True)
        archs = inputs.SPACE.sample(80, np.random.default_rng(0))
        archs = archs[np.flatnonzero(inputs.SPACE.connected(archs))]
        value = 50 + 40 * np.random.default_rng(0).random(len(archs))
        rows = pd.DataFrame({"arch": range(len(archs)), "device": -1, "metric": "accuracy_cifar100", "value": value})
        inputs.write_measurements(made_up(archs, 4), place / "ms.parquet")
        inputs.write_measurements(Measurements(archs, [], rows, "made-up"), place / "accuracy.parquet")
        main(commands(), "search", _command(folder, place / "nets")[1:])
    files = [path for path in (place / "nets").rglob("*") if path.is_file()]
    return [{str(path.relative_to(place)): path.read_bytes() for path in files}]


def _edit(files: Files, rng: Random) -> Files:
    name = rng.choice(sorted(files))
    if rng.random() < 0.05:
        return {other: content for other, content in files.items() if other != name or name.endswith("settings.json")}
    change = {".json": change_json, ".txt": change_text}.get(Path(name).suffix, change_checkpoint)
    return {**files, name: change(files[name], rng)}


def _ask(case: Path, beside: Path, rng: Random) -> Command:
    return _command(beside, case / "nets")


FAMILIES = (Family("optimizer folder", _make, _edit, _ask, share=0.7),)
