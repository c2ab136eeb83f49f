"""Rows about decisions: `python -m studies.decide.study` writes runs/decide/summary.json of them.

`check` draws checks from recorded runs of equal networks, and of the same where one side is 5 % slower; `live` makes
checks on this machine. `regret` chooses settings of public tables, `rows` learns their machines from a few rows,
`hosts` chooses settings of the bundled tables of public networks. `language` measures decoders of language models on
this machine, `advise` edits of networks.
"""

from __future__ import annotations

from pathlib import Path

from datasets.cli import main
from studies.decide.advice import advice
from studies.decide.hosts import hosts
from studies.decide.journals import NETWORKS
from studies.decide.language import language
from studies.decide.live import live
from studies.decide.regret import by_rows, regret
from studies.decide.replays import replays
from studies.parts import run_parts


def study(
    out: Path = Path("runs/decide"), part: str = "check,live,regret,rows,hosts,language,advise", number: int = 2000
) -> None:
    """Write the rows of parts of the study.

    Args:
        out: folder of summary.json; rows of parts that are not run are kept.
        part: names of parts, separated by commas.
        number: of replays, of all networks together.
    """
    each = -(-number // len(NETWORKS))
    parts = {
        "check": lambda: [row for slower in (1.0, 1.05) for row in replays(each, slower, half=1)],
        "live": lambda: live(out),
        "regret": regret,
        "rows": by_rows,
        "hosts": hosts,
        "language": lambda: language(out),
        "advise": lambda: advice(out),
    }
    run_parts(parts, part, out)


if __name__ == "__main__":
    main(study, prog="python -m studies.decide.study")
