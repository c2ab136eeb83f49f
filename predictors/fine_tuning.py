"""Fine-tuning of networks of source devices to a new device."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from predictors.descent import descend
from predictors.scaling import Scale


def aligned(scale: Scale, column: int, predicted: np.ndarray, y: np.ndarray) -> Scale:
    """The label scale of a new device under which scaled predictions of a source device fit its labels best.

    Its slope is that of least squares, but at least a tenth of the ratio of the deviations, so that ranks are kept;
    where predictions or labels do not vary, it is the source device's.

    Args:
        scale: of the source devices.
        column: of the source device.
        predicted: its scaled predictions [n].
        y: labels of the new device [n].
    """
    t = np.log(y) if scale.kind == "log" else y
    spread, slope = float(predicted.std()), float(scale.std_[column])
    if spread > 1e-6 and t.std() > 0:
        least = float(np.mean((predicted - predicted.mean()) * t)) / spread**2
        slope = max(least, 0.1 * float(t.std()) / spread)
    return Scale.known(scale.kind, float(t.mean() - slope * predicted.mean()), slope)


def with_output(network: nn.Module, state: Mapping[str, Tensor], column: int, outputs: int) -> None:
    """Give a network of one output the tensors of one of several outputs, of which it keeps the one of a column.

    Raises:
        RuntimeError: the networks differ in more than the number of outputs.
    """
    wanted, chosen = network.state_dict(), dict(state)
    for name, value in state.items():
        sizes = wanted[name].shape if name in wanted and wanted[name].ndim == value.ndim else ()
        for axis, size in enumerate(sizes):
            if (value.shape[axis], size) == (outputs, 1):
                chosen[name] = chosen[name].narrow(axis, column, 1)
    network.load_state_dict(chosen)


def tune(network: nn.Module, inputs: Mapping[str, Tensor], target: Tensor, steps: int, rate: float) -> None:
    """Take `steps` of AdamW on the squared error of all scaled labels [n, 1] at once; dropout is off."""
    optimizer = torch.optim.AdamW(network.eval().parameters(), rate)
    descend(optimizer, (nn.functional.mse_loss(network(**inputs), target) for _ in range(steps)))
