"""The content of a `.keras` file: a configuration in JSON and weights in HDF5, in a zip. Nothing in it is executed, and
no class or module that it names is imported."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.files.reading import existing
from datasets.files.zip_entry import UNREADABLE, read_entry
from datasets.records import InputError

if TYPE_CHECKING:
    import h5py

MOST_BYTES = 2**30
"""Largest `.keras` file, and largest weights, in bytes."""
MOST_CONFIG = 8 * 2**20
"""Largest decompressed configuration in bytes."""
_REMEDY = "save it again with model.save('m.keras')"


class KerasArchive:
    """A `.keras` file.

    Attributes:
        config: the configuration, parsed JSON.

    Raises:
        InputError: there is no such file, it is too large, damaged, or not a `.keras` file.
    """

    def __init__(self, path: Path) -> None:
        self.path = existing(path, "name a .keras file")
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise InputError(
                f"{path} has {size:,} bytes, more than the {MOST_BYTES:,} that are read; export it to ONNX."
            )
        try:
            self.config = json.loads(self._entry("config.json", MOST_CONFIG))
        except (ValueError, RecursionError) as error:
            raise self._damaged("config.json is not valid JSON") from error

    def weights(self) -> KerasWeights:
        """The weights in the file."""
        return KerasWeights(self._entry("model.weights.h5", MOST_BYTES), self.path)

    def _entry(self, name: str, most: int) -> bytes:
        try:
            return read_entry(self.path, lambda names: name, most)
        except UNREADABLE as error:
            raise self._damaged(f"{name} cannot be read") from error

    def _damaged(self, why: str) -> InputError:
        return InputError(f"{self.path} is no Keras model, or damaged ({why}); {_REMEDY}.")


class KerasWeights:
    """The weights of a `.keras` file, by the place of a layer in its model: [2, 0] is the first layer of the third."""

    def __init__(self, content: bytes, path: Path) -> None:
        self.content, self.path = content, path

    def of(self, place: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
        """The arrays of a layer, fp32.

        Args:
            place: names by `names` of the models around the layer, the outermost first, and of the layer.
            shapes: that the arrays must have.

        Raises:
            InputError: arrays are missing, of other shapes, or in another file.
        """
        import h5py

        try:
            with h5py.File(io.BytesIO(self.content), "r") as file:
                group = file
                for name in [part for layer in place for part in ("layers", layer)] + ["vars"]:
                    group = _hard(group, name)
                return [self._array(_hard(group, str(i)), shape) for i, shape in enumerate(shapes)]
        except (KeyError, OSError, ValueError, RuntimeError, TypeError, AttributeError) as error:  # of h5py
            raise InputError(
                f"The weights of the layer '{'/'.join(place)}' in {self.path} are missing or damaged; {_REMEDY}."
            ) from error

    def _array(self, data: h5py.Dataset, shape: tuple[int, ...]) -> np.ndarray:
        if data.shape != shape or data.dtype.kind not in "fiu" or data.external or data.is_virtual:
            raise ValueError("another shape or type, or numbers of another file")
        if data.nbytes > min(data.id.get_storage_size(), len(self.content)):
            raise ValueError("fewer numbers than the shape requires")
        return np.asarray(data[()], np.float32)


def _hard(group: Any, name: str) -> Any:
    """A member of a group, unless it is a link, which may lead into other files."""
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise KeyError(name)
    return group[name]


def names(classes: Sequence[str]) -> list[str]:
    """Names of layers in the file of weights: their class in lower case, numbered from the second on."""
    seen: dict[str, int] = {}
    found = []
    for cls in classes:
        name = re.sub(r"(?<!^)(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])", "_", cls).lower()
        count = seen[name] = seen.get(name, -1) + 1
        found.append(f"{name}_{count}" if count else name)
    return found
