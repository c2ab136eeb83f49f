"""Keras models as architectures: they compute the same, and what is not known is one sentence."""

from pathlib import Path

import numpy as np
import pytest

from datasets.networks.analysis import check_network, totals
from datasets.networks.memory import memory
from datasets.networks.network import Network
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


def keras_shape(network: Network, number: int) -> tuple[int, ...]:
    """Shape of an output as Keras has it."""
    shape = network.shape(network.outputs[number].node)
    return (*shape[1:], shape[0]) if len(shape) == 3 else shape


def checked(model: keras.Model) -> Network:
    """The network of a model, whose parameters are Keras's."""
    network = check_network(read_keras(model, weights=False).network)
    trainable = sum(int(np.prod(value.shape)) for value in model.trainable_weights)
    assert totals(network)["params"] == trainable
    assert all(tuple(out.shape[1:]) == keras_shape(network, i) for i, out in enumerate(model.outputs))
    return network


L = keras.layers
MACS: list[tuple[tuple[int, ...], keras.Layer, int]] = [
    ((7, 7, 64), L.Dense(2), 6272),
    ((10, 16), L.Dense(4, activation="gelu"), 640),
    ((3, 4, 5, 6), L.Dense(4), 1440),
    ((10, 16), L.EinsumDense("...x,xy->...y", output_shape=64), 10 * 16 * 64),
    ((10, 16), L.EinsumDense("abc,cde->abde", output_shape=(10, 4, 8), bias_axes="de"), 10 * 16 * 32),
    ((10, 16), L.LSTM(8), 10 * 4 * 8 * 24),
    ((10, 16), L.LSTM(8, return_sequences=True, return_state=True), 10 * 4 * 8 * 24),
    ((10, 16), L.GRU(8), 10 * 3 * 8 * 24),
    ((10, 16), L.GRU(8, reset_after=False, use_bias=False), 10 * 3 * 8 * 24),
    ((10, 16), L.SimpleRNN(8), 10 * 8 * 24),
    ((10, 16), L.RNN([L.LSTMCell(8), L.GRUCell(4)]), 10 * (4 * 8 * 24 + 3 * 4 * 12)),
    ((10, 16), L.Bidirectional(L.LSTM(8, return_sequences=True)), 2 * 10 * 4 * 8 * 24),
    ((10, 16), L.Bidirectional(L.GRU(8), merge_mode="sum"), 2 * 10 * 3 * 8 * 24),
    ((10, 16), L.Bidirectional(L.GRU(8, return_state=True), merge_mode=None), 2 * 10 * 3 * 8 * 24),
    ((10, 8, 8, 3), L.ConvLSTM2D(7, 3), 10 * 36 * 4 * 7 * 9 * 10),
    ((10, 16), L.Conv1D(8, 3, padding="causal", dilation_rate=2), 10 * 8 * 48),
    ((10, 16), L.Conv1D(8, 3, strides=2, groups=4), 4 * 8 * 12),
    ((6, 7, 8, 4), L.Conv3D(8, (3, 2, 1), padding="same", strides=2), 48 * 8 * 24),
    ((9, 8, 4), L.Conv2D(6, (1, 3), dilation_rate=(1, 2), padding="same"), 72 * 6 * 12),
    ((9, 8, 4), L.Conv2DTranspose(6, (3, 4), strides=2, padding="same"), 72 * 4 * 6 * 12),
    ((9, 8, 4), L.Conv2DTranspose(6, 3, strides=(2, 3)), 72 * 4 * 6 * 9),
    ((9, 8, 4), L.Conv2DTranspose(6, 3, strides=2, output_padding=1, padding="same"), 72 * 4 * 6 * 9),
    ((9, 4), L.Conv1DTranspose(6, 5, strides=3), 9 * 4 * 6 * 5),
    ((9, 8, 4), L.DepthwiseConv2D((3, 5), depth_multiplier=3, strides=(2, 2)), 4 * 2 * 12 * 15),
    ((10, 4), L.DepthwiseConv1D(3, depth_multiplier=2), 8 * 8 * 3),
    ((10, 4), L.SeparableConv1D(6, 3, depth_multiplier=2, padding="same"), 10 * 8 * 3 + 10 * 8 * 6),
    ((9, 8, 4), L.SeparableConv2D(6, 3, depth_multiplier=2, use_bias=False), 42 * 8 * 9 + 42 * 8 * 6),
    ((10, 16), L.TimeDistributed(L.Dense(7, activation="relu")), 10 * 16 * 7),
    ((10, 8, 8, 3), L.TimeDistributed(keras.Sequential([L.Conv2D(7, 3), L.Flatten(), L.Dense(4)])),
     10 * (36 * 7 * 27 + 252 * 4)),
    ((9, 8, 4), L.BatchNormalization(scale=False), 0),
    ((9, 8, 4), L.BatchNormalization(center=False, axis=1), 0),
    ((10, 4), L.BatchNormalization(), 0),
    ((9, 8, 4), L.LayerNormalization(axis=[1, 2, 3], center=False), 0),
    ((9, 8, 4), L.GroupNormalization(2), 0),
    ((10, 4), L.RMSNormalization(), 0),
    ((10,), L.Embedding(100, 8), 0),
    ((9, 8, 4), L.PReLU(shared_axes=[1, 2]), 0),
    ((9, 8, 4), L.ReLU(3.0), 0),
    ((10, 4), L.Softmax(axis=1), 0),
    ((9, 4), L.MaxPooling1D(), 0),
    ((9, 8, 4), L.GlobalMaxPooling2D(keepdims=True), 0),
    ((5, 6, 7, 4), L.AveragePooling3D(2, padding="same"), 0),
    ((9, 8, 4), L.AveragePooling2D((2, 3), strides=(1, 2)), 0),
    ((9, 8, 4), L.UpSampling2D((2, 3)), 0),
    ((9, 4), L.ZeroPadding1D((1, 2)), 0),
    ((5, 6, 7, 4), L.Cropping3D(((1, 2), (0, 1), (3, 3))), 0),
    ((9, 8, 4), L.Reshape((-1, 4)), 0),
    ((9, 8, 4), L.Permute((3, 1, 2)), 0),
    ((4,), L.RepeatVector(3), 0),
    ((9, 4), L.Flatten(), 0),
    ((9, 8, 4), L.Rescaling(1 / 255, offset=-1), 0),
    ((9, 8, 4), L.Normalization(mean=0.0, variance=1.0), 0),
    ((9, 8, 4), L.Resizing(4, 5), 0),
    ((10,), L.CategoryEncoding(5), 0),
]  # fmt: skip


