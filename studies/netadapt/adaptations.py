"""Networks, tables and settings of the study's adaptations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from datasets.networks.model import Weights
from datasets.networks.network import Network
from measure.accuracy.digits import Digits
from measure.accuracy.tuning import Tuning
from measure.backends import parse_backend
from measure.builders.weights import make_weights
from measure.shares import Shares
from measure.timing import Timing
from predictors.networks.layer_sum import LayerSum
from search.netadapt.adapt import Adaptation, AdaptedNetwork
from search.netadapt.channels import Groups, find_groups
from search.netadapt.grids import open_network
from search.netadapt.proposals import derive
from search.netadapt.widths import Exact, PricedNetwork

OUT = Path("runs/netadapt")
SPACE = "small_zoo"
TABLE = Path("datasets/bundled/lookup") / f"netadapt_{SPACE}.parquet"
TILES = Path("datasets/bundled/lookup") / "netadapt_resnet_16.parquet"
"""LiteRT's latencies of the ResNet's layers for all multiples of 16 channels, the width of the tiles of its
kernels: widths in between take as long as the next multiple."""
BUDGETS = (0.75, 0.5, 0.35)
TASK = Digits(train=6000, test=2000)
TUNING = Tuning(TASK, holdout=500, batch=50)
FIRST_STEPS = 200
"""Training steps of whole networks that are not in `COMPARISONS`."""
RATES = {"alexnet": 0.001}
"""Learning rates of networks without batch norm, which do not train at the default rate (by held-out images)."""
QUICK = Adaptation(steps=2, long_steps=0, choice="accuracy")
"""Settings of runs whose time alone depends on T: 2 steps of 16 images."""
QUICK_TUNING = Tuning(TASK, holdout=500, batch=16, scored=100)


class Comparison(NamedTuple):
    """Settings of a comparison of adaptation with uniform scaling; tunings use 50 images per step.

    Attributes:
        adaptation: settings of the adaptation.
        table: table of the layers.
        step: step of all widths, adapted and uniform. LiteRT is slow with others: 12 channels everywhere take longer
            than 16, which would make uniform scaling look worse than it is.
        uniform: shares of all widths, for a curve of accuracy over latency around the budgets.
        first_steps: training steps of the whole network.
    """

    adaptation: Adaptation
    table: Path
    step: int
    uniform: tuple[float, ...]
    first_steps: int


COMPARISONS = {
    "resnet": Comparison(
        Adaptation(0.08, steps=6, long_steps=150, choice="accuracy"), TILES, 16, (0.375, 0.5, 0.625, 0.75, 0.875), 200
    ),
    "resnet_even": Comparison(Adaptation(0.08, steps=6, long_steps=200), TABLE, 8, (0.25, 0.5, 0.75, 1.0), 400),
}


@cache
def groups_of(network: str) -> Groups:
    return find_groups(open_network(network, SPACE))


@cache
def priced(network: str, runtime: str, table: Path = TABLE) -> PricedNetwork:
    groups = groups_of(network)
    predictor = LayerSum.tabulated(table, [layer.kind for layer in groups.layers])
    (device,) = (device for device in predictor.devices_ if f"_{runtime}_" in device.name)
    return PricedNetwork(groups, predictor.table(device))


def tuning_of(network: str, tuning: Tuning) -> Tuning:
    return replace(tuning, rate=RATES.get(network, tuning.rate))


@cache
def trained(network: str, seed: int) -> Weights:
    """The whole network after its training."""
    whole, steps = (
        groups_of(network).network,
        COMPARISONS[network].first_steps if network in COMPARISONS else FIRST_STEPS,
    )
    return tuning_of(network, TUNING).tune(whole, make_weights(whole, seed), steps, derive(seed, 0, 1000))


def adapt(
    adaptation: Adaptation,
    search: Exact,
    ratios: Sequence[float],
    folder: Path,
    start: Callable[[], Weights],
    trainer: Tuning,
    measure: Callable[[Network, Weights], float] | None = None,
) -> list[AdaptedNetwork]:
    """Adapt to budgets `ratios` with the exact search."""
    model, network = search.priced, search.priced.groups.network.key
    log = partial(print, f"{network}, {model.table.device}:", flush=True)
    return adaptation(
        model.groups, start, model.latency_ms, search, tuning_of(network, trainer), ratios, folder, log, measure
    )


def shares_of(network: str, runtime: str) -> Shares:
    """Latencies on this machine as shares of the whole network's."""
    backend = parse_backend(runtime, "here")
    backend.timing = Timing(pairs=41, warmup=3, max_rounds=3, budget_s=0.6)
    return Shares(backend, groups_of(network).network)


def save(figure: object, name: str) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    figure.savefig(OUT / f"{name}.png", dpi=130)  # type: ignore[attr-defined]
