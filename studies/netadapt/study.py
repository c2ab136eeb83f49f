"""What NetAdapt must show: `python -m studies.netadapt.study` writes runs/netadapt/summary.json.

Here are the tables and the searches for widths in them; whole runs are in netadapt_runs.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from datasets.cli import main
from datasets.records import Device, Networks
from measure.timing import pin
from predictors.networks.layer_sum import LayerSum
from predictors.networks.layer_table import LayerTable
from predictors.networks.tabulated import Tabulated
from search.netadapt.channels import Groups, Widths, find_groups
from search.netadapt.grids import Grid, layers_to_measure, open_network
from search.netadapt.widths import Binary, Exact, Narrowed, Priced, Sequential, WidthSearch
from studies.netadapt.figures import lookups, over_channels, sums_against_direct
from studies.parts import run_parts

OUT = Path("runs/netadapt")
TABLES = Path("datasets/bundled/lookup")
MEASURED = {"small_zoo": ("alexnet", "mobilenet_v1", "resnet"), "zoo": ("alexnet", "mobilenet_v1")}
"""Spaces, whose tables are netadapt_<space>.parquet, and their networks."""
DELTAS = (0.01, 0.025, 0.05)
BUDGET = 0.5
"""The paper's: half of the latency."""
THRESHOLDS = (1, 4, 16, 64)
ROUNDS = 5
"""How often each walk is timed; the fastest counts."""


def table_path(space: str) -> Path:
    """The bundled table of a space's networks."""
    return TABLES / f"netadapt_{space}.parquet"


def groups_of(space: str, network: str) -> Groups:
    return find_groups(open_network(network, space))


def fitted(groups: Groups, space: str, device: Device | None = None) -> LayerTable:
    """The bundled table of a space on a device, corrected by all networks of these groups that it holds."""
    return LayerSum.tabulated(table_path(space), [one.kind for one in groups.layers]).table(device)


class Asked(NamedTuple):
    """One proposal: what was asked and what was found."""

    widths: Widths
    group: int
    limit_ms: float
    found: Narrowed | None


@dataclass
class Walk:
    """A search-only adaptation: where it led and what it took.

    There is no training, so nothing tells accuracy: of the proposals the one stays that takes the smallest share of its
    group's own width for the latency that it wins.
    """

    widths: Widths
    ms: float
    iterations: int
    asked: list[Asked]
    lookups: int
    tried: int
    seconds: float


def walk(search: WidthSearch, delta: float, budget: float = BUDGET) -> Walk:
    """NetAdapt without training, every iteration taking `delta` of the first latency off until a share is left."""
    groups, priced = search.priced.groups, search.priced
    widths, first = groups.sizes.copy(), priced.latency_ms(groups.sizes)
    ms, iterations, asked, seconds, before = first, 0, list[Asked](), 0.0, priced.lookups
    while ms > budget * first:
        limit = max(ms - delta * first, budget * first)
        start = time.process_time()
        found = [search(widths, group, limit) for group in range(len(groups))]
        seconds += time.process_time() - start
        asked += [Asked(widths.copy(), group, limit, one) for group, one in enumerate(found)]
        prices = [
            (widths[i] - one.width) / groups.sizes[i] / (ms - one.latency_ms) if one else np.inf
            for i, one in enumerate(found)
        ]
        best = int(np.argmin(prices))
        if (chosen := found[best]) is None:
            break
        widths[best], ms, iterations = chosen.width, chosen.latency_ms, iterations + 1
    return Walk(widths, ms, iterations, asked, priced.lookups - before, search.tried, seconds)


SEARCHES: dict[str, Callable[[Priced], WidthSearch]] = {
    "sequential": Sequential,
    **{f"binary {threshold}": partial(Binary, threshold=threshold) for threshold in THRESHOLDS},
    "exact": Exact,
}


