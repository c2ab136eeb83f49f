"""Commands that compare many runs: `compare` those of `train.py`; `transfer` to new devices and `summarise` it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.files.folders import Outcome
from datasets.files.reading import shortened
from datasets.records import InputError
from predictors.base import Predictor
from predictors.rows import check_runs

if TYPE_CHECKING:
    import pandas as pd


def compare(folder: Path, against: str = "") -> None:
    """Compare all runs in a folder: print the ranking, write summary.json, report.html and the best predictor.

    The ranking has one line per configuration; settings that differ are columns, and seeds are averaged over, with 95 %
    confidence intervals by Student's t. The best predictor is written as best.pt, and as best.onnx if it has an ONNX
    form. Runs of `transfer` are compared by `summarise`.

    Args:
        folder: folder of run folders, for example runs/bundled.
        against: compare each line with this one too, paired by the seed of the split: its number in the ranking, its
            name (gcn-hidden=64), or a predictor's name.
    """
    check_runs(folder)
    from predictors.compare import compare as rank
    from predictors.compare import is_transfer, read_runs
    from predictors.metrics import LEAST
    from predictors.ranking import differences, excluded, why_undefined

    if is_transfer(folder):
        if against:
            raise InputError(f"{folder} holds runs of `transfer`, whose differences are in its report; omit --against.")
        return summarise(folder)
    ranked, best = rank(folder, against)
    rows = [row for run in read_runs(folder).values() for row in run]
    print("Means over devices and seeds, all cells. val_spearman ranks; the other columns are of the test set.")
    print(_intervals(ranked, "± 95 % confidence interval over seeds."))
    print(_text(ranked))
    for reason in why_undefined(rows):
        print(f"\nundefined: {reason}")
    if against:
        paired = differences(rows, against)
        print(f"\nDifferences to {against}, test set, paired by seed of the split.")
        print(_intervals(paired, "± 95 % confidence interval."))
        print(_text(paired.reset_index()))
    if devices := excluded(rows):
        print(f"\nleft out of the means, with fewer than {LEAST} cells: {'; '.join(devices)}")
    onnx = folder / "best.onnx"
    print(f"\nbest:     {best.name if best else 'none, since nothing is ranked'}\nreport:   {folder / 'report.html'}")
    print(f"exported: {onnx if onnx.is_file() else 'nothing, it has no ONNX form' if best else 'nothing'}")


def _intervals(table: pd.DataFrame, sentence: str) -> str:
    """The sentence, if a column of the table has an interval."""
    return f"{sentence}\n" if table.filter(regex="_ci$").notna().any(axis=None) else ""


def _text(table: pd.DataFrame) -> str:
    """The table in columns, each number with half the width of its interval where it has one."""
    shown: dict[str, list[str]] = {}
    for name in (name for name in map(str, table) if not name.endswith("_ci")):
        ends = table.get(f"{name}_ci", [float("nan")] * len(table))
        shown[name] = [_cell(value, end) for value, end in zip(table[name], ends, strict=True)]
    longest = {name: max(map(len, [name, *cells])) for name, cells in shown.items()}
    lines = [[name.rjust(longest[name]) for name in shown]]
    lines += [[cells[i].rjust(longest[name]) for name, cells in shown.items()] for i in range(len(table))]
    return "\n".join("  ".join(line) for line in lines)


def _cell(value: object, end: float) -> str:
    if value is None or value != value:
        return "undefined" if isinstance(value, float) else "-"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if end != end else f"{text} ± {end:.2g}"


@dataclass(frozen=True)
class Sampling:
    """Samples that are measured of each target.

    Attributes:
        shots: number of samples, or several of them; 0: the target's published specifications only.
        draws: number of draws of the samples.
        sampler: choice of the samples: own (the predictor's choice), random or fixed (one choice for all draws).
    """

    shots: int | list[int] = 20
    draws: int = 10
    sampler: str = "own"

    def __post_init__(self) -> None:
        shots = self.shots if isinstance(self.shots, list) else [self.shots]
        if not shots or min(shots) < 0 or self.draws < 1:
            raise InputError(
                f"Name numbers of samples, each 0 or more, and a draw or more, not "
                f"{shortened(self.shots)} and {self.draws}."
            )


def transfer(
    predictor: Predictor | None = None,
    sets: Path = Path("configs/device_sets/nasflat.yaml"),
    device_set: str = "",
    study: Path = Path("runs/transfer"),
    name: str = "",
    cells: int = 900,
    samples: Sampling = Sampling(),
    seed: int = 0,
    sources: int = 0,
    label: str = "",
) -> Outcome:
    """Fit a predictor on the source devices of a set, adapt it to each of its targets and score it there.

    All architectures but the samples are scored; a run folder holds the rows. A complete run is skipped. With --sweep
    FILE, a sweep in W&B's format, all its combinations are run; other flags are given to every run, and replace the
    sweep's parameters of the same name.

    Args:
        predictor: predictor that can adapt (a file of configs/predictors).
        sets: the file of device sets.
        device_set: the name of the set in it.
        study: the folder of run folders.
        name: name of the predictor in the rows; by default its class.
        cells: number of architectures measured on each source device.
        samples: measurements of each target.
        seed: seed of source cells and draws.
        sources: number of source devices, drawn by the seed; 0: all.
        label: name of the run folder, after the predictor's name; by default the settings that the command line names,
            of a sweep those that vary.

    Returns:
        Whether the run is done now, was complete before, or is being done by another process.
    """
    from predictors.new_devices.cross_device import run

    if predictor is None or not device_set:
        raise InputError("Name a --predictor and a --device_set, or a --sweep of them.")
    if cells < 1 or sources < 0:
        raise InputError(f"--cells must be 1 or more and --sources 0 (all) or more, not {cells} and {sources}.")
    shots = samples.shots if isinstance(samples.shots, list) else [samples.shots]
    settings = {"cells": cells, **vars(samples), "shots": shots, "seed": seed, "sources": sources}
    return run(predictor, sets, device_set, study, name or type(predictor).__name__.lower(), settings, label)


def summarise(folder: Path) -> None:
    """Summarise the runs of `transfer` in a folder: print the table, write summary.json and report.html.

    Args:
        folder: folder of run folders of `transfer`.
    """
    check_runs(folder)
    from predictors.new_devices.transfer_report import gather

    print("Mean Spearman over targets, draws and seeds.\n")
    print(gather(folder).to_string(float_format="%.3f", na_rep=""))
    print(f"\nreport:   {folder / 'report.html'}")
