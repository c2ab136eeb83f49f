"""Command line of the data sets: `python -m datasets {list,fetch,add,describe,show,enumerate,leti}`."""

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
from datasets.columns import Columns
from datasets.files.writing import check_writable, write_text
from datasets.measured import Measured
from datasets.networks.network import Network, Port
from datasets.networks.sizes import Sizes
from datasets.opening import with_datasets
from datasets.public.fetch import MIRROR, Source
from datasets.public.fetch import fetch as download
from datasets.records import InputError, Measurements


def sources() -> dict[str, Source]:
    """Public sources by name: the `SOURCE` of each module of `datasets.public` that has one."""
    modules = (importlib.import_module(f"{public.__name__}.{m.name}") for m in pkgutil.iter_modules(public.__path__))
    found = [module.SOURCE for module in modules if hasattr(module, "SOURCE")]
    return {source.name: source for source in found}


def list_() -> None:
    """List the bundled tables, and the public sources with the number of their files that are present."""
    tables, known = _bundled(), sources()
    width = max(len(name) for name in (*(path.name for path in tables), *known))
    for path in tables:
        print(f"bundled   {path.name:{width}} measured by this project")
    for source in known.values():
        here = f"{len(source.present())} of {len(source.files)} files in {source.path('.')}"
        print(f"public    {source.name:{width}} {here}; {source.licence}, {source.repository} @ {source.commit[:8]}")


def fetch(name: str, mirror: str = MIRROR) -> None:
    """Download a public source at its pinned commit; intact files are not downloaded again.

    Args:
        name: name of the source, from `list`.
        mirror: a server with equal paths.
    """
    known = sources()
    if name not in known:
        raise InputError(f"There is no source '{name}'; known are {', '.join(known)}.")
    paths = download(known[name], mirror)
    print(f"{len(paths)} files of {name} are whole, in {known[name].path('.')}")


def add(file: Path, out: Path | None = None) -> None:
    """Check a file of `python -m measure contribute` and install its table.

    All facts are computed anew from the table, and a file is refused whose facts differ.

    Args:
        file: file that somebody sent.
        out: path of the table; by default the file's name in the working folder, ending in .parquet.
    """
    from datasets.contribution import add as install
    from datasets.contribution import in_words

    out = out or Path(f"{file.name.partition('.')[0]}.parquet")
    print(f"{in_words(install(file, out))}\nadded: {out}")


