"""From probabilities of decisions to architectures that can be built."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datasets.records import Architectures, InputError, Space


def decoded(space: Space, logs: np.ndarray, each: int = 1) -> Architectures:
    """The usable ones among the `each` likeliest architectures for each row of log probabilities [n, F]; where none is
    usable, the likeliest usable architecture.

    Raises:
        InputError: the likeliest architectures of a row are far from all usable ones.
    """
    blocks = np.split(logs, np.cumsum(space.num_choices)[:-1], axis=1)
    rows = _likeliest(blocks, each)  # [n, each, decisions]
    good = usable(space, rows.reshape(-1, rows.shape[2])).reshape(rows.shape[:2])
    return Architectures(
        space,
        np.concatenate(
            [
                own[kept] if kept.any() else _likeliest_usable(space, [block[[i]] for block in blocks], 8 * each)
                for i, (own, kept) in enumerate(zip(rows, good, strict=True))
            ]
        ),
    )


def _likeliest_usable(space: Space, logs: Sequence[np.ndarray], width: int) -> np.ndarray:
    """The likeliest usable row [1, decisions]."""
    (rows,) = _likeliest(logs, width)
    good = np.flatnonzero(usable(space, rows))
    if not len(good) and (width > 10_000 or len(rows) < width):
        raise InputError(f"What the network proposes is far from every architecture of {space}; train it longer.")
    return rows[good[:1]] if len(good) else _likeliest_usable(space, logs, 8 * width)


def _likeliest(logs: Sequence[np.ndarray], width: int) -> np.ndarray:
    """The `width` likeliest rows [n, width, decisions], the likeliest first, from independent log probabilities
    [n, choices] per decision."""
    n = len(logs[0])
    scores, rows = np.zeros((n, 1)), np.zeros((n, 1, 0), dtype=np.int64)
    for block in logs:
        all_ = (scores[:, :, None] + block[:, None]).reshape(n, -1)
        order = np.argsort(-all_, axis=1, kind="stable")[:, :width]
        parent, choice = np.divmod(order, block.shape[1])
        scores = np.take_along_axis(all_, order, axis=1)
        rows = np.concatenate([np.take_along_axis(rows, parent[..., None], axis=1), choice[..., None]], axis=2)
    return rows


def usable(space: Space, decisions: np.ndarray) -> np.ndarray:
    """Whether rows [A, decisions] are architectures whose network can be built and has a path from input to output
    [A]."""
    good = space.valid(decisions)
    archs = Architectures(space, decisions[good])
    good[good] = space.feasible(archs) & space.connected(archs)
    return good
