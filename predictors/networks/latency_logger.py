"""`LatencyLogger`: logs predicted time, memory and energy of a network while it is trained (PerfNetRT, section I)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import torch

from datasets.networks.collection import AnyNetwork
from datasets.networks.network import Network
from datasets.networks.torch_module import read_module
from datasets.records import InputError, Networks, find_device
from predictors.base import Predictor
from predictors.networks.session import session_cost


class LatencyLogger(lightning.Callback):
    """Logs `METRIC/DEVICE` at the end of epochs of training, as predicted: `latency_ms/pi5`, `energy_mj/pi5`, and
    `peak_mb/pi5` for the peak memory of loading and running.

    The module is exported in memory each time, since pruned or grown modules change.

    Args:
        predictor: predictor of networks (a `LayerSum`), or its file; several for several metrics.
        devices: names of their devices; by default all.
        input: what the module takes: a tensor, or a tuple or dict of forward's arguments; by default the module's
            `example_input_array`.
        every: number of epochs between predictions.
        memory: whether to log the peak memory, too.

    Raises:
        InputError: a predictor predicts no networks, or none of them has one of the devices.
    """

    def __init__(
        self,
        predictor: Predictor | str | Path | Sequence[Predictor | str | Path],
        devices: Sequence[str] = (),
        input: torch.Tensor | tuple | dict[str, Any] | None = None,
        every: int = 1,
        memory: bool = False,
    ) -> None:
        several = predictor if isinstance(predictor, Sequence) and not isinstance(predictor, str) else [predictor]
        self.predictors = [Predictor.load(Path(each)) if isinstance(each, str | Path) else each for each in several]
        for each in self.predictors:
            if not isinstance(each.space_, AnyNetwork):
                raise InputError(
                    f"A predictor of {each.space_} cannot price a module; name a file of `predictors layerwise`."
                )
        known = {device.name: device for each in self.predictors for device in each.devices_}
        self.devices = [find_device([*known.values()], name) for name in devices or known]
        self.input, self.every, self.memory = input, every, memory

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.current_epoch % self.every:
            return
        inputs = pl_module.example_input_array if self.input is None else self.input
        if not isinstance(inputs, torch.Tensor | tuple | dict):
            raise InputError(
                "LatencyLogger needs inputs: set the module's example_input_array, or give them as `input`: a tensor, "
                "or a tuple or dict of forward's arguments."
            )
        for name, value in self.predicted(read_module(pl_module, inputs)).items():
            pl_module.log(name, value, prog_bar=True)

    def predicted(self, network: Network) -> dict[str, float]:
        """Predictions of a network by the names that are logged."""
        found = {
            f"{each.metric}/{device.name}": float(each.predict(Networks([network]), device)[0])
            for each in self.predictors
            for device in self.devices
            if device.name in {known.name for known in each.devices_}
        }
        if self.memory:
            found |= {f"peak_mb/{device.name}": session_cost(network, device).peak_mb for device in self.devices}
        return found
