"""Figures of `python -m datasets describe`, and helpers for the figures of other modules."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.files.reading import shortened
from datasets.files.writing import check_writable, whole_file
from datasets.records import UNITS, InputError, Measurements

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

PICTURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".eps")
"""File suffixes of the picture formats that can be written."""
BLUE, DARK, GREY = "#2f6db3", "#1d3f66", "#888888"
CHARACTER = 0.088
"""Width in inches of a character of 10 points."""
BINS = 120
"""Number of bins of the histograms."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure without a window, of a width and height in inches. Texts are drawn literally, including dollar
    signs; lines longer than 160 characters are shortened."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from matplotlib.ticker import LogFormatter

    class Plain(Figure):
        def savefig(self, *arguments: Any, **options: Any) -> None:
            """Write the figure, whose layout is computed here since matplotlib draws all of it once more for that."""
            with missing_glyphs():
                if self.axes and (engine := self.get_layout_engine()):
                    self._make_literal()
                    engine.execute(self)
                    self.set_layout_engine(None)
                super().savefig(*arguments, **options)

        def draw(self, renderer: Any) -> None:
            self._make_literal()
            with missing_glyphs():
                super().draw(renderer)

        def _make_literal(self) -> None:
            sides = [side for axes in self.axes for side in (axes.xaxis, axes.yaxis)]
            logarithmic = [side for side in sides if isinstance(side.get_major_formatter(), LogFormatter)]
            powers = {label for side in logarithmic for label in side.get_ticklabels(which="both")}  # 10^n needs math
            for text in set(self.findobj(Text)) - powers:
                text.set_parse_math(False)
                text.set_text("\n".join(_printable(line) for line in text.get_text().split("\n")))

    @contextmanager
    def missing_glyphs() -> Iterator[None]:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a box is drawn in its place
            yield

    figure = Plain(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _printable(line: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in shortened(line, 160))


def check_picture(path: Path) -> None:
    """Check that a picture can be written, to be called before a long computation.

    Raises:
        InputError: the suffix is not known, or `path` cannot be written.
    """
    if path.suffix.lower() not in PICTURES:
        suffixes = ", ".join(PICTURES)
        raise InputError(f"{shortened(path)} has no suffix of a picture; end its name with one of {suffixes}.")
    check_writable(path)


def write_figure(figure: Figure, path: Path, **options: Any) -> None:
    """Write a figure as a picture, in the format of the path's suffix.

    Raises:
        InputError: the suffix is not known, or `path` cannot be written.
    """
    check_picture(path)
    with whole_file(path) as part:
        figure.savefig(part, dpi=130, **options)


def grid(
    panels: int, width: float = 4.0, height: float = 3.6, columns: int = 3, fixed: bool = False
) -> tuple[Figure, np.ndarray]:
    """A figure and its axes [panels or more], row by row; those beyond `panels` are hidden.

    With `fixed` margins, which hold tick labels of six digits, no layout is computed, which takes as long as drawing.
    """
    rows, columns = math.ceil(panels / columns), min(panels, columns)
    wide, high = width * columns, height * rows
    figure, margins = new_figure(wide, high), {}
    if fixed:
        figure.set_layout_engine(None)
        margins = {"left": 0.75 / wide, "right": 1 - 0.15 / wide, "wspace": 0.9 / (width - 0.9)}
        margins |= {"bottom": 0.55 / high, "top": 1 - 0.35 / high, "hspace": 0.9 / (height - 0.9)}
    axes = np.atleast_1d(figure.subplots(rows, columns, squeeze=False, gridspec_kw=margins)).ravel()
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[panels:]:
        axis.set_axis_off()
    return figure, axes


def name_ticks(axis: Axes, names: Sequence[str], inches: float) -> None:
    """Ticks with names below an axis of a width: level where they fit side by side, otherwise inclined or upright."""
    each, longest = inches / len(names), CHARACTER * max(map(len, names))
    angle = 0 if longest < each else 30 if each > 0.4 else 90
    options: dict[str, Any] = {"rotation": angle, "rotation_mode": "anchor", "ha": "right"} if angle == 30 else {}
    axis.set_xticks(range(len(names)), [shortened(name, 60) for name in names], **(options or {"rotation": angle}))


def fitting_size(text: str, inches: float) -> float:
    """Size in points, 12 at most, in which a line of text is no wider than a panel."""
    return min(12.0, 10 * inches / CHARACTER / max(len(text), 1))


def legend_columns(names: Sequence[str], inches: float) -> int:
    """Number of columns of a legend below a figure of a width, with a line of names in each row."""
    return max(1, min(len(names), int(inches / (0.8 * CHARACTER * max(map(len, names), default=1) + 0.5))))


def distributions(m: Measurements, metric: str) -> Figure:
    """Distributions of values, one ridge per device, on a common axis: linear for percentages, else logarithmic.

    The tick is the median, the thin line the range, the thick one the 5th to 95th percentile. Families are ordered by
    their medians. The axis omits a few far outliers; their number and the farthest are at its end.
    """
    values = m.matrix(metric)
    labels, order = _order_by_family(m, values)
    columns = [values[:, i][np.isfinite(values[:, i])] for i in order]
    logarithmic = min(column.min() for column in columns) > 0 and UNITS.get(metric) != "%"
    edges = _logarithmic_edges(columns) if logarithmic else _linear_edges(columns)
    figure = new_figure(9, 1.3 + 0.42 * len(order))
    axis = figure.subplots()
    for row, column in enumerate(columns):
        counts = np.histogram(column, edges)[0]
        ridge = row + 0.65 * np.append(counts, 0) / max(counts.max(), 1)
        axis.fill_between(edges, row, ridge, step="post", color=BLUE, alpha=0.6, lw=0)
        p5, median, p95 = np.percentile(column, [5, 50, 95])
        axis.plot([column.min(), column.max()], [row, row], color=DARK, lw=0.7)
        axis.plot([p5, p95], [row, row], color=DARK, lw=2.2, solid_capstyle="butt")
        axis.plot([median, median], [row - 0.14, row + 0.14], color=DARK, lw=1.6)
        note: dict[str, Any] = {"va": "top", "fontsize": 7, "color": GREY}
        if below := int((column < edges[0]).sum()):
            axis.text(edges[0], row - 0.07, f" ‹ {below} more, down to {column.min():.2g}", ha="left", **note)
        if above := int((column > edges[-1]).sum()):
            axis.text(edges[-1], row - 0.07, f"{above} more, up to {column.max():.3g} › ", ha="right", **note)
    if logarithmic:
        axis.set_xscale("log")
        plain_ticks(axis.xaxis)
    axis.set(xlim=(edges[0], edges[-1]), ylim=(-0.4, len(order)), xlabel=quantity(metric))
    axis.set_yticks(range(len(order)), [labels[column] for column in order])
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", color=GREY, alpha=0.25, lw=0.6)
    figure.suptitle(f"{m.name}: {len(m.architectures):,} architectures", x=0.01, ha="left")
    return figure


MOST_INCHES = 42
"""Largest side of a matrix of devices."""


def rank_correlation(m: Measurements, metric: str) -> Figure:
    """Spearman's rank correlation between devices as numbers and colours, clustered by similarity; of more than 100
    devices as colours alone.

    Devices without values are omitted. Pairs with fewer than three common architectures, or with a device whose values
    are all equal, are marked with a dash.

    Raises:
        InputError: fewer than two devices.
    """
    values = m.matrix(metric)
    measured = np.flatnonzero(np.isfinite(values).any(axis=0))
    if len(m.devices) < 2 or len(measured) < 2:
        raise InputError(f"{m.name} has {metric} of {len(measured)} device, and a rank correlation needs two.")
    rho = spearman(values[:, measured])
    order = _order_by_similarity(rho)
    rho = rho[np.ix_(order, order)]
    devices = [m.devices[measured[i]] for i in order]
    labels = [_device_label(device.name, device.family) for device in devices]

    cell = min(0.42, MOST_INCHES / len(devices))
    points = min(10.0, 60 * cell)
    margin = 0.0095 * points * max(len(label) for label in labels)
    names = [shortened(device.name, 60) for device in devices]
    bottom = 0.0095 * points * max(len(name) for name in names)
    figure = new_figure(max(cell * len(devices) + margin + 1.6, 6), cell * len(devices) + bottom + 0.6)
    axis = figure.subplots()
    low = min(np.floor(10 * np.nanmin(rho)) / 10, 0.9)
    image = axis.imshow(rho, vmin=low, vmax=1, cmap="YlGnBu", aspect="equal")
    for (row, column), value in np.ndenumerate(rho) if cell == 0.42 else ():
        red, green, blue, _ = image.cmap(image.norm(np.nan_to_num(value, nan=low)))
        dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.55
        text = "–" if np.isnan(value) else "1" if row == column else f"{value:.2f}".replace("0.", ".", 1)
        axis.text(column, row, text, ha="center", va="center", fontsize=7.5, color="white" if dark else "black")
    axis.set_xticks(range(len(devices)), names, rotation=90)
    axis.set_yticks(range(len(devices)), labels)
    axis.tick_params(length=0, labelsize=points)
    axis.spines[:].set_visible(False)
    figure.colorbar(image, ax=axis, shrink=0.6, label="Spearman")
    figure.suptitle(f"{m.name}: rank correlation of devices, {quantity(metric).partition(',')[0]}", x=0.01, ha="left")
    return figure


def spearman(values: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation [D, D] of the columns of values [A, D], with mean ranks for ties.

    A pair of columns is compared over the rows in which neither is NaN; it has NaN if these are fewer than three.
    """
    import pandas as pd

    return pd.DataFrame(values).corr(method="spearman", min_periods=3).to_numpy()


def _logarithmic_edges(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Edges of bins over all values except far outliers.

    These are the lowest 3 % of a column if its minimum is at most a third of the 3rd percentile (cells that compute a
    constant), and the highest 0.1 % if its maximum is 1.5 times the 99.9th or more (a phone that was disturbed).
    """
    low, high = [], []
    for column in columns:
        p3, p999 = np.percentile(column, [3, 99.9])
        low.append(column.min() if column.min() > p3 / 3 else p3 / 1.3)
        high.append(column.max() if column.max() < 1.5 * p999 else 1.3 * p999)
    return np.geomspace(min(low) / 1.02, max(high) * 1.02, BINS + 1)


def _linear_edges(columns: Sequence[np.ndarray]) -> np.ndarray:
    low, high = min(column.min() for column in columns), max(column.max() for column in columns)
    margin = 0.02 * (high - low) or 0.5
    return np.linspace(low - margin, high + margin, BINS + 1)


def _order_by_similarity(rho: np.ndarray) -> np.ndarray:
    """Positions [D] of the devices, similar ones side by side: the leaves of average linkage with distance 1 - rho."""
    from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
    from scipy.spatial.distance import squareform

    distance = np.clip(1 - np.nan_to_num(rho), 0, 2)
    np.fill_diagonal(distance, 0)
    condensed = squareform(distance, checks=False)
    return leaves_list(optimal_leaf_ordering(linkage(condensed, "average"), condensed))


def _order_by_family(m: Measurements, values: np.ndarray) -> tuple[list[str], list[int]]:
    """Labels of all columns, and positions of the columns with values, ordered by family and median.

    Families are ordered by the median of their devices' medians.
    """
    if not m.devices or values.shape[1] != len(m.devices):
        return ["no device"], [0]
    labels = [_device_label(device.name, device.family) for device in m.devices]
    families = [device.family for device in m.devices]
    median = {i: np.nanmedian(column) for i, column in enumerate(values.T) if np.isfinite(column).any()}
    of_family = {f: np.median([median[i] for i in median if families[i] == f]) for f in {families[i] for i in median}}
    return labels, sorted(median, key=lambda i: (of_family[families[i]], families[i], median[i]))


def _device_label(name: str, family: str) -> str:
    return shortened(name if family == name else f"{name} ({family})", 60)


def quantity(metric: str) -> str:
    """The name of a metric with its unit: "latency, ms" for `latency_ms`."""
    unit = UNITS.get(metric, "")
    name = metric.removesuffix(f"_{unit.lower()}").replace("_", " ")
    return f"{name}, {unit}" if unit else name


def plain_ticks(axis: Axis) -> None:
    """Label a logarithmic axis with plain numbers: 0.5, 1, 2, or 0.1, 1, 10 where it spans more than four decades."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if math.log10(high / low) <= 4 else (1,)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_locator(NullLocator())
