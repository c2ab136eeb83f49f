"""A decision as text."""

from __future__ import annotations

from gnomon.decision import Decided
from predictors.metrics import plain
from predictors.networks.price_report import end_of, table

MOST = 20
"""Largest number of alternatives in a table."""


def report(found: Decided) -> str:
    """A sentence on the best alternative, and a table of all."""
    best, chance = found.best, f"{100 * found.level:.10g} %"
    several = len({each.batch for each in found.alternatives}) > 1
    batch = f" in batches of {best.batch}" if several else ""
    first = (
        f"{end_of(found.network)} on {found.machine}: {best.device}{batch}, {plain(best.ms)} ms ({chance} interval "
        f"{plain(best.low)} to {plain(best.high)}), {plain(best.per_second)} per second; the best of "
        f"{len(found.alternatives)} for {found.goal} with probability {best.probability:.2f}, expected loss "
        f"{100 * best.regret:.2g} %"
    )
    rows = [
        {
            "device": each.device,
            "batch": str(each.batch),
            "ms": plain(each.ms),
            f"{chance} from": plain(each.low),
            "to": plain(each.high),
            "per second": plain(each.per_second),
            "measured ms": plain(each.measured_ms) if each.measured_ms else "-",
            "slower by": f"{100 * each.loss:.3g} %" if each is not best else "-",
            "P(best)": f"{each.probability:.2f}",
        }
        for each in found.alternatives[:MOST]
    ]
    left = len(found.alternatives) - MOST
    return "\n".join([first, table(rows), *([f"and {left} more, which --json prints"] if left > 0 else [])])
