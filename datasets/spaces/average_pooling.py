"""Average pooling of images and sequences, with overlapping windows and without."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from datasets.blocks.layers import BATCH, Feature
from datasets.blocks.operation_graph import OperationGraph
from datasets.blocks.operations import Operation, choice, size
from datasets.blocks.windows import OF, PADDING, dimensions, sweep


@dataclass(frozen=True)
class AveragePooling(Operation):
    """Averages of images (channels, size, size) or sequences (channels, size) under windows of 1 to 64 rows, padding
    included, at every position (step=1), every second one, or side by side (step=kernel), as adaptive pooling has them.

    Half of the windows have 2, 3 or 7 rows. `reduction` has global pooling.

    Attributes:
        megabytes: limit on activations alive at once (10^6 bytes, fp32).
        megamacs: limit on elements under all windows (10^6).
    """

    kind: ClassVar[str] = "average_pooling"
    features: ClassVar[tuple[Feature, ...]] = (
        BATCH, size("size", 1, 512), Feature("kernel", "kernel", 1, 64, log=True, common=(2, 3, 7)),
        size("channels", 1, 4096, rounded=True), choice("step", "1", "2", "kernel"), PADDING, OF)  # fmt: skip

    def write(self, graph: OperationGraph, values: dict[str, Any]) -> None:
        n, kernel, step = dimensions(values), values["kernel"], values["step"]
        stride = kernel if step == "kernel" else int(step)
        outputs, before, after = sweep(values["size"], kernel, stride, values["pad"])
        x = graph.input(values["batch"], values["channels"], *[values["size"]] * n)
        shape = (values["batch"], values["channels"], *[outputs] * n)
        window = {"kernel_shape": [kernel] * n, "strides": [stride] * n, "pads": [before] * n + [after] * n}
        graph.add("AveragePool", x, shape=shape, operations=math.prod(shape) * kernel**n, count_include_pad=1, **window)
