"""CIFAR-10 ("Learning Multiple Layers of Features from Tiny Images", Krizhevsky 2009) from a folder of its python
version, which users download from its page.

Its files are pickles, which may contain code; they are compared with published checksums, and read without executing
anything.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datasets.files.reading import shortened
from datasets.public.frames import Array, reconstruct
from datasets.public.unpickle import Dtype, Refused, encode
from datasets.records import InputError

CHECKSUMS: Mapping[str, str] = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
"""MD5 of the files, from torchvision; the last one is the test set."""

_REMEDY = "Unpack cifar-10-python.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html and name its folder."
_KNOWN = {
    ("numpy.core.multiarray", "_reconstruct"): reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): reconstruct,
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): Dtype,
    ("_codecs", "encode"): encode,
}


def read_cifar10(
    folder: Path, checksums: Mapping[str, str] = CHECKSUMS
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training images [n, 3, 32, 32] (uint8) and labels [n] (int64), test images and labels.

    Raises:
        InputError: a file is missing, is not the published one, or names a function to call.
    """
    batches = [_read(folder / name, md5) for name, md5 in checksums.items()]
    *train, test = batches
    images, labels = (np.concatenate(parts) for parts in zip(*train, strict=True))
    return images, labels, *test


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise Refused(f"{module}.{name}")
        return _KNOWN[module, name]


def _read(path: Path, md5: str) -> tuple[np.ndarray, np.ndarray]:
    if not path.is_file():
        raise InputError(f"There is no file {path} of CIFAR-10. {_REMEDY}")
    content = path.read_bytes()
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise InputError(f"{path} is not the published file (its MD5 is not {md5}): not loaded. {_REMEDY}")
    try:
        with path.open("rb") as stream:
            batch = _Reader(stream, encoding="latin1").load()
        images = batch["data"].state.reshape(-1, 3, 32, 32)
        labels = np.array(batch["labels"], np.int64)
        if images.dtype != np.uint8 or labels.shape != images.shape[:1] or not ((labels >= 0) & (labels < 10)).all():
            raise ValueError("it does not hold images of bytes and labels below ten")
        return images, labels
    except Refused as error:
        raise InputError(f"{path} asks to call {error}, which images do not need: not loaded. {_REMEDY}") from None
    except Exception as error:  # a damaged pickle raises nearly anything
        raise InputError(f"{path} is damaged ({type(error).__name__}: {shortened(error)}). {_REMEDY}") from error
