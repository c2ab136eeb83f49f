"""What networks have to compute: files by a runtime without optimisations, others by the numpy reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from datasets.files.reading import shortened
from datasets.networks.model import Model, suffix_of
from datasets.packages import absent, not_installed
from datasets.records import InputError
from measure.outputs import Arrays, Expected, relative_error

Compute = Callable[[Sequence[np.ndarray]], Arrays]
"""A function from a network's inputs to its outputs."""
Steps = Callable[[Arrays], tuple[float, ...]]
"""A function from a network's outputs to their steps (`Expected.steps`)."""


Remember = Callable[[str, Callable[[], Expected]], Expected]
"""A function of the suffix of a network's file ('' where it has none) and of a function that computes its outputs."""


def computed(suffix: str, compute: Callable[[], Expected]) -> Expected:
    """The outputs, computed each time."""
    return compute()


class NoReference(InputError):
    """The runtime that computes what is expected of a file cannot run it."""


def expected_of(model: Model, x: np.ndarray) -> Expected:
    """The output that a network of one input, built from a model with weights, has to compute.

    It is that of the ONNX file that the network was read from if there is one, and else of the numpy reference.
    """
    if file := model.file((".onnx",)):
        return expected_outputs(file, [x])
    from measure.builders.numpy_reference import evaluate

    return Expected([evaluate(model.network, model.weights or {}, x)])


def expected_output(model: Model, x: np.ndarray) -> np.ndarray:
    """The array of `expected_of`."""
    return expected_of(model, x).arrays[0]


def expected_outputs(file: Path, inputs: Sequence[np.ndarray]) -> Expected:
    """The outputs that a file has to compute: by onnxruntime without optimisations, LiteRT's reference kernels, Keras
    without compilation, or torch's eager mode.

    Raises:
        InputError: the runtime that computes them is not installed.
        NoReference: it cannot run the file.
    """
    package, reference = _REFERENCES[suffix_of(file)]
    if missing := absent((package,)):
        raise InputError(
            f"What {file.name} computes is found without optimisations first, but {not_installed(missing[0])}."
        )
    try:
        compute, steps = reference(file)
        first, again, moved = (compute(values) for values in (inputs, inputs, _nudged(inputs)))
        found = steps(first)
    except InputError:
        raise
    except Exception as error:  # of runtimes, which raise all kinds for files that they cannot run
        why = shortened(" ".join(str(error).split()), 300)
        raise NoReference(
            f"{file.name} does not run on {package} without optimisations ({why}); give it other sizes or --inputs, or "
            "export it again."
        ) from error
    noise = tuple(
        relative_error(a, b) if a.shape == b.shape and b.dtype.kind in "fc" else 0.0
        for a, b in zip(moved, first, strict=True)
    )
    return Expected(first, _varying(first, again), found, noise)


def _nudged(inputs: Sequence[np.ndarray]) -> Arrays:
    """The inputs with every float moved to the next larger or smaller one."""
    generator = np.random.default_rng(0)
    return [
        np.nextafter(x, np.where(generator.random(x.shape) < 0.5, -np.inf, np.inf).astype(x.dtype))
        if x.dtype.kind == "f"
        else x
        for x in inputs
    ]


def _varying(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> tuple[int, ...]:
    """Positions of outputs that two runs with equal inputs compute differently."""
    pairs = enumerate(zip(first, second, strict=True))
    return tuple(i for i, (a, b) in pairs if not np.array_equal(a, b, equal_nan=a.dtype.kind in "fc"))


def _by_onnxruntime(file: Path) -> tuple[Compute, Steps]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = [x.name for x in session.get_inputs()]
    outputs = tensor_outputs(session)

    def compute(inputs: Sequence[np.ndarray]) -> Arrays:
        return list(session.run(list(outputs), dict(zip(names, inputs, strict=True))))

    return compute, partial(_onnx_steps, file, list(outputs))


def tensor_outputs(session: object) -> dict[str, list[object]]:
    """Names and declared shapes of those outputs of an onnxruntime session that are tensors of numbers."""
    kinds = session.get_outputs()  # type: ignore[attr-defined]
    return {y.name: y.shape for y in kinds if y.type.startswith("tensor(") and "string" not in y.type}


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


def _by_litert(file: Path) -> tuple[Compute, Steps]:
    from measure.builders.tflite_session import LiteRTSession

    last: list[LiteRTSession] = []

    def compute(inputs: Sequence[np.ndarray]) -> Arrays:  # a session may keep a state, so each run is the first of one
        last[:] = [LiteRTSession.of_file(file, "BUILTIN_REF", [x.shape for x in inputs])]
        last[0].bind(inputs)
        last[0].run()
        return last[0].fetch()

    return compute, lambda outputs: last[0].steps()


def _by_keras(file: Path) -> tuple[Compute, Steps]:
    from measure.builders.keras_model import uncompiled

    return uncompiled(file), lambda outputs: ()


def _by_torch(file: Path) -> tuple[Compute, Steps]:
    import torch

    from measure.builders.pt2_module import load_pt2

    module, _ = load_pt2(file)

    def compute(inputs: Sequence[np.ndarray]) -> Arrays:
        with torch.inference_mode():
            return [y.float().numpy() if y.dtype in (torch.float16, torch.bfloat16) else y.numpy()
                    for y in module(*map(torch.from_numpy, inputs))]  # fmt: skip

    return compute, lambda outputs: ()


_REFERENCES: dict[str, tuple[str, Callable[[Path], tuple[Compute, Steps]]]] = {
    ".onnx": ("onnxruntime", _by_onnxruntime),
    ".tflite": ("ai_edge_litert", _by_litert),
    ".keras": ("keras", _by_keras),
    ".pt2": ("torch", _by_torch),
}
"""The package and the function that compute what a file of a suffix has to."""
