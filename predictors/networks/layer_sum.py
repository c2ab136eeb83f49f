"""`LayerSum`: latencies or energies of networks as weighted sums over their layers (PerfNetRT, equations 1 and 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from datasets.machine import machine_name
from datasets.networks.collection import AnyNetwork
from datasets.networks.network import Network
from datasets.records import Architectures, Device, InputError, Measurements, Networks, Space
from predictors.base import Log, Predictor, silent
from predictors.belief import Belief
from predictors.networks.calibration import (
    Calibration,
    at_speed,
    belief_of,
    most_informative,
    parts_of,
    refitted,
    totals_of,
)
from predictors.networks.costs import MOST_POOL, Costs
from predictors.networks.layer_table import LayerTable
from predictors.networks.learnt import Learnt
from predictors.networks.tabulated import Tabulated
from predictors.networks.unmeasured import Gap, gaps_of, widening
from predictors.new_devices.few_shot import required, samples_of, too_few


@dataclass
class LayerSum(Predictor):
    """Predicts networks of any kinds from costs of their layers and a few coefficients per device.

    A run takes the time of a session and, per piece (`pieces.py`), that of a call, a factor times the latency of its
    layer alone less that of a session, and terms for bytes, activations and cold weights. Prior coefficients come from
    the tables of layers; measured networks update them by a Bayesian fit (`calibration.py`), from two networks on.

    Attributes:
        layers: costs of layers: `Learnt`, by predictors of any layer, or `Tabulated`, by a table of the networks' own
            layers.
    """

    layers: Costs = field(default_factory=Learnt)

    learns_to: ClassVar[float] = 0.2  # on labels of networks without fused ops

    space_: Space = field(default=AnyNetwork(), init=False, repr=False, compare=False)
    devices_: tuple[Device, ...] = field(default=(), init=False, repr=False, compare=False)
    calibrations_: tuple[Calibration, ...] = field(default=(), init=False, repr=False, compare=False)  # one per device
    metadata_: dict[str, Any] = field(init=False, repr=False, compare=False)

    @property
    def metric(self) -> str:  # type: ignore[override]
        """`latency_ms`, or that of other costs."""
        return self.layers.metric

    @staticmethod
    def summing(layers: Costs) -> LayerSum:
        """Sum of learnt costs with prior coefficients, on the devices of the costs."""
        return LayerSum(layers)._uncalibrated()

    @staticmethod
    def tabulated(path: Path, kinds: Sequence[str] | None = None, log: Log = silent) -> LayerSum:
        """Sum of the layers of a table, calibrated by the whole networks that the table holds.

        Args:
            path: of the table.
            kinds: calibrate by whole networks made of exactly these kinds of layers, where there are any; by default
                by all.
            log: receives progress.
        """
        new = LayerSum(costs := Tabulated(path)).learn_layers(log)
        whole = costs.whole(kinds) or costs.whole()
        return new if whole is None else new.calibrated(whole, log)

    def learn_layers(self, log: Log = silent) -> Self:
        """Learn the costs of layers, with prior coefficients; raises `InputError` where a table is faulty."""
        self.layers.learn(log)
        return self._uncalibrated()

    def _uncalibrated(self) -> Self:
        if not 0 < self.layers.noise < np.inf:
            raise InputError(f"noise = {self.layers.noise} must be above 0.")
        self.devices_, self.calibrations_ = self.layers.forget(), self._prior()
        return self

    def _prior(self) -> tuple[Calibration, ...]:
        """Prior coefficients of the devices of `layers`."""
        return tuple(Calibration.prior(s, guess, self.layers.prior) for s, guess in enumerate(self.layers.guess()))

    def table(self, device: Device | None) -> LayerTable:
        """Look-up table of layers on a device, weighted by its coefficients: predictions are sums of entries less
        `call_ms` for each layer but one. Raises `InputError` unless `layers` is `Tabulated`."""
        if not isinstance(self.layers, Tabulated):
            raise InputError(
                "This predictor has learnt layers and holds no table of them; name one of `python -m predictors "
                "layerwise --lut TABLE`."
            )
        c = self.calibration(device)
        return replace(self.layers.table(c.source, c.coefficients), device=self.devices_[self.column(device)].name)

    def fit(self, train: Measurements, val: Measurements | None = None, log: Log = silent) -> Self:
        """Learn the coefficients of the devices of `train` from its networks, or architectures; costs of layers are
        learnt first unless they were before.

        A device without tables of layers uses the costs of the device that predicts its networks best.

        Raises:
            InputError: a device has no measurement.
        """
        if not self.layers.devices:
            self.learn_layers(log=log)
        found = self._calibrations(train, log)
        if missing := [device.name for device in train.devices if device.name not in found]:
            raise InputError(f"{train.name} has no {self.metric} to learn from on {missing[0]}.")
        self.devices_, self.calibrations_ = train.devices, tuple(found[device.name] for device in train.devices)
        return self

    def calibrated(self, networks: Measurements, log: Log = silent, added: Sequence[Device] = ()) -> LayerSum:
        """Copy whose coefficients are learnt from these networks only; devices without measurements keep theirs. It
        also predicts for `added` devices of `networks`, by the layers of the device that is most like each."""
        devices = (*self.devices_, *added)
        names = {device.name for device in devices}
        found = self._calibrations(networks.where(devices=[d.name for d in networks.devices if d.name in names]), log)
        kept = {device.name: before for device, before in zip(self.devices_, self.calibrations_, strict=True)} | found
        return self.with_devices(devices, [kept[device.name] for device in devices])

    def _calibrations(self, m: Measurements, log: Log) -> dict[str, Calibration]:
        """Calibrations of all devices with measurements, by name."""
        own = {d.name: c for d, c in zip(self.devices_, self.calibrations_, strict=True) if not len(c.errors)}
        own |= {device.name: before for device, before in zip(self.layers.devices, self._prior(), strict=True)}
        costs, measured = self._pooled(m)
        found = {}
        for device in m.devices:
            known = ~np.isnan(measured[device.name])
            there, ms = costs[known], measured[device.name][known]
            if not len(ms):
                continue
            if device.name not in own:
                found[device.name] = self._from_nearest(self._prior(), there, ms, device)
            elif (trial := self._fitted(own[device.name], there, ms)) is not None:
                found[device.name] = trial[1]
            if device.name in found and len(errors := found[device.name].errors):
                mean = 100 * np.abs(np.expm1(errors)).mean()
                log(f"{device.name}: {len(errors)} networks, leave-one-out error {mean:.1f} %")
        return found

    def _fitted(self, before: Calibration, costs: np.ndarray, ms: np.ndarray) -> tuple[float, Calibration] | None:
        return refitted(before, costs[:, before.source], ms, self.layers.prior, self.layers.noise)

    def _from_nearest(
        self, known: Sequence[Calibration], costs: np.ndarray, ms: np.ndarray, device: Device
    ) -> Calibration:
        """Calibration of a new device, from that of `known` with the least error, first scaled to its speed."""
        scaled = [c for before in known if (c := at_speed(before, costs[:, before.source], ms)) is not None]
        trials = [trial for before in scaled if (trial := self._fitted(before, costs, ms)) is not None]
        if not trials:
            raise InputError(
                f"No network that was measured on {device.name} is made of layers that are known; measure such as "
                "`python -m predictors choose` names."
            )
        return min(trials, key=lambda trial: trial[0])[1]

    def _pooled(self, m: Measurements) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Costs [A, S, K] of measured networks, and their ms [A] by device name (medians of repeats)."""
        m = m.distinct()
        columns = m.matrix(self.layers.measured(m)).T
        return self.layers.totals(Networks.of(m.architectures)), {
            d.name: ms for d, ms in zip(m.devices, columns, strict=True)
        }

    def with_devices(self, devices: Sequence[Device], calibrations: Sequence[Calibration]) -> LayerSum:
        """Copy with the same layers for these devices, with one calibration each."""
        new = replace(self)
        new.devices_, new.calibrations_ = tuple(devices), tuple(calibrations)
        return new

    def predict_all(self, archs: Architectures, chunk: int = 0) -> np.ndarray:
        """Milliseconds [A, D] of running networks, without copies in and out, `chunk` networks at once; a layer of
        unknown cost raises `InputError`."""
        return self._predicted(archs, self.calibrations_, chunk)

    def predict(self, archs: Architectures, device: Device | None = None) -> np.ndarray:
        """Milliseconds [A] on one device."""
        return self._predicted(archs, [self.calibration(device)])[:, 0]

    def _predicted(self, archs: Architectures, calibrations: Sequence[Calibration], chunk: int = 0) -> np.ndarray:
        found, chunk = [np.empty((0, len(calibrations)))], chunk or 1000
        for start in range(0, len(archs), chunk):
            networks = Networks.of(archs[start : start + chunk])
            costs = self.layers.totals(networks)
            for c in calibrations:
                self._check_known(networks, costs, c)
            found.append(np.stack([totals_of(costs[:, c.source], c) for c in calibrations], axis=1))
        return np.concatenate(found)

    def _check_known(self, networks: Networks, costs: np.ndarray, c: Calibration) -> None:
        """Raise `InputError` where costs [A, S, K] of a network are unknown."""
        if (missing := np.isnan(costs[:, c.source]).any(axis=1)).any():
            raise self.layers.unknown(networks.networks[int(missing.argmax())], c.source)

    def belief(self, archs: Architectures, device: Device | None = None) -> Belief:
        """Distributions [A] of the ms of networks on one device: those of `believed`, wider by what is `unmeasured`."""
        networks = Networks.of(archs)
        (costs, parts), c = self.costs(networks), self.calibration(device)
        self._check_known(networks, costs, c)
        on = self.devices_[self.column(device)]
        wider = [widening(gaps) for gaps in gaps_of(networks.networks, on, self.layers, c, costs, parts)]
        return self.believed(device, costs, parts).widened(np.array(wider))

    def believed(self, device: Device | None, costs: np.ndarray, parts: Sequence[np.ndarray]) -> Belief:
        """Distributions [A] of the ms of networks with known costs [A, S, K] and terms of pieces [P, S, K] each."""
        c = self.calibration(device)
        own = [part[:, c.source] for part in parts]
        return belief_of(c, costs[:, c.source], own, self.layers.spread()[c.source], self.layers.noise)

    def calibration(self, device: Device | None) -> Calibration:
        """Coefficients of one device; an unknown device raises `InputError`."""
        return self.calibrations_[self.column(device)]

    def pieces_ms(self, device: Device | None, network: Network) -> tuple[float, np.ndarray, Belief, list[Gap]]:
        """Ms of a session on one device, ms [P] of a network's pieces, the distribution of the sum, and what of it no
        measurement supports."""
        whole, (terms,) = self.costs(networks := Networks([network]))
        c, on = self.calibration(device), self.devices_[self.column(device)]
        self._check_known(networks, whole, c)
        (gaps,) = gaps_of([network], on, self.layers, c, whole, [terms])
        belief = self.believed(device, whole, [terms]).widened(np.array([widening(gaps)]))
        return float(c.coefficients[0]), parts_of(whole[0, c.source], terms[:, c.source], c), belief, gaps

    def costs(self, archs: Architectures) -> tuple[np.ndarray, list[np.ndarray]]:
        """Cost terms of networks [A, S, K], and of the pieces of each [P, S, K]; NaN where a layer has unknown cost."""
        each = self.layers.network_terms(Networks.of(archs))
        shape = -1, len(self.layers.devices), len(self.layers.terms)
        whole = np.array([part.sum(axis=0) for part in each]).reshape(shape)
        whole[:, :, 0] = 1
        return whole, each

    def choose(self, archs: Architectures, n: int, rng: np.random.Generator, log: Log = silent) -> Architectures:
        """Select the `n` networks that are most informative on the coefficients, judged by the first device; of more
        than `MOST_POOL` networks, so many are drawn at random first. `log` receives progress."""
        if len(archs) > MOST_POOL:
            archs = archs[np.sort(rng.choice(len(archs), MOST_POOL, replace=False))]
        first, prior, noise = self.calibrations_[0], self.layers.prior, self.layers.noise
        costs = self.layers.totals_of(archs, log)[:, first.source]
        known = np.flatnonzero(~np.isnan(costs).any(axis=1))
        if len(known) < min(n, len(archs)):
            raise InputError(
                f"Of {len(archs)} networks {len(known)} are made of layers that are known; name {n} such networks."
            )
        return archs[known[most_informative(costs[known], first.coefficients, prior, noise, n)]]

    def check_new_device(self, device: Device, samples: int) -> None:
        """Require at least one sample."""
        if not samples:
            raise too_few(self, 1, samples)

    def adapt(self, measurements: Measurements | None, device: Device | None = None) -> LayerSum:
        """Return a predictor of one new device, from measured networks or layers; this one is unchanged.

        It uses the layers of the known device with the least leave-one-out error, whose coefficients are first scaled
        to the speed of `device`. Raises `InputError` for no measurements, several devices, or contradictory rows.
        """
        if len((m := required(self, measurements, device)).devices) != 1:
            raise InputError(f"{m.name} has {len(m.devices)} devices; adapt to one at a time.")
        samples_of(m, self.layers.measured(m))
        costs, measured = self._pooled(m)
        known = ~np.isnan(ms := measured[m.devices[0].name])
        if not known.any():
            raise InputError(f"{m.name} has no measurement on {m.devices[0].name} to adapt to.")
        nearest = self._from_nearest(self.calibrations_, costs[known], ms[known], m.devices[0])
        new = self.with_devices(m.devices, [nearest])
        new.metadata_ = {"adapted": {"samples": int(known.sum()), "machine": machine_name()}}
        return new

    def state(self) -> dict[str, Any]:
        """Learnt parameters of layers and devices."""
        return {"layers": self.layers.state(), "calibrations": [c.state() for c in self.calibrations_]}

    def restore(self, state: dict[str, Any]) -> None:
        """Set the learnt parameters from `state()`; raises one of `checkpoint.DAMAGE` where they do not fit."""
        self.layers.restore(state["layers"], "a file")
        guess, prior, added = self.layers.guess(), self.layers.prior, self.layers.added
        known = np.array([name not in added for name in self.layers.terms])
        self.calibrations_ = tuple(Calibration.restored(c, known, guess, prior) for c in state["calibrations"])
        if not self.devices_ or len(self.calibrations_) != len(self.devices_) or not 0 < self.layers.noise < np.inf:
            raise ValueError("devices and coefficients do not fit together")

    def check(self) -> None:
        """Predict networks with known costs on each device; raises ValueError where a prediction is not finite."""
        for device, c in zip(self.devices_, self.calibrations_, strict=True):
            with np.errstate(all="ignore"):
                y = self.predict(self.layers.examples(c.source), device)
            if not np.isfinite(y).all():
                raise ValueError(f"predictions on {device.name} are {y.tolist()}")
