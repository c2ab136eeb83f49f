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
from measure.apart import build_apart
from measure.builders.weights import make_weights
from measure.host import machine_name
from measure.timing import Repeats, Timing, clock


class Session(Protocol):
    """A loaded network; what is timed as latency is `run`.

    Each method returns when its work is done, on an accelerator too, and may be called again and again: one `bind`
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
    """What a session is made from, wherever it was built.

    Attributes:
        artefact: the file that a backend's `build` wrote.
        x: an input batch.
        expected: what the network computes of it.
    """

    artefact: Path
    x: np.ndarray
    expected: np.ndarray


@dataclass(frozen=True)
class Loaded:
    """A session whose output was checked, the input that is bound, and the wall and CPU ms that `load` took."""

    session: Session
    x: np.ndarray
    init_ms: float
    init_cpu_ms: float


class Kernel(NamedTuple):
    """One kernel of one run: its name, what it is, microseconds since the run began, wall and CPU microseconds."""

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
        batch: images a run.
        timing: the protocol of `on`.
        host: name of this machine in device names; by default it is made from the processor's.
    """

    precision: str = "fp32"
    batch: int = 1
    timing: Timing = field(default_factory=Timing)
    host: str = field(default_factory=machine_name)

    runtime: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    kind: ClassVar[str] = "server-cpu"
    packages: ClassVar[tuple[str, ...]] = ()
    """What has to be installed where networks run."""
    slow_to_build: ClassVar[bool] = False
    """Whether `build` and `load` together take many seconds even for a small network."""
    builds_apart: ClassVar[bool] = False
    """Whether `build` runs in a child process, since what it calls may crash."""
    remote: ClassVar[bool] = False
    """Whether a session's `run` is executed by another machine, so that this one's clocks tell nothing about it."""
    bound: ClassVar[str] = ""
    """Why an artefact runs only on the machine that built it, as the end of a sentence; nothing where it does not."""

    def __post_init__(self) -> None:
        if self.precision not in self.precisions:
            raise InputError(
                f"Backend {self.runtime} has no precision '{self.precision}'; it has {', '.join(self.precisions)}."
            )
        if self.kind == "gpu":
            self.timing = replace(self.timing, by="wall")

    def builders(self) -> tuple[str, ...]:
        """What has to be installed where `build` runs."""
        return self.packages

    def unavailable(self, build: bool = True) -> str:
        """Why this backend cannot run here (or not `build` here, either), in one sentence; nothing where it can."""
        missing = absent((*self.packages, *self.builders()) if build else self.packages)
        reason = not_installed(missing[0]) if missing else self.lacks()
        return f"Backend {self.runtime} is not available here, because {reason}." if reason else ""

    def lacks(self) -> str:
        """What this host lacks although the packages are there, as the end of that sentence."""
        return ""

    @abstractmethod
    def build(self, model: Model, folder: Path) -> Path:
        """Write the artefact of a model, whose weights are there, into `folder`."""

    def parts(self, artefact: Path) -> list[Path]:
        """The files that an artefact is made of."""
        return [artefact]

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

    def session(self, model: Network | Model, seed: int = 0) -> Session:
        """Build and load a network with its weights or seeded ones, bind a seeded input and check what it computes.

        A network that fixes its batch (a layer's record does) runs with that one. One that was read from an ONNX file
        must compute what the file says.

        Raises:
            WrongOutput: the output is not the network's.
            BuildFailed: what builds apart crashed, or took too long.
        """
        return self.loaded(partial(self.built, model, seed=seed)).session

    def built(self, model: Network | Model, folder: Path, seed: int = 0) -> Built:
        """Build a network into a folder, with a seeded input and what it must compute of it."""
        model = with_weights(model, seed)
        backend = self.for_network(model.network)
        x = make_input(model.network, backend.batch, seed)
        return Built(backend.artefact(model, folder), x, expected_output(model, x))

    def loaded(self, build: Callable[[Path], Built]) -> Loaded:
        """Load what is built into a temporary folder, bind its input and check what it computes."""
        with tempfile.TemporaryDirectory() as folder:
            built = build(Path(folder))
            backend, sessions = replace(self, batch=len(built.x)), list[Session]()
            wall, cpu = clock(lambda: sessions.append(backend.load(built.artefact)))
        (session,) = sessions
        session.bind(built.x)
        session.run()
        compare_output(session.fetch(), built.expected, self.precision)
        return Loaded(session, built.x, wall, cpu)

    def for_network(self, network: Network) -> Self:
        """This backend with the batch that a network may fix."""
        return replace(self, batch=network.batch or self.batch)

    def artefact(self, model: Model, folder: Path) -> Path:
        """What `build` writes; in a child process if the backend `builds_apart`."""
        build = partial(self.build, model, folder)
        return build_apart(build, self.runtime) if self.builds_apart else build()

    def profile(self, artefact: Path, x: np.ndarray, warmup: int, runs: int) -> list[list[Kernel]]:
        """The kernels of each run after `warmup` others, in the order of execution; or the means of a few runs each.

        `measure.kernels.timeline` asks for them.
        """
        raise InputError(f"Backend {self.runtime} keeps no timeline of its kernels; measure whole runs with it.")

    def timed(self, session: Session, reference: Session) -> Repeats:
        """Time what was loaded, interleaved with a reference session of this backend."""
        return self.timing(session.run, reference.run)

    def on(self, device: Device | None = None, metric: str = "latency_ms") -> Cost:
        """The live cost: every call measures. It is the median wall time (nothing to correct drift against)."""
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
"""Largest accepted ||output - expected|| / ||expected||. Fewer bits really are that rough with random weights. Cells,
three to fifteen in a row: fp16 0.05 to 0.25 %, bf16 0.2 to 0.8 %, int8 0.7 to 6 %. The deepest networks of OFA: 2, 7
and 29 %. An empty or mis-wired network is off by 1 or more."""


