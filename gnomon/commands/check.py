"""The command `check`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from datasets.networks.sizes import Sizes
from gnomon.commands.flags import Runtime, share

if TYPE_CHECKING:
    from gnomon.check import Checked
    from gnomon.sequential import Decision


def check(
    file: str,
    against: str | None = None,
    budget_ms: float | None = None,
    reference_ms: float | None = None,
    tolerance: str = "2%",
    seconds: float = 60,
    level: float = 0.99,
    runtime: Runtime = Runtime(),
    sizes: Sizes = Sizes(),
    json: bool = False,
) -> None:
    """Check whether a network became slower than another, or exceeds a budget, on this machine.

    Both run in turns until there is a verdict. Exit status: 0 for FASTER, SAME or WITHIN, 1 for SLOWER or OVER, 2 for
    faulty input, 3 for NO VERDICT.

    Args:
        file: the network, as `measure run --onnx` takes it: an .onnx, .keras, .tflite, .pt2 or .param file,
            SPACE:ARCHITECTURE as zoo:resnet18, or torch:MODULE:CALLABLE, which imports that module.
        against: the network that it is compared with, which has the same inputs.
        budget_ms: largest time of a run in ms, instead of another network.
        reference_ms: time of the reference network on the machine on which the budget has to hold, which an earlier
            check printed; by default what it takes now.
        tolerance: largest difference of two networks that counts as the same.
        seconds: seconds of measuring at most, without reading and building.
        level: probability that a verdict is right.
        runtime: the runtime that measures.
        sizes: sizes that the files of these networks leave open besides the batch.
        json: whether to print JSON.
    """
    from datasets.records import InputError
    from measure.commands.flags import at_least

    if (against is None) == (budget_ms is None):
        raise InputError("Name a network with --against, or a budget with --budget-ms, and not both.")
    if against is not None and reference_ms is not None:
        raise InputError("--reference-ms belongs to a budget; leave it out, or name --budget-ms instead of --against.")
    at_least(1e-6, 1e9, budget_ms=budget_ms, reference_ms=reference_ms)
    at_least(1, 86_400, seconds=seconds)
    if not 0.5 <= level < 1:
        raise InputError(f"--level must be at least 0.5 and below 1, as 0.99 is, not {level}.")
    margin = share(tolerance, "--tolerance")
    from tqdm import tqdm

    import gnomon.check as body
    from gnomon.check_report import shown

    backend = runtime.opened()
    with tqdm(total=seconds, unit="s", bar_format="{n:.0f} of {total:.0f} s {bar} {postfix}", disable=None) as bar:

        def after(decision: Decision) -> None:
            if not bar.disable and decision.seconds > bar.n + 0.5:
                bar.set_postfix_str(shown(decision.known))
                bar.update(min(decision.seconds, seconds) - bar.n)

        if against is not None:
            found = body.against(file, against, backend, margin, seconds, level, sizes, after)
        else:
            assert budget_ms is not None
            found = body.budget(file, budget_ms, backend, reference_ms, seconds, level, sizes, after)
    _print(found, json)
    sys.exit(body.EXIT[found.verdict])


def _print(found: Checked, as_json: bool) -> None:
    """Print the verdict, as JSON with the sentence on stderr."""
    import json

    from gnomon.check_report import sentences

    lines = sentences(found)
    if as_json:
        print(json.dumps(found.record(), indent=1, allow_nan=False))
        print(lines[0], file=sys.stderr)
    else:
        print(*lines, sep="\n")
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
