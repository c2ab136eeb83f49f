"""What a choice of settings loses, on public tables: of precision and threads on ncnn's, of runtime and precision on AI
Hub's.

A choice is one of the settings in which a network was measured on a machine; its regret is the share by which it takes
longer than the fastest of these. `SettingTimes` chooses by times that leave out, in closed form,

- `network`: the rows of the network on the machine and on others of its family (AI Hub: its chip); other networks of
  the machine, and the network on other machines, are known;
- `three`: all rows of the machine's family but those of three networks of the machine, drawn three times;
- `machine`: all rows of the machine, while others with the same kind of core are known;
- `family`: all rows of the family.

Families are divided into two halves. The variances of `SettingTimes` are chosen on one half, of which alone these are
learnt, by the mean regret of all these, and the choices on the other half count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gnomon.joint_times import JointTimes
from predictors.new_devices.setting_times import Contributions, Runs, SettingTimes, coded

CANDIDATES = (
    Contributions(),
    Contributions(slope=0.3),
    Contributions(slope=0.3, of_network=0.1),
    Contributions(slope=0.3, of_pair=0.1),
    Contributions(slope=0.3, label=0.6),
)
DRAWS = 3
BY_ROWS = ("raspberry_pi_5/0", "snapdragon_855_plus/2", "jetson_agx_xavier/0", "i7_13700k/0", "aws_c5_4xlarge/2")
"""Machines of ncnn's table, with the setting of their cores, that are learnt from `ROWS` rows; one of a kind each."""
ROWS = 12
KNOWN = {"ncnn": ("network", "three", "machine", "family"), "ai-hub": ("network",)}


@dataclass(frozen=True)
class Choices:
    """Rows of a table.

    Attributes:
        source: name of the table.
        runs: one per row; the machine's last but one label is its family.
        ms: times [n].
        machine, family, label: names [n].
    """

    source: str
    runs: Runs
    ms: np.ndarray
    machine: np.ndarray
    family: np.ndarray
    label: np.ndarray

    def of(self, rows: np.ndarray) -> Choices:
        """A part of the rows."""
        return Choices(
            self.source, self.runs[rows], self.ms[rows], self.machine[rows], self.family[rows], self.label[rows]
        )

    def groups(self) -> list[np.ndarray]:
        """Rows of each network on each machine that has several settings."""
        keys = np.unique(np.char.add(self.machine, self.runs.network.astype(str)), return_inverse=True)[1]
        order = np.argsort(keys, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(keys[order])) + 1)
        return [part for part in parts if len(part) > 1]


def ncnn() -> Choices:
    """Rows of ncnn's table on processors; the little and the big cores of a machine count as machines."""
    import pandas as pd

    from datasets.public.ncnn import FAMILIES, read_rows
    from datasets.public.ncnn_devices import instructions

    rows = [row for row in read_rows() if not row.gpu and row.network in FAMILIES]
    table = pd.DataFrame({
        "instructions": [instructions(row.machine.family) for row in rows],
        "family": [row.machine.family for row in rows],
        "name": [row.machine.name + row.part for row in rows],
        "machine": [f"{row.machine.name}{row.part}/{row.settings.get('powersave', 0)}" for row in rows],
        "network": [row.network for row in rows],
        "label": ["int8" if row.quantised else "fp32" for row in rows],
        "threads": [row.settings.get("num_threads", 1) for row in rows],
        "ms": [row.ms[0] for row in rows],
    })  # fmt: skip
    keys = [name for name in table if name != "ms"]
    return _choices("ncnn", table.groupby(keys, as_index=False, sort=False)["ms"].median(),
                    ["instructions", "family", "name", "machine"], ["label"])  # fmt: skip


