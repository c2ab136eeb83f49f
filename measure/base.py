"""The two abstractions of measuring: a `Backend` builds and loads, a `Session` runs."""

from __future__ import annotations

import importlib.util
import tempfile
from abc import abstractmethod
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from datasets.records import Architecture, Architectures, Cost, CostModel, Device, InputError
from datasets.spaces.nasbench201 import NasBench201
from measure.build.weights import Weights, make_weights
from measure.timing import Repeats, Timing


class Session(Protocol):
    """A loaded network; what is timed as latency is `run`."""

    def bind(self, x: np.ndarray) -> None:
        """Copy an input batch [batch, channels, height, width] in."""

    def run(self) -> None:
        """Execute once, to the end."""

    def fetch(self) -> np.ndarray:
        """Copy the output [batch, classes] of the last run out."""


@dataclass
class Backend(CostModel):
    """A runtime on this host.

    Attributes:
        precision: of weights and activations.
        batch: images a run.
        timing: the protocol of `on`.
        host: name of this machine in device names.
    """

    precision: str = "fp32"
    batch: int = 1
    timing: Timing = field(default_factory=Timing)
    host: str = "host"

    runtime: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    kind: ClassVar[str] = "server-cpu"
    packages: ClassVar[tuple[str, ...]] = ()
    """What has to be installed."""

    def __post_init__(self) -> None:
        if self.precision not in self.precisions:
            raise InputError(
                f"Backend {self.runtime} has no precision '{self.precision}'; it has {', '.join(self.precisions)}."
            )

    def unavailable(self) -> str:
        """Why this backend cannot run here, in one sentence; nothing where it can."""
        missing = [package for package in self.packages if not _installed(package)]
        reason = f"the package {missing[0]} is not installed" if missing else self.lacks()
        return f"Backend {self.runtime} is not available here, because {reason}." if reason else ""

    def lacks(self) -> str:
        """What this host lacks although the packages are there, as the end of that sentence."""
        return ""

    @abstractmethod
    def build(self, network: Architecture, weights: Weights, folder: Path) -> Path:
        """Write the artefact of a shaped network into `folder`."""

    @abstractmethod
    def load(self, artefact: Path) -> Session:
        """Load what `build` wrote; one thread."""

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Versions of what executes the network."""

    def device(self) -> Device:
        """This host with this runtime, precision and batch."""
        family = f"{self.host}-{self.runtime}-{self.precision}"
        name = f"{self.host}_{self.runtime}_{self.precision}_{self.batch}"
        return Device(name, family, self.kind, self.runtime, self.precision, self.batch)

    def session(self, network: Architecture, seed: int = 0, weights: Weights | None = None) -> Session:
        """Build and load a network with its weights or seeded ones, bind a seeded input and check what it computes.

        A network whose input names a `batch` (a layer's record does) runs with that one. One whose input names the
        ONNX `file` that it was read from must compute what the file says.

        Raises:
            WrongOutput: the output is not the network's.
        """
        batch = network.ops[0].attrs.get("batch", self.batch)
        if batch != self.batch:
            return replace(self, batch=batch).session(network, seed, weights)
        weights = make_weights(network, seed) if weights is None else weights
        x = make_input(network, self.batch, seed)
        with tempfile.TemporaryDirectory() as folder:
            session = self.load(self.build(network, weights, Path(folder)))
        session.bind(x)
        session.run()
        check_output(session.fetch(), network, weights, x, self.precision)
        return session

    def measure(self, network: Architecture, reference: Session, weights: Weights | None = None) -> Repeats:
        """Time a shaped network, interleaved with a reference session of this backend."""
        return self.timing(self.session(network, weights=weights).run, reference.run)

    def on(self, device: Device | None = None, metric: str = "latency_ms") -> Cost:
        """The live cost: every call measures. It is the median wall time (nothing to correct drift against)."""
        if metric != "latency_ms" or device not in (None, self.device()):
            raise InputError(f"Backend {self.runtime} measures latency_ms of {self.device().name} only.")

        def cost(archs: Architectures) -> np.ndarray:
            reference = self.session(reference_network())
            return np.array([self.measure(archs.space.expand(arch), reference).raw_ms for arch in archs])

        return cost


class WrongOutput(RuntimeError):
    """A loaded network does not compute what it should: an empty model, a wrong layout, a bad conversion."""


TOLERANCE = {"fp32": 1e-3, "int8": 0.2}
"""Largest accepted ||output - expected|| / ||expected||. Eight bits through fifteen random cells really are that
rough (1 to 5 %); an empty or mis-wired network is off by 1 or more."""


def check_output(y: np.ndarray, network: Architecture, weights: Weights, x: np.ndarray, precision: str) -> float:
    """Relative error against the numpy reference; above the tolerance, or not finite, it raises `WrongOutput`."""
    expected = _expected(network, weights, x)
    if y.shape != expected.shape:
        raise WrongOutput(f"The output has shape {y.shape}, not {expected.shape}.")
    error = float(np.linalg.norm(y - expected) / np.linalg.norm(expected))
    if not error <= TOLERANCE[precision]:
        raise WrongOutput(f"The output is off by {error:.3g} of its norm ({TOLERANCE[precision]} is accepted).")
    return error


def _expected(network: Architecture, weights: Weights, x: np.ndarray) -> np.ndarray:
    if file := network.ops[0].attrs.get("file"):
        from onnx.reference import ReferenceEvaluator

        model = ReferenceEvaluator(file)
        return np.asarray(model.run(None, {model.input_names[0]: x})[0])
    from measure.build.numpy_reference import evaluate

    return evaluate(network, weights, x)


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # of a.b, where there is no a
        return False


def make_input(network: Architecture, batch: int, seed: int = 0) -> np.ndarray:
    """A seeded standard-normal batch for a shaped network, fp32."""
    shape = (batch, *network.ops[0].attrs["shape"])
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def reference_network() -> Architecture:
    """The fixed network that every measurement is interleaved with: one cell a stage, all five ops in it."""
    space = NasBench201(cells=1)
    key = "|nor_conv_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
    return space.expand(space.parse([key])[0])
