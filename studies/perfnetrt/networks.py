"""PerfNetRT on whole networks: `python -m studies.perfnetrt.networks` writes rows to runs/perfnetrt/summary.json.

Layers are learnt from the bundled tables; whole networks are tests, but for the first `few` random ones, whose runs
correct a device's sums (or teach a new device). Only the part `figure4_measure` measures; it goes on where it stopped.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from datasets.blocks.layers import Layer
from datasets.cli import main
from datasets.measured import Measured
from datasets.networks.builder import NetworkBuilder
from datasets.networks.network import Network
from datasets.records import Architectures, Device, InputError, Measurements
from datasets.spaces.zoo import Zoo
from predictors.base import Predictor
from predictors.metrics import report
from predictors.networks.calibration import Calibration, calibrate, most_telling
from predictors.networks.layer_sum import LayerSum
from predictors.networks.learnt import LAYERS, PRIOR, Learnt, read_tables
from predictors.networks.price import price
from predictors.regressor import Regressor
from studies.parts import run_parts
from studies.study import ROOT

BATCHES = (1, 2, 4, 8, 16, 32, 64)
FIGURE4 = {"lenet5": 64, "alexnet": 64, "vgg16": 8}
"""The most images that each is run with: of VGG16 more take longer than a minute a run."""
RUNTIMES = ("ort", "litert", "openvino", "eager")
"""The last one is what nobody optimised."""
PARTITIONS, CURVE = 20, (5, 10, 20, 31)
"""How often random networks are parted anew; how many of them correct a device while the last 13 are tests."""


@dataclass
class Study:
    """Tables and predictors that the parts share.

    Attributes:
        out: folder of everything that is written.
        tables: folder of the tables.
        layer: what learns layers, a file of configs/predictors; by default the predictor's own.
        few: how many measured networks correct a device.
    """

    out: Path
    tables: Path
    layer: Regressor | None
    few: int

    @cached_property
    def networks(self) -> tuple[Measurements, Measurements]:
        """Random networks and the zoo."""
        random, zoo = read_tables(self.tables, ("convnet", "zoo"))
        return random, zoo

    @cached_property
    def summed(self) -> dict[str, tuple[LayerSum, list[tuple[np.ndarray, list[np.ndarray]]]]]:
        """Every method's predictor, and what it says of random networks and the zoo (`LayerSum.costs`)."""
        methods = {"layerwise": self.predictor}
        methods |= {"look-up table": baseline(self, Nearest), "roofline": baseline(self, Roofline)}
        return {name: (plain, [plain.costs(m.architectures) for m in self.networks]) for name, plain in methods.items()}

    def measured(self, device: Device) -> list[np.ndarray]:
        """Milliseconds of random networks and of the zoo."""
        return [m.matrix("latency_ms")[:, m.devices.index(m.device(device.name))] for m in self.networks]

    @cached_property
    def layers(self) -> dict[str, Measurements]:
        return dict(zip(LAYERS, read_tables(self.tables, LAYERS), strict=True))

    @cached_property
    def predictor(self) -> LayerSum:
        """Fitted on layers only; what an earlier run of the part `artefact` left."""
        path = self.out / "layers_only.pt"
        predictor = Predictor.load(path) if path.is_file() else self.fit()
        assert isinstance(predictor, LayerSum)
        return predictor

    def fit(self) -> LayerSum:
        costs = Learnt.by(self.layer) if self.layer else Learnt()
        costs.fit(self.layers, log=lambda message, **numbers: print(message, file=sys.stderr, flush=True))
        new = LayerSum.summing(costs)
        new.save(self.out / "layers_only.pt")
        return new

    def parted(self, device: str) -> tuple[Measurements, list[tuple[str, Measurements]]]:
        """A device's first `few` random networks with a latency, and the test sets: other random ones, and the zoo."""
        random, zoo = (_on(m, device) for m in self.networks)
        places = np.arange(len(random.architectures))
        rest = random.where(archs=places[self.few :])
        return random.where(archs=places[: self.few]), [("convnet", rest), ("zoo", zoo)]

    def fp32(self) -> list[Device]:
        """Devices with layers and networks."""
        names = {d.name for m in self.networks for d in m.devices}
        return [d for d in self.predictor.devices_ if d.name in names]


def costs_of(predictor: LayerSum) -> Learnt:
    """What its layers cost, as predictors of layers have it."""
    assert isinstance(predictor.layers, Learnt)
    return predictor.layers


