"""Affine quantisation of a tensor to eight bits, with one scale and one zero point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Affine:
    """The quantisation real = scale x (integer - zero point)."""

    scale: float
    zero_point: int

    @classmethod
    def of_range(cls, low: float, high: float) -> Affine:
        """The quantisation that maps a range, extended to contain zero, to -128 to 127."""
        low, high = min(float(low), 0.0), max(float(high), 0.0)
        scale = (high - low) / 255 or 1.0
        return cls(scale, round(-128 - low / scale))

    def quantise(self, x: np.ndarray) -> np.ndarray:
        """Integers, clipped to the range."""
        return np.clip(np.round(x / self.scale) + self.zero_point, -128, 127).astype(np.int8)

    def dequantise(self, q: np.ndarray | np.generic) -> np.ndarray:
        """Real numbers, fp32."""
        return (np.asarray(q, np.float32) - self.zero_point) * np.float32(self.scale)
