"""The text of ncnn's .param files: one layer per line, with its kind, name, inputs, outputs and parameters."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from datasets.files.reading import read_text, shortened
from datasets.records import InputError

MAGIC = "7767517"
"""First word of a .param file."""
MOST_LAYERS = 20_000
"""Largest number of layers of a network."""
MOST_BLOBS = 10 * MOST_LAYERS
"""Largest number of tensors, counted wherever a layer names them."""
LARGEST = 2**31
"""Largest number in a file, which has 32 bits there."""
DEFAULT = -233
"""Number that stands for a default in many parameters."""
_ARRAY = -23300  # and less: keys of arrays
_SHAPES = 30  # key of the shapes of outputs
_HINT = "name a .param file in ncnn's text form"

Value = int | float | str | tuple[int | float, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of a network.

    Attributes:
        kind: for example Convolution.
        name: name of the layer.
        inputs, outputs: names of tensors ("blobs").
        params: parameters by their numbers.
        where: the file and the line, for messages.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: Mapping[int, Value]
    where: str

    def fault(self, sentence: str) -> InputError:
        """The error that something is wrong with this layer; `sentence` says what, without its full stop."""
        return InputError(f"{self.where}: the {shortened(self.kind, 40)} {shortened(self.name, 60)} {sentence}.")

    def number(self, key: int, default: int = 0, least: int | None = None) -> int:
        """A parameter that is a whole number; raises `InputError` if it is none, or less than `least`."""
        value = self.params.get(key, default)
        if isinstance(value, float) and abs(value) <= LARGEST and value == int(value):
            value = int(value)
        if not isinstance(value, int) or (least is not None and value < least):
            expected = "a whole number" if least is None else f"a whole number from {least} on"
            raise self.fault(f"has the parameter {key}={shortened(value, 40)}, which is not {expected}")
        return value

    def real(self, key: int, default: float = 0.0) -> float:
        """A parameter that is a number; raises `InputError` if it is none."""
        value = self.params.get(key, default)
        if not isinstance(value, int | float):
            raise self.fault(f"has the parameter {key}={shortened(value, 40)}, which is not a number")
        return float(value)

    def integers(self, key: int) -> tuple[int, ...]:
        """A parameter that is an array of whole numbers, () if it is absent; raises `InputError` for others."""
        value = self.params.get(key, ())
        values = value if isinstance(value, tuple) else (value,)
        if not all(isinstance(number, int | float) and number == int(number) and abs(number) <= LARGEST
                   for number in values):  # fmt: skip
            raise self.fault(f"has the parameter {key}={shortened(value, 40)}, which is no array of whole numbers")
        return tuple(map(int, values))

    def length(self, key: int) -> int:
        """Number of values of a parameter that is an array; 0 if it is absent."""
        value = self.params.get(key, ())
        return len(value) if isinstance(value, tuple) else 1

    def stated_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the outputs as the file states them, outermost dimension first; [] if it does not."""
        numbers, shapes = self.integers(_SHAPES), list[tuple[int, ...]]()
        for start in range(0, len(numbers) - 3, 4):
            rank, *sides = numbers[start : start + 4]
            if not 0 < rank < 4 or min(sides[:rank]) < 1:
                return []
            shapes.append(tuple(sides[:rank])[::-1])
        return shapes if len(shapes) == len(self.outputs) else []