def _on(m: Measurements, device: str) -> Measurements:
    """What was measured on one device."""
    m = m.where(devices=[device], metrics=["latency_ms"])
    return m.where(archs=np.flatnonzero(~np.isnan(m.matrix("latency_ms")[:, 0])))


def artefact(study: Study) -> list[dict]:
    """Fit all anew, and write the predictor that ships: corrected by every measured network."""
    start = time.process_time()
    whole = study.fit().calibrated(Measurements.concat(study.networks))
    whole.save(study.out / "predictor.pt")
    rows = []
    for d, (device, found) in enumerate(zip(whole.devices_, whole.calibrations_, strict=True)):
        off = float(np.abs(np.expm1(-found.errors)).mean())
        told = dict(zip(("macs_a_ms", "bytes_a_ms", "session_ms"), whole.layers.machine[d], strict=True))
        off_layers = dict(zip((f"log_error_{kind}" for kind in LAYERS), costs_of(whole).deviations[d], strict=True))
        rows.append({"device": device.name, "networks": len(found.errors), "left_out_mape": off, **told, **off_layers})
    return [*rows, {"fit_cpu_s": time.process_time() - start}]


# Whole networks


class Nearest:
    """A look-up table of layers: what the measured layer takes that is nearest in the logarithms of the features, times
    the ratio of their roofline times."""

    def __init__(self, m: Measurements, layers: Learnt) -> None:
        self.space_, self.devices_, self.layers = m.architectures.space, m.devices, layers
        self.known = self._features(m.architectures)
        self.work, self.ms = self._work(m.architectures), m.matrix("exe_ms")

    def column(self, device: Device) -> int:
        return [d.name for d in self.devices_].index(device.name)

    def predict_all(self, archs: Architectures) -> np.ndarray:
        from scipy.spatial import cKDTree

        x, work, found = self._features(archs), self._work(archs), np.empty((len(archs), len(self.devices_)))
        for d, device in enumerate(self.devices_):
            s = [known.name for known in self.layers.devices].index(device.name)
            rows = np.flatnonzero(~np.isnan(self.ms[:, d]))
            at = rows[cKDTree(self.known[rows]).query(x)[1]]
            need, have = (self.layers.roofline(w)[:, s] for w in (work, self.work[at]))
            found[:, d] = self.ms[at, d] * need / have
        return found

    def _features(self, archs: Architectures) -> np.ndarray:
        assert isinstance(archs.space, Layer)
        low = np.array([f.low for f in archs.space.features])
        return np.log1p(archs.decisions + low)

    def _work(self, archs: Architectures) -> np.ndarray:
        return archs.space.totals(archs)[["macs", "moved_bytes"]].to_numpy(float)


class Roofline(Nearest):
    """The longer of computing and moving at rates fitted to the layers (least absolute log error), plus a session."""

    def __init__(self, m: Measurements, layers: Learnt) -> None:
        from scipy.optimize import minimize

        super().__init__(m, layers)
        self.rates = np.empty((len(m.devices), 2))
        for d, device in enumerate(m.devices):
            s = [known.name for known in layers.devices].index(device.name)
            rows = ~np.isnan(self.ms[:, d])
            work, log_ms, session = self.work[rows], np.log(self.ms[rows, d]), layers.machine[s, 2]

            start = np.log(layers.machine[s, :2])
            self.rates[d] = np.exp(minimize(_off_roofline, start, (work, log_ms, session), method="Nelder-Mead").x)

    def predict_all(self, archs: Architectures) -> np.ndarray:
        sessions = {d.name: self.layers.machine[s, 2] for s, d in enumerate(self.layers.devices)}
        session = np.array([sessions[d.name] for d in self.devices_])
        return session + (self._work(archs)[:, None] / self.rates).max(axis=2)


def _off_roofline(log_rates: np.ndarray, work: np.ndarray, log_ms: np.ndarray, session: float) -> float:
    """Mean absolute log error of layers by rates of computing and moving [2]."""
    return float(np.abs(np.log(session + (work / np.exp(log_rates)).max(axis=1)) - log_ms).mean())


def baseline(study: Study, kind: type[Nearest]) -> LayerSum:
    """The sum of layers with another model of layers."""
    own = costs_of(study.predictor)
    names = [d.name for d in own.devices]
    models = {k: kind(m.where(devices=names), own) for k, m in study.layers.items()}
    return LayerSum.summing(_with(own, models))


