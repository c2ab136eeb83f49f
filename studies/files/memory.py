"""Peak memory and creation of sessions of many networks, each in a fresh process.

On onnxruntime and OpenVINO run the ONNX files of the packages, and the networks of torchvision, timm and transformers;
on onnxruntime also some of the latter with their weights in a second file; on LiteRT the TFLite files; on onnxruntime
and LiteRT nine published networks and random ones. Half of them, by the SHA-256 of the package's or the network's
name, choose coefficients, and the other half is scored (`studies.files.coefficients`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

from datasets.files.writing import write_text
from datasets.networks.model import Model
from datasets.networks.network import SMALLEST
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
from measure.silence import quiet
from studies.files.wheels import SIZES, different
from studies.files.zoo import NETWORKS

RUNTIMES = ("ort", "litert", "openvino")
SETS = {"files": RUNTIMES, "networks": ("ort", "openvino"), "beside": ("ort",), "spaces": ("ort", "litert")}
"""Runtimes that measure the networks of a set; files only on those that take them."""
SUFFIXES = {"ort": ".onnx", "litert": ".tflite", "openvino": ".onnx"}
SPACES = {"zoo": 9, "convnet": 32}
"""Number of networks of each space."""
BESIDE = 4
"""Every fourth exported network is measured with its weights in a second file, too."""

Subject = tuple[str, str, str, Callable[[], Model]]
"""The set that a network belongs to, its name, the name that chooses its half, and a function that reads it."""


def measured(out: Path) -> list[dict[str, Any]]:
    """One row for each network and runtime, appended to memory.jsonl; goes on where it stopped."""
    path = out / "memory.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    done = {(row["runtime"], row["name"]) for row in rows}
    found = list(subjects(out))
    with path.open("a") as journal:
        for runtime in RUNTIMES:
            for group, name, chosen, read in found:
                taken = group != "files" or name.endswith(SUFFIXES[runtime])
                if taken and runtime in SETS[group] and (runtime, name) not in done:
                    row = {"set": group, "name": name, "half": half(chosen), "runtime": runtime}
                    rows.append(row | _measured(parse_backend(runtime), read))
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
    return measure_peak(backend, partial(backend.for_reference().built, SMALLEST))


def subjects(out: Path) -> Iterator[Subject]:
    """All networks, each once."""
    for package, file, _ in different(out / "wheels"):
        yield "files", str(file.relative_to(out)), package, partial(_sized, file)
    for number, name in enumerate(NETWORKS):
        if (onnx := exported(name, out / "exported")) is not None:
            yield "networks", onnx.name, name, partial(read_model, onnx)
            if number % BESIDE == 0:
                beside = _beside(onnx, out / "beside")
                yield "beside", f"beside/{onnx.name}", name, partial(read_model, beside)
    for text, count in SPACES.items():
        space = parse_space(text)
        for arch in space.all() if text == "zoo" else distinct_sample(space, count, 0):
            yield "spaces", arch.key, arch.key, partial(Model, space.expand(arch))


def _sized(file: Path) -> Model:
    """A file's network with the first of the study's sizes that fit."""
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
            with quiet():  # it prints whole graphs
                torch.onnx.export(*made(name), part, dynamo=False, verbose=False)
            part.replace(path)
        except Exception as error:  # the exporter's, of many kinds
            write_text(path.with_suffix(".failed"), f"{type(error).__name__}: {error}")
    return path if path.is_file() else None


def _beside(file: Path, folder: Path) -> Path:
    """A copy of a network with its weights in a second file."""
    import onnx

    path = folder / file.name
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        onnx.save(onnx.load(file), path, save_as_external_data=True, location=f"{file.stem}.bin")
    return path
