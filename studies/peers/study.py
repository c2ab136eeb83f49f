"""Gnomon's implementations of HELP and NASFLAT, on the device sets of their own code: `python -m studies.peers.study`
writes runs/peers/summary.json, one row per target device and draw. Needs HELP's public files. Predictors trained on
sources are kept beside it.

HELP is "Hardware-adaptive Efficient Latency Prediction for NAS via Meta-Learning" (Lee et al., NeurIPS 2021), NASFLAT
"On Latency Predictors for Neural Architecture Search" (Akhauri and Abdelfattah, MLSys 2024).
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from datasets.cli import main
from datasets.public.help import HelpFBNet, HelpNasBench201
from datasets.records import InputError, Measurements
from encoders.cell import CellOneHot
from encoders.flat import Totals
from predictors.base import Predictor
from predictors.config import to_config
from predictors.metrics import report
from predictors.new_devices.help_meta import HelpMeta
from predictors.new_devices.nasflat import Nasflat
from studies.parts import run_parts

SOURCES = (
    "1080ti_1",
    "1080ti_32",
    "silver_4114",
    "silver_4210r",
    "samsung_a50",
    "pixel3",
    "essential_ph_1",
    "samsung_s7",
)
ND_SOURCES = (*SOURCES, "1080ti_256")
ND_TARGETS = ("titan_rtx_256", "gold_6226", "fpga", "pixel2", "raspi4", "eyeriss")
FD_SOURCES = (*SOURCES, "1080ti_64")
FD_TARGETS = ("fpga", "raspi4", "eyeriss")
"""HELP's own split of its devices on NAS-Bench-201 and FBNet, which NASFLAT calls ND and FD; other GPUs are unused."""


def fitted(predictor: Nasflat | HelpMeta, train: Measurements, path: Path) -> Nasflat | HelpMeta:
    """The predictor fitted to the sources, or read from `path` where it was fitted before."""
    if path.is_file():
        kept = Predictor.load(path)
        same = to_config(kept) == to_config(predictor) and kept.metadata_["fingerprint"] == train.fingerprint()
        if isinstance(kept, Nasflat | HelpMeta) and same:
            return kept
    start = time.process_time()
    predictor.fit(train, log=lambda message, **numbers: print(f"{path.stem}: {message}", file=sys.stderr, flush=True))
    seconds = time.process_time() - start
    predictor.metadata_ = {"fit_cpu_s": seconds, "fingerprint": train.fingerprint()}
    predictor.save(path)
    return predictor


def scored(
    predictor: Nasflat | HelpMeta,
    m: Measurements,
    cells: int,
    targets: tuple[str, ...],
    shots: list[int],
    draws: int,
    path: Path,
) -> list[dict]:
    """Adapt to each target with numbers of samples, drawn anew each time. Scores are of all other architectures, of
    1,000 of them without the fastest and slowest tenth (HELP's protocol), and of the first 128 (NASFLAT's protocol)."""
    names = [device.name for device in m.devices if device.name not in targets]
    chosen = np.random.default_rng(0).permutation(len(m.architectures))[:cells]
    trained = fitted(predictor, m.where(archs=chosen, devices=names), path)
    place = {key: i for i, key in enumerate(m.architectures.keys)}
    rows = []
    for target in targets:
        truth = m.where(devices=[target]).matrix("latency_ms")[:, 0]
        for samples in shots:
            for draw in range(draws):
                rng = np.random.default_rng(draw)
                chosen_rows = np.array([place[key] for key in trained.choose(m.architectures, samples, rng).keys])
                start = time.process_time()
                adapted = trained.adapt(m.where(archs=chosen_rows, devices=[target]))
                middle = time.process_time()
                predicted = adapted.predict(m.architectures, m.device(target))
                seconds = time.process_time() - middle
                others = np.delete(np.arange(len(truth)), chosen_rows)
                subset = rng.choice(others, 1000, replace=False)
                low, high = np.quantile(truth[subset], [0.1, 0.9])
                subset = subset[(low <= truth[subset]) & (truth[subset] <= high)]
                row = {"device": target, "samples": samples, "draw": draw, **report(truth[others], predicted[others])}
                row["truncated_spearman"] = report(truth[subset], predicted[subset])["spearman"]
                first = others[others < 128]
                row["first_128_spearman"] = report(truth[first], predicted[first])["spearman"]
                row |= {"fit_cpu_s": trained.metadata_["fit_cpu_s"], "adapt_cpu_s": middle - start}
                rows.append(row | {"per_cpu_s": len(truth) / seconds})
                print(row, file=sys.stderr, flush=True)
    return rows


def check(
    out: Path = Path("runs/peers"),
    part: str = "nasflat_nd,help_nd,help_fd,nasflat_fd",
    draws: int = 2,
) -> None:
    """Fit to the sources, adapt to the targets, and write the scores.

    Args:
        out: folder of fitted predictors and of summary.json; rows of parts that are not run are kept.
        part: names of parts, separated by commas: a method and a set of devices (nd: NAS-Bench-201, fd: FBNet).
        draws: number of draws of target samples, each of which is scored.
    """
    if draws < 1:
        raise InputError(f"draws = {draws} must be 1 or more.")
    out.mkdir(parents=True, exist_ok=True)

    def nd() -> Measurements:
        return HelpNasBench201((*ND_SOURCES, *ND_TARGETS)).measurements()

    def fd() -> Measurements:
        return HelpFBNet((*FD_SOURCES, *FD_TARGETS)).measurements()

    # The number of architectures per source device is that of their own code, except HELP's 4,000 on FBNet, and so are
    # NASFLAT's epochs on NAS-Bench-201. To save time, 30 of its 150 epochs on FBNet, at three times its learning rate,
    # and 600 of HELP's 2,000 episodes (4,000 on FBNet).
    nasflat = Nasflat(epochs=150)
    chain = Nasflat(epochs=30, batch_size=64, learning_rate=3e-3, edges=False, supplement=Totals(("flops", "params")))
    chain = replace(chain, adapt_learning_rate=1e-3, adapt_epochs=30)
    graphs, vectors = HelpMeta(episodes=600), HelpMeta(episodes=600, encoder=CellOneHot(), layers=2)
    parts = {
        "nasflat_nd": lambda: scored(nasflat, nd(), 256, ND_TARGETS, [20], draws, out / "nasflat_nd.pt"),
        "help_nd": lambda: scored(graphs, nd(), 900, ND_TARGETS, [10, 20, 30], draws, out / "help_nd.pt"),
        "help_fd": lambda: scored(vectors, fd(), 900, FD_TARGETS, [10, 20, 30], draws, out / "help_fd.pt"),
        "nasflat_fd": lambda: scored(chain, fd(), 800, FD_TARGETS, [20], draws, out / "nasflat_fd.pt"),
    }
    run_parts(parts, part, out)


if __name__ == "__main__":
    main(check, prog="python -m studies.peers.study")
