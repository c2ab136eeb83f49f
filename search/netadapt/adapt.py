"""NetAdapt (Yang et al., ECCV 2018): a trained network made faster, step by step, until it keeps a budget.

Every iteration asks for a little less latency. Each group of channels alone is made as narrow as that takes (a
proposal), cut by magnitude, tuned for a few steps and scored; the one that loses least for the latency it wins stays.
A long tuning follows once the budget is kept.

What is lost may be counted in two ways. `accuracy` is the paper's: against the network as the last iteration left it. A
few hundred images tell it to about a point, and while a network still learns, every proposal's few steps gain some,
which hides what its cut costs. `loss` is cross-entropy, which is far less noisy, and against a control: the network as
it is, tuned for as many steps on the same images.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from datasets.networks.model import Weights
from datasets.networks.network import Network
from datasets.records import InputError
from search.base import Progress, silent
from search.netadapt.channels import Groups, Widths
from search.netadapt.proposals import Proposal, Trainer, Tried, Workers, derive, price
from search.netadapt.record import Record, Row
from search.netadapt.widths import Narrowed

Measure = Callable[[Network, Weights], float]
"""A network and its weights to its latency in ms."""

Narrow = Callable[[Widths, int, float], Narrowed | None]
"""Widths, a group and a limit in ms to the width with which the network keeps the limit; None: no width does."""


@dataclass(frozen=True)
class Adaptation:
    """How a network is adapted.

    Attributes:
        delta: latency that the first iteration takes off, as a share of the seed network's.
        decay: of that step, from one iteration to the next.
        steps: tuning steps of every proposal (T).
        long_steps: tuning steps of the network that keeps a budget.
        choice: what a proposal's loss is counted in: `loss` (cross-entropy, against a control) or `accuracy`.
        seed: every tuning's own is drawn from it and the iteration, and by `accuracy` from the group too.
        devices: one worker process for each, as [cpu,cpu] or [cuda:0,cuda:1]; none: all in this process.
    """

    delta: float = 0.05
    decay: float = 0.96
    steps: int = 10
    long_steps: int = 200
    choice: Literal["loss", "accuracy"] = "loss"
    seed: int = 0
    devices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (0 < self.delta < 1 and 0 < self.decay <= 1) or min(self.steps, self.long_steps, self.seed) < 0:
            raise InputError(
                f"An adaptation takes a delta between 0 and 1, a decay above 0 up to 1 and no negative steps, not "
                f"{self.delta:g}, {self.decay:g}, {self.steps} and {self.long_steps}."
            )

    def __call__(
        self,
        groups: Groups,
        start: Callable[[], Weights],
        latency_ms: Callable[[Widths], float],
        narrow: Narrow,
        trainer: Trainer,
        ratios: Sequence[float],
        folder: Path,
        progress: Progress = silent,
        measure: Measure | None = None,
    ) -> list[Adapted]:
        """Adapt to one budget after another; what `folder` holds already is not done again.

        Args:
            groups: of the seed network.
            start: gives the seed network's trained weights; asked once.
            latency_ms: of the network with these widths.
            narrow: search for a group's width.
            trainer: tunes and scores.
            ratios: budgets as shares of the seed's latency, descending.
            folder: of the record.
            progress: is told every iteration.
            measure: true latency of a network with its weights, in the same milliseconds. Where a network keeps its
                budget by the table only, iterations go on, with the table scaled to what was measured.

        Raises:
            InputError: the budgets are none, or the folder holds another adaptation.
        """
        if not ratios or any(not 0 < b < a for a, b in zip([1.0, *ratios], ratios, strict=False)):
            raise InputError(f"Budgets are shares of the seed's latency, descending from below 1, not {list(ratios)}.")
        settings = {name: value for name, value in asdict(self).items() if name != "devices"}
        told: Row = {"network": groups.network.key, "sizes": groups.named(groups.sizes), "ratios": list(ratios)}
        told["latency_ms"] = float(f"{latency_ms(groups.sizes):.6g}")  # another table would lead elsewhere
        record = Record(folder, {**settings, **told, "trainer": repr(trainer)})
        try:
            with Workers(trainer, self.devices) as workers:
                run = _Run(self, groups, latency_ms, narrow, trainer, workers, record, progress, measure)
                run.begin(start)
                return [run.reach(number, ratio) for number, ratio in enumerate(ratios)]
        finally:
            record.close()


@dataclass(frozen=True)
class Adapted:
    """A network that was adapted to a budget.

    Attributes:
        groups: of the seed network; `groups.resized(widths)` is the network.
        widths: of every group [G].
        weights: after the long tuning.
        latency_ms: as the table says.
        budget_ms: what it had to keep.
        accuracy: on the test set, in percent.
        met: whether the budget is kept; no group could be made narrower where not.
        iterations: that it took from the seed.
    """

    groups: Groups
    widths: Widths
    weights: Weights
    latency_ms: float
    budget_ms: float
    accuracy: float
    met: bool
    iterations: int


@dataclass
class _Run:
    how: Adaptation
    groups: Groups
    latency_ms: Callable[[Widths], float]
    narrow: Narrow
    trainer: Trainer
    workers: Workers
    record: Record
    progress: Progress
    measure: Measure | None

    def begin(self, start: Callable[[], Weights]) -> None:
        if self.record.rows:
            self.progress(f"going on behind iteration {self._last()['iteration']}")
            return
        clock = time.perf_counter()
        weights = start()
        self.record.save(_name(0), weights)
        accuracy, loss = self.trainer.scores(self.groups.network, weights)
        ms = float(self.latency_ms(self.groups.sizes))
        seconds = time.perf_counter() - clock
        widths = self.groups.named(self.groups.sizes)
        scores = {"accuracy": accuracy, "loss": loss}
        self.record.append({"iteration": 0, "ms": ms, **scores, "widths": widths, "seconds": seconds})
        self.progress(f"seed: {ms:.4g} ms, accuracy {accuracy:.4g} %")

    def reach(self, number: int, ratio: float) -> Adapted:
        """Iterate until a budget is kept, or nothing can be made narrower; then the long tuning."""
        budget = ratio * float(self.record.rows[0]["ms"])
        name, done = f"budget_{ratio:g}", [row for row in self.record.rows if row.get("budget") == ratio]
        if not done:
            limit = budget
            while self._go_on_to(limit) and (limit := self._corrected(limit, budget)) < self._last()["ms"]:
                pass
            done = [self._finish(name, number, ratio, budget)]
        (row,) = done
        widths = self.groups.widths(row["widths"])
        true = row["measured_ms"] if "measured_ms" in row else row["ms"]
        weights = self.record.load(name)
        return Adapted(
            self.groups, widths, weights, row["ms"], budget, row["accuracy"], true <= budget, row["iterations"]
        )

    def _go_on_to(self, limit: float) -> bool:
        """Iterate until the table's latency is within a limit; False where it cannot be."""
        while self._last()["ms"] > limit:
            if not self._iterate(limit):
                return False
        return True

    def _corrected(self, limit: float, budget: float) -> float:
        """What the table may say so that the budget is truly kept, as the last network's measurement tells."""
        if self.measure is None:
            return limit
        last, known = self._last(), self._measured()
        if not known:
            weights = self.record.load(_name(last["iteration"]))
            ms = float(self.measure(self.groups.resized(self.groups.widths(last["widths"])), weights))
            known = {"measured_ms": ms}
            self.record.append({"measured": last["iteration"], "ms": last["ms"], **known})
            self.progress(f"measured: {ms:.4g} ms where the table says {last['ms']:.4g} (budget {budget:.4g})")
        true = known["measured_ms"]
        return limit if true <= budget else min(limit, budget * last["ms"] / true)

    def _measured(self) -> dict[str, float]:
        """The measurement of the last iteration's network, if there is one."""
        of = self._last()["iteration"]
        rows = [row for row in self.record.rows if row.get("measured") == of]
        return {"measured_ms": rows[-1]["measured_ms"]} if rows else {}

    def _last(self) -> Row:
        return [row for row in self.record.rows if "iteration" in row][-1]

    def _iterate(self, budget: float) -> bool:
        """One iteration; False where no group can take anything off any more."""
        clock, last = time.perf_counter(), self._last()
        widths, number = self.groups.widths(last["widths"]), last["iteration"] + 1
        step = self.how.delta * self.how.decay ** (number - 1) * float(self.record.rows[0]["ms"])
        limit, found = self._proposals(widths, max(budget, last["ms"] - step), last["ms"])
        if not found:
            self.progress(f"no group can be made narrower at {last['ms']:.4g} ms; the budget is {budget:.4g} ms")
            return False
        weights = self.record.load(_name(last["iteration"]))
        tried, control = self._tried([self._proposal(widths, weights, number, row) for row in found], widths, number)
        worths = list[float]()
        for row, one in zip(found, tried, strict=True):
            row |= {"accuracy": one.accuracy, "loss": one.loss}
            row["seconds"] |= one.seconds
            won = last["ms"] - max(row["ms"], budget)  # what is won beyond the budget is of no use
            lost = last["accuracy"] - one.accuracy if control is None else one.loss - control
            worths.append(price(lost, won / step))
        best = int(np.argmin(worths))
        row, weights = found[best], tried[best].weights
        chosen = {name: row[name] for name in ("group", "width", "ms", "accuracy", "loss")}
        widths[self.groups.names.index(row["group"])] = row["width"]
        self.record.save(_name(number), weights)
        seconds = time.perf_counter() - clock
        told = {"limit_ms": limit, "widths": self.groups.named(widths), "seconds": seconds, "proposals": found}
        if control is not None:
            told["control"] = control
        self.record.append({"iteration": number, **chosen, **told})
        self.record.drop(_name(number - 1))
        self.progress(
            f"iteration {number}: {row['group']} -> {row['width']}, {row['ms']:.4g} ms (budget {budget:.4g}), "
            f"accuracy {row['accuracy']:.4g} %, {seconds:.1f} s"
        )
        return True

    def _proposals(self, widths: Widths, limit: float, now: float) -> tuple[float, list[Row]]:
        """Every group's width within the limit; where no group has any, a smaller step is asked for."""
        for share in (1.0, 0.5, 0.25, 0.125):
            asked, found = now - share * (now - limit), list[Row]()
            for group, name in enumerate(self.groups.names):
                clock = time.perf_counter()
                narrowed = self.narrow(widths, group, asked)
                searched = {"search": time.perf_counter() - clock}
                if narrowed is not None:
                    told = {"group": name, "width": int(narrowed.width), "ms": float(narrowed.latency_ms)}
                    found.append({**told, "lookups": int(narrowed.lookups), "seconds": searched})
            if found:
                return asked, found
        return limit, []

    def _proposal(self, widths: Widths, weights: Weights, number: int, row: Row) -> Proposal:
        group = self.groups.names.index(row["group"])
        narrower = np.array(widths)
        narrower[group] = row["width"]
        return Proposal(self.groups, weights, narrower, self.how.steps, derive(self.how.seed, number, group))

    def _tried(self, proposals: list[Proposal], widths: Widths, number: int) -> tuple[list[Tried], float | None]:
        """What proposals became and, where they are judged by loss, that of the network as it is."""
        if self.how.choice == "accuracy":
            return list(self.workers(proposals)), None
        same = derive(self.how.seed, number, len(self.groups))  # the same images for all, in the same order
        proposals = [replace(one, seed=same) for one in proposals]
        *tried, control = self.workers([*proposals, replace(proposals[0], widths=np.array(widths))])
        return tried, control.loss

    def _finish(self, name: str, number: int, ratio: float, budget: float) -> Row:
        clock, last = time.perf_counter(), self._last()
        widths, weights = self.groups.widths(last["widths"]), self.record.load(_name(last["iteration"]))
        network = self.groups.resized(widths)
        if self.how.long_steps:
            weights = self.trainer.tune(network, weights, self.how.long_steps, derive(self.how.seed, 0, number))
        accuracy, _ = self.trainer.scores(network, weights, "test")
        self.record.save(name, weights)
        told: dict[str, Any] = {"ms": last["ms"], "accuracy": accuracy, "widths": last["widths"]}
        row = {"budget": ratio, "budget_ms": budget, "iterations": last["iteration"], **told, **self._measured()}
        self.record.append(row | {"seconds": time.perf_counter() - clock})
        self.progress(f"budget {budget:.4g} ms: {last['ms']:.4g} ms, test accuracy {accuracy:.4g} %")
        return self.record.rows[-1]


def _name(iteration: int) -> str:
    return f"iteration_{iteration:04d}"
