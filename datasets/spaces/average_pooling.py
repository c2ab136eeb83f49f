"""Average pooling of images and sequences, with overlapping windows and without."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from datasets.blocks.layers import Feature
from datasets.blocks.operation_graph import OperationGraph
from datasets.blocks.operations import BATCH, Operation, choice, size
from datasets.blocks.windows import OF, PADDING, dimensions, padding_rows, sweep
from datasets.records import Architectures

_STEPS = ("1", "2", "kernel", "global")


@dataclass(frozen=True)
class AveragePooling(Operation):
    """Averages of 1 to 64 images (channels, size, size) or sequences (channels, size), padding included: 1 to 4,096
    channels, sizes of 1 to 512.

    Windows of 1 to 64 rows are at every position (step=1), at every second one, or side by side (step=kernel), as
    adaptive pooling has them; half of them have 2, 3 or 7 rows. With step=global the window is the whole input,
    whatever its kernel and padding.

    Attributes:
        megabytes: limit on activations alive at once (10^6 bytes, fp32).
        megamacs: limit on elements under all windows (10^6).
    """

    kind: ClassVar[str] = "average_pooling"
    features: ClassVar[tuple[Feature, ...]] = (
        BATCH, size("size", 1, 512), Feature("kernel", "kernel", 1, 64, log=True, common=(2, 3, 7)),
        size("channels", 1, 4096, rounded=True), choice("step", *_STEPS), PADDING, OF)  # fmt: skip

    def write(self, graph: OperationGraph, values: dict[str, Any]) -> None:
        n, kernel, step = dimensions(values), values["kernel"], values["step"]
        x = graph.input(values["batch"], values["channels"], *[values["size"]] * n)
        if step == "global":
            graph.add("GlobalAveragePool", x, shape=(*x.shape[:2], *[1] * n))
            return
        stride = kernel if step == "kernel" else int(step)
        outputs, before, after = sweep(values["size"], kernel, stride, values["pad"])
        shape = (*x.shape[:2], *[outputs] * n)
        window: dict[str, Any] = {
            "kernel_shape": [kernel] * n,
            "strides": [stride] * n,
            "pads": [before] * n + [after] * n,
        }
        graph.add("AveragePool", x, shape=shape, operations=math.prod(shape) * kernel**n, count_include_pad=1, **window)

    def canonical(self, archs: Architectures) -> list[str]:
        """Keys with kernel=1 where the window is the whole input, and pad=valid where pad=same adds no padding."""
        values, decisions = self.values(archs), archs.decisions.copy()
        kernel, whole = values["kernel"], values["step"] == _STEPS.index("global")
        stride = np.select([values["step"] == i for i in (1, 2)], [2, kernel], 1)
        kernel_at, pad_at = ([f.name for f in self.features].index(name) for name in ("kernel", "pad"))
        decisions[whole, kernel_at] = 0
        decisions[whole | (padding_rows(values["size"], kernel, stride) == 0), pad_at] = 0
        return self.format(Architectures(self, decisions))
