"""A trained network is made faster, step by step, until it keeps a latency budget.

The method is "NetAdapt: Platform-Aware Neural Network Adaptation for Mobile Applications" (Yang et al., ECCV 2018).
Each iteration has a slightly lower latency limit. Each group of channels alone is narrowed until the limit is kept (a
proposal), cut by magnitude, tuned for a few steps and scored; the proposal with the smallest loss per latency saved is
taken. A long tuning follows once the budget is kept.

Loss is measured in two ways. `accuracy` is the paper's: the drop from the network of the last iteration. A few hundred
images give it to about one percentage point, and while a network still learns, each proposal's few steps gain some
accuracy, which hides the cost of its cut. `loss` is cross-entropy, which is far less noisy, relative to a control: the
current network, tuned for as many steps on the same images.
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
from search.netadapt.proposals import Outcome, Proposal, Trainer, Workers, derive, loss_rate
from search.netadapt.record import Record, Row
from search.netadapt.widths import Narrowed

Measure = Callable[[Network, Weights], float]
"""Measures the latency in ms of a network with its weights."""

Narrow = Callable[[Widths, int, float], Narrowed | None]
"""Finds, from widths, a group and a limit in ms, the group's width with which the network keeps the limit; None:
none."""


@dataclass(frozen=True)
class Adaptation:
    """Settings of NetAdapt.

    Attributes:
        delta: latency step of the first iteration, as a share of the seed network's latency.
        decay: factor of the step from one iteration to the next.
        steps: tuning steps of each proposal (T).
        long_steps: tuning steps of the network that keeps a budget.
        choice: measure of a proposal's loss: `loss` (cross-entropy relative to a control) or `accuracy`.
        seed: seeds of all tunings are derived from it and the iteration, with `accuracy` from the group too.
        devices: devices of worker processes, one each, such as [cpu,cpu] or [cuda:0,cuda:1]; empty: this process.
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
    ) -> list[AdaptedNetwork]:
        """Adapt to one budget after another; iterations that `folder` holds already are not repeated.

        Args:
            groups: of the seed network.
            start: gives the seed network's trained weights; called once.
            latency_ms: latency by the table of the network with given widths, in ms.
            narrow: search for a group's width.
            trainer: tunes and scores networks.
            ratios: budgets as shares of the seed's latency, descending.
            folder: folder of the record.
            progress: receives a line per iteration.
            measure: true latency of a network with its weights, on the table's scale in ms. Where a network keeps its
                budget by the table only, iterations continue, with the table scaled to the measured latency.

        Raises:
            InputError: `ratios` are no descending shares, or the folder holds another adaptation.
        """
        if not ratios or any(not 0 < b < a for a, b in zip([1.0, *ratios], ratios, strict=False)):
            raise InputError(f"Budgets are shares of the seed's latency, descending from below 1, not {list(ratios)}.")
        settings = {name: value for name, value in asdict(self).items() if name != "devices"}
        about: Row = {"network": groups.network.key, "sizes": groups.named(groups.sizes), "ratios": list(ratios)}
        about["latency_ms"] = float(f"{latency_ms(groups.sizes):.6g}")  # another table would lead elsewhere
        record = Record(folder, {**settings, **about, "trainer": repr(trainer)})
        try:
            with Workers(trainer, self.devices) as workers:
                run = _Run(self, groups, latency_ms, narrow, trainer, workers, record, progress, measure)
                run.begin(start)
                return [run.reach(number, ratio) for number, ratio in enumerate(ratios)]
        finally:
            record.close()


