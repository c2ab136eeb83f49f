"""Predicted cost of a network on a device, layer by layer: `python -m predictors predict FILE --network model.onnx`."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datasets.figures import new_figure
from datasets.files.reading import listed
from datasets.networks.analysis import uncounted
from datasets.networks.network import Network, Port
from datasets.networks.ops import tensor_bytes
from datasets.networks.sizes import Sizes
from datasets.records import Device
from predictors.metrics import plain
from predictors.networks.layer_sum import LayerSum
from predictors.networks.pieces import KNOWN, Piece, pieces

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

FAR = 4.0
"""Ratio of the work of a layer to that of the nearest layer in the tables' range above which a price has a warning."""


@dataclass(frozen=True)
class Price:
    """Predicted latency of one network on one device (PerfNetRT, equation 1: total = pre + sum of exe + post).

    Attributes:
        network: key of the network.
        device: on which it runs.
        batch: samples per run.
        pre, post: ms of copying the inputs in and the outputs out.
        session: ms of a run that computes nothing.
        low, high: interval in which `latency_ms` lies with probability `level`.
        pieces: one row per piece, in the network's order: layer, kind (of cost model), ms, share (of `latency_ms`),
            flops, bytes, bound (compute or memory, whichever takes longer at the device's best rates).
        unknown: number of ops by kind of which only the bytes moved are known.
        warnings: sentences on the parts of the price that no measurement supports.
    """

    network: str
    device: Device
    batch: int
    pre: float
    session: float
    post: float
    low: float
    high: float
    level: float
    pieces: pd.DataFrame
    unknown: Mapping[str, int]
    warnings: tuple[str, ...] = ()

    @property
    def latency_ms(self) -> float:
        """Milliseconds of a run without the copies of inputs and outputs."""
        return self.session + float(self.pieces["ms"].sum())

    @property
    def total_ms(self) -> float:
        """Milliseconds of a run with the copies of inputs and outputs."""
        return self.pre + self.latency_ms + self.post

    def text(self, largest: int = 40) -> str:
        """A report for printing; of more than `largest` pieces it shows the slowest."""
        table = self.pieces if len(self.pieces) <= largest else self.pieces.nlargest(largest, "ms").sort_index()
        shown = table.assign(ms=table["ms"].map("{:.4f}".format), share=(100 * table["share"]).map("{:.1f} %".format))
        shown = shown.assign(flops=table["flops"].map(_short), bytes=table["bytes"].map(_short))
        lines = [
            f"{self.network} on {self.device.name}, batch {self.batch}: {plain(self.latency_ms)} ms "
            f"({100 * self.level:g} % interval {plain(self.low)} to {plain(self.high)})",
            f"{len(self.pieces)} layers, session {self.session:.2g} ms; with copies total_ms = {plain(self.total_ms)} "
            f"(in {self.pre:.4g}, out {self.post:.4g})",
            *(f"warning: {sentence}" for sentence in self.warnings),
            "",
            shown.to_string(index=False, justify="right"),
        ]
        if rest := len(self.pieces) - len(table):
            lines.append(f"and {rest} others, {self.pieces['ms'].sum() - table['ms'].sum():.4g} ms together")
        unknown = ", ".join(f"{count} x {kind}" for kind, count in self.unknown.items())
        known = f"Unknown ops, priced by the bytes that they move: {unknown}" if unknown else "All ops are known."
        return "\n".join([*lines, "", known])


def price(predictor: LayerSum, network: Network, device: Device | None, level: float = 0.9) -> Price:
    """Predict the latency of a network, in its own batch, piece by piece.

    Args:
        predictor: fitted.
        network: all ops have a `shape`.
        device: one of the predictor's; None if it has only one.
        level: probability of the interval.

    Raises:
        InputError: the predictor has no such device, or cannot predict the network.
    """
    import pandas as pd

    found, column = pieces(network), predictor.column(device)
    session, ms, belief = predictor.pieces_ms(device, network)
    macs, bytes_ = (np.array([getattr(piece, name) for piece in found], float) for name in ("macs", "moved"))
    table = pd.DataFrame({"layer": [piece.label for piece in found], "kind": [piece.kind for piece in found], "ms": ms})
    table["share"] = ms / (session + ms.sum())
    table["flops"], table["bytes"] = 2 * macs, bytes_
    layers, s = predictor.layers, predictor.calibration(device).source
    computing, moving = (least[:, s] for least in layers.least(np.stack([macs, bytes_], axis=1)))
    table["bound"] = np.where(computing > moving, "compute", "memory")
    unknown = uncounted(network) | Counter(piece.op for piece in found if piece.op not in KNOWN)
    warnings = _warnings(found, table, unknown, layers.beyond(found)[:, s])
    (low,), (high,) = belief.interval(level)
    a, b, c, d = layers.copies[s].tolist()
    pre, post = a + b * _bytes(network, network.inputs), c + d * _bytes(network, network.outputs)
    identity = network.key, predictor.devices_[column], network.batch or 1
    return Price(*identity, pre, session, post, low, high, level, table, unknown, warnings)


