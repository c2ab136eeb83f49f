"""Ten networks priced on two devices: `python -m tests.prices_check --file FILE` prints numbers with every digit, to be
compared before and after a change of `LayerSum`."""

from __future__ import annotations

from pathlib import Path

from datasets.cli import main
from datasets.records import InputError, Networks
from datasets.spaces.zoo import Zoo
from predictors.base import Predictor, Uncertain

DEVICES = ("milan_ort_fp32_1", "milan_litert_fp32_1")


def check(file: Path) -> None:
    """Print latencies, and the ends of 90 % intervals, of the zoo's nine networks and a ResNet18 of small images.

    Args:
        file: what `python -m predictors layerwise --out FILE` wrote from the bundled tables.
    """
    predictor = Predictor.load(file)
    if not isinstance(predictor, Uncertain):
        raise InputError(f"{file} knows no intervals; name a file of `python -m predictors layerwise`.")
    small = Zoo(image=128)
    archs = Networks([*Networks.of(Zoo().all()), *Networks.of(small.parse(["resnet18"]))])
    for device in (device for device in predictor.devices_ if device.name in DEVICES):
        numbers = predictor.predict(archs, device), *predictor.belief(archs, device).interval(0.9)
        for network, *row in zip(archs, *numbers, strict=True):
            print(device.name, network.space, network.key, *map(float, row))


if __name__ == "__main__":
    main(check, prog="python -m tests.prices_check")
