"""The command `compare`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.networks.sizes import Sizes
from gnomon.commands.flags import Runtime

if TYPE_CHECKING:
    from measure.rows import Row


def compare(
    files: str,
    runtime: Runtime = Runtime(),
    predictor: Path | None = None,
    device: str = "",
    journal: Path = Path("runs/gnomon/compare.jsonl"),
    repeats: int = 5,
    level: float = 0.9,
    out: Path | None = None,
    sizes: Sizes = Sizes(),
    json: bool = False,
) -> None:
    """Measure networks on this machine and print how long they were predicted to take.

    A comparison that was interrupted is continued by the same command.

    Args:
        files: the networks, as `measure run --onnx` takes them: .onnx, .keras, .tflite, .pt2 or .param files,
            SPACE:ARCHITECTURE as zoo:resnet18, or torch:MODULE:CALLABLE, which imports that module; several are
            separated by spaces.
        runtime: the runtime that measures.
        predictor: a predictor.pt of networks instead of the pricer that comes with Gnomon.
        device: one of the predictor's devices; by default that of this machine and the runtime.
        journal: file of the measurements; rows that it contains are not measured again.
        repeats: passes over all networks, each with new sessions.
        level: probability of the intervals of predictions.
        out: picture to write (.png).
        sizes: sizes that the files of these networks leave open besides the batch.
        json: whether to print JSON.
    """
    from datasets.figures import check_picture
    from datasets.files.reading import existing
    from datasets.networks.reading import is_file
    from datasets.records import InputError
    from measure.commands.flags import at_least
    from predictors.networks.price_request import Wanted, check_request, names_of

    at_least(2, 1000, repeats=repeats)
    if not 0 < level < 1:
        raise InputError(f"--level {level} must lie between 0 and 1, as 0.9 does.")
    if out is not None:
        check_picture(out)
    names = names_of(files)
    for name in filter(is_file, names):
        existing(Path(name), "name a network's file")
    from tqdm import tqdm

    from gnomon.compare import compare as measured_and_priced
    from gnomon.compare_report import draw, report
    from predictors.base import Predictor

    backend = runtime.opened("quick")
    wanted = Wanted(names, device)
    priced = (
        Predictor.load(predictor, lambda found: check_request(found, str(predictor), wanted)) if predictor else None
    )
    with tqdm(unit="row", disable=None) as bar:

        def after(row: Row, total: int) -> None:
            bar.total = total
            bar.update()

        found = measured_and_priced(names, backend, priced, device, journal, repeats, level, sizes, after)
    if out is not None:  # before the text, whose reader may close the pipe
        from datasets.figures import write_figure

        write_figure(draw(found, level), out)
    if json:
        from json import dumps

        rows = [each.record() for each in found]
        print(dumps({"format": 1, "level": level, "networks": rows}, indent=1, allow_nan=False))
    else:
        print(report(found, level))
    if all(each.measured_ms != each.measured_ms for each in found):
        sys.exit(1)


def files_as_one(words: Sequence[str]) -> list[str]:
    """Words of a command line, where the files of `compare` are one word, divided by line breaks.

    Args:
        words: each flag has one value, behind it or after an equals sign.
    """
    if words[:1] != ["compare"]:
        return list(words)
    files, others, value = list[str](), list[str](), False
    for word in words[1:]:
        (others if value or word.startswith("--") else files).append(word)
        value = word.startswith("--") and "=" not in word and word != "--help"
    return ["compare", *(["\n".join(files)] if files else []), *others]
