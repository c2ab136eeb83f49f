"""Sizes that TFLite, Keras and ncnn files leave open, which have no names there: by the rank of the input."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from datasets.architectures import InputError
from datasets.files.reading import listed, shortened
from datasets.networks.sizes import ROLES, Sizes

_Axes = dict[int, dict[int, tuple[str, ...]]]
_SEQUENCES: _Axes = {3: {1: ("sequence", "time"), 2: ("channels",)}, 2: {1: ("sequence", "time")}}
CHANNELS_LAST: _Axes = {4: {1: ("height",), 2: ("width",), 3: ("channels",)}, **_SEQUENCES}
"""Rank of an input, batch included -> axis -> roles of its size."""
CHANNELS_FIRST: _Axes = {4: {1: ("channels",), 2: ("height",), 3: ("width",)}, **_SEQUENCES}


class OpenSizes:
    """Gives inputs with open sizes their shapes.

    Args:
        sizes: sizes by role, and shapes by the name of an input.
        batch: samples per run.
        path: of the file, for messages.
        axes: roles of the sizes of inputs.

    Raises:
        InputError: `sizes` has names of dimensions or trips of loops, which such files do not have.
    """

    def __init__(self, sizes: Sizes, batch: int, path: Path | str, axes: _Axes = CHANNELS_LAST) -> None:
        self.axes = axes
        self.shapes, self.roles, self.batch, self.path = sizes.shapes(), sizes.sizes(), batch, path
        self.inputs: list[str] = []
        unknown = [name for name in self.roles if name not in ROLES]
        if unknown or sizes.loops():
            what = f"--size {shortened(unknown[0], 60)}" if unknown else "--trips"
            raise InputError(
                f"{path} names none of its sizes; leave {what} out, and fix open ones by their role, as in "
                "--size height=224, or by --shape."
            )

    def shape(self, name: str, shape: Sequence[int | None]) -> list[int | None]:
        """The shape of an input, None where it stays open.

        Raises:
            InputError: --shape gives this input another rank, or other sizes than the file fixes.
        """
        self.inputs.append(name)
        given = self.shapes.get(name)
        if given is None:
            axes = self.axes.get(len(shape), {})
            roles = [self.batch, *(next((self.roles[r] for r in axes.get(i, ()) if r in self.roles), None)
                                   for i in range(1, len(shape)))]  # fmt: skip
            return [b if a is None else a for a, b in zip(shape, roles, strict=False)]
        if len(given) != len(shape) or any(a not in (None, b) for a, b in zip(shape, given, strict=True)):
            own = "x".join("?" if side is None else str(side) for side in shape)
            raise InputError(
                f"The shape {'x'.join(map(str, given))} does not fit the input '{shortened(name, 60)}' of {self.path}, "
                f"which is {own}."
            )
        return list(given)

    def left_open(self, name: str, shape: Sequence[int | None]) -> InputError:
        """The error that an input still has an open size."""
        return InputError(
            f"An input of shape {tuple(shape[1:])} leaves a size open; give the model a fixed one, or name it, as in "
            f"--shape {shortened(name, 60)}={'x'.join(str(side or 64) for side in shape)}."
        )

    def check(self) -> None:
        """Raise an `InputError` if --shape names an input that was not seen."""
        if unknown := [name for name in self.shapes if name not in self.inputs]:
            raise InputError(
                f"'{shortened(unknown[0], 60)}' is no input of {self.path}; those are {listed(self.inputs)}."
            )
