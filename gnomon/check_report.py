"""The result of a check as text."""

from __future__ import annotations

import math
from pathlib import Path

from datasets.files.reading import shortened
from gnomon.check import Checked
from gnomon.sequential import ConfidenceSequence
from predictors.metrics import plain


def shown(known: ConfidenceSequence) -> str:
    """The ratio so far, with its interval."""
    low, high = known.interval()
    ends = f"{math.exp(low):.3f} to {math.exp(high):.3f}" if math.isfinite(high - low) else "not known yet"
    return f"ratio {math.exp(known.centre):.3f} ({ends})"


def sentences(found: Checked) -> list[str]:
    """The result as text: the verdict, what was measured, and what helps where there is no verdict."""
    name, other = (shortened(Path(text).name, 60) for text in (found.network, found.against))
    chance = f"{100 * found.level:.10g} % interval"
    known = found.low > 0 and found.high < math.inf
    if found.budget_ms is None:
        ends = f"{chance} {found.low:.3f} to {found.high:.3f}" if known else f"no {chance} yet"
        assert found.tolerance is not None
        first = (f"{found.verdict}: {name} takes {found.ratio:.3f} times as long as {other} ({ends}; tolerance "
                 f"{100 * found.tolerance:.3g} %)")  # fmt: skip
        second = f"{plain(found.ms)} and {plain(found.against_ms)} ms"
    else:
        assert found.reference_ms is not None
        low, ms, high = (found.reference_ms * ratio for ratio in (found.low, found.ratio, found.high))
        ends = f"{chance} {plain(low)} to {plain(high)}" if known else f"no {chance} yet"
        first = f"{found.verdict}: {name} takes {plain(ms)} ms ({ends}), the budget is {plain(found.budget_ms)} ms"
        second = f"the reference network takes {plain(found.reference_ms)} ms"
    lines = [
        first,
        f"{found.device}: {second} ({found.clock} time); {found.pairs} pairs of runs in {found.blocks} blocks, "
        f"{found.sessions} sessions each, {found.seconds:.1f} s",
    ]
    if found.verdict == "NO VERDICT":
        lines.append("Give more --seconds, a larger --tolerance, or a quieter machine." if found.budget_ms is None
                     else "Give more --seconds or a quieter machine: the network is close to its budget.")  # fmt: skip
    return lines
