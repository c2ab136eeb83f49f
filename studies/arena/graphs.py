"""Graphs of timm's networks: `python -m studies.arena.graphs` writes datasets/bundled/graphs/timm.parquet, so that the
arena runs without timm.

Each network is made and exported on torch's meta device, for the image sizes of the benchmark tables. Where the MACs of
the tables are not those of the graph (names whose definition changed, sizes that belong to other rows) it is left out.
Needs torchvision and timm in the environment, and `python -m datasets fetch timm`.
"""

from __future__ import annotations

import contextlib
import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.cli import main
from datasets.records import InputError
from studies.files.zoo import declare_operators

if TYPE_CHECKING:
    from datasets.networks.network import Network


def export(name: str, side: int) -> tuple[Network, str]:
    """The network of a name for square images, and the module of timm that defines it.

    Raises:
        InputError: torch cannot export it.
    """
    import timm
    import torch

    from datasets.networks.torch_module import read_module

    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = timm.create_model(name, pretrained=False).eval()
        if module.default_cfg["input_size"][-1] != side:
            with contextlib.suppress(TypeError):  # networks with learnt positions are made for one size
                module = timm.create_model(name, pretrained=False, img_size=side).eval()
        network = read_module(module, torch.zeros(1, 3, side, side), key=name)
    return network, timm.models.model_entrypoint(name).__module__.rpartition(".")[2]


def fits(network: Network, gmacs: float) -> bool:
    """Whether the tables' 10^9 multiply-accumulates are those of a graph, with products of activations or, as in the
    tables for some networks, without."""
    from datasets.networks.analysis import totals
    from datasets.networks.ops import macs, params
    from datasets.public.timm import CLOSE, ROUNDING

    with_weights = 0
    for op, sources in zip(network.ops, network.sources(), strict=True):
        if sources and (params(op, network.shape(sources[0])) or op.kind in ("conv", "dense")):
            with_weights += op.attrs.get("times", 1) * macs(op, network.shape(sources[0]))
    found = (totals(network)["macs"] / 1e9, with_weights / 1e9)
    return any(abs(value - gmacs) <= CLOSE * gmacs + ROUNDING for value in found)


def graphs(
    journal: Path = Path("runs/arena/timm.jsonl"),
    out: Path = Path("datasets/bundled/graphs/timm.parquet"),
    limit: int | None = None,
) -> None:
    """Export the networks of timm's benchmark tables and write their graphs; goes on where it was stopped.

    Args:
        journal: file that a row per network is appended to.
        out: the Parquet file to write.
        limit: largest number of networks.
    """
    import pandas as pd

    from datasets.files.writing import whole_file
    from datasets.public.timm import read_tables

    declare_operators()
    tables = read_tables()
    listed = tables.groupby(["model", "side"])["gmacs"].median().sort_values().reset_index()
    rows: list[dict[str, Any]] = []
    if journal.exists():
        rows = [json.loads(line) for line in journal.read_text().splitlines() if line.endswith("}")]
    done = {(row["model"], row["side"]) for row in rows}
    journal.parent.mkdir(parents=True, exist_ok=True)
    with journal.open("a") as stream:
        for model, side, gmacs in listed.itertuples(index=False):
            if (model, side) in done or (limit is not None and len(rows) >= limit):
                continue
            row: dict[str, Any] = {"model": model, "side": int(side)}
            try:
                network, family = export(model, int(side))
            except (InputError, RuntimeError, AssertionError) as error:
                row["reason"] = " ".join(str(error).split())[:200]
            else:
                row |= {"family": family}
                row |= {"network": network.to_json()} if fits(network, gmacs) else {"reason": "other MACs"}
            rows.append(row)
            stream.write(json.dumps(row) + "\n")
            stream.flush()
            print(f"{len(rows)} of {len(listed)}: {model}, {side}: {row.get('reason', 'fits')}", file=sys.stderr)
    kept = pd.DataFrame([row for row in rows if "network" in row]).merge(listed, on=["model", "side"])
    out.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(out) as part:
        kept.to_parquet(part, compression="zstd", compression_level=19, index=False)
    print(f"{len(kept)} of {len(listed)} networks of {kept['family'].nunique()} families are in {out}.")


if __name__ == "__main__":
    main(graphs, prog="python -m studies.arena.graphs")