def describe(data: Dataset | Literal["bundled"], metric: str | None = None, out: Path | None = None) -> None:
    """Print a summary of a data set and rank correlations of its devices.

    Per device the range, ties, gaps and repeatability of values; then Spearman's rank correlation between devices, and
    with MACs, bytes and kernels.

    Args:
        data: the data set: a .yaml of configs/datasets, a .parquet of `measure table`, a .csv, or several of these
            separated by commas; or bundled: all tables that Gnomon measured itself.
        metric: name of the metric; by default latency_ms, exe_ms or the first one.
        out: folder for figures: distributions.png, rank_correlation.png for two devices or more, and layers.png (times
            against work) for tables of single layers and operations.
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
    from datasets.layer_figures import layers_against_work, of_layers

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
    space, kind = m.architectures.space, "totals of the networks"
    if isinstance(space, Columns):
        totals, kind = pd.DataFrame(space.values(m.architectures)), "columns of numbers"
    else:
        totals = space.totals(m.architectures).drop(columns="flops")  # twice the MACs
    if len(totals.columns):
        against = spearman(np.column_stack([matrix, totals]))[: len(names), len(names) :]
        print(f"\nSpearman with {kind}, {metric}:")
        table = pd.DataFrame(against, index=names, columns=totals.columns)
        print(table.to_string(float_format="%.3f"))
    if out is None:
        return
    figures = {"distributions.png": distributions}
    if values.notna().any().sum() > 1:
        figures["rank_correlation.png"] = rank_correlation
    if of_layers(m):
        figures["layers.png"] = layers_against_work
    print()
    for file, draw in figures.items():
        write_figure(draw(m, metric), Path(out) / file, bbox_inches="tight")
        print(f"wrote {Path(out) / file}")


def enumerate_(space: str, out: Path | None = None, hash: bool = False, totals: bool = False) -> None:
    """Write all architectures of a space to a Parquet file, one per row, in the order of the space.

    Args:
        space: the space with its skeleton: nasbench101 or nasbench201(cells=1,channels=16); or a .yaml of one's own.
        out: the file, by default runs/<space>.parquet.
        hash: add the benchmark's hash (MD5, NAS-Bench-101 only).
        totals: add MACs, FLOPs, parameters, bytes and kernels of the expanded networks.
    """
    from tqdm import tqdm

    from datasets.enumeration import described, write_parquet
    from datasets.spaces import open_space

    archs = open_space(space).all()
    out = out or Path(f"runs/{Path(space.partition('(')[0]).stem}.parquet")
    with tqdm(total=len(archs), unit="row", unit_scale=True, disable=None) as bar:
        for rows in write_parquet(archs, out, described(archs.space, hash, totals)):
            bar.update(rows)
    print(f"{len(archs):,} architectures of {archs.space} in {out}")


def show(file: str, batch: int | None = None, sizes: Sizes = Sizes()) -> None:
    """Print what a network is made of and what it costs in theory; of several sizes, its totals for each.

    What ops it has, totals, element types, inputs and outputs. The totals are `macs`, `flops`, `params`, `peak_bytes`
    (the most bytes of activations that are alive at once), `moved_bytes`, `kernels`, `weight_bytes`, and
    `inplace_peak`: the peak where elementwise ops overwrite what they read.

    Args:
        file: the .onnx file (weights beside it are read where they stand), .keras, .tflite, .pt2 or
            .param (ncnn) file; or SPACE:ARCHITECTURE as zoo:resnet18; or torch:MODULE:CALLABLE, which imports that
            module.
        batch: images a run, where the network leaves them open; by default 1.
        sizes: of what else an ONNX file leaves open.
    """
    from datasets.networks.analysis import totals, uncounted
    from datasets.networks.memory import memory
    from datasets.networks.ops import ITEM, VOCABULARY, macs, params
    from datasets.networks.reading import of_batch, read_model

    if len(curve := list(sizes.each())) > 1:
        counted = []
        for one in curve:
            network = of_batch(read_model(file, batch, weights=False, modules=True, sizes=one).network, batch)
            counted.append(one.sizes() | totals(network))
        import pandas as pd

        print(f"{file}\n\n{pd.DataFrame(counted).to_string(index=False)}")
        return
    model = read_model(file, batch, weights=False, modules=True, sizes=sizes)
    network = of_batch(model.network, batch)
    import pandas as pd

    size = network.batch or 1
    rows = []
    for op, sources in zip(network.ops, network.sources(), strict=True):
        shape, times = network.shape(sources[0]) if sources else (), op.attrs.get("times", 1)
        held = 0 if op.attrs.get("tied") else params(op, shape)
        rows.append((op.kind, times, held, times * (1 if op.attrs.get("whole") else size) * macs(op, shape)))
    table = pd.DataFrame(rows, columns=["op", "count", "parameters", "MACs"]).groupby("op").sum()
    table = table.drop(["input", ITEM], errors="ignore")
    print(f"{network.key}: input {', '.join(_shape(network, port) for port in network.inputs)}\n")
    print(table.sort_values("MACs", ascending=False, kind="stable").to_string(), "\n")
    needed = memory(network)
    more = {"weight_bytes": needed.weights, "inplace_peak": needed.in_place}
    for name, value in (totals(network) | more).items():
        print(f"{name:12} {value:>16,}")
    print(f"{'types':12} {', '.join(sorted({op.attrs.get('dtype', 'float32') for op in network.ops}))}")
    for what, ports in (("input", network.inputs), ("output", network.outputs)):
        for port in ports:
            print(f"{what:12} {port.name} {_shape(network, port)} {port.dtype}")
    for note in model.notes:
        print(f"\nNote: {note}")
    foreign = sorted(set(table.index) - VOCABULARY)
    for kind, count in uncounted(network).items():
        print(f"\nWarning: the MACs of {count} x {kind} are not known and not counted above.")
    print(f"\nOutside the vocabulary, so only counted: {', '.join(foreign)}" if foreign else "\nAll ops are known.")


def _shape(network: Network, port: Port) -> str:
    """Of a whole run, as 1x3x224x224."""
    a = network.ops[port.node].attrs
    return "x".join(map(str, a["shape"] if a.get("whole") else (network.batch or 1, *a["shape"])))


def leti(data: Dataset, out: Path, metric: str = "latency_ms") -> None:
    """Write measurements of NAS-Bench-101 cells in LETI's format, which `datasets.leti.Leti` reads.

    Args:
        data: the data set: a .yaml of configs/datasets, a .parquet, a .csv, or several of these separated by commas.
        out: the JSON file.
        metric: name of the metric.
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
        main([list_, fetch, add, describe, show, enumerate_, leti], "python -m datasets", arguments, positional=True)
