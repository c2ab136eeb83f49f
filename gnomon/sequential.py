"""Verdicts on which of two networks is faster, from a stream of log ratios that may end after any of them.

A log ratio x of a block is as probable above its centre as below (`gnomon.paired` draws the order of the networks by
chance, so that this is exact for equal networks): it is symmetric. So is z = tanh((x - centre) / scale), whatever the
scale, as long as that does not depend on x; here it is the spread of the blocks before. A gambler who bets a share b of
her wealth on every z has the wealth prod (1 + b z), which is fair: the mean of several shares' wealth exceeds 1 / alpha
at any time with a probability of at most alpha (Ville's inequality). Centres for which it does are outside of the
confidence sequence, which contains the true one at all times at once, without any assumption on the distribution but
its symmetry: heavy tails, spreads that change, and spreads that depend on earlier blocks do no harm. Bets on bounded
variables are those of Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting, 2024; that
wealth of odd functions tests symmetry is in Ramdas, Ruf, Larsson and Koolen, Admissible anytime-valid sequential
inference must rely on nonnegative martingales, 2020.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

Verdict = Literal["FASTER", "SLOWER", "SAME", "WITHIN", "OVER", "NO VERDICT"]

SHARES = (0.2, 0.5, 0.8, 0.95)
"""Shares of the wealth that are bet; the larger ones decide after few blocks where differences are clear."""
FIRST_SCALE, LEAST_SCALE = 0.02, 0.002
"""Scale of the first blocks, and the smallest one."""


@dataclass
class _Wealth:
    """Logarithms of the wealth after a number of bets: now by share, and the most of their mean so far."""

    logs: list[float] = field(default_factory=lambda: [0.0] * len(SHARES))
    most: float = 0.0
    bets: int = 0

    def bet(self, z: float) -> None:
        """Bet every share on a number between -1 and 1."""
        self.logs = [log + math.log1p(share * z) for log, share in zip(self.logs, SHARES, strict=True)]
        top = max(self.logs)
        self.most = max(self.most, top + math.log(sum(math.exp(log - top) for log in self.logs) / len(SHARES)))
        self.bets += 1


@dataclass
class ConfidenceSequence:
    """A confidence interval of the centre of symmetric values that holds after any number of them.

    Attributes:
        level: probability that the interval contains the centre at all times.
        values: so far.
    """

    level: float = 0.99
    values: list[float] = field(default_factory=list, init=False)
    _scales: list[float] = field(default_factory=list, init=False, repr=False)
    _known: dict[tuple[float, int], _Wealth] = field(default_factory=dict, init=False, repr=False)

    def add(self, value: float) -> None:
        """Add a value, with a scale from the values before it."""
        scale = FIRST_SCALE
        if len(self.values) > 3:
            middle = median(self.values)
            scale = max(1.5 * median(abs(value - middle) for value in self.values), LEAST_SCALE)
        self._scales.append(scale)
        self.values.append(value)

    @property
    def centre(self) -> float:
        """The median of the values, nan if there are none."""
        return median(self.values) if self.values else math.nan

    def above(self, edge: float) -> bool:
        """Whether the centre is above an edge."""
        return self._won(edge, 1)

    def below(self, edge: float) -> bool:
        """Whether the centre is below an edge."""
        return self._won(edge, -1)

    def interval(self) -> tuple[float, float]:
        """The smallest and the largest centre that are not excluded; infinite after too few values."""
        return self._end(1), self._end(-1)

    def _won(self, edge: float, side: int) -> bool:
        """Whether bets on values on one side of an edge ever won what is improbable for a centre on the other side."""
        wealth = self._known.setdefault((edge, side), _Wealth())
        return self._after_bets(wealth, edge, side)

    def _after_bets(self, wealth: _Wealth, edge: float, side: int) -> bool:
        """Place the bets on the values that a wealth has not seen, and tell whether it ever won enough."""
        start = wealth.bets
        for value, scale in zip(self.values[start:], self._scales[start:], strict=True):
            wealth.bet(math.tanh(side * (value - edge) / scale))
        return wealth.most >= math.log(2 / (1 - self.level))

    def _end(self, side: int) -> float:
        """The end of the interval on one side: 1 below, -1 above."""
        ends = [side * value for value in self.values]
        margin = 10 * max(self._scales, default=0.0)
        low, high = min(ends, default=0.0) - margin, max(ends, default=0.0) + margin
        if not self._after_bets(_Wealth(), side * low, side):
            return -side * math.inf
        while high - low > 1e-5:
            middle = (low + high) / 2
            low, high = (middle, high) if self._after_bets(_Wealth(), side * middle, side) else (low, middle)
        return side * low


Rule = Callable[[ConfidenceSequence], Verdict | None]
"""A verdict on what is known so far; None if there is none yet."""


def compared(tolerance: float) -> Rule:
    """The rule for two networks, from log ratios of the first one's time over the second one's.

    Args:
        tolerance: largest difference of two networks that count as equally fast, as a share: 0.02 for 2 %.
    """
    edge = math.log1p(tolerance)

    def verdict(known: ConfidenceSequence) -> Verdict | None:
        if known.above(edge):
            return "SLOWER"
        if known.below(-edge):
            return "FASTER"
        return "SAME" if known.above(-edge) and known.below(edge) else None

    return verdict


def within(budget: Callable[[], float]) -> Rule:
    """The rule for a network and a budget, from log ratios of its time over that of a reference.

    Args:
        budget: the budget as a log ratio, which may be known better after every block.
    """

    def verdict(known: ConfidenceSequence) -> Verdict | None:
        if known.above(edge := budget()):
            return "OVER"
        return "WITHIN" if known.below(edge) else None

    return verdict


@dataclass(frozen=True)
class Decision:
    """A verdict and what it rests on.

    Attributes:
        verdict: FASTER, SLOWER, SAME, WITHIN, OVER or NO VERDICT.
        known: the log ratios.
        seconds: of all blocks.
    """

    verdict: Verdict
    known: ConfidenceSequence
    seconds: float


def decide(
    stream: Iterable[tuple[float, float]],
    rule: Rule,
    seconds: float,
    level: float = 0.99,
    after: Callable[[Decision], object] = lambda decision: None,
) -> Decision:
    """Take blocks from a stream until the rule has a verdict or another block would exceed the time.

    Args:
        stream: log ratio and seconds of each block.
        rule: `compared` or `within`.
        seconds: largest sum of the blocks' seconds; there is one block at least.
        level: probability that the verdict is right if it is SLOWER, FASTER, SAME, WITHIN or OVER.
        after: called with the state after every block.
    """
    known, used, longest = ConfidenceSequence(level), 0.0, 0.0
    for value, took in stream:
        known.add(value)
        used, longest = used + took, max(longest, took)
        decision = Decision(rule(known) or "NO VERDICT", known, used)
        after(decision)
        if decision.verdict != "NO VERDICT" or used + longest > seconds:
            return decision
    return Decision("NO VERDICT", known, used)
