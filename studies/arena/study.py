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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from datasets.cli import main
from datasets.files.reading import listed, read_json, read_yaml
from datasets.files.writing import write_text
from datasets.measured import Measured
from datasets.public.timm import Timm
from datasets.records import InputError, Measurements
from predictors.base import Predictor
from predictors.config import from_config
from studies.arena.protocols import held_out, left_out
from studies.arena.tables import accel_nasbench, ai_hub, bundled, hosts, ncnn, ncnn_complete
from studies.study import ROOT

PROTOCOLS = ("families", "random", "devices")
HELD_OUT = ("network_macs", "network_line", "network_trees", "network_corrected", "layer_sum", "network_kinds",
            "network_blend", "network_nnlqp", "graph_net", "graph_net_blend")  # fmt: skip
"""Predictors of networks that were held out, floors first."""
SLOW = ("layer_sum", "network_nnlqp", "graph_net", "graph_net_blend")
"""Predictors that are not scored on random splits, which are there for comparison only."""
GRAPH_NETS = ("graph_net", "graph_net_blend", "network_conditioned")
"""Predictors that the limit of CPU minutes does not count."""
FROM_OTHERS = ("scaled_device", "network_nearest", "factors", "matrix_gaussian")
"""Predictors of devices that were left out, from the times of other devices."""
OF_GRAPHS = ("network_macs", "network_line", *FROM_OTHERS)
"""Predictors of devices that were left out, of networks whose graphs are known; the first two are fitted to the samples
alone."""
LEFT_OUT = ("layer_sum", *OF_GRAPHS)


@dataclass(frozen=True)
class Table:
    """A table of the arena.

    Attributes:
        load: reads the measurements.
        held_out: predictors of the protocols `families` and `random`; empty: the table has no families of networks.
        left_out: predictors of the protocol `devices`.
        every: one in so many devices is left out, so that tables of many settings of few machines take minutes.
    """

    load: Callable[[], Measurements]
    held_out: tuple[str, ...] = HELD_OUT
    left_out: tuple[str, ...] = LEFT_OUT
    every: int = 1

    def predictors(self, protocol: str) -> list[str]:
        """Names of the predictors of a protocol that have a configuration."""
        names = self.left_out if protocol == "devices" else self.held_out
        return [name for name in names if configuration(name) and not (protocol == "random" and name in SLOW)]


TABLES: dict[str, Table] = {
    "timm": Table(lambda: Timm().measurements(), left_out=(*OF_GRAPHS, "network_gaussian")),
    "networks": Table(lambda: Measured(Path("datasets/bundled/networks.parquet")).measurements()),
    "hosts": Table(hosts, ("network_macs", "network_line", "network_kinds", "graph_net_blend"), ()),
    "convnet+zoo": Table(bundled, left_out=OF_GRAPHS),
    "ncnn-processors": Table(partial(ncnn, "processor"), (), OF_GRAPHS, every=4),
    "ncnn-complete": Table(ncnn_complete, (), OF_GRAPHS),
    "ncnn-gpus": Table(partial(ncnn, "gpu"), (), OF_GRAPHS),
    "ai-hub": Table(ai_hub, (), FROM_OTHERS, every=2),
    "ai-hub-graphs": Table(partial(ai_hub, graphs=True), (), OF_GRAPHS, every=2),
    "accel-nasbench": Table(accel_nasbench, (), FROM_OTHERS),
}


def configuration(name: str) -> Path | None:
    """File of a predictor: of configs/predictors, or itself where the name is that of a YAML file."""
    file = Path(name) if name.endswith(".yaml") else ROOT / "configs" / "predictors" / f"{name}.yaml"
    return file if name.endswith(".yaml") or file.is_file() else None


def scored(m: Measurements, file: Path, protocol: str, every: int = 1) -> list[dict[str, Any]]:
    """Rows of the predictor that a file describes, by one protocol; one in `every` devices is left out."""

    def make() -> Predictor:
        tree = read_yaml(file, "configs/predictors has examples")
        return from_config(tree, Predictor)  # type: ignore[type-abstract]

    some = {"devices": [device.name for device in m.devices[::every]]} if every > 1 else {}
    rows = left_out(m, make, **some) if protocol == "devices" else held_out(m, make, protocol)
    return [{"table": m.name, "protocol": protocol, "predictor": file.stem, **row} for row in rows]


