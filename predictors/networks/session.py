"""Peak memory of a network on a runtime, and the time that creating its session takes.

Both are sums of physical quantities of the network times a few coefficients per runtime, which were fitted to measured
networks (`session.json` beside this file; `python -m studies.files.coefficients --fit true` writes it). There are three
stages, because memory that loading frees is used again by runs:

    loading   the peak until the session stands: the file, and weights once or several times while they are converted
    loaded    what then stays: converted weights, what is kept per node, and freed pieces that were not given back
    peak      the larger one of loading, and of loaded plus the activations that do not fit into the freed pieces

Coefficients hold for the processor and the versions that they name. Memory differs little between machines, since it
follows from the runtime's code; times do.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from datasets.networks.memory import memory
from datasets.networks.network import Network
from datasets.networks.ops import pair, param_bytes, params
from datasets.records import Device
from predictors.networks.arena import activation_bytes
from predictors.networks.ort_steps import converts

COEFFICIENTS = Path(__file__).with_name("session.json")
MB = 1e6

WEIGHTS = ("pointwise", "kernels", "depthwise", "dense", "huge", "recurrent", "tables", "others")
"""Features in MB of weights: of convolutions in blocks of channels (1x1, larger ones, grouped ones), of products, of
products with more than `HUGE`, of recurrent ops, of embeddings, and of all other ops."""
LOADING = (*WEIGHTS, "reordered", "parsed", "largest", "windows", "nodes", "kinds")
"""Features of the stages `loading` and `loaded`: MB of the weights; MB of those inside of the network's file, and not
in files beside it, of convolutions in blocks and of all others; MB of the largest tensor; MB of one pointer for each
place of each window of convolutions and pools, which XNNPACK prepares; number of ops; number of kinds of ops (each
brings pages of the runtime's library into memory)."""
RUNNING = ("activations", "reused", "kinds")
"""Features of a run: MB of activations, and of weights of convolutions in tensors of more than 1 MB, whose first copies
were freed; the latter are subtracted."""
CREATION = ("weights", "nodes", "one")
"""Features of the time that creating a session takes: MB of weights, number of ops, and a constant."""

HUGE = 32 * 2**20
"""Bytes from which on the C library maps memory of its own for a tensor, and gives it back when it is freed."""

_BLOCKS = ("pointwise", "kernels", "depthwise")
_PRODUCTS = ("dense", "MatMul", "Gemm", "Einsum")
_RECURRENT = ("LSTM", "GRU", "RNN")


@dataclass(frozen=True)
class SessionCost:
    """What a session of a network costs besides its runs.

    Attributes:
        peak_mb: MB (10^6 bytes) that the process of the runtime takes for the network, at most.
        init_ms: ms of CPU time of creating the session, the runtime's own start excluded; None where nothing is known.
        host: name of the machine that the coefficients were measured on; empty where there are none.
        notes: sentences on how the network that runs differs from the one that was read.
    """

    peak_mb: float
    init_ms: float | None
    host: str = ""
    notes: tuple[str, ...] = ()


def session_cost(network: Network, device: Device | None, file: Path | None = None) -> SessionCost:
    """The cost of a session on a device; where its runtime has no coefficients, weights and activations by liveness."""
    found = predicted_session(network, device.runtime, device.precision, file) if device else None
    needs = memory(network)
    return found or SessionCost((needs.weights + needs.in_place) / MB, None)


def predicted_session(
    network: Network, runtime: str, precision: str = "fp32", file: Path | None = None
) -> SessionCost | None:
    """Predict the peak memory of a network and the creation of its session, in the network's own batch.

    Args:
        network: all ops have a `shape`.
        runtime: name of a backend, like ort.
        precision: fp32, or int8 where the runtime quantises the network; a quantised file has its bytes already.
        file: the file that the runtime loads, whose size counts; None if it holds the network's weights.

    Returns:
        None if there are no coefficients for the runtime or the precision.
    """
    fitted = coefficients().get(runtime)
    if fitted is None or precision not in ("fp32", "int8"):
        return None
    size = file.stat().st_size if file else None
    known = features(network, runtime, size, precision)
    return SessionCost(peak_mb(known, fitted), init_ms(known, fitted), fitted["host"], _notes(network, size))


def peak_mb(quantities: Mapping[str, float], fitted: Mapping[str, Any]) -> float:
    """The peak by the coefficients of one runtime."""
    loading, loaded = (_sum(quantities, fitted[stage]) for stage in ("loading", "loaded"))
    run = fitted["running"]
    activations = run["activations"] * quantities["activations"] - run["reused"] * quantities["reused"]
    return max(loading, loaded + max(0.0, activations) + run["kinds"] * quantities["kinds"])


def init_ms(quantities: Mapping[str, float], fitted: Mapping[str, Any]) -> float:
    """The time of creating a session by the coefficients of one runtime."""
    return _sum(quantities, fitted["creation"])


def _sum(quantities: Mapping[str, float], weights: Mapping[str, float]) -> float:
    return sum(weight * quantities[name] for name, weight in weights.items())


@cache
def coefficients() -> dict[str, Any]:
    """The fitted coefficients by runtime, with the host and the versions that they were measured on."""
    found: dict[str, Any] = json.loads(COEFFICIENTS.read_text())
    return found


def features(
    network: Network, runtime: str = "ort", file_bytes: int | None = None, precision: str = "fp32"
) -> dict[str, float]:
    """The physical quantities of a network by name: `LOADING`, `RUNNING` and `CREATION`.

    Weights count as they run: fp16 is computed in fp32 by runtimes for processors without it, so that it takes its own
    bytes and twice as many; int8 is held as it is and packed. Neither is a convolution in blocks of channels.
    """
    batch, needs, found = (
        network.batch or 1,
        memory(network),
        dict.fromkeys((*WEIGHTS, "largest", "reused", "windows"), 0.0),
    )
    for op, sources in zip(network.ops, network.sources(), strict=True):
        if not sources or op.attrs.get("tied"):
            continue
        shape = network.shape(sources[0])
        if (places := math.prod(pair(op.attrs.get("kernel", 1)))) > 1:
            found["windows"] += 8 * places * math.prod(op.attrs["shape"][1:]) / MB
        size, count = param_bytes(op, shape), params(op, shape)
        width = size / count if count else 0
        if width == 4 and precision == "int8":
            size, width = count, 1
        if op.kind != "Gather":  # a table is read as it is; biases of quantised ops are wider than their weights
            size *= 2 if width < 1.5 else 3 if width < 2.5 else 1
        blocked = width == 4 and op.kind == "conv" and converts(op, shape)
        found[_holder(op.kind, size, blocked, op.attrs)] += size / MB
        found["largest"] = max(found["largest"], size / MB)
        if blocked and size >= MB:
            found["reused"] += size / MB
    used = activation_bytes(network, batch) if runtime == "ort" else needs.in_place
    used //= 4 if precision == "int8" else 1
    inside = 1.0 if file_bytes is None else min(1.0, file_bytes / max(needs.weights, 1))
    total, blocks = (sum(found[name] for name in names) for names in (WEIGHTS, _BLOCKS))
    return {
        **found,
        "reordered": inside * blocks,
        "parsed": inside * (total - blocks),
        "weights": total,
        "activations": used / MB,
        "nodes": len(network.ops),
        "kinds": len({op.kind for op in network.ops}),
        "one": 1.0,
    }


def _holder(kind: str, size: float, blocked: bool, attrs: Mapping[str, Any]) -> str:
    """The feature of `WEIGHTS` that an op's weights belong to."""
    if blocked:
        if attrs.get("groups", 1) > 1:
            return "depthwise"
        return "pointwise" if attrs["kernel"] in (1, (1, 1)) else "kernels"
    if kind == "conv" or kind in _PRODUCTS:
        return "huge" if size >= HUGE else "dense"
    return "recurrent" if kind in _RECURRENT else "tables" if kind == "Gather" else "others"


def _notes(network: Network, file_bytes: int | None) -> tuple[str, ...]:
    """Sentences on how the network that runs differs from the one that was read."""
    held, notes = memory(network).weights, []
    sources = network.sources()
    sizes = [
        (param_bytes(op, network.shape(before[0])), params(op, network.shape(before[0])))
        for op, before in zip(network.ops, sources, strict=True)
        if before and not op.attrs.get("tied")
    ]
    half = sum(size for size, count in sizes if count and size == 2 * count)
    if half:
        notes.append(f"{half / MB:.3g} MB of weights are fp16, which processors compute in fp32: both forms are held.")
    if file_bytes is not None and held > max(2 * file_bytes, MB):
        notes.append(
            f"{(held - file_bytes) / MB:.3g} MB of weights lie in other files, which are mapped and not copied."
        )
    if tied := sum(1 for op in network.ops if op.attrs.get("tied")):
        notes.append(f"{tied} ops share weights with others, which are held once.")
    return tuple(notes)
