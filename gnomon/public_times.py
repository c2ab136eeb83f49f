"""Times of a network on machines of public tables: of ncnn's benchmark and of Qualcomm's AI Hub, predicted by the
network's price and by how the table's networks ran there.

The pricer's price is what is expected; `SettingTimes` are learnt from the ratios of the table's times to the prices of
its networks. Errors of settings of one machine are correlated accordingly.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from datasets.networks.network import Network
from datasets.records import Device, InputError, Measurements, Networks
from gnomon.joint_times import JointTimes
from predictors.new_devices.setting_times import Contributions, Runs, SettingTimes, coded

Source = Literal["ncnn", "ai-hub-models"]
"""Names of the tables, as `python -m datasets fetch` takes them."""
OTHERS = 700
"""Number of rows of other machines that are learnt from beside those of a machine."""
LENGTH, LINEAR, OWN = 1.0, 0.5, 0.3
"""Covariance of networks: length scale of their likeness, weights of what is linear in their totals and of what is a
network's own."""

PARTS = Contributions(network=0.3)
"""Variances of the logarithms of ratios of times to prices."""
PRIOR = 0.02
"""Sum of squared errors that is expected of a machine before its rows are seen, as `PARTS` say."""


@dataclass(frozen=True)
class Table:
    """The times of a public table over the prices of its networks.

    Attributes:
        devices: machines in a setting.
        machines: name of the machine of each device.
        runs: one row per time [n].
        device: numbers of the rows' devices [n].
        ratio: times over prices [n].
        totals: logarithms of totals by kind of the networks [N, F].
    """

    devices: tuple[Device, ...]
    machines: tuple[str, ...]
    runs: Runs
    device: np.ndarray
    ratio: np.ndarray
    totals: np.ndarray

    def likeness(self, further: np.ndarray) -> np.ndarray:
        """Covariances [N + M, N + M] of the networks and of M further ones, from totals of the latter [M, F]."""
        std = self.totals.std(axis=0)
        x = np.concatenate([self.totals, further]) - self.totals.mean(axis=0)
        x = x / np.where(std > 0, std, np.inf) / np.sqrt(max((std > 0).sum(), 1))
        square = ((x[:, None] - x) ** 2).sum(axis=2)
        return LINEAR * x @ x.T + np.exp(-square / (2 * LENGTH**2)) + OWN * np.eye(len(x))

    def rows(self, machine: str, number: int) -> np.ndarray:
        """Numbers of a machine's rows and of so many rows of others."""
        own = np.array([name == machine for name in self.machines])[self.device]
        others = np.random.default_rng(0).permutation(np.flatnonzero(~own))[:number]
        return np.sort(np.concatenate([np.flatnonzero(own), others]))


@cache
def machines() -> dict[str, Source]:
    """Machines of the tables that were fetched, with their table."""
    from datasets.public import ncnn
    from datasets.public.ai_hub import CHIPS, board

    names = [_machine(ncnn.device(row)) for row in ncnn.read_rows()] if _fetched("ncnn") else []
    boards = map(board, CHIPS) if _fetched("ai-hub-models") else ()
    found: dict[str, Source] = {name: "ai-hub-models" for name in boards}
    return found | {name: "ncnn" for name in names}


def _fetched(source: Source) -> bool:
    from datasets.public import ai_hub, ncnn

    there = ncnn.SOURCE if source == "ncnn" else ai_hub.SOURCE
    paths = [there.path(name) for name in there.files]
    return all(path.is_file() for path in paths) if source == "ncnn" else any(path.is_file() for path in paths)


@cache
def table(source: Source) -> Table:
    """A public table; raises `InputError` where it was not fetched."""
    from datasets.public.ai_hub import AiHub
    from datasets.public.ncnn import Ncnn
    from encoders.kinds import Identity

    m: Measurements = Ncnn().measurements() if source == "ncnn" else AiHub(graphs=True).measurements()
    rows = m.table[m.table["metric"] == "latency_ms"]
    device, network = rows["device"].to_numpy(), rows["arch"].to_numpy()
    names = tuple(map(_machine, m.devices))
    of = [m.devices[number] for number in device]
    columns = [
        [_hardware(each) for each in of], [each.family for each in of], [names[number] for number in device],
        [_cores(each) for each in of],
    ]  # fmt: skip
    labels = [[each.precision for each in of], [_file(each) for each in of]]
    threads = np.array([each.threads for each in of])
    networks = Networks.of(m.architectures)
    prices = np.exp([expected(each) for each in networks.networks])
    runs = Runs(coded(columns), network, coded(labels), threads)
    return Table(m.devices, names, runs, device, rows["value"].to_numpy() / prices[network], Identity()(networks))


