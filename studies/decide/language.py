"""Language models on this machine: three decoders with random weights, priced and measured on onnxruntime.

What is measured is the ratio to the reference network. It counts as ms at the speed of the machine that was priced:
times the reference's ms in the bundled tables of that machine. The simple alternative are the bytes of weights over the
best rate of memory, for steps, and multiply-accumulates over the best rate of computing, for prompts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.parquet

from datasets.blocks.decoder import DECODERS
from datasets.files.writing import write_text
from datasets.machine import machine_name
from gnomon.compare import TABLES
from gnomon.tokens import Tokens, tokens
from measure.backends import parse_backend
from measure.base import Backend
from measure.bench import Worker
from measure.campaign import networks
from predictors.networks.shipped import load

MODELS = ("llama_42m", "gpt2_6", "llama_15m")
DEVICE = "milan_ort_fp32_1"
"""Device of the prices; the figures hold for a machine with its processor."""


def language(out: Path) -> list[dict]:
    """One row per run of a decoder, and one for each kind of run of all; goes on where it was stopped."""
    journal, rows = out / "language.json", list[dict]()
    measured = json.loads(journal.read_text()) if journal.is_file() else []
    backend = parse_backend("ort")
    timing = replace(
        backend.timing, pairs=15, warmup=1, max_rounds=2, budget_s=1.0, single_runs=0
    )  # prompts take seconds
    backend = replace(backend, timing=timing)
    with Worker(timeout=600) as bench:
        for name in MODELS:
            for row in _runs(tokens(name, DEVICE)):
                named = {key: row[key] for key in ("model", "what", "tokens")}
                old = next((old for old in measured if named.items() <= old.items()), None)
                if old is None:
                    measured.append(old := named | _measured(row, backend, bench))
                    write_text(journal, json.dumps(measured))
                rows.append(row | old | {"measured_ms": old["ratio"] * _reference_ms()})
                print(rows[-1], flush=True)
    for what in ("prompt", "step"):
        own = [row for row in rows if row["what"] == what]
        errors = {by: [abs(row[by] / row["measured_ms"] - 1) for row in own] for by in ("predicted_ms", "simple_ms")}
        inside = float(np.mean([row["low"] <= row["measured_ms"] <= row["high"] for row in own]))
        rows.append(
            {"model": "all", "what": what, "host": machine_name(), "runs": len(own), "inside": inside,
             "error": float(np.mean(errors["predicted_ms"])), "simple_error": float(np.mean(errors["simple_ms"]))}
        )  # fmt: skip
    return rows


def _runs(found: Tokens) -> Iterator[dict]:
    """What is predicted of each run."""
    layers = load().layers
    on = [device.name for device in layers.devices].index(DEVICE)
    macs_per_ms, bytes_per_ms, _ = layers.machine[on].tolist()
    for run in found.runs:
        simple = run.macs / macs_per_ms if run.what == "prompt" else 1e6 * run.weights_mb / bytes_per_ms
        yield {"model": found.model, "what": run.what, "tokens": run.tokens, "predicted_ms": run.ms, "low": run.low,
               "high": run.high, "simple_ms": simple}  # fmt: skip


def _measured(run: dict, backend: Backend, bench: Worker) -> dict:
    """The measured fields of a run's row, which the journal keeps."""
    rows, past = (run["tokens"], 0) if run["what"] == "prompt" else (1, run["tokens"])
    with TemporaryDirectory() as folder:
        file = DECODERS[run["model"]].graph(rows, past).save(Path(folder) / "decoder.onnx")
        (subject,), prepare = networks([str(file)])
        row = bench(backend, subject, prepare)
    if "error" in row:
        raise RuntimeError(row["error"])
    names = ("ratio", "reference_ms", "deviation", "interrupted")
    return {name: row[name] for name in names} | {"host": machine_name()}


def _reference_ms() -> float:
    """Usual ms of the reference network on the priced machine: the median of the bundled tables."""
    found = [json.loads((pyarrow.parquet.read_schema(path).metadata or {}).get(b"gnomon", b"{}"))
             for path in sorted(TABLES.glob("*.parquet"))]  # fmt: skip
    return float(np.median([ms for each in found if (ms := (each.get("reference_ms") or {}).get(DEVICE))]))