@pytest.mark.parametrize("shape, layer, macs", MACS, ids=[f"{i}_{case[1].name}" for i, case in enumerate(MACS)])
def test_layers_have_keras_s_shapes_and_parameters_and_macs_by_hand(
    shape: tuple[int, ...], layer: keras.Layer, macs: int
) -> None:
    start = keras.Input(shape)
    assert totals(checked(keras.Model(start, layer(start))))["macs"] == macs


def tied(network: Network) -> int:
    return sum(bool(op.attrs.get("tied")) for op in network.ops)


def test_models_in_models_and_layers_that_are_called_twice_count_their_weights_once(tmp_path: Path) -> None:
    block = keras.Sequential(
        [keras.Input((8, 8, 4)), L.Conv2D(4, 3, padding="same"), L.BatchNormalization(scale=False)]
    )
    entry = keras.Input((8, 8, 4))
    residual = keras.Model(entry, L.Add()([entry, L.Conv2D(4, 1)(entry)]))
    start, dense = keras.Input((8, 8, 4)), L.Dense(256)
    x = block(residual(block(residual(start))))
    x = dense(dense(L.Flatten()(x)))
    model = keras.Model(start, L.Dense(3)(x))
    network = checked(model)
    assert tied(network) == 4 and totals(network)["macs"] == 2 * 64 * (144 + 16) + 2 * 256 * 256 + 768
    model.save(tmp_path / "m.keras")
    read = read_keras(tmp_path / "m.keras")
    values = np.random.default_rng(0).standard_normal((1, 4, 8, 8), dtype=np.float32)
    expected = model.predict(values.transpose(0, 2, 3, 1), verbose=0)
    np.testing.assert_allclose(evaluate(read.network, read.weights, values), expected, atol=1e-4)
    assert tied(checked(keras.Model(start, residual(residual(start))))) == 1
    assert tied(checked(keras.Model(start, [residual(block(start)), residual(start)]))) == 1


