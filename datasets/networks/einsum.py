"""What an einsum multiplies."""

from __future__ import annotations

import math
from collections.abc import Sequence


def einsum_macs(equation: str, shapes: Sequence[tuple[int, ...]]) -> int:
    """Multiply-accumulates of an einsum, its operands contracted two at a time in the cheapest order.

    Args:
        equation: with or without `...` and `->`.
        shapes: of the operands.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    sizes: dict[str, int] = {}
    terms = []
    for term, shape in zip(left.split(","), shapes, strict=True):
        before, dots, after = term.partition("...")
        more = len(shape) - len(before) - len(after)
        labels = [*before, *(f".{i}" for i in range(more, 0, -1) if dots), *after]
        for label, size in zip(labels, shape, strict=True):
            sizes[label] = max(size, sizes.get(label, 1))
        terms.append(frozenset(labels))
    written = left.replace(",", "")
    once = {label for label in sizes if written.count(label) == 1 and "." not in label}
    kept = ({*right.replace("...", "")} if arrow else once) | {label for label in sizes if "." in label}
    return _cheapest(terms, frozenset(kept), sizes)


def _cheapest(terms: list[frozenset[str]], kept: frozenset[str], sizes: dict[str, int]) -> int:
    """Of what is left; an index that one operand alone has and the result has not is summed over first."""
    if len(terms) < 2:
        return 0
    terms = [term & kept.union(*terms[:i], *terms[i + 1 :]) for i, term in enumerate(terms)]
    pairs = [(i, j) for i in range(len(terms)) for j in range(i + 1, len(terms))]
    pairs = pairs if len(terms) <= 5 else pairs[:1]  # there are 2,700 orders of six operands
    best = -1
    for i, j in pairs:
        rest = [term for k, term in enumerate(terms) if k not in (i, j)]
        both = terms[i] | terms[j]
        result = both & kept.union(*rest)
        cost = math.prod(sizes[label] for label in both) + _cheapest([*rest, result], kept, sizes)
        best = cost if best < 0 else min(best, cost)
    return best
