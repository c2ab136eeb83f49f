"""Time and memory of listing NAS-Bench-101: `python -m studies.measure.enumeration --out runs/enumeration` runs the
command in separate processes, without and with the benchmark's hash, and writes `summary.json` with their CPU seconds
and memory."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import pyarrow.parquet as pq

from studies.usage import usage

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def measure(out: Path, hash: bool) -> dict:
    """One row: cells in the file, distinct keys (or hashes), CPU seconds and peak memory of the whole process."""
    used = usage(["-m", "datasets", "enumerate", "nasbench101", "--out", out, "--hash", str(hash).lower()])
    names = pq.read_table(out, columns=["hash" if hash else "key"]).column(0)
    return {
        "what": f"enumerate {'with' if hash else 'without'} hash",
        "count": len(names),
        "distinct": len(names.unique()),
        "cpu_s": used.cpu_s,
        "peak_gib": used.peak_bytes / 2**30,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/enumeration"), help="folder of the files and rows")
    parser.add_argument("--plain", action="store_true", help="without the benchmark's hash alone")
    given = parser.parse_args()
    os.environ.update(ONE_THREAD)
    out = given.out
    rows = [measure(out / f"nasbench101{'_hash' * hash}.parquet", hash) for hash in (False, True)[: 2 - given.plain]]
    (out / "summary.json").write_text(json.dumps(rows, indent=1))
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
