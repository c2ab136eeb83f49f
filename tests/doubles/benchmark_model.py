"""A stand-in for LiteRT's benchmark_model that tests push to their made-up phone: same flags, same report.

It runs the file with ai_edge_litert on this host. The CPU time of the fastest of ten runs counts as one, so that what
else the host does matters little. `script.json` beside it may make it fail:

- partial: so many of ten operators are left to the CPU (10: all of them);
- crash: the name of a signal; error: text and exit status 1; truncate: so many characters of the report are cut off;
- silent: it does not know --output_filepath, as old ones; slow: it stops after that many runs;
- wrong: its outputs are off; old: the report's format without `INFO: ` and percentiles.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def statistics(times: list[float], old: bool) -> str:
    """A line as TensorFlow's Stat prints it; times in microseconds."""
    whole = [max(1, round(t)) for t in times]
    ranked = sorted(whole)
    shares = {} if old else {"p5": 0.05, "median": 0.5, "p95": 0.95}
    percentiles = "".join(f" {name}={ranked[int(share * (len(whole) - 1))]}" for name, share in shares.items())
    if len(set(whole)) == 1:
        return f"count={len(whole)} curr={whole[-1]}{percentiles}"
    return (
        f"count={len(whole)} first={whole[0]} curr={whole[-1]} min={min(whole)} max={max(whole)} "
        f"avg={np.mean(whole):.6g} std={int(np.std(whole))}{percentiles}"
    )


def main(program: str, *arguments: str) -> None:
    flags = dict(argument.removeprefix("--").split("=", 1) for argument in arguments)
    path = Path(program).with_name("script.json")
    faults = json.loads(path.read_text()) if path.exists() else {}
    info = "" if faults.get("old") else "INFO: "
    lines = ["STARTING!", f"Graph: [{flags['graph']}]", f"Loaded model {flags['graph']}"]
    if "crash" in faults:
        os.kill(os.getpid(), getattr(signal, faults["crash"]))
    if "error" in faults:
        print(f"ERROR: {faults['error']}")
        sys.exit(1)
    start = time.process_time()
    interpreter = Interpreter(flags["graph"], num_threads=int(flags["num_threads"]))
    interpreter.allocate_tensors()
    (x,), (y,) = interpreter.get_input_details(), interpreter.get_output_details()
    for name in ("GPU", "NNAPI"):
        if flags.get(f"use_{name.lower()}") == "true":
            lines += delegated(name, faults.get("partial", 0))
    init = (time.process_time() - start) * 1e6
    value = np.zeros(x["shape"], x["dtype"])
    if "input_layer_value_files" in flags:
        assert flags["input_layer"] == x["name"] and flags["input_layer_shape"] == ",".join(map(str, x["shape"]))
        value = np.fromfile(flags["input_layer_value_files"].split(":")[1], x["dtype"]).reshape(x["shape"])
    interpreter.set_tensor(x["index"], value)
    times = []
    warmup, runs = int(flags["warmup_runs"]), min(int(flags["num_runs"]), faults.get("slow", 10**6))
    for _ in range(warmup + runs):
        starts = []
        for _ in range(10):
            starts.append(time.process_time())
            interpreter.invoke()
        times.append(float(np.diff([*starts, time.process_time()]).min()) * 1e6)
    if "output_filepath" in flags and not faults.get("silent"):
        output = interpreter.get_tensor(y["index"])
        Path(flags["output_filepath"]).write_bytes((output[::, ::-1] if faults.get("wrong") else output).tobytes())
    warm, timed = ([max(1, round(t)) for t in part] for part in (times[:warmup], times[warmup:]))
    running = "Running benchmark for at least {} iterations but terminate if exceeding 150 seconds."
    lines += [
        f"Initialized session in {init / 1e3:.6g}ms.",
        running.format(warmup),
        statistics(times[:warmup], bool(faults.get("old"))) + "\n",
        running.format(runs),
        statistics(times[warmup:], bool(faults.get("old"))) + "\n",
        f"Inference timings in us: Init: {round(init)}, First inference: {warm[0]}, Warmup (avg): {np.mean(warm):.6g}, "
        f"Inference (avg): {np.mean(timed):.6g}",
        "Memory footprint delta from the start of the tool (MB): init=7.40234 overall=7.83203",
    ]
    text = "".join(f"{info}{line}\n" for line in lines)
    sys.stdout.write(text[: len(text) - faults.get("truncate", 0)])


def delegated(name: str, left: int) -> list[str]:
    """The output of benchmark_model about a delegate that leaves some of ten operators to the CPU."""
    replaced = f"Replacing {10 - left} out of 10 node(s) with delegate (TfLiteDelegate) node, yielding 1 partitions."
    applied = f"Explicitly applied {name} delegate, and the model graph will be"
    if left == 0:
        return [replaced, f"{applied} completely executed by the delegate."]
    if left < 10:
        return [replaced, f"{applied} partially executed by the delegate w/ 2 delegate kernels."]
    return [f"Though {name} delegate is explicitly applied, the model graph will not be executed by the delegate."]


if __name__ == "__main__":
    main(*sys.argv[1:])