def ai_hub() -> Choices:
    """Rows of AI Hub's table, where it names several ways to run a model."""
    import pandas as pd

    from datasets.public.ai_hub import CHIPS, FILES, RUNTIMES, SOURCE, read_rows

    rows = [row for name in FILES if SOURCE.path(FILES[name]).is_file() for row in read_rows(name)]
    table = pd.DataFrame({
        "family": [CHIPS[row.device] for row in rows], "machine": [row.device for row in rows],
        "network": [row.network for row in rows], "file": [row.file for row in rows],
        "runtime": [RUNTIMES[row.file] for row in rows], "precision": [row.precision for row in rows],
        "ms": [row.values["latency_ms"] for row in rows], "threads": 1,
    })  # fmt: skip
    table["label"] = table["file"] + " " + table["precision"]
    return _choices("ai-hub", table, ["family", "machine"], ["file", "runtime", "precision", "label"])


def _choices(source: str, table: object, machine: list[str], label: list[str]) -> Choices:
    import pandas as pd

    assert isinstance(table, pd.DataFrame)
    columns = {name: table[name].astype(str).to_numpy(str) for name in ("machine", "family", "label")}
    runs = Runs(
        coded([table[name].tolist() for name in machine]),
        pd.factorize(table["network"])[0],
        coded([table[name].tolist() for name in label]),
        table["threads"].to_numpy(),
    )
    return Choices(source, runs, table["ms"].to_numpy(float), **columns)