def compare_output(y: np.ndarray, expected: np.ndarray, precision: str) -> float:
    """Relative error of an output; above the precision's tolerance, or not finite, it raises `WrongOutput`."""
    if y.shape != expected.shape:
        raise WrongOutput(f"The output has shape {y.shape}, not {expected.shape}.")
    size = np.linalg.norm(expected) or 1.0  # a small layer's ReLU may leave nothing but zeros
    error = float(np.linalg.norm(y - expected) / size)
    if not error <= TOLERANCE[precision]:
        raise WrongOutput(f"The output is off by {error:.3g} of its norm ({TOLERANCE[precision]} is accepted).")
    return error


def expected_output(model: Model, x: np.ndarray) -> np.ndarray:
    """What a model, whose weights are there, must compute: in numpy, or as onnx's reference runs its file."""
    if model.source:
        from onnx.reference import ReferenceEvaluator

        file = ReferenceEvaluator(str(model.source))
        return np.asarray(file.run(None, {file.input_names[0]: x})[0])
    from measure.builders.numpy_reference import evaluate

    return evaluate(model.network, model.weights or {}, x)


def with_weights(model: Network | Model, seed: int = 0) -> Model:
    """A model whose weights are there, seeded where it has none."""
    model = Model(model) if isinstance(model, Network) else model
    return model if model.weights is not None else replace(model, weights=make_weights(model.network, seed))


def make_input(network: Network, batch: int, seed: int = 0) -> np.ndarray:
    """A seeded standard-normal batch for a shaped network, fp32."""
    shape = (batch, *network.ops[0].attrs["shape"])
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def calibration_inputs(network: Network, batch: int, count: int) -> list[np.ndarray]:
    """Seeded batches that the ranges of int8 are taken from; none of them is ever measured."""
    return [make_input(network, batch, seed=1000 + i) for i in range(count)]


def reference_network() -> Network:
    """The fixed network that every measurement is interleaved with: one cell a stage, all five ops in it."""
    space = NasBench201(cells=1)
    key = "|nor_conv_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
    return space.expand(space.parse([key])[0])
