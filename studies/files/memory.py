"""Peak memory and creation of sessions, measured and predicted: part `memory` of studies.files.study.

Every network is loaded and run in a process of its own on onnxruntime, OpenVINO (ONNX files) and LiteRT (TFLite
files): those of the packages and of torchvision, timm and transformers, some of the latter with their weights in a
second file, nine published networks and forty random ones. Half of them, by the SHA-256 of the package's or the
network's name, choose the coefficients of predictors/networks/session.json; the other half is scored:

    python -m studies.files.memory --fit true    # writes session.json from runs/files/memory.jsonl
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from datasets.cli import main
from datasets.files.writing import write_text
from datasets.networks.memory import memory
from datasets.networks.model import Model
from datasets.networks.network import SMALLEST, Network
from datasets.networks.reading import read_model
from datasets.networks.sizes import Sizes
from datasets.records import InputError
from datasets.spaces import parse_space
from measure.backends import parse_backend
from measure.base import Backend, Built
from measure.campaign import distinct_sample
from measure.inputs import draw
from measure.outputs import Expected
from measure.peak import Stages, measure_peak
from predictors.networks.session import COEFFICIENTS, CREATION, LOADING, MB, RUNNING, coefficients, features, peak_mb
from studies.files.choose import HERE
from studies.files.zoo import NETWORKS

RUNTIMES = ("ort", "openvino", "litert")
FORMATS = {"ort": (".onnx", ""), "openvino": (".onnx", ""), "litert": (".tflite", "")}
"""Suffixes of the files that a runtime gets; none are networks of a space."""
SPACES = {"zoo": 9, "convnet": 40}
"""Number of networks of each space."""
BESIDE = 4
"""Every fourth exported network is measured with its weights in a second file, too."""
LEAST = 2.0
"""MB that errors are a share of where a network takes less: a fresh process is repeatable to some 0.3 MB."""

Subject = tuple[str, str, str, Callable[[], Model]]
"""The set that a network belongs to, its name, the name that chooses its half, and a function that reads it."""


def measured(out: Path) -> list[dict[str, Any]]:
    """One row for each network and runtime, appended to memory.jsonl; goes on where it stopped."""
    path = out / "memory.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    done = {(row["runtime"], row["name"]) for row in rows}
    with path.open("a") as journal:
        for group, name, chosen, read in subjects(out):
            for runtime in RUNTIMES:
                if (runtime, name) not in done and Path(name).suffix in FORMATS[runtime]:
                    rows.append({"set": group, "name": name, "half": half(chosen), "runtime": runtime})
                    rows[-1] |= _measured(parse_backend(runtime), read)
                    journal.write(json.dumps(rows[-1]) + "\n")
                    journal.flush()
                    print(runtime, name, {key: rows[-1].get(key) for key in ("peak", "error")}, flush=True)
    return rows


def half(name: str) -> str:
    """The half that a package or a network belongs to."""
    return ("choose", "score")[hashlib.sha256(name.encode()).digest()[0] % 2]


def _measured(backend: Backend, read: Callable[[], Model]) -> dict[str, Any]:
    try:
        model = read()
        found, base = measure_peak(backend, partial(_built, backend, model)), _smallest(backend.runtime)
    except Exception as error:  # a runtime's, or a refusal: the row says which
        return {"error": f"{type(error).__name__}: {error}"[:300]}
    row = {
        "loading": found.loading - base.loading,
        "loaded": found.loaded - base.loaded,
        "peak": found.peak - base.peak,
    }
    size = model.source.stat().st_size if model.source else None
    return {**row, "init_ms": found.init_cpu_ms, "file": size, "network": model.network.to_json()}


def _built(backend: Backend, model: Model, folder: Path) -> Built:
    """The model's own file, if the runtime takes it, without the outputs that it should have."""
    own = backend.own_file(model)
    if own is None:
        return backend.built(model, folder)
    return Built(own, draw(model, backend.batch, 0), Expected([]), own=True)


