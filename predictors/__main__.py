"""Command line of predictors: `python -m predictors {predict,score,export,show,compare}`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets.cli import main
from datasets.records import UNITS, InputError, find_device


def predict(file: Path, device: str = "", arch: str = "", archs: Path | None = None) -> None:
    """Print what a predictor says, one number a line. An .onnx file needs no torch.

    Args:
        file: a predictor.pt or predictor.onnx.
        device: name of a device it was fitted on; may be left out where there is only one.
        arch: one architecture, in the text form of the predictor's space.
        archs: a file of architectures instead, one a line.
    """
    from predictors.export import load_predictor

    predictor = load_predictor(file)
    known = predictor.devices_
    if not device and len(known) > 1:
        raise InputError(f"Name a device with --device; {file} answers for: {', '.join(d.name for d in known)}.")
    where = find_device(known, device) if device else (known[0] if known else None)
    if bool(arch) == bool(archs):
        raise InputError("Name one architecture with --arch, or a file of them with --archs.")
    if archs is not None and not archs.is_file():
        raise InputError(f"There is no file {archs}; it should hold one architecture a line.")
    keys = archs.read_text().split() if archs is not None else [arch]
    values = predictor.predict(predictor.space_.parse(keys), where)
    unit = UNITS.get(predictor.metric, "")
    for value in values:
        print(f"{value:.6g} {unit}".strip())


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


if __name__ == "__main__":
    main([predict, score, export, show, compare], prog="python -m predictors", positional=True)
