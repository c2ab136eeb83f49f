"""Trains and scores networks that already have weights: the trainer of NetAdapt's search.

Images are given in the size that a network reads: if that is smaller than the task's, k x k pixels are folded into
channels, so that none is lost; if it is larger, images are enlarged.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from datasets.files.cifar10 import read_cifar10
from datasets.networks.model import Weights
from datasets.networks.network import Network
from datasets.records import InputError
from measure.accuracy.classifier import batches_of, pixels, train_classifier
from measure.accuracy.digits import CLASSES, SIDE, Digits, LabelledImages
from measure.builders.torch_module import NetworkModule


@dataclass(frozen=True)
class Cifar10:
    """CIFAR-10 as a task.

    Attributes:
        folder: folder of its unpacked Python version (cifar-10-batches-py).
    """

    folder: Path

    def labelled_images(self) -> LabelledImages:
        """All 50,000 training and 10,000 test images; a folder without them raises `InputError`."""
        return LabelledImages(*read_cifar10(self.folder))


@dataclass(frozen=True)
class Tuning:
    """A trainer with AdamW and label smoothing.

    The learning rate rises linearly for a quarter of the steps, and falls linearly for the rest.

    Attributes:
        task: the task.
        holdout: number of last training images that are held out, by which adaptation chooses.
        batch: images per step.
        rate: the highest learning rate.
        ramp: steps until the highest rate is reached; trainings of fewer than four times as many steps have a
            proportionally lower rate, since a few steps at a high rate would only destroy what was learnt.
        decay: AdamW's weight decay.
        smoothing: share of a label that is spread over all classes.
        scored: largest number of held-out or test images that are scored; 0: all.
        device: torch's name of the device: cpu, cuda:0, ...
        precision: precision of convolutions and products in training: fp32, or bf16 where the processor computes in it.
    """

    task: Digits | Cifar10 = field(default_factory=Digits)
    holdout: int = 1000
    batch: int = 125
    rate: float = 0.01
    ramp: int = 25
    decay: float = 0.02
    smoothing: float = 0.05
    scored: int = 0
    device: str = "cpu"
    precision: Literal["fp32", "bf16"] = "fp32"

    def __post_init__(self) -> None:
        if self.batch < 2 or min(self.holdout, self.ramp) < 1 or self.rate <= 0 or self.scored < 0:
            raise InputError(
                f"Tuning needs a batch of 2 images or more, one held out, a ramp of a step and a rate above 0, not "
                f"{self.batch}, {self.holdout}, {self.ramp} and {self.rate:g}."
            )

    def tune(self, network: Network, weights: Weights, steps: int, seed: int) -> Weights:
        """Weights after `steps` steps; `seed` draws the order of images. Deterministic on a CPU.

        Raises:
            FloatingPointError: the loss is no longer a finite number.
        """
        with _one_thread(self.device):
            module = to_module(network, weights).to(self.device)
            images, labels = self._part(network, "train")
            highest = self.rate * min(1, steps / (4 * self.ramp))
            for part in module.modules():
                if isinstance(part, nn.BatchNorm2d):  # in few steps too, nine tenths of its statistics become new
                    part.momentum = max(0.1, 1 - 0.1 ** (1 / max(steps, 1)))
            batches = batches_of(len(images), self.batch, steps, seed)
            logits = partial(self._logits, module, network)
            train_classifier(module, logits, images, labels, batches, highest, self.decay, self.smoothing)
            return from_module(module)

    def accuracy(self, network: Network, weights: Weights, part: Literal["holdout", "test"] = "holdout") -> float:
        """Percentage of held-out or of test images that are classified correctly."""
        return self.scores(network, weights, part)[0]

    def scores(
        self, network: Network, weights: Weights, part: Literal["holdout", "test"] = "holdout"
    ) -> tuple[float, float]:
        """The accuracy in percent and the mean cross-entropy in nats, without label smoothing."""
        with _one_thread(self.device), torch.inference_mode():
            module = to_module(network, weights).to(self.device).eval()
            images, labels = (values[: self.scored or None] for values in self._part(network, part))
            found = torch.cat([self._logits(module, network, x).cpu() for x in images.split(250)])
            right = (found.argmax(1) == labels).double().mean()
            return 100 * float(right), float(nn.functional.cross_entropy(found.double(), labels))

    def on(self, device: str) -> Tuning:
        """This trainer on another device."""
        return replace(self, device=device)

    def _part(self, network: Network, part: str) -> tuple[torch.Tensor, torch.Tensor]:
        shape = network.ops[0].attrs["shape"]
        fold = _fold(shape)
        if network.ops[-1].attrs["shape"] != (CLASSES,):
            raise InputError(f"{network.key} has no {CLASSES} classes, as the task has; give its space classes=10.")
        images, labels, test_images, test_labels = _data(self.task, fold)
        if part == "test":
            return test_images, test_labels
        if self.holdout >= len(images):
            raise InputError(f"{self.holdout} images cannot be held out of {len(images)}; hold out fewer.")
        end = len(images) - self.holdout
        chosen = slice(None, end) if part == "train" else slice(end, None)
        return images[chosen], labels[chosen]

    def _logits(self, module: nn.Module, network: Network, x: torch.Tensor) -> torch.Tensor:
        """Class scores [n, classes], fp32."""
        x, side = x.to(self.device, torch.float32), network.ops[0].attrs["shape"][-1]
        if x.shape[-1] < side:
            x = nn.functional.interpolate(x, size=(side, side), mode="bilinear")
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.precision == "bf16"):
            return module(x.contiguous(memory_format=torch.channels_last)).float()


def to_module(network: Network, weights: Weights) -> NetworkModule:
    """The torch module of a network; its tensors share no memory with `weights`, which training leaves unchanged."""
    copied = {node: {name: value.copy() for name, value in named.items()} for node, named in weights.items()}
    return NetworkModule(network, copied)


def from_module(module: NetworkModule) -> Weights:
    """The present weights of a network's module."""
    weights: Weights = {}
    for node, layer in module.layers.items():
        for part in layer.modules():
            if isinstance(part, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
                names = _NORM if isinstance(part, nn.BatchNorm2d) else {"weight": "weight", "bias": "bias"}
                state = {name: value.detach().cpu().numpy().copy() for name, value in part.state_dict().items()}
                weights[int(node)] = {ours: state[theirs] for ours, theirs in names.items() if theirs in state}
    return weights


_NORM = {"scale": "weight", "shift": "bias", "mean": "running_mean", "var": "running_var"}


def _fold(shape: tuple[int, ...]) -> int:
    """Number of pixels per side that are folded into channels, for a network that reads this shape."""
    channels, height, width = shape
    fold = SIDE // height if height and SIDE % height == 0 else 1
    if height != width or channels != 3 * fold**2 or height * fold < SIDE:
        raise InputError(
            f"A network that reads {'x'.join(map(str, shape))} cannot read images of 3x{SIDE}x{SIDE}: give it RGB of "
            f"{SIDE} pixels or more, or 3 k^2 channels of {SIDE}/k."
        )
    return fold


@lru_cache(maxsize=2)
def _data(task: Digits | Cifar10, fold: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The task's images, k x k pixels folded into channels, -2 to 2 (kept in bfloat16, half the memory), and labels."""
    drawn = task.labelled_images()
    train, test = torch.from_numpy(drawn.train_labels), torch.from_numpy(drawn.test_labels)
    return pixels(drawn.train_images, fold), train, pixels(drawn.test_images, fold), test


@contextmanager
def _one_thread(device: str) -> Iterator[None]:
    """Restrict torch to one thread on a CPU, so that sums are taken in a fixed order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if device == "cpu" else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
