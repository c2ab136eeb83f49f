"""The two abstractions of measuring: a `Backend` builds and loads, a `Session` runs."""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol, Self

import numpy as np

from datasets.networks.model import Model
from datasets.networks.network import Network
from datasets.packages import absent, not_installed
from datasets.records import Architectures, Cost, CostModel, Device, InputError
from datasets.spaces.nasbench201 import NasBench201
from measure.builders.weights import make_weights
from measure.child_build import build_in_child
from measure.host import machine_name
from measure.timing import Repeats, Timing, clock


class Session(Protocol):
    """A loaded network; its latency is the time that `run` takes.

    Each method returns when its work is done, also on an accelerator, and may be called repeatedly: one `bind`
    serves many runs, one `run` many fetches.
    """

    def bind(self, x: np.ndarray) -> None:
        """Copy an input batch [batch, channels, height, width] in."""

    def run(self) -> None:
        """Execute once, to the end."""

    def fetch(self) -> np.ndarray:
        """Copy the output [batch, classes] of the last run out, as fp32."""


@dataclass(frozen=True)
class Built:
    """A built network: the input of a session, on this machine or another.

    Attributes:
        artefact: the file that a backend's `build` wrote.
        x: an input batch.
        expected: the network's output for it.
    """

    artefact: Path
    x: np.ndarray
    expected: np.ndarray


@dataclass(frozen=True)
class Loaded:
    """A session whose output was checked, its bound input, the wall and CPU ms that `load` took, and the wall ms of the
    first run."""

    session: Session
    x: np.ndarray
    init_ms: float
    init_cpu_ms: float
    first_ms: float


class Kernel(NamedTuple):
    """One kernel of one run: name, kind, start (us since the run began), wall and CPU time (us)."""

    name: str
    kind: str
    start_us: float
    duration_us: float
    cpu_us: float = float("nan")