def networks(study: Study) -> list[dict]:
    """Errors of whole networks by device, method and set. `as is`: sums of layers; else corrected by the first few."""
    rows, drawn = [], {}
    for device in study.fp32():
        measured = study.measured(device)
        places = [np.flatnonzero(~np.isnan(y)) for y in measured]
        few, places[0] = places[0][: study.few], places[0][study.few :]
        truth = [y[place] for y, place in zip(measured, places, strict=True)]
        for name, (plain, costs) in study.summed.items():
            s = plain.calibration(device).source
            corrected = _corrected(plain, device, costs[0][0][few, s], measured[0][few])
            for how, predictor in ((name, corrected), (f"{name}, as is", plain)):
                sums = [whole[place, s] for (whole, _), place in zip(costs, places, strict=True)]
                found = [(y, c @ predictor.calibration(device).coefficients) for y, c in zip(truth, sums, strict=True)]
                rows += _scores(device.name, how, ("convnet", "zoo"), found)
                if how != name:
                    continue
                drawn[device.name, name] = found
                for row in rows[-3:]:
                    row["val_mape"] = float(np.abs(np.expm1(-corrected.calibration(device).errors)).mean())
                for row, y, (whole, parts), place in zip(rows[-3:-1], truth, costs, places, strict=True):
                    low, high = corrected.believed(device, whole[place], [parts[i] for i in place]).interval(0.9)
                    row["in_90_interval"] = float(((low <= y) & (y <= high)).mean())
        by = {row["method"]: row["mape"] for row in rows if row["device"] == device.name and row["set"] == "both"}
        for how in ("look-up table", "look-up table, as is"):
            rows.append({"device": device.name, "against": how, "mape_ratio": by["layerwise"] / by[how]})
    _draw_networks(drawn, study.out / "networks.png")
    return rows


def _with(own: Learnt, models: Mapping[str, Nearest]) -> Learnt:
    """The same costs by other models of layers."""
    new = Learnt()
    vars(new).update({**vars(own), **models})
    return new


def _corrected(plain: LayerSum, device: Device, costs: np.ndarray, ms: np.ndarray) -> LayerSum:
    """One for a device alone, which learnt from networks' costs [n, K] and milliseconds [n]."""
    s = plain.calibration(device).source
    found = Calibration.of(s, costs, ms, plain.layers.guess()[s], PRIOR, plain.layers.noise)
    return plain.with_devices([device], [found])


def partitions(study: Study) -> list[dict]:
    """Errors on other networks than the first few, by which settings were chosen: `few` of the others, drawn at
    random, correct a device; the rest of them and the zoo are tests. Mean over partitions, standard deviation and
    worst, since who corrects is luck. Beside it how many networks it takes, and whether to choose them (of all but the
    last 13) is better than to draw them."""
    rng, rows = np.random.default_rng(0), list[dict[str, Any]]()
    others = np.arange(study.few, len(study.networks[0].architectures))
    orders = [rng.permutation(others) for _ in range(PARTITIONS)]
    for device in study.fp32():
        measured = study.measured(device)
        known, few, last = [order[~np.isnan(measured[0][order])] for order in orders], study.few, max(CURVE)
        for name, (plain, costs) in study.summed.items():
            s = plain.calibration(device).source
            off = partial(_off, plain, s, [whole[:, s] for whole, _ in costs], measured)
            about = {"device": device.name, "method": name}
            errors = np.array([off(order[:few], order[few:]) for order in known])
            for part, column in zip(("convnet", "zoo", "both"), errors.T, strict=True):
                rows.append({**about, "set": part, "drawn": few, **_spread(column)})
            if name != "layerwise":
                continue
            rows[-3]["in_90_interval"] = float(
                np.mean([_inside(plain, device, costs[0], measured[0], order[:few], order[few:]) for order in known])
            )
            for n in CURVE:
                errors = np.array([off(order[:n], order[last:])[0] for order in known])
                rows.append({**about, "set": "13 convnet", "labels": n, **_spread(errors)})
            guess, whole = plain.layers.guess()[s], costs[0][0][:, s]
            told = [order[most_telling(whole[order[:last]], guess, PRIOR, plain.layers.noise, few)] for order in known]
            errors = np.array([off(one, order[last:])[0] for one, order in zip(told, known, strict=True)])
            rows.append({**about, "set": "13 convnet", "chosen": few, **_spread(errors)})
        both = [row for row in rows if row["device"] == device.name and row.get("set") == "both"]
        by = {row["method"]: float(row["mape"]) for row in both}
        ratio = by["layerwise"] / by["look-up table"]
        rows.append({"device": device.name, "against": "look-up table", "mape_ratio": ratio})
    return rows


