"""Command line of predictors: `python -m predictors {predict,layerwise,score,export,show,compare,choose,adapt,transfer,
summarise}`."""

import sys
from collections.abc import Callable
from typing import Any

from datasets.cli import main, one_sentence
from predictors.commands.answers import export, predict, score, show
from predictors.commands.comparing import compare, run_transfer, summarise, transfer
from predictors.commands.learning import adapt, choose, layerwise

if __name__ == "__main__":
    commands: list[Callable[..., Any]] = [predict, layerwise, score, export, show, compare, choose, adapt, summarise]
    if sys.argv[1:2] == ["transfer"]:  # its predictor is a flag, as in train.py
        with one_sentence("python -m predictors transfer"):
            sys.exit(run_transfer(sys.argv[2:]) == "busy")
    else:
        main([*commands, transfer], prog="python -m predictors", positional=True)
