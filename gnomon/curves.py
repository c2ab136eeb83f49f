"""Predicted time over the batch, the sequence or the size of images, and where it bends: `python -m gnomon curves`.

In Python: `curve("a.onnx", "batch").to_frame()`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from datasets.files.reading import shortened
from datasets.networks.sizes import Sizes
from datasets.records import Device, InputError
from predictors.networks.price import Price, price, read_noted

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from predictors.networks.layer_sum import LayerSum

Over = Literal["batch", "sequence", "size"]

VALUES: dict[str, tuple[int, ...]] = {
    "batch": (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64),
    "sequence": (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512),
    "size": (64, 96, 128, 160, 192, 224, 256, 288, 320, 384, 448, 512),
}
"""Values of a curve by default; `size` is the height and width of images."""
STEP = 1.4
"""Multiple of the exponent of multiply-accumulates from which on a rise of the time is a step."""


@dataclass(frozen=True)
class Point:
    """A point of a curve.

    Attributes:
        value: batch, length or side.
        ms, low, high: predicted time of a run with its interval.
        per_sample_ms: time of a run over its batch.
        overhead: share of the session and of the copies, which computes nothing.
        memory: share of the time of pieces that moving bytes bounds.
        largest_mb: bytes that the largest piece moves, in MB (10^6 bytes).
    """

    value: int
    ms: float
    low: float
    high: float
    per_sample_ms: float
    overhead: float
    memory: float
    largest_mb: float


@dataclass(frozen=True)
class Break:
    """A place where a curve bends.

    Attributes:
        value: the first value behind it.
        cause: overhead: from there on most of the time is computing; memory, compute: what bounds most of the time from
            there on; cache: the largest piece exceeds a cache; step: the time rises by more than the work.
        text: a sentence.
    """

    value: int
    cause: Literal["overhead", "memory", "compute", "cache", "step"]
    text: str


@dataclass(frozen=True)
class Curve:
    """Predicted times of a network.

    Attributes:
        network: its name.
        device: name of the device.
        over: what changes.
        level: probability of intervals.
        points: in the order of their values.
        breaks: where the curve bends.
        notes: sentences on what no measurement supports.
    """

    network: str
    device: str
    over: Over
    level: float
    points: tuple[Point, ...]
    breaks: tuple[Break, ...]
    notes: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """The curve as plain values, as `--json` prints them."""
        return {"format": 1, **asdict(self)}

    def to_frame(self) -> pd.DataFrame:
        """One row per point."""
        import pandas as pd

        return pd.DataFrame([asdict(point) for point in self.points])


def without_repeats(notes: Iterable[str]) -> tuple[str, ...]:
    """Notes once each; of those that differ only in the share that they begin with, the one with the largest."""
    found: dict[str, set[float]] = {}
    for note in notes:
        share, percent, rest = note.partition(" % ")
        known = percent and share.replace(".", "", 1).isdigit()
        found.setdefault(f" % {rest}" if known else note, set()).update([float(share)] if known else [])
    largest = {rest: f"{max(shares):g}" if shares else "" for rest, shares in found.items()}
    return tuple(("up to " if len(found[rest]) > 1 else "") + share + rest for rest, share in largest.items())


def curve(
    name: str,
    over: Over = "batch",
    device: str = "",
    values: Sequence[int] = (),
    predictor: LayerSum | None = None,
    level: float = 0.9,
    sizes: Sizes = Sizes(),
    caches_mb: Sequence[float] = (),
) -> Curve:
    """Predict the time of a network over its batch, sequence or images' size.

    Args:
        name: name of the network, as `measure run --onnx` takes it; sequence and size are those that its file leaves
            open.
        over: what changes.
        device: one of the predictor's; by default its first.
        values: values that are predicted; by default `VALUES`.
        predictor: a sum of layers; by default the pricer that comes with Gnomon.
        level: probability of intervals.
        sizes: further sizes that the file leaves open.
        caches_mb: sizes of the device's caches in MB (10^6 bytes).

    Raises:
        InputError: the network cannot be read in these sizes or priced.
    """
    from datasets.records import find_device
    from predictors.networks.shipped import load

    predictor = predictor or load()
    on = find_device(predictor.devices_, device) if device else predictor.devices_[0]
    found = [_price(predictor, name, over, value, on, level, sizes) for value in sorted(set(values or VALUES[over]))]
    points = [_point(value, each) for value, each in found]
    if len({each.macs for _, each in found}) == 1 < len(found):
        raise InputError(f"The {over} of {shortened(name, 60)} is fixed, so that its time does not depend on it.")
    notes = without_repeats(note for _, each in found for note in each.warnings)
    breaks = (*_causes(points, caches_mb), *_steps(points, [each.macs for _, each in found]))
    ordered = tuple(sorted(breaks, key=lambda each: each.value))
    return Curve(name, on.name, over, level, tuple(points), ordered, notes)


def _price(
    predictor: LayerSum, name: str, over: Over, value: int, device: Device, level: float, sizes: Sizes
) -> tuple[int, Price]:
    """The price of a network where what changes has one value."""
    from dataclasses import replace

    batch = value if over == "batch" else None
    sides = {"batch": "", "sequence": f"sequence={value}", "size": f"height={value} width={value}"}[over]
    own = replace(sizes, size=" ".join(filter(None, (sizes.size, sides))))
    network, _, file = read_noted(name, batch, own)
    return value, price(predictor, network, device, level, file)


def _point(value: int, priced: Price) -> Point:
    ms = sum(piece.ms for piece in priced.pieces)
    moving = sum(piece.ms for piece in priced.pieces if piece.bound == "memory")
    return Point(
        value,
        priced.latency_ms,
        priced.low,
        priced.high,
        priced.latency_ms / priced.batch,
        (priced.session + priced.pre + priced.post) / priced.total_ms,
        moving / ms if ms else 0.0,
        max((piece.bytes for piece in priced.pieces), default=0) / 1e6,
    )


def _causes(points: Sequence[Point], caches_mb: Sequence[float]) -> list[Break]:
    """Where shares cross a half, and the largest piece a cache."""
    found = list[Break]()
    for before, after in pairwise(points):
        at = after.value
        if before.overhead > 0.5 >= after.overhead:
            found.append(Break(at, "overhead", f"From {at} on most of the time is computing, not calling and copying."))
        if (before.memory > 0.5) != (after.memory > 0.5):
            cause: Literal["memory", "compute"] = "memory" if after.memory > 0.5 else "compute"
            what = "moving bytes" if cause == "memory" else "multiply-accumulates"
            found.append(Break(at, cause, f"From {at} on {what} bound most of the time."))
        found += [
            Break(at, "cache", f"From {at} on the largest layer moves more than the {cache:.3g} MB of a cache.")
            for cache in caches_mb
            if before.largest_mb <= cache < after.largest_mb
        ]
    return found


def _steps(points: Sequence[Point], macs: Sequence[int]) -> list[Break]:
    """Where the time rises by more than `STEP` times the exponent of the multiply-accumulates, as at the end of a tile
    of a kernel or of a table's cell."""
    found = list[Break]()
    for (before, less), (after, more) in pairwise(zip(points, macs, strict=True)):
        work, ms = more / less if less else 1.0, after.ms / before.ms
        if work > 1 and math.log(ms) > STEP * math.log(work):
            text = f"From {before.value} to {after.value} the time rises {ms:.3g}-fold, the work {work:.3g}-fold."
            found.append(Break(after.value, "step", text))
    return found


