"""Convolution layers of "Predicting the Computational Cost of Deep Learning Models"
(Justus et al., IEEE Big Data 2018) for TensorFlow: the features of PerfNetRT's Table I with four activations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from datasets.blocks.layers import ACT, ANY_ACT, Feature
from datasets.spaces import convolution


@dataclass(frozen=True)
class TfConvolution(convolution.Convolution):
    """All convolutions of Table I, with tanh and sigmoid as activations too.

    Attributes:
        megabytes: limit on activations and weights alive at once (10^6 bytes, fp32).
        megamacs: limit on multiply-accumulates per run (10^6).
    """

    kind: ClassVar[str] = "tf_convolution"
    features: ClassVar[tuple[Feature, ...]] = tuple(
        ANY_ACT if f is ACT else f for f in convolution.Convolution.features
    )