def searching() -> list[dict]:
    """Line 1: look-ups and time of the searches, by the measured table and by one that holds every step."""
    rows = []
    for network in MEASURED["zoo"]:
        groups = groups_of("zoo", network)
        measured = fitted(groups, "zoo")
        for table, name in ((measured, "measured"), (every_step(measured, groups), "every step")):
            for delta in DELTAS:
                rows += compared(groups, table, {"network": network, "table": name, "delta": delta})
    frame = pd.DataFrame(rows)
    save(lookups(frame[frame["table"] == "measured"]), "searches")
    return [*rows, *summed_up(frame)]


def every_step(table: LayerTable, groups: Groups) -> LayerTable:
    """A table that holds an entry for every width there is, as the paper's do: what is read between measured points."""
    entries = layers_to_measure([groups], Grid(points=0))
    numbers = np.array([table.number(one.kind) for one in entries])
    ins, outs = (np.array([getattr(one, f"channels_{side}") for one in entries]) for side in ("in", "out"))
    return LayerTable.of(zip(entries, table.ms(numbers, ins, outs), strict=True), table.call_ms, table.device)


def compared(groups: Groups, table: LayerTable, told: dict) -> list[dict]:
    """One row a search, beside the sequential one; ratios are of what one proposal takes."""
    rounds = [  # in turns, since the machine's speed drifts
        {name: walk(make(Priced(groups, table)), told["delta"]) for name, make in SEARCHES.items()}
        for _ in range(ROUNDS)
    ]
    walks = {name: min((one[name] for one in rounds), key=lambda one: one.seconds) for name in SEARCHES}
    base = walks["sequential"]
    bound = base.tried / len(base.asked)
    rows = []
    for name, one in walks.items():
        share = len(one.asked) / len(base.asked)
        kept, widest = judged(Sequential(Priced(groups, table)), one.asked)
        row: dict[str, Any] = {
            "search": name,
            "iterations": one.iterations,
            "proposals": len(one.asked),
            "lookups": one.lookups,
            "tried": one.tried,
            "seconds": one.seconds,
            "bound": bound,
            "fewer_lookups": share * base.lookups / one.lookups,
            "faster": share * base.seconds / one.seconds,
            "kept": kept,
            "widest": widest,
            "same_network": float((one.widths == base.widths).all()),
            "groups_that_differ": int((one.widths != base.widths).sum()),
            "ms": one.ms,
            "widths": groups.named(one.widths),
        }
        ratios = {f"{name}_of_bound": row[name] / bound for name in ("fewer_lookups", "faster")}
        rows.append({**told, **row, **ratios})
    return rows


def judged(check: WidthSearch, asked: Sequence[Asked]) -> tuple[float, float]:
    """Share of the found widths that keep their limits, and of all proposals that found the widest there is."""
    kept, widest = [], []
    for one in asked:
        among = check.candidates(int(one.widths[one.group]), one.group)
        changed = np.repeat(one.widths[None], len(among), axis=0)
        changed[:, one.group] = among
        there = among[check.priced.latencies_ms(changed) <= one.limit_ms * (1 + 1e-8)] if len(among) else among
        widest.append((one.found.width if one.found else 0) == there.max(initial=0))
        if one.found:
            kept.append(one.found.width in there)
    return float(np.mean(kept)), float(np.mean(widest))


def summed_up(rows: pd.DataFrame) -> list[dict]:
    """One row a network, table and search: the worst of all deltas."""
    told = []
    for (network, table, search), part in rows.groupby(["network", "table", "search"], sort=False):
        row = {"network": network, "table": table, "search": search, "delta": "worst"}
        names = (
            "fewer_lookups",
            "faster",
            "fewer_lookups_of_bound",
            "faster_of_bound",
            "kept",
            "widest",
            "same_network",
        )
        told.append({**row, **{name: float(part[name].min()) for name in names}})
    return told


