"""What a network has to compute, and whether it did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.networks.model import Model, suffix_of
from datasets.records import InputError

Arrays = list[np.ndarray]


class WrongOutput(RuntimeError):
    """A loaded network does not compute what it should: an empty model, a wrong layout, a bad conversion."""


TOLERANCE = {"fp32": 1e-3, "fp16": 0.05, "bf16": 0.2, "int8": 0.4}
"""Largest accepted ||output - expected|| / ||expected||. With random weights, errors of three to fifteen cells in a row
are 0.05 to 0.25 % in fp16, 0.2 to 0.8 % in bf16 and 0.7 to 6 % in int8; those of the deepest networks of OFA are 2, 7
and 29 %. The error of an empty or mis-wired network is 100 % or more."""

STEPS = 3
"""Largest accepted difference of quantised outputs in their own steps, however small the output is: runtimes round
sums of products differently, by one step a layer."""

FLIPPED = 0.01
"""Largest accepted share of integers that are no quantised numbers, such as indices of classes, and of booleans that
differ: where two candidates are as good, rounding decides."""


@dataclass(frozen=True)
class Expected:
    """The outputs that a network has to compute.

    Attributes:
        arrays: one per output.
        varying: positions of outputs that differ from run to run, as those of random numbers do.
        steps: distance between two values of each output of a quantised network; 0 if it is unknown or none.
    """

    arrays: Arrays
    varying: tuple[int, ...] = ()
    steps: tuple[float, ...] = ()


def compare_output(found: np.ndarray, expected: np.ndarray, precision: str, step: float = 0.0) -> float:
    """Relative error of an output of floats in the 2-norm; NaN and infinity have to be at the same places.

    Args:
        found, expected: of one shape.
        precision: of the runtime, which decides what is accepted.
        step: of quantised numbers; errors of up to `STEPS` of them are accepted, too.

    Raises:
        WrongOutput: the shapes differ, or the error exceeds the precision's tolerance.
    """
    if found.shape != expected.shape:
        raise WrongOutput(f"The output has shape {found.shape}, not {expected.shape}.")
    if found.dtype.kind in "iub" and expected.dtype.kind in "iub" and not step:
        return _compare_integers(found, expected, precision)
    y, right = (np.asarray(a, np.complex128 if a.dtype.kind == "c" else np.float64) for a in (found, expected))
    finite = np.isfinite(right)
    if not np.array_equal(np.where(finite, 0, right), np.where(np.isfinite(y), 0, y), equal_nan=True):
        raise WrongOutput("The output is NaN or infinite in places where it should not be, or the other way round.")
    difference = y[finite] - right[finite]
    size = np.linalg.norm(right[finite]) or 1.0  # a small layer's ReLU may leave nothing but zeros
    error = float(np.linalg.norm(difference) / size)
    if error > TOLERANCE[precision] and not (step and np.abs(difference).max() <= STEPS * step):
        raise WrongOutput(f"The output is off by {error:.3g} of its norm ({TOLERANCE[precision]} is accepted).")
    return error


def _compare_integers(found: np.ndarray, expected: np.ndarray, precision: str) -> float:
    """The share of integers that differ."""
    share = float(np.mean(found != expected)) if found.size else 0.0
    limit = max(FLIPPED, TOLERANCE[precision])
    if share > limit:
        raise WrongOutput(f"Of the output's whole numbers {share:.3g} differ ({limit} is accepted).")
    return share


def compare_outputs(found: Sequence[np.ndarray], expected: Expected, precision: str) -> list[str]:
    """Compare all outputs; returns sentences on what could not be compared.

    Raises:
        WrongOutput: an output differs, or there are more or fewer.
    """
    if len(found) != len(expected.arrays):
        raise WrongOutput(f"There are {len(found)} outputs, not {len(expected.arrays)}.")
    notes, steps = [], expected.steps or (0.0,) * len(found)
    for number, (y, right, step) in enumerate(zip(found, expected.arrays, steps, strict=True)):
        name = f"Output {number + 1} of {len(found)}" if len(found) > 1 else "The output"
        if number in expected.varying:
            notes.append(f"{name} differs from run to run, as random numbers do, and is not compared.")
            continue
        try:
            compare_output(y, right, precision, step)
        except WrongOutput as error:
            raise WrongOutput(str(error).replace("The output", name)) from None
        if right.dtype.kind in "fc" and right.size and (share := float(np.mean(np.isnan(right)))):
            notes.append(f"{name} is NaN in {share:.0%} of its places, expected and found.")
    return notes


def expected_output(model: Model, x: np.ndarray) -> np.ndarray:
    """The output that a network of one input, built from a model with weights, has to compute.

    It is that of the ONNX file that the network was read from if there is one, and else of the numpy reference.
    """
    if file := model.file((".onnx",)):
        return expected_outputs(file, [x]).arrays[0]
    from measure.builders.numpy_reference import evaluate

    return evaluate(model.network, model.weights or {}, x)


def expected_outputs(file: Path, inputs: Sequence[np.ndarray]) -> Expected:
    """The outputs that a file has to compute: by onnxruntime without optimisations, LiteRT's reference kernels, Keras
    without compilation, or torch's eager mode.

    Raises:
        InputError: the runtime that computes them is not installed.
    """
    return _REFERENCES[suffix_of(file)](file, inputs)


def _by_onnxruntime(file: Path, inputs: Sequence[np.ndarray]) -> Expected:
    from measure.backends.ort import OnnxRuntime, OrtSession

    backend = OnnxRuntime(optimization="none")
    _check_available(backend.unavailable(build=False), file)
    session = backend.load(file)
    assert isinstance(session, OrtSession)
    session.bind(inputs)

    def run() -> Arrays:
        session.run()
        return session.fetch()

    first, varying = _twice(run)
    return Expected(first, varying, _onnx_steps(file, session.outputs, first))


def _by_litert(file: Path, inputs: Sequence[np.ndarray]) -> Expected:
    from measure.backends.litert import LiteRT, LiteRTSession

    outputs = list[Arrays]()
    _check_available(LiteRT().unavailable(build=False), file)
    for _ in range(2):  # a session may keep a state between runs, so each is the first of its own
        session = LiteRTSession.of_file(file, "BUILTIN_REF", [x.shape for x in inputs])
        session.bind(inputs)
        session.run()
        outputs.append(session.fetch())
    return Expected(outputs[0], _varying(*outputs), session.steps())


def _by_keras(file: Path, inputs: Sequence[np.ndarray]) -> Expected:
    from measure.backends.tensorflow_keras import Keras, uncompiled

    _check_available(Keras().unavailable(build=False), file)
    return Expected(*_twice(uncompiled(file, inputs)))


def _by_torch(file: Path, inputs: Sequence[np.ndarray]) -> Expected:
    from measure.backends.eager import Eager

    backend = Eager()
    _check_available(backend.unavailable(build=False), file)
    session = backend.load(file, [x.shape for x in inputs])
    session.bind(inputs)

    def run() -> Arrays:
        session.run()
        return session.fetch()

    return Expected(*_twice(run))


_REFERENCES: dict[str, Callable[[Path, Sequence[np.ndarray]], Expected]] = {
    ".onnx": _by_onnxruntime,
    ".tflite": _by_litert,
    ".keras": _by_keras,
    ".pt2": _by_torch,
}


def _check_available(reason: str, file: Path) -> None:
    if reason:
        raise InputError(f"The outputs of {file.name} are computed without optimisations first. {reason}")


def _twice(run: Callable[[], Arrays]) -> tuple[Arrays, tuple[int, ...]]:
    first = run()
    return first, _varying(first, run())


def _varying(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> tuple[int, ...]:
    """Positions of outputs that two runs with equal inputs compute differently."""
    pairs = enumerate(zip(first, second, strict=True))
    return tuple(i for i, (a, b) in pairs if not np.array_equal(a, b, equal_nan=a.dtype.kind in "fc"))


def _onnx_steps(file: Path, names: Sequence[str], outputs: Sequence[np.ndarray]) -> tuple[float, ...]:
    """Steps of an ONNX file's outputs: scales of the nodes that dequantise them, 1 for bytes, else 0."""
    import onnx

    from datasets.networks.onnx_outline import outline

    graph = onnx.load_model_from_string(outline(file)).graph
    scales = {node.output[0]: node.input[1] for node in graph.node if node.op_type == "DequantizeLinear"}
    values = {t.name: t for t in graph.initializer}
    steps = [1.0 if y.dtype.itemsize == 1 and y.dtype.kind in "iu" else 0.0 for y in outputs]
    for i, name in enumerate(names):
        scale = values.get(scales.get(name, ""))
        if scale is not None:
            steps[i] = float(np.max(onnx.numpy_helper.to_array(scale)))
    return tuple(steps)
