"""The command `advise`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.networks.sizes import Sizes

if TYPE_CHECKING:
    from gnomon.advise import Advice


def advise(
    file: str,
    device: str = "",
    number: int = 5,
    verify: int = 0,
    predictor: Path | None = None,
    level: float = 0.9,
    sizes: Sizes = Sizes(),
    json: bool = False,
) -> None:
    """Predict which edits of a network save the most time: of its width, kernels, resolution, activations, and others.

    Args:
        file: the network, as `measure run --onnx` takes it: an .onnx, .keras, .tflite, .pt2 or .param file,
            SPACE:ARCHITECTURE as zoo:resnet18, or torch:MODULE:CALLABLE, which imports that module.
        device: one of the predictor's devices; by default its first.
        number: number of edits.
        verify: number of edits to build and to measure on this machine, those of the largest predicted gains.
        predictor: a predictor.pt of a sum of layers instead of the pricer that comes with Gnomon.
        level: probability of the intervals.
        sizes: sizes that the file leaves open.
        json: whether to print JSON.
    """
    from datasets.files.reading import existing
    from datasets.networks.reading import is_file
    from datasets.records import InputError
    from gnomon.commands.flags import own_predictor, print_found
    from measure.commands.flags import at_least
    from predictors.networks.layer_sum import LayerSum

    if not 0 < level < 1:
        raise InputError(f"--level {level} must lie between 0 and 1, as 0.9 does.")
    at_least(1, 100, number=number)
    at_least(0, 100, verify=verify)
    if is_file(file):
        existing(Path(file), "name a network's file")
    own = own_predictor(predictor)
    if own is not None and not isinstance(own, LayerSum):
        raise InputError(f"{predictor} is no sum of layers; name one, or omit --predictor.")
    from gnomon.advise import advise as advised
    from gnomon.advise import report
    from gnomon.verify import verified

    def after(measured: Advice) -> None:
        print(f"measured {measured.edit}: {100 * (measured.measured or 0):.3g} %", file=sys.stderr)

    found = advised(file, device, number, own, level, sizes)
    if verify:
        found = verified(found, verify, after=after)
    print_found(found, report, json)
