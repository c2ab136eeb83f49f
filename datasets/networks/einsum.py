"""Multiply-accumulates of an Einsum."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from functools import cache, lru_cache

_EXACT = 6  # operands whose best order is looked for among all
_MOST = 32  # operands that are looked at


@lru_cache
def contraction(equation: str, shapes: tuple[tuple[int, ...], ...]) -> int:
    """Multiply-accumulates of an Einsum in the cheapest order of products of two operands each.

    Dimensions of a single operand that nothing later needs are summed before a product. For up to six operands the
    order is the best of all; for more, the cheapest product comes next.

    Args:
        equation: with or without an ellipsis and a right side.
        shapes: of the operands.

    Raises:
        ValueError: equation and shapes do not fit.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = [_letters(term, len(shape)) for term, shape in zip(left.split(","), shapes, strict=True)]
    if len(terms) > _MOST:
        raise ValueError("too many operands")
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for letter, size in zip(term, shape, strict=True):
            if 1 not in (size, sizes.get(letter, 1)) and size != sizes[letter]:
                raise ValueError(f"{letter} has two sizes")
            sizes[letter] = max(sizes.get(letter, 1), size)
    often = Counter(itertools.chain(*terms))
    kept = set(right) - {"."} if arrow else {letter for letter, count in often.items() if count == 1}
    if "..." in right or not arrow:
        kept |= {letter for letter in often if letter.isdigit()}
    sets = [
        frozenset(letter for letter, size in zip(term, shape, strict=True) if size > 1)  # of one: it is repeated
        for term, shape in zip(terms, shapes, strict=True)
    ]
    every = frozenset(range(len(sets)))

    @cache
    def left_of(group: frozenset[int]) -> frozenset[str]:
        """The letters of the product of some operands."""
        others = kept.union(*(sets[i] for i in every - group))
        return frozenset().union(*(sets[i] for i in group)) & others

    def price(a: frozenset[int], b: frozenset[int]) -> int:
        return math.prod(sizes[letter] for letter in left_of(a) | left_of(b))

    @cache
    def best(group: frozenset[int]) -> int:
        if len(group) == 1:
            return 0
        first, *rest = sorted(group)
        halves = (frozenset((first, *more)) for n in range(len(rest)) for more in itertools.combinations(rest, n))
        return min(best(half) + best(group - half) + price(half, group - half) for half in halves)

    if len(sets) <= _EXACT:
        return best(every)
    groups, total = [frozenset((i,)) for i in every], 0
    while len(groups) > 1:
        cost, first, second = min(
            ((price(a, b), a, b) for a, b in itertools.combinations(groups, 2)), key=lambda found: found[0]
        )
        groups, total = [g for g in groups if g not in (first, second)] + [first | second], total + cost
    return total


def _letters(term: str, rank: int) -> list[str]:
    """One name per dimension; those of the ellipsis are numbers, counted from the last."""
    before, dots, behind = term.partition("...")
    more = rank - len(before) - len(behind)
    if more < 0 or (more and not dots):
        raise ValueError(f"{term} has not {rank} dimensions")
    return [*before, *(str(n) for n in range(more, 0, -1)), *behind]
