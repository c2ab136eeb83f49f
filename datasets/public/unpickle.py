"""Reading of untrusted pickles without executing anything in them.

A pickle is a program that may call any function by name. This reader accepts four names, those of numpy's scalars, and
replaces them by functions that decode numbers only; other names are refused before they are looked up.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from datasets.files.reading import shortened
from datasets.public.fetch import Source
from datasets.records import InputError

T = TypeVar("T")


def unpickle(source: Source, file: str, kind: type[T]) -> T:
    """The content of a pickled file of a source: plain containers and plain numbers.

    Args:
        source: source of the file.
        file: its path in the repository.
        kind: required type of the content (list, dict).

    Raises:
        InputError: the file is missing, damaged, holds another type or names a function to call.
    """
    path = source.need(file)
    content = _read(path, f"Delete it and run `python -m datasets fetch {source.name}`.")
    if not isinstance(content, kind):
        raise InputError(
            f"{path} holds a {type(content).__name__}, not a {kind.__name__}: delete it and fetch {source.name} again."
        )
    return content


class Refused(Exception):
    """A pickle names a function that is not accepted."""


class Dtype:
    """Replacement of numpy's dtype while a pickle is read: a letter, a size and a byte order."""

    def __init__(self, code: str, *_: Any) -> None:
        if not isinstance(code, str) or code[:1] not in tuple("fiub") or not code[1:].isdecimal():
            raise Refused(f"numpy.dtype({code!r})")  # dtype O would carry anything
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = {"<": "<", ">": ">"}.get(state[1], "=")


def _scalar(dtype: Dtype, content: bytes) -> float | int:
    (value,) = np.frombuffer(content, dtype.order + dtype.code).tolist()
    return value


def encode(text: str, encoding: str) -> bytes:
    """Bytes of a text in Latin-1, which is how pickle protocols before 3 store bytes."""
    if encoding != "latin1":
        raise Refused(f"_codecs.encode to {encoding!r}")
    return text.encode("latin1")


_KNOWN = {
    ("numpy", "dtype"): Dtype,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,  # name in numpy 2
    ("_codecs", "encode"): encode,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise Refused(f"{module}.{name}")
        return _KNOWN[module, name]


def _read(path: Path, remedy: str) -> Any:
    try:
        with path.open("rb") as file:
            return _Reader(file).load()
    except OSError:
        raise
    except Refused as error:
        raise InputError(
            f"{path} asks to call {error}, which plain numbers do not need: not loaded. {remedy}"
        ) from None
    except Exception as error:  # a damaged pickle raises nearly anything
        raise InputError(f"{path} is damaged ({type(error).__name__}: {shortened(error)}). {remedy}") from error
