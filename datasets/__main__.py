"""Command line of the data sets: `python -m datasets {list,fetch,describe,show,enumerate,leti}`."""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from pathlib import Path
from typing import Literal

from datasets.cli import main, one_sentence

# isort: split
import datasets
from datasets import public
from datasets.base import Dataset
from datasets.files.writing import check_writable, write_text
from datasets.measured import Measured
from datasets.opening import with_datasets
from datasets.public.fetch import MIRROR, Source
from datasets.public.fetch import fetch as download
from datasets.records import InputError, Measurements


def sources() -> dict[str, Source]:
    """Every public source: a module of `datasets.public` that has a `SOURCE`."""
    modules = (importlib.import_module(f"{public.__name__}.{m.name}") for m in pkgutil.iter_modules(public.__path__))
    found = [module.SOURCE for module in modules if hasattr(module, "SOURCE")]
    return {source.name: source for source in found}


def list_() -> None:
    """List the bundled tables and the public sources with how many of their files are here."""
    for path in _bundled():
        print(f"bundled   {path.name:24} measured by this project")
    for source in sources().values():
        here = f"{len(source.present())} of {len(source.files)} files in {source.path('.')}"
        print(f"public    {source.name:24} {here}; {source.licence}, {source.repository} @ {source.commit[:8]}")


def fetch(name: str, mirror: str = MIRROR) -> None:
    """Download a public source at its pinned commit; what is already here and whole is left alone.

    Args:
        name: of the source, as `list` shows it.
        mirror: a server with the same paths.
    """
    known = sources()
    if name not in known:
        raise InputError(f"There is no source '{name}'; known are {', '.join(known)}.")
    paths = download(known[name], mirror)
    print(f"{len(paths)} files of {name} are whole, in {known[name].path('.')}")


def describe(data: Dataset | Literal["bundled"], metric: str | None = None, out: Path | None = None) -> None:
    """Print what a data set holds, and how alike its devices rank architectures.

    Of each device the range, ties and gaps, and how repeatable its values are; then Spearman between devices, and with
    MACs, bytes and kernels.

    Args:
        data: the data set: a .yaml of configs/datasets, a .parquet of `measure table`, a .csv, or several of these
            separated by commas; or bundled: every table that Gnomon measured itself.
        metric: which of its metrics; by default latency_ms, exe_ms or the first that it has.
        out: a folder to draw it in too: distributions.png, and rank_correlation.png where there are two devices.
    """
    if isinstance(data, Dataset):
        _describe(data.measurements(), metric, out)
        return
    for path in _bundled():
        _describe(Measured(path).measurements(), metric, out and Path(out) / path.stem)
        print("\n")


def _bundled() -> list[Path]:
    return sorted((Path(datasets.__path__[0]) / "bundled").glob("*.parquet"))


def _describe(m: Measurements, metric: str | None, out: Path | None) -> None:
    import numpy as np
    import pandas as pd

    from datasets.figures import distributions, rank_correlation, spearman, write_figure

    known = m.table["metric"].unique()
    metric = metric or next((name for name in ("latency_ms", "exe_ms") if name in known), known[0])
    matrix = m.matrix(metric)
    devices = m.devices if matrix.shape[1] == len(m.devices) else ()
    names = [d.name for d in devices] or ["no device"]
    values = pd.DataFrame(matrix, columns=names)
    print(f"{m.name}: {len(m.architectures)} architectures of {m.architectures.space}, fingerprint {m.fingerprint()}")
    print(f"metrics: {', '.join(sorted(known))}; of {metric}:\n")
    summary = values.describe().T[["count", "min", "50%", "max"]].rename(columns={"50%": "median"})
    summary["distinct"] = values.nunique()
    summary.insert(0, "family", [device.family for device in devices] or "")
    if {"repeats", "cv"} <= set(m.table.columns) and (m.table["repeats"] > 1).any():
        repeated = m.table[(m.table["metric"] == metric) & (m.table["repeats"] > 1)]
        cv = repeated.groupby(repeated["device"].map(dict(enumerate(names))))["cv"]
        summary["cv %"], summary["worst cv %"] = 100 * cv.median(), 100 * cv.max()
    print(summary.to_string(float_format="%.4g"))
    if len(names) > 1:
        print(f"\nSpearman between devices, {metric}:")
        rho = pd.DataFrame(spearman(matrix), index=names, columns=names)
        print(rho.to_string(float_format="%.3f"))
    totals = m.architectures.space.totals(m.architectures).drop(columns="flops")  # twice the MACs
    against = spearman(np.column_stack([matrix, totals]))[: len(names), len(names) :]
    print(f"\nSpearman with what the networks are made of, {metric}:")
    told = pd.DataFrame(against, index=names, columns=totals.columns)
    print(told.to_string(float_format="%.3f"))
    if out is None:
        return
    figures = {"distributions.png": distributions}
    if values.notna().any().sum() > 1:
        figures["rank_correlation.png"] = rank_correlation
    print()
    for file, draw in figures.items():
        write_figure(draw(m, metric), Path(out) / file, bbox_inches="tight")
        print(f"wrote {Path(out) / file}")


