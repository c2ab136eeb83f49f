"""Tables pickled by an old pandas, read without pandas' unpickling and without executing anything in them.

The reader accepts the names that such files need and replaces them by classes that only hold their state; numbers
become numpy arrays of plain types. Other names are refused before they are looked up.
"""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np

from datasets.public.fetch import Source
from datasets.public.unpickle import Dtype, Refused, encode
from datasets.records import InputError

LARGEST = 1 << 24
"""Largest number of columns of a block."""


def read_frame(source: Source, file: str) -> dict[str, np.ndarray]:
    """The columns [rows] of a pickled `DataFrame` (pandas 0.14 to 0.25, Python 2) by name.

    Raises:
        InputError: the file is missing, damaged, no such table, or names a function to call.
    """
    path = source.need(file)
    remedy = f"Delete it and run `python -m datasets fetch {source.name}`."
    try:
        with path.open("rb") as stream:
            content = _Reader(stream, encoding="latin1").load()
        return _columns(content)
    except Refused as error:
        raise InputError(f"{path} asks to call {error}, which a table does not need: not loaded. {remedy}") from None
    except Exception as error:  # a damaged pickle raises nearly anything
        raise InputError(
            f"{path} is damaged or no table that pandas pickled ({type(error).__name__}: {error}). {remedy}"
        ) from error


class _Held:
    """Replacement of a class of pandas that holds its state."""

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Frame(_Held):
    pass


class _Blocks(_Held):
    pass


class _Index(_Held):
    pass


def _new_index(kind: type, state: dict[str, Any]) -> _Index:
    index = _Index()
    index.state = state
    return index


class _Texts(_Held):
    """Replacement of numpy's dtype of objects, which are texts here."""


def _dtype(code: str, *arguments: Any) -> Any:
    return _Texts() if code == "O8" else Dtype(code, *arguments)


class Array(_Held):
    """Replacement of a numpy array, which becomes its `state`, from version, shape, dtype, Fortran order, and bytes or
    a list of texts."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        if isinstance(dtype, _Texts):
            self.state = np.array([str(item) for item in content], dtype=str).reshape(shape)
            return
        content = content.encode("latin1") if isinstance(content, str) else content
        self.state = np.frombuffer(content, dtype.order + dtype.code).reshape(shape, order="F" if fortran else "C")


def reconstruct(*_: Any) -> Array:
    """An empty array, with which a pickle begins each array."""
    return Array()


def _slice(*ends: Any) -> range:
    start, stop, step = ends
    if not 0 <= start <= stop <= LARGEST or step != 1:
        raise ValueError(f"slice{ends} picks no columns")
    return range(start, stop)


_KNOWN = {
    ("pandas.core.frame", "DataFrame"): _Frame,
    ("pandas.core.internals", "BlockManager"): _Blocks,
    ("pandas.core.indexes.base", "_new_Index"): _new_index,
    ("pandas.core.indexes.base", "Index"): _Index,
    ("pandas.core.indexes.range", "RangeIndex"): _Index,
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): _dtype,
    ("numpy.core.multiarray", "_reconstruct"): reconstruct,
    ("__builtin__", "slice"): _slice,
    ("builtins", "slice"): _slice,  # name in Python 3
    ("_codecs", "encode"): encode,  # bytes in Python 3
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise Refused(f"{module}.{name}")
        return _KNOWN[module, name]


def _columns(frame: Any) -> dict[str, np.ndarray]:
    if not isinstance(frame, _Frame):
        raise ValueError(f"it holds a {type(frame).__name__.strip('_')}")
    held = frame.state
    manager = held["_data"] if isinstance(held, dict) else held
    names = manager.state[0][0].state["data"].state.tolist()
    found: dict[str, np.ndarray] = {}
    for block in manager.state[3]["0.14.1"]["blocks"]:
        places = block["mgr_locs"]
        places = places if isinstance(places, range) else places.state
        for place, row in zip(places, block["values"].state, strict=True):
            found[names[place]] = row
    if len({len(column) for column in found.values()}) != 1 or set(found) != set(names):
        raise ValueError("its columns are not of one length")
    return found
