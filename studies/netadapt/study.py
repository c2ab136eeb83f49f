"""NetAdapt's study: `python -m studies.netadapt.study` writes runs/netadapt/summary.json.

The method is "NetAdapt: Platform-Aware Neural Network Adaptation for Mobile Applications" (Yang et al., ECCV 2018);
"the paper" is "Assessing the performance of an architecture-aware optimization tool for neural networks" (Marichal et
al.), which makes its search binary. This module has the tables and the searches for widths in them; whole adaptations
are in runs.py.
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

from datasets.cli import main
from datasets.records import Device, Networks
from measure.timing import pin
from predictors.networks.layer_sum import LayerSum
from predictors.networks.layer_table import LayerTable
from predictors.networks.tabulated import Tabulated
from search.netadapt.channels import Groups, Widths, find_groups
from search.netadapt.grids import Grid, layers_to_measure, open_network
from search.netadapt.widths import Binary, Exact, Narrowed, PricedNetwork, Sequential, WidthSearch
from studies.netadapt.adaptations import OUT, save
from studies.netadapt.figures import lookups, over_channels, sums_against_direct
from studies.parts import run_parts

TABLES = Path("datasets/bundled/lookup")
MEASURED = {"small_zoo": ("alexnet", "mobilenet_v1", "resnet"), "zoo": ("alexnet", "mobilenet_v1")}
"""Networks by space, whose table is netadapt_<space>.parquet."""
DELTAS = (0.01, 0.025, 0.05)
BUDGET = 0.5
"""The paper's budget: half of the latency."""
THRESHOLDS = (1, 4, 16, 64)
ROUNDS = 5
"""Number of timings per walk, of which the fastest counts."""


def table_path(space: str) -> Path:
    """The bundled table of a space's networks."""
    return TABLES / f"netadapt_{space}.parquet"


def groups_of(space: str, network: str) -> Groups:
    return find_groups(open_network(network, space))


def fitted(groups: Groups, space: str, device: Device | None = None) -> LayerTable:
    """The bundled table of a space on a device, corrected by all networks of these groups that it holds."""
    return LayerSum.tabulated(table_path(space), [layer.kind for layer in groups.layers]).table(device)


class Query(NamedTuple):
    """One search for a proposal: its arguments and its result."""

    widths: Widths
    group: int
    limit_ms: float
    found: Narrowed | None


@dataclass
class Walk:
    """The result and effort of an adaptation without training.

    Without accuracies, the proposal is taken that removes the smallest share of its group's width per latency saved.
    """

    widths: Widths
    ms: float
    iterations: int
    queries: list[Query]
    lookups: int
    tried: int
    seconds: float


def walk(search: WidthSearch, delta: float, budget: float = BUDGET) -> Walk:
    """NetAdapt without training: each iteration saves `delta` of the first latency until the share `budget` is left."""
    groups, priced = search.priced.groups, search.priced
    widths, first = groups.sizes.copy(), priced.latency_ms(groups.sizes)
    ms, iterations, queries, seconds, before = first, 0, list[Query](), 0.0, priced.lookups
    while ms > budget * first:
        limit = max(ms - delta * first, budget * first)
        start = time.process_time()
        found = [search(widths, group, limit) for group in range(len(groups))]
        seconds += time.process_time() - start
        queries += [Query(widths.copy(), group, limit, narrowed) for group, narrowed in enumerate(found)]
        prices = [
            (widths[i] - narrowed.width) / groups.sizes[i] / (ms - narrowed.latency_ms) if narrowed else np.inf
            for i, narrowed in enumerate(found)
        ]
        best = int(np.argmin(prices))
        if (chosen := found[best]) is None:
            break
        widths[best], ms, iterations = chosen.width, chosen.latency_ms, iterations + 1
    return Walk(widths, ms, iterations, queries, priced.lookups - before, search.tried, seconds)


SEARCHES: dict[str, Callable[[PricedNetwork], WidthSearch]] = {
    "sequential": Sequential,
    **{f"binary {threshold}": partial(Binary, threshold=threshold) for threshold in THRESHOLDS},
    "exact": Exact,
}


def searching() -> list[dict]:
    """Look-ups and time of the searches, by the measured table and by one with an entry for all widths."""
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
    """A table with an entry for all widths, interpolated between measured points; the paper's tables have all
    widths."""
    entries = layers_to_measure([groups], Grid(points=0))
    numbers = np.array([table.number(entry.kind) for entry in entries])
    ins, outs = (np.array([getattr(entry, f"channels_{side}") for entry in entries]) for side in ("in", "out"))
    return LayerTable.of(zip(entries, table.ms(numbers, ins, outs), strict=True), table.call_ms, table.device)


def compared(groups: Groups, table: LayerTable, about: dict) -> list[dict]:
    """One row per search, relative to the sequential one; ratios are per proposal."""
    rounds = [  # in turns, since the machine's speed drifts
        {name: walk(make(PricedNetwork(groups, table)), about["delta"]) for name, make in SEARCHES.items()}
        for _ in range(ROUNDS)
    ]
    walks = {name: min((walked[name] for walked in rounds), key=lambda walked: walked.seconds) for name in SEARCHES}
    base = walks["sequential"]
    bound = base.tried / len(base.queries)
    rows = []
    for name, walked in walks.items():
        share = len(walked.queries) / len(base.queries)
        kept, widest = judged(Sequential(PricedNetwork(groups, table)), walked.queries)
        row: dict[str, Any] = {
            "search": name,
            "iterations": walked.iterations,
            "proposals": len(walked.queries),
            "lookups": walked.lookups,
            "tried": walked.tried,
            "seconds": walked.seconds,
            "bound": bound,
            "fewer_lookups": share * base.lookups / walked.lookups,
            "faster": share * base.seconds / walked.seconds,
            "kept": kept,
            "widest": widest,
            "same_network": float((walked.widths == base.widths).all()),
            "groups_that_differ": int((walked.widths != base.widths).sum()),
            "ms": walked.ms,
            "widths": groups.named(walked.widths),
        }
        ratios = {f"{name}_of_bound": row[name] / bound for name in ("fewer_lookups", "faster")}
        rows.append({**about, **row, **ratios})
    return rows


