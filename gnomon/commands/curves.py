"""The command `curves`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from datasets.networks.sizes import Sizes


def curves(
    file: str,
    over: Literal["batch", "sequence", "size"] = "batch",
    device: str = "",
    values: str = "",
    caches_mb: str = "",
    predictor: Path | None = None,
    level: float = 0.9,
    out: Path | None = None,
    sizes: Sizes = Sizes(),
    json: bool = False,
) -> None:
    """Predict the time of a network over its batch, its sequence or the size of its images, and where the curve bends.

    Args:
        file: the network, as `measure run --onnx` takes it: an .onnx, .keras, .tflite, .pt2 or .param file,
            SPACE:ARCHITECTURE as zoo:resnet18, or torch:MODULE:CALLABLE, which imports that module.
        over: what changes: batch, or the sequence or the height and width that the file leaves open.
        device: one of the predictor's devices; by default its first.
        values: values that are predicted, as 1,4,16.
        caches_mb: sizes of the device's caches in MB, as 0.5,32; by default those of this machine, where the device is
            one of it.
        predictor: a predictor.pt of a sum of layers instead of the pricer that comes with Gnomon.
        level: probability of the intervals.
        out: picture to write (.png).
        sizes: further sizes that the file leaves open.
        json: whether to print JSON.
    """
    from datasets.figures import check_picture, write_figure
    from datasets.files.reading import existing, shortened
    from datasets.networks.reading import is_file
    from datasets.records import InputError
    from gnomon.commands.flags import own_predictor, print_found
    from gnomon.compare import reference_times
    from gnomon.curves import curve, draw, own_caches_mb, report
    from predictors.networks.layer_sum import LayerSum

    if not 0 < level < 1:
        raise InputError(f"--level {level} must lie between 0 and 1, as 0.9 does.")
    if out is not None:
        check_picture(out)
    numbers = [word.strip() for word in values.split(",")] if values else []
    if not all(re.fullmatch("[0-9]{1,6}", word) and int(word) for word in numbers) or len(numbers) > 1000:
        raise InputError(
            f"--values are at most 1,000 whole numbers from 1 on, as 1,4,16, not '{shortened(values, 60)}'."
        )
    words = [word.strip() for word in caches_mb.split(",")] if caches_mb else []
    if not all(re.fullmatch(r"[0-9]{1,9}(\.[0-9]{0,9})?", word) for word in words):
        raise InputError(f"--caches-mb are sizes in MB, as 0.5,32, not '{shortened(caches_mb, 60)}'.")
    if is_file(file):
        existing(Path(file), "name a network's file")
    own = own_predictor(predictor)
    if own is not None and not isinstance(own, LayerSum):
        raise InputError(f"{predictor} is no sum of layers; name one, or omit --predictor.")
    caches = [float(word) for word in words] or (own_caches_mb() if device in reference_times() else [])
    found = curve(file, over, device, [int(word) for word in numbers], own, level, sizes, caches)
    if out is not None:
        write_figure(draw(found), out)
    print_found(found, report, json)
