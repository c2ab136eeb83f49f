"""Command line of measuring: `python -m measure {run,table,repeatability}`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from datasets.cli import main


def run(
    space: str = "nasbench201",
    backend: str = "ort",
    limit: int = 20,
    archs: Path | None = None,
    journal: Path = Path("runs/measure/journal.jsonl"),
    repeats: int = 1,
    seed: int = 0,
    core: int | None = None,
    host: str = "host",
    retry: bool = False,
) -> None:
    """Measure architectures on runtimes of this host. Stopped at any moment, it goes on where it was.

    Args:
        space: space of the architectures, with its skeleton: nasbench201 or nasbench201(cells=1,channels=16).
        backend: runtimes, separated by commas, each name[:precision[:batch]]: ort,ort:int8,eager:fp32:16.
        limit: how many distinct random architectures; a larger number only adds to a smaller one.
        archs: a file of architectures instead, one a line.
        journal: file that rows are appended to; what stands in it is not measured again.
        repeats: passes over all architectures, for judging repeatability.
        seed: of the random architectures.
        core: pin this process to one processor core.
        host: name of this machine in the devices' names.
        retry: measure failed rows again.
    """
    from tqdm import tqdm

    from datasets.records import InputError
    from datasets.spaces import parse_space
    from measure.backends import parse_backend
    from measure.campaign import Journal, distinct_sample, pending, run_campaign

    if core is not None:
        os.sched_setaffinity(0, {core})
    where = parse_space(space)
    backends = [parse_backend(text.strip(), host) for text in backend.split(",")]
    if archs is not None and not archs.is_file():
        raise InputError(f"There is no file {archs}; it should hold one architecture a line.")
    chosen = where.parse(archs.read_text().split()) if archs else distinct_sample(where, limit, seed)
    log = Journal(journal)
    tasks = pending(chosen, backends, log, repeats, retry)
    failed = unstable = 0
    with tqdm(total=len(tasks), unit="row", disable=None) as bar:
        for row in run_campaign(chosen, tasks, log):
            failed += "error" in row
            unstable += not row.get("stable", True)
            bar.update()
            if bar.disable:
                told = row.get("error") or f"{row['raw_ms']:.3f} ms, {row['ratio']:.3f} x reference"
                print(f"{row['key']} on {row['device']['name']}: {told}", flush=True)
    print(f"{len(tasks)} rows measured ({failed} failed, {unstable} unstable); {len(log.rows)} in {journal}.")
    if failed:
        print("Failed rows say why in their field 'error'; --retry measures them again.", file=sys.stderr)


def table(journal: Path, out: Path) -> None:
    """Turn a journal into a table (Parquet) of drift-corrected milliseconds.

    Args:
        journal: what `run` wrote.
        out: the Parquet file to write.
    """
    from measure.campaign import read_journal
    from measure.table import to_table, write_table

    values, meta = to_table(read_journal(journal))
    write_table(values, meta, out)
    print(f"{len(values)} values of {values['key'].nunique()} architectures on {len(meta['devices'])} devices in {out}")
    print(f"left out: {meta['left_out']['failed']} failed, {meta['left_out']['unstable']} unstable rows")


def repeatability(file: Path) -> None:
    """Print how much the medians of repeats vary (coefficient of variation, percent), drift-corrected and raw.

    Args:
        file: a journal of `run --repeats 3`, or a table made from one.
    """
    import pandas as pd

    from datasets.records import InputError
    from measure.campaign import read_journal
    from measure.table import repeatability as judge
    from measure.table import to_table

    if file.suffix == ".parquet" and not file.is_file():
        raise InputError(f"There is no file {file}.")
    values = pd.read_parquet(file) if file.suffix == ".parquet" else to_table(read_journal(file))[0]
    print(judge(values).to_string(index=False, float_format="%.2f"))


if __name__ == "__main__":
    main([run, table, repeatability], prog="python -m measure")