@dataclass(frozen=True)
class AdaptedNetwork:
    """A network adapted to a budget.

    Attributes:
        groups: of the seed network; `groups.resized(widths)` is the network.
        widths: of every group [G].
        weights: after the long tuning.
        latency_ms: by the table, in ms.
        budget_ms: its budget in ms.
        accuracy: on the test set, in percent.
        met: whether the budget is kept; where not, no group could be narrowed further.
        iterations: number of iterations from the seed network.
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
    settings: Adaptation
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
            self.progress(f"continuing after iteration {self._last()['iteration']}")
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

    def reach(self, number: int, ratio: float) -> AdaptedNetwork:
        """Iterate until a budget is kept or no group can be narrowed; then the long tuning."""
        budget = ratio * float(self.record.rows[0]["ms"])
        name, done = f"budget_{ratio:g}", [row for row in self.record.rows if row.get("budget") == ratio]
        if not done:
            limit = budget
            while self._iterate_to(limit) and (limit := self._corrected(limit, budget)) < self._last()["ms"]:
                pass
            done = [self._finish(name, number, ratio, budget)]
        (row,) = done
        widths = self.groups.widths(row["widths"])
        true = row["measured_ms"] if "measured_ms" in row else row["ms"]
        weights = self.record.load(name)
        return AdaptedNetwork(
            self.groups, widths, weights, row["ms"], budget, row["accuracy"], true <= budget, row["iterations"]
        )

    def _iterate_to(self, limit: float) -> bool:
        """Iterate until the latency by the table is within a limit; False where that is impossible."""
        while self._last()["ms"] > limit:
            if not self._iterate(limit):
                return False
        return True

    def _corrected(self, limit: float, budget: float) -> float:
        """The limit by the table with which the budget is truly kept, from the last network's measured latency."""
        if self.measure is None:
            return limit
        last, known = self._last(), self._measured()
        if not known:
            weights = self.record.load(_name(last["iteration"]))
            ms = float(self.measure(self.groups.resized(self.groups.widths(last["widths"])), weights))
            known = {"measured_ms": ms}
            self.record.append({"measured": last["iteration"], "ms": last["ms"], **known})
            self.progress(f"measured: {ms:.4g} ms, by the table {last['ms']:.4g} (budget {budget:.4g})")
        true = known["measured_ms"]
        return limit if true <= budget else min(limit, budget * last["ms"] / true)

    def _measured(self) -> dict[str, float]:
        """The measured latency of the last iteration's network, where there is one."""
        last = self._last()["iteration"]
        rows = [row for row in self.record.rows if row.get("measured") == last]
        return {"measured_ms": rows[-1]["measured_ms"]} if rows else {}

    def _last(self) -> Row:
        return [row for row in self.record.rows if "iteration" in row][-1]

    def _iterate(self, budget: float) -> bool:
        """One iteration; False where no group can be narrowed."""
        clock, last = time.perf_counter(), self._last()
        widths, number = self.groups.widths(last["widths"]), last["iteration"] + 1
        step = self.settings.delta * self.settings.decay ** (number - 1) * float(self.record.rows[0]["ms"])
        limit, found = self._proposals(widths, max(budget, last["ms"] - step), last["ms"])
        if not found:
            self.progress(f"no group can be made narrower at {last['ms']:.4g} ms; the budget is {budget:.4g} ms")
            return False
        weights = self.record.load(_name(last["iteration"]))
        outcomes, control = self._outcomes(
            [self._proposal(widths, weights, number, row) for row in found], widths, number
        )
        rates = list[float]()
        for row, outcome in zip(found, outcomes, strict=True):
            row |= {"accuracy": outcome.accuracy, "loss": outcome.loss}
            row["seconds"] |= outcome.seconds
            won = last["ms"] - max(row["ms"], budget)  # latency below the budget is worth nothing
            lost = last["accuracy"] - outcome.accuracy if control is None else outcome.loss - control
            rates.append(loss_rate(lost, won / step))
        best = int(np.argmin(rates))
        row, weights = found[best], outcomes[best].weights
        chosen = {name: row[name] for name in ("group", "width", "ms", "accuracy", "loss")}
        widths[self.groups.names.index(row["group"])] = row["width"]
        self.record.save(_name(number), weights)
        seconds = time.perf_counter() - clock
        details = {"limit_ms": limit, "widths": self.groups.named(widths), "seconds": seconds, "proposals": found}
        if control is not None:
            details["control"] = control
        self.record.append({"iteration": number, **chosen, **details})
        self.record.drop(_name(number - 1))
        self.progress(
            f"iteration {number}: {row['group']} -> {row['width']}, {row['ms']:.4g} ms (budget {budget:.4g}), "
            f"accuracy {row['accuracy']:.4g} %, {seconds:.1f} s"
        )
        return True

    def _proposals(self, widths: Widths, limit: float, now: float) -> tuple[float, list[Row]]:
        """Each group's width within the limit; where no group has one, with a smaller step."""
        for share in (1.0, 0.5, 0.25, 0.125):
            lower, found = now - share * (now - limit), list[Row]()
            for group, name in enumerate(self.groups.names):
                clock = time.perf_counter()
                narrowed = self.narrow(widths, group, lower)
                searched = {"search": time.perf_counter() - clock}
                if narrowed is not None:
                    proposal = {"group": name, "width": int(narrowed.width), "ms": float(narrowed.latency_ms)}
                    found.append({**proposal, "lookups": int(narrowed.lookups), "seconds": searched})
            if found:
                return lower, found
        return limit, []

    def _proposal(self, widths: Widths, weights: Weights, number: int, row: Row) -> Proposal:
        group = self.groups.names.index(row["group"])
        narrower = np.array(widths)
        narrower[group] = row["width"]
        return Proposal(self.groups, weights, narrower, self.settings.steps, derive(self.settings.seed, number, group))

    def _outcomes(self, proposals: list[Proposal], widths: Widths, number: int) -> tuple[list[Outcome], float | None]:
        """Outcomes of proposals and, with the choice `loss`, the control's loss."""
        if self.settings.choice == "accuracy":
            return list(self.workers(proposals)), None
        same = derive(self.settings.seed, number, len(self.groups))  # the same images for all, in the same order
        proposals = [replace(proposal, seed=same) for proposal in proposals]
        *outcomes, control = self.workers([*proposals, replace(proposals[0], widths=np.array(widths))])
        return outcomes, control.loss

    def _finish(self, name: str, number: int, ratio: float, budget: float) -> Row:
        clock, last = time.perf_counter(), self._last()
        widths, weights = self.groups.widths(last["widths"]), self.record.load(_name(last["iteration"]))
        network = self.groups.resized(widths)
        if self.settings.long_steps:
            weights = self.trainer.tune(
                network, weights, self.settings.long_steps, derive(self.settings.seed, 0, number)
            )
        accuracy, _ = self.trainer.scores(network, weights, "test")
        self.record.save(name, weights)
        result: dict[str, Any] = {"ms": last["ms"], "accuracy": accuracy, "widths": last["widths"]}
        row = {"budget": ratio, "budget_ms": budget, "iterations": last["iteration"], **result, **self._measured()}
        self.record.append(row | {"seconds": time.perf_counter() - clock})
        self.progress(f"budget {budget:.4g} ms: {last['ms']:.4g} ms, test accuracy {accuracy:.4g} %")
        return self.record.rows[-1]


def _name(iteration: int) -> str:
    return f"iteration_{iteration:04d}"
