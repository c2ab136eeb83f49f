"""Networks as sums of their layers (PerfNetRT, equations 1 and 2), for any network whose ops have shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from datasets.files.checkpoint import array, read_checkpoint, restoring, write_checkpoint
from datasets.measured import Measured
from datasets.networks.network import Network
from datasets.records import Architectures, Cost, CostModel, Device, InputError, Measurements, Space
from encoders.layer import LayerPhysics
from predictors.base import FORMAT, Log, devices_of, silent
from predictors.belief import Belief
from predictors.config import from_config, to_config
from predictors.networks.calibration import calibrate, covariance, left_out, most_telling
from predictors.networks.layer_costs import COEFFICIENTS, LAYERS, PRIOR, LayerCosts
from predictors.networks.pieces import Piece, pieces
from predictors.regressor import Regressor
from predictors.scaling import Scale
from predictors.trees import XGBoost

Networks = Architectures | Sequence[Network]
"""Of any space, or shaped already."""

_LAYER_COLUMNS = [COEFFICIENTS.index(kind) for kind in ("convolution", "stem", "depthwise", "wide", "pooling", "dense")]


def _trees() -> Regressor:
    """The best of one kind in the study of layers, as configs/predictors/layer_trees.yaml has it."""
    return XGBoost(metric="exe_ms", columns=0.5, depth=5, min_child_weight=2.0, encoder=LayerPhysics(tiles=False))


@dataclass
class LayerwisePredictor(CostModel):
    """Prices networks on the devices of layer tables, by one predictor a kind of layer and a few coefficients a device.

    A run takes a session's time and, for every piece (`pieces.py`), a call's, a factor times what its layer takes alone
    less a session, or the bytes that it moves times a byte's, and what its activations and cold weights add. The
    coefficients begin as what layers tell; measured networks move them as far as they speak for it (`calibration.py`),
    so that two networks do and twenty do better.

    Attributes:
        convolution: predicts `exe_ms` of such layers; so do the others.
        pooling: maximum pooling; other pooling is priced like it.
        dense: fully connected ones.
        held: share of each table's layers that are not learnt, for the intervals.
        noise: relative error of a sum that is no fault of coefficients; if it is smaller, networks count for more.
        seed: of the share that is held.
    """

    convolution: Regressor = field(default_factory=_trees)
    pooling: Regressor = field(default_factory=_trees)
    dense: Regressor = field(default_factory=_trees)
    held: float = 0.1
    noise: float = 0.1
    seed: int = 0

    metric = "latency_ms"
    space_: Space = field(init=False, repr=False, compare=False)  # that it is shown; it prices those of any
    devices_: tuple[Device, ...] = field(init=False, repr=False, compare=False)
    layers_: LayerCosts = field(init=False, repr=False, compare=False)  # of S devices
    source_: list[int] = field(init=False, repr=False, compare=False)  # [D] whose of them are each device's
    coefficients_: np.ndarray = field(init=False, repr=False, compare=False)  # [D, K]
    covariances_: np.ndarray = field(init=False, repr=False, compare=False)  # [D, K, K] of their logarithms
    errors_: list[list[float]] = field(init=False, repr=False, compare=False)  # [D] log errors of left-out networks
    metadata_: dict[str, Any] = field(init=False, repr=False, compare=False)

    @staticmethod
    def of(layer: Regressor) -> LayerwisePredictor:
        """One predictor, not fitted yet, for every kind of layer."""
        tree = to_config(replace(layer, metric="exe_ms"))
        kinds = [from_config(tree, Regressor) for _ in LAYERS]  # type: ignore[type-abstract]
        return LayerwisePredictor(kinds[0], kinds[1], kinds[2])

    def fit(
        self, layers: Mapping[str, Measurements], networks: Sequence[Measurements] = (), log: Log = silent
    ) -> LayerwisePredictor:
        """Learn tables of layers (`convolution`, `pooling`, `dense`, with `exe_ms`, `pre_ms` and `post_ms` on the same
        devices), and coefficients from measured networks (`latency_ms`) of any spaces, if there are some."""
        if not 0 < self.held < 1 or self.noise <= 0:
            raise InputError(f"held = {self.held} must lie between 0 and 1, and noise = {self.noise} above 0.")
        self.layers_ = LayerCosts({kind: getattr(self, kind) for kind in LAYERS}).fit(layers, self.held, self.seed, log)
        self.devices_, size = self.layers_.devices, len(self.layers_.devices)
        self.source_, self.errors_ = list(range(size)), [[] for _ in range(size)]
        self.coefficients_, self.covariances_ = self.layers_.guess(), np.tile(PRIOR, (size, 1, 1))
        if networks:
            vars(self).update(vars(self.calibrated(networks, log)))
        return self

    def calibrated(self, networks: Sequence[Measurements], log: Log = silent) -> LayerwisePredictor:
        """A copy whose coefficients are learnt from these networks alone; those of other devices do not count."""
        new, guess = self._copy(self.devices_), self.layers_.guess()
        pooled = [self._pooled(m) for m in networks]
        for d, device in enumerate(new.devices_):
            s = new.source_[d] = self.source_[d]
            found = [(costs[:, s], ms[device.name]) for costs, ms in pooled if device.name in ms]
            costs = np.concatenate([np.empty((0, len(COEFFICIENTS))), *(c for c, _ in found)])
            ms = np.concatenate([np.empty(0), *(y for _, y in found)])
            new._learn(d, costs[~np.isnan(ms)], ms[~np.isnan(ms)], guess[s])
            if off := new.errors_[d]:
                log(f"{device.name}: {len(off)} networks, {100 * np.abs(np.expm1(off)).mean():.1f} % off if left out")
        return new

    # Prices

    def predict(self, archs: Networks, device: Device | None = None, batch: int | None = None) -> np.ndarray:
        """Milliseconds [A] of running them, without the copies in and out.

        Args:
            archs: networks.
            device: one of its own; may be left out where there is one only.
            batch: images a run; by default each network's own.
        """
        d = self.position(device)
        costs, _ = self.costs(archs, batch)
        return costs[:, self.source_[d]] @ self.coefficients_[d]

    def predict_interval(
        self, archs: Networks, device: Device | None = None, level: float = 0.9, batch: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ends [A] of the interval in which the milliseconds lie with a probability of `level`.

        The spread of the logarithm is what the coefficients leave open, and by what measured networks were off when
        they were left out; where fewer than three were measured, `noise` and the errors of layers instead.
        """
        return self.belief(archs, device, batch).interval(level)

    def belief(self, archs: Networks, device: Device | None = None, batch: int | None = None) -> Belief:
        """Distributions [A] of the milliseconds of running networks on one device: Student's t of their logarithms."""
        d = self.position(device)
        costs, parts = self.costs(archs, batch)
        return self.believed(d, costs[:, self.source_[d]], [part[:, self.source_[d]] for part in parts])

    def believed(self, d: int, costs: np.ndarray, parts: Sequence[np.ndarray]) -> Belief:
        """Distributions [A] from the costs of networks [A, K] and of their pieces [P, K] each, on device number `d`."""
        ms, errors = costs @ self.coefficients_[d], np.array(self.errors_[d])
        shares = costs * self.coefficients_[d] / ms[:, None]
        variance = np.einsum("ai,ij,aj->a", shares, self.covariances_[d], shares)
        if len(errors) > 2:
            variance += (errors**2).mean()
        else:
            each = self.layers_.deviations[self.source_[d]][[0, 0, 1, 1, 1, 2]]  # depthwise ones: as pooling's
            off = [(((part * self.coefficients_[d])[:, _LAYER_COLUMNS] * each) ** 2).sum() for part in parts]
            variance += self.noise**2 + np.array(off) / ms**2
        return Belief(np.log(ms), np.sqrt(variance), Scale.of("log"), max(len(errors) - 1, 5))

    def on(self, device: Device | None, metric: str = "latency_ms") -> Cost:
        """The prediction as a cost, for architectures of any space that has shapes."""
        if metric != "latency_ms":
            raise InputError(f"This predictor predicts latency_ms, not {metric}.")
        self.position(device)
        return lambda archs: self.predict(archs, device)

    def position(self, device: Device | None) -> int:
        """Which of its devices this is."""
        names = [d.name for d in self.devices_]
        if device is None and len(names) == 1:
            return 0
        if device is None or device.name not in names:
            what = "Name a device" if device is None else f"There is no device '{device.name}' here"
            raise InputError(f"{what}; this predictor answers for: {', '.join(names)}.")
        return names.index(device.name)

    def costs(self, archs: Networks, batch: int | None = None) -> tuple[np.ndarray, list[np.ndarray]]:
        """What the coefficients multiply: of networks [A, S, K], and of their pieces [P, S, K] each."""
        return self.sums([pieces(network, batch) for network in shaped(archs)])

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
        costs, _ = self.costs(archs)
        told = most_telling(costs[:, self.source_[0]], self.coefficients_[0], PRIOR, self.noise, n)
        return archs[np.array(told, int)]

    def check_new_device(self, device: Device, samples: int) -> None:
        """One sample of any device will do."""
        from predictors.new_devices.few_shot import too_few

        if not samples:
            raise too_few(self, 1, samples)

    def adapt(self, few: Measurements | None, device: Device | None = None) -> LayerwisePredictor:
        """A predictor for the devices of a few measured networks, or layers; this one stays as it was.

        A new device takes over the layers of that one of these by which measurements that are left out are predicted
        best; one factor brings that one's coefficients to the new one's speed before they are learnt.

        Raises:
            InputError: a device without measurements, or rows of one network that contradict each other.
        """
        from predictors.new_devices.few_shot import given, samples_of

        few = given(self, few, device)
        for device in few.devices:
            samples_of(few.where(devices=[device.name]), _metric(few))
        costs, measured = self._pooled(few)
        new = self._copy(few.devices)
        for d, device in enumerate(few.devices):
            known = ~np.isnan(measured[device.name])
            y, trials = measured[device.name][known], list[tuple[float, int, np.ndarray]]()
            if not len(y):
                raise InputError(f"{few.name} has no measurement on {device.name} to adapt to.")
            for s, coefficients in zip(self.source_, self.coefficients_, strict=True):
                mine = costs[known, s]
                guess = coefficients * np.exp(np.median(np.log(y / (mine @ coefficients))))
                new._learn(d, mine, y, guess)
                off = new.errors_[d] or np.log(y / (mine @ new.coefficients_[d]))
                trials.append((float(np.abs(off).mean()), s, guess))
            _, new.source_[d], guess = min(trials, key=lambda trial: trial[0])
            new._learn(d, costs[known, new.source_[d]], y, guess)
        return new

    def _copy(self, devices: tuple[Device, ...]) -> LayerwisePredictor:
        """A copy with the same layers, for devices whose coefficients are still to be learnt."""
        new, size = replace(self), (len(devices), len(COEFFICIENTS))
        new.layers_, new.devices_ = self.layers_, devices
        new.source_, new.errors_ = [0] * size[0], [[] for _ in devices]
        new.coefficients_, new.covariances_ = np.empty(size), np.empty((*size, size[1]))
        return new

    def _learn(self, d: int, costs: np.ndarray, ms: np.ndarray, guess: np.ndarray) -> None:
        """Coefficients of one device, from the costs [n, K] and milliseconds [n] of networks."""
        how = guess, PRIOR, self.noise
        self.coefficients_[d] = calibrate(costs, ms, *how)
        self.covariances_[d] = covariance(costs, self.coefficients_[d], PRIOR, self.noise)
        self.errors_[d] = left_out(costs, ms, *how).tolist() if len(ms) > 2 else []

    def _pooled(self, m: Measurements) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Costs [A, S, K] of what was measured, and the milliseconds [A] by the devices' names; rows of one network are
        one measurement, their median."""
        m = m.distinct()
        ms = m.matrix(_metric(m)).T
        return self.costs(m.architectures)[0], dict(zip([d.name for d in m.devices], ms, strict=True))

    # Artefact

    def metadata(self) -> dict[str, Any]:
        """All that makes the numbers mean something, as `Predictor.metadata` has it."""
        about = {"format": FORMAT, "predictor": to_config(self), "unit": "ms", "space": "networks with shapes"}
        return {**about, "devices": [d.to_dict() for d in self.devices_], **getattr(self, "metadata_", {})}

    def save(self, path: Path) -> None:
        """Write one file with all of it, layer predictors too: plain containers and tensors."""
        learnt = {name: getattr(self, f"{name}_") for name in ("source", "coefficients", "covariances", "errors")}
        write_checkpoint({**self.metadata(), "layers": self.layers_.state(), "state": learnt}, path)

    @staticmethod
    def load(path: Path) -> LayerwisePredictor:
        """Read what `save` wrote; nothing in the file is executed.

        Raises:
            InputError: no such file, a truncated, foreign or edited one, a pickle with more than plain data in it.
        """
        saved = read_checkpoint(path)
        if saved.get("format") != FORMAT or "layers" not in saved:
            raise InputError(
                f"{path} prices no networks; `python -m predictors layerwise --out FILE` writes one that does."
            )
        with restoring(f"What was learnt in {path} does not fit its configuration; was it edited?"):
            predictor = from_config(saved["predictor"], LayerwisePredictor)
            predictor.devices_ = devices_of(saved["devices"])
            predictor.layers_ = LayerCosts.restored(saved["layers"], str(path))
            predictor.restore(saved["state"])
        told = ("format", "predictor", "unit", "space", "devices", "layers", "state")
        predictor.metadata_ = {key: value for key, value in saved.items() if key not in told}
        return predictor

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put what was learnt of the devices back; what does not fit raises a ValueError, KeyError or TypeError."""
        d, k, known = len(self.devices_), len(COEFFICIENTS), range(len(self.layers_.devices))
        self.coefficients_ = array(state["coefficients"], d, k)
        self.covariances_ = array(state["covariances"], d, k, k)
        self.source_, self.errors_ = state["source"], state["errors"]
        if not d or len(self.source_) != d or any(type(s) is not int or s not in known for s in self.source_):
            raise ValueError("a device has no layers")
        if len(self.errors_) != d or not np.isfinite([float(error) for some in self.errors_ for error in some]).all():
            raise ValueError("errors are not one list of numbers a device")
        if not (self.coefficients_ > 0).all() or not 0 < self.noise < np.inf:
            raise ValueError("coefficients and noise must be above zero")


def _metric(m: Measurements) -> str:
    """What tables of networks, or of layers, call the milliseconds of a run."""
    known = set(m.table["metric"])
    return next((name for name in ("latency_ms", "exe_ms") if name in known), "latency_ms")


def shaped(archs: Networks) -> Sequence[Network]:
    """Networks with shapes: those of a space are expanded."""
    return [archs.space.expand(arch) for arch in archs] if isinstance(archs, Architectures) else archs


def read_tables(folder: Path, names: Sequence[str], devices: Sequence[str] = ()) -> list[Measurements]:
    """Measured tables of a folder, by their names; of some devices only, where some are named."""
    found = [Measured(folder / f"{name}.parquet").measurements() for name in names]
    return [m.where(devices=[d.name for d in m.devices if d.name in devices]) if devices else m for m in found]