def _off(
    plain: LayerSum,
    s: int,
    costs: Sequence[np.ndarray],
    measured: Sequence[np.ndarray],
    few: np.ndarray,
    tests: np.ndarray,
) -> list[float]:
    """Mean errors of random networks `tests`, the zoo and both, once random networks `few` have corrected the sums."""
    mix = calibrate(costs[0][few], measured[0][few], plain.layers.guess()[s], PRIOR, plain.layers.noise)
    found = [np.abs(c @ mix / ms - 1) for c, ms in zip(costs, measured, strict=True)]
    return [
        float(np.nanmean(part)) for part in (found[0][tests], found[1], np.concatenate([found[0][tests], found[1]]))
    ]


def _inside(
    plain: LayerSum,
    device: Device,
    costs: tuple[np.ndarray, list[np.ndarray]],
    ms: np.ndarray,
    few: np.ndarray,
    tests: np.ndarray,
) -> float:
    """Share of networks `tests` within their 90 % intervals."""
    (whole, parts), s = costs, plain.calibration(device).source
    corrected = _corrected(plain, device, whole[few, s], ms[few])
    low, high = corrected.believed(device, whole[tests], [parts[i] for i in tests]).interval(0.9)
    return float(((low <= ms[tests]) & (ms[tests] <= high)).mean())


def _spread(errors: np.ndarray) -> dict[str, float]:
    return {"mape": float(np.mean(errors)), "mape_sd": float(np.std(errors)), "mape_worst": float(np.max(errors))}


def _scores(
    device: str, method: str, sets: Sequence[str], found: Sequence[tuple[np.ndarray, np.ndarray]]
) -> list[dict]:
    both = tuple(np.concatenate(part) for part in zip(*found, strict=True))
    return [
        {"device": device, "method": method, "set": name, **report(y, p)}
        for name, (y, p) in zip([*sets, "both"], [*found, both], strict=True)
    ]


# A new device


class Remembering(LayerSum):
    """Sums the layers of a network once, for all that share them."""

    sums_: dict[str, tuple[np.ndarray, np.ndarray]]

    @staticmethod
    def like(predictor: LayerSum) -> Remembering:
        new = Remembering()
        vars(new).update(vars(predictor), sums_={})
        return new

    def costs(self, archs: Architectures) -> tuple[np.ndarray, list[np.ndarray]]:
        keys = [f"{archs.space} {key}" for key in archs.keys]
        new = [i for i, key in enumerate(keys) if key not in self.sums_]
        if new:
            whole, parts = super().costs(archs[np.array(new)])
            self.sums_.update((keys[i], found) for i, found in zip(new, zip(whole, parts, strict=True), strict=True))
        found = [self.sums_[key] for key in keys]
        return np.array([whole for whole, _ in found]), [part for _, part in found]

    def with_devices(self, devices: Sequence[Device], calibrations: Sequence[Calibration]) -> LayerSum:
        new = super().with_devices(devices, calibrations)
        vars(new)["sums_"] = self.sums_
        return new


def adapted(study: Study) -> list[dict]:
    """Every runtime held out in turn: its error as the other runtimes' predictor has it, after `few` of its networks
    (that `choose` chose), and with all its own layers and as many networks, where it has a table of layers."""
    random, zoos = study.networks
    full, rows = Remembering.like(study.predictor), []
    for device in random.devices:
        pool, zoo = (_on(m, device.name) for m in (random, zoos))
        others = _without(full, device.name)
        chosen = others.choose(pool.architectures, study.few, np.random.default_rng(0))
        picked = np.isin(pool.architectures.keys, chosen.keys)
        few = pool.where(archs=np.flatnonzero(picked))
        tests = [("convnet", pool.where(archs=np.flatnonzero(~picked))), ("zoo", zoo)]
        new = others.adapt(few)
        sources = [c.source for c in others.calibrations_]
        source = others.devices_[sources.index(new.calibrations_[0].source)]
        methods = {"unadapted": (others, source), "adapted": (new, device)}
        if device.name in {d.name for d in full.devices_}:
            methods["fully trained"] = (full.calibrated(few), device)
        scores = {}
        for method, (predictor, where) in methods.items():
            found = [(m.matrix("latency_ms")[:, 0], predictor.predict(m.architectures, where)) for _, m in tests]
            scores[method] = _scores(device.name, method, [name for name, _ in tests], found)
        for i, row in enumerate(scores["adapted"]):
            row["share_of_unadapted"] = row["mape"] / scores["unadapted"][i]["mape"]
            if "fully trained" in scores:
                row["share_of_full"] = row["mape"] / scores["fully trained"][i]["mape"]
        rows += [{**row, "from": source.name, "few": study.few} for part in scores.values() for row in part]
    return rows


