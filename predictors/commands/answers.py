"""Commands on one saved predictor: `predict`, `score`, `export`, `show`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from datasets.files.writing import check_writable
from datasets.networks.sizes import Sizes
from datasets.records import UNITS, Architectures, Device, InputError, find_device
from predictors.networks.price_request import Shown, Wanted, batches_of, check_request, names_of


def predict(
    file: Path,
    device: str = "",
    arch: str = "",
    archs: Path | None = None,
    network: str | None = None,
    batch: int | str | None = None,
    out: Path | None = None,
    level: float | None = None,
    sizes: Sizes = Sizes(),
    shown: Shown = Shown(),
) -> None:
    """Print predictions of architectures, one per line; or what networks cost.

    One network on one device is printed layer by layer if `layerwise` wrote the file, others as a table.

    Args:
        file: a predictor.pt or predictor.onnx; the latter needs no torch. By default the pricer that Gnomon has, where
            --network is given.
        device: name of a fitted device; for networks several, separated by commas, or by default all.
        arch: one architecture, in the text form of the predictor's space.
        archs: a file of architectures instead, one per line.
        network: networks instead, for a predictor of networks: .onnx, .keras, .tflite, .pt2 or .param files,
            SPACE:ARCHITECTURE (for example zoo:resnet18), or torch:MODULE:CALLABLE, which imports that module; several
            are separated by spaces or commas. One that cannot be priced is named at the end, with exit status 2.
        batch: batch size of networks, where it is free; by default 1. Several, such as 1,4,16, give a curve.
        out: picture of one network's layers to write (.png); by default none.
        level: probability of prediction intervals, for example 0.9; they are printed if given, and for networks by
            default (0.9). Not all predictors have intervals.
        sizes: free sizes of a network's file besides the batch; several values give a table.
        shown: how the prices of networks are shown.
    """
    from datasets.figures import check_picture
    from datasets.files.reading import existing, read_words
    from predictors.base import Uncertain
    from predictors.export import load_predictor
    from predictors.metrics import plain

    if level is not None and not 0 < level < 1:
        raise InputError(f"--level {level} must lie between 0 and 1, as 0.9 does.")
    batches = batches_of(batch)
    if network is not None:
        from datasets.networks.reading import SUFFIXES

        if arch or archs:
            raise InputError("Name a network with --network or architectures with --arch or --archs, not both.")
        if not (names := names_of(str(network))):
            raise InputError("--network names no network; name a file, or SPACE:ARCHITECTURE as in zoo:resnet18.")
        if out is not None:
            check_picture(out)
        if len(names) == 1 and names[0].endswith(SUFFIXES) and not shown.json:
            existing(Path(names[0]), "name a network's file")  # before a predictor is loaded
        wanted = Wanted(names, device, batches, sizes, level, out)
        predictor = load_predictor(file, lambda described: check_request(described, str(file), wanted))
        from predictors.networks.pricing import predict_networks

        predict_networks(predictor, str(file), wanted, shown)
        return
    if (batch, out, sizes, shown) != (None, None, Sizes(), Shown()):
        raise InputError(
            "--batch, --out, --shape, --size, --trips, --images, --sort and --json are of a network's; name its file "
            "with --network."
        )
    from predictors.new_devices.few_measurements import parse_keys

    if bool(arch) == bool(archs):
        raise InputError("Name one architecture with --arch, a file of them with --archs, or networks with --network.")
    words = [arch] if archs is None else read_words(archs, "it should hold one architecture a line")
    found = list[tuple[Device | None, Architectures]]()

    def check(described: Any) -> None:
        where = _device(described, device, file)
        found.append((where, parse_keys(words, described.space_, archs or "--arch")))

    predictor = load_predictor(file, check)
    if level is not None and not isinstance(predictor, Uncertain):
        raise InputError(f"{file} has no intervals; leave --level out, or adapt a Conditioned predictor.")
    ((where, requested),) = found
    values = predictor.predict(requested, where)
    unit = UNITS.get(predictor.metric, "")
    _warn(predictor, values, unit)
    if level is not None and isinstance(predictor, Uncertain):
        low, high = predictor.belief(requested, where).interval(level)
        for value, a, b in zip(values, low, high, strict=True):
            print(f"{plain(value, 6)} {unit} ({plain(a, 6)} to {plain(b, 6)})")
        return
    for value in values:
        print(f"{plain(value, 6)} {unit}".strip())


def _warn(predictor: Any, values: np.ndarray, unit: str) -> None:
    """Warn on stderr of predictions that do not rest on measurements."""
    from predictors.unsupported import doubts, unsupported

    for sentence in [*doubts(predictor), *unsupported(predictor, values, unit)]:
        print(f"warning: {sentence}", file=sys.stderr)


def _device(predictor: Any, device: str, file: Path) -> Device | None:
    """The device that `--device` names, or the only one of a predictor; None for a predictor of no device."""
    known = predictor.devices_
    if not device and len(known) > 1:
        raise InputError(f"Name a device with --device; {file} answers for: {', '.join(d.name for d in known)}.")
    return find_device(known, device) if device else (known[0] if known else None)


def score(file: Path, out: Path, limit: int = 0) -> None:
    """Write predictions of a whole space to a Parquet file, one row per architecture and one column per device.

    Args:
        file: a predictor.pt or predictor.onnx; the latter needs no torch.
        out: the Parquet file, written whole or not at all.
        limit: only the first `limit` architectures of the space; 0: all.
    """
    from tqdm import tqdm

    from datasets.enumeration import write_parquet
    from predictors.export import load_predictor

    if limit < 0:
        raise InputError(f"--limit has to be 0 or more, not {limit}.")
    check_writable(out, file)
    predictor = load_predictor(file)
    _warn(predictor, np.empty(0), "")
    names = [device.name for device in predictor.devices_] or [predictor.metric]

    def columns(archs: Architectures) -> dict[str, Any]:
        return {"key": archs.keys, **dict(zip(names, predictor.predict_all(archs).T, strict=True))}

    archs = predictor.space_.all()
    archs = archs[:limit] if limit else archs
    with tqdm(total=len(archs), unit="row", unit_scale=True, disable=None) as bar:
        for rows in write_parquet(archs, out, columns):
            bar.update(rows)
    print(f"{len(archs):,} architectures of {archs.space} in {out}")


def export(file: Path, out: Path) -> None:
    """Write a saved predictor as ONNX and check that both predict the same.

    Args:
        file: a predictor.pt.
        out: the .onnx file to write.
    """
    from predictors.base import Predictor
    from predictors.export import export as write

    check_writable(out, file)
    write(Predictor.load(file), out)
    print(f"{out}: checked against {file} on 200 random architectures")


def _short(value: Any) -> Any:
    """Plain containers with numbers of four significant digits."""
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_short(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def show(file: Path) -> None:
    """Print the metadata of a predictor file: configuration, devices, split, scores, versions.

    Args:
        file: a predictor.pt or predictor.onnx.
    """
    import yaml

    from predictors.base import Predictor
    from predictors.export import load_predictor

    predictor = load_predictor(file)
    meta = predictor.metadata() if isinstance(predictor, Predictor) else predictor.meta
    shown = {**meta, "devices": [d["name"] for d in meta["devices"]]}
    shown["scores"] = [
        f"{row['set']} {row['device']}: n {row['n']}, spearman {row['spearman']}, within_10 {row['within_10']}"
        for row in _short(meta.get("scores", []))
        if row["cells"] == "all"
    ]
    if "scale" in meta:
        shown["scale"] = _short(meta["scale"])
    split = meta.get("split")
    fields = split.get("init_args") if isinstance(split, dict) else None
    if isinstance(fields, dict) and fields.get("test") == 0:
        shown["split"] = {**meta["split"], "init_args": {**fields, "test": "all others"}}
    print(yaml.safe_dump(shown, sort_keys=False, width=120), end="")