def enumerate_(space: str, out: Path | None = None, hash: bool = False, totals: bool = False) -> None:
    """Write all architectures of a space to a Parquet file, one a row; the row's number is its place in the space.

    Args:
        space: with its skeleton: nasbench101 or nasbench201(cells=1,channels=16).
        out: the file, by default runs/<space>.parquet.
        hash: add the benchmark's own MD5 (NAS-Bench-101 has one).
        totals: add MACs, FLOPs, parameters, bytes and kernels of the expanded networks.
    """
    from tqdm import tqdm

    from datasets.enumeration import described, write_parquet
    from datasets.spaces import parse_space

    archs = parse_space(space).all()
    out = out or Path(f"runs/{space.partition('(')[0]}.parquet")
    with tqdm(total=len(archs), unit="row", unit_scale=True, disable=None) as bar:
        for rows in write_parquet(archs, out, described(archs.space, hash, totals)):
            bar.update(rows)
    print(f"{len(archs):,} architectures of {archs.space} in {out}")


def show(file: str, batch: int | None = None) -> None:
    """Print what a network is made of and what it costs in theory.

    Args:
        file: the .onnx file (weights beside it are read where they stand), .keras or .tflite file; or
            SPACE:ARCHITECTURE as zoo:resnet18; or torch:MODULE:CALLABLE, which imports that module.
        batch: images a run, where the network leaves them open; by default 1.
    """
    import pandas as pd

    from datasets.networks.analysis import totals, uncounted
    from datasets.networks.ops import VOCABULARY, macs, params
    from datasets.networks.reading import of_batch, read_model

    model = read_model(file, batch, weights=False, modules=True)
    network = of_batch(model.network, batch)
    size = network.batch or 1
    rows = []
    for op, sources in zip(network.ops[1:], network.sources()[1:], strict=True):
        shape = network.ops[sources[0]].attrs["shape"] if sources else ()
        rows.append((op.kind, 1, params(op, shape), size * macs(op, shape)))
    table = pd.DataFrame(rows, columns=["op", "count", "parameters", "MACs"]).groupby("op").sum()
    print(f"{network.key}: input {'x'.join(map(str, (size, *network.ops[0].attrs['shape'])))}\n")
    print(table.sort_values("MACs", ascending=False, kind="stable").to_string(), "\n")
    for name, value in totals(network).items():
        print(f"{name:12} {value:>16,}")
    for note in model.notes:
        print(f"\nNote: {note}")
    foreign = sorted(set(table.index) - VOCABULARY)
    for kind, count in uncounted(network).items():
        print(f"\nWarning: the MACs of {count} x {kind} are not known and not counted above.")
    print(f"\nOutside the vocabulary, so only counted: {', '.join(foreign)}" if foreign else "\nAll ops are known.")


def leti(data: Dataset, out: Path, metric: str = "latency_ms") -> None:
    """Write measurements of NAS-Bench-101 cells as LETI stores them; `datasets.leti.Leti` reads them back.

    Args:
        data: the data set, as in `describe`.
        out: the JSON file.
        metric: which of its metrics.
    """
    from datasets.leti import to_leti

    check_writable(out, getattr(data, "path", ""))
    content = to_leti(data.measurements(), metric)
    write_text(out, json.dumps(content))
    print(f"{len(content['networks']):,} networks on {len(content['devices'])} devices in {out}")


if __name__ == "__main__":
    list_.__name__, enumerate_.__name__ = "list", "enumerate"
    with one_sentence("python -m datasets"):
        named = sys.argv[1:2] in (["describe"], ["leti"])
        arguments = with_datasets(sys.argv[1:], ("", "--data")) if named else sys.argv[1:]
        main([list_, fetch, describe, show, enumerate_, leti], "python -m datasets", arguments, positional=True)
