"""Command line of predictors: `python -m predictors {predict,layerwise,networks,score,export,show,compare,choose,adapt,
transfer,summarise}`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets.cli import main, one_sentence
from datasets.files.folders import Outcome
from predictors.commands.answers import export, predict, score, show
from predictors.commands.comparing import compare, summarise, transfer
from predictors.commands.learning import adapt, choose, layerwise, networks
from predictors.networks.shipped import with_pricer


def run_transfer(arguments: list[str]) -> Outcome:
    """Run one command line of `transfer`: a run, or a sweep of runs."""
    from predictors.sweep import flags_of, folder_label, run_sweep

    flags = flags_of(arguments)
    if sweep := flags.pop("sweep", ""):
        return run_sweep(Path(sweep), run_transfer, program="predictors", flags=flags)
    named = ["--name="] if "predictor" in flags and "name" not in flags else []  # not the name of a --config's one
    words = [*arguments, *named, *folder_label(arguments)]
    return main(transfer, prog="python -m predictors transfer", arguments=words)


if __name__ == "__main__":
    commands: list[Callable[..., Any]] = [
        predict,
        layerwise,
        networks,
        score,
        export,
        show,
        compare,
        choose,
        adapt,
        summarise,
    ]
    if sys.argv[1:2] == ["transfer"]:  # its predictor is a flag, as in train.py
        with one_sentence("python -m predictors transfer"):
            sys.exit(run_transfer(sys.argv[2:]) == "busy")
    else:
        main([*commands, transfer], prog="python -m predictors", positional=True, rewrite=with_pricer)
