"""Command line of predictors: `python -m predictors {predict,layerwise,score,export,show,compare,choose,adapt,transfer,
summarise}`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets.cli import main
from datasets.records import UNITS, InputError, find_device
from predictors.base import Predictor


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
    from predictors.layerwise import LayerwisePredictor
    from predictors.price import draw, price, read_network

    predictor = LayerwisePredictor.load(file)
    where = find_device(predictor.devices_, device) if device else None
    predictor.position(where)  # before a large file is read
    told = price(predictor, read_network(network, batch), where)
    print(told.text())
    out.parent.mkdir(parents=True, exist_ok=True)
    draw(told).savefig(out, dpi=130)
    print(f"drawn: {out}")


def layerwise(
    out: Path = Path("runs/layers/predictor.pt"),
    layer: Predictor | None = None,
    tables: Path = Path("datasets/bundled"),
    networks: str = "zoo,convnet",
    devices: str = "",
) -> None:
    """Learn the tables of single layers and write one file that prices any network: `predict --network` reads it.

    Args:
        out: the file.
        layer: what learns each kind of layer, a file of configs/predictors; by default boosted trees.
        tables: folder of convolution.parquet, pooling.parquet and dense.parquet.
        networks: tables of whole networks in the same folder that correct the sums of layers, separated by commas; '':
            none.
        devices: the names of devices to learn, separated by commas; by default all that the layers' tables share.
    """
    from predictors.layer_costs import LAYERS
    from predictors.layerwise import LayerwisePredictor, read_tables

    chosen = [name for name in devices.split(",") if name]
    layers = dict(zip(LAYERS, read_tables(tables, LAYERS, chosen), strict=True))
    whole = read_tables(tables, [name for name in networks.split(",") if name], chosen)
    predictor = LayerwisePredictor.of(layer) if layer else LayerwisePredictor()
    predictor.fit(layers, whole, log=lambda message, **numbers: print(message))
    out.parent.mkdir(parents=True, exist_ok=True)
    predictor.save(out)
    print(f"{out}: prices networks on {', '.join(device.name for device in predictor.devices_)}")


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


def compare(folder: Path, claims: Path | None = None) -> None:
    """Compare all runs in a folder: prints the ranking, writes summary.json, report.html, best.pt and best.onnx.

    Args:
        folder: holds the run folders, as runs/bundled does.
        claims: a file of configs/claims: what the study must show; written to claims.json with its values.
    """
    from predictors.claims import check_claims, verdict
    from predictors.compare import compare as judge

    ranked, best = judge(folder)
    print("Means over devices and seeds, all cells. val_spearman ranks; the other columns are of the test set.\n")
    print(ranked.to_string(index=False, float_format="%.4g", na_rep="undefined"))
    if ranked["val_spearman"].isna().any():
        print("\nundefined: a constant prediction ranks nothing; such predictors come last.")
    if claims is not None:
        print()
        print(*map(verdict, check_claims(claims, folder)), sep="\n")
    print(f"\nbest:     {best.name}\nreport:   {folder / 'report.html'}\nexported: {folder / 'best.onnx'}")


def choose(file: Path, n: int = 10, archs: Path | None = None, seed: int = 0, space: str = "convnet") -> None:
    """Print the architectures to measure on a new device, one a line: a file for `python -m measure run --archs`.

    Args:
        file: a predictor.pt that can adapt, fitted on other devices; or a file that `layerwise` wrote.
        n: how many.
        archs: a file of the architectures to choose among, one a line; by default 2,000 random connected ones.
        seed: of what is drawn.
        space: of the networks to choose among, for a file that `layerwise` wrote; others know theirs.
    """
    import numpy as np

    predictor, rng = _adaptable(file, space), np.random.default_rng(seed)
    own = predictor.space_
    if archs is not None and not archs.is_file():
        raise InputError(f"There is no file {archs}; it should hold one architecture a line.")
    pool = own.parse(archs.read_text().split()) if archs is not None else own.sample(2000, rng)
    pool = pool[np.unique(pool.decisions, axis=0, return_index=True)[1]]
    pool = pool[np.flatnonzero(own.connected(pool) & own.feasible(pool))]
    print("\n".join(predictor.choose(pool, n, rng).keys))


def _adaptable(file: Path, space: str) -> Any:
    """A saved predictor that adapts; one of any networks is shown those of `space`."""
    from datasets.spaces import parse_space
    from predictors.base import Adaptable, read_checkpoint
    from predictors.layerwise import LayerwisePredictor

    saved = read_checkpoint(file)
    if isinstance(saved, dict) and "layers" in saved:
        networks = LayerwisePredictor.load(file)
        networks.space_ = parse_space(space)
        return networks
    predictor = Predictor.load(file)
    if not isinstance(predictor, Adaptable):
        raise InputError(f"{file} cannot adapt to a new device; fit one of configs/predictors/conditioned.yaml.")
    return predictor


def adapt(file: Path, measurements: Path, out: Path, device: str = "", space: str = "convnet") -> None:
    """Adapt a predictor to a new device by a few measurements, and save what answers for that device.

    Args:
        file: a predictor.pt that can adapt, fitted on other devices; or a file that `layerwise` wrote.
        measurements: a table of `python -m measure table` (.parquet), or a .csv with the columns key and value.
        out: the predictor.pt to write.
        device: which device of the table (needed where it has several), or the name of the .csv's.
        space: of the measured networks, for a file that `layerwise` wrote.
    """
    import time

    from predictors.few_measurements import read_few

    predictor = _adaptable(file, space)
    few = read_few(measurements, device, predictor.space_, predictor.metric)
    start = time.perf_counter()
    adapted = predictor.adapt(few)
    seconds = time.perf_counter() - start
    adapted.save(out)
    print(f"{out}: answers for {few.devices[0].name}; {len(few.architectures)} measurements, {1000 * seconds:.0f} ms")


def transfer(
    predictor: Predictor | None = None,
    sets: Path = Path("configs/device_sets/nasflat.yaml"),
    device_set: str = "",
    study: Path = Path("runs/transfer"),
    name: str = "",
    cells: int = 900,
    shots: list[int] = [20],  # noqa: B006  (jsonargparse reads it; nobody changes it)
    draws: int = 10,
    sampler: str = "own",
    seed: int = 0,
    sources: int = 0,
    sweep: Path | None = None,
) -> bool:
    """Fit a predictor on the source devices of a set, adapt it to each of its targets, score it on all other
    architectures; one run folder with the rows. A run that is complete is skipped.

    Args:
        predictor: one that can adapt (a file of configs/predictors).
        sets: the file of device sets.
        device_set: the name of the set in it.
        study: the folder of run folders.
        name: what rows call the predictor; by default its class.
        cells: architectures measured on each source device.
        shots: numbers of samples of a target; 0: its published numbers only.
        draws: of the samples.
        sampler: own, random or fixed.
        seed: of source cells and draws.
        sources: only so many of the source devices, drawn by the seed; 0: all.
        sweep: alone, instead of all other flags: run every combination of a sweep file that is not complete yet.

    Returns:
        Whether anything was to be done.
    """
    from predictors.cross_device import run
    from predictors.sweep import run_sweep

    if sweep is not None:
        run_sweep(sweep, lambda flags: main(transfer, "python -m predictors transfer", flags), program="predictors")
        return True
    if predictor is None or not device_set:
        raise InputError("Name a --predictor and a --device_set, or a --sweep of them.")
    settings = {"cells": cells, "shots": shots, "draws": draws, "sampler": sampler, "seed": seed, "sources": sources}
    return run(predictor, sets, device_set, study, name or type(predictor).__name__.lower(), settings)


def summarise(folder: Path, claims: Path | None = None) -> None:
    """Gather the runs of a cross-device study: prints the table, writes summary.json, report.html and claims.json.

    Args:
        folder: holds the run folders of `transfer`.
        claims: a file of configs/claims: what the study must show.
    """
    from predictors.claims import check_claims, verdict
    from predictors.transfer_report import gather

    print("Mean Spearman over targets, draws and seeds.\n")
    print(gather(folder).to_string(float_format="%.3f", na_rep=""))
    if claims is not None:
        print()
        print(*map(verdict, check_claims(claims, folder)), sep="\n")
    print(f"\nreport:   {folder / 'report.html'}")


if __name__ == "__main__":
    import sys

    commands: list[Callable[..., Any]] = [predict, layerwise, score, export, show, compare, choose, adapt, summarise]
    if sys.argv[1:2] == ["transfer"]:  # its predictor is a flag, as train.py's
        main(transfer, prog="python -m predictors transfer", arguments=sys.argv[2:])
    else:
        main([*commands, transfer], prog="python -m predictors", positional=True)
