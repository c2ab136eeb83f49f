"""A picture of the price of one network: `python -m predictors predict FILE --network model.onnx --out layers.png`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from datasets.figures import new_figure
from predictors.networks.price import Price
from predictors.networks.price_report import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

LABELLED = 3
"""Most layers that have a label."""
GAP = 8
"""Least distance of two labels in pixels."""
MOST_TRIED = 200
"""Most layers whose label is tried."""
SHOWN = {"moved": "other ops"}
"""Names of kinds of layers in the picture, where they differ."""


def draw(priced: Price) -> Figure:
    """Plot a price in two panels: ms of each layer, and ms of each kind of layer, the session and the copies.

    The costliest layers have labels, except for those whose label would cover that of a costlier one.
    """
    from matplotlib.ticker import MaxNLocator

    from predictors.figures import COLOURS, GREY

    rows = priced.pieces
    sums = {kind: sum(row.ms for row in rows if row.kind == kind) for kind in dict.fromkeys(row.kind for row in rows)}
    kinds = sorted(sums, key=lambda kind: -sums[kind])
    colour = dict(zip(kinds, COLOURS, strict=False))
    figure = new_figure(11, 4.4)
    left, right = figure.subplots(1, 2, width_ratios=(3, 1))
    for kind in kinds:
        places = [place for place, row in enumerate(rows, 1) if row.kind == kind]
        width = 1.0 if len(rows) > 60 else 0.8
        left.bar(
            places,
            [rows[place - 1].ms for place in places],
            width=width,
            color=colour[kind],
            label=SHOWN.get(kind, kind),
        )
    left.set(xlabel="layer, in the network's order", ylabel="ms", xlim=(0, len(rows) + 1))
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.margins(y=0.15)
    names = [*(SHOWN.get(kind, kind) for kind in kinds), "session", "copies"]
    values = [*(sums[kind] for kind in kinds), priced.session, priced.pre + priced.post]
    bars = right.barh(names[::-1], values[::-1], color=[*(colour[k] for k in kinds), GREY, GREY][::-1])
    right.bar_label(bars, [_share(value / priced.total_ms) for value in values[::-1]])
    right.set(xlabel="ms")
    right.margins(x=0.25)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(*left.get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=len(kinds))
    figure.suptitle(
        f"{printable(priced.network)} on {priced.device.name}, batch {priced.batch}\n{priced.latency_ms:.4g} ms "
        f"({100 * priced.level:.10g} %: {priced.low:.3g} to {priced.high:.3g})",
        fontsize=11,
    )
    _label(left, priced)
    return figure


def _share(share: float) -> str:
    """A share of the time in percent, which is 0 for nothing only."""
    return f" {100 * share:.0f} %" if not 0 < share < 0.005 else " < 1 %"


def _label(axis: Axes, priced: Price) -> None:
    """Label the costliest layers above their bars, equal ones once; labels stay within the panel and cover no other
    one, nor a bar."""
    taken: dict[str, Bbox] = {}
    figure = cast("Figure", axis.get_figure(root=True))
    figure.draw_without_rendering()  # lays the panels out, so that places in the picture are known
    rows, panel, to_data = priced.pieces, axis.get_window_extent(), axis.transData.inverted()
    for place in sorted(range(len(rows)), key=lambda place: -rows[place].ms)[:MOST_TRIED]:
        name = printable(rows[place].layer.partition(" -> ")[0], 40)
        if name in taken:
            continue
        text = axis.annotate(name, (place + 1, rows[place].ms), (0, 3), textcoords="offset points", fontsize=7)
        box = text.get_window_extent()
        start = min(max(box.x0 - box.width / 2, panel.x0), panel.x1 - box.width)
        text.set_position(((start - box.x0) * 72 / figure.dpi, 3))
        box = text.get_window_extent()
        (left, low), (right, _) = to_data.transform([(box.x0, box.y0), (box.x1, box.y1)])
        covered = any(row.ms > low for row in rows[max(int(left) - 1, 0) : int(right) + 1])
        if covered or any(box.padded(GAP).overlaps(other) for other in taken.values()):
            text.remove()
        else:
            taken[name] = box
        if len(taken) == LABELLED:
            break
