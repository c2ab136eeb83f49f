"""Networks as sums of their layers (PerfNetRT, equations 1 and 2), for any network whose ops have shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from datasets.networks.collection import AnyNetwork
from datasets.networks.network import Network
from datasets.records import Architectures, Device, InputError, Measurements, Networks, Space
from predictors.base import Log, Predictor, silent
from predictors.belief import Belief
from predictors.networks.calibration import Calibration, most_telling
from predictors.networks.costs import Costs
from predictors.networks.layer_table import LayerTable
from predictors.networks.learnt import Learnt
from predictors.networks.tabulated import Tabulated
from predictors.scaling import Scale


@dataclass
class LayerSum(Predictor):
    """Predicts networks of any kinds by what their layers take, and a few coefficients a device.

    A run takes a session's time and, for every piece (`pieces.py`), a call's, a factor times what its layer takes alone
    less a session, and what its bytes, activations or cold weights add. The coefficients begin as what tables of layers
    tell; measured networks move them as far as they speak for it (`calibration.py`), so that two networks do and twenty
    do better.

    Attributes:
        layers: what layers cost: `Learnt` by predictors of layers, which answer for any; or `Tabulated`, by a table of
            the networks' own layers.
    """

    layers: Costs = field(default_factory=Learnt)

    learns_to: ClassVar[float] = 0.2  # of labels that know nothing of what runtimes run as one

    metric = "latency_ms"
    space_: Space = field(default=AnyNetwork(), init=False, repr=False, compare=False)
    devices_: tuple[Device, ...] = field(init=False, repr=False, compare=False)
    calibrations_: tuple[Calibration, ...] = field(init=False, repr=False, compare=False)  # of D devices
    metadata_: dict[str, Any] = field(init=False, repr=False, compare=False)

    @staticmethod
    def summing(layers: Costs) -> LayerSum:
        """One that sums costs that have been learnt, uncorrected, for their devices."""
        return LayerSum(layers)._uncorrected()

    @staticmethod
    def tabulated(path: Path, kinds: Sequence[str] | None = None, log: Log = silent) -> LayerSum:
        """One that sums the layers of a table, corrected by the whole networks that it holds beside them.

        Args:
            path: of the table.
            kinds: of layers of the networks that are priced; of those that were measured whole, the ones made of just
                these count, where there are some.
            log: takes progress.
        """
        new = LayerSum(costs := Tabulated(path)).learn_layers(log)
        whole = costs.whole(kinds) or costs.whole()
        return new if whole is None else new.calibrated(whole, log)

    # The fit

    def learn_layers(self, log: Log = silent) -> Self:
        """Learn what layers take; afterwards it answers for the devices of their tables, uncorrected. Raises
        `InputError` where a table cannot be read or learnt."""
        self.layers.learn(log)
        return self._uncorrected()

    def _uncorrected(self) -> Self:
        if not 0 < self.layers.noise < np.inf:
            raise InputError(f"noise = {self.layers.noise} must be above 0.")
        self.devices_, self.calibrations_ = self.layers.devices, self._prior()
        return self

    def _prior(self) -> tuple[Calibration, ...]:
        """The uncorrected ones of the devices of `layers`."""
        return tuple(Calibration.prior(s, guess, self.layers.prior) for s, guess in enumerate(self.layers.guess()))

    def table(self, device: Device | None) -> LayerTable:
        """What layers take on a device by a table of them and its coefficients: sums of its entries, less its `call_ms`
        for each layer but one, are the predictions. Raises `InputError` where layers were learnt."""
        if not isinstance(self.layers, Tabulated):
            raise InputError(
                "This predictor has learnt layers and holds no table of them; name one of `python -m predictors "
                "layerwise --lut TABLE`."
            )
        c = self.calibration(device)
        return replace(self.layers.table(c.source, c.coefficients), device=self.devices_[self.column(device)].name)

    def fit(self, train: Measurements, val: Measurements | None = None, log: Log = silent) -> Self:
        """Learn the coefficients of the devices of `train` from its networks, or architectures; layers are learnt, if
        they were not before.

        A device without tables of layers takes over those of the device by which its own networks are predicted best.

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

    def calibrated(self, networks: Measurements, log: Log = silent) -> LayerSum:
        """A copy for the same devices, whose coefficients are learnt from these networks alone; devices without
        measurements of networks keep what they have."""
        names = {device.name for device in self.devices_}
        found = self._calibrations(networks.where(devices=[d.name for d in networks.devices if d.name in names]), log)
        kept = zip(self.devices_, self.calibrations_, strict=True)
        return self.with_devices(self.devices_, [found.get(device.name, before) for device, before in kept])

    def _calibrations(self, m: Measurements, log: Log) -> dict[str, Calibration]:
        """What networks say of each of their devices that has measurements, by the devices' names."""
        own = {device.name: before for device, before in zip(self.layers.devices, self._prior(), strict=True)}
        costs, measured = self._pooled(m)
        found = {}
        for device in m.devices:
            known = ~np.isnan(measured[device.name])
            there, ms = costs[known], measured[device.name][known]
            if not len(ms):
                continue
            if device.name not in own:
                found[device.name] = self._from_nearest(self._prior(), there, ms, device)
            elif (learnt := self._learnt(own[device.name], there, ms)) is not None:
                found[device.name] = learnt[1]
            if device.name in found and len(off := found[device.name].errors):
                log(f"{device.name}: {len(off)} networks, {100 * np.abs(np.expm1(off)).mean():.1f} % off if left out")
        return found

    def _learnt(
        self, before: Calibration, costs: np.ndarray, ms: np.ndarray, speed: bool = False
    ) -> tuple[float, Calibration] | None:
        """How far a calibration is off, and itself, from the networks whose costs [n, S, K] its source knows; `speed`:
        one factor first brings the coefficients to the device's speed."""
        mine = costs[:, before.source]
        known = ~np.isnan(mine).any(axis=1)
        if not known.any():
            return None
        mine, ms = mine[known], ms[known]
        factor = np.exp(np.median(np.log(ms / _totals(mine, before)))) if speed else 1.0
        found = Calibration.of(
            before.source, mine, ms, before.coefficients * factor, self.layers.prior, self.layers.noise
        )
        off = found.errors if len(found.errors) else np.log(ms / _totals(mine, found))
        return float(np.abs(off).mean()), found

    def _from_nearest(
        self, known: Sequence[Calibration], costs: np.ndarray, ms: np.ndarray, device: Device
    ) -> Calibration:
        """A new device's, from that one of some calibrations by which networks that are left out are predicted best."""
        trials = [trial for before in known if (trial := self._learnt(before, costs, ms, speed=True)) is not None]
        if not trials:
            raise InputError(
                f"No network that was measured on {device.name} is made of layers that are known; measure such as "
                "`python -m predictors choose` names."
            )
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
        new.devices_, new.calibrations_ = tuple(devices), tuple(calibrations)
        return new

    # Predictions

    def predict_all(self, archs: Architectures, chunk: int = 0) -> np.ndarray:
        """Milliseconds [A, D] of running networks, without the copies in and out, `chunk` networks at once; a network
        with a layer that a device does not know raises `InputError`."""
        return self._predicted(archs, self.calibrations_, chunk)

    def predict(self, archs: Architectures, device: Device | None = None) -> np.ndarray:
        """Those [A] of one device."""
        return self._predicted(archs, [self.calibration(device)])[:, 0]

    def _predicted(self, archs: Architectures, of: Sequence[Calibration], chunk: int = 0) -> np.ndarray:
        found, chunk = [np.empty((0, len(of)))], chunk or 1000
        for start in range(0, len(archs), chunk):
            networks = Networks.of(archs[start : start + chunk])
            costs, _ = self.costs(networks)
            for c in of:
                self._check_known(networks, costs, c)
            found.append(np.stack([_totals(costs[:, c.source], c) for c in of], axis=1))
        return np.concatenate(found)

    def _check_known(self, networks: Networks, costs: np.ndarray, c: Calibration) -> None:
        """Raise an `InputError` where costs [A, S, K] of a network are not known."""
        if (missing := np.isnan(costs[:, c.source]).any(axis=1)).any():
            raise self.layers.unknown(networks.networks[int(missing.argmax())], c.source)

    def belief(self, archs: Architectures, device: Device | None = None) -> Belief:
        """Distributions [A] of the milliseconds of running networks on one device: Student's t of their logarithms,
        with the spread that the coefficients leave open, and that by which measured networks were off when they were
        left out; where fewer than three were measured, `noise` and the errors of layers instead."""
        networks = Networks.of(archs)
        costs, parts = self.costs(networks)
        self._check_known(networks, costs, self.calibration(device))
        return self.believed(device, costs, parts)

    def believed(self, device: Device | None, costs: np.ndarray, parts: Sequence[np.ndarray]) -> Belief:
        """`belief` of networks whose costs [A, S, K], and of pieces [P, S, K] each, are known."""
        c = self.calibration(device)
        costs = costs[:, c.source]
        ms, variance = _totals(costs, c), c.variance(costs)
        if len(c.errors) < 3:
            each = self.layers.spread()[c.source]
            off = [((part[:, c.source] * c.coefficients * each) ** 2).sum() for part in parts]
            variance = variance + self.layers.noise**2 + np.array(off) / ms**2
        return Belief(np.log(ms), np.sqrt(variance), Scale.of("log"), max(len(c.errors) - 1, 5))

    def calibration(self, device: Device | None) -> Calibration:
        """The coefficients of one device; an unknown one raises `InputError`."""
        return self.calibrations_[self.column(device)]

    def pieces_ms(self, device: Device | None, network: Network) -> tuple[float, np.ndarray, Belief]:
        """Milliseconds of a session on one device and [P] of a network's pieces, and the belief of their sum."""
        whole, (terms,) = self.costs(Networks([network]))
        c = self.calibration(device)
        self._check_known(Networks([network]), whole, c)
        session, ms = float(c.coefficients[0]), terms[:, c.source] @ c.coefficients
        if (ms < 0).any():  # of a small layer: others have it then
            ms = np.maximum(ms, 0)
            ms *= (float(_totals(whole[:, c.source], c)[0]) - session) / max(ms.sum(), 1e-12)
        return session, ms, self.believed(device, whole, [terms])

    def costs(self, archs: Architectures) -> tuple[np.ndarray, list[np.ndarray]]:
        """What the coefficients multiply: of networks [A, S, K], and of their pieces [P, S, K] each; NaN where a layer
        is not known."""
        each = self.layers.of(Networks.of(archs))
        whole = np.array([part.sum(axis=0) for part in each]).reshape(
            -1, len(self.layers.devices), len(self.layers.terms)
        )
        whole[:, :, 0] = 1
        return whole, each

    # New devices

    def choose(self, archs: Architectures, n: int, rng: np.random.Generator) -> Architectures:
        """Which `n` of some networks to measure on a new device: those that tell most of the coefficients, as seen from
        its own first device. Of more than 2,000 it looks at as many, drawn at random."""
        if len(archs) > 2000:
            archs = archs[np.sort(rng.choice(len(archs), 2000, replace=False))]
        first, prior, noise = self.calibrations_[0], self.layers.prior, self.layers.noise
        costs = self.costs(archs)[0][:, first.source]
        known = np.flatnonzero(~np.isnan(costs).any(axis=1))
        if len(known) < min(n, len(archs)):
            raise InputError(
                f"Of {len(archs)} networks {len(known)} are made of layers that are known; name {n} such networks."
            )
        return archs[known[most_telling(costs[known], first.coefficients, prior, noise, n)]]

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
        nearest = self._from_nearest(self.calibrations_, costs[known], ms[known], few.devices[0])
        return self.with_devices(few.devices, [nearest])

    # The artefact

    def state(self) -> dict[str, Any]:
        """What was learnt of layers and of devices."""
        return {"layers": self.layers.state(), "calibrations": [c.state() for c in self.calibrations_]}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave; what does not fit the configuration raises one of `checkpoint.DAMAGE`."""
        self.layers.restore(state["layers"], "a file")
        sources, terms = len(self.layers.devices), len(self.layers.terms)
        self.calibrations_ = tuple(Calibration.restored(part, sources, terms) for part in state["calibrations"])
        if not self.devices_ or len(self.calibrations_) != len(self.devices_) or not 0 < self.layers.noise < np.inf:
            raise ValueError("devices and coefficients do not fit together")

    def check(self) -> None:
        """Predict networks that each device knows; raises a ValueError where an answer is no number."""
        for device, c in zip(self.devices_, self.calibrations_, strict=True):
            with np.errstate(all="ignore"):
                y = self.predict(self.layers.examples(c.source), device)
            if not np.isfinite(y).all():
                raise ValueError(f"predictions on {device.name} are {y.tolist()}")


def _totals(costs: np.ndarray, c: Calibration) -> np.ndarray:
    """Milliseconds [A] of costs [A, K], at least those of a session; what measured layers take less their sessions and
    calls may be below zero."""
    return np.maximum(costs @ c.coefficients, c.coefficients[0])


def _metric(m: Measurements) -> str:
    """What tables of networks, or of layers, call the milliseconds of a run."""
    known = set(m.table["metric"])
    return next((name for name in ("latency_ms", "exe_ms") if name in known), "latency_ms")
