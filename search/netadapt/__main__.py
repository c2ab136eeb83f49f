"""The command `python -m search netadapt`: what a search may not know of (builders, trainers) comes together here."""

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
    from search.netadapt.adapt import Adapted
    from search.netadapt.proposals import Trainer
    from search.netadapt.widths import Priced, WidthSearch


@dataclass(frozen=True)
class LatencyFlags:
    """What latency the network may have, and how it is known.

    Attributes:
        budget_ms: latency to reach in ms; above 0 it counts instead of --budget-ratio.
        measured_ms: latency of the whole network, measured directly; sums of the table are scaled to it. 0: not known.
        runtime: of this host (ort, litert, ...), on which networks that keep the budget by the table are measured;
            iterations go on where they do not. By default the table is believed.
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
    """How a width that keeps a step's limit is looked for.

    Attributes:
        search: exact (ours), binary (the paper's) or sequential (NetAdapt's).
        threshold: of the binary search.
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
    """What the network learns, and how.

    Attributes:
        first_steps: training steps of the whole network at the beginning, unless it is an ONNX file.
        data: folder of CIFAR-10's python version; by default the digits task is learnt, which is made up here.
        batch: images a step.
        rate: the highest learning rate.
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
    """NetAdapt: narrow a network until a look-up table says that it keeps a latency budget.

    Goes on where it was killed. Leaves the adapted network as network.pt2 (torch.export), .onnx and .tflite.

    Args:
        lut: table of its layers' latencies, which `python -m search layers` lists, `python -m measure run` measures and
            `python -m measure table` writes; or a predictor.pt that `python -m predictors layerwise --lut` made of one,
            with the coefficients that it has.
        network: of the space, or SPACE:ARCHITECTURE as zoo:resnet18, to be trained from seeded weights first; or an
            ONNX or .keras file, or torch:MODULE:CALLABLE, whose weights are kept.
        space: of the network, with its skeleton.
        device: name of a device of the table; may be left out where there is only one.
        budget_ratio: latency to reach, as a share of the whole network's.
        latency: what latency it may have in ms, and how that is known.
        adaptation: how it is adapted.
        widths: how a width that keeps a step's limit is looked for.
        training: what is learnt, and how.
        out: folder of the record and of what is found.
    """
    from measure.builders.saved import save_network

    whole, weights = _network(network, space)
    trainer = _trainer(training.data, training.batch, training.rate)
    priced = _priced(whole, lut, device, latency.measured_ms)
    searched = _search(priced, widths.search, widths.threshold, widths.conv, widths.dense)
    priced = searched.priced
    ms = priced.latency_ms(priced.groups.sizes)
    ratio = latency.budget_ms / ms if latency.budget_ms > 0 else budget_ratio
    start = partial(_start, trainer, whole, weights, training.first_steps, adaptation.seed)
    log = partial(print, file=sys.stderr, flush=True)
    measure = _measure(latency.runtime, whole, ms) if latency.runtime else None
    (found,) = adaptation(priced.groups, start, priced.latency_ms, searched, trainer, [ratio], out, log, measure)
    paths = save_network(found.groups.resized(found.widths), found.weights, out)
    _tell(found, ms, paths)


def _network(name: str, space: str) -> tuple[Network, Weights | None]:
    """The network and the weights of its file, if it is one."""
    from datasets.networks.reading import read_model, space_and_key
    from measure.accuracy.digits import SIDE
    from measure.accuracy.training import Training

    model = read_model(name, 1, space=space, modules=True)
    if model.weights is None and model.network.ops[0].attrs["shape"][-1] < SIDE:  # pixels are folded into channels
        skeleton, key = space_and_key(name, space)
        network, _ = Training(skeleton=skeleton).network(key)
        return network, None
    return model.network, model.weights


def _trainer(data: Path | None, batch: int, rate: float) -> Trainer:
    from measure.accuracy.tuning import Cifar10, Tuning

    return Tuning(task=Cifar10(data), batch=batch, rate=rate) if data else Tuning(batch=batch, rate=rate)


def _priced(network: Network, lut: Path, device: str, measured_ms: float) -> Priced:
    """The network by the table, scaled to what was measured, if it was."""
    from datasets.records import find_device
    from predictors.base import Predictor
    from predictors.networks.layer_sum import LayerSum
    from search.netadapt.channels import find_groups
    from search.netadapt.widths import Priced

    groups = find_groups(network)
    if lut.suffix == ".pt":
        predictor = Predictor.load(lut)
    else:
        predictor = LayerSum.tabulated(lut, [one.kind for one in groups.layers])
    if not isinstance(predictor, LayerSum):
        raise InputError(
            f"{lut} holds no table of layers; write one with `python -m predictors layerwise --lut TABLE`."
        )
    known = predictor.devices_
    if not device and len(known) > 1:
        raise InputError(f"{lut} is of {len(known)} devices; name one of them: {listed([d.name for d in known])}.")
    table = predictor.table(find_device(known, device) if device else known[0])
    priced = Priced(groups, table)
    return Priced(groups, table, measured_ms / priced.latency_ms(groups.sizes)) if measured_ms > 0 else priced


def _search(priced: Priced, search: str, threshold: int, conv: int, dense: int) -> WidthSearch:
    from search.netadapt.widths import Binary, Exact, Sequential

    if search == "binary":
        return Binary(priced, conv, dense, threshold)
    return (Exact if search == "exact" else Sequential)(priced, conv, dense)


def _measure(runtime: str, whole: Network, ms: float) -> Callable[[Network, Weights], float]:
    """True latency of a network, in the milliseconds in which the whole one takes `ms`."""
    from measure.backends import parse_backend
    from measure.shares import Shares

    shares = Shares(parse_backend(runtime), whole)
    return lambda network, weights: ms * shares(network, weights)


def _start(trainer: Trainer, network: Network, weights: Weights | None, steps: int, seed: int) -> Weights:
    """The file's weights, or trained ones."""
    from measure.builders.weights import make_weights

    return weights or trainer.tune(network, make_weights(network, seed), steps, seed)


def _tell(found: Adapted, ms: float, paths: list[Path]) -> None:
    widths = found.groups.named(found.widths)
    print(", ".join(f"{name} {width}" for name, width in widths.items()))
    kept = "keeps" if found.met else "does NOT keep (no layer can become narrower)"
    print(
        f"{found.latency_ms:.4g} ms by the table, {100 * found.latency_ms / ms:.1f} % of the whole network's {ms:.4g}"
    )
    print(f"{kept} the budget of {found.budget_ms:.4g} ms after {found.iterations} iterations")
    print(f"test accuracy {found.accuracy:.4g} %")
    write_text(paths[0].with_name("widths.json"), json.dumps(widths, indent=1))
    print("written:", *paths)


if __name__ == "__main__":
    main(netadapt, prog="python -m search.netadapt")
