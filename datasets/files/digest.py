"""The digest of saved predictors: SHA-256 of plain containers, numbers, texts and tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from datasets.files.reading import MOST_DEPTH, shortened

MOST_BYTES = 3 * 2**27
"""Largest saved file; the boosted trees of three kinds of layers on a dozen devices take a third of it."""
MOST_VALUES = 500_000
"""Most values that are nested in a file."""


def digest(content: Any) -> str:
    """SHA-256 of plain containers, numbers, texts and tensors or arrays: their types, order, keys, shapes and values.

    Raises:
        ValueError: too many values or too much nesting, since a file may refer to one value many times.
        TypeError: a value is of another type.
    """
    hashed, left = hashlib.sha256(), [MOST_VALUES, MOST_BYTES]
    _feed(content, hashed.update, left, 0)
    return hashed.hexdigest()


def _feed(value: Any, update: Callable[[Any], object], left: list[int], depth: int) -> None:
    left[0] -= 1
    kind = type(value).__name__
    if left[0] < 0 or depth > MOST_DEPTH:
        raise ValueError("too many values, or nested too deeply")
    if value is None or type(value) in (bool, int, float, str):
        text = (value if isinstance(value, str) else repr(value)).encode()
        update(f"{kind} {len(text)}:".encode() + text)
    elif type(value) in (list, tuple):
        update(f"{kind} {len(value)}:".encode())
        for item in value:
            _feed(item, update, left, depth + 1)
    elif type(value) is dict:
        update(f"{kind} {len(value)}:".encode())
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"a key is {shortened(key)}, no text")
            _feed(key, update, left, depth + 1)
            _feed(item, update, left, depth + 1)
    elif kind in ("Tensor", "ndarray"):
        array = value if kind == "ndarray" else value.numpy()
        left[1] -= array.nbytes
        if left[1] < 0:
            raise ValueError("too many bytes")
        update(f"{array.dtype.str} {array.shape}:".encode())
        update(np.ascontiguousarray(array).reshape(-1))
    else:
        raise TypeError(f"{kind} is no plain data")
