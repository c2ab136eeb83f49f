"""Theoretical cost of a network, which depends on no device: operations, parameters, memory."""

from __future__ import annotations

from collections import Counter

from datasets.architectures import InputError, Op
from datasets.files.reading import shortened
from datasets.networks.memory import alive
from datasets.networks.network import Network
from datasets.networks.onnx_counts import UNCOUNTED, WEIGHTS
from datasets.networks.onnx_macs import MACS
from datasets.networks.ops import BITS, ITEM, VOCABULARY, macs, pads, pair, param_bytes, params, tensor_bytes

TOTALS = ("macs", "flops", "params", "peak_bytes", "moved_bytes", "kernels")
"""Keys of the result of `totals`, in its order."""


def totals(network: Network, batch: int | None = None) -> dict[str, int]:
    """Operations, parameters and bytes of one run of a network.

    Args:
        network: all ops have a `shape`.
        batch: samples per run; by default the batch that the network fixes, else 1.

    Returns:
        macs: multiply-accumulates; flops: twice as many; params: trainable parameters; peak_bytes: largest number of
        bytes of activations alive at once when ops run in order, nothing is done in place and a tensor is freed after
        its last use (without weights, which `memory` counts); moved_bytes: activations read and written plus weights
        read, per op without fusion; kernels: ops that run.
    """
    batch = batch or network.batch or 1
    size = [tensor_bytes(op, batch) for op in network.ops]
    total = dict.fromkeys(TOTALS, 0)
    total["peak_bytes"] = max(alive(network, batch))
    for index, (op, sources) in enumerate(zip(network.ops, network.sources(), strict=True)):
        times, samples = op.attrs.get("times", 1), 1 if op.attrs.get("whole") else batch
        if op.kind == ITEM:
            total["moved_bytes"] += times * size[index]
        elif op.kind not in ("input", "zero"):
            in_shape = network.shape(sources[0])
            read = sum(size[source] for source in sources) + param_bytes(op, in_shape)
            if "read_bytes" in op.attrs:
                read = samples * op.attrs["read_bytes"]
            total["macs"] += times * samples * macs(op, in_shape)
            total["params"] += 0 if op.attrs.get("tied") else params(op, in_shape)
            total["moved_bytes"] += times * (size[index] + read)
            total["kernels"] += times
    total["flops"] = 2 * total["macs"]
    return total


MOST = 2**62
"""Largest number of operations or bytes of a network; it fits into 64 bits."""


def check_network(network: Network) -> Network:
    """Check a network that was read from untrusted data, and return it.

    Raises:
        InputError: an op lacks an input or an attribute of its kind, or a total is not a number or exceeds `MOST`.
    """
    sources = network.sources()
    try:
        for op, before in zip(network.ops, sources, strict=True):
            if not op.attrs["shape"] or (op.kind not in ("input", "zero") and not before):
                raise ValueError(f"{op.kind} lacks an input or a shape")
            _check_attributes(op)
        if max(totals(network).values()) > MOST:
            raise ValueError("it has more operations or bytes than any network")
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise InputError(
            f"The network {shortened(network.key, 60)} is damaged ({shortened(error, 100)}); measure its file again."
        ) from None
    return network


def _check_attributes(op: Op) -> None:
    """Raise a ValueError, KeyError or TypeError if an op's attributes do not fit its kind."""
    a, counts = op.attrs, [op.attrs.get(name, 0) for name in _COUNTS]
    if any(type(count) not in (int, bool) or count < 0 for count in counts):
        raise ValueError(f"a count of {op.kind} is no whole number")
    if a.get("dtype", "float32") not in BITS:
        raise ValueError(f"{op.kind} has an unknown element type")
    if op.kind not in ("conv", "max_pool", "avg_pool"):
        return
    height, width = zip(*(pair(a[name] if name == "kernel" else a.get(name, 1)) for name in _SIZES), strict=True)
    sizes = (*height, *width, a.get("groups", 1))
    if any(type(size) is not int or not 0 < size < MOST for size in sizes):
        raise ValueError(f"a size of {op.kind} is no whole number above 0")
    top, left, bottom, right = pads(a.get("pad", 0))
    if any(type(side) is not int for side in (top, left, bottom, right)):
        raise ValueError(f"the padding of {op.kind} is no whole number")


_SIZES = ("kernel", "stride", "dilation")
_COUNTS = ("macs", "params", "param_bytes", "read_bytes", "times", "whole", "tied", "bias", "scale", "shift")


def uncounted(network: Network) -> Counter[str]:
    """Kinds of ops whose multiply-accumulates are unknown and counted as 0, each with its number of ops: products with
    unusual inputs, and ops of unknown domains."""
    ops = (op.kind for op in network.ops if op.kind not in VOCABULARY and not op.attrs.get("macs"))
    return Counter(kind for kind in ops if kind in MACS or kind in UNCOUNTED or ("." in kind and kind not in WEIGHTS))
