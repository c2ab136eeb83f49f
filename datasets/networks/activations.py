"""Activation functions by what one element costs."""

from __future__ import annotations

from datasets.networks.onnx_macs import MS

SMOOTH = ("sigmoid", "tanh", "silu", "softmax", "Softmax", "Erf", "Exp", "Gelu", "Elu", "Selu", "Softplus", "Mish",
          "Log", "Pow", "Sqrt", "RSQRT", "Sin", "Cos", "LogSoftmax", "Sigmoid", "Tanh",
          *(MS + kind for kind in ("Gelu", "BiasGelu", "FastGelu", "QuickGelu")))  # fmt: skip
"""Functions that take tens of instructions per element."""

TANH = ("tanh", "Tanh")
"""The smooth function that is slower than the others on OpenVINO and faster on onnxruntime."""

STEPPED = ("hswish", "hsigmoid", "HardSigmoid", "HardSwish", "LeakyRelu", "PRelu", "Clip")
"""Functions of a few instructions per element, which runtimes often do not fold into the layer before."""

CHEAP = ("relu", "relu6", "Relu")
"""Functions of one or two instructions per element, which runtimes fold into the layer before."""
