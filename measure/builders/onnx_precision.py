"""An ONNX file in fewer bits: int8 by static quantisation, fp16 by conversion."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from measure.own_files import files_beside


class NotQuantised(Exception):
    """A library cannot quantise a network that it runs in other precisions."""


@contextlib.contextmanager
def quantising(library: str) -> Iterator[None]:
    """Silence warnings of a library that quantises, and name it where it fails."""
    logging.disable(logging.WARNING)  # onnxruntime's recommends the pre-processing that was just done
    try:
        yield
    except Exception as error:  # of any kind: a quantiser's own assertions and look-ups, too
        why = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise NotQuantised(f"{library} cannot quantise this network; fp32 may run ({why}).") from error
    finally:
        logging.disable(logging.NOTSET)


def quantise(path: Path, folder: Path, inputs: Sequence[Sequence[np.ndarray]], symmetric: bool = False) -> Path:
    """Static QDQ of the pre-processed model (batch norms folded), with signed per-channel weights.

    Args:
        path: the model.
        folder: folder of the new model.
        inputs: values of all inputs, several times, that determine the ranges of activations.
        symmetric: the form that TensorRT requires: signed activations around zero, a QDQ pair at the weights, biases
            not quantised. Otherwise activations are unsigned, which is fastest on x86.
    """
    import onnx
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    graph = onnx.load(path, load_external_data=False).graph
    constants = {tensor.name for tensor in graph.initializer}
    names = [value.name for value in graph.input if value.name not in constants]

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches: Iterator[Sequence[np.ndarray]] = iter(inputs)

        def get_next(self) -> dict[str, np.ndarray] | None:
            values = next(self.batches, None)
            return None if values is None else dict(zip(names, values, strict=True))

    beside = bool(files_beside(path))  # weights in files of their own stay there: such a network may exceed 2 GB
    prepared, quantised = folder / "prepared.onnx", folder / "int8.onnx"
    onnxruntime.set_default_logger_severity(3)  # of the sessions in it, which warn of initialisers that they remove
    with quantising("onnxruntime's quantiser"):
        quant_pre_process(
            path, prepared, skip_symbolic_shape=True, save_as_external_data=beside, all_tensors_to_one_file=True
        )
        quantize_static(
            prepared,
            quantised,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            use_external_data_format=beside,
            extra_options=dict.fromkeys(("ActivationSymmetric", "AddQDQPairToWeight"), True) | {"QuantizeBias": False}
            if symmetric
            else {},
        )
    return quantised


def halve(path: Path, folder: Path) -> Path:
    """The model with fp16 weights and activations; its input and output stay fp32."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    halved = folder / "fp16.onnx"
    onnx.save(convert_float_to_float16(onnx.load(path), keep_io_types=True), halved)
    return halved