def own_caches_mb(folder: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> list[float]:
    """Sizes in MB of this machine's caches of data from the second level on, as Linux reports them; none elsewhere."""
    found = set()
    for index in sorted(folder.glob("index*")):
        try:
            level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        if level != "1" and kind != "Instruction" and size[:-1].isdecimal() and size[-1] in "KM":
            found.add(int(size[:-1]) * (1024 if size[-1] == "K" else 1024**2) / 1e6)
    return sorted(found)


def report(found: Curve) -> str:
    """A curve as a table, and its breaks as sentences."""
    from predictors.metrics import plain
    from predictors.networks.price_report import table

    rows = [
        {found.over: str(point.value), "ms": plain(point.ms), f"{100 * found.level:.10g} % from": plain(point.low),
         "to": plain(point.high), "ms per sample": plain(point.per_sample_ms),
         "bound by memory": f"{100 * point.memory:.0f} %", "overhead": f"{100 * point.overhead:.0f} %"}
        for point in found.points
    ]  # fmt: skip
    return "\n".join([table(rows), *(each.text for each in found.breaks)])


def draw(found: Curve) -> Figure:
    """Plot the time per sample with its interval, and the breaks."""
    from matplotlib.ticker import NullLocator

    from datasets.figures import BLUE, GREY, new_figure, plain_ticks
    from predictors.networks.price_report import printable

    figure = new_figure(7, 4.4)
    axis = figure.subplots()
    x = [point.value for point in found.points]
    share = [point.per_sample_ms / point.ms for point in found.points]
    low, high = ([getattr(p, name) * s for p, s in zip(found.points, share, strict=True)] for name in ("low", "high"))
    axis.fill_between(x, low, high, color=BLUE, alpha=0.2, lw=0, label=f"{100 * found.level:.10g} % interval")
    axis.plot(x, [point.per_sample_ms for point in found.points], "o-", color=BLUE, ms=4, label="predicted")
    axis.set_xscale("log", base=2)
    if max(point.per_sample_ms for point in found.points) > 5 * min(point.per_sample_ms for point in found.points):
        axis.set_yscale("log")
        plain_ticks(axis.yaxis)
    else:
        axis.set_ylim(bottom=0)
    axis.set_xticks(x, [str(value) for value in x])
    axis.xaxis.set_minor_locator(NullLocator())
    causes: dict[int, list[str]] = {}
    for each in found.breaks:
        causes.setdefault(each.value, []).append(each.cause)
    for value, names in causes.items():
        axis.axvline(value, color=GREY, lw=0.8, ls="--")
        axis.annotate(", ".join(dict.fromkeys(names)), (value, 1), (3, -3), xycoords=("data", "axes fraction"),
                      textcoords="offset points", rotation=90, va="top", fontsize=8, color=GREY)  # fmt: skip
    axis.set(xlabel=found.over, ylabel="ms per sample")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", alpha=0.25, lw=0.6)
    figure.legend(frameon=False, loc="outside lower center", ncols=2)
    figure.suptitle(f"{printable(found.network)} on {found.device}", x=0.01, ha="left", fontsize=11)
    return figure