def keep(m: Measurements, file: Path, protocol: str, out: Path, every: int = 1) -> None:
    """Write the rows of `scored` to their file, unless it is of the same table, configuration and devices."""
    place = out / "rows" / m.name / protocol / f"{file.stem}.json"
    source = {"fingerprint": m.fingerprint(), "config": read_yaml(file, "configs/predictors has examples")}
    source |= {"every": every} if every > 1 else {}
    if place.is_file() and read_json(place, "delete it")["source"] == source:
        return
    print(f"{m.name}, {protocol}: {file.stem}", file=sys.stderr, flush=True)
    rows = scored(m, file, protocol, every)
    write_text(place, json.dumps({"source": source, "rows": rows}, indent=1, default=float))


FLOORS = {
    "i7_12700h_compiled_fp32": 12.3, "i9_10940x_compiled_fp32": 21.4, "rtx3090_eager_amp": 20.7,
    "rtx4090_eager_amp": 20.0, "rtx5090_eager_amp": 18.0,
}  # fmt: skip
"""Errors (MAPE) of the line of four totals on timm, families held out, of a trial on other networks of the table."""


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows beside those of predictors: CPU minutes of all of them, and the line's differences from `FLOORS`."""
    each = {(row["table"], row["protocol"], row["predictor"]): row["cpu_s"] for row in rows}
    minutes = sum(seconds for (*_, predictor), seconds in each.items() if predictor not in GRAPH_NETS) / 60
    lines = [row for row in rows if (row["table"], row["protocol"], row["predictor"]) == _LINE]
    gaps = [
        {"table": "floors", "device": row["device"], "gap": abs(row["mape"] - FLOORS[row["device"]])} for row in lines
    ]
    return [{"table": "all", "predictors": len(each), "cpu_min": minutes}, *gaps]


_LINE = ("timm", "families", "network_line")


def arena(
    out: Path = Path("runs/arena"),
    protocols: str = ",".join(PROTOCOLS),
    tables: str = ",".join(TABLES),
    predictors: str = "",
) -> None:
    """Score predictors of whole networks.

    Args:
        out: folder of summary.json and of rows, which are kept.
        protocols: names of protocols, separated by commas.
        tables: names of tables, separated by commas.
        predictors: names in configs/predictors, or files, separated by commas; by default those of each table.

    Raises:
        InputError: a name is unknown, a table is missing, or nothing could be scored.
    """
    for name, wanted, known in (("table", tables, TABLES), ("protocol", protocols, PROTOCOLS)):
        if unknown := set(wanted.split(",")) - set(known):
            raise InputError(f"There is no {name} {min(unknown)}; {name}s are {listed(list(known))}.")
    for name in predictors.split(",") if predictors else ():
        if configuration(name) is None:
            raise InputError(f"There is no predictor {name} in configs/predictors; name one, or a YAML file.")
    done, refused = 0, list[InputError]()
    for table in tables.split(","):
        m = TABLES[table].load()
        for protocol in protocols.split(","):
            own = TABLES[table].predictors(protocol)
            for name in predictors.split(",") if predictors and own else own:
                if file := configuration(name):
                    try:
                        keep(m, file, protocol, out, TABLES[table].every)
                        done += 1
                    except InputError as error:  # a predictor may not answer all tables
                        print(f"{m.name}, {protocol}: {name} is left out: {error}", file=sys.stderr)
                        refused.append(error)
    if refused and not done:
        raise refused[0]
    places = sorted(out.glob("rows/*/*/*.json"))
    rows = [row for place in places for row in read_json(place, "delete it")["rows"]]
    write_text(out / "summary.json", json.dumps(rows + summary(rows), indent=1, default=float))


if __name__ == "__main__":
    main(arena, prog="python -m studies.arena.study")
