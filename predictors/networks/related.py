"""Devices that measured some layers only: a runtime in another precision, or on more threads.

A device with tables of all layers, of the same machine and runtime, in fp32 and on one thread, has the costs of layers.
The related device multiplies its coefficients by the median ratios of the layers and operations that both measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datasets.files.table_file import read_table
from datasets.measured import located
from datasets.records import Device
from predictors.base import Log, silent
from predictors.networks.calibration import Calibration
from predictors.networks.coefficients import LIKE
from predictors.networks.layer_sum import LayerSum
from predictors.networks.learnt import LAYERS, Learnt
from predictors.networks.operation_costs import OTHER, TERMS
from predictors.networks.operations import OPERATIONS
from predictors.networks.table_files import base_name, scaled_to

if TYPE_CHECKING:
    import pandas as pd

TWO_THREADS = "layers_two_threads"
"""Name of the table of layers and operations of all kinds on two threads."""
FEWEST = 5
"""Number of layers that give a ratio."""
LONG = 4
"""Multiple of a session from which on a layer's time shows its work."""
_FOLLOW = {"roofline": "convolution", **LIKE, "moved": OTHER, "smooth": OTHER, "stepped": OTHER}
"""Terms with the ratio of another term, if there is one."""


def with_related(
    predictor: LayerSum, folder: Path, devices: Sequence[str] = (), log: Log = silent,
    references: Mapping[str, float] | None = None,
) -> LayerSum:  # fmt: skip
    """A copy that also predicts for the devices of a folder that measured some layers only.

    Args:
        predictor: predictor of learnt costs, before networks calibrate it.
        folder: folder of the tables of layers and operations.
        devices: names of devices; by default all.
        log: receives progress.
        references: ms of the reference network by device, which times are multiples of; by default those of each file.
    """
    costs = predictor.layers
    assert isinstance(costs, Learnt)
    times, described = _times(folder, references or {})
    known = {device.name: s for s, device in enumerate(costs.devices)}
    added, calibrations = list[Device](), list[Calibration]()
    for name, device in described.items():
        base = base_name(name)
        if name in known or base not in known or name not in times or (devices and name not in devices):
            continue
        s = known[base]
        found = _ratios(times[[base, name]].dropna(), costs.machine[s, 2])
        if not found.keys() - {"session"}:
            continue
        factors, deviations = _by_term(found, costs.terms)
        guess = costs.guess()[s] * factors
        added.append(device)
        calibrations.append(Calibration(s, guess, costs.prior + np.diag(deviations**2), np.empty(0)))
        ratios = ", ".join(f"{term} {ratio:.2f}" for term, (ratio, _) in found.items())
        log(f"{name}: times over those of {base}: {ratios}")
    return predictor.with_devices([*predictor.devices_, *added], [*predictor.calibrations_, *calibrations])


def _times(folder: Path, references: Mapping[str, float]) -> tuple[pd.DataFrame, dict[str, Device]]:
    """Ms of layers and operations by term and key, one column per device; and the devices by name."""
    import pandas as pd

    place, frames, devices = located(folder / f"{LAYERS[0]}.parquet").parent, [], dict[str, Device]()
    names = [*LAYERS, *OPERATIONS]
    paths = [path for name in names for path in (place / f"{name}.parquet", *sorted(place.glob(f"{name}_*.parquet")))]
    for path in dict.fromkeys([*paths, place / f"{TWO_THREADS}.parquet"]):
        if not path.is_file():
            continue
        table, meta = read_table(path)
        table["value"] *= scaled_to(references, meta, table["device"])
        kind = table["space"].str.replace(r"\(.*", "", regex=True)
        whole = np.where(kind.isin(LAYERS), "exe_ms", "latency_ms")
        term = kind.map({kind: kind if kind in LAYERS else TERMS.get(kind, OTHER) for kind in names})
        frames.append(table.assign(term=term)[(table["metric"] == whole) & term.notna()])
        devices |= {device["name"]: replace(Device(**device)) for device in meta["devices"]}
    rows = pd.concat(frames)
    rows["key"] = rows["space"].str.replace(r"\(.*", "", regex=True) + rows["key"]
    return rows.pivot_table("value", ["term", "key"], "device", "median", observed=True), devices


def _ratios(pair: pd.DataFrame, session: float) -> dict[str, tuple[float, float]]:
    """Median ratio of the second column to the first, and standard deviation of its logarithm, by term; of whole
    short layers for `session`, else of the time without a session of long ones."""
    base, other = pair.to_numpy().T
    short = base < 2 * session
    found = {}
    if short.sum() >= FEWEST:
        found["session"] = _middle(other[short] / base[short])
    ended = session * found.get("session", (1.0, 0.0))[0]
    terms = pair.index.get_level_values("term").to_numpy()
    for term in dict.fromkeys(terms.tolist()):
        rows = (terms == term) & (base > LONG * session) & (other > 1.01 * ended)
        if rows.sum() >= FEWEST:
            found[term] = _middle((other[rows] - ended) / (base[rows] - session))
    return found


def _middle(ratio: np.ndarray) -> tuple[float, float]:
    logs = np.log(ratio)
    return float(np.exp(np.median(logs))), float(logs.std())


def _by_term(found: Mapping[str, tuple[float, float]], terms: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Factors [K], and the standard deviations of their logarithms [K]; terms without a ratio have the median one."""
    own = [pair for term, pair in found.items() if term != "session"]
    middle = tuple(np.median(own, axis=0).tolist())
    session = found.get("session", (1.0, 0.0))
    fixed = {"session": session, "call": session}
    rows = [fixed.get(term) or found.get(term) or found.get(_FOLLOW.get(term, "")) or middle for term in terms]
    factors, deviations = np.array(rows).T
    return factors, deviations
