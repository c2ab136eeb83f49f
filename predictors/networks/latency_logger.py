"""`LatencyLogger`: logs predicted latencies of a network while it is trained (PerfNetRT, section I)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import lightning
import torch

from datasets.networks.collection import AnyNetwork
from datasets.networks.torch_module import read_module
from datasets.records import InputError, Networks, find_device
from predictors.base import Predictor


class LatencyLogger(lightning.Callback):
    """Logs `METRIC/DEVICE` (for example `latency_ms/pi5`) at the end of epochs of training, as predicted.

    The module is exported in memory each time, since pruned or grown modules change, and priced.

    Args:
        predictor: of networks (a `LayerSum`), or its file.
        devices: names of its devices; by default all.
        input: a batch that the module takes; by default the module's `example_input_array`.
        every: number of epochs between predictions.
    """

    def __init__(
        self,
        predictor: Predictor | Path,
        devices: Sequence[str] = (),
        input: torch.Tensor | None = None,
        every: int = 1,
    ) -> None:
        self.predictor = Predictor.load(predictor) if isinstance(predictor, str | Path) else predictor
        if not isinstance(self.predictor.space_, AnyNetwork):
            raise InputError(
                f"A predictor of {self.predictor.space_} cannot price a module; name a file of `predictors layerwise`."
            )
        self.devices = [find_device(self.predictor.devices_, name) for name in devices] or self.predictor.devices_
        self.input, self.every = input, every

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.current_epoch % self.every:
            return
        x = pl_module.example_input_array if self.input is None else self.input
        if not isinstance(x, torch.Tensor):
            raise InputError("LatencyLogger needs a batch: set the module's example_input_array, or give it as input.")
        network = read_module(pl_module, x)
        for device in self.devices:
            (ms,) = self.predictor.predict(Networks([network]), device)
            pl_module.log(f"{self.predictor.metric}/{device.name}", float(ms), prog_bar=True)
