"""The study of energies: `python -m studies.energy.study` writes runs/energy_baselines/summary.json.

Networks are cells of NAS-Bench-201 on a Raspberry Pi 5 with three runtimes and three tasks (HW-NAS-Bench-360), of which
10 or 20 drawn at random have known energies. Each method predicts the others:

- `mj_per_mac`, `mj_per_ms`: one number, the median of the samples; the latter times the *measured* latency of each
  network, which a prediction does not have;
- `power`: one number times the latency that the sum of layers predicts, adapted to the latencies of the samples;
- `power_and_macs`: a power times this latency plus a number times the MACs, by non-negative least squares;
- `sum`: the sum of energies of layers (`predictors.networks.energy`), adapted to the energies of the samples;
- `conditioned`: `Conditioned` with the other two runtimes as sources (configs/predictors/conditioned_energy.yaml).

Single layers are those of dl-energy-estimator on a Xeon, a fifth of each kind held out; `trees` are boosted trees on
the totals of a layer.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from datasets.cli import main
from datasets.public.dl_energy import KINDS, DlEnergy
from datasets.public.pi5 import HwNasBench360
from datasets.records import Measurements
from encoders.cell import CellOneHot
from encoders.flat import Totals
from predictors.linear import Linear
from predictors.metrics import report
from predictors.networks import shipped
from predictors.networks.calibration import totals_of
from predictors.networks.energy import Energies
from predictors.networks.layer_sum import LayerSum
from predictors.new_devices.conditioned import Conditioned
from predictors.scaling import Scale
from predictors.trees import XGBoost
from studies.parts import run_parts

TASKS = ("cifar100", "ninapro", "darcy")
RUNTIMES = ("pi5_litert", "pi5_onnx", "pi5_torchmobile")
SIMPLE = ("mj_per_mac", "power")
"""Methods with one number that need no measurement of the network that they predict."""


class _Kept:
    """A sum of layers and its cost terms [A, S, K] of the cells of a table."""

    def __init__(self, predictor: LayerSum, m: Measurements) -> None:
        self.predictor, (self.costs, _) = predictor, predictor.costs(m.architectures)

    def adapted(self, samples: Measurements) -> np.ndarray:
        """Predictions [A] after adapting to samples."""
        (c,) = self.predictor.adapt(samples).calibrations_
        return totals_of(self.costs[:, c.source], c)


def cells(task: str, size: int) -> Measurements:
    """Connected cells of a task, drawn at random among those that were measured."""
    m = HwNasBench360(task, devices=RUNTIMES).measurements()
    connected = np.flatnonzero(m.architectures.space.connected(m.architectures))
    return m.where(archs=np.sort(np.random.default_rng(0).permutation(connected)[:size]))


def networks(size: int, draws: int) -> Iterable[dict]:
    for task in TASKS:
        m = cells(task, size)
        times = _Kept(pricer := shipped.load(), m)
        energies = _Kept(Energies.like(pricer), m)
        macs = m.architectures.space.totals(m.architectures)["macs"].to_numpy() / 1e6
        for runtime in RUNTIMES:
            own, sources = m.where(devices=[runtime]), [name for name in RUNTIMES if name != runtime]
            line = Linear(metric="energy_mj", scale=Scale("log"), encoder=CellOneHot())
            conditioned = Conditioned(metric="energy_mj", source=line).fit(m.where(devices=sources))
            mj, ms = own.matrix("energy_mj")[:, 0], own.matrix("latency_ms")[:, 0]
            for samples in (10, 20):
                for draw in range(draws):
                    rows = np.sort(np.random.default_rng(draw).choice(len(mj), samples, replace=False))
                    part, others = own.where(archs=rows), np.delete(np.arange(len(mj)), rows)
                    predicted_ms = times.adapted(part)
                    both = np.stack([predicted_ms, macs], axis=1)
                    predicted = {
                        "mj_per_mac": macs * np.median(mj[rows] / macs[rows]),
                        "mj_per_ms": ms * np.median(mj[rows] / ms[rows]),
                        "power": predicted_ms * np.median(mj[rows] / predicted_ms[rows]),
                        "power_and_macs": both @ _rates(both[rows], mj[rows]),
                        "sum": energies.adapted(part),
                        "conditioned": conditioned.adapt(part).predict(m.architectures),
                    }
                    about = {"task": task, "device": runtime, "samples": samples, "draw": draw}
                    yield from _compared(about, {name: y[others] for name, y in predicted.items()}, mj[others])


def _rates(work: np.ndarray, mj: np.ndarray) -> np.ndarray:
    """Non-negative mJ per unit of each column of work [n, k] with the least squared relative error."""
    from scipy.optimize import nnls

    return nnls(work / mj[:, None], np.ones(len(mj)))[0]


def _compared(about: dict, predicted: dict[str, np.ndarray], measured: np.ndarray) -> Iterable[dict]:
    """A row per method; `over_simple` is its MAPE less that of the better of the simple methods."""
    scores = {name: report(measured, y) for name, y in predicted.items()}
    mape = {name: float(score["mape"] or 0) for name, score in scores.items()}
    simple = min(mape[name] for name in SIMPLE)
    for name, score in scores.items():
        row = {**about, "method": name, "mape": mape[name], "spearman": score["spearman"]}
        yield row | {"over_simple": mape[name] - simple}


def layers(draws: int) -> Iterable[dict]:
    """Single layers of each kind; `mj_per_mac` is missing for kinds without MACs."""
    for kind in KINDS:
        m = DlEnergy((kind,)).measurements()
        mj, ms = m.matrix("energy_mj")[:, 0], m.matrix("latency_ms")[:, 0]
        sums = m.architectures.space.totals(m.architectures)
        for draw in range(draws):
            test, train = np.split(np.random.default_rng(draw).permutation(len(mj)), [len(mj) // 5])
            columns = ("macs", "params", "moved_bytes", "peak_bytes")
            trees = XGBoost(metric="energy_mj", scale=Scale("log"), encoder=Totals(columns), trees=300)
            predicted = {
                "mj_per_ms": ms * np.median(mj[train] / ms[train]),
                "trees": trees.fit(m.where(archs=np.sort(train))).predict(m.architectures),
            }
            for name in ("macs", "moved_bytes"):
                if (work := sums[name].to_numpy().astype(float)).all():
                    predicted[f"mj_per_{name}".removesuffix("s")] = work * np.median(mj[train] / work[train])
            for method, y in predicted.items():
                score = report(mj[test], y[test])
                yield {
                    "kind": kind,
                    "draw": draw,
                    "method": method,
                    "mape": score["mape"],
                    "spearman": score["spearman"],
                }


def study(
    out: Path = Path("runs/energy_baselines"), part: str = "networks,layers", cells: int = 1000, draws: int = 5
) -> None:
    """Run the parts and write what they find.

    Args:
        out: folder of summary.json; rows of parts that are not run stay as they are.
        part: names of parts, separated by commas.
        cells: number of cells of each task, samples and others together.
        draws: number of random draws of samples, and of held-out layers.
    """
    run_parts({"networks": lambda: list(networks(cells, draws)), "layers": lambda: list(layers(draws))}, part, out)


if __name__ == "__main__":
    main(study, prog="python -m studies.energy.study")
