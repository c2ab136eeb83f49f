"""What a saved predictor says, and of itself: `predict`, `score`, `export`, `show`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets.records import UNITS, InputError, find_device


def predict(
    file: Path,
    device: str = "",
    arch: str = "",
    archs: Path | None = None,
    network: Path | None = None,
    batch: int | None = None,
    out: Path = Path("runs/network.png"),
    level: float = 0.0,
) -> None:
    """Print what a predictor says, one number a line (an .onnx file needs no torch); or, of a file that `layerwise`
    wrote, what a network costs layer by layer.

    Args:
        file: a predictor.pt or predictor.onnx.
        device: name of a device it was fitted on; may be left out where there is only one.
        arch: one architecture, in the text form of the predictor's space.
        archs: a file of architectures instead, one a line.
        network: an ONNX or .keras file instead, whose layers are priced.
        batch: images a run of that network, where its file leaves them open; by default 1.
        out: picture that the network's layers are drawn to (.png).
        level: 0.9 also prints the ends of the interval that a new measurement falls into with probability 0.9; of a
            predictor.pt that knows how sure it is.
    """
    from predictors.base import Uncertain
    from predictors.export import load_predictor

    if network is not None:
        if arch or archs:
            raise InputError("Name a network with --network or architectures with --arch or --archs, not both.")
        _predict_network(file, network, device, batch, out)
        return
    predictor = load_predictor(file)
    if level and not isinstance(predictor, Uncertain):
        raise InputError(f"{file} knows no intervals; leave --level out, or adapt a Conditioned predictor.")
    known = predictor.devices_
    if not device and len(known) > 1:
        raise InputError(f"Name a device with --device; {file} answers for: {', '.join(d.name for d in known)}.")
    where = find_device(known, device) if device else (known[0] if known else None)
    if bool(arch) == bool(archs):
        raise InputError("Name one architecture with --arch, or a file of them with --archs.")
    if archs is not None and not archs.is_file():
        raise InputError(f"There is no file {archs}; it should hold one architecture a line.")
    asked = predictor.space_.parse(archs.read_text().split() if archs is not None else [arch])
    values = predictor.predict(asked, where)
    unit = UNITS.get(predictor.metric, "")
    if level and isinstance(predictor, Uncertain):
        low, high = predictor.predict_interval(asked, where, level)
        for value, a, b in zip(values, low, high, strict=True):
            print(f"{value:.6g} {unit} ({a:.6g} to {b:.6g})")
        return
    for value in values:
        print(f"{value:.6g} {unit}".strip())


def _predict_network(file: Path, network: Path, device: str, batch: int | None, out: Path) -> None:
    from datasets.figures import check_picture, write_figure
    from predictors.layers.layerwise import LayerwisePredictor
    from predictors.layers.price import draw, price, read_network

    check_picture(out)
    predictor = LayerwisePredictor.load(file)
    where = find_device(predictor.devices_, device) if device else None
    predictor.position(where)  # before a large file is read
    told = price(predictor, read_network(network, batch), where)
    print(told.text())
    write_figure(draw(told), out)
    print(f"drawn: {out}")


def score(file: Path, out: Path, limit: int = 0) -> None:
    """Write what a predictor says of its whole space to a Parquet file, one architecture a row and one column a device.

    Args:
        file: a predictor.pt or predictor.onnx; the latter needs no torch.
        out: the Parquet file; it appears when it is whole.
        limit: the first so many architectures of the space only; 0: all.
    """
    from tqdm import tqdm

    from datasets.enumeration import write_parquet
    from datasets.records import Architectures
    from predictors.export import load_predictor

    predictor = load_predictor(file)
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
    """Write a saved predictor as ONNX and check that both say the same.

    Args:
        file: a predictor.pt.
        out: the .onnx file to write.
    """
    from predictors.base import Predictor
    from predictors.export import export as write

    write(Predictor.load(file), out)
    print(f"{out}: checked against {file} on 200 random architectures")


def show(file: Path) -> None:
    """Print what a predictor file says about itself: configuration, devices, split, scores, versions.

    Args:
        file: a predictor.pt or predictor.onnx.
    """
    import yaml

    from predictors.base import Predictor
    from predictors.export import load_predictor

    predictor = load_predictor(file)
    meta = predictor.metadata() if isinstance(predictor, Predictor) else predictor.meta
    told = {**meta, "devices": [d["name"] for d in meta["devices"]]}
    told["scores"] = [
        f"{row['set']} {row['device']}: n {row['n']}, spearman {row['spearman']}, within_10 {row['within_10']}"
        for row in meta.get("scores", [])
        if row["cells"] == "all"
    ]
    print(yaml.safe_dump(told, sort_keys=False, width=120), end="")
