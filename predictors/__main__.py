"""Command line of predictors: `python -m predictors {predict,layerwise,score,export,show,compare,choose,adapt,transfer,
summarise}`."""

import sys
from collections.abc import Callable
from typing import Any

from datasets.cli import main
from predictors.commands.answers import export, predict, score, show
from predictors.commands.comparing import compare, summarise, transfer
from predictors.commands.learning import adapt, choose, layerwise
from predictors.networks.shipped import with_pricer

if __name__ == "__main__":
    commands: list[Callable[..., Any]] = [predict, layerwise, score, export, show, compare, choose, adapt, summarise]
    if sys.argv[1:2] == ["transfer"]:  # its predictor is a flag, as in train.py
        sys.exit(main(transfer, prog="python -m predictors transfer", arguments=sys.argv[2:]) == "busy")
    else:
        main([*commands, transfer], prog="python -m predictors", positional=True, rewrite=with_pricer)
