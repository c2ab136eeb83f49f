"""Edits of ten networks on this machine: predicted gains, and those measured in turns with the network itself.

The simple alternative takes the share of multiply-accumulates that an edit saves for its gain. Predictions are of the
named device; a gain is a ratio, so that the speed of this machine does not matter, but its processor does.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from datasets.files.writing import write_text
from datasets.machine import machine_name
from datasets.measured import Measured
from datasets.networks.analysis import totals
from datasets.networks.network import Network
from datasets.records import Networks
from gnomon.advise import advise
from gnomon.compare import TABLES
from gnomon.verify import measured_gain
from measure.backends import parse_backend
from predictors.networks.price import read_network
from studies.decide.language import DEVICE

ZOO = ("zoo:resnet18", "zoo:mobilenet_v1", "zoo:mobilenet_v2", "zoo:squeezenet")
PUBLIC = ("mobilenet_v3_large", "efficientnet_b0", "regnet_y_400mf", "mnasnet1_0", "lcnet_100", "densenet121")
"""Networks of the bundled table of public networks."""
NEAR = 0.2
"""Largest relative error of a gain that counts as right."""


def advice(out: Path) -> list[dict]:
    """One row per edit, and one of all; goes on where it was stopped."""
    journal, rows = out / "advice.json", list[dict]()
    measured = json.loads(journal.read_text()) if journal.is_file() else []
    backend = parse_backend("ort")
    for name, network in _networks().items():
        found = advise(network, DEVICE)
        for each in found.edits:
            named: dict = {"network": name, "kind": each.kind, "edit": each.edit}
            old = next((old for old in measured if named.items() <= old.items()), None)
            if old is None:
                own = replace(backend, precision=each.device.precision)
                gain = measured_gain(found.base, each.network, backend, own)
                measured.append(old := named | {"measured": gain, "host": machine_name()})
                write_text(journal, json.dumps(measured))
            fewer = 1 - totals(each.network)["macs"] / totals(found.base)["macs"]
            rows.append(old | {"gain": each.gain, "low": each.low, "high": each.high, "simple": fewer})
            print(rows[-1], flush=True)
    return [*rows, _summary(rows)]


def _summary(rows: list[dict]) -> dict:
    """Shares of edits whose gain is right, and of networks whose best edit is predicted to be the best."""
    gain, simple, low, high, measured = (
        np.array([row[name] for row in rows]) for name in ("gain", "simple", "low", "high", "measured")
    )
    names, near = np.array([row["network"] for row in rows]), NEAR * np.abs(measured)
    each = [names == name for name in dict.fromkeys(names.tolist())]
    first = {by: [measured[own].argmax() == values[own].argmax() for own in each]
             for by, values in (("gain", gain), ("simple", simple))}  # fmt: skip
    return {
        "network": "all",
        "edits": len(rows),
        "within": float((np.abs(gain - measured) <= near).mean()),
        "simple_within": float((np.abs(simple - measured) <= near).mean()),
        "off": float(np.abs(gain - measured).mean()),
        "simple_off": float(np.abs(simple - measured).mean()),
        "inside": float(((low <= measured) & (measured <= high)).mean()),
        "first": float(np.mean(first["gain"])),
        "simple_first": float(np.mean(first["simple"])),
        "host": machine_name(),
    }


def _networks() -> dict[str, Network]:
    """The ten networks by name."""
    public = Networks.of(Measured(TABLES / "networks.parquet").measurements().architectures)
    by_name = {network.key.partition(".")[0]: network for network in public}
    return {name: read_network(name) for name in ZOO} | {name: by_name[name] for name in PUBLIC}
