"""The study of measurements: `python -m studies.measure.study --out runs/measure` writes summary.json, one row per
finding.

The parts keep journals in the folder and continue where they were stopped. Nothing else should run on the machine at
that time, except where a part loads a core itself.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from datasets.cli import main
from datasets.networks.network import of_key
from datasets.networks.parts import label
from datasets.records import InputError
from measure.campaign import read_journal
from studies.parts import run_parts
from studies.study import ROOT

TINY = "nasbench201(channels=4,cells=1)"
KILLED_CELLS = 40


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "measure", *map(str, arguments)]


def available(names: str) -> list[str]:
    """The backends of a list that can run here; reasons why others cannot are printed on stderr."""
    from measure.backends import parse_backend

    found = []
    for name in names.split(","):
        try:
            parse_backend(name, "check")
            found.append(name)
        except InputError as error:
            print(error, file=sys.stderr)
    return found


# kill -9


def kill_campaign(journal: Path, kills: int, seed: int = 0, cells: int = KILLED_CELLS) -> dict[str, int]:
    """A real campaign of some cells, killed `kills` times at random moments, then run to its end. The moments are
    uniform over three times the duration of the first row, so most of them are while it measures and writes.

    Returns:
        kills; rows at the end; lost: rows that were announced or in the journal at a kill and were missing later, or
        were never measured; doubled: duplicate rows; torn: final lines that are no rows.
    """
    rng = random.Random(seed)
    log = journal.with_suffix(".log")
    run = command("run", "--space", TINY, "--limit", cells, "--journal", journal)
    start = time.monotonic()
    subprocess.run([*run, "--limit", "1"], cwd=ROOT, check=True, capture_output=True)
    longest = 3 * (time.monotonic() - start)
    seen = journal.read_bytes().splitlines()
    lost = done = 0
    while done < kills:
        with log.open("wb") as file:
            process = subprocess.Popen([*run, "--timing.repeats", "1000"], cwd=ROOT, stdout=file, stderr=file)
            try:
                process.wait(rng.uniform(0, longest))
                raise RuntimeError(f"the campaign ended by itself: {log.read_text()}")
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
        done += 1
        lines = (
            journal.read_bytes().split(b"\n")[:-1] if journal.exists() else []
        )  # text after the last line break is torn
        announced = sum(b" ms (raw " in line for line in log.read_bytes().splitlines())
        lost += sum(before != after for before, after in zip(seen, lines, strict=False))
        lost += max(0, len(seen) + announced - len(lines))
        seen = lines
    passes = max(1, -(-len(seen) // cells))
    subprocess.run([*run, "--timing.repeats", str(passes)], cwd=ROOT, check=True, capture_output=True)
    lines = journal.read_bytes().split(b"\n")
    names, torn = [], int(lines[-1] != b"")
    for line in lines[:-1]:
        try:
            row = json.loads(line)
            names.append((row["key"], row["repeat"]))
        except ValueError:
            torn += 1
    lost += sum(before != after for before, after in zip(seen, lines, strict=False))
    lost += passes * cells - len(set(names))
    doubled = len(names) - len(set(names))
    return {"kills": done, "rows": len(names), "lost": lost, "doubled": doubled, "torn": torn}


def kill(out: Path, kills: int) -> list[dict]:
    journal = out / "kill.jsonl"
    journal.unlink(missing_ok=True)
    return [{"what": "kill -9", **kill_campaign(journal, kills)}]


# Repeatability


@contextmanager
def busy(core: int) -> Iterator[None]:
    """Keep one core busy with a process."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        os.sched_setaffinity(process.pid, {core})
        yield
    finally:
        process.kill()
        process.wait()


