"""Saved predictors: plain containers, numbers, texts and tensors in the format of `torch.save`, with a digest.

`torch.load(path, weights_only=True)` reads such a file too, but trusts the sizes in it: a record shorter than its
tensor is read beyond its end, and a byte array of any length is allocated. This module reads the instructions and the
four names that `torch.save` uses, and compares all sizes with the file. Reading needs no torch: tensors become arrays.
"""

from __future__ import annotations

import io
import math
import mmap
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from datasets.architectures import InputError
from datasets.files.digest import MOST_BYTES, digest
from datasets.files.reading import existing, shortened
from datasets.files.writing import write_bytes

if TYPE_CHECKING:
    from torch import nn

    Module = TypeVar("Module", bound=nn.Module)

MOST_STRUCTURE = 2**21
"""Largest part with the nesting of values in bytes: about 20,000 tensors."""

DAMAGE = (KeyError, IndexError, ValueError, TypeError, AttributeError, RuntimeError, ArithmeticError, MemoryError)
"""Exceptions that restoring from edited values raises, in our code and in torch, numpy and XGBoost."""

_TYPES = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "LongStorage": "<i8", "IntStorage": "<i4",
    "ShortStorage": "<i2", "CharStorage": "<i1", "ByteStorage": "<u1", "BoolStorage": "?",
}  # fmt: skip
_INSTRUCTIONS = frozenset(
    """PROTO STOP MARK EMPTY_DICT SETITEM SETITEMS EMPTY_LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3
    NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE BINPUT LONG_BINPUT BINGET LONG_BINGET
    GLOBAL REDUCE BINPERSID""".split()  # noqa: SIM905
)


def write_checkpoint(content: Mapping[str, Any], path: Path) -> None:
    """Write plain containers and arrays (as tensors) and their digest, whole or not at all.

    Raises:
        InputError: the file cannot be written, or has more bytes than are read again.
    """
    import torch

    plain, buffer = _tensors(dict(content)), io.BytesIO()
    torch.save({**plain, "digest": digest(plain)}, buffer)
    if buffer.tell() > MOST_BYTES:
        raise InputError(f"{path} would have {buffer.tell():,} bytes, more than the {MOST_BYTES:,} that are read.")
    write_bytes(path, buffer.getvalue())


def read_checkpoint(path: Path, what: str = "a predictor") -> dict[str, Any]:
    """Read a file of `write_checkpoint`, with tensors as arrays; nothing in the file is executed.

    Args:
        path: the file.
        what: what the file should hold, for messages.

    Raises:
        InputError: no such file, a truncated, damaged or foreign one, one without a digest, or one that holds anything
            but plain data.
    """
    path = existing(path, f"name {what} that was saved")
    if path.stat().st_size > MOST_BYTES:
        raise InputError(f"{path} has {path.stat().st_size:,} bytes, more than the {MOST_BYTES:,} that are read.")
    try:
        content = _Records(path).content()
        found = content.pop("digest", None)
        wanted = digest(content)
    except Exception as error:  # zipfile and pickle raise a dozen types on damaged or hostile files
        raise InputError(f"{path} is truncated, or not {what} of Gnomon (only plain data is ever loaded).") from error
    if found is None:
        raise InputError(
            f"{path} has no digest of its content: it is not {what} of Gnomon, or of an older version; write it again."
        )
    if found != wanted:
        raise InputError(f"{path} is damaged, its content does not match its digest; copy it anew or write it again.")
    return content


