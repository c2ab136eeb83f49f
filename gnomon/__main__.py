"""Command line of Gnomon: `python -m gnomon VERB`; verbs are those of `verbs.py` and of `commands`."""

import sys
from collections.abc import Callable
from typing import Any

from datasets.cli import main, one_sentence
from datasets.records import InputError
from gnomon.commands.advise import advise
from gnomon.commands.check import check
from gnomon.commands.compare import compare, files_as_one
from gnomon.commands.curves import curves
from gnomon.commands.decide import decide
from gnomon.commands.price import price
from gnomon.commands.tokens import tokens
from gnomon.verbs import VERBS, of_all_devices, overview, version

if __name__ == "__main__":
    commands: list[Callable[..., Any]] = [advise, check, compare, curves, decide, price, tokens]
    words = sys.argv[1:]
    verb = next((verb for verb in VERBS if words[:1] == [verb.name] and not of_all_devices(words)), None)
    if verb is not None:
        verb.run(words[1:])
    elif not words or words[0] in ("-h", "--help"):
        with one_sentence("python -m gnomon"):
            print(overview(commands))
    elif words[0] == "--version":
        print(f"Gnomon {version()}")
    elif words[0] not in (names := [*(verb.name for verb in VERBS), *(command.__name__ for command in commands)]):
        with one_sentence("python -m gnomon"):
            raise InputError(f"There is no verb '{words[0]}'; verbs are {', '.join(dict.fromkeys(names))}.")
    else:
        main(commands, prog="python -m gnomon", positional=True, rewrite=files_as_one)
