"""`python -m tests.fuzz`: fuzz every family for a time, or so many cases of each, or one case again.

Prints the cases by family and what was found, keeps each finding in a folder, exits with 1 where there is one.
"""

import argparse
import itertools
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from datasets.files.writing import write_text
from tests.conftest import ROOT  # one thread, before numpy is imported
from tests.fuzz import watch
from tests.fuzz.campaign import Campaign, case, regressions, write
from tests.fuzz.family import Family, families


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--family", default="", help="only these, separated by commas")
    parser.add_argument("--seed", type=int, help="of all cases; by default a new one")
    parser.add_argument("--hours", type=float, default=0, help="how long")
    parser.add_argument("--seconds", type=float, default=0, help="how long, beside --hours")
    parser.add_argument("--cases", type=int, default=0, help="instead of a time, how many of each family")
    parser.add_argument("--case", type=int, help="only this one; what it writes stays in the folder of findings")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--valid", type=int, default=0, help="how many undamaged inputs, and the regressions")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "fuzz", help="folder of findings")
    parser.add_argument("--summary", type=Path, help="JSON file of the counts, written after each family")
    parser.add_argument("--cpu-seconds", type=float, default=watch.SECONDS, help="most that a case may take")
    given = parser.parse_args()
    watch.SECONDS = given.cpu_seconds
    known = families()
    chosen = [known[name] for name in given.family.split(",")] if given.family else list(known.values())
    seed = random.randrange(10**6) if given.seed is None else given.seed
    with tempfile.TemporaryDirectory() as scratch:
        campaign = Campaign(seed, Path(scratch) / "work", given.out.resolve())
        if given.case is not None:
            (family,) = chosen
            campaign.run(family, [given.case])
            files, command = case(family, seed, given.case, campaign.folder)
            write(files, given.out / f"{family.name}-{seed}-{given.case}")
            print(*map(repr, command))
        else:
            _run(campaign, chosen, given)
    return _tell(campaign)


def _run(campaign: Campaign, chosen: Sequence[Family], given: argparse.Namespace) -> None:
    print(f"seed {campaign.seed}", flush=True)
    start, seconds, batch = time.monotonic(), 3600 * given.hours + given.seconds, given.cases or 100
    for first in itertools.count(given.first, batch):
        for family in chosen:
            began, count = time.monotonic(), max(1, round(batch * family.share))
            whole = given.valid + len(regressions(family)) if given.valid and first == given.first else 0
            campaign.run(family, [*range(-1, -whole - 1, -1), *range(first, first + count)])
            if given.summary:
                write_text(given.summary, json.dumps({"cases": campaign.counts, "found": _found(campaign)}))
            left = "" if given.cases else f", {seconds - (time.monotonic() - start):.0f} s left"
            took = (time.monotonic() - began) / (count + whole)
            print(f"{family.name:26} {first + count:6} cases, {1000 * took:5.0f} ms each{left}", flush=True)
            if not given.cases and time.monotonic() - start > seconds:
                return
        if given.cases:
            return


def _found(campaign: Campaign) -> list[tuple[str, str, int]]:
    """Findings: family, kind, how many."""
    return [(name, kind, count) for (name, kind), count in campaign.found.most_common()]


def _tell(campaign: Campaign) -> int:
    print(f"\n{'family':26} {'cases':>6} {'found':>6}   exit codes")
    for name, count in sorted(campaign.counts.items()):
        found = sum(n for (family, _), n in campaign.found.items() if family == name)
        codes = {code: n for (family, code), n in sorted(campaign.answered.items()) if family == name}
        print(f"{name:26} {count:6} {found:6}   {', '.join(f'{code}: {n}' for code, n in codes.items())}")
    total = sum(campaign.found.values())
    print(f"{'all':26} {sum(campaign.counts.values()):6} {total:6}\n")
    for name, kind, count in _found(campaign):
        print(f"{count:6} {name}: {kind}")
    if total:
        print(f"\nseed {campaign.seed}; inputs, commands and tracebacks: {campaign.findings}")
    return int(total > 0)


if __name__ == "__main__":
    sys.exit(main())
