"""The training of architectures on the digits task, each in a reduced skeleton of its space.

A skeleton may read images of a smaller side than the task's: k x k pixels are then folded into channels, so that it
sees every pixel of 32 x 32 at a k-squared-th of the cost. This module does not import torch, since its classes are
flags of a command.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from datasets.networks.network import Network
from datasets.records import InputError
from datasets.spaces import parse_space
from measure.accuracy.digits import CLASSES, SIDE, Digits


@dataclass(frozen=True)
class DigitsTraining:
    """Training with AdamW and label smoothing.

    The learning rate rises linearly for a quarter of the steps, and falls linearly for the rest.

    Attributes:
        task: the task.
        skeleton: text of the space in whose networks architectures are trained.
        epochs: passes over the training images.
        batch: images per step; the incomplete batch of an epoch is left out.
        rate: the highest learning rate.
        decay: AdamW's weight decay.
        smoothing: share of a label that is spread over all classes.
    """

    task: Digits = field(default_factory=Digits)
    skeleton: str = "nasbench201(channels=8,cells=1,image=16,classes=10)"
    epochs: int = 4
    batch: int = 125
    rate: float = 0.02
    decay: float = 0.02
    smoothing: float = 0.05

    def __post_init__(self) -> None:
        if not 1 <= self.batch <= self.task.train or self.epochs < 1 or self.rate <= 0:
            raise InputError(
                f"A training needs an epoch or more, a rate above 0 and a batch of 1 to {self.task.train} images, "
                f"not {self.epochs}, {self.rate:g} and {self.batch}."
            )

    def network(self, key: str) -> tuple[Network, int]:
        """The network of an architecture, and the number of pixels per side that are folded into channels."""
        space = parse_space(self.skeleton)
        network = space.expand(space.parse([key])[0])
        start, shape = network.ops[0], network.ops[0].attrs["shape"]
        if network.ops[-1].attrs["shape"] != (CLASSES,) or shape[0] != 3 or SIDE % shape[1] or shape[1] != shape[2]:
            raise InputError(
                f"The networks of {space} cannot read the digits: choose a skeleton of {CLASSES} classes whose RGB "
                f"images have a side that {SIDE} is a multiple of."
            )
        fold = SIDE // shape[1]
        folded = replace(start, attrs={**start.attrs, "shape": (3 * fold**2, *shape[1:])})
        return replace(network, ops=(folded, *network.ops[1:])), fold