@cache
def _smallest(runtime: str) -> Stages:
    backend = parse_backend(runtime)
    return measure_peak(backend, partial(backend.built, SMALLEST))


def subjects(out: Path) -> Iterator[Subject]:
    """All networks, each once."""
    from studies.files.study import unpacked

    seen = set[str]()
    for package in json.loads((HERE / "packages.json").read_text()):
        for file in unpacked(package, out / "wheels"):
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            if digest not in seen:
                seen.add(digest)
                yield "files", str(file.relative_to(out)), package["name"], partial(_sized, file)
    for number, name in enumerate(NETWORKS):
        if (file := exported(name, out / "exported")) is not None:
            yield "networks", file.name, name, partial(read_model, file)
            if number % BESIDE == 0:
                beside = _beside(file, out / "beside")
                yield "beside", f"beside/{file.name}", name, partial(read_model, beside)
    for text, count in SPACES.items():
        space = parse_space(text)
        for arch in space.all() if text == "zoo" else distinct_sample(space, count, 0):
            yield "spaces", arch.key, arch.key, partial(Model, space.expand(arch))


def _sized(file: Path) -> Model:
    """A file's network with the first of the study's sizes that fit."""
    from studies.files.study import SIZES

    for sizes in SIZES:
        try:
            return read_model(file, sizes=Sizes(size=" ".join(f"{name}={value}" for name, value in sizes.items())))
        except InputError as error:
            last = error
    raise last


def exported(name: str, folder: Path) -> Path | None:
    """A network of the zoo as an ONNX file; None if it cannot be exported."""
    path = folder / f"{name.replace(':', '_')}.onnx"
    if not path.is_file() and not path.with_suffix(".failed").is_file():
        import torch

        from studies.files.zoo import made

        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        try:
            torch.onnx.export(*made(name), part, dynamo=False, verbose=False)
            part.replace(path)
        except Exception as error:  # the exporter's, of many kinds
            write_text(path.with_suffix(".failed"), f"{type(error).__name__}: {error}")
    return path if path.is_file() else None


def _beside(file: Path, folder: Path) -> Path:
    """The same network with its weights in a second file."""
    import onnx

    path = folder / file.name
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        onnx.save(onnx.load(file), path, save_as_external_data=True, location=f"{file.stem}.bin")
    return path


# Coefficients


def quantities(row: dict[str, Any]) -> dict[str, float]:
    """The features of a row's network."""
    network = Network.from_json(row["network"])
    return features(network, row["runtime"], None) | ({"file": row["file"] / MB} if row["file"] else {})