def _without(predictor: LayerSum, device: str) -> LayerSum:
    """A predictor of all its devices but one."""
    keep = [d for d, known in enumerate(predictor.devices_) if known.name != device]
    return predictor.with_devices([predictor.devices_[d] for d in keep], [predictor.calibrations_[d] for d in keep])


# Figure 4


def figure4_measure(study: Study, core: int | None, host: str) -> list[dict]:
    """LeNet-5, AlexNet and VGG16 over batches, three phases each, optimised (three runtimes) and not (eager)."""
    journal, failed = study.out / "figure4.jsonl", 0
    for name, most in FIGURE4.items():
        listed = study.out / f"{name}.txt"
        listed.write_text(name)
        backends = ",".join(f"{runtime}:fp32:{b}" for b in BATCHES if b <= most for runtime in RUNTIMES)
        command = [sys.executable, "-m", "measure", "run", "--space", "zoo", "--archs", listed, "--backend", backends]
        command += ["--phases", "true", "--protocol", "layer", "--journal", journal, "--host", host]
        command += [] if core is None else ["--core", core]
        failed += subprocess.run(list(map(str, command)), cwd=ROOT).returncode != 0
    table = [sys.executable, "-m", "measure", "table", "--journal", journal, "--out", study.out / "figure4.parquet"]
    subprocess.run(list(map(str, table)), cwd=ROOT, check=True)
    return [{"failed": failed, "rows": sum(1 for _ in journal.open())}]


def figure4(study: Study) -> list[dict]:
    """Predicted, measured optimised and measured unoptimised times; the predictor never saw one of the three."""
    path = study.out / "figure4.parquet"
    if not path.is_file():
        raise InputError(f"There is no {path}; run the part figure4_measure first, on an idle machine.")
    m, rows = Measured(path).measurements(), []
    parts = {phase: m.matrix(f"{phase}_ms") for phase in ("pre", "exe", "post")}
    for device in study.fp32():
        corrected = study.predictor.calibrated(study.parted(device.name)[0])
        for a, arch in enumerate(m.architectures):
            network = Zoo().expand(arch)
            for d, measured in enumerate(m.devices):
                same_runtime = measured.name.rpartition("_")[0] == device.name.rpartition("_")[0]
                if not same_runtime or np.isnan(parts["exe"][a, d]):
                    continue
                told = price(corrected, replace(network, batch=measured.batch), device)
                total = float(sum(part[a, d] for part in parts.values()))
                row = {"device": device.name, "network": arch.key, "batch": measured.batch, "measured_ms": total}
                row |= {"predicted_ms": told.total_ms, "error": abs(told.total_ms / total - 1)}
                eager = [e for e in m.devices if "_eager_" in e.name and e.batch == measured.batch]
                if eager:
                    e = m.devices.index(eager[0])
                    row["unoptimised_ms"] = float(sum(part[a, e] for part in parts.values()))
                rows.append(row)
    _draw_figure4(rows, study.out / "figure4.png")
    return rows


