"""What a network costs on every known device, those of public tables included: `python -m gnomon price F --all`.

In Python: `frame(prices("a.onnx", under_ms=30))`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from datasets.files.reading import no_such, shortened
from datasets.networks.network import Network
from datasets.networks.sizes import Sizes
from datasets.records import Device, InputError
from gnomon.joint_times import JointTimes
from predictors.networks.price import read_noted

if TYPE_CHECKING:
    import pandas as pd

    from predictors.base import Predictor

OTHERS = 300
"""Number of rows of other machines that a machine's times are learnt from."""


@dataclass(frozen=True)
class Priced:
    """A network's price on a device.

    Attributes:
        device: its name.
        source: pricer, or the public table whose rows of the device stand for measurements of it.
        runtime, precision, threads: of the device.
        ms, low, high: predicted time of a run with its interval.
        keeps: probability of at most the given limit; None without one.
        notes: sentences on what of the price no measurement supports.
    """

    device: str
    source: str
    runtime: str
    precision: str
    threads: int
    ms: float
    low: float
    high: float
    keeps: float | None
    notes: tuple[str, ...] = ()


def prices(
    name: str,
    under_ms: float | None = None,
    public: bool = True,
    predictor: Predictor | None = None,
    level: float = 0.9,
    sizes: Sizes = Sizes(),
    after: Callable[[int], object] = lambda machines: None,
    names: Sequence[str] = (),
) -> list[Priced]:
    """Predict the time of a network on all devices, the fastest first.

    Args:
        name: name of the network, as `measure run --onnx` takes it.
        under_ms: a limit, for the probabilities to keep it.
        public: whether devices of the public tables that were fetched are included.
        predictor: predictor of networks, with intervals; by default the pricer that comes with Gnomon.
        level: probability of intervals.
        sizes: that files leave open.
        after: called with the number of all machines after each of them.
        names: of devices that are wanted; by default all.

    Raises:
        InputError: the network cannot be read or priced, or there is no device of a name.
    """
    from gnomon.decide import priced
    from gnomon.public_times import machines, predicted
    from predictors.networks.shipped import load

    predictor = predictor or load()
    network: Network = read_noted(name, None, sizes)[0]
    times, _, gaps = priced(predictor, [network], [(each, 0) for each in predictor.devices_])
    found = _rows("pricer", predictor.devices_, times, under_ms, level, gaps)
    if public and (network.batch or 1) != 1:
        raise InputError(f"{shortened(name, 60)} runs in batches of {network.batch}, public tables have 1; omit --all.")
    tables = machines() if public else {}
    if names:
        tables = {each: source for each, source in tables.items() if any(name.startswith(each) for name in names)}
    for machine, source in tables.items():
        devices, times, notes = predicted(network, machine, OTHERS)
        found += _rows(source, devices, times, under_ms, level, [notes] * len(devices))
        after(len(tables))
    for name in names:
        if name not in (known := [row.device for row in found]):
            raise no_such("device", name, known)
    return sorted((row for row in found if row.device in names or not names), key=lambda row: row.ms)


def _rows(
    source: str,
    devices: Sequence[Device],
    times: JointTimes,
    under_ms: float | None,
    level: float,
    notes: Sequence[Sequence[str]],
) -> list[Priced]:
    low, high = times.interval(level)
    keeps = times.within(under_ms).tolist() if under_ms is not None else [None] * len(devices)
    numbers = zip(np.exp(times.mean).tolist(), low.tolist(), high.tolist(), keeps, map(tuple, notes), strict=True)
    return [
        Priced(each.name, source, each.runtime, each.precision, each.threads, *row)
        for each, row in zip(devices, numbers, strict=True)
    ]


def frame(found: Sequence[Priced]) -> pd.DataFrame:
    """The prices as a table, one row per device."""
    import pandas as pd

    return pd.DataFrame([asdict(each) for each in found])


def report(found: Sequence[Priced], level: float) -> str:
    """The prices as text."""
    from predictors.metrics import plain
    from predictors.networks.price_report import footnotes, table

    numbers, notes = footnotes([each.notes for each in found])
    lines = table([
        {"device": each.device, "ms": plain(each.ms), f"{100 * level:.10g} % from": plain(each.low),
         "to": plain(each.high), **({} if each.keeps is None else {"P(keeps it)": f"{each.keeps:.2f}"}),
         "source": each.source, "notes": own}
        for each, own in zip(found, numbers, strict=True)
    ])  # fmt: skip
    return "\n".join([lines, *notes])
