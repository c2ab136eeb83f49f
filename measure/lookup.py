"""A network's latency as the sum of its layers' (LETI, Table 1), and why the sum is not the whole.

One entry of the table is one op with the batch norms and activations that follow it and that nothing else reads, as
runtimes fold them. What never reaches the output, and what only constants feed, is left out, as compilers leave it out
(eager PyTorch runs it). Equal entries are measured once. An entry runs alone with the shapes that it has in the
network: its main input is bound; another input is the same tensor where the shapes agree and a constant where not.

A sum is wrong for reasons that can be measured, each by a second sum:

- every session costs something before it computes anything: the latency of one that computes a single number;
- a layer measured alone finds its weights in the cache: `cold`, where the cache is overwritten before each run (of
  the layer, of the network and of that smallest session, since a cold call costs more too);
- a layer measured alone pays for what a runtime does at borders (layouts) and misses what it fuses across them:
  `paired`, where an entry costs what it adds to the entry before it (alone, where a runtime gets the pair wrong:
  onnxruntime 1.31 makes zeros before a max pool part of the pool, whose own padding is none).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from datasets.files.reading import read_text
from datasets.networks.network import SMALLEST, Network, of_key
from datasets.networks.parts import cut, entries, label
from datasets.records import InputError
from measure.base import Backend
from measure.bench import Bench, Measure, Row, shaped
from measure.campaign import Chosen, Journal, Task, pending, run_campaign
from measure.rows import device_name

COLD = {"flush_mb": 64, "pairs": 31, "max_rounds": 1}
"""How cold runs are timed: overwriting the cache takes far longer than they do."""


def layers_of(chosen: Chosen) -> Chosen:
    """What a campaign measures for a look-up table: every layer of some networks once, alone, and a session that
    computes a single number (`SMALLEST`)."""
    archs, prepare = chosen
    networks = (prepare(arch, 1).network for arch in archs)
    layers = (cut(network, nodes) for network in networks for nodes in entries(network))
    return list({layer.key: layer for layer in (SMALLEST, *layers)}.values()), shaped


def listed_layers(path: Path | None) -> Chosen:
    """The layers of a file, one text of `cut` a line, and a session that computes a single number."""
    if path is None:
        raise InputError("Layers are listed in a file; name one that `python -m search layers` wrote with --archs.")
    lines = read_text(path, "name a list of layers that `python -m search layers` wrote").splitlines()
    try:
        found = [of_key(line) for line in lines]
    except InputError as error:
        raise InputError(f"{path} is no list of layers: {error}") from error
    return [SMALLEST, *found], shaped


@dataclass(frozen=True)
class Entry:
    """A layer alone, the one that its main input comes from, and both together (None: it reads the network's input)."""

    alone: Network
    before: Network | None
    pair: Network | None


def decompose(network: Network) -> list[Entry]:
    """The entries of a shaped network, equal ones as often as they are there."""
    groups, inputs = entries(network), network.sources()
    owner = {node: group for group in groups for node in group}
    table = []
    for group in groups:
        first = owner.get(inputs[group[0]][0])
        both = (cut(network, first), cut(network, first + group)) if first else (None, None)
        table.append(Entry(cut(network, group), *both))
    return table


@dataclass
class Lookup:
    """Measures a network and the layers that it is the sum of; what the journal holds is not measured again.

    Attributes:
        backend: where.
        journal: of all measurements.
        passes: how often everything is measured, apart in time; +- is the standard deviation over them.
        reasons: whether the cold and the paired sums are measured too (three times the work).
        bench: in this process by default.
    """

    backend: Backend
    journal: Journal
    passes: int = 3
    reasons: bool = False
    bench: Measure = field(default_factory=Bench)

    def tasks(self, network: Network) -> list[tuple[str, list[Network], Backend, list[Task]]]:
        """What is still to be measured: metric, networks, backend and the campaign's tasks."""
        table = decompose(network)
        alone = list({entry.alone.key: entry.alone for entry in table}.values())
        plans = [("latency_ms", [network, SMALLEST, *alone], self.backend)]
        if self.reasons:
            timing = replace(self.backend.timing, **COLD)  # type: ignore[arg-type]
            both = list({entry.pair.key: entry.pair for entry in table if entry.pair}.values())
            plans += [
                ("latency_ms", both, self.backend),
                ("cold_ms", [network, SMALLEST, *alone], replace(self.backend, timing=timing)),
            ]
        return [
            (metric, archs, backend, pending(archs, [backend], self.journal, self.passes, metric=metric))
            for metric, archs, backend in plans
        ]

    def measure(self, network: Network, done: Any = lambda row: None) -> dict[str, Any]:
        """Measure what is missing, then sum; `done` is told every row.

        Returns:
            `sums`: one row a way of summing (what, ms, sd, error: of the direct latency, in percent); `layers`: one
            row an entry that differs (layer, count, ms, share of the sum); numbers about all.

        Raises:
            InputError: the network or a layer could not be measured.
        """
        for metric, archs, _, tasks in self.tasks(network):
            for row in run_campaign(archs, tasks, self.journal, shaped, self.bench, metric):
                done(row)
        return summarise(network, self.backend, self.journal.rows, self.passes, self.reasons)


def summarise(
    network: Network, backend: Backend, rows: Sequence[Row], passes: int, reasons: bool = False
) -> dict[str, Any]:
    """The direct latency of a network and its layers' sums, from a journal's rows; see `Lookup.measure`."""
    ms = _milliseconds(rows, backend.device().name, passes)

    def known(arch: Network, metric: str = "latency_ms") -> bool:
        return (arch.space, arch.key, metric) in ms

    def of(arch: Network, metric: str = "latency_ms") -> np.ndarray:
        if not known(arch, metric):
            what = label(arch) if arch.space == "layers" and len(arch.ops) > 2 else arch.key
            raise InputError(f"{what} could not be measured on {backend.runtime}; its rows say why in 'error'.")
        return ms[arch.space, arch.key, metric]

    table = decompose(network)
    direct, call, others = of(network), of(SMALLEST), len(table) - 1
    alone = np.sum([of(entry.alone) for entry in table], axis=0)
    sums = {"direct": direct, "summed": alone, "summed - calls": alone - others * call}
    if reasons:
        cold = np.sum([of(entry.alone, "cold_ms") for entry in table], axis=0)
        steps = [of(e.pair) - of(e.before) if e.pair and e.before and known(e.pair) else of(e.alone) for e in table]
        sums |= {
            "direct, cold": of(network, "cold_ms"),
            "summed, cold, - calls": cold - others * of(SMALLEST, "cold_ms"),
            "summed in pairs": np.sum(steps, axis=0),
        }
    counts = Counter(entry.alone.key for entry in table)
    layers = []
    for layer in {entry.alone.key: entry.alone for entry in table}.values():
        count, mean = counts[layer.key], float(of(layer).mean())
        share = float(100 * count * mean / alone.mean())
        layers.append({"layer": label(layer), "count": count, "ms": mean, "share": share})
    return {
        "network": network.key,
        "device": backend.device().name,
        "passes": passes,
        "entries": len(table),
        "different": len(layers),
        "call_ms": float(call.mean()),
        "failed_pairs": sum(entry.pair is not None and not known(entry.pair) for entry in table) if reasons else 0,
        "sums": [
            {
                "what": what,
                "ms": float(values.mean()),
                "sd": float(values.std(ddof=1)) if passes > 1 else 0.0,
                "error": float(100 * (values.mean() / direct.mean() - 1)),
            }
            for what, values in sums.items()
        ],
        "layers": sorted(layers, key=lambda row: -row["share"]),
    }


def _milliseconds(rows: Sequence[Row], device: str, passes: int) -> Mapping[tuple[str, str, str], np.ndarray]:
    """Drift-corrected milliseconds [passes] of whatever was measured in every pass, the newest row of each counting."""
    good = [row for row in rows if device_name(row) == device and "error" not in row and row["repeat"] < passes]
    anchor = np.median([row["reference_ms"] for row in good]) if good else 1.0
    found: dict[tuple[str, str, str], dict[int, float]] = {}
    for row in good:
        found.setdefault((row["space"], row["key"], row["metric"]), {})[row["repeat"]] = row["ratio"] * anchor
    return {what: np.array([by[i] for i in range(passes)]) for what, by in found.items() if len(by) == passes}
