"""Which files of networks are read and counted: `python -m studies.files.study` writes runs/files/summary.json.

`packages` reads every network in the wheels that packages.json names, each in a process of its own with the flags that
a person would give to all of them; `priced` prices those files; `measured` runs them on every runtime that takes them.
`networks` reads networks by torch.export and by both ONNX exporters and compares their counts; `run` runs them on
onnxruntime, OpenVINO and torch, and compares their outputs; `memory` compares their peak memory with what is predicted.
`measured`, `networks`, `run` and `memory` go on where they stopped. `bounds` simulates how often bounds of percentiles
hold.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from datasets.cli import main
from datasets.files.writing import write_text
from datasets.records import InputError
from studies.files.bounds import bounds
from studies.files.coefficients import scores
from studies.files.wheels import SIZES, different
from studies.files.zoo import NETWORKS, RUN_ON
from studies.parts import run_parts
from studies.study import ROOT

SECONDS = 300
"""A network of the second part that takes longer counts as not read."""


def packages(out: Path) -> list[dict]:
    """One row for each different network of the wheels, then the shares of all and of each format."""
    rows = list[dict]()
    for package, file, digest in different(out / "wheels"):
        rows.append({"what": "file", "package": package, "file": file.name, "digest": digest, **shown(file)})
        print(rows[-1], flush=True)
    kinds = {"all": rows} | {kind: [row for row in rows if row["file"].endswith(kind)] for kind in (".onnx", ".tflite")}
    shares = [
        {"what": "share", "format": kind, "files": len(part), "read": float(np.mean([row["read"] for row in part]))}
        for kind, part in kinds.items()
        if part
    ]
    return [*rows, *shares]


def shown(file: Path) -> dict[str, Any]:
    """What `datasets show` makes of a file with the first of `SIZES` that fits: whether it was read, its totals, and
    the last sentence where it was not."""
    row: dict[str, Any] = {}
    for attempt, sizes in enumerate(SIZES):
        flags = [word for name, value in sizes.items() for word in ("--size", f"{name}={value}")]
        start = time.monotonic()
        command = [sys.executable, "-m", "datasets", "show", str(file), *flags]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=600)
        traceback = max(float("Traceback" in done.stderr), row.get("traceback", 0.0))
        row = {"bytes": file.stat().st_size, "read": float(done.returncode == 0), "sizes": attempt}
        row |= {"seconds": time.monotonic() - start, "traceback": traceback, "reason": ""}
        if done.returncode == 0:
            words = [line.split() for line in done.stdout.splitlines()]
            totals = {line[0]: float(line[1].replace(",", "")) for line in words if line[:1] in (["macs"], ["params"])}
            return row | totals
        row["reason"] = (done.stderr.strip().splitlines() or [""])[-1][:300]
    return row


def networks(out: Path) -> list[dict]:
    """One row for each network: its MACs by torch.export, both exporters and torch's own counter, and whether they
    agree to 0.1 %; then the shares."""
    journal = out / "networks.json"
    rows = json.loads(journal.read_text()) if journal.is_file() else []
    for name in NETWORKS:
        if all(row["network"] != name for row in rows):
            rows.append({"what": "network", "network": name, **counted(name)})
            print(rows[-1], flush=True)
            write_text(journal, json.dumps(rows, indent=1))
    return [
        *rows,
        {"what": "networks", **{name: float(np.mean([r[name] for r in rows])) for name in ("read", "equal")}},
    ]


def counted(name: str) -> dict[str, Any]:
    """One network's counts, found in a process of its own."""
    return {"read": 0.0, "equal": 0.0} | _printed([name])


def _printed(arguments: list[str]) -> dict[str, Any]:
    """What `studies.files.zoo` prints about a network, in a process of its own; the `reason` if it fails."""
    command = [sys.executable, "-m", "studies.files.zoo", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return {"reason": f"took more than {SECONDS} s"}
    if done.returncode:
        return {"reason": (done.stderr.strip().splitlines() or [""])[-1][:300]}
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


RUNTIMES = {".onnx": ("ort", "openvino"), ".tflite": ("litert",), ".keras": ("keras",)}
"""Runtimes that run files of a suffix as they are."""


def priced(out: Path) -> list[dict]:
    """One row for each network of the wheels: whether the pricer that Gnomon has prices it, in the sizes with which it
    was read, and the last sentence where it does not; then the share that is priced."""
    rows = list[dict]()
    for file, read in _read(out):
        sizes = SIZES[int(read["sizes"])] if read["read"] else {}
        flags = [word for size, value in sizes.items() for word in ("--size", f"{size}={value}")]
        command = [sys.executable, "-m", "predictors", "predict", "--network", str(file), "--json", *flags]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=600)
        reason = "" if done.returncode == 0 else (done.stderr.strip().splitlines() or [""])[-1][:300]
        about = {name: read[name] for name in ("package", "file", "digest")}
        prices = len(json.loads(done.stdout)["prices"]) if done.returncode == 0 else 0
        rows.append({"what": "priced", **about, "prices": prices, "reason": reason})
        print(rows[-1], flush=True)
    share = float(np.mean([row["prices"] > 0 for row in rows]))
    return [*rows, {"what": "share priced", "files": len(rows), "priced": share}]


