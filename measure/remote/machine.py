"""Another machine as a bench: networks are built here (or there), sent by ssh, and measured there."""

from __future__ import annotations

import hashlib
import json
import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np

from datasets.networks.model import Model, weights_to_npz
from datasets.packages import absent, not_installed
from datasets.records import InputError
from measure.base import Backend, reference_network
from measure.bench import Row
from measure.campaign import Journal
from measure.own_files import files_beside, with_file
from measure.remote.messages import Message, describe_backend
from measure.remote.ssh import Broken, Connection
from measure.subjects import Prepare, Subject, network_of


@dataclass
class Remote:
    """Measures on another machine like `measure.bench.Worker` on this one; a context manager.

    A row that was finished when the connection broke is fetched by the next connection, also from another process that
    continues the journal: rows are numbered, and a repeated request gets the same answer.

    Attributes:
        address: `user@host`, `user@host:port` or a name of the user's configuration of ssh.
        python: command of the Python there that has numpy and the runtime.
        build: where artefacts are built; if here, the other machine needs no packages for building.
        core: processor core there that the measuring process is pinned to.
        timeout: limit of seconds per row.
        phases: whether the phases of an inference are measured as well.
        energy: whether the energy per run is measured as well.
        journal: journal of the rows, if there is one.
        ssh: the command, with options.
        folder: folder of runners and journals there.
    """

    address: str
    python: str = "python3"
    build: Literal["here", "there"] = "here"
    core: int | None = None
    timeout: float = 600
    phases: bool = False
    energy: bool = False
    journal: Journal | None = None
    ssh: str = "ssh"
    folder: str = "~/.cache/gnomon"
    connection: Connection | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        tickets = [row["ticket"] for row in self.journal.rows if "ticket" in row] if self.journal else []
        last = tickets[-1] if tickets else f"{secrets.token_hex(8)}-0"
        self.campaign = last.partition("-")[0]
        self.number = int(last.partition("-")[2])
        self.patience = self.timeout + 60
        self.references: dict[str, Package] = {}
        self.kept = tempfile.TemporaryDirectory()

    def __call__(self, backend: Backend, arch: Subject, prepare: Prepare) -> Row:
        """The measured fields of a row; those of a failed measurement have an `error`.

        Raises:
            InputError: the machine can no longer be reached.
        """
        self._connected()
        self.number += 1
        ticket, device = f"{self.campaign}-{self.number}", backend.device().name
        with tempfile.TemporaryDirectory() as folder:
            try:
                if device not in self.references:
                    kept = Path(tempfile.mkdtemp(dir=self.kept.name))
                    self.references[device] = self._package(backend.for_reference(), Model(reference_network()), kept)
                model = prepare(arch, backend.batch)
                package = self._package(backend, model, Path(folder))
                subject = arch.space, arch.key, model.network.to_json()
                question = json.dumps([describe_backend(backend), subject, self.build, self.phases, self.energy])
            except Exception as error:
                return self._failed(backend, ticket, f"{type(error).__name__}: {error}")
            content = hashlib.sha256(question.encode()).hexdigest()
            return self._measured(backend, ticket, content, package) | network_of(arch, model)

    def _measured(self, backend: Backend, ticket: str, content: str, package: Package) -> Row:
        device, described, broken = backend.device().name, describe_backend(backend), ""
        for _ in range(2):
            try:
                connection = self._connected(broken)
                if device not in self.sent:
                    self.references[device].ask(connection, "reference", self.patience, backend=described)
                    self.sent.add(device)
                return package.ask(
                    connection, "measure", self.patience, ticket=ticket, content=content, backend=described
                )
            except Broken as error:
                self.connection, broken = None, str(error)
        return self._failed(backend, ticket, f"Crash: {broken}")

    def _failed(self, backend: Backend, ticket: str, why: str) -> Row:
        date = datetime.now(UTC).isoformat(timespec="seconds")
        return {"date": date, "host": self.host, "protocol": backend.timing.to_dict(), "error": why, "ticket": ticket}

    def _package(self, backend: Backend, model: Model, folder: Path) -> Package:
        """The files and the description of a network for the other machine."""
        wanted = backend.wanted(with_file(model, folder))
        description: Message = {"varying": wanted.expected.varying, "steps": wanted.expected.steps}
        description["noise"] = wanted.expected.noise
        description |= {"notes": wanted.notes, "own": wanted.own is not None}
        files: list[Path] = []
        if wanted.own or self.build == "here":
            artefact = wanted.own or backend.for_network(model.network).artefact(wanted.model, folder)
            description["artefact"], files = artefact.name, backend.parts(artefact)
        else:
            description["network"] = model.network.to_json()
            if file := wanted.model.file(backend.sources):
                description |= {"source": file.name, "shapes": wanted.model.shapes}
                files = [file, *files_beside(file)]
            elif model.weights is not None:
                files = [folder / "weights.npz"]
                files[0].write_bytes(weights_to_npz(model.weights))
        for name, arrays in {"inputs.npz": wanted.inputs, "expected.npz": wanted.expected.arrays}.items():
            files.append(folder / name)
            np.savez(files[-1], *arrays)
        return Package(description, {file.name: file for file in files})

    def check(self, backends: Sequence[Backend]) -> None:
        """Refuse backends that cannot be built, run or metered, before anything is measured.

        Raises:
            InputError: a backend is refused; the text has the reason.
        """
        for backend in backends:
            if self.build == "here":
                missing = absent(backend.builders())
                reason = not_installed(missing[0]) if missing else backend.bound
                if reason:
                    raise InputError(
                        f"Give --remote.build there: backend {backend.runtime} cannot be built here, because {reason}."
                    )
            why = self.ask("unavailable", backend=describe_backend(backend), build=self.build == "there")
            if why:
                raise InputError(str(why).replace("available here", f"available on {self.address}"))
            if self.energy and (why := self.ask("unmetered", backend=describe_backend(backend))):
                raise InputError(f"{self.address}: {why}")

    def ask(self, question: str, **arguments: Any) -> Any:
        """The answer of the runner there (`measure.remote.runner.Runner`) to a question that is no measurement."""
        try:
            return self._connected().ask(question, self.patience, **arguments)
        except Broken as error:
            self.connection = None
            raise InputError(str(error)) from error

    def _connected(self, broken: str = "") -> Connection:
        """The connection; a new one if there is none or it is broken."""
        if self.connection is None:
            try:
                self.connection = Connection(self.address, self.ssh, self.python, self.folder)
                self.sent: set[str] = set()
                options = {"phases": self.phases, "energy": self.energy}
                self.host = self.ask(
                    "begin", campaign=self.campaign, core=self.core, timeout=self.timeout, options=options
                )
            except InputError as error:
                self.close()
                safe = " All rows measured so far are safe; run the same command again." if broken else ""
                raise InputError(f"{error}{safe}") from error
        return self.connection

    def close(self) -> None:
        """End the runner there."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def __enter__(self) -> Remote:
        self._connected()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self.kept.cleanup()


@dataclass(frozen=True)
class Package:
    """The description of one network for the other machine (`measure.remote.runner.Sent`), and its files."""

    description: Message
    files: dict[str, Path]

    def ask(self, connection: Connection, question: str, patience: float, **arguments: Any) -> Any:
        """Send the package with a question, and return the answer."""
        return connection.ask(question, patience, self.files, **arguments, **self.description)