def _tensors(state: Any) -> Any:
    """Nested state as plain data: arrays become tensors with their own memory."""
    import torch

    if isinstance(state, Mapping):
        return {key: _tensors(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return [_tensors(item) for item in state]
    if isinstance(state, torch.Tensor):
        return state.detach().cpu().clone(memory_format=torch.contiguous_format)
    if isinstance(state, np.ndarray):
        return torch.from_numpy(np.array(state, order="C"))
    return state.item() if isinstance(state, np.generic) else state


class _Records(pickle.Unpickler):
    """Reads the records of a file: one with the nesting of values, and one per tensor with its numbers."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            self.left = len(mapped)
            if sum(1 for _ in re.finditer(b"PK\x01\x02", mapped)) > MOST_STRUCTURE // 64:  # the list of records
                raise ValueError("too many records")
        self.zip, self.used = zipfile.ZipFile(path), set[str]()
        (name,) = (name for name in self.zip.namelist() if name.endswith("/data.pkl"))
        self.folder = name.removesuffix("data.pkl")
        if self._record("byteorder", 6) != b"little":
            raise ValueError("numbers are written in another order of bytes")
        structure = self._record("data.pkl", min(self.zip.getinfo(name).file_size, MOST_STRUCTURE))
        for number, (code, argument, _) in enumerate(pickletools.genops(structure)):
            if code.name not in _INSTRUCTIONS or ("PUT" in code.name and int(argument or 0) > number):
                raise ValueError(f"{code.name} is not an instruction of such files")
        super().__init__(io.BytesIO(structure))

    def content(self) -> dict[str, Any]:
        """The values of the file."""
        with self.zip:
            content = self.load()
        if type(content) is not dict:
            raise TypeError("no dictionary")
        return content

    def _record(self, name: str, size: int) -> bytes:
        entry = self.zip.getinfo(self.folder + name)
        self.left -= size
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != size or self.left < 0 or name in self.used:
            raise ValueError(f"record {name} has another size")
        self.used.add(name)
        found = self.zip.read(entry)
        if len(found) != size:
            raise ValueError(f"record {name} has another size")
        return found

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _TYPES:
            return _TYPES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("collections", "OrderedDict"):  # of hooks, of which tensors here have none
            return lambda: None
        raise ValueError(f"{module}.{name} is not a name of such files")

    def persistent_load(self, pid: Any) -> np.ndarray:
        word, kind, key, _, count = pid
        if word != "storage" or kind not in _TYPES.values() or type(count) is not int or type(key) is not str:
            raise ValueError("no record of numbers")
        size = count * np.dtype(kind).itemsize
        raw = np.frombuffer(self._record(f"data/{key}", size), np.uint8)
        if kind == "?" and (raw > 1).any():
            raise ValueError("neither true nor false")
        return raw.view(kind)


def _tensor(numbers: np.ndarray, offset: int, shape: tuple, stride: tuple, *_: Any) -> np.ndarray:
    """All the numbers of a record, in their order, as an array of its own."""
    if offset or any(type(n) is not int or n < 0 for n in shape) or math.prod(shape) != len(numbers):
        raise ValueError("a tensor has another shape than its record")
    steps = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    if len(numbers) and any(n > 1 and a != b for n, a, b in zip(shape, stride, steps, strict=True)):
        raise ValueError("a tensor has another order than its record")
    return numbers.reshape(shape).copy()


@contextmanager
def restoring(sentence: str) -> Iterator[None]:
    """Turn exceptions of restoring from edited values into a sentence, and suppress warnings.

    Raises:
        InputError: the values do not fit together.
    """
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except DAMAGE as error:
        raise InputError(sentence) from error


def array(found: Any, *shape: int | None, kind: str = "f", finite: bool = True) -> np.ndarray:
    """An array of a file, after checks.

    Args:
        found: a value of the file.
        shape: required shape; None is any length.
        kind: required kind of numbers, numpy's letter.
        finite: whether infinity is refused; NaN always is.

    Raises:
        ValueError: another shape or kind, or a number that is not finite.
        TypeError: it is no array.
    """
    if not isinstance(found, np.ndarray):
        raise TypeError(f"{shortened(found)} is no array")
    if found.dtype.kind != kind or len(found.shape) != len(shape):
        raise ValueError(f"numbers are {found.dtype} of shape {found.shape}")
    if any(n is not None and n != m for n, m in zip(shape, found.shape, strict=True)):
        raise ValueError(f"numbers have shape {found.shape}, not {shape}")
    if kind == "f" and not (np.isfinite(found).all() if finite else not np.isnan(found).any()):
        raise ValueError("numbers are not finite")
    return found


def number(value: Any) -> float:
    """A value of a file as a finite number.

    Raises:
        ValueError: it is none.
    """
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{shortened(value)} is no finite number")
    return float(value)


def module(make: Callable[[], Module], state: Mapping[str, np.ndarray]) -> Module:
    """The network of `make` with the parameters of a state; no memory is allocated before names and shapes agree.

    Raises:
        ValueError, RuntimeError: the state is of another network, or not finite.
    """
    import torch
    from torch.nn.modules.module import register_module_parameter_registration_hook

    left = len(state)

    def count(owner: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError("the network has more parameters than were saved")

    handle = register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"):
            network = make()
    finally:
        handle.remove()
    tensors = {name: torch.from_numpy(value) for name, value in state.items()}
    for name, wanted in network.state_dict().items():
        if tensors[name].dtype != wanted.dtype or not bool(torch.isfinite(tensors[name]).all()):
            raise ValueError(f"{name} is of another type, or not finite")
    network.load_state_dict(tensors, assign=True)
    return network.eval()