def judged(check: WidthSearch, queries: Sequence[Query]) -> tuple[float, float]:
    """Share of the found widths that keep their limits, and of all queries that found the largest width."""
    kept, widest = [], []
    for query in queries:
        among = check.candidates(int(query.widths[query.group]), query.group)
        changed = np.repeat(query.widths[None], len(among), axis=0)
        changed[:, query.group] = among
        keeping = among[check.priced.latencies_ms(changed) <= query.limit_ms * (1 + 1e-8)] if len(among) else among
        widest.append((query.found.width if query.found else 0) == keeping.max(initial=0))
        if query.found:
            kept.append(query.found.width in keeping)
    return float(np.mean(kept)), float(np.mean(widest))


def summed_up(rows: pd.DataFrame) -> list[dict]:
    """One row per network, table and search: the worst of all deltas."""
    summaries = []
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
        summaries.append({**row, **{name: float(part[name].min()) for name in names}})
    return summaries


def tables() -> list[dict]:
    """Errors of tables on whole networks that were measured directly, and Figures 3 and 4.

    A table is fitted to every second whole network; the others are the test set.
    """
    rows = []
    for space, networks in MEASURED.items():
        costs = Tabulated(table_path(space)).learn()
        for device in costs.devices:
            for network in networks:
                about = {"space": space, "network": network, "device": device.name}
                rows += [{**about, **row} for row in summed(groups_of(space, network), costs, device)]
    for space in MEASURED:
        save(sums_against_direct([row for row in rows if row["space"] == space]), f"tables_{space}")
    layers_of_figures()
    return [*rows, *errors(pd.DataFrame(rows))]


def summed(groups: Groups, costs: Tabulated, device: Device) -> list[dict]:
    """One row per whole network of the test set: measured latency, by the fitted table, and the plain sum of layers."""
    plain, whole = LayerSum.summing(costs), costs.whole([layer.kind for layer in groups.layers])
    assert whole is not None
    order = [key for name, _, key in costs.exact if name == device.name]  # the order of measurement
    whole = whole.where(archs=np.argsort([order.index(key) for key in whole.architectures.keys]))
    networks, direct = Networks.of(whole.architectures), whole.matrix("latency_ms")[:, costs.devices.index(device)]
    model = PricedNetwork(groups, plain.calibrated(whole.where(archs=np.arange(0, len(networks), 2))).table(device))
    first = [groups.of_node.index(group) for group in range(len(groups))]  # a node with each group's channels
    widths = np.array([[network.ops[node].attrs["shape"][0] for node in first] for network in networks.networks[1::2]])
    columns = (widths.tolist(), direct[1::2], model.latencies_ms(widths),
               PricedNetwork(groups, costs.table(costs.devices.index(device))).latencies_ms(widths))  # fmt: skip
    return [
        {"what": "one", "widths": "-".join(map(str, row)), "direct_ms": ms, "table_ms": fitted, "sum_ms": total,
         "error": 100 * (fitted / ms - 1), "sum_error": 100 * (total / ms - 1)}
        for row, ms, fitted, total in zip(*columns, strict=True)
    ]  # fmt: skip


def errors(rows: pd.DataFrame) -> list[dict]:
    """One row per network and device, and one of all: errors in percent of the measured latency."""
    summaries = []
    parts_ = [(key, part) for key, part in rows.groupby(["space", "network", "device"], sort=False)]
    for key, part in [*parts_, (("all", "all", "all"), rows)]:
        row = {**dict(zip(("space", "network", "device"), key, strict=True)), "what": "all", "networks": len(part)}
        for name in ("error", "sum_error"):
            size = part[name].abs()
            row |= {f"median_{name}": size.median(), f"p90_{name}": size.quantile(0.9), f"worst_{name}": size.max()}
        summaries.append(row)
    return summaries


def layers_of_figures() -> None:
    """The paper's Figures 3 and 4: AlexNet's third convolution and its second dense layer."""
    table, groups = Tabulated(table_path("zoo")).learn().table(0), groups_of("zoo", "alexnet")
    kinds = [layer.kind for layer in groups.layers]
    chosen = {"convolution 3x3, 13 x 13 (AlexNet's last three)": kinds[4], "dense (AlexNet's second)": kinds[9]}
    save(over_channels(table, chosen), "layers")


def parts() -> dict[str, Callable[[], list[dict]]]:
    """All parts by name, in the order in which they run."""
    from studies.netadapt.runs import PARTS

    return {"tables": tables, "search": searching} | PARTS


def check(chosen: str = "", out: Path = OUT, core: int | None = None) -> None:
    """Run the study.

    Args:
        chosen: names of parts, separated by commas; by default all. Rows of the others are kept.
        out: folder of summary.json.
        core: pin this process to one processor core.
    """
    if core is not None:
        pin(core)
    run_parts(parts(), chosen or ",".join(parts()), out)


if __name__ == "__main__":
    main(check, prog="python -m studies.netadapt.study")
