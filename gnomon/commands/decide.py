"""The command `decide`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from datasets.networks.sizes import Sizes

if TYPE_CHECKING:
    from gnomon.decision import Alternative


def decide(
    file: str,
    device: str = "",
    batch: str = "1",
    goal: Literal["latency", "throughput"] = "latency",
    measure: int = 0,
    predictor: Path | None = None,
    level: float = 0.9,
    journal: Path = Path("runs/gnomon/decide.jsonl"),
    sizes: Sizes = Sizes(),
    json: bool = False,
) -> None:
    """Choose the runtime, precision, number of threads and batch of a network on a machine, with what speaks for it.

    Args:
        file: the network, as `measure run --onnx` takes it: an .onnx, .keras, .tflite, .pt2 or .param file,
            SPACE:ARCHITECTURE as zoo:resnet18, or torch:MODULE:CALLABLE, which imports that module.
        device: a machine, or one of its devices: of the predictor, of ncnn's table (raspberry_pi_5) or of AI Hub's
            (samsung_galaxy_s24), which `python -m datasets fetch ncnn ai-hub-models` downloads; by default this one.
        batch: samples per run to consider, as 1,4,16.
        goal: whether the shortest run counts, or the most samples per second.
        measure: number of alternatives to measure on this machine, those that tell most.
        predictor: a predictor.pt of networks with intervals instead of the pricer that comes with Gnomon.
        level: probability of the intervals.
        journal: file of the measurements; rows that it contains are not measured again.
        sizes: sizes that the file leaves open besides the batch.
        json: whether to print JSON.
    """
    from datasets.records import InputError
    from gnomon.commands.flags import own_predictor, print_found
    from measure.commands.flags import at_least
    from predictors.networks.price_request import batches_of

    at_least(0, 100, measure=measure)
    if not 0 < level < 1:
        raise InputError(f"--level {level} must lie between 0 and 1, as 0.9 does.")
    batches = tuple(number or 1 for number in batches_of(batch))
    from gnomon.decide import decide as decided
    from gnomon.decide_report import report

    def after(measured: Alternative) -> None:
        print(f"measured {measured.device} in {measured.batch}: {measured.measured_ms:.4g} ms", file=sys.stderr)

    found = decided(file, device, batches, goal, measure, own_predictor(predictor), level, sizes, journal, after)
    print_found(found, report, json)
