"""Networks measured on this machine and priced by a predictor, side by side: `python -m gnomon compare`.

Both are milliseconds at one speed of the machine: what is measured is the ratio to the reference network, times the
reference's usual time. That is the one in the bundled tables that were measured on such a machine, by which prices were
learnt; on other machines it is the median of the journal. In Python: `frame(compare(["a.onnx"], "ort"))`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.machine import machine
from datasets.networks.sizes import Sizes
from datasets.records import Device, InputError, Networks, find_device
from measure.backends import parse_backend
from measure.base import Backend
from measure.bench import Worker
from measure.campaign import Journal, networks, pending, run_campaign
from measure.drift import References
from measure.network_files import on_device
from measure.rows import Row, identity, is_timed
from measure.shown import failure
from measure.subjects import Subject
from measure.timing import PROTOCOLS
from predictors.networks.price import read_noted
from predictors.unsupported import of_another_machine

if TYPE_CHECKING:
    import pandas as pd

    from predictors.base import Predictor

TABLES = Path(__file__).parent.parent / "datasets" / "bundled"


@dataclass(frozen=True)
class Compared:
    """One network, measured and priced.

    Attributes:
        network: its name.
        device: on which it was measured.
        priced: device of the price.
        measured_ms, measured_low, measured_high: median over the passes, and the fastest and the slowest pass, each
            with sessions of its own; nan if it could not be measured.
        predicted_ms, low, high: the price with its interval; nan if it cannot be priced, and for the interval of
            predictors that have none.
        notes: why it could not be measured or priced, or what the price does not rest on.
    """

    network: str
    device: str
    priced: str
    measured_ms: float
    measured_low: float
    measured_high: float
    predicted_ms: float
    low: float
    high: float
    notes: tuple[str, ...]

    @property
    def off(self) -> float:
        """Relative error of the price."""
        return self.predicted_ms / self.measured_ms - 1

    @property
    def inside(self) -> bool:
        """Whether the measured median is inside of the price's interval."""
        return self.low <= self.measured_ms <= self.high

    def record(self) -> dict[str, Any]:
        """The fields as plain values; unknown numbers are None."""
        values = asdict(self) | {"off": self.off, "inside": self.inside, "notes": list(self.notes)}
        return {name: None if value != value else value for name, value in values.items()}


def compare(
    names: Sequence[str],
    backend: Backend | str = "ort",
    predictor: Predictor | None = None,
    device: str = "",
    journal: Path = Path("runs/gnomon/compare.jsonl"),
    repeats: int = 5,
    level: float = 0.9,
    sizes: Sizes = Sizes(),
    after: Callable[[Row, int], object] = lambda row, total: None,
) -> list[Compared]:
    """Measure networks on this host and predict how long they take.

    Args:
        names: names of networks, as `measure run --onnx` takes them.
        backend: a runtime of this host.
        predictor: predictor of networks; by default the pricer that comes with Gnomon.
        device: one of the predictor's; by default that of this machine.
        journal: file of the measurements; rows that it contains are not measured again.
        repeats: number of passes over all networks.
        level: probability of the prices' intervals.
        sizes: that files leave open.
        after: called with each row that is measured, and the number of all that have to be.

    Raises:
        InputError: a network does not exist, or the predictor has no such device.
    """
    from predictors.networks.shipped import load

    if isinstance(backend, str):
        backend = parse_backend(backend)
        backend = replace(backend, timing=replace(backend.timing, **PROTOCOLS["quick"]))
    subjects, prepare = networks(names, modules=True, sizes=sizes)
    predictor = predictor or load()
    if predictor.metric != "latency_ms":
        raise InputError(f"The predictor is one of {predictor.metric}; name one of latency_ms.")
    where = device_of(predictor, device, backend)
    prices = [_price(predictor, name, where, backend.batch, level, sizes) for name in names]
    log = Journal(journal)
    tasks = pending(subjects, [backend], log, repeats)
    with Worker(timeout=600) as bench:
        for row in run_campaign(subjects, tasks, log, prepare, bench):
            after(row, len(tasks))
    found = []
    for name, subject, price in zip(names, subjects, prices, strict=True):
        own = on_device(backend, subject).device()
        here = where is None or where.name in reference_times() or not of_another_machine(predictor, "", [where])
        usual_ms = reference_times().get(where.name) if where and _differ_at_most(where, own) else None
        measured, note = _measured(log.rows, subject, own, repeats, usual_ms)
        elsewhere = "" if here or where is None else f"The price is that of {where.name}, which is another machine."
        notes = (*filter(None, [note, elsewhere]), *price.pop("notes"))
        found.append(Compared(name, own.name, where.name if where else "", *measured, **price, notes=notes))
    return found