def test_models_have_any_inputs_and_outputs() -> None:
    ids, image = keras.Input((10,), dtype="int32", name="ids"), keras.Input((4, 4, 3), name="image")
    tokens = L.Embedding(1000, 16)(ids)
    entry = keras.Input((10, 16))
    several = keras.Model(entry, [L.LSTM(8, return_sequences=True)(entry), L.Dense(3)(entry)])
    sequence, dense = several(tokens)
    outputs = {"a": several(tokens)[1], "b": sequence, "c": L.Conv2D(2, 3)(image), "d": dense * 2.0 + 1.0}
    network = checked(keras.Model({"ids": ids, "image": image}, outputs))
    assert [(port.name, port.dtype) for port in network.inputs] == [("ids", "int32"), ("image", "float32")]
    assert len(network.outputs) == 4 and tied(network) > 0
    gather = next(op for op in network.ops if op.kind == "Gather")
    assert gather.attrs["read_bytes"] == 10 * 16 * 4 + 10 * 4
    state, start = keras.Input((8,)), keras.Input((5, 8))
    out, hidden, _ = L.LSTM(8, return_state=True)(start, initial_state=[state, state])
    assert totals(checked(keras.Model([start, state], [out, L.Dense(2)(hidden)])))["macs"] == 5 * 32 * 16 + 16


def test_attention_and_products_of_tensors_count_their_macs() -> None:
    a, b = keras.Input((5, 8)), keras.Input((7, 8))
    for made, macs in (
        (L.MultiHeadAttention(2, 4)(a, b, use_causal_mask=True), 5 * 64 * 2 + 7 * 64 * 2 + 2 * 5 * 7 * 8),
        (L.MultiHeadAttention(2, 4, value_dim=3, output_shape=6)(a, b),
         5 * 64 + 7 * 64 + 7 * 48 + 5 * 36 + 35 * 8 + 35 * 6),
        (L.GroupQueryAttention(4, 4, 2)(a, b), 2 * 5 * 128 + 2 * 7 * 64 + 2 * 35 * 16),
        (L.Attention()([a, b]), 2 * 35 * 8),
        (L.AdditiveAttention()([a, b, b]), 35 * 8),
        (L.Dot((2, 2))([a, b]), 35 * 8),
        (keras.ops.matmul(a, keras.ops.transpose(b, (0, 2, 1))), 35 * 8),
        (keras.ops.einsum("abc,adc->abd", a, b), 35 * 8),
        (L.Concatenate(axis=1)([a, b]), 0),
        (keras.ops.mean(a, axis=-1) + 1.0, 0),
    ):  # fmt: skip
        model = keras.Model([a, b], L.Activation("relu")(made))
        assert totals(checked(model))["macs"] == macs


@pytest.mark.parametrize("policy, computed, bytes_", [("mixed_float16", "float16", 4), ("bfloat16", "bfloat16", 2)])
def test_policies_are_element_types(policy: str, computed: str, bytes_: int) -> None:
    start = keras.Input((8, 8, 3))
    x = L.Conv2D(4, 3, dtype=policy)(start)
    network = checked(keras.Model(start, L.Conv1D(4, 3, dtype=policy)(L.Reshape((36, 4), dtype=policy)(x))))
    conv, *_, last = network.ops[1:]
    assert conv.attrs["dtype"] == last.attrs["dtype"] == computed
    assert memory(network).weights == bytes_ * (112 + 52)


def test_what_is_not_known_is_one_sentence(tmp_path: Path) -> None:
    start = keras.Input((8, 8, 3))
    for layer, sentence in (
        (L.Lambda(lambda x: x + 1), "Lambda.* holds code, which is never run; export it to ONNX"),
        (L.Conv2D(4, 3, data_format="channels_first"), "has its channels first"),
        (L.AdaptiveAveragePooling2D(2), "AdaptiveAveragePooling2D.* is not known here"),
    ):
        with pytest.raises(InputError, match=sentence):
            read_keras(keras.Model(start, layer(start)))
    with pytest.raises(InputError, match="computes nothing of its inputs"):
        read_keras(keras.Model(start, L.Dropout(0.5)(start)))
    (tmp_path / "m.keras").write_bytes(b"no model")
    with pytest.raises(InputError, match="is no Keras model, or damaged"):
        read_keras(tmp_path / "m.keras")
    with pytest.raises(InputError, match="There is no file"):
        read_keras(tmp_path / "absent.keras")
    with pytest.raises(InputError, match="leaves a size open"):
        open_ended = keras.Input((None, None, 3))
        read_keras(keras.Model(open_ended, keras.layers.ReLU()(open_ended)))
