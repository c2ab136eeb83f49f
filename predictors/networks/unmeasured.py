"""What the price of a network rests on without a measurement, and how much wider that makes its interval.

Each `Gap` is a share of the predicted time that is known less well than that of measured networks. Its time is taken as
log-normal around the prediction, with the standard deviation that such parts have in the bundled tables, where they
were measured (`python -m studies.perfnetrt.unmeasured` prints the numbers):

- `BY_BYTES`: layers of the tables of convolutions, pooling and dense layers, priced by their bytes alone, as ops
  without a model are: root mean square over the kinds of layers and the devices; also taken for einsums, which no
  table has and which are priced as matrix products;
- `EXTRAPOLATED`: layers with more than `FAR` times the work of the nearest that their predictors were fitted to, scaled
  by roofline times: predictors of the layers within a sixteenth of the tables' limits, asked for all others;
- `OTHER_PRECISION`: networks in int8, priced as fp32 on the same runtime;
- `OTHER_RUNTIME`: the ratio of the times of one network on two of onnxruntime, LiteRT and OpenVINO, around its mean.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from datasets.files.reading import listed
from datasets.networks.analysis import uncounted
from datasets.networks.network import FILES, Network
from datasets.networks.parts import entries
from datasets.networks.precision import precisions
from datasets.records import Device, Networks
from predictors.networks.calibration import Calibration, parts_of
from predictors.networks.costs import Costs
from predictors.networks.pieces import KNOWN, Piece, pieces

BY_BYTES, EXTRAPOLATED, OTHER_PRECISION, OTHER_RUNTIME = 1.1, 0.6, 0.5, 0.4
"""Standard deviations of the logarithms of times."""

FAR = 6.5
"""Ratio of the work of a layer to that of the nearest layer in the tables' range above which it is far: the networks
that sums of layers are calibrated by have layers of up to 6.1 times (VGG16)."""

RUNS = {"onnx": ("ort", "ort_cuda", "ort_tensorrt", "tensorrt", "openvino"),
        "tflite": ("litert", "litert_builtin", "android_cpu", "android_gpu", "android_nnapi"),
        "keras": ("keras", "keras_gpu"), "pt2": ("eager", "compiled", "cuda", "cuda_graphs", "cuda_compiled"),
        "param": ("ncnn",),
        "torch": ("eager", "compiled", "cuda", "cuda_graphs", "cuda_compiled")}  # fmt: skip
"""Runtimes that run each kind of file as it is."""


@dataclass(frozen=True)
class Gap:
    """A part of a price that no measurement supports.

    Attributes:
        sentence: what it is.
        shares: of the predicted time (0 to 1), one per group of layers; a group errs as one, groups independently.
        deviation: standard deviation of the logarithm of each group's time.
    """

    sentence: str
    shares: tuple[float, ...]
    deviation: float


def widening(gaps: Sequence[Gap]) -> float:
    """Variance that gaps add to that of the logarithm of a network's time.

    The variance of a sum of a constant and independent log-normal times is, as a multiple of the square of the sum, v =
    sum of share^2 (exp(deviation^2) - 1), and a log-normal time of that variance has the log-variance log(1 + v)
    (Fenton, 1960: The sum of log-normal probability distributions in scatter transmission systems). A group that takes
    all of the time adds the square of its deviation.
    """
    return math.log1p(sum(share**2 * math.expm1(gap.deviation**2) for gap in gaps for share in gap.shares))


def unknown_ops(network: Network, found: Sequence[Piece]) -> Counter[str]:
    """Kinds of ops of which only the bytes moved are known, with their numbers of ops."""
    return uncounted(network) | Counter(piece.op for piece in found if piece.op not in KNOWN)


def gaps_of(
    networks: Sequence[Network],
    device: Device,
    layers: Costs,
    c: Calibration,
    costs: np.ndarray,
    parts: Sequence[np.ndarray],
) -> list[list[Gap]]:
    """The gaps of each price.

    Args:
        networks: A networks.
        device: device that they are priced on.
        layers: costs of layers.
        c: coefficients of the device.
        costs: cost terms of the networks [A, S, K].
        parts: cost terms of the pieces of each [P, S, K].
    """
    if not networks:
        return []
    found = [pieces(network) for network in networks]
    beyond = [ratios[:, c.source] for ratios in layers.beyond(Networks(networks))]
    gaps = list[list[Gap]]()
    for network, each, far, whole, terms in zip(networks, found, beyond, costs, parts, strict=True):
        ms = parts_of(whole[c.source], terms[:, c.source], c)
        shares = ms / (ms.sum() + c.coefficients[0])
        gaps.append(_gaps(network, each, far, shares))
        if network.space in FILES:
            gaps[-1] += _foreign(network, device, shares, converts=len(c.errors) > 2)
    return gaps


def _gaps(network: Network, found: Sequence[Piece], beyond: np.ndarray, shares: np.ndarray) -> list[Gap]:
    """The gaps of a network's pieces [P], with their work as a multiple of that of the nearest measured layers, and
    their shares in the predicted time."""
    gaps = list[Gap]()
    if unknown := unknown_ops(network, found):
        gaps.append(_unknown(found, unknown, shares))
    if (einsums := np.array([piece.op == "Einsum" for piece in found], bool)).any():
        groups = _by_key([piece.label for piece in found], shares * einsums)
        sentence = f"{100 * sum(groups):.0f} % is of Einsum, priced as matrix products; it may take several times that."
        gaps.append(Gap(sentence, groups, BY_BYTES))
    if (far := np.abs(np.log(beyond)) > np.log(FAR)).any():
        groups = _by_key([piece.label for piece in found], shares * far)
        sentence = (
            f"{100 * sum(groups):.0f} % is of layers that take more than {FAR:g} times the work, or less "
            f"than 1/{FAR:g} of it, of the nearest layer within the measured range."
        )
        gaps.append(Gap(sentence, groups, EXTRAPOLATED))
    return gaps


def _unknown(found: Sequence[Piece], unknown: Mapping[str, int], shares: np.ndarray) -> Gap:
    """The gap of ops that are priced by their bytes alone."""
    rows = np.array([piece.op not in KNOWN or (piece.op in unknown and not piece.macs) for piece in found])
    moved = np.array([piece.moved for piece in found], float)
    groups = _by_key([piece.op for piece in found], shares * rows)
    names = listed([f"{count} x {kind}" for kind, count in unknown.items()])
    bytes_ = 100 * (moved * rows).sum() / max(moved.sum(), 1)
    sentence = (
        f"{100 * sum(groups):.0f} % is of ops of which nothing was measured ({names}; {bytes_:.0f} % of all bytes)."
    )
    return Gap(sentence, groups, BY_BYTES)


def _by_key(keys: Sequence[str], shares: np.ndarray) -> tuple[float, ...]:
    """Sums of shares by key."""
    sums = Counter[str]()
    for key, share in zip(keys, shares.tolist(), strict=True):
        sums[key] += share
    return tuple(sums.values())


def _foreign(network: Network, device: Device, shares: np.ndarray, converts: bool) -> list[Gap]:
    """The gaps of a device of another precision, or another runtime, than the network's file. A device that was
    measured has converted fp32 networks to its precision (`converts`), and its errors are those of such networks."""
    gaps, each = [], precisions(network)
    heads = [each[nodes[0]] for nodes in entries(network)]
    other = Counter[str]()
    for precision, share in zip(heads, shares.tolist(), strict=True):
        if precision not in ("", device.precision) and not (converts and precision == "fp32"):
            other[precision] += share
    if sum(other.values()) >= 0.005:
        parts = " and ".join(f"{100 * share:.0f} % in {name}" for name, share in other.most_common(3))
        sentence = f"It computes {parts}, and {device.name} in {device.precision}; it is priced as {device.precision}."
        gaps.append(Gap(sentence, (min(sum(other.values()), 1.0),), OTHER_PRECISION))
    known = device.runtime in {runtime for names in RUNS.values() for runtime in names}
    if known and device.runtime not in RUNS[network.space]:
        sentence = f"{device.runtime} does not run .{network.space} files; priced is the same network, converted."
        gaps.append(Gap(sentence.replace(".torch files", "torch modules"), (1.0,), OTHER_RUNTIME))
    return gaps
