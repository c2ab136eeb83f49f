"""Networks as sums of their layers (PerfNetRT, equations 1 and 2), for any network whose ops have shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from datasets.measured import Measured
from datasets.networks.collection import AnyNetwork
from datasets.records import Architectures, Device, InputError, Measurements, Networks
from encoders.layer import LayerPhysics
from predictors.base import Log, Predictor, silent
from predictors.belief import Belief
from predictors.config import from_config, to_config
from predictors.limits import check_limits
from predictors.networks.calibration import Calibration, most_telling
from predictors.networks.layer_costs import COEFFICIENTS, LAYERS, PRIOR, LayerCosts
from predictors.networks.pieces import Piece, pieces
from predictors.regressor import Regressor
from predictors.scaling import Scale
from predictors.trees import XGBoost

_LAYER_COLUMNS = [COEFFICIENTS.index(kind) for kind in ("convolution", "stem", "depthwise", "wide", "pooling", "dense")]


def _trees() -> Regressor:
    """The best of one kind in the study of layers, as configs/predictors/layer_trees.yaml has it."""
    return XGBoost(metric="exe_ms", columns=0.5, depth=5, min_child_weight=2.0, encoder=LayerPhysics(tiles=False))


@dataclass
class LayerSum(Predictor):
    """Predicts networks of any kinds by what their layers take, and a few coefficients a device.

    A run takes a session's time and, for every piece (`pieces.py`), a call's, a factor times what its layer takes alone
    less a session, or the bytes that it moves times a byte's, and what its activations and cold weights add. The
    coefficients begin as what tables of layers tell; measured networks move them as far as they speak for it
    (`calibration.py`), so that two networks do and twenty do better.

    Attributes:
        convolution: predicts `exe_ms` of such layers; so do the others. By default boosted trees.
        pooling: maximum pooling; other pooling is priced like it.
        dense: fully connected ones.
        tables: folder of convolution, pooling and dense.parquet, which the layers are learnt from.
        held: share of each table's layers that are not learnt, for the beliefs.
        noise: relative error of a sum that is no fault of coefficients; if it is smaller, networks count for more.
        seed: of the share that is held.
    """

    convolution: Regressor | None = None
    pooling: Regressor | None = None
    dense: Regressor | None = None
    tables: Path = Path("datasets/bundled")
    held: float = 0.1
    noise: float = 0.1
    seed: int = 0

    learns_to: ClassVar[float] = 0.2  # of labels that know nothing of what runtimes run as one

    metric = "latency_ms"
    space_ = AnyNetwork()
    devices_: tuple[Device, ...] = field(init=False, repr=False, compare=False)
    layers_: LayerCosts = field(init=False, repr=False, compare=False)  # of S devices
    calibrations_: tuple[Calibration, ...] = field(init=False, repr=False, compare=False)  # of D devices
    metadata_: dict[str, Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_limits(self)
        for kind in LAYERS:
            if getattr(self, kind) is None:
                setattr(self, kind, _trees())

    @staticmethod
    def of(layer: Regressor) -> LayerSum:
        """One predictor, not fitted yet, for every kind of layer."""
        tree = to_config(replace(layer, metric="exe_ms"))
        kinds = [from_config(tree, Regressor) for _ in LAYERS]  # type: ignore[type-abstract]
        return LayerSum(kinds[0], kinds[1], kinds[2])

    @staticmethod
    def summing(layers: LayerCosts) -> LayerSum:
        """One that sums given costs of layers, uncorrected, for their devices."""
        return LayerSum()._uncorrected(layers)

    # The fit

    def learn_layers(self, layers: Mapping[str, Measurements] | None = None, log: Log = silent) -> Self:
        """Learn what layers take; afterwards it answers for the devices of their tables, uncorrected.

        Args:
            layers: tables by kind (convolution, pooling, dense) with `exe_ms`, `pre_ms` and `post_ms`; the devices that
                they share are learnt. By default those in the folder `tables`.
            log: takes progress.

        Raises:
            InputError: a table is missing, or they share no device.
        """
        if not 0 < self.noise < np.inf:
            raise InputError(f"noise = {self.noise} must be above 0.")
        layers = dict(zip(LAYERS, read_tables(self.tables, LAYERS), strict=True)) if layers is None else layers
        costs = LayerCosts({kind: getattr(self, kind) for kind in LAYERS}).fit(layers, self.held, self.seed, log)
        return self._uncorrected(costs)

    def _uncorrected(self, layers: LayerCosts) -> Self:
        self.layers_, self.devices_ = layers, layers.devices
        self.calibrations_ = tuple(Calibration.prior(s, c, PRIOR) for s, c in enumerate(layers.guess()))
        return self

    def fit(self, train: Measurements, val: Measurements | None = None, log: Log = silent) -> Self:
        """Learn the coefficients of the devices of `train` from its networks, or architectures; layers are learnt from
        the folder `tables`, if they were not learnt before.

        A device without tables of layers takes over those of the device by which its own networks are predicted best.

        Raises:
            InputError: a device has no measurement.
        """
        if not hasattr(self, "layers_"):
            self.learn_layers(log=log)
        found = self._calibrations(train, log)
        if missing := [device.name for device in train.devices if device.name not in found]:
            raise InputError(f"{train.name} has no {self.metric} to learn from on {missing[0]}.")
        self.devices_, self.calibrations_ = train.devices, tuple(found[device.name] for device in train.devices)
        return self

    def calibrated(self, networks: Measurements, log: Log = silent) -> LayerSum:
        """A copy for the same devices, whose coefficients are learnt from these networks alone; devices without
        measurements of networks keep what they have."""
        names = {device.name for device in self.devices_}
        found = self._calibrations(networks.where(devices=[d.name for d in networks.devices if d.name in names]), log)
        kept = zip(self.devices_, self.calibrations_, strict=True)
        return self.with_devices(self.devices_, [found.get(device.name, before) for device, before in kept])

    def _calibrations(self, m: Measurements, log: Log) -> dict[str, Calibration]:
        """What networks say of each of their devices that has measurements, by the devices' names."""
        own = {device.name: s for s, device in enumerate(self.layers_.devices)}
        guess, (costs, measured) = self.layers_.guess(), self._pooled(m)
        uncorrected = [Calibration.prior(s, c, PRIOR) for s, c in enumerate(guess)]
        found = {}
        for device in m.devices:
            known = ~np.isnan(measured[device.name])
            if not known.any():
                continue
            there, ms = costs[known], measured[device.name][known]
            if device.name in own:
                s = own[device.name]
                found[device.name] = Calibration.of(s, there[:, s], ms, guess[s], PRIOR, self.noise)
            else:
                found[device.name] = self._from_nearest(uncorrected, there, ms)
            if len(off := found[device.name].errors):
                log(f"{device.name}: {len(off)} networks, {100 * np.abs(np.expm1(off)).mean():.1f} % off if left out")
        return found

    def _from_nearest(self, known: Sequence[Calibration], costs: np.ndarray, ms: np.ndarray) -> Calibration:
        """A new device's, from that one of some calibrations by which networks that are left out are predicted best;
        one factor brings its coefficients to the new device's speed before they are learnt."""
        trials = []
        for before in known:
            mine = costs[:, before.source]
            guess = before.coefficients * np.exp(np.median(np.log(ms / (mine @ before.coefficients))))
            trial = Calibration.of(before.source, mine, ms, guess, PRIOR, self.noise)
            off = trial.errors if len(trial.errors) else np.log(ms / (mine @ trial.coefficients))
            trials.append((float(np.abs(off).mean()), trial))
        return min(trials, key=lambda trial: trial[0])[1]

    def _pooled(self, m: Measurements) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Costs [A, S, K] of what was measured, and the milliseconds [A] by the devices' names; rows of one network are
        one measurement, their median."""
        m = m.distinct()
        ms = m.matrix(_metric(m)).T
        return self.costs(m.architectures)[0], dict(zip([d.name for d in m.devices], ms, strict=True))

    def with_devices(self, devices: Sequence[Device], calibrations: Sequence[Calibration]) -> LayerSum:
        """A copy with the same layers that answers for these devices, by one calibration each."""
        new = replace(self)
        new.layers_, new.devices_, new.calibrations_ = self.layers_, tuple(devices), tuple(calibrations)
        return new

    # Predictions

    def predict_all(self, archs: Architectures, chunk: int = 0) -> np.ndarray:
        """Milliseconds [A, D] of running networks, without the copies in and out, `chunk` networks at once."""
        found, chunk = [np.empty((0, len(self.devices_)))], chunk or 1000
        for start in range(0, len(archs), chunk):
            costs, _ = self.costs(archs[start : start + chunk])
            found.append(np.stack([costs[:, c.source] @ c.coefficients for c in self.calibrations_], axis=1))
        return np.concatenate(found)

    def belief(self, archs: Architectures, device: Device | None = None) -> Belief:
        """Distributions [A] of the milliseconds of running networks on one device: Student's t of their logarithms,
        with the spread that the coefficients leave open, and that by which measured networks were off when they were
        left out; where fewer than three were measured, `noise` and the errors of layers instead."""
        costs, parts = self.costs(archs)
        return self.believed(device, costs, parts)

    def believed(self, device: Device | None, costs: np.ndarray, parts: Sequence[np.ndarray]) -> Belief:
        """`belief` of networks whose costs [A, S, K], and of pieces [P, S, K] each, are known."""
        c = self.calibration(device)
        costs = costs[:, c.source]
        ms, variance = costs @ c.coefficients, c.variance(costs)
        if len(c.errors) < 3:
            each = self.layers_.deviations[c.source][[0, 0, 1, 1, 1, 2]]  # depthwise ones: as pooling's
            terms = [part[:, c.source] * c.coefficients for part in parts]
            off = [((term[:, _LAYER_COLUMNS] * each) ** 2).sum() for term in terms]
            variance = variance + self.noise**2 + np.array(off) / ms**2
        return Belief(np.log(ms), np.sqrt(variance), Scale.of("log"), max(len(c.errors) - 1, 5))

    def calibration(self, device: Device | None) -> Calibration:
        """The coefficients of one device; an unknown one raises `InputError`."""
        return self.calibrations_[self.column(device)]

    def weighed(self, device: Device | None, terms: np.ndarray) -> tuple[float, np.ndarray]:
        """Milliseconds of a session on one device, and [P] of pieces whose costs [P, S, K] are known."""
        c = self.calibration(device)
        return float(c.coefficients[COEFFICIENTS.index("session")]), terms[:, c.source] @ c.coefficients

    def rooflines(self, device: Device | None, found: Sequence[Piece]) -> tuple[np.ndarray, np.ndarray]:
        """Milliseconds [P] that computing takes of pieces, and moving bytes, at the best rates of one device."""
        computing, moving = self.layers_.least(np.array([(p.macs, p.moved) for p in found], float).reshape(-1, 2))
        s = self.calibration(device).source
        return computing[:, s], moving[:, s]

    def beyond(self, device: Device | None, found: Sequence[Piece]) -> np.ndarray:
        """How many times the work of the nearest layer that tables may hold each piece is [P], as one device has it."""
        return self.layers_.beyond(found)[:, self.calibration(device).source]

    def copies(self, device: Device | None, read: int, written: int) -> tuple[float, float]:
        """Milliseconds of copying so many bytes in, and so many out, on one device."""
        a, b, c, e = self.layers_.copies[self.calibration(device).source]
        return float(a + b * read), float(c + e * written)

    def costs(self, archs: Architectures) -> tuple[np.ndarray, list[np.ndarray]]:
        """What the coefficients multiply: of networks [A, S, K], and of their pieces [P, S, K] each."""
        return self.sums([pieces(network) for network in Networks.of(archs)])

    def sums(self, found: Sequence[Sequence[Piece]]) -> tuple[np.ndarray, list[np.ndarray]]:
        """Cost terms of networks given as pieces: totals [A, S, K] and per piece [P, S, K]."""
        parts = self.layers_.of([piece for network in found for piece in network])
        each = np.split(parts, np.cumsum([len(network) for network in found])[:-1]) if found else []
        whole = np.array([part.sum(axis=0) for part in each]).reshape(-1, *parts.shape[1:])
        whole[:, :, COEFFICIENTS.index("session")] = 1
        return whole, each

    # New devices

    def choose(self, archs: Architectures, n: int, rng: np.random.Generator) -> Architectures:
        """Which `n` of some networks to measure on a new device: those that tell most of the coefficients, as seen from
        its own first device. Of more than 2,000 it looks at as many, drawn at random."""
        if len(archs) > 2000:
            archs = archs[np.sort(rng.choice(len(archs), 2000, replace=False))]
        costs, first = self.costs(archs)[0], self.calibrations_[0]
        told = most_telling(costs[:, first.source], first.coefficients, PRIOR, self.noise, n)
        return archs[np.array(told, int)]

    def check_new_device(self, device: Device, samples: int) -> None:
        """One sample of any device will do."""
        from predictors.new_devices.few_shot import too_few

        if not samples:
            raise too_few(self, 1, samples)

    def adapt(self, few: Measurements | None, device: Device | None = None) -> LayerSum:
        """A predictor for one new device, from a few networks, or layers, that were measured on it; this one stays as
        it was.

        The new device takes over the layers of that one of these by which measurements that are left out are predicted
        best; one factor brings that one's coefficients to the new one's speed before they are learnt.

        Args:
            few: what was measured.
            device: which device of several.

        Raises:
            InputError: no measurements, several devices, or rows of one network that contradict each other.
        """
        from predictors.new_devices.few_shot import given, samples_of

        few = given(self, few, device)
        if len(few.devices) != 1:
            raise InputError(f"{few.name} has {len(few.devices)} devices; adapt to one at a time.")
        samples_of(few, _metric(few))
        costs, measured = self._pooled(few)
        ms = measured[few.devices[0].name]
        known = ~np.isnan(ms)
        if not known.any():
            raise InputError(f"{few.name} has no measurement on {few.devices[0].name} to adapt to.")
        return self.with_devices(few.devices, [self._from_nearest(self.calibrations_, costs[known], ms[known])])

    # The artefact

    def state(self) -> dict[str, Any]:
        """What was learnt of layers and of devices."""
        return {"layers": self.layers_.state(), "calibrations": [c.state() for c in self.calibrations_]}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave; what does not fit the configuration raises one of `checkpoint.DAMAGE`."""
        self.layers_ = LayerCosts.restored(state["layers"], "a file")
        sources = len(self.layers_.devices)
        self.calibrations_ = tuple(
            Calibration.restored(part, sources, len(COEFFICIENTS)) for part in state["calibrations"]
        )
        if not self.devices_ or len(self.calibrations_) != len(self.devices_) or not 0 < self.noise < np.inf:
            raise ValueError("devices and coefficients do not fit together")


def _metric(m: Measurements) -> str:
    """What tables of networks, or of layers, call the milliseconds of a run."""
    known = set(m.table["metric"])
    return next((name for name in ("latency_ms", "exe_ms") if name in known), "latency_ms")


def read_tables(folder: Path, names: Sequence[str], devices: Sequence[str] = ()) -> list[Measurements]:
    """Measured tables of a folder, by their names; of some devices only, where some are named."""
    found = [Measured(folder / f"{name}.parquet").measurements() for name in names]
    return [m.where(devices=[d.name for d in m.devices if d.name in devices]) if devices else m for m in found]