def fitted(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Coefficients of one runtime: every stage by least absolute relative errors, none below 0."""
    known = [quantities(row) for row in rows]
    values = {name: np.array([row[name] for row in rows]) for name in ("loading", "loaded", "peak", "init_ms")}
    found: dict[str, Any] = {
        stage: _regressed(_columns(known, LOADING), values[stage], LOADING, LEAST) for stage in ("loading", "loaded")
    }
    found["creation"] = _regressed(_columns(known, CREATION), values["init_ms"], CREATION, 1.0)

    def loss(running: Sequence[float]) -> float:
        trial = found | {"running": dict(zip(RUNNING, running, strict=True))}
        return float(np.mean(relative_errors([peak_mb(one, trial) for one in known], values["peak"])))

    found["running"] = dict(zip(RUNNING, _descended(loss), strict=True))
    return found


def _columns(known: Sequence[dict[str, float]], names: Sequence[str]) -> np.ndarray:
    return np.array([[one[name] for name in names] for one in known])


def _regressed(x: np.ndarray, y: np.ndarray, names: Sequence[str], least: float) -> dict[str, float]:
    """Non-negative coefficients of the least mean of absolute errors, relative to the value or `least`."""
    from scipy.optimize import nnls

    scale = np.maximum(y, least)
    weights = 1 / scale
    for _ in range(50):
        found, _ = nnls(x * weights[:, None], y * weights)
        weights = 1 / scale / np.sqrt(np.maximum(np.abs(x @ found - y) / scale, 0.05))
    return dict(zip(names, np.round(found, 4).tolist(), strict=True))


def _descended(loss: Callable[[Sequence[float]], float]) -> list[float]:
    """Three coefficients of 0 or more with the least loss, from several starts."""
    from scipy.optimize import minimize

    starts = ([1.0, 0.5, 0.05], [1.0, 0.1, 0.02], [0.8, 1.0, 0.1], [2.0, 0.0, 0.05])
    results = [minimize(lambda p: loss(np.abs(p)), start, method="Nelder-Mead") for start in starts]
    return np.round(np.abs(min(results, key=lambda result: result.fun).x), 4).tolist()


# Scores


def relative_errors(predicted: Sequence[float], true: Sequence[float], least: float = LEAST) -> np.ndarray:
    """Absolute errors as shares of the true values, or of `least` where these are smaller."""
    y = np.asarray(true)
    return np.abs(np.asarray(predicted) - y) / np.maximum(y, least)


def alternatives(row: dict[str, Any]) -> dict[str, float]:
    """Peaks in MB by rules without coefficients."""
    network = Network.from_json(row["network"])
    needs = memory(network)
    return {
        "weights": needs.weights / MB,
        "weights and activations": (needs.weights + needs.activations) / MB,
        "twice the weights, and activations": (2 * needs.weights + needs.activations) / MB,
    }


def scores(out: Path) -> list[dict[str, Any]]:
    """Errors of the half that is scored, by runtime and set, beside those of rules without coefficients."""
    rows = [row for row in measured(out) if "error" not in row and row["half"] == "score"]
    found = []
    for runtime in RUNTIMES:
        fit = coefficients()[runtime]
        here = [row for row in rows if row["runtime"] == runtime]
        for group in ("all", *dict.fromkeys(row["set"] for row in here)):
            part = [row for row in here if group in ("all", row["set"])]
            known, peaks = [quantities(row) for row in part], [row["peak"] for row in part]
            methods = {"predicted": [peak_mb(one, fit) for one in known]}
            others = [alternatives(row) for row in part]
            methods |= {name: [other[name] for other in others] for name in others[0]}
            for method, values in methods.items():
                errors = relative_errors(values, peaks)
                row = {"what": "peak", "runtime": runtime, "set": group, "method": method, "networks": len(part)}
                found.append(row | {"median": float(np.median(errors)), "p90": float(np.quantile(errors, 0.9))})
            times = [sum(fit["creation"][name] * one[name] for name in CREATION) for one in known]
            errors = relative_errors(times, [row["init_ms"] for row in part], 1.0)
            row = {"what": "creation", "runtime": runtime, "set": group, "networks": len(part)}
            found.append(row | {"median": float(np.median(errors)), "p90": float(np.quantile(errors, 0.9))})
    return found


def fit(fit: bool = False, out: Path = Path("runs/files")) -> None:
    """Measure all networks, and choose the coefficients or print the errors of both halves.

    Args:
        fit: write the coefficients of predictors/networks/session.json anew.
        out: folder of the networks and of memory.jsonl.
    """
    from measure.host import machine_name

    rows = [row for row in measured(out) if "error" not in row and row["half"] == "choose"]
    found = dict(coefficients()) if COEFFICIENTS.is_file() else {}
    for runtime in RUNTIMES:
        part = [row for row in rows if row["runtime"] == runtime]
        if fit:
            versions = parse_backend(runtime).versions()
            found[runtime] = {"host": machine_name(), "versions": versions, "networks": len(part), **fitted(part)}
        errors = relative_errors([peak_mb(quantities(row), found[runtime]) for row in part], [r["peak"] for r in part])
        print(f"{runtime}: {len(part)} networks that choose, median error {100 * np.median(errors):.1f} %")
    if fit:
        write_text(COEFFICIENTS, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(fit, prog="python -m studies.files.memory")
