"""Whether a network computes what it has to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Arrays = list[np.ndarray]


class WrongOutput(RuntimeError):
    """A loaded network does not compute what it should: an empty model, a wrong layout, a bad conversion."""


TOLERANCE = {"fp32": 1e-3, "fp16": 0.05, "bf16": 0.2, "int8": 0.4}
"""Largest accepted ||output - expected|| / ||expected||. With random weights, errors of three to fifteen cells in a row
are 0.05 to 0.25 % in fp16, 0.2 to 0.8 % in bf16 and 0.7 to 6 % in int8; those of the deepest networks of OFA are 2, 7
and 29 %. The error of an empty or mis-wired network is 100 % or more."""

QUANTISED = 0.8
"""Largest accepted error of int8, with a note: public networks with depthwise convolutions and smooth activations
(EfficientNet, MobileNetV4, ReXNet) with random weights are off by 46 to 69 % on two runtimes with quantisers of their
own, and their times are what one wants to know."""

STEPS = 3
"""Largest accepted difference of quantised outputs in their own steps, however small the output is: runtimes round
sums of products differently, by one step a layer."""

FLIPPED = 0.01
"""Largest accepted share of integers that are no quantised numbers, such as indices of classes, and of booleans that
differ: where two candidates are as good, rounding decides."""

AMPLIFIED = 10
"""Largest accepted error of an output, as a multiple of its change when floats of the inputs move to the next ones, but
never more than `MOST_NOISE`: a network that amplifies the one amplifies the rounding of its layers, too."""
MOST_NOISE = 0.5


@dataclass(frozen=True)
class Expected:
    """The outputs that a network has to compute.

    Attributes:
        arrays: one per output.
        varying: positions of outputs that differ from run to run, as those of random numbers do.
        steps: distance between two values of each output of a quantised network; 0 if it is unknown or none.
        noise: relative change of each output when every float of the inputs is moved to one of the two next to it.
    """

    arrays: Arrays
    varying: tuple[int, ...] = ()
    steps: tuple[float, ...] = ()
    noise: tuple[float, ...] = ()


def compare_output(
    found: np.ndarray, expected: np.ndarray, precision: str, step: float = 0.0, noise: float = 0.0
) -> float:
    """Relative error of an output of floats in the 2-norm; NaN and infinity have to be at the same places.

    Args:
        found, expected: of one shape.
        precision: precision of the runtime, which decides what is accepted.
        step: of quantised numbers; errors of up to `STEPS` of them are accepted, too.
        noise: of the network; errors of up to `AMPLIFIED` times as much are accepted, too.

    Raises:
        WrongOutput: the shapes differ, or the error exceeds the precision's tolerance.
    """
    if found.shape != expected.shape:
        raise WrongOutput(f"The output has shape {found.shape}, not {expected.shape}.")
    if found.dtype.kind in "iub" and expected.dtype.kind in "iub" and not step:
        return _compare_integers(found, expected, precision)
    finite = np.isfinite(expected)
    all_finite = finite.all() and np.isfinite(found).all()
    if not all_finite and not np.array_equal(
        np.where(finite, 0, expected), np.where(np.isfinite(found), 0, found), equal_nan=True
    ):
        raise WrongOutput("The output is NaN or infinite in places where it should not be, or the other way round.")
    usual = QUANTISED if precision == "int8" else TOLERANCE[precision]
    error, limit = relative_error(found, expected), max(usual, min(AMPLIFIED * noise, MOST_NOISE))
    if error > limit and not (step and _largest(found, expected) <= STEPS * step):
        raise WrongOutput(f"The output is off by {error:.3g} of its norm ({limit:.3g} is accepted).")
    return error


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """||found - expected|| / ||expected|| where both are finite."""
    y, right = _both(found, expected)
    size = np.linalg.norm(right) or 1.0  # a small layer's ReLU may leave nothing but zeros
    return float(np.linalg.norm(y - right) / size)


def _largest(found: np.ndarray, expected: np.ndarray) -> float:
    y, right = _both(found, expected)
    return float(np.abs(y - right).max(initial=0.0))


def _both(found: np.ndarray, expected: np.ndarray) -> Arrays:
    """Both arrays in 64 bits, where they are finite."""
    finite = np.isfinite(expected) & np.isfinite(found)
    kept = (found, expected) if finite.all() else (found[finite], expected[finite])
    return [a.astype(np.complex128 if a.dtype.kind == "c" else np.float64) for a in kept]


def _compare_integers(found: np.ndarray, expected: np.ndarray, precision: str) -> float:
    """The share of integers that differ."""
    share = float(np.mean(found != expected)) if found.size else 0.0
    limit = max(FLIPPED, TOLERANCE[precision])
    if share > limit:
        raise WrongOutput(f"The output differs in {share:.3g} of its whole numbers ({limit} is accepted).")
    return share


def compare_outputs(found: Sequence[np.ndarray], expected: Expected, precision: str) -> list[str]:
    """Compare all outputs; returns sentences on what could not be compared.

    Raises:
        WrongOutput: an output differs, or there are more or fewer.
    """
    if len(found) != len(expected.arrays):
        raise WrongOutput(f"There are {len(found)} outputs, not {len(expected.arrays)}.")
    notes, none = [], (0.0,) * len(found)
    ends = zip(found, expected.arrays, expected.steps or none, expected.noise or none, strict=True)
    for number, (y, right, step, noise) in enumerate(ends):
        name = f"Output {number + 1} of {len(found)}" if len(found) > 1 else "The output"
        if number in expected.varying:
            notes.append(f"{name} differs from run to run, as random numbers do, and is not compared.")
            continue
        try:
            error = compare_output(y, right, precision, step, noise)
        except WrongOutput as wrong:
            raise WrongOutput(str(wrong).replace("The output", name)) from None
        if error > TOLERANCE[precision] and not step and right.dtype.kind in "fc":
            moved = f", and moves by {noise:.2g} of it with the last bit of the inputs"
            why = moved if AMPLIFIED * noise > TOLERANCE[precision] else f"; {precision} is not accurate here"
            notes.append(f"{name} is off by {error:.2g} of its norm{why}.")
        if right.dtype.kind in "fc" and right.size and (share := float(np.mean(np.isnan(right)))):
            notes.append(f"{name} is NaN in {share:.0%} of its places, expected and found.")
    return notes
