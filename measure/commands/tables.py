"""Commands on tables of journals: `table`, `contribute`, `repeatability`; `accuracy`, which measures accuracies."""

from __future__ import annotations

import sys
from pathlib import Path

from measure.accuracy.training import DigitsTraining
from measure.commands.flags import MOST_ARCHITECTURES, at_least, fail_if_all, progress

TRAINING = DigitsTraining()


def accuracy(
    space: str = "nasbench201",
    limit: int = 500,
    archs: Path | None = None,
    seeds: int = 1,
    seed: int = 0,
    training: DigitsTraining = TRAINING,
    journal: Path = Path("runs/measure/accuracy.jsonl"),
    retry: bool = False,
) -> None:
    """Train architectures on the digits task, some ten CPU-seconds each, and journal their test accuracies.

    A run that was interrupted is continued by the same command.

    Args:
        space: space of the architectures, as in `run`; they are trained in the skeleton of `--training.skeleton`.
        limit: number of distinct random architectures, the same as those of `run`.
        archs: a file of architectures instead, one per line.
        seeds: number of trainings per architecture.
        seed: seed of the random architectures.
        training: the task, and how architectures are trained on it.
        journal: file that rows are appended to; rows that it contains are not trained again.
        retry: train failed rows again.
    """
    from datasets.records import Architectures
    from measure.campaign import Journal, of_space

    at_least(1, MOST_ARCHITECTURES, limit=limit)
    at_least(1, 1000, seeds=seeds)
    at_least(0, seed=seed)
    chosen, _ = of_space(space, limit, archs, seed, block_only=False)
    from measure.accuracy.trials import pending_accuracies, run_accuracies  # torch, which faulty input does not need

    assert isinstance(chosen, Architectures)
    log = Journal(journal)
    failed = 0
    with progress(total := len(pending_accuracies(chosen, log, seeds, retry))) as bar:
        for row in run_accuracies(chosen, training, log, seeds, retry):
            failed += "error" in row
            bar.update()
            if bar.disable:
                result = row.get("error") or f"{row['value']:.2f} %"
                print(f"{row['key']}, seed {row['repeat']}: {result}, {row['cpu_s']:.1f} CPU-s", flush=True)
    print(f"{total} rows trained ({failed} failed); {len(log.rows)} in {journal}.")
    fail_if_all(total, failed)


def table(journal: Path, out: Path, unstable: bool = False, quiet: float | None = None) -> None:
    """Turn a journal into a table (Parquet) of drift-corrected milliseconds, or of accuracies.

    Rows that other work on the machine made unreliable are replaced by reliable ones of the same architecture; where
    there is none they stay, and the table's metadata and a warning name their devices.

    Args:
        journal: a file that `run` or `accuracy` wrote.
        out: the Parquet file to write.
        unstable: keep unstable rows (runs varied by more than a tenth) of architectures that have no stable one.
        quiet: leave out rows whose reference network took more than this factor (such as 1.1) of its time in the
            fastest tenth of rows, where the architecture has others; for machines that other work slows down at times.
    """
    from datasets.files.writing import check_writable
    from measure.campaign import read_journal

    at_least(1, quiet=quiet)
    check_writable(out, journal)
    rows = read_journal(journal)
    from measure.table import quiet_rows, to_accuracies, to_table, write_table  # pandas, after the file was found

    rows = rows if quiet is None else quiet_rows(rows, quiet)
    deviceless = any(row["device"] is None for row in rows)
    values, meta = to_accuracies(rows) if deviceless else to_table(rows, unstable)
    write_table(values, meta, out)
    if agree := meta.get("seed_spearman"):
        print(f"seed to seed: Spearman {agree['spearman']:.3f} over {agree['cells']} architectures")
    devices = "of no device" if deviceless else f"on {len(meta['devices'])} devices"
    print(f"{len(values)} values of {values['key'].nunique()} architectures {devices} in {out}")
    kept = f"; in it: {meta['unstable']} unstable rows" if meta.get("unstable") else ""
    print(f"left out: {meta['left_out']['failed']} failed, {meta['left_out']['unstable']} unstable rows{kept}")
    for device, why in meta.get("unreliable", {}).items():
        print(f"{device}: of the rows in this table, {why}; they stay in it. `measure run --retry true` measures them "
              "again, best while the machine is quiet.", file=sys.stderr)  # fmt: skip


def contribute(table: Path, out: Path) -> None:
    """Pack a measured table with its host, protocol, versions and repeatability into one file for others.

    The table must hold no paths and no addresses. `python -m datasets add` checks and installs the file.

    Args:
        table: a file that `table` wrote.
        out: the file to write, a zip.
    """
    from datasets.contribution import in_words, pack

    print(f"{in_words(pack(table, out))}\npacked: {out}")


def repeatability(file: Path) -> None:
    """Print how much the medians of repeats vary (coefficient of variation, percent), drift-corrected and raw.

    Args:
        file: a journal of `run --timing.repeats 3`, or a table made from one.
    """
    from datasets.files.table_file import read_table
    from measure.campaign import read_journal
    from measure.table import repeatability as judge
    from measure.table import to_table

    values, _ = read_table(file) if file.suffix == ".parquet" else to_table(read_journal(file))
    print(judge(values).to_string(index=False, float_format="%.2f"))