def read_layers(path: Path) -> tuple[list[Layer], tuple[str, ...]]:
    """The layers of a .param file in their order, and notes; layers beyond the stated number are left out, which ncnn
    does too.

    Raises:
        InputError: there is no such file, it is not in ncnn's text form, or is damaged or too large; tensors are read
            before they are computed, or computed twice.
    """
    lines = [line.split() for line in read_text(path, _HINT).split("\n")]
    rows = [(number, words) for number, words in enumerate(lines, 1) if words]
    if not rows or rows[0][1] != [MAGIC]:
        raise InputError(f"{path} does not begin with {MAGIC}, as ncnn's text form does; {_HINT}.")
    count, blobs = _counts(rows[1][1] if len(rows) > 1 else [], path)
    rows, left_out = rows[2 : 2 + count], rows[2 + count :]
    if count > len(rows):
        raise InputError(f"{path} states {count:,} layers and has {len(rows):,}; copy or convert it again.")
    layers, computed, named = list[Layer](), set[str](), 0
    for number, words in rows:
        layer = _layer(words, f"{path}, line {number}")
        named += len(layer.inputs) + len(layer.outputs)
        for name in layer.inputs:
            if name not in computed:
                raise layer.fault(f"reads {shortened(name, 60)}, which no layer before it computes")
        for name in layer.outputs:
            if name in computed:
                raise layer.fault(f"computes {shortened(name, 60)}, which is computed before")
            computed.add(name)
        layers.append(layer)
    if named > MOST_BLOBS:
        raise InputError(f"{path} names {named:,} tensors, and at most {MOST_BLOBS:,} are read; cut a part out of it.")
    if len(computed) > blobs:
        raise InputError(f"{path} states {blobs:,} tensors and has {len(computed):,}; copy or convert it again.")
    note = f"Only the {count:,} layers that the file states are read, as ncnn does, and {len(left_out):,} are left out."
    return layers, (note,) if left_out else ()


def _counts(words: list[str], path: Path) -> tuple[int, int]:
    """Numbers of layers and of tensors in the second line."""
    if len(words) != 2 or not all(re.fullmatch(r"[0-9]{1,10}", word) for word in words) or words[0] == "0":
        raise InputError(f"{path} lacks the numbers of its layers and tensors in its second line; {_HINT}.")
    count, blobs = map(int, words)
    if count > MOST_LAYERS:
        raise InputError(f"{path} states {count:,} layers, and at most {MOST_LAYERS:,} are read; cut a part out of it.")
    return count, blobs


def _layer(words: list[str], where: str) -> Layer:
    kind, name, *rest = [*words, "", ""]
    numbers = [int(word) for word in rest[:2] if re.fullmatch(r"[0-9]{1,7}", word)]
    if len(numbers) != 2 or len(words) < 4 + sum(numbers):
        raise InputError(
            f"{where} is no layer: its kind, name and numbers of inputs and outputs are followed by the names of these."
        )
    inputs, outputs = numbers
    blobs, params = words[4 : 4 + inputs + outputs], dict[int, Value]()
    for word in words[4 + inputs + outputs :]:
        key, value = _parameter(word, where)
        params[key] = value
    return Layer(kind, name, tuple(blobs[:inputs]), tuple(blobs[inputs:]), params, where)


def _parameter(word: str, where: str) -> tuple[int, Value]:
    key, equals, text = word.partition("=")
    if not equals or not text or not re.fullmatch(r"-?[0-9]{1,6}", key):
        raise InputError(f"{where} has '{shortened(word, 60)}', which is no parameter such as 0=64.")
    number, parts = int(key), text.split(",")
    if number > _ARRAY and len(parts) == 1:
        return number, _value(text, where)
    if number <= _ARRAY:
        if parts[0] != str(len(parts) - 1):
            raise InputError(
                f"{where} has the array {shortened(word, 60)}, which does not have as many numbers as it states."
            )
        number, parts = _ARRAY - number, parts[1:]
    values = [_value(part, where) for part in parts]
    return number, tuple(value for value in values if isinstance(value, int | float))


def _value(text: str, where: str) -> int | float | str:
    """A number, or the text itself (of expressions, which some layers have)."""
    try:
        value = float(text) if re.search(r"[.eEn]", text) else int(text)
    except ValueError:
        return text
    if not math.isfinite(value) or abs(value) > 1e39 or (isinstance(value, int) and abs(value) > LARGEST):
        raise InputError(f"{where} has the number {shortened(text, 40)}, which is larger than any in such a file.")
    return value
