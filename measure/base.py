"""A `Backend` builds and loads networks; what it loads are sessions (`measure.session`)."""

from __future__ import annotations

import os
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from datasets.networks.model import Model
from datasets.networks.network import Network
from datasets.networks.precision import file_precision
from datasets.packages import absent, not_installed
from datasets.records import Architectures, Cost, CostModel, Device, InputError
from datasets.spaces.nasbench201 import NasBench201
from measure.builders.nhwc import to_nhwc
from measure.builders.weights import make_weights
from measure.child_build import build_in_child
from measure.host import machine_name
from measure.inputs import calibration_inputs, draw, make_input
from measure.outputs import TOLERANCE, compare_outputs
from measure.own_files import rebuilt_note, with_file
from measure.references import Remember, computed, expected_of, expected_outputs
from measure.session import Built, Kernel, Loaded, Session, Shapes, Wanted
from measure.timing import Repeats, Timing, clock

__all__ = [
    "Backend",
    "Built",
    "Kernel",
    "Loaded",
    "Session",
    "Shapes",
    "Wanted",
    "available_cores",
    "calibration_inputs",
    "make_input",
    "reference_network",
    "with_weights",
]


@dataclass
class Backend(CostModel):
    """A runtime on this host.

    Attributes:
        precision: precision of weights and activations.
        batch: images per run.
        timing: the protocol of `on`.
        host: name of this machine in device names; by default derived from the processor's name.
        threads: number of threads that compute.
    """

    precision: str = "fp32"
    batch: int = 1
    timing: Timing = field(default_factory=Timing)
    host: str = field(default_factory=machine_name)
    threads: int = 1

    runtime: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    kind: ClassVar[str] = "server-cpu"
    packages: ClassVar[tuple[str, ...]] = ()
    """Packages that have to be installed where networks run."""
    files: ClassVar[tuple[str, ...]] = ()
    """Suffixes of files that are run as they are."""
    sources: ClassVar[tuple[str, ...]] = ()
    """Suffixes of files that `build` converts; of other files it builds the network that was read from them."""
    computes: ClassVar[tuple[str, ...]] = ()
    """Precisions besides fp32 in which files of fp32 are run as they are."""
    options: ClassVar[tuple[str, ...]] = ()
    """Names of further fields that the name of a device has, unless they have their defaults."""
    channels_last: ClassVar[bool] = False
    """Whether the images of networks that `build` builds have their channels last."""
    fixed_threads: ClassVar[bool] = False
    """Whether the number of threads cannot be changed after a process has used the runtime."""
    slow_to_build: ClassVar[bool] = False
    """Whether `build` and `load` together take many seconds even for a small network."""
    builds_in_child: ClassVar[bool] = False
    """Whether `build` runs in a child process, since what it calls may crash."""
    remote: ClassVar[bool] = False
    """Whether a session's `run` is executed by another machine, where this machine's clocks do not apply."""
    bound: ClassVar[str] = ""
    """Why an artefact runs only on the machine that built it, as the end of a sentence; empty if it runs elsewhere."""

    def __post_init__(self) -> None:
        if self.precision not in (*self.precisions, *(TOLERANCE if self.files else ())):
            raise InputError(
                f"Backend {self.runtime} has no precision '{self.precision}'; it has {', '.join(self.precisions)}."
            )
        if self.kind == "gpu" or self.threads > 1:  # the clock of the CPU adds up what threads do at the same time
            self.timing = replace(self.timing, by="wall")

    def builders(self) -> tuple[str, ...]:
        """Packages that have to be installed where `build` runs."""
        return self.packages

    def unavailable(self, build: bool = True) -> str:
        """Why this backend cannot run here (or, with `build`, not build here), in one sentence; empty if it can."""
        missing = absent((*self.packages, *self.builders()) if build else self.packages)
        reason = not_installed(missing[0]) if missing else self.lacks() or self._lacks_cores()
        return f"Backend {self.runtime} is not available here, because {reason}." if reason else ""

    def lacks(self) -> str:
        """What this host lacks besides packages, as the end of the sentence of `unavailable`."""
        return ""

    def _lacks_cores(self) -> str:
        cores = available_cores()
        if self.remote or self.threads <= cores:
            return ""
        return f"this process may use {cores} cores, fewer than {self.threads} threads; give --threads {cores} or less"

    @abstractmethod
    def build(self, model: Model, folder: Path) -> Path:
        """Write the artefact of a model that has weights into `folder`."""

    def parts(self, artefact: Path) -> list[Path]:
        """The files that an artefact consists of."""
        return [artefact]

    @abstractmethod
    def load(self, artefact: Path, shapes: Shapes = ()) -> Session:
        """Load an artefact.

        Args:
            artefact: from `build`, or a file with a suffix of `files`.
            shapes: of all inputs, for files that leave sizes open; by default the artefact's.
        """

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Versions of what executes the network."""

    def device(self) -> Device:
        """This host with this runtime, precision, batch and number of threads."""
        values = {name: getattr(self, name) for name in self.options}
        chosen = [name if value is True else value for name, value in values.items() if value != _default(self, name)]
        runtime = "-".join([self.runtime, *map(str, chosen)])
        threads = f"_t{self.threads}" if self.threads > 1 else ""
        family = f"{self.host}-{runtime}-{self.precision}"
        name = f"{self.host}_{runtime}_{self.precision}_{self.batch}{threads}"
        return Device(name, family, self.kind, runtime, self.precision, self.batch, threads=self.threads)

    def session(self, model: Network | Model, seed: int = 0) -> Session:
        """Build and load a network with its weights or seeded ones, bind seeded inputs and check its outputs.

        A network that fixes its batch (a layer's record does) runs with that batch. A network that was read from a file
        runs as that file if this runtime can.

        Raises:
            WrongOutput: the output is not the network's.
            BuildFailed: a build in a child process crashed, or took too long.
        """
        return self.loaded(partial(self.built, model, seed=seed)).session

    def built(self, model: Network | Model, folder: Path, seed: int = 0, remember: Remember = computed) -> Built:
        """The network's own file, or what is built of it in a folder, with seeded inputs and the expected outputs."""
        model = with_file(Model(model) if isinstance(model, Network) else model, folder)
        wanted = self.wanted(model, seed, remember)
        artefact = wanted.own or self.for_network(wanted.model.network).artefact(wanted.model, folder)
        return Built(artefact, wanted.inputs, wanted.expected, wanted.own is not None, wanted.notes)

    def wanted(self, model: Network | Model, seed: int = 0, remember: Remember = computed) -> Wanted:
        """What is to be run of a network, with seeded inputs and the expected outputs; nothing is built.

        Args:
            model: the network.
            seed: seed of weights and inputs.
            remember: gives the outputs of an earlier call where it knows them.

        Raises:
            InputError: this runtime takes neither the network's file nor what can be built again of it.
        """
        model = Model(model) if isinstance(model, Network) else model
        batch, own = self.for_network(model.network).batch, self.own_file(model)
        if file := own or model.file(self.sources):
            inputs = draw(model, batch, seed)
            return Wanted(model, inputs, remember(file.suffix, partial(expected_outputs, file, inputs)), own)
        notes = rebuilt_note(model, self.runtime)
        model, x = with_weights(model, seed), make_input(model.network, batch, seed)
        expected = remember("", partial(expected_of, model, x))
        expected = replace(expected, arrays=[self.layout(y) for y in expected.arrays])
        return Wanted(Model(model.network, model.weights), [self.layout(x)], expected, None, notes)

    def file(self, model: Model, folder: Path, seed: int = 0) -> Path:
        """The file that this runtime loads for a model: the model's own, or one that is built in a folder."""
        model = with_file(model, folder)
        if own := self.own_file(model):
            return own
        if not model.file(self.sources):
            rebuilt_note(model, self.runtime)
            model = with_weights(Model(model.network, model.weights), seed)
        return self.for_network(model.network).artefact(model, folder)

    def layout(self, x: np.ndarray) -> np.ndarray:
        """A batch [batch, channels, height, width] or [batch, features] as networks that `build` builds take it."""
        return to_nhwc(x) if self.channels_last else x

    def own_file(self, model: Model) -> Path | None:
        """The file of a model that this runtime runs as it is; None if there is none."""
        file = model.file(self.files)
        if file is None or self.precision in ("fp32", *self.computes):
            return file
        return file if file_precision(file) == self.precision else None

    def loaded(self, build: Callable[[Path], Built], sessions: int = 1) -> Loaded:
        """Build into a temporary folder, load, bind the inputs and check the outputs; of a short network so many
        sessions (`Timing.short_ms`)."""
        with tempfile.TemporaryDirectory() as folder:
            built, found = build(Path(folder)), list[Session]()
            wall, cpu = clock(lambda: found.append(self.opened(built)))
            (session,) = found
            session.bind(built.inputs)
            first_ms, _ = clock(session.run)
            if first_ms <= self.timing.short_ms and not self.slow_to_build and not self.remote:
                found += [self.opened(built) for _ in range(sessions - 1)]
            own = [file_precision(built.artefact)] if built.own else []
        for other in found[1:]:
            other.bind(built.inputs)
        precision = max([self.precision, *own], key=lambda name: TOLERANCE[name])
        notes = compare_outputs(session.fetch(), built.expected, precision)
        return Loaded(session, built.inputs, wall, cpu, first_ms, (*built.notes, *notes), tuple(found[1:]))

    def opened(self, built: Built) -> Session:
        """Load a built network for its inputs."""
        shapes = [x.shape for x in built.inputs]
        backend = self if built.own or not shapes[0] else replace(self, batch=shapes[0][0])
        return backend.load(built.artefact, shapes)

    def for_reference(self) -> Self:
        """This backend in a precision that it makes networks in: its own, or fp32 where that is only of files."""
        return self if self.precision in self.precisions else replace(self, precision="fp32")

    def for_network(self, network: Network) -> Self:
        """This backend with the batch of a network that fixes one."""
        return replace(self, batch=network.batch or self.batch)

    def artefact(self, model: Model, folder: Path) -> Path:
        """Write the artefact, in a child process if the backend `builds_in_child`."""
        if self.precision not in self.precisions:
            raise InputError(
                f"Backend {self.runtime} runs files of {self.precision}, and makes none; it makes "
                f"{', '.join(self.precisions)}."
            )
        build = partial(self.build, model, folder)
        return build_in_child(build, self.runtime) if self.builds_in_child else build()

    def profile(self, artefact: Path, inputs: Sequence[np.ndarray], warmup: int, runs: int) -> list[list[Kernel]]:
        """The kernels of each run after `warmup` others, in the order of execution; or means over a few runs each.

        Called by `measure.kernels.timeline`.
        """
        raise InputError(f"Backend {self.runtime} keeps no timeline of its kernels; measure whole runs with it.")

    def timed(self, session: Session, reference: Session, again: Sequence[Session] = ()) -> Repeats:
        """Time a loaded session, and further ones of the same network, interleaved with a reference session of this
        backend."""
        return self.timing(session.run, reference.run, [other.run for other in again])

    def on(self, device: Device | None = None, metric: str = "latency_ms") -> Cost:
        """The live cost: every call measures the median wall time [A] in ms, without correction for drift."""
        if metric != "latency_ms" or device not in (None, self.device()):
            raise InputError(f"Backend {self.runtime} measures latency_ms of {self.device().name} only.")

        def cost(archs: Architectures) -> np.ndarray:
            reference = self.session(reference_network())
            sessions = (self.session(archs.space.expand(arch)) for arch in archs)
            return np.array([self.timed(session, reference).raw_ms for session in sessions])

        return cost


def _default(backend: Backend, name: str) -> Any:
    return next(field.default for field in fields(backend) if field.name == name)


def available_cores() -> int:
    """Number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def with_weights(model: Network | Model, seed: int = 0) -> Model:
    """The model with its weights, or with seeded ones if it has none."""
    model = Model(model) if isinstance(model, Network) else model
    return model if model.weights is not None else replace(model, weights=make_weights(model.network, seed))


def reference_network() -> Network:
    """The fixed network that every measurement is interleaved with: one cell per stage, with all five ops."""
    space = NasBench201(cells=1)
    key = "|nor_conv_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
    return space.expand(space.parse([key])[0])
