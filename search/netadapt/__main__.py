"""The command `python -m search netadapt`, which combines the search with builders and trainers of `measure`."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from datasets.cli import main
from datasets.files.reading import listed
from datasets.files.writing import write_text
from datasets.networks.network import Network
from datasets.records import InputError
from search.netadapt.adapt import Adaptation

if TYPE_CHECKING:
    from datasets.networks.model import Weights
    from search.netadapt.adapt import AdaptedNetwork
    from search.netadapt.proposals import Trainer
    from search.netadapt.widths import PricedNetwork, WidthSearch


@dataclass(frozen=True)
class LatencyFlags:
    """Latency budget of the network, and how latencies are found.

    Attributes:
        budget_ms: largest latency in ms; above 0 it replaces --budget-ratio.
        measured_ms: latency of the whole network in ms, measured directly; sums of the table are scaled to it. 0: not
            measured.
        runtime: runtime of this host (ort, litert, ...) that measures networks which keep the budget by the table;
            iterations continue where they do not keep it truly. By default nothing is measured.
    """

    budget_ms: float = 0.0
    measured_ms: float = 0.0
    runtime: str = ""

    def __post_init__(self) -> None:
        if not (0 <= self.budget_ms < math.inf and 0 <= self.measured_ms < math.inf):
            raise InputError(
                f"--budget-ms and --latency.measured_ms are 0 or more, not {self.budget_ms:g} and {self.measured_ms:g}."
            )


@dataclass(frozen=True)
class WidthFlags:
    """Search for a width that keeps the latency limit of an iteration.

    Attributes:
        search: search for widths: exact (ours), binary (with a threshold) or sequential (NetAdapt's).
        threshold: number of widths at which the binary search ends halving.
        conv: step of convolutions' widths; the table has to reach down to it.
        dense: step of dense layers' features.
    """

    search: Literal["exact", "binary", "sequential"] = "exact"
    threshold: int = 16
    conv: int = 8
    dense: int = 64

    def __post_init__(self) -> None:
        for name in ("threshold", "conv", "dense"):
            if getattr(self, name) < 1:
                raise InputError(f"--widths.{name} must be 1 or more, not {getattr(self, name)}.")


@dataclass(frozen=True)
class TrainingFlags:
    """Training of the network.

    Attributes:
        first_steps: training steps of the whole network at the beginning, unless its file has weights.
        data: folder of CIFAR-10's python version; by default the digits task, whose images are generated.
        batch: images per step.
        rate: largest learning rate.
    """

    first_steps: int = 400
    data: Path | None = None
    batch: int = 125
    rate: float = 0.01

    def __post_init__(self) -> None:
        if self.first_steps < 0:
            raise InputError(f"--training.first_steps must be 0 or more, not {self.first_steps}.")


def netadapt(
    lut: Path,
    network: str = "alexnet",
    space: str = "small_zoo",
    device: str = "",
    budget_ratio: float = 0.5,
    latency: LatencyFlags = LatencyFlags(),
    adaptation: Adaptation = Adaptation(long_steps=400),
    widths: WidthFlags = WidthFlags(),
    training: TrainingFlags = TrainingFlags(),
    out: Path = Path("runs/netadapt/run"),
) -> None:
    """Narrow a network until it keeps a latency budget by a look-up table.

    The method is "NetAdapt: Platform-Aware Neural Network Adaptation for Mobile Applications" (Yang et al., ECCV
    2018). A killed run continues where it was stopped. Writes the adapted network as network.pt2 (torch.export), .onnx
    and .tflite.

    Args:
        lut: table of the layers' latencies (`python -m search layers` lists the layers, `python -m measure run`
            measures them, `python -m measure table` writes the table); or a predictor.pt of a sum of layers: of a
            table, by `python -m predictors layerwise --lut`, with its coefficients, or any other, such as the pricer
            (predictors/networks/pricer.pt), which then predicts the table.
        network: a network of the space, or SPACE:ARCHITECTURE such as zoo:resnet18, which is trained from seeded
            weights first; or an ONNX or .keras file, or torch:MODULE:CALLABLE, whose weights are kept.
        space: space of the network, with its skeleton.
        device: name of a device of the table; may be left out where there is only one.
        budget_ratio: latency to reach, as a share of the whole network's.
        latency: budget in ms, and how latencies are found.
        adaptation: settings of the adaptation.
        widths: search for a width that keeps an iteration's limit.
        training: data and training of the network.
        out: folder of the record and of the adapted network.
    """
    from measure.builders.saved import save_network

    whole, weights = _network(network, space)
    priced = _priced(whole, lut, device, latency.measured_ms)
    searched = _search(priced, widths.search, widths.threshold, widths.conv, widths.dense)
    trainer = _trainer(training.data, training.batch, training.rate)
    priced = searched.priced
    ms = priced.latency_ms(priced.groups.sizes)
    ratio = latency.budget_ms / ms if latency.budget_ms > 0 else budget_ratio
    start = partial(_start, trainer, whole, weights, training.first_steps, adaptation.seed)
    log = partial(print, file=sys.stderr, flush=True)
    measure = _measure(latency.runtime, whole, ms) if latency.runtime else None
    (adapted,) = adaptation(priced.groups, start, priced.latency_ms, searched, trainer, [ratio], out, log, measure)
    paths = save_network(adapted.groups.resized(adapted.widths), adapted.weights, out)
    _print_result(adapted, ms, paths)


def _network(name: str, space: str) -> tuple[Network, Weights | None]:
    """The network, and its weights where it is read from a file or module."""
    from datasets.networks.reading import read_model, space_and_key
    from measure.accuracy.digits import SIDE
    from measure.accuracy.training import DigitsTraining

    model = read_model(name, 1, space=space, modules=True)
    if model.weights is None and model.network.ops[0].attrs["shape"][-1] < SIDE:  # pixels are folded into channels
        skeleton, key = space_and_key(name, space)
        network, _ = DigitsTraining(skeleton=skeleton).network(key)
        return network, None
    return model.network, model.weights


def _trainer(data: Path | None, batch: int, rate: float) -> Trainer:
    from measure.accuracy.tuning import Cifar10, Tuning

    return Tuning(task=Cifar10(data), batch=batch, rate=rate) if data else Tuning(batch=batch, rate=rate)


def _priced(network: Network, lut: Path, device: str, measured_ms: float) -> PricedNetwork:
    """The network with its table, scaled to a measured latency above 0."""
    from datasets.records import find_device
    from predictors.base import Predictor
    from predictors.networks.layer_sum import LayerSum
    from predictors.networks.tabulated import Tabulated
    from search.netadapt.channels import find_groups
    from search.netadapt.grids import predicted_table
    from search.netadapt.widths import PricedNetwork

    groups = find_groups(network)
    if lut.suffix == ".pt":
        predictor = Predictor.load(lut)
    else:
        predictor = LayerSum.tabulated(lut, [layer.kind for layer in groups.layers])
    if not isinstance(predictor, LayerSum):
        raise InputError(
            f"{lut} is no sum of layers; write a table of them with `python -m predictors layerwise --lut TABLE`."
        )
    known = predictor.devices_
    if not device and len(known) > 1:
        raise InputError(f"{lut} has {len(known)} devices; name one of them: {listed([d.name for d in known])}.")
    on = find_device(known, device) if device else known[0]
    table = predictor.table(on) if isinstance(predictor.layers, Tabulated) else predicted_table(predictor, on, groups)
    priced = PricedNetwork(groups, table)
    return PricedNetwork(groups, table, measured_ms / priced.latency_ms(groups.sizes)) if measured_ms > 0 else priced


def _search(priced: PricedNetwork, search: str, threshold: int, conv: int, dense: int) -> WidthSearch:
    from search.netadapt.widths import Binary, Exact, Sequential

    if search == "binary":
        return Binary(priced, conv, dense, threshold)
    return (Exact if search == "exact" else Sequential)(priced, conv, dense)


def _measure(runtime: str, whole: Network, ms: float) -> Callable[[Network, Weights], float]:
    """True latency of a network, in ms of a scale on which the whole network takes `ms`."""
    from measure.backends import parse_backend
    from measure.shares import Shares

    shares = Shares(parse_backend(runtime), whole)
    return lambda network, weights: ms * shares(network, weights)


def _start(trainer: Trainer, network: Network, weights: Weights | None, steps: int, seed: int) -> Weights:
    """The given weights, or trained ones."""
    from measure.builders.weights import make_weights

    return weights or trainer.tune(network, make_weights(network, seed), steps, seed)


def _print_result(adapted: AdaptedNetwork, ms: float, paths: list[Path]) -> None:
    widths = adapted.groups.named(adapted.widths)
    print(", ".join(f"{name} {width}" for name, width in widths.items()))
    kept = "keeps" if adapted.met else "does NOT keep (no layer can become narrower)"
    print(
        f"{adapted.latency_ms:.4g} ms by the table, {100 * adapted.latency_ms / ms:.1f} % of the whole network's "
        f"{ms:.4g}"
    )
    print(f"{kept} the budget of {adapted.budget_ms:.4g} ms after {adapted.iterations} iterations")
    print(f"test accuracy {adapted.accuracy:.4g} %")
    write_text(paths[0].with_name("widths.json"), json.dumps(widths, indent=1))
    print("written:", *paths)


if __name__ == "__main__":
    main(netadapt, prog="python -m search.netadapt")
