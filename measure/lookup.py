"""A network's latency as the sum of its layers' latencies (LETI, Table 1), and why the sum differs from the whole.

An entry of the table is an op with the batch norms and activations that follow it and that no other op reads, since
runtimes fuse these. Ops that never reach the output, and ops of constants, are left out, as compilers leave them out
(eager PyTorch runs them). Equal entries are measured once. An entry runs alone with the shapes that it has in the
network: its main input is bound; any further input is the same tensor if the shapes agree, and a constant if not.

The errors of the sum have three causes, each measured by a second sum:

- every session has a fixed cost per call: the latency of a session that computes a single number;
- a layer measured alone finds its weights in the cache: in `cold` the cache is overwritten before each run (of the
  layer, of the network and of the smallest session, since a cold call costs more as well);
- a layer measured alone pays for conversions of layouts at its borders, and is not fused across them: in `paired` the
  cost of an entry is what it adds to its predecessor (its cost alone, if a runtime computes the pair incorrectly:
  onnxruntime 1.31 turns zeros before a max pool into padding of the pool, which is not padded with zeros).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from datasets.files.reading import read_text
from datasets.networks.analysis import totals
from datasets.networks.network import FILES, SMALLEST, Network, of_key
from datasets.networks.parts import cut, entries, label
from datasets.records import InputError
from measure.base import Backend
from measure.bench import Bench, Measure, Row
from measure.campaign import Chosen, Journal, PendingRow, pending, run_campaign
from measure.drift import References
from measure.network_files import read_subject
from measure.rows import device_name
from measure.subjects import Subject, shaped

COLD = {"flush_mb": 64, "pairs": 31, "max_rounds": 1}
"""Fields of `Timing` for cold runs; overwriting the cache takes far longer than the runs themselves."""


def layers_of(chosen: Chosen) -> Chosen:
    """The subjects of a look-up table: every distinct layer of the networks, and `SMALLEST`, the cost of a call."""
    archs, prepare = chosen
    networks = (prepare(arch, 1).network for arch in archs)
    layers = (cut(network, nodes) for network in networks for nodes in entries(network))
    return list({layer.key: layer for layer in (SMALLEST, *layers)}.values()), shaped


def listed_layers(path: Path | None) -> Chosen:
    """The layers that a file lists, one key of `cut` per line, and `SMALLEST`, the cost of a call."""
    if path is None:
        raise InputError("Layers are listed in a file; name one that `python -m search layers` wrote with --archs.")
    lines = read_text(path, "name a list of layers that `python -m search layers` wrote").splitlines()
    try:
        layers = [of_key(line) for line in lines]
    except InputError as error:
        raise InputError(f"{path} is no list of layers: {error}") from error
    return [SMALLEST, *layers], shaped


@dataclass(frozen=True)
class Entry:
    """A layer alone, its predecessor, and the pair of them (None if it reads the network's input)."""

    alone: Network
    before: Network | None
    pair: Network | None


def decompose(network: Network) -> list[Entry]:
    """The entries of a network, with repetitions."""
    groups, inputs = entries(network), network.sources()
    owner = {node: group for group in groups for node in group}
    table = []
    for group in groups:
        first = owner.get(inputs[group[0]][0])
        pair = (cut(network, first), cut(network, first + group)) if first else (None, None)
        table.append(Entry(cut(network, group), *pair))
    return table


@dataclass
class Lookup:
    """Measures a network and its layers; rows of the journal are not measured again.

    Attributes:
        backend: the runtime.
        journal: file of all measurements.
        passes: number of passes over everything; results have their standard deviation.
        reasons: whether the cold and the paired sums are measured as well (three times the work).
        bench: measures; by default in this process.
    """

    backend: Backend
    journal: Journal
    passes: int = 3
    reasons: bool = False
    bench: Measure = field(default_factory=Bench)

    def tasks(
        self, network: Network, whole: Subject | None = None
    ) -> list[tuple[str, list[Any], Backend, list[PendingRow]]]:
        """The measurements that are missing: metric, networks, backend and the campaign's pending rows.

        Args:
            network: whose layers are measured.
            whole: what is measured as the whole network, for example its file; by default the network.
        """
        table, direct = decompose(network), whole or network
        alone = list({entry.alone.key: entry.alone for entry in table}.values())
        plans: list[tuple[str, list[Any], Backend]] = [("latency_ms", [direct, SMALLEST, *alone], self.backend)]
        if self.reasons:
            timing = replace(self.backend.timing, **COLD)  # type: ignore[arg-type]
            pairs = list({entry.pair.key: entry.pair for entry in table if entry.pair}.values())
            plans += [
                ("latency_ms", pairs, self.backend),
                ("cold_ms", [direct, SMALLEST, *alone], replace(self.backend, timing=timing)),
            ]
        return [
            (metric, archs, backend, pending(archs, [backend], self.journal, self.passes, metric=metric))
            for metric, archs, backend in plans
        ]

    def measure(self, network: Network, done: Any = lambda row: None, whole: Subject | None = None) -> dict[str, Any]:
        """Measure what is missing, then sum; `done` is called with every row, and `whole` is that of `tasks`.

        Returns:
            `sums`: one row per way of summing (what, ms, sd, error in percent of the direct latency); `layers`: one
            row per distinct entry (layer, count, ms, share of the sum in percent); `unmeasured`: entries of a file that
            cannot be built alone (layer, count, share of multiply-accumulates and of bytes in percent), which are in no
            sum; and numbers of the whole table.

        Raises:
            InputError: the network, or a layer of a network that is not of a file, could not be measured.
        """
        for metric, archs, _, tasks in self.tasks(network, whole):
            for row in run_campaign(archs, tasks, self.journal, read_subject, self.bench, metric):
                done(row)
        return summarise(network, self.backend, self.journal.rows, self.passes, self.reasons, whole)


def summarise(
    network: Network,
    backend: Backend,
    rows: Sequence[Row],
    passes: int,
    reasons: bool = False,
    whole: Subject | None = None,
) -> dict[str, Any]:
    """The direct latency of a network and the sums of its layers, from rows of a journal; see `Lookup.measure`."""
    ms = _milliseconds(rows, backend.device().name, passes)

    def known(arch: Subject, metric: str = "latency_ms") -> bool:
        return (arch.space, arch.key, metric) in ms

    def latency(arch: Subject, metric: str = "latency_ms") -> np.ndarray:
        if not known(arch, metric):
            what = label(arch) if isinstance(arch, Network) and arch.space == "layers" else arch.key
            raise InputError(f"{what} could not be measured on {backend.runtime}; its rows say why in 'error'.")
        return ms[arch.space, arch.key, metric]

    every = decompose(network)
    table = [entry for entry in every if known(entry.alone) or network.space not in FILES]
    if not table:
        raise InputError(f"No layer of {network.key} can be built alone, so there is nothing to sum.")
    direct, call, others = latency(whole or network), latency(SMALLEST), len(table) - 1
    alone = np.sum([latency(entry.alone) for entry in table], axis=0)
    sums = {"direct": direct, "summed": alone, "summed - calls": alone - others * call}
    if reasons:
        cold = np.sum([latency(entry.alone, "cold_ms") for entry in table], axis=0)
        steps = [
            latency(e.pair) - latency(e.before) if e.pair and e.before and known(e.pair) else latency(e.alone)
            for e in table
        ]
        sums |= {
            "direct, cold": latency(whole or network, "cold_ms"),
            "summed, cold, - calls": cold - others * latency(SMALLEST, "cold_ms"),
            "summed in pairs": np.sum(steps, axis=0),
        }
    counts = Counter(entry.alone.key for entry in table)
    layers = []
    for layer in {entry.alone.key: entry.alone for entry in table}.values():
        count, mean = counts[layer.key], float(latency(layer).mean())
        share = float(100 * count * mean / alone.mean())
        layers.append({"layer": label(layer), "count": count, "ms": mean, "share": share})
    return {
        "network": (whole or network).key,
        "unmeasured": _unmeasured(network, [entry for entry in every if entry not in table]),
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


def _unmeasured(network: Network, missing: Sequence[Entry]) -> list[dict[str, Any]]:
    """Layers, how many of each there are, and their shares of the network's totals in percent, largest first."""
    names, whole = {"macs": "macs", "bytes": "moved_bytes"}, totals(network)
    found: dict[str, dict[str, Any]] = {}
    for layer in (entry.alone for entry in missing):
        row = found.setdefault(layer.key, {"layer": label(layer), "count": 0, "macs": 0.0, "bytes": 0.0})
        row["count"] += 1
        own = totals(layer, network.batch)
        for name, total in names.items():
            row[name] += 100 * own[total] / max(whole[total], 1)
    return sorted(found.values(), key=lambda row: -row["bytes"])


def _milliseconds(rows: Sequence[Row], device: str, passes: int) -> Mapping[tuple[str, str, str], np.ndarray]:
    """Drift-corrected milliseconds [passes] by space, key and metric, for what was measured in every pass."""
    good = [row for row in rows if device_name(row) == device and "error" not in row and row["repeat"] < passes]
    reference_ms = References(good).ms(device) if good else 1.0
    found: dict[tuple[str, str, str], dict[int, float]] = {}
    for row in good:
        found.setdefault((row["space"], row["key"], row["metric"]), {})[row["repeat"]] = row["ratio"] * reference_ms
    return {name: np.array([ms[i] for i in range(passes)]) for name, ms in found.items() if len(ms) == passes}