def regrets(rows: Choices, parts: Contributions, known: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Regrets [G] of the choices by `SettingTimes`, and the families [G] of their machines."""
    return _regrets(rows, SettingTimes(rows.runs, rows.ms, None, parts), known, seed)


def _regrets(rows: Choices, times: SettingTimes, known: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    groups, found, families = rows.groups(), list[float](), list[str]()
    by_machine: dict[str, list[np.ndarray]] = {}
    for group in groups:
        by_machine.setdefault(rows.machine[group[0]], []).append(group)
    rng = np.random.default_rng(seed)
    for machine, mine in by_machine.items():
        family = rows.family[mine[0][0]]
        for left, scored in _left(rows, known, machine, mine, rng):
            mean, covariance = times.left_out(left)
            at = {row: place for place, row in enumerate(left.tolist())}
            for group in scored:
                places = [at[row] for row in group.tolist()]
                chosen = JointTimes(mean[places], covariance[np.ix_(places, places)], 1e6).chosen()
                found.append(float(rows.ms[group][chosen] / rows.ms[group].min() - 1))
                families.append(family)
    return np.array(found), np.array(families)


def _left(
    rows: Choices, known: str, machine: str, mine: list[np.ndarray], rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Rows that are left out together, and the groups that are scored then."""
    network, own = rows.runs.network, rows.machine == machine
    kin = rows.family == rows.family[mine[0][0]]
    if known == "network":
        for group in mine:
            yield np.flatnonzero(kin & (network == network[group[0]])), [group]
    elif known == "three":
        names = np.unique(network[own])
        if len(names) > 3:
            few = own & np.isin(network, rng.permutation(names)[:3])
            yield np.flatnonzero(kin & ~few), [group for group in mine if not few[group[0]]]
    else:
        name = machine.split("/")[0]
        same = np.array([each.split("/")[0] == name for each in rows.machine])
        yield np.flatnonzero(kin if known == "family" else same), mine


def fixed(rows: Choices) -> dict[str, float]:
    """Mean regrets of rules that look at no network; where a rule's setting was not measured, all others of the group
    count equally. `best fixed` is the label (with the largest number of threads) with the least."""
    rules: dict[str, list[float]] = {}
    labels = np.unique(rows.label).tolist()
    for group in rows.groups():
        loss = rows.ms[group] / rows.ms[group].min() - 1
        for label in labels:
            place = np.flatnonzero(rows.label[group] == label)
            value = loss[place[rows.runs.threads[group][place].argmax()]] if len(place) else loss.mean()
            rules.setdefault(f"always {label}", []).append(float(value))
    means = {name: float(np.mean(values)) for name, values in rules.items()}
    return {**(means if len(means) < 10 else {}), "best fixed": min(means.values())}


def chosen(rows: Choices) -> Contributions:
    """The candidate of the least mean regret over all ways to leave out."""
    found = {
        parts: np.mean([_regrets(rows, times, known)[0].mean() for known in KNOWN[rows.source]])
        for parts in CANDIDATES
        for times in [SettingTimes(rows.runs, rows.ms, None, parts)]
    }
    return min(found, key=lambda parts: found[parts])


def regret() -> list[dict]:
    """Rows of the part `regret`: one per table and way to leave out, and one per fixed rule."""
    found = []
    for rows in (ncnn(), ai_hub()):
        for name, value in fixed(rows).items():
            found.append({"source": rows.source, "rule": name, "known": "", "regret": value})
        half = np.random.default_rng(0).permutation(np.unique(rows.family))[::2]
        first = np.isin(rows.family, half)
        scored: dict[str, list[np.ndarray]] = {known: [] for known in KNOWN[rows.source]}
        for training, tested in ((first, ~first), (~first, first)):
            parts = chosen(rows.of(np.flatnonzero(training)))
            times = SettingTimes(rows.runs, rows.ms, None, parts)
            for known in scored:
                for seed in range(DRAWS if known == "three" else 1):
                    losses, families = _regrets(rows, times, known, seed)
                    scored[known].append(losses[np.isin(families, rows.family[tested])])
        for known, parts_of in scored.items():
            losses = np.concatenate(parts_of)
            found.append({
                "source": rows.source, "rule": "predicted", "known": known, "regret": float(losses.mean()),
                "choices": len(losses), "within_2": float((losses <= 0.02).mean()),
            })  # fmt: skip
    return found


def by_rows() -> list[dict]:
    """Rows of the part `rows`: how well the other rows of a device are predicted from `ROWS` of its rows, in fp32 and
    with most threads, when nothing else of its family is known; three draws. The variances are chosen on the machines
    of other families than those of `BY_ROWS`."""
    rows = ncnn()
    held = np.isin(rows.family, rows.family[np.isin(rows.machine, BY_ROWS)])
    training = rows.of(np.flatnonzero(~held))
    names = [name for name in np.unique(training.machine).tolist() if len(_usual(training, name)) >= ROWS + 5]
    errors = {
        parts: np.mean([np.median(_errors(training, times, name, 0)) for name in names])
        for parts in (Contributions(slope=0.3, pair=pair) for pair in (0.02, 0.05, 0.15))
        for times in [SettingTimes(training.runs, training.ms, None, parts)]
    }
    times = SettingTimes(rows.runs, rows.ms, None, min(errors, key=lambda parts: errors[parts]))
    found, pooled = list[dict](), list[np.ndarray]()
    for name in BY_ROWS:
        for seed in range(DRAWS):
            pooled.append(each := _errors(rows, times, name, seed))
            found.append({"machine": name, "draw": seed, "rows": len(each), "median": float(np.median(each)),
                          "mape": float(each.mean())})  # fmt: skip
    every = np.concatenate(pooled)
    found.append({"machine": "all", "rows": len(every), "median": float(np.median(every)), "mape": float(every.mean())})
    return found


def _usual(rows: Choices, machine: str) -> np.ndarray:
    """Numbers of a machine's rows in fp32 and with most threads."""
    own = np.flatnonzero((rows.machine == machine) & (rows.label == "fp32"))
    return own[rows.runs.threads[own] == rows.runs.threads[own].max(initial=0)]


def _errors(rows: Choices, times: SettingTimes, machine: str, seed: int) -> np.ndarray:
    """Absolute relative errors of the usual rows of a machine beside `ROWS` drawn ones, from which they are
    predicted."""
    own = _usual(rows, machine)
    known, others = np.split(np.random.default_rng(seed).permutation(own), [ROWS])
    left = np.setdiff1d(np.flatnonzero(rows.family == rows.family[own[0]]), known)
    mean = times.left_out(left)[0][np.searchsorted(left, others)]
    return np.abs(np.exp(mean) / rows.ms[others] - 1)
