"""Commands that compare many runs: `compare` those of `train.py`; `transfer` to new devices and `summarise` it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from datasets.cli import main
from datasets.files.folders import Outcome
from datasets.files.reading import shortened
from datasets.records import InputError
from predictors.base import Predictor
from predictors.rows import check_runs


def compare(folder: Path) -> None:
    """Compare all runs in a folder: print the ranking, write summary.json, report.html and the best predictor.

    It is written as best.pt, and as best.onnx if it has an ONNX form. Runs of `transfer` are compared by `summarise`.

    Args:
        folder: holds run folders, for example runs/bundled.
    """
    check_runs(folder)
    from predictors.compare import compare as rank
    from predictors.compare import excluded, is_transfer, read_runs
    from predictors.metrics import LEAST

    if is_transfer(folder):
        return summarise(folder)
    ranked, best = rank(folder)
    rows = [row for run in read_runs(folder).values() for row in run]
    print("Means over devices and seeds, all cells. val_spearman ranks; the other columns are of the test set.\n")
    print(ranked.to_string(index=False, float_format="%.4g", na_rep="undefined"))
    if ranked["val_spearman"].isna().any():
        print("\nundefined: a constant prediction ranks nothing; such predictors come last.")
    if devices := excluded(rows):
        print(f"\nleft out of the means, with fewer than {LEAST} cells: {'; '.join(devices)}")
    onnx = folder / "best.onnx"
    print(f"\nbest:     {best.name}\nreport:   {folder / 'report.html'}")
    print(f"exported: {onnx if onnx.is_file() else 'nothing, it has no ONNX form'}")


@dataclass(frozen=True)
class Sampling:
    """Samples that are measured of each target.

    Attributes:
        shots: numbers of samples; 0: the target's published specifications only.
        draws: number of draws of the samples.
        sampler: own (the predictor's choice), random or fixed (one choice for all draws).
    """

    shots: list[int] = field(default_factory=lambda: [20])
    draws: int = 10
    sampler: str = "own"

    def __post_init__(self) -> None:
        if not self.shots or min(self.shots) < 0 or self.draws < 1:
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
    sweep: Path | None = None,
) -> Outcome:
    """Fit a predictor on the source devices of a set, adapt it to each of its targets and score it there.

    All architectures but the samples are scored; a run folder holds the rows. A complete run is skipped.

    Args:
        predictor: one that can adapt (a file of configs/predictors).
        sets: the file of device sets.
        device_set: the name of the set in it.
        study: the folder of run folders.
        name: of the predictor in the rows; by default its class.
        cells: number of architectures measured on each source device.
        samples: measurements of each target.
        seed: of source cells and draws.
        sources: number of source devices, drawn by the seed; 0: all.
        sweep: instead of all other flags, a sweep file whose incomplete combinations are run.

    Returns:
        Whether the run is done now, was complete before, or is being done by another process.
    """
    from predictors.new_devices.cross_device import run
    from predictors.sweep import run_sweep

    if sweep is not None:
        program = "python -m predictors transfer"
        return run_sweep(sweep, lambda flags: main(transfer, program, flags), program="predictors")
    if predictor is None or not device_set:
        raise InputError("Name a --predictor and a --device_set, or a --sweep of them.")
    if cells < 1 or sources < 0:
        raise InputError(f"--cells must be 1 or more and --sources 0 (all) or more, not {cells} and {sources}.")
    settings = {"cells": cells, **vars(samples), "seed": seed, "sources": sources}
    return run(predictor, sets, device_set, study, name or type(predictor).__name__.lower(), settings)


def summarise(folder: Path) -> None:
    """Summarise the runs of `transfer` in a folder: print the table, write summary.json and report.html.

    Args:
        folder: holds run folders of `transfer`.
    """
    check_runs(folder)
    from predictors.new_devices.transfer_report import gather

    print("Mean Spearman over targets, draws and seeds.\n")
    print(gather(folder).to_string(float_format="%.3f", na_rep=""))
    print(f"\nreport:   {folder / 'report.html'}")