def measured(out: Path) -> list[dict]:
    """One row for each different network of the wheels: the runtimes that measured it, and why others did not; then
    the shares that at least one runtime measured."""
    journal = out / "measured.json"
    rows = json.loads(journal.read_text()) if journal.is_file() else []
    done = {row["digest"] for row in rows}
    for file, read in _read(out):
        if read["digest"] not in done:
            about = {name: read[name] for name in ("package", "file", "digest")}
            rows.append({"what": "measured", **about, **ran(file, read, out)})
            print(rows[-1], flush=True)
            write_text(journal, json.dumps(rows, indent=1))
    kinds = {"all": rows} | {kind: [row for row in rows if row["file"].endswith(kind)] for kind in RUNTIMES}
    return [
        *rows,
        *(
            {"what": "share measured", "format": kind, "files": len(part),
             "measured": float(np.mean([bool(row["ms"]) for row in part]))}
            for kind, part in kinds.items() if part
        ),
    ]  # fmt: skip


def ran(file: Path, read: dict[str, Any], out: Path) -> dict[str, Any]:
    """Milliseconds of a file by runtime, in `ms`, and why other runtimes did not measure it, in `reasons`, with the
    first of `SIZES`, from the one with which it was read, that a runtime measures."""
    if not read["read"]:
        return {"ms": {}, "reasons": {"reader": read["reason"]}}
    first: dict[str, Any] = {}
    for attempt in range(int(read["sizes"]), len(SIZES)):
        found = timed(file, SIZES[attempt], out)
        first = first or {**found, "sizes": attempt}
        if found["ms"]:
            return {**found, "sizes": attempt}
    return first


def timed(file: Path, sizes: dict[str, int], out: Path, batch: int = 1) -> dict[str, Any]:
    """What `measure run` says of a file; a file that fixes its batch is run with that batch."""
    flags = [word for name, value in sizes.items() for word in ("--size", f"{name}={value}")]
    journal = out / "measured" / f"{hashlib.sha256(file.read_bytes()).hexdigest()[:12]}.jsonl"
    backends = ",".join(f"{runtime}:fp32:{batch}" for runtime in RUNTIMES[file.suffix])
    command = [sys.executable, "-m", "measure", "run", "--onnx", str(file), "--backend", backends, "--protocol",
               "layer", "--timing.timeout", "300", "--journal", str(journal), *flags]  # fmt: skip
    journal.unlink(missing_ok=True)
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=1200)
    rows = [json.loads(line) for line in journal.read_text().splitlines()] if journal.is_file() else []
    found = {row["device"]["runtime"]: row for row in rows}
    reasons = {name: row["error"][:300] for name, row in found.items() if "error" in row}
    fixed = re.search(r"has runs of (\d+) samples", " ".join(reasons.values()))
    if fixed and batch == 1:
        return timed(file, sizes, out, int(fixed[1]))
    reasons |= {} if found else {"measure": (done.stderr.strip().splitlines() or [""])[-1][:300]}
    notes = sorted({note for row in found.values() for note in row.get("notes", [])})
    return {"ms": {name: row["raw_ms"] for name, row in found.items() if "error" not in row}, "reasons": reasons,
            "notes": notes, "precision": next((row["device"]["precision"] for row in rows), "")}  # fmt: skip


def run(out: Path) -> list[dict]:
    """One row for each of sixty networks: milliseconds on onnxruntime, OpenVINO and torch, each of which had to compute
    what onnxruntime computes without optimisations; then the shares of networks that run."""
    journal = out / "run.json"
    rows = json.loads(journal.read_text()) if journal.is_file() else []
    for name in NETWORKS:
        if all(row["network"] != name for row in rows):
            rows.append({"what": "run", "network": name, **_printed([name, "--run"])})
            print(rows[-1], flush=True)
            write_text(journal, json.dumps(rows, indent=1))
    shares = {name: float(np.mean([name in row.get("ms", {}) for row in rows])) for name in RUN_ON}
    every = float(np.mean([len(row.get("ms", {})) == len(RUN_ON) for row in rows]))
    return [*rows, {"what": "runs", "networks": len(rows), **shares, "all": every}]


def _read(out: Path) -> Iterator[tuple[Path, dict]]:
    """Each different network of the wheels with its row of the part packages."""
    known = {row["digest"]: row for row in _rows(out) if row.get("what") == "file" and "digest" in row}
    if not known:
        raise InputError("Run the part packages first: it finds the sizes of each file.")
    for _, file, digest in different(out / "wheels"):
        if digest in known:
            yield file, known[digest]


def _rows(out: Path) -> list[dict]:
    """Rows of parts that were run before."""
    path = out / "summary.json"
    found: list[dict] = json.loads(path.read_text()) if path.is_file() else []
    return found


def summary(out: Path) -> list[dict]:
    """What the fuzzer found in damaged files."""
    path = out / "fuzz.json"
    if not path.is_file():
        raise InputError(f"There is no {path}; run `python -m studies run files`.")
    counts = json.loads(path.read_text())
    return [{"what": "damaged", "cases": sum(counts["cases"].values()), "found": sum(n for *_, n in counts["found"])}]


def check(part: str = "packages,priced,measured,networks,run,memory,bounds", out: Path = Path("runs/files")) -> None:
    """Run the parts and write what they find.

    Args:
        part: which of packages, priced, measured, networks, run, memory, bounds, summary, separated by commas.
        out: folder of wheels, of what was done and of summary.json; rows of parts that are not run stay as they are.
    """
    functions = (packages, priced, measured, networks, run, summary)
    parts = {function.__name__: partial(function, out) for function in functions}
    run_parts(parts | {"memory": partial(scores, out), "bounds": bounds}, part, out)


if __name__ == "__main__":
    main(check, prog="python -m studies.files.study")
