"""Studies: `compare` those of `train.py`; `transfer` to new devices, and `summarise` that."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from datasets.cli import main
from datasets.files.folders import Outcome
from datasets.files.reading import shortened
from datasets.records import InputError
from predictors.base import Predictor


def compare(folder: Path) -> None:
    """Compare all runs in a folder: prints the ranking, writes summary.json, report.html and the best predictor.

    That is best.pt, and best.onnx if it has that form. Runs of `transfer` are compared as `summarise` does.

    Args:
        folder: holds the run folders, as runs/bundled does.
    """
    from predictors.compare import compare as judge
    from predictors.compare import left_out, of_new_devices, read_runs
    from predictors.metrics import LEAST

    if of_new_devices(folder):
        return summarise(folder)
    ranked, best = judge(folder)
    judged = [row for run in read_runs(folder).values() for row in run]
    print("Means over devices and seeds, all cells. val_spearman ranks; the other columns are of the test set.\n")
    print(ranked.to_string(index=False, float_format="%.4g", na_rep="undefined"))
    if ranked["val_spearman"].isna().any():
        print("\nundefined: a constant prediction ranks nothing; such predictors come last.")
    if few := left_out(judged):
        print(f"\nleft out of the means, with fewer than {LEAST} cells: {'; '.join(few)}")
    onnx = folder / "best.onnx"
    print(f"\nbest:     {best.name}\nreport:   {folder / 'report.html'}")
    print(f"exported: {onnx if onnx.is_file() else 'nothing, it has no ONNX form'}")


@dataclass(frozen=True)
class Sampling:
    """What is measured of each target.

    Attributes:
        shots: numbers of samples; 0: the target's published numbers only.
        draws: of the samples.
        sampler: own (the predictor's choice), random or fixed.
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

    Scored are all architectures but the samples; one run folder holds the rows. A run that is complete is skipped.

    Args:
        predictor: one that can adapt (a file of configs/predictors).
        sets: the file of device sets.
        device_set: the name of the set in it.
        study: the folder of run folders.
        name: what rows call the predictor; by default its class.
        cells: architectures measured on each source device.
        samples: what is measured of each target.
        seed: of source cells and draws.
        sources: only so many of the source devices, drawn by the seed; 0: all.
        sweep: alone, instead of all other flags: run every combination of a sweep file that is not complete yet.

    Returns:
        Whether the run is done now, was complete before, or another process is at it.
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
    """Gather the runs of a cross-device study: prints the table, writes summary.json and report.html.

    Args:
        folder: holds the run folders of `transfer`.
    """
    from predictors.new_devices.transfer_report import gather

    print("Mean Spearman over targets, draws and seeds.\n")
    print(gather(folder).to_string(float_format="%.3f", na_rep=""))
    print(f"\nreport:   {folder / 'report.html'}")