def device_of(predictor: Predictor, name: str, backend: Backend) -> Device | None:
    """The predictor's device of a name, or of this machine with this runtime, precision and number of threads, and
    with this batch if there is one; None for a predictor of no device.

    Raises:
        InputError: there is none.
    """
    known, here = list(predictor.devices_), backend.device()
    if name or not known:
        return find_device(known, name) if known else None
    mine = (*reference_times(), *(each.name for each in known if each.name.startswith(f"{backend.host}_")))
    own = [each for each in known if each.name in mine and _differ_at_most(each, here, "batch")]
    if own:
        return min(own, key=lambda each: each.batch != here.batch)
    raise InputError(
        f"The predictor has no device of this machine with {here.runtime} in {here.precision}; name the most similar "
        f"one with --device: {', '.join(device.name for device in known)}."
    )


def _differ_at_most(device: Device, other: Device, but: str = "") -> bool:
    """Whether two devices, whatever their machines, run networks alike in all but one field."""
    names = {"runtime", "precision", "batch", "threads"} - {but}
    return all(getattr(device, name) == getattr(other, name) for name in names)


@cache
def reference_times() -> dict[str, float]:
    """Usual time of the reference network in ms, by device, of the bundled tables of machines like this one."""
    import json

    import pyarrow.parquet

    found: dict[str, list[float]] = {}
    for path in sorted(TABLES.glob("*.parquet")):
        meta = json.loads((pyarrow.parquet.read_schema(path).metadata or {}).get(b"gnomon", b"{}"))
        hosts = [{key: value for key, value in host.items() if key != "cores"} for host in meta.get("hosts", [])]
        for name, ms in (meta.get("reference_ms") or {}).items() if hosts == [machine()] else ():
            found.setdefault(name, []).append(ms)
    return {name: float(np.median(times)) for name, times in found.items()}


def _price(
    predictor: Predictor, name: str, device: Device | None, batch: int, level: float, sizes: Sizes
) -> dict[str, Any]:
    """The fields of `Compared` on the price of a network."""
    from predictors.base import Uncertain
    from predictors.unsupported import unsupported

    try:
        network = Networks([read_noted(name, batch if batch > 1 else None, sizes)[0]])
        values = predictor.predict(network, device)
    except InputError as error:
        return {"predicted_ms": np.nan, "low": np.nan, "high": np.nan, "notes": [f"There is no price: {error}"]}
    low = high = np.array([np.nan])
    if isinstance(predictor, Uncertain):
        low, high = predictor.belief(network, device).interval(level)
    notes = unsupported(predictor, values, "ms")
    return {"predicted_ms": float(values[0]), "low": float(low[0]), "high": float(high[0]), "notes": notes}


def _measured(
    rows: Sequence[Row], subject: Subject, device: Device, repeats: int, usual_ms: float | None
) -> tuple[tuple[float, float, float], str]:
    """Median, smallest and largest ms of the passes of a network, and why there is none; `usual_ms` is the reference
    network's time, by default that of the rows."""
    wanted = [(subject.space, subject.key, device.name, repeat, "latency_ms") for repeat in range(repeats)]
    mine = [row for row in rows if identity(row) in wanted]
    if not (timed := [row for row in mine if is_timed(row)]):
        return (np.nan, np.nan, np.nan), f"It was not measured: {failure(mine[-1])}"
    reference_ms = usual_ms or References(rows).ms(device.name)
    ms = [row["ratio"] * reference_ms for row in timed]
    return (float(np.median(ms)), min(ms), max(ms)), ""


def frame(found: Sequence[Compared]) -> pd.DataFrame:
    """The results as a table, one row per network."""
    import pandas as pd

    return pd.DataFrame([each.record() for each in found])