def layers_200() -> Network:
    """A residual network that runtimes run as 200 layers: convolutions with what is folded in, additions, two poolings
    and a classifier."""
    net = NetworkBuilder()
    x = net.pool("max_pool", net.conv_bn(net.add("input", (3, 224, 224)), 64, 7, 2, act="relu"), 3, 2, pad=1)
    x = net.conv_bn(x, 32, 1, act="relu")
    for block in range(64):
        channels = 32 * 2 ** (block // 16)
        if block in (16, 32, 48):
            x = net.conv_bn(x, channels, 3, 2, act="relu")
        inner = net.conv_bn(net.conv_bn(x, channels, 3, act="relu"), channels, 3)
        x = net.pointwise("relu", net.pointwise("add", inner, x))
    net.add("dense", (1000,), net.pool("avg_pool", x, 7, 1))
    return net.finish("", "")


def fast(study: Study) -> list[dict]:
    """CPU-milliseconds that pricing a network of 200 layers takes after loading, median of nine."""
    network, predictor, times = layers_200(), study.predictor, []
    price(predictor, network, predictor.devices_[0])
    for _ in range(9):
        start = time.process_time()
        count = len(price(predictor, network, predictor.devices_[0]).pieces)
        times.append(1000 * (time.process_time() - start))
    return [{"layers": count, "cpu_ms": float(np.median(times))}]


# Pictures


def _draw_networks(drawn: dict, path: Path) -> None:
    """Measured against predicted, a column a device and a row a method."""
    from matplotlib.figure import Figure

    devices, methods = (list(dict.fromkeys(key[i] for key in drawn)) for i in (0, 1))
    figure = Figure(figsize=(4 * len(devices), 3.6 * len(methods)), layout="constrained")
    axes = figure.subplots(len(methods), len(devices), squeeze=False)
    for i, method in enumerate(methods):
        for j, device in enumerate(devices):
            axis, sets = axes[i][j], drawn[device, method]
            ends = [min(min(y.min(), p.min()) for y, p in sets), max(max(y.max(), p.max()) for y, p in sets)]
            axis.fill_between(ends, np.multiply(0.9, ends), np.multiply(1.1, ends), color="#888888", alpha=0.25, lw=0)
            for (y, p), colour, name in zip(sets, ("#2f6db3", "#d9822b"), ("random", "zoo"), strict=True):
                axis.scatter(y, p, s=14, color=colour, label=name, lw=0)
            off = np.concatenate([np.abs(p / y - 1) for y, p in sets]).mean()
            axis.set(xscale="log", yscale="log", title=f"{device}\n{method}: {100 * off:.1f} % off",
                     xlabel="measured, ms", ylabel="predicted, ms")  # fmt: skip
            axis.legend(frameon=False)
    figure.savefig(path, dpi=110)


def _draw_figure4(rows: list[dict], path: Path) -> None:
    """PerfNetRT's Figure 4: a panel a network and runtime."""
    from matplotlib.figure import Figure

    devices, nets = (list(dict.fromkeys(row[name] for row in rows)) for name in ("device", "network"))
    figure = Figure(figsize=(4.4 * len(nets), 3 * len(devices)), layout="constrained")
    axes = figure.subplots(len(devices), len(nets), squeeze=False)
    names = {"predicted_ms": "predicted", "measured_ms": "measured", "unoptimised_ms": "measured, eager PyTorch"}
    for i, device in enumerate(devices):
        for j, net in enumerate(nets):
            part = [row for row in rows if (row["device"], row["network"]) == (device, net)]
            for k, (column, name) in enumerate(names.items()):
                values = [row.get(column, np.nan) for row in part]
                axes[i][j].bar(np.arange(len(part)) + 0.27 * (k - 1), values, width=0.25, label=name,
                               color=("#2f6db3", "#d9822b", "#888888")[k])  # fmt: skip
            axes[i][j].set_xticks(range(len(part)), [row["batch"] for row in part])
            off = np.mean([row["error"] for row in part])
            axes[i][j].set(yscale="log", xlabel="batch", ylabel="ms")
            axes[i][j].set_title(f"{net} on {device}: {100 * off:.1f} % off", fontsize=10)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(path, dpi=110)


def study(
    out: Path = Path("runs/perfnetrt"),
    part: str = "artefact,networks,partitions,adapted,fast,figure4_measure,figure4",
    tables: Path = Path("datasets/bundled"),
    layer: Regressor | None = None,
    few: int = 20,
    core: int | None = None,
    host: str = "host",
) -> None:
    """Run the parts and write what they find.

    Args:
        out: folder of what is written, summary.json among it; rows of parts that are not run stay as they are.
        part: which, separated by commas.
        tables: folder of convolution, pooling, dense, convnet and zoo.parquet.
        layer: what learns layers, a file of configs/predictors; by default boosted trees.
        few: measured networks that correct a device's sums, or teach a new one.
        core: that Figure 4 is measured on.
        host: name of the machine that it is measured on; its rows are compared with the devices of that name.
    """
    out.mkdir(parents=True, exist_ok=True)
    one = Study(out, tables, layer, few)
    parts = {
        "artefact": lambda: artefact(one),
        "networks": lambda: networks(one),
        "partitions": lambda: partitions(one),
        "adapted": lambda: adapted(one),
        "fast": lambda: fast(one),
        "figure4_measure": lambda: figure4_measure(one, core, host),
        "figure4": lambda: figure4(one),
    }
    run_parts(parts, part, out)


if __name__ == "__main__":
    main(study, prog="python -m studies.perfnetrt.networks")
