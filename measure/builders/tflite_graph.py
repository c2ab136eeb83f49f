"""Write a network whose shapes are known as a .tflite file, operator by operator.

This takes milliseconds, where TensorFlow's converter takes seconds, and gives an equal file: batch norms are folded
into the convolution before them, a relu or relu6 is fused into the operator before it, equal branches are merged,
constants are computed in advance, and sums have two terms. Quantisation to int8 is static (`tflite_file`).

An op is a node of the network, an operator one of the file. A chain is the nodes that are written together: a
node, and the batch norm and the activation after it if they are folded or fused into it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datasets.networks.model import Weights
from datasets.networks.network import Network
from datasets.networks.ops import pads, pair
from datasets.records import Op
from measure.builders.affine import Affine
from measure.builders.nhwc import dense_weight, is_depthwise, padding, refuse_dilated_pool, window_share
from measure.builders.numpy_reference import evaluate
from measure.builders.tflite_file import Tensor
from measure.builders.tflite_writer import FUSED, Ranges, Writer
from measure.builders.weights import BN_EPSILON

_SAME, _VALID = 0, 1
"""Codes of paddings in the file."""
_LOGISTIC, _TANH = Affine(1 / 256, -128), Affine(1 / 128, 0)
"""Output quantisation that the specification of TFLite requires; _LOGISTIC is also that of SOFTMAX."""


def build_tflite(network: Network, weights: Weights, batch: int = 1, calibration: Sequence[np.ndarray] = ()) -> bytes:
    """The content of the file, with a fixed batch size and channels last.

    Args:
        network: the network, with the shapes of all ops.
        weights: its weights.
        batch: batch size.
        calibration: input batches whose activations give the ranges of int8 quantisation; fp32 if there are none.

    Raises:
        InputError: an op is not supported, or the output of the network is a constant.
    """
    ranges = _observe_ranges(network, weights, calibration) if calibration else None
    return _OpWriter(network, weights, batch, ranges).content()


def _observe_ranges(network: Network, weights: Weights, batches: Sequence[np.ndarray]) -> Ranges:
    """Smallest and largest output of each node per channel, over all batches."""
    ranges: Ranges = {}

    def observe(node: int, value: np.ndarray) -> None:
        axes = (0, *range(2, value.ndim))
        low, high = value.min(axes), value.max(axes)
        old_low, old_high = ranges.get(node, (low, high))
        ranges[node] = np.minimum(low, old_low), np.maximum(high, old_high)

    for x in batches:
        evaluate(network, weights, x, observe)
    return ranges


class _OpWriter(Writer):
    """Writes ops, with one method per kind.

    Each method receives the chain, the op of the first node in it, and the input tensors of that node. It adds
    operators to the file, and returns the output tensor of the chain.
    """

    def write_conv(self, chain: list[int], op: Op, x: list[Tensor]) -> Tensor:
        attrs, in_shape = op.attrs, self.ops[self.inputs[chain[0]][0]].attrs["shape"]
        weight, bias = self.folded(chain)
        same, sides = padding(op, in_shape)
        source, dilation = x[0] if same else self.padded(x[0], sides), pair(attrs.get("dilation", 1))
        window = _window_options(op, same) | {"dilationHFactor": dilation[0], "dilationWFactor": dilation[1]}
        if is_depthwise(op, in_shape[0]):
            window["depthMultiplier"] = attrs["shape"][0] // in_shape[0]
            filters, version = weight.transpose(1, 2, 3, 0), self.version(1 if dilation == (1, 1) else 2, 3)
            return self.weighted(
                "DEPTHWISE_CONV_2D", source, filters, 3, bias, chain, version, "DepthwiseConv2D", **window
            )
        filters, version = weight.transpose(0, 2, 3, 1), self.version(1, 3) if attrs.get("groups", 1) == 1 else 6
        return self.weighted("CONV_2D", source, filters, 0, bias, chain, version, "Conv2D", **window)

    def folded(self, chain: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Weight and bias of a convolution; if a batch norm follows in its chain, it is folded into them."""
        w = self.weights[chain[0]]
        weight, bias = w["weight"], w.get("bias", np.zeros(len(w["weight"]), np.float32))
        if len(chain) > 1 and self.ops[chain[1]].kind == "bn":
            scale, shift = _scale_and_shift(self.weights[chain[1]])
            return weight * scale[:, None, None, None], bias * scale + shift
        return weight, bias

    def write_bn(self, chain: list[int], op: Op, x: list[Tensor]) -> Tensor:
        """Write a batch norm that is not folded into a convolution as a product and a sum, like the converter."""
        scale, shift = _scale_and_shift(self.weights[chain[0]])
        affine = None
        if self.ranges is not None:
            bounds = np.array(self.ranges[self.inputs[chain[0]][0]]) * scale
            affine = Affine.of_range(bounds.min(), bounds.max())
        scaled = self.binary("MUL", x[0], self.constant(scale), self.like(x[0].shape, affine))
        return self.binary("ADD", scaled, self.constant(shift), self.output(chain[-1]), self.activation(chain))

    def write_dense(self, chain: list[int], op: Op, x: list[Tensor]) -> Tensor:
        in_shape, w = self.ops[self.inputs[chain[0]][0]].attrs["shape"], self.weights[chain[0]]
        source, weight = x[0], dense_weight(w["weight"], in_shape)
        bias = w.get("bias", np.zeros(len(weight), np.float32))
        if len(source.shape) == 4:
            source = self.reshaped(source, (self.batch, weight.shape[1]))
        return self.weighted("FULLY_CONNECTED", source, weight, 0, bias, chain, self.version(1, 4), "FullyConnected")

    def write_add(self, chain: list[int], op: Op, x: list[Tensor]) -> Tensor:
        return self.binary("ADD", x[0], x[1], self.output(chain[-1]), self.activation(chain))

    def write_mul(self, chain: list[int], op: Op, x: list[Tensor]) -> Tensor:
        return self.binary("MUL", x[0], x[1], self.output(chain[-1]), self.activation(chain))

    def write_concat(self, chain: list[int], op: Op, x: list[Tensor]) -> Tensor:
        """Write a concatenation, with all inputs quantised like the output."""
        y = self.output(chain[-1])
        inputs = [t if t.affine == y.affine else self.requantised(t, y.affine) for t in x]
        return self.file.operator(
            "CONCATENATION", inputs, y, self.version(1, 2), "Concatenation", axis=len(y.shape) - 1
        )

    def write_max_pool(self, chain: list[int], op: Op, x: list[Tensor]) -> Tensor:
        refuse_dilated_pool(op)
        same, sides = padding(op, self.ops[self.inputs[chain[0]][0]].attrs["shape"])
        padded = x[0] if same else self.padded(x[0], sides, lowest=chain[0] in self.lowest)
        y = self.output(chain[-1], x[0].affine)
        return self.file.operator("MAX_POOL_2D", [padded], y, self.version(1, 2), "Pool2D", **_pool_options(op, same))

    def write_avg_pool(self, chain: list[int], op: Op, x: list[Tensor]) -> Tensor:
        """Write an average pooling.

        With SAME padding the operator excludes the padding from the means. Other paddings are written as zeros, which a
        factor excludes unless the op includes them.
        """
        in_shape, include = self.ops[self.inputs[chain[0]][0]].attrs["shape"], bool(op.attrs.get("include_pad"))
        same, sides = padding(op, in_shape)
        same = same and not include
        padded, y = x[0] if same else self.padded(x[0], sides), self.output(chain[-1], x[0].affine)
        self.file.operator("AVERAGE_POOL_2D", [padded], y, self.version(1, 2), "Pool2D", **_pool_options(op, same))
        if same or include or not any(sides):
            return y
        return self.binary("MUL", y, self.constant(window_share(op, in_shape)), self.output(chain[-1]))

    def write_global_avg_pool(self, chain: list[int], op: Op, x: list[Tensor]) -> Tensor:
        keep = len(op.attrs["shape"]) == 3
        inputs = [x[0], self.integers(1, 2)]
        return self.file.operator("MEAN", inputs, self.output(chain[-1]), self.version(1, 2), "Reducer", keepDims=keep)

    def write_pad(self, chain: list[int], op: Op, x: list[Tensor]) -> Tensor:
        top, left, bottom, right = pads(op.attrs["pad"])
        y, (n, height, width, channels) = x[0], x[0].shape
        if min(top, left, bottom, right) < 0:
            size = (n, height + min(top, 0) + min(bottom, 0), width + min(left, 0) + min(right, 0), channels)
            y = self.sliced(y, (0, max(-top, 0), max(-left, 0), 0), size)
        return self.padded(y, (max(top, 0), max(left, 0), max(bottom, 0), max(right, 0)))

    def write_truncate(self, chain: list[int], op: Op, x: list[Tensor]) -> Tensor:
        return self.sliced(x[0], (0, 0, 0, 0), (*x[0].shape[:3], op.attrs["shape"][0]))

    def write_shuffle(self, chain: list[int], op: Op, x: list[Tensor]) -> Tensor:
        """Write a channel shuffle as a transposition.

        Height and width are one axis in it, since delegates support at most four axes.
        """
        n, height, width, channels = x[0].shape
        groups = op.attrs["groups"]
        split = self.reshaped(x[0], (n, height * width, groups, channels // groups))
        swapped = self.like((n, height * width, channels // groups, groups), split.affine)
        self.file.operator("TRANSPOSE", [split, self.integers(0, 1, 3, 2)], swapped, self.version(1, 2), "Transpose")
        return self.reshaped(swapped, x[0].shape)

    def write_relu(self, chain: list[int], op: Op, x: list[Tensor]) -> Tensor:
        return self.file.operator("RELU", x, self.output(chain[-1]), self.version(1, 2))

    def write_relu6(self, chain: list[int], op: Op, x: list[Tensor]) -> Tensor:
        return self.file.operator("RELU6", x, self.output(chain[-1]), self.version(1, 2))

    def write_hswish(self, chain: list[int], op: Op, x: list[Tensor]) -> Tensor:
        return self.file.operator("HARD_SWISH", x, self.output(chain[-1]), 1, "HardSwish")

    def write_hsigmoid(self, chain: list[int], op: Op, x: list[Tensor]) -> Tensor:
        """Write relu6(x + 3) / 6."""
        clipped = self.like(x[0].shape, Affine.of_range(0, 6))
        self.binary("ADD", x[0], self.constant(np.array([3])), clipped, FUSED["relu6"])
        return self.binary("MUL", clipped, self.constant(np.array([1 / 6])), self.output(chain[-1]))

    def write_sigmoid(self, chain: list[int], op: Op, x: list[Tensor]) -> Tensor:
        return self.file.operator("LOGISTIC", x, self.like(x[0].shape, _LOGISTIC), self.version(1, 2))

    def write_silu(self, chain: list[int], op: Op, x: list[Tensor]) -> Tensor:
        return self.binary("MUL", x[0], self.write_sigmoid(chain, op, x), self.output(chain[-1]))

    def write_tanh(self, chain: list[int], op: Op, x: list[Tensor]) -> Tensor:
        return self.file.operator("TANH", x, self.like(x[0].shape, _TANH), self.version(1, 2))

    def write_softmax(self, chain: list[int], op: Op, x: list[Tensor]) -> Tensor:
        return self.file.operator(
            "SOFTMAX", x, self.like(x[0].shape, _LOGISTIC), self.version(1, 2), "Softmax", beta=1.0
        )


def _scale_and_shift(w: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift of a batch norm y = scale x + shift."""
    scale = w["scale"] / np.sqrt(w["var"] + np.float32(BN_EPSILON))
    return scale, w["shift"] - w["mean"] * scale


def _window_options(op: Op, same: bool) -> dict[str, int]:
    """Padding and strides of a convolution or a pooling, as options of its operator."""
    height, width = pair(op.attrs.get("stride", 1))
    return {"padding": _SAME if same else _VALID, "strideH": height, "strideW": width}


def _pool_options(op: Op, same: bool) -> dict[str, int]:
    height, width = pair(op.attrs["kernel"])
    return _window_options(op, same) | {"filterHeight": height, "filterWidth": width}
