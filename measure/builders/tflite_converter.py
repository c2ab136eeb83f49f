"""A network as a .tflite file by TensorFlow's own converter, as in LETI (section 1.2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from datasets.networks.model import Weights
from datasets.networks.network import Network
from datasets.records import InputError
from measure.builders.keras_model import build_keras, tensorflow
from measure.builders.nhwc import lowest_padded, to_nhwc
from measure.silence import quiet


def convert_tflite(network: Network, weights: Weights, batch: int = 1, calibration: Sequence[np.ndarray] = ()) -> bytes:
    """The bytes of the file, with a fixed batch and channels last.

    Full-integer int8, including input and output, if there are input batches for `calibration` (TensorFlow's
    "representative data set").

    Raises:
        InputError: an int8 network pads a maximum with the lowest number, which would become the range of its input.
    """
    if calibration and lowest_padded(network):
        raise InputError("TensorFlow's converter cannot quantise a padded max_pool; write this int8 file directly.")
    tf = tensorflow()
    with quiet():
        converter = tf.lite.TFLiteConverter.from_keras_model(build_keras(network, weights, batch))
        if calibration:

            def representative() -> Iterator[list[np.ndarray]]:
                for x in calibration:
                    yield [to_nhwc(x)]

            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = representative
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.int8
        return converter.convert()
