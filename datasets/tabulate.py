"""`Measurements` from matrices and from tables of texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from datasets.files.reading import listed, shortened
from datasets.networks.analysis import check_network
from datasets.networks.network import FILES, KEYED_BY_JSON, Network, of_key
from datasets.records import Architectures, Device, InputError, Measurements, Networks
from datasets.spaces import parse_space

if TYPE_CHECKING:
    import pandas as pd


def rows(values: np.ndarray, metric: str = "latency_ms", measured: np.ndarray | None = None) -> pd.DataFrame:
    """The table of a matrix [A, D], device after device, without entries that were not `measured` [A, D]."""
    import pandas as pd

    device, arch = np.nonzero(np.ones(values.T.shape, bool) if measured is None else measured.T)
    return pd.DataFrame({"arch": arch, "device": device, "metric": metric, "value": values[arch, device]})


def tabulate(table: pd.DataFrame, devices: list[Device], name: str) -> Measurements:
    """`Measurements` from a table with architectures and devices as texts; a row may have no device.

    Rows of one search space are its architectures. Rows of layers, of files or of several spaces are networks; those
    of files are read from the column `network`, their JSON forms.

    Raises:
        InputError: a malformed key, a device that is not among `devices`, a bad value, files without their networks.
    """
    import pandas as pd

    pairs = pd.MultiIndex.from_frame(table[["space", "key"]])
    arch, distinct = pairs.factorize()
    spaces = table["space"].unique()
    if len(spaces) == 1 and spaces[0] not in NETWORKS:
        archs: Architectures = parse_space(spaces[0]).parse([key for _, key in distinct])
    else:
        archs = Networks(_networks(table, list(distinct), name))
    positions = {device.name: position for position, device in enumerate(devices)}
    if unknown := set(table["device"].dropna()) - set(positions):
        raise InputError(
            f"{name} has rows of device '{shortened(min(unknown), 60)}' but describes only {listed([*positions])}."
        )
    device = table["device"].map(positions).fillna(-1).astype(int)
    numbered = table.drop(columns=["space", "key", "network"], errors="ignore").assign(arch=arch, device=device)
    return Measurements(archs, devices, numbered, name)


NETWORKS = (KEYED_BY_JSON, *FILES)
"""Values of the column `space` for networks that are no architectures of a space."""


def _networks(table: pd.DataFrame, distinct: list[tuple[str, str]], name: str) -> list[Network]:
    """The networks of (space, key) pairs."""
    known: dict[tuple[str, str], str] = {}
    if "network" in table:
        given = table.dropna(subset=["network"]).drop_duplicates(["space", "key"])
        known = {(s, k): text for s, k, text in zip(given["space"], given["key"], given["network"], strict=True)}
    found = []
    for space, key in distinct:
        if (space, key) in known:
            found.append(check_network(Network.from_json(known[space, key], space, key)))
        elif space == KEYED_BY_JSON:
            found.append(check_network(of_key(key)))
        elif space in NETWORKS:
            raise InputError(
                f"{name} does not hold the network of '{shortened(key, 60)}'; measure the file again, or read its "
                "journal with `python -m measure table`."
            )
        else:
            parsed = parse_space(space)
            found.append(parsed.expand(parsed.parse([key])[0]))
    return found
