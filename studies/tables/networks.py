"""Public networks, measured: `python -m studies.tables.networks` writes networks.parquet.

Each network of `studies.tables.public` is exported once, to ONNX and to .pt2, so that all runtimes run equal weights.
Only graphs come into the table: no weights, and nobody's code.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from datasets.cli import main
from datasets.records import InputError
from studies.tables.public import FAMILIES, VARIED, variants


def exported(name: str, folder: Path) -> list[Path]:
    """Files of a network, in a folder of its own; those that are there are not written again."""
    from datasets.networks.torch_module import export_torch

    whole = folder / name / "whole"
    if not whole.exists():
        whole.parent.mkdir(parents=True, exist_ok=True)
        export_torch(f"studies.tables.public:{name}", whole.parent)
        whole.touch()
    return [whole.parent / f"{name}.onnx", *whole.parent.glob("*.pt2")]


STAGES: dict[str, tuple[str, str, bool]] = {
    "fp32": ("ort,openvino,eager", "1", True),
    "int8": ("ort:int8,openvino:int8", "1", False),
    "sizes": ("ort,openvino", "1", True),
    "others": ("ort,litert,eager,compiled", "1", False),
    "threads": ("ort,openvino", "2", False),
}
"""Runtimes, threads, and whether peak memory is measured, in the order of their use."""
COMPILED = 40
"""Number of networks of the stage `others`: every third."""


def stage_names(stage: str) -> dict[str, int]:
    """Names of the networks of a stage with their batches. Families are mixed, so that a part of a stage has most; the
    sizes of a network follow one another, since they are compared."""
    names = list(FAMILIES)
    mixed = [name for start in range(7) for name in names[start::7]]
    if stage == "sizes":
        return dict(pair for name in VARIED.split() for pair in ({name: 1} | variants(name)).items())
    return dict.fromkeys(mixed[:: len(mixed) // COMPILED] if stage == "others" else mixed, 1)


def export(names: Sequence[str], folder: Path) -> None:
    """Write the files of networks, and print why some cannot be."""
    for name in names:
        try:
            exported(name, folder)
        except InputError as error:
            print(error, file=sys.stderr, flush=True)


def measure(stage: str, names: dict[str, int], folder: Path, journal: Path, host: str, core: int | None) -> None:
    """Measure the networks of a stage, each on all of its runtimes."""
    from measure.bench import Bench
    from measure.campaign import Journal
    from measure.commands.flags import DEVICES, features_of, parse_backends
    from measure.commands.measuring import measure_pending, measurer
    from measure.network_files import name_file, read_subject

    runtimes, threads, memory = STAGES[stage]
    log = Journal(journal)
    named = parse_backends(runtimes, None if threads != "1" else core, "network", False, [host], threads)
    with measurer(Bench(memory=memory), features_of([host], DEVICES), 600) as measuring:
        for name, batch in names.items():
            if not (folder / name / "whole").exists():
                print(f"{name} has no files; it is left out.", file=sys.stderr, flush=True)
                continue
            path, *others = exported(name, folder)
            chosen = [name_file(path, others=tuple(others))], read_subject
            backends = [replace(backend, batch=batch) for backend in named]
            measure_pending(measuring, chosen, backends, log, "latency_ms", 1, False, memory=memory)


def table(journal: Path, out: Path, host: str, sizes: bool = False) -> None:
    """Write the table of a host's rows of a journal, with the family of each network beside its graph: networks in
    their own size, or (`sizes`) those of `VARIED` in all sizes.

    Random weights differ in their last bits from processor to processor, and with them the digest in a file's key: in
    every table, networks of one name and graph have the key that is the first in the journal.
    """
    from measure.campaign import read_journal
    from measure.table import to_table, write_table

    rows, first = read_journal(journal), dict[tuple[str, str], str]()
    graphs = {row["key"]: row["network"] for row in rows if "network" in row}
    keys = {key: first.setdefault((key.partition(".onnx:")[0], graph), key) for key, graph in graphs.items()}
    own = [row for row in rows if row["device"]["name"].startswith(f"{host}_")]
    own = [row | {"key": keys.get(row["key"], row["key"])} for row in own]
    own = [row | {"network": graphs[row["key"]]} if row["key"] in graphs else row for row in own]
    found, meta = to_table(own, unstable=True)
    found["name"] = found["key"].str.partition(".onnx:")[0]
    public = found["name"].str.partition("__")[0]
    found["family"] = public.map(FAMILIES)
    write_table(found[public.isin(VARIED.split()) if sizes else public == found["name"]], meta, out)


def run(
    stage: str = "export,fp32,int8,threads,table",
    journal: Path = Path("runs/tables/networks.jsonl"),
    out: Path = Path("datasets/bundled/networks.parquet"),
    folder: Path = Path("runs/tables/networks"),
    host: str = "",
    core: int | None = None,
) -> None:
    """Export public networks, measure them and write their table; goes on where it was stopped.

    Args:
        stage: what to do, separated by commas: export, fp32, int8, threads (two; nothing else may run), table; others
            (further runtimes, every third network) and table; sizes and sizes_table. Stages others and sizes measure
            again what they compare with: give each a journal and a table of its own.
        journal: file that rows are appended to.
        out: the Parquet file to write, of this host's rows.
        folder: of the networks' files.
        host: name of this machine in device names.
        core: processor core of stages with one thread.
    """
    for name in stage.split(","):
        if name == "export":
            export([*stage_names("fp32"), *stage_names("sizes")], folder)
        elif name in ("table", "sizes_table"):
            table(journal, out, host, name == "sizes_table")
        elif name in STAGES:
            measure(name, stage_names(name), folder, journal, host, core)
        else:
            raise InputError(
                f"There is no stage {name}; stages are export, {', '.join(STAGES)}, table and sizes_table."
            )


if __name__ == "__main__":
    main(run, prog="python -m studies.tables.networks")