def tables() -> list[dict]:
    """How far a table is from direct measurements of whole networks, and Figures 3 and 4.

    A table is fitted to every second network that was measured whole; the others judge it.
    """
    rows = []
    for space, networks in MEASURED.items():
        costs = Tabulated(table_path(space)).learn()
        for device in costs.devices:
            for network in networks:
                told = {"space": space, "network": network, "device": device.name}
                rows += [{**told, **row} for row in summed(groups_of(space, network), costs, device)]
    for space in MEASURED:
        save(sums_against_direct([row for row in rows if row["space"] == space]), f"tables_{space}")
    layers_of_figures()
    return [*rows, *errors(pd.DataFrame(rows))]


def summed(groups: Groups, costs: Tabulated, device: Device) -> list[dict]:
    """One row a network that was measured whole and not fitted to: as measured, as fitted and as a mere sum."""
    plain, whole = LayerSum.summing(costs), costs.whole([one.kind for one in groups.layers])
    assert whole is not None
    order = [key for name, _, key in costs.exact if name == device.name]  # as they were measured there
    whole = whole.where(archs=np.argsort([order.index(key) for key in whole.architectures.keys]))
    networks, direct = Networks.of(whole.architectures), whole.matrix("latency_ms")[:, costs.devices.index(device)]
    model = Priced(groups, plain.calibrated(whole.where(archs=np.arange(0, len(networks), 2))).table(device))
    first = [groups.of_node.index(group) for group in range(len(groups))]  # node that has each group's channels
    widths = np.array([[one.ops[node].attrs["shape"][0] for node in first] for one in networks.networks[1::2]])
    columns = (widths.tolist(), direct[1::2], model.latencies_ms(widths),
               Priced(groups, costs.table(costs.devices.index(device))).latencies_ms(widths))  # fmt: skip
    return [
        {"what": "one", "widths": "-".join(map(str, row)), "direct_ms": ms, "table_ms": fitted, "sum_ms": total,
         "error": 100 * (fitted / ms - 1), "sum_error": 100 * (total / ms - 1)}
        for row, ms, fitted, total in zip(*columns, strict=True)
    ]  # fmt: skip


def errors(rows: pd.DataFrame) -> list[dict]:
    """One row a network and device, and one of all: distances in percent of what was measured."""
    told = []
    parts_ = [(key, part) for key, part in rows.groupby(["space", "network", "device"], sort=False)]
    for key, part in [*parts_, (("all", "all", "all"), rows)]:
        row = {**dict(zip(("space", "network", "device"), key, strict=True)), "what": "all", "networks": len(part)}
        for name in ("error", "sum_error"):
            away = part[name].abs()
            row |= {f"median_{name}": away.median(), f"p90_{name}": away.quantile(0.9), f"worst_{name}": away.max()}
        told.append(row)
    return told


def layers_of_figures() -> None:
    """The paper's Figures 3 and 4: AlexNet's third convolution and its second dense layer."""
    table, groups = Tabulated(table_path("zoo")).learn().table(0), groups_of("zoo", "alexnet")
    kinds = [one.kind for one in groups.layers]
    chosen = {"convolution 3x3, 13 x 13 (AlexNet's last three)": kinds[4], "dense (AlexNet's second)": kinds[9]}
    save(over_channels(table, chosen), "layers")


def save(figure: Figure, name: str) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    figure.savefig(OUT / f"{name}.png", dpi=130)


def parts() -> dict[str, Callable[[], list[dict]]]:
    """All parts by their names, in the order in which they run."""
    from studies.netadapt.runs import PARTS

    return {"tables": tables, "search": searching} | PARTS


def check(chosen: str = "", out: Path = OUT, core: int | None = None) -> None:
    """Run the study.

    Args:
        chosen: parts, separated by commas, by default all; rows of the others stay as they were.
        out: folder of summary.json.
        core: pin this process to one processor core.
    """
    if core is not None:
        pin(core)
    run_parts(parts(), chosen or ",".join(parts()), out)


if __name__ == "__main__":
    main(check, prog="python -m studies.netadapt.study")
