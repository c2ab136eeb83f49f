"""Predicted cost of a network on a device, layer by layer: `python -m predictors predict FILE --network model.onnx`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datasets.networks.analysis import totals
from datasets.networks.network import Network, Port
from datasets.networks.ops import tensor_bytes
from datasets.networks.sizes import Sizes
from datasets.records import Device
from predictors.networks.layer_sum import LayerSum
from predictors.networks.pieces import pieces
from predictors.networks.session import session_cost
from predictors.networks.unmeasured import unknown_ops


@dataclass(frozen=True)
class PricedLayer:
    """One piece of a network: an op and those that runtimes fold into it.

    Attributes:
        name: name of its first op in the network's file; '' if it has none.
        layer: kinds of its ops, kernel and stride, shapes of input and output.
        kind: kind of cost model.
        ms: milliseconds.
        share: of the network's `latency_ms`.
        flops: twice its multiply-accumulates.
        bytes: that it moves.
        bound: compute or memory, whichever takes longer at the device's best rates.
    """

    name: str
    layer: str
    kind: str
    ms: float
    share: float
    flops: int
    bytes: int
    bound: str


@dataclass(frozen=True)
class Price:
    """Predicted cost of one network on one device (PerfNetRT, equation 1: total = pre + sum of exe + post).

    Attributes:
        network: key of the network.
        device: on which it runs.
        batch: samples per run.
        pre, post: ms of copying the inputs in and the outputs out.
        session: ms of a run that computes nothing.
        low, high: interval in which `latency_ms` lies with probability `level`.
        pieces: in the network's order.
        unknown: number of ops by kind of which only the bytes moved are known.
        macs, params: multiply-accumulates of a run, and trainable parameters.
        peak_mb: peak memory of loading and running in MB (10^6 bytes).
        init_ms: ms of creating the session; None where nothing is known of it.
        session_host: machine on which coefficients of these two were measured; empty where there are none.
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
    pieces: tuple[PricedLayer, ...]
    unknown: Mapping[str, int]
    macs: int
    params: int
    peak_mb: float
    init_ms: float | None
    session_host: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def latency_ms(self) -> float:
        """Milliseconds of a run without the copies of inputs and outputs."""
        return self.session + sum(piece.ms for piece in self.pieces)

    @property
    def total_ms(self) -> float:
        """Milliseconds of a run with the copies of inputs and outputs."""
        return self.pre + self.latency_ms + self.post

    def record(self) -> dict[str, Any]:
        """The price as plain values, as `--json` writes them."""
        return {
            "device": self.device.name,
            "batch": self.batch,
            "latency_ms": self.latency_ms,
            "low": self.low,
            "high": self.high,
            "pre_ms": self.pre,
            "session_ms": self.session,
            "post_ms": self.post,
            "total_ms": self.total_ms,
            "macs": self.macs,
            "params": self.params,
            "peak_mb": self.peak_mb,
            "init_ms": self.init_ms,
            "session_host": self.session_host,
            "unknown": dict(self.unknown),
            "notes": list(self.warnings),
            "layers": [asdict(piece) for piece in self.pieces],
        }


def price(
    predictor: LayerSum, network: Network, device: Device | None, level: float = 0.9, file: Path | None = None
) -> Price:
    """Predict the latency of a network, in its own batch, piece by piece.

    Args:
        predictor: fitted.
        network: all ops have a `shape`.
        device: one of the predictor's; None if it has only one.
        level: probability of the interval.
        file: the ONNX file that a runtime loads, for the peak memory.

    Raises:
        InputError: the predictor has no such device, or cannot predict the network.
    """
    found, on = pieces(network), predictor.devices_[predictor.column(device)]
    session, ms, belief, gaps = predictor.pieces_ms(device, network)
    work = np.array([(piece.macs, piece.moved) for piece in found], float).reshape(-1, 2)
    layers, s = predictor.layers, predictor.calibration(device).source
    computing, moving = (least[:, s] for least in layers.least(work))
    total = session + float(ms.sum())
    rows = tuple(
        PricedLayer(piece.name, piece.label, piece.kind, own, own / total, 2 * piece.macs, piece.moved, bound)
        for piece, own, bound in zip(
            found, ms.tolist(), np.where(computing > moving, "compute", "memory").tolist(), strict=True
        )
    )
    (low,), (high,) = belief.interval(level)
    a, b, c, d = layers.copies[s].tolist()
    pre, post = a + b * _bytes(network, network.inputs), c + d * _bytes(network, network.outputs)
    counts, batch, creation = totals(network), network.batch or 1, session_cost(network, on, file)
    return Price(
        *(network.key, on, batch, pre, session, post, float(low), float(high), level, rows),
        unknown=unknown_ops(network, found),
        macs=counts["macs"],
        params=counts["params"],
        peak_mb=creation.peak_mb,
        init_ms=creation.init_ms,
        session_host=creation.host,
        warnings=(*(gap.sentence for gap in gaps), *creation.notes),
    )


def _bytes(network: Network, ports: Sequence[Port]) -> int:
    """Bytes of all inputs, or outputs, of a run."""
    return sum(tensor_bytes(network.ops[port.node], network.batch or 1) for port in ports)


def read_network(name: str | Path, batch: int | None = None, sizes: Sizes = Sizes(), notes: bool = False) -> Network:
    """Read a network that a command line names, which may be a torch module, in the batch of its runs.

    Args:
        name, batch, sizes: arguments of `read_model`, which raises `InputError` for faulty ones.
        notes: whether to print to stderr what the reader assumed.
    """
    network, assumed, _ = read_noted(name, batch, sizes)
    for note in assumed if notes else ():
        print(f"note: {note}", file=sys.stderr)
    return network


def read_noted(name: str | Path, batch: int | None, sizes: Sizes) -> tuple[Network, tuple[str, ...], Path | None]:
    """The network of `read_network`, sentences on what its reader assumed, and its file if that is an ONNX file."""
    from datasets.networks.reading import of_batch, read_model

    model = read_model(name, batch, weights=False, modules=True, sizes=sizes)
    file = model.source if model.source and model.source.suffix == ".onnx" and model.source.is_file() else None
    return of_batch(model.network, batch), model.notes, file
