"""Commands on one saved predictor: `predict`, `score`, `export`, `show`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datasets.files.writing import check_writable
from datasets.networks.sizes import Sizes
from datasets.records import UNITS, Device, InputError, find_device


def predict(
    file: Path,
    device: str = "",
    arch: str = "",
    archs: Path | None = None,
    network: str | None = None,
    batch: int | None = None,
    out: Path | None = None,
    level: float | None = None,
    sizes: Sizes = Sizes(),
) -> None:
    """Print predictions, one per line; or the predicted cost of a network.

    The cost is printed layer by layer if `layerwise` wrote the file.

    Args:
        file: a predictor.pt or predictor.onnx; the latter needs no torch.
        device: name of a fitted device; may be omitted where there is only one.
        arch: one architecture, in the text form of the predictor's space.
        archs: a file of architectures instead, one per line.
        network: a network instead, for a predictor of networks: an .onnx, .keras or .tflite file,
            SPACE:ARCHITECTURE (for example zoo:resnet18), or torch:MODULE:CALLABLE, which imports that module.
        batch: batch size of that network, where it is free; by default 1.
        out: picture of the network's layers to write (.png); by default none.
        level: probability of prediction intervals, for example 0.9; they are printed if given, and always for a
            network (default 0.9). Not all predictors have intervals.
        sizes: free sizes of that network's file besides the batch; several values give a table.
    """
    from datasets.files.reading import read_words
    from predictors.base import Uncertain
    from predictors.export import load_predictor
    from predictors.metrics import plain
    from predictors.new_devices.few_measurements import parse_keys

    if level is not None and not 0 < level < 1:
        raise InputError(f"--level {level} must lie between 0 and 1, as 0.9 does.")
    if batch is not None and not 0 < batch < 10**6:
        raise InputError(f"A batch has 1 or more images, not --batch {batch}.")
    if network is not None:
        if arch or archs:
            raise InputError("Name a network with --network or architectures with --arch or --archs, not both.")
        level = 0.9 if level is None else level
        if len(curve := list(sizes.each())) > 1:
            _predict_curve(file, network, device, batch, level, curve, out)
        else:
            _predict_network(file, network, device, batch, level, out, sizes)
        return
    if batch is not None or out is not None or sizes != Sizes():
        raise InputError(
            "--batch, --out, --shape, --size and --trips are of a network's; name its file with --network."
        )
    predictor = load_predictor(file)
    if level is not None and not isinstance(predictor, Uncertain):
        raise InputError(f"{file} has no intervals; leave --level out, or adapt a Conditioned predictor.")
    where = _device(predictor, device, file)
    if bool(arch) == bool(archs):
        raise InputError("Name one architecture with --arch, or a file of them with --archs.")
    words = [arch] if archs is None else read_words(archs, "it should hold one architecture a line")
    requested = parse_keys(words, predictor.space_, archs or "--arch")
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
    from predictors.base import Predictor

    adapted = (predictor.metadata_ if isinstance(predictor, Predictor) else predictor.meta).get("adapted", {})
    if isinstance(adapted, dict) and adapted.get("samples") == 0:
        name = predictor.devices_[0].name
        print(
            f"warning: nothing was measured on {name}; values of other devices may be several times too large or too "
            "small here: rely on their order, or print intervals with --level 0.9.",
            file=sys.stderr,
        )
    if unit != "%" and len(values) and (below := int((values <= 0).sum())):
        print(
            f"warning: {below} of {len(values)} values are not above zero, far outside of what was measured; measure "
            "more architectures, such as `choose` names, and adapt again.",
            file=sys.stderr,
        )


def _predict_curve(
    file: Path,
    network: str,
    device: str,
    batch: int | None,
    level: float,
    curve: Sequence[Sizes],
    out: Path | None,
) -> None:
    """Print a table of the predicted cost of a network, one row per choice of its free sizes."""
    import pandas as pd

    from datasets.networks.analysis import totals
    from datasets.records import Networks
    from predictors.base import Uncertain
    from predictors.export import load_predictor
    from predictors.networks.price import read_network

    if out is not None:
        raise InputError("--out draws the layers of one network; name one size of each --size, or omit --out.")
    predictor = load_predictor(file)
    where = _device(predictor, device, file)
    _check_networks(predictor, file)
    unit, rows = UNITS.get(predictor.metric, "") or "value", list[dict[str, float]]()
    for sizes in curve:
        found = Networks([read_network(network, batch, sizes, notes=not rows)])
        row = sizes.sizes() | {
            "macs": totals(found.networks[0])["macs"],
            unit: float(predictor.predict(found, where)[0]),
        }
        if isinstance(predictor, Uncertain):
            (low,), (high,) = predictor.belief(found, where).interval(level)
            row |= {f"{100 * level:g} % from": float(low), "to": float(high)}
        rows.append(row)
    print(f"{network} on {where.name if where else 'no device'}, batch {found.networks[0].batch or 1}\n")
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.4g"))


def _check_networks(predictor: Any, file: Path) -> None:
    from datasets.networks.collection import AnyNetwork

    if not isinstance(predictor.space_, AnyNetwork):
        raise InputError(
            f"{file} predicts architectures of {predictor.space_}; name one with --arch, or a file that "
            "`python -m predictors layerwise --out FILE` wrote."
        )


def _predict_network(
    file: Path, network: str, device: str, batch: int | None, level: float, out: Path | None, sizes: Sizes
) -> None:
    """Print the cost of a network, layer by layer and drawn to `out` for a sum of layers."""
    from datasets.figures import check_picture, write_figure
    from predictors.export import load_predictor
    from predictors.networks.layer_sum import LayerSum
    from predictors.networks.price import draw, price, read_network

    if out is not None:
        check_picture(out)
    predictor = load_predictor(file)
    where = _device(predictor, device, file)  # before a large file is read
    if not isinstance(predictor, LayerSum):
        if out is not None:
            raise InputError(f"{file} is no sum of layers, so none can be drawn; omit --out.")
        _predict_whole(predictor, file, network, where, batch, level, sizes)
        return
    priced = price(predictor, read_network(network, batch, sizes, notes=True), where, level)
    if out is not None:
        write_figure(draw(priced), out)  # before the text, whose reader may close the pipe
    print(priced.text())
    if out is not None:
        print(f"drawn: {out}")


def _predict_whole(
    predictor: Any, file: Path, network: str, where: Device | None, batch: int | None, level: float, sizes: Sizes
) -> None:
    """Print the prediction of a network by a predictor of networks of any kinds, in one line, with an interval if
    any."""
    from datasets.records import Networks
    from predictors.base import Uncertain
    from predictors.metrics import plain
    from predictors.networks.price import read_network

    _check_networks(predictor, file)
    found = Networks([read_network(network, batch, sizes, notes=True)])
    (value,) = predictor.predict(found, where)
    size = found.networks[0].batch or (where.batch if where else 1)
    interval, unit = "", UNITS.get(predictor.metric, "")
    if isinstance(predictor, Uncertain):
        (low,), (high,) = predictor.belief(found, where).interval(level)
        interval = f" ({100 * level:.0f} % interval {plain(low)} to {plain(high)})"
    name = where.name if where else "no device"
    print(f"{found.keys[0]} on {name}, batch {size}: {plain(value)} {unit}".rstrip() + interval)
    _warn(predictor, np.array([value]), unit)


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
    from datasets.records import Architectures
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
        for row in meta.get("scores", [])
        if row["cells"] == "all"
    ]
    print(yaml.safe_dump(shown, sort_keys=False, width=120), end="")