def _machine(device: Device) -> str:
    """A device's name without its setting."""
    name = re.sub("_ncnn_.*", "", device.name)
    if name == device.name:
        return re.sub(f"_{_file(device)}_.*", "", name)
    return re.sub("_(big|little)$", "", name)


def _hardware(device: Device) -> str:
    return "gpu" if "gpu" in device.kind else device.kind if device.kind == "dsp" else "processor"


def _cores(device: Device) -> str:
    return re.sub("_ncnn_.*", "", device.name)


def _file(device: Device) -> str:
    """The kind of file that AI Hub's runtime took, or the runtime."""
    found = re.search("_(tflite|qnn_dlc|qnn_context_binary|precompiled_qnn_onnx|onnx)_", device.name)
    return found[1] if found else device.runtime


@cache
def _pricer() -> tuple:
    from predictors.networks.shipped import load

    return (found := load()), found.devices_[0]


def expected(network: Network) -> float:
    """Logarithm of the ms of a network on a device of the pricer that comes with Gnomon."""
    pricer, device = _pricer()
    return float(np.log(pricer.predict(Networks([network]), device)[0]))


def predicted(network: Network, machine: str, others: int = OTHERS) -> tuple[list[Device], JointTimes, list[str]]:
    """Devices of a machine of a public table, the times of a network on them, and sentences on what these rest on.

    Args:
        network: with runs of one sample.
        machine: its name.
        others: number of rows of other machines to learn from.

    Raises:
        InputError: there is no such machine in the tables that were fetched, or the network cannot be priced.
    """
    from encoders.kinds import Identity

    source = machines().get(machine)
    if source is None:
        raise InputError(f"There is no machine '{machine}' in the public tables; `python -m gnomon price` lists them.")
    known = table(source)
    mine = np.array([name == machine for name in known.machines])
    rows, own = known.rows(machine, others), np.flatnonzero(mine[known.device])
    devices = np.unique(known.device[own])
    first = np.array([own[known.device[own] == number][0] for number in devices])
    likeness = known.likeness(Identity()(Networks([network])))
    times = SettingTimes(known.runs[rows], known.ratio[rows], likeness, PARTS)
    asked = Runs(known.runs.machine[first], np.full(len(first), len(known.totals)), known.runs.label[first],
                 known.runs.threads[first])  # fmt: skip
    mean, covariance = times.predict(asked)
    covariance[np.diag_indices(len(mean))] += PARTS.noise
    level, contrast = _stretches(times, mine[known.device[rows]])
    average = np.full((len(mean), len(mean)), 1 / len(mean))
    stretch = level * average + contrast * (np.eye(len(mean)) - average)
    networks = len(np.unique(known.runs.network[own]))
    note = (
        f"Predicted from {len(own)} rows of {networks} networks on {machine} in the public table {source}, and from "
        "rows of other machines."
    )
    return (
        [known.devices[number] for number in devices],
        JointTimes(mean + expected(network), stretch @ covariance @ stretch),
        [note],
    )


def _stretches(times: SettingTimes, own: np.ndarray) -> tuple[float, float]:
    """Factors that bring predicted deviations to the size of a machine's leave-one-network-out errors: of the mean over
    its settings, and of differences between settings. `own` has whether rows are of the machine [n]."""
    squares, expected_squares = np.full(2, PRIOR), np.full(2, PRIOR)
    for number in np.unique(times.runs.network[own]):
        left = np.flatnonzero(times.runs.network == number)
        mean, covariance = times.left_out(left)
        error = (times.mean + times.rest[left] - mean)[own[left]]
        covariance = covariance[np.ix_(own[left], own[left])]
        squares += error.mean() ** 2, error.var()
        expected_squares += covariance.mean(), np.trace(covariance) / len(error) - covariance.mean()
    level, contrast = np.sqrt(squares / expected_squares).tolist()
    return level, contrast
