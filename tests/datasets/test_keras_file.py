"""Keras models as architectures: they compute the same, and what is not known is one sentence."""

from pathlib import Path

import numpy as np
import pytest

from datasets.networks.analysis import totals
from datasets.records import InputError
from datasets.spaces.nasbench201 import NasBench201
from measure.builders.numpy_reference import evaluate
from measure.builders.weights import make_weights
from tests.conftest import run

keras = pytest.importorskip("keras", reason="keras is not installed")

from datasets.networks.keras_file import read_keras
from measure.builders.keras_model import build_keras, tensorflow

tensorflow()  # one thread, from the start


def test_a_model_computes_the_same(tmp_path: Path) -> None:
    layers = keras.layers
    start = keras.Input((11, 13, 4))
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(start)
    x = layers.BatchNormalization(epsilon=1e-3, beta_initializer="ones")(x)
    y = layers.Activation("hard_silu")(layers.DepthwiseConv2D(5, padding="same")(layers.ZeroPadding2D((1, 2))(x)))
    y = layers.Cropping2D(((1, 1), (2, 2)))(layers.ReLU(6.0)(y))
    z = layers.AveragePooling2D(3, strides=1, padding="same")(layers.SeparableConv2D(8, 3, padding="same")(x))
    x = layers.Add()([x, y, z])
    gate = layers.Conv2D(8, 1, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = layers.Concatenate()([layers.Multiply()([gate, x]), layers.MaxPooling2D(3, strides=1, padding="same")(y)])
    x = layers.Dropout(0.5)(layers.Conv2D(6, 1, groups=2, use_bias=False)(x))
    x = layers.Dense(5, activation="softmax")(layers.Flatten()(x))
    model = keras.Model(start, x)
    model.save(tmp_path / "m.keras")
    read = read_keras(tmp_path / "m.keras", batch=2)
    network, weights = read.network, read.weights
    x = np.random.default_rng(0).standard_normal((2, 4, 11, 13), dtype=np.float32)
    expected = model.predict(x.transpose(0, 2, 3, 1), verbose=0)
    np.testing.assert_allclose(evaluate(network, weights, x), expected, atol=1e-5)
    trainable = sum(int(np.prod(v.shape)) for v in model.trainable_weights)
    assert totals(network)["params"] == trainable and network.key.startswith("m.keras:")
    done = run("-m", "datasets", "show", tmp_path / "m.keras")
    assert done.returncode == 0 and str(trainable) in done.stdout.replace(",", ""), done.stderr
    done = run("-m", "measure", "run", "--onnx", tmp_path / "m.keras", "--journal", tmp_path / "journal.jsonl")
    assert done.returncode == 0 and "1 rows measured (0 failed" in done.stdout, done.stdout + done.stderr


def test_what_we_build_comes_back() -> None:
    space = NasBench201(channels=8, cells=1)
    key = "|nor_conv_3x3~0|+|skip_connect~0|avg_pool_3x3~1|+|none~0|nor_conv_1x1~1|nor_conv_3x3~2|"
    network = space.expand(space.parse([key])[0])
    weights = make_weights(network)
    model = read_keras(build_keras(network, weights))
    again, read = model.network, model.weights or {}
    x = np.random.default_rng(0).standard_normal((1, 3, 32, 32), dtype=np.float32)
    np.testing.assert_allclose(evaluate(again, read, x), evaluate(network, weights, x), rtol=1e-4, atol=1e-5)
    assert totals(again)["macs"] == totals(network)["macs"]


def test_what_is_not_known_is_one_sentence(tmp_path: Path) -> None:
    start = keras.Input((8, 8, 3))
    for layer, sentence in (
        (keras.layers.Conv2DTranspose(4, 3), "Conv2DTranspose.* is not known here; export it to ONNX"),
        (keras.layers.Conv2D(4, (1, 3)), "not square or dilated"),
        (keras.layers.Conv2D(4, 3, activation="gelu"), "activation gelu"),
        (keras.layers.ReLU(3.0), "ReLU of another kind"),
    ):
        with pytest.raises(InputError, match=sentence):
            read_keras(keras.Model(start, layer(start)))
    (tmp_path / "m.keras").write_bytes(b"no model")
    with pytest.raises(InputError, match="is no Keras model, or damaged"):
        read_keras(tmp_path / "m.keras")
    with pytest.raises(InputError, match="There is no file"):
        read_keras(tmp_path / "absent.keras")
    with pytest.raises(InputError, match="leaves a size open"):
        open_ended = keras.Input((None, None, 3))
        read_keras(keras.Model(open_ended, keras.layers.ReLU()(open_ended)))
