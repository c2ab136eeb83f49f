"""What `predict --network` is asked: which networks, where, how often, and how prices are shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from datasets.files.reading import shortened
from datasets.networks.collection import AnyNetwork
from datasets.networks.sizes import MOST_CURVE, Sizes
from datasets.records import Device, InputError, find_device


@dataclass(frozen=True)
class Shown:
    """How prices of networks are shown.

    Attributes:
        images: number of images to run in batches, for the time of all of them; 0: none.
        sort: rows of a network's layers, or of a table: in order, or the costliest first.
        json: whether to print JSON.
    """

    images: int = 0
    sort: Literal["order", "cost"] = "order"
    json: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.images <= 10**12:
            raise InputError(f"--images {self.images} must be a number of images from 1 to 10^12.")


@dataclass(frozen=True)
class Wanted:
    """What to price.

    Attributes:
        names: names of networks.
        devices: names of devices, separated by commas; '': all.
        batches: samples per run; None: the network's own.
        sizes: free sizes.
        level: probability of intervals; None: 0.9 where the predictor has intervals.
        out: picture to write.
    """

    names: tuple[str, ...]
    devices: str = ""
    batches: tuple[int | None, ...] = (None,)
    sizes: Sizes = Sizes()
    level: float | None = None
    out: Path | None = None

    @property
    def chance(self) -> float:
        """Probability of intervals."""
        return 0.9 if self.level is None else self.level


def batches_of(text: str | int | None) -> tuple[int | None, ...]:
    """Batches of a text such as 1,4,16; raises `InputError` for anything but whole numbers from 1 on."""
    if text is None:
        return (None,)
    parts = [part.strip() for part in str(text).split(",")]
    if not all(re.fullmatch(r"[0-9]{1,6}", part) and int(part) for part in parts):
        raise InputError(
            f"A batch has 1 to 999,999 images, as in --batch 4 or --batch 1,4,16, not '{shortened(str(text), 60)}'."
        )
    if len(parts) > MOST_CURVE:
        raise InputError(f"--batch names {len(parts):,} batches; name at most {MOST_CURVE:,}.")
    return tuple(dict.fromkeys(int(part) for part in parts))


def names_of(text: str) -> tuple[str, ...]:
    """Names of networks, each once; the command line joins several words by line breaks, and commas divide them too."""
    from datasets.networks.reading import split_names

    parts = [[part] if _exists(part) else split_names(part) for part in text.split("\n")]
    return tuple(dict.fromkeys(name for part in parts for name in part if name.strip()))


def _exists(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # a name that is too long, or holds a zero byte
        return False


def check_request(predictor: Any, file: str, wanted: Wanted) -> list[Device | None]:
    """The wanted devices of a predictor, fitted or not; None stands for that of a predictor of no device. Raises
    `InputError` if it has no such device, or predicts no networks."""
    known = predictor.devices_
    devices = (
        [find_device(known, name) for name in dict.fromkeys(wanted.devices.split(","))] if wanted.devices else known
    )
    if not isinstance(predictor.space_, AnyNetwork):
        raise InputError(
            f"{file} predicts architectures of {predictor.space_}; name one with --arch, or a file that "
            "`python -m predictors layerwise --out FILE` wrote."
        )
    return list(devices) or [None]