def repeatability(out: Path, backends: str, blocks: int, apart: float, cells: int = 20) -> list[dict]:
    """Cells measured in several blocks, `apart` seconds from each other, on one core while another is busy."""
    from measure.table import repeatability as summarise
    from measure.table import to_table

    core, other, *_ = [*sorted(os.sched_getaffinity(0)), -1, -1]
    if other < 0:
        print("repeatability: not available here, because it needs two cores", file=sys.stderr)
        return []
    rows = []
    for name in available(backends):
        journal = out / f"repeatability_{name.replace(':', '_')}.jsonl"
        with busy(other):
            for block in range(1, blocks + 1):
                held = len(read_journal(journal)) if journal.exists() else 0
                run = command("run", "--backend", name, "--limit", cells, "--timing.repeats", block, "--core", core)
                subprocess.run([*run, "--journal", str(journal)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
                if block < blocks and len(read_journal(journal)) > held:
                    time.sleep(apart)
        table, meta = to_table(read_journal(journal))
        (summary,) = summarise(table[table["metric"] == "latency_ms"]).to_dict("records")
        rows.append({"what": "repeatability", "backend": name, **summary, "unstable": meta["left_out"]["unstable"]})
    return rows


# The harness


def overhead(rounds: int = 15) -> list[dict]:
    """Overhead of the harness for a network of about 1 ms relative to a bare loop in the same rounds: `percent` of the
    reported time per run, `total_percent` of the total time for as many runs."""
    from datasets.spaces.nasbench201 import NasBench201
    from measure.backends.ort import OnnxRuntime

    space = NasBench201(cells=4)
    key = "|nor_conv_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"
    backend = OnnxRuntime()
    session = backend.session(space.expand(space.parse([key])[0]))
    timing, runs = replace(backend.timing, max_rounds=1), 0

    def run() -> None:
        nonlocal runs
        runs += 1
        session.run()

    found = []
    for _ in range(rounds):
        runs, start = 0, time.process_time()
        repeats = timing(run, run)
        whole = time.process_time() - start
        start = time.process_time()
        for _ in range(runs):
            session.run()
        bare = time.process_time() - start
        inside = 1000 * bare / runs
        reported = repeats.clocks[:, [1, 3]].mean()
        found.append((inside, 100 * (reported / inside - 1), 100 * (whole / bare - 1)))
    ms, percent, total = np.median(found, axis=0)
    return [{"what": "harness overhead", "network_ms": ms, "percent": percent, "total_percent": total}]


# Commands


def runs(out: Path, backends: str, limit: int) -> list[dict]:
    """`python -m measure doctor`, and `run` on each backend: exit status and number of failed rows."""
    doctor = subprocess.run(command("doctor"), cwd=ROOT, capture_output=True, text=True)
    print(doctor.stdout, doctor.stderr, file=sys.stderr)
    rows: list[dict] = [{"what": "doctor", "status": doctor.returncode}]
    for name in backends.split(","):
        journal = out / f"run_{name.replace(':', '_')}.jsonl"
        start = time.monotonic()
        run = command("run", "--space", "nasbench201", "--backend", name, "--limit", limit, "--journal", journal)
        done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True)
        held = read_journal(journal) if journal.exists() else []
        failed = sum("error" in row for row in held)
        row = {"what": "run", "backend": name, "status": done.returncode, "rows": len(held), "failed": failed}
        rows.append(row | {"seconds": time.monotonic() - start})
        if done.returncode:
            print(done.stderr, file=sys.stderr)
    return rows


def zoo(out: Path, backends: str, limit: int = 8) -> list[dict]:
    """The zoo's networks on several runtimes in one command."""
    journal = out / "zoo.jsonl"
    names = available(backends)
    run = command("run", "--space", "zoo", "--backend", ",".join(names), "--limit", limit, "--journal", journal)
    done = subprocess.run(run, cwd=ROOT, stdout=subprocess.DEVNULL)
    held = read_journal(journal) if journal.exists() else []
    good = [row for row in held if "error" not in row]
    counts = {"networks": len({row["key"] for row in good}), "devices": len({row["device"]["name"] for row in good})}
    return [{"what": "zoo", "status": done.returncode, **counts, "rows": len(good), "failed": len(held) - len(good)}]


def lookup(out: Path, networks: str, backends: str, *flags: object) -> list[dict]:
    """Whole networks compared with the sums of their layers: one row per network, backend and way of summing, or a row
    with the reason why there is no sum.

    Args:
        out: folder of the journals and of the command's results.
        networks: networks of the zoo.
        backends: backends; those that cannot run here are skipped.
        flags: further flags of `python -m measure lookup`.
    """
    rows: list[dict] = []
    for name in available(backends):
        for network in networks.split(","):
            file = out / f"lookup_{network}_{name.replace(':', '_')}.json"
            journal = out / f"lookup_{name.replace(':', '_')}.jsonl"
            run = command("lookup", "--space", "zoo", "--arch", network, "--backend", name, *flags)
            done = subprocess.run([*run, "--journal", str(journal), "--out", str(file)], cwd=ROOT)
            failed = [row for row in read_journal(journal) if "error" in row and row["space"] == "layers"]
            if done.returncode == 2 and failed:  # a layer that cannot be run alone: no sum
                why = {"layer": label(of_key(failed[-1]["key"])), "why": failed[-1]["error"]}
                rows.append({"what": "no sum", "network": network, "backend": name, **why})
                continue
            done.check_returncode()
            found = json.loads(file.read_text())
            about = {key: found[key] for key in ("network", "device", "entries", "different", "call_ms")} | {
                "backend": name
            }
            rows += [
                {"what": "lookup", "sum": total["what"], **about, "ms": total["ms"], "sd": total["sd"],
                 "error": total["error"], "absolute_error": abs(total["error"])} for total in found["sums"]
            ]  # fmt: skip
    return rows


def check(
    out: Path = Path("runs/measure"),
    part: str = "overhead,kill,repeatability,run,zoo,lookup",
    kills: int = 50,
    blocks: int = 6,
    apart: float = 60,
    limit: int = 20,
    repeatable: str = "ort,litert",
    backends: str = "ort,litert,openvino,eager,keras",
    zoo_backends: str = "ort,litert,openvino,eager",
    networks: str = "resnet50,nasnet_mobile",
    summed: str = "ort",
) -> None:
    """Run the parts and write what they find.

    Args:
        out: folder of journals and of summary.json; rows of parts that are not run are kept.
        part: names of parts, separated by commas.
        kills: number of kills of a campaign.
        blocks: number of blocks of measurements whose medians are compared.
        apart: seconds between blocks.
        limit: number of architectures that `measure run` measures on each backend.
        repeatable: backends whose repeatability is measured.
        backends: backends of `measure run`.
        zoo_backends: backends on which the zoo is measured.
        networks: networks of the zoo that are measured whole and as sums of layers.
        summed: backends on which they are measured.
    """
    parts = {
        "overhead": lambda: overhead(),
        "kill": lambda: kill(out, kills),
        "repeatability": lambda: repeatability(out, repeatable, blocks, apart),
        "run": lambda: runs(out, backends, limit),
        "zoo": lambda: zoo(out, zoo_backends),
        "lookup": lambda: lookup(out, networks, summed, "--reasons", "true"),
    }
    run_parts(parts, part, out)


if __name__ == "__main__":
    main(check, prog="python -m studies.measure.study")