@dataclass
class Backend(CostModel):
    """A runtime on this host.

    Attributes:
        precision: of weights and activations.
        batch: images per run.
        timing: the protocol of `on`.
        host: name of this machine in device names; by default derived from the processor's name.
    """

    precision: str = "fp32"
    batch: int = 1
    timing: Timing = field(default_factory=Timing)
    host: str = field(default_factory=machine_name)

    runtime: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    kind: ClassVar[str] = "server-cpu"
    packages: ClassVar[tuple[str, ...]] = ()
    """Packages that have to be installed where networks run."""
    slow_to_build: ClassVar[bool] = False
    """Whether `build` and `load` together take many seconds even for a small network."""
    builds_in_child: ClassVar[bool] = False
    """Whether `build` runs in a child process, since what it calls may crash."""
    remote: ClassVar[bool] = False
    """Whether a session's `run` is executed by another machine, where this machine's clocks do not apply."""
    bound: ClassVar[str] = ""
    """Why an artefact runs only on the machine that built it, as the end of a sentence; empty if it runs elsewhere."""

    def __post_init__(self) -> None:
        if self.precision not in self.precisions:
            raise InputError(
                f"Backend {self.runtime} has no precision '{self.precision}'; it has {', '.join(self.precisions)}."
            )
        if self.kind == "gpu":
            self.timing = replace(self.timing, by="wall")

    def builders(self) -> tuple[str, ...]:
        """Packages that have to be installed where `build` runs."""
        return self.packages

    def unavailable(self, build: bool = True) -> str:
        """Why this backend cannot run here (or, with `build`, not build here), in one sentence; empty if it can."""
        missing = absent((*self.packages, *self.builders()) if build else self.packages)
        reason = not_installed(missing[0]) if missing else self.lacks()
        return f"Backend {self.runtime} is not available here, because {reason}." if reason else ""

    def lacks(self) -> str:
        """What this host lacks besides packages, as the end of the sentence of `unavailable`."""
        return ""

    @abstractmethod
    def build(self, model: Model, folder: Path) -> Path:
        """Write the artefact of a model that has weights into `folder`."""

    def parts(self, artefact: Path) -> list[Path]:
        """The files that an artefact consists of."""
        return [artefact]

    @abstractmethod
    def load(self, artefact: Path) -> Session:
        """Load an artefact; one thread."""

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Versions of what executes the network."""

    def device(self) -> Device:
        """This host with this runtime, precision and batch."""
        family = f"{self.host}-{self.runtime}-{self.precision}"
        name = f"{self.host}_{self.runtime}_{self.precision}_{self.batch}"
        return Device(name, family, self.kind, self.runtime, self.precision, self.batch)

    def session(self, model: Network | Model, seed: int = 0) -> Session:
        """Build and load a network with its weights or seeded ones, bind a seeded input and check its output.

        A network that fixes its batch (a layer's record does) runs with that batch. A network that was read from an
        ONNX file has to compute the file's output.

        Raises:
            WrongOutput: the output is not the network's.
            BuildFailed: a build in a child process crashed, or took too long.
        """
        return self.loaded(partial(self.built, model, seed=seed)).session

    def built(self, model: Network | Model, folder: Path, seed: int = 0) -> Built:
        """Build a network into a folder, with a seeded input and the expected output."""
        model = with_weights(model, seed)
        backend = self.for_network(model.network)
        x = make_input(model.network, backend.batch, seed)
        return Built(backend.artefact(model, folder), x, expected_output(model, x))

    def loaded(self, build: Callable[[Path], Built]) -> Loaded:
        """Build into a temporary folder, load, bind the input and check the output."""
        with tempfile.TemporaryDirectory() as folder:
            built = build(Path(folder))
            backend, sessions = replace(self, batch=len(built.x)), list[Session]()
            wall, cpu = clock(lambda: sessions.append(backend.load(built.artefact)))
        (session,) = sessions
        session.bind(built.x)
        first, _ = clock(session.run)
        compare_output(session.fetch(), built.expected, self.precision)
        return Loaded(session, built.x, wall, cpu, first)

    def for_network(self, network: Network) -> Self:
        """This backend with the batch of a network that fixes one."""
        return replace(self, batch=network.batch or self.batch)

    def artefact(self, model: Model, folder: Path) -> Path:
        """Write the artefact, in a child process if the backend `builds_in_child`."""
        build = partial(self.build, model, folder)
        return build_in_child(build, self.runtime) if self.builds_in_child else build()

    def profile(self, artefact: Path, x: np.ndarray, warmup: int, runs: int) -> list[list[Kernel]]:
        """The kernels of each run after `warmup` others, in the order of execution; or means over a few runs each.

        Called by `measure.kernels.timeline`.
        """
        raise InputError(f"Backend {self.runtime} keeps no timeline of its kernels; measure whole runs with it.")

    def timed(self, session: Session, reference: Session) -> Repeats:
        """Time a loaded session, interleaved with a reference session of this backend."""
        return self.timing(session.run, reference.run)

    def on(self, device: Device | None = None, metric: str = "latency_ms") -> Cost:
        """The live cost: every call measures the median wall time [A] in ms, without correction for drift."""
        if metric != "latency_ms" or device not in (None, self.device()):
            raise InputError(f"Backend {self.runtime} measures latency_ms of {self.device().name} only.")

        def cost(archs: Architectures) -> np.ndarray:
            reference = self.session(reference_network())
            sessions = (self.session(archs.space.expand(arch)) for arch in archs)
            return np.array([self.timed(session, reference).raw_ms for session in sessions])

        return cost


class WrongOutput(RuntimeError):
    """A loaded network does not compute what it should: an empty model, a wrong layout, a bad conversion."""


TOLERANCE = {"fp32": 1e-3, "fp16": 0.05, "bf16": 0.2, "int8": 0.4}
"""Largest accepted ||output - expected|| / ||expected||. With random weights, errors of three to fifteen cells in a row
are 0.05 to 0.25 % in fp16, 0.2 to 0.8 % in bf16 and 0.7 to 6 % in int8; those of the deepest networks of OFA are 2, 7
and 29 %. The error of an empty or mis-wired network is 100 % or more."""


def compare_output(y: np.ndarray, expected: np.ndarray, precision: str) -> float:
    """Relative error of an output; raises `WrongOutput` if it is not finite or exceeds the precision's tolerance."""
    if y.shape != expected.shape:
        raise WrongOutput(f"The output has shape {y.shape}, not {expected.shape}.")
    size = np.linalg.norm(expected) or 1.0  # a small layer's ReLU may leave nothing but zeros
    error = float(np.linalg.norm(y - expected) / size)
    if not error <= TOLERANCE[precision]:
        raise WrongOutput(f"The output is off by {error:.3g} of its norm ({TOLERANCE[precision]} is accepted).")
    return error


def expected_output(model: Model, x: np.ndarray) -> np.ndarray:
    """The output that a model with weights has to compute: by numpy, or by onnx's reference evaluator for a file."""
    if model.source:
        from onnx.reference import ReferenceEvaluator

        file = ReferenceEvaluator(str(model.source))
        return np.asarray(file.run(None, {file.input_names[0]: x})[0])
    from measure.builders.numpy_reference import evaluate

    return evaluate(model.network, model.weights or {}, x)


def with_weights(model: Network | Model, seed: int = 0) -> Model:
    """The model with its weights, or with seeded ones if it has none."""
    model = Model(model) if isinstance(model, Network) else model
    return model if model.weights is not None else replace(model, weights=make_weights(model.network, seed))


def make_input(network: Network, batch: int, seed: int = 0) -> np.ndarray:
    """A seeded standard-normal batch for a shaped network, fp32."""
    shape = (batch, *network.ops[0].attrs["shape"])
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def calibration_inputs(network: Network, batch: int, count: int) -> list[np.ndarray]:
    """Seeded batches that determine the ranges of int8; they are never measured."""
    return [make_input(network, batch, seed=1000 + i) for i in range(count)]


def reference_network() -> Network:
    """The fixed network that every measurement is interleaved with: one cell per stage, with all five ops."""
    space = NasBench201(cells=1)
    key = "|nor_conv_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
    return space.expand(space.parse([key])[0])
