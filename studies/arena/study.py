"""The arena of public whole networks: `python -m studies.arena.study` writes runs/arena/summary.json.

`families`: every family of networks is held out once, in ten folds; predictors learn all devices of a table from the
other families. `random` divides networks at random, which flatters. `devices`: every device is left out, and learnt
from a few of its networks. Any predictor of networks joins: its configuration is one file, and `--predictors FILE`
scores it alone.

The rows of each predictor, table and protocol are a file in the folder `rows`, which is kept as long as the table and
the configuration are the same: an interrupted study goes on where it was stopped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets.cli import main
from datasets.files.reading import listed, read_json, read_yaml
from datasets.files.writing import write_text
from datasets.public.timm import Timm
from datasets.records import InputError, Measurements
from predictors.base import Predictor
from predictors.config import from_config
from studies.arena.protocols import held_out, left_out
from studies.study import ROOT

PREDICTORS = ("network_macs", "network_line", "network_trees", "network_corrected")
TABLES: dict[str, Callable[[], Measurements]] = {"timm": lambda: Timm().measurements()}
PROTOCOLS = ("families", "random", "devices")


def scored(m: Measurements, file: Path, protocol: str) -> list[dict[str, Any]]:
    """Rows of the predictor that a file describes, by one protocol."""

    def make() -> Predictor:
        tree = read_yaml(file, "configs/predictors has examples")
        return from_config(tree, Predictor)  # type: ignore[type-abstract]

    rows = left_out(m, make) if protocol == "devices" else held_out(m, make, protocol)
    return [{"table": m.name, "protocol": protocol, "predictor": file.stem, **row} for row in rows]


def keep(m: Measurements, file: Path, protocol: str, out: Path) -> None:
    """Write the rows of `scored` to their file, unless it is of the same table and configuration."""
    place = out / "rows" / m.name / protocol / f"{file.stem}.json"
    source = {"fingerprint": m.fingerprint(), "config": read_yaml(file, "configs/predictors has examples")}
    if place.is_file() and read_json(place, "delete it")["source"] == source:
        return
    print(f"{m.name}, {protocol}: {file.stem}", file=sys.stderr, flush=True)
    rows = scored(m, file, protocol)
    write_text(place, json.dumps({"source": source, "rows": rows}, indent=1, default=float))


def arena(
    out: Path = Path("runs/arena"),
    protocols: str = ",".join(PROTOCOLS),
    tables: str = ",".join(TABLES),
    predictors: str = ",".join(PREDICTORS),
) -> None:
    """Score predictors of whole networks.

    Args:
        out: folder of summary.json and of rows, which are kept.
        protocols: names of protocols, separated by commas.
        tables: names of tables, separated by commas.
        predictors: names in configs/predictors, or files, separated by commas.
    """
    for name, wanted, known in (("table", tables, TABLES), ("protocol", protocols, PROTOCOLS)):
        if unknown := set(wanted.split(",")) - set(known):
            raise InputError(f"There is no {name} {min(unknown)}; {name}s are {listed(list(known))}.")
    files = [Path(name) if name.endswith(".yaml") else ROOT / "configs" / "predictors" / f"{name}.yaml"
             for name in predictors.split(",")]  # fmt: skip
    for table in tables.split(","):
        m = TABLES[table]()
        for protocol in protocols.split(","):
            for file in files:
                keep(m, file, protocol, out)
    places = sorted(out.glob("rows/*/*/*.json"))
    rows = [row for place in places for row in read_json(place, "delete it")["rows"]]
    write_text(out / "summary.json", json.dumps(rows, indent=1, default=float))


if __name__ == "__main__":
    main(arena, prog="python -m studies.arena.study")
