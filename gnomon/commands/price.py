"""The command `price`."""

from __future__ import annotations

import sys
from pathlib import Path

from datasets.networks.sizes import Sizes


def price(
    file: str,
    all: bool = False,
    under: str | None = None,
    chance: float = 0.5,
    device: str = "",
    predictor: Path | None = None,
    level: float = 0.9,
    sizes: Sizes = Sizes(),
    json: bool = False,
) -> None:
    """Predict the time of a network on all known devices, the fastest first.

    Args:
        file: the network, as `measure run --onnx` takes it: an .onnx, .keras, .tflite, .pt2 or .param file,
            SPACE:ARCHITECTURE as zoo:resnet18, or torch:MODULE:CALLABLE, which imports that module.
        all: whether to include the devices of ncnn's table and AI Hub's, which `python -m datasets fetch ncnn
            ai-hub-models` downloads; otherwise they are those of the predictor.
        under: a limit, as 30ms or 2s; only devices that keep it are printed, with the probabilities.
        chance: least probability of the limit.
        device: devices, separated by commas; by default all. With one, the exit status says whether it keeps a limit.
        predictor: a predictor.pt of networks with intervals instead of the pricer that comes with Gnomon.
        level: probability of the intervals.
        sizes: sizes that the file leaves open.
        json: whether to print JSON.
    """
    from dataclasses import asdict

    from tqdm import tqdm

    from datasets.records import InputError
    from gnomon.commands.flags import milliseconds, own_predictor
    from gnomon.prices import prices, report

    for flag, value in (("level", level), ("chance", chance)):
        if not 0 < value < 1:
            raise InputError(f"--{flag} {value} must lie between 0 and 1.")
    limit = milliseconds(under) if under is not None else None
    with tqdm(unit="machine", disable=None) as bar:

        def after(machines: int) -> None:
            bar.total = machines
            bar.update()

        names = list(filter(None, device.split(",")))
        found = prices(file, limit, all, own_predictor(predictor), level, sizes, after, names)
    kept = [each for each in found if each.keeps is None or each.keeps >= chance]
    if json:
        import json as form

        print(form.dumps({"format": 1, "network": file, "under_ms": limit, "level": level,
                          "devices": [asdict(each) for each in kept]}, indent=1, allow_nan=False))  # fmt: skip
    elif kept:
        print(report(kept, level))
    if limit is not None:
        print(f"{len(kept)} of {len(found)} devices keep {limit:.10g} ms with a probability of at least {chance:.10g}.",
              file=sys.stderr)  # fmt: skip
        sys.exit(0 if kept else 1)