def _bytes(network: Network, ports: Sequence[Port]) -> int:
    """Bytes of all inputs, or outputs, of a run."""
    return sum(tensor_bytes(network.ops[port.node], network.batch or 1) for port in ports)


def _warnings(
    found: Sequence[Piece], table: pd.DataFrame, unknown: Mapping[str, int], beyond: np.ndarray
) -> tuple[str, ...]:
    """Sentences on the parts of a price that no measurement supports.

    Args:
        found: the pieces.
        table: one row per piece.
        unknown: number of unknown ops by kind.
        beyond: work of the pieces as a multiple of that of the nearest measured layers [P].
    """
    sentences = []
    if unknown:
        share = table["share"][[piece.op not in KNOWN for piece in found]].sum()
        names = listed([f"{count} x {kind}" for kind, count in unknown.items()])
        sentences.append(f"{100 * share:.0f} % is of ops of which nothing was measured ({names}).")
    far = np.abs(np.log(beyond)) > np.log(FAR)
    if far.any():
        sentences.append(
            f"{100 * table['share'][far].sum():.0f} % is of {far.sum()} layers that take more than {FAR:.0f} times the "
            f"work, or less than 1/{FAR:.0f} of the work, of the nearest layer within the measured range."
        )
    return tuple(sentences)


def read_network(name: str | Path, batch: int | None = None, sizes: Sizes = Sizes(), notes: bool = False) -> Network:
    """Read a network that a command line names, which may be a torch module, in the batch of its runs.

    Args:
        name, batch, sizes: arguments of `read_model`, which raises `InputError` for faulty ones.
        notes: whether to print to stderr what the reader assumed.
    """
    from datasets.networks.reading import of_batch, read_model

    model = read_model(name, batch, weights=False, modules=True, sizes=sizes)
    for note in model.notes if notes else ():
        print(f"note: {note}", file=sys.stderr)
    return of_batch(model.network, batch)


def draw(priced: Price) -> Figure:
    """Plot a price in two panels: ms of each layer, and ms of each kind of layer, the session and the copies."""
    from predictors.figures import COLOURS, GREY

    kinds = list(dict.fromkeys(priced.pieces.sort_values("ms", ascending=False)["kind"]))
    colour = dict(zip(kinds, COLOURS, strict=False))
    figure = new_figure(11, 4.2)
    left, right = figure.subplots(1, 2, width_ratios=(3, 1))
    rows = priced.pieces.reset_index(drop=True)
    for kind in kinds:
        part = rows[rows["kind"] == kind]
        left.bar(part.index + 1, part["ms"], width=1.0 if len(rows) > 60 else 0.8, color=colour[kind], label=kind)
    for place in rows["ms"].nlargest(3).index.to_list():
        name = rows["layer"][place].partition(" -> ")[0]
        left.annotate(name, (place + 1, rows["ms"][place]), (0, 3), textcoords="offset points", ha="center", fontsize=7)
    left.set(xlabel="layer, in the network's order", ylabel="ms", xlim=(0, len(rows) + 1))
    left.margins(y=0.12)
    left.legend(frameon=False)
    sums = [*rows.groupby("kind")["ms"].sum().reindex(kinds), priced.session, priced.pre + priced.post]
    names = [*kinds, "session", "copies"]
    bars = right.barh(names[::-1], sums[::-1], color=[*(colour[k] for k in kinds), GREY, GREY][::-1])
    right.bar_label(bars, [f" {100 * value / priced.total_ms:.0f} %" for value in sums[::-1]])
    right.set(xlabel="ms")
    right.margins(x=0.2)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    interval = f"{100 * priced.level:.0f} %: {priced.low:.3g} to {priced.high:.3g}"
    figure.suptitle(
        f"{priced.network} on {priced.device.name}, batch {priced.batch}: {priced.latency_ms:.4g} ms ({interval})"
    )
    return figure


def _short(value: float) -> str:
    """1.2 M, in powers of a thousand."""
    power = min(int(math.log10(value) // 3), 4) if value >= 1 else 0
    return f"{value / 1000**power:.3g} {['', 'k', 'M', 'G', 'T'][power]}".strip()
