"""Whether a network became slower than another, or exceeds a budget, measured on this machine: `gnomon check`.

In Python: `against("new.onnx", "main.onnx").verdict`, `budget("new.onnx", 20).to_frame()`.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.files.reading import shortened
from datasets.networks.model import Model
from datasets.networks.sizes import Sizes
from datasets.records import InputError
from gnomon.paired import Block, Side, blocks
from gnomon.sequential import Decision, Rule, Verdict, compared, decide, within
from measure.backends import parse_backend
from measure.base import Backend, reference_network
from measure.bench import provenance
from measure.inputs import Input, inputs_of
from measure.network_files import name_network, on_device, read_subject
from measure.outputs import TOLERANCE, relative_error

if TYPE_CHECKING:
    import pandas as pd

EXIT = {"FASTER": 0, "SAME": 0, "WITHIN": 0, "SLOWER": 1, "OVER": 1, "NO VERDICT": 3}
"""Exit status of the command by verdict; 2 is that of faulty input."""
REFERENCE = "reference"
"""Name of the network that a budget is compared by."""


@dataclass(frozen=True)
class Checked:
    """The result of a check.

    Attributes:
        verdict: FASTER, SLOWER, SAME, WITHIN, OVER or NO VERDICT.
        network, against: names of the two networks; `against` is `reference` if there was a budget.
        device: name of the device on which both ran.
        ms, against_ms: median time of a run, by the clock that counts.
        ratio, low, high: the network's time over the other's with its interval; infinite or 0 after too few blocks.
        level: probability that the interval contains the ratio.
        tolerance: largest difference that counts as the same, as a share; None if there was a budget.
        budget_ms: the budget; None if there was none.
        reference_ms: time of the reference network at which the budget holds; None if there was no budget.
        blocks, sessions, pairs: numbers of blocks, of sessions of each network, and of pairs of runs.
        seconds: of measuring.
        interrupted: share of pairs that other work interrupted.
        clock: cpu or wall.
        notes: sentences on the networks.
        row: date, host, protocol and versions, as in journals.
    """

    verdict: Verdict
    network: str
    against: str
    device: str
    ms: float
    against_ms: float
    ratio: float
    low: float
    high: float
    level: float
    tolerance: float | None
    budget_ms: float | None
    reference_ms: float | None
    blocks: int
    sessions: int
    pairs: int
    seconds: float
    interrupted: float
    clock: str
    notes: tuple[str, ...]
    row: dict[str, Any]

    def record(self) -> dict[str, Any]:
        """The result as plain values, as `--json` prints them; ends of intervals that are not known are null."""
        values = asdict(self)
        row = values.pop("row")
        for name in ("low", "high"):
            values[name] = values[name] if 0 < values[name] < math.inf else None
        return {"format": 1, **values, "notes": list(self.notes), "exit": EXIT[self.verdict], **row}

    def to_frame(self) -> pd.DataFrame:
        """The result as a table of one row."""
        import pandas as pd

        return pd.DataFrame([{name: value for name, value in asdict(self).items() if name not in ("row", "notes")}])


def against(
    network: str,
    other: str,
    backend: Backend | str = "ort",
    tolerance: float = 0.02,
    seconds: float = 60,
    level: float = 0.99,
    sizes: Sizes = Sizes(),
    after: Callable[[Decision], object] = lambda decision: None,
) -> Checked:
    """Compare the times of two networks with the same inputs.

    Args:
        network, other: names of networks, as `measure run --onnx` takes them.
        backend: a runtime of this host.
        tolerance: largest difference that counts as the same, as a share.
        seconds: of measuring at most, without reading and building.
        level: probability that a verdict is right.
        sizes: that files leave open.
        after: called with the state after every block.

    Raises:
        InputError: a network cannot be read or run, or their inputs differ.
    """
    backend, names = on_this_host(backend), (network, other)
    subjects = [name_network(name, modules=True, sizes=sizes) for name in names]
    models = [read_subject(subject, backend.batch) for subject in subjects]
    _check_inputs(names, [inputs_of(model, backend.batch) for model in models])
    with tempfile.TemporaryDirectory() as folder:
        sides = [
            opened_side(on_device(backend, subject), model, name, Path(folder) / part)
            for subject, model, name, part in zip(subjects, models, names, "ab", strict=True)
        ]
        run = _Run(sides, backend)
        decision = run.decide(compared(tolerance), seconds, level, after)
    return run.checked(decision, names, _different_outputs(*sides), tolerance=tolerance)


def budget(
    network: str,
    budget_ms: float,
    backend: Backend | str = "ort",
    reference_ms: float | None = None,
    seconds: float = 60,
    level: float = 0.99,
    sizes: Sizes = Sizes(),
    after: Callable[[Decision], object] = lambda decision: None,
) -> Checked:
    """Compare the time of a network with a budget, by a reference network that runs beside it.

    Args:
        network: name of the network.
        budget_ms: largest time of a run.
        backend: a runtime of this host.
        reference_ms: time of the reference network on a machine on which the budget has to hold; by default what it
            takes now.
        seconds, level, sizes, after: those of `against`.

    Raises:
        InputError: the network cannot be read or run.
    """
    backend = on_this_host(backend)
    subject = name_network(network, modules=True, sizes=sizes)
    own, standard, model = on_device(backend, subject), backend.for_reference(), read_subject(subject, backend.batch)
    with tempfile.TemporaryDirectory() as folder:
        first = opened_side(own, model, network, Path(folder) / "a")
        second = opened_side(standard, Model(reference_network()), REFERENCE, Path(folder) / "b")
        run = _Run((first, replace(second, warm=True)), backend)
        rule = within(lambda: math.log(budget_ms / (reference_ms or run.ms(1))))
        decision = run.decide(rule, seconds, level, after)
    usual = reference_ms or run.ms(1)
    return run.checked(decision, (network, REFERENCE), (), budget_ms=budget_ms, reference_ms=usual)


def on_this_host(backend: Backend | str) -> Backend:
    """The backend; one that measures on another machine is refused."""
    backend = parse_backend(backend) if isinstance(backend, str) else backend
    if backend.remote:
        raise InputError(f"Backend {backend.runtime} runs on another device; name one that runs on this host.")
    return backend


def _check_inputs(names: Sequence[str], inputs: Sequence[Sequence[Input]]) -> None:
    """Refuse two networks whose inputs differ."""
    found = [", ".join(f"{x.dtype} {'x'.join(map(str, x.shape)) or 'scalar'}" for x in each) for each in inputs]
    if found[0] != found[1]:
        first, other = (f"{shortened(name, 100)} takes {what}" for name, what in zip(names, found, strict=True))
        raise InputError(f"{first}, and {other}: only networks with the same inputs can be compared.")


def opened_side(backend: Backend, model: Model, name: str, folder: Path) -> Side:
    """How a network runs, after it ran once and its outputs were checked."""
    folder.mkdir()
    try:
        built = backend.built(model, folder)
        notes = backend.loaded(lambda _: built).notes
    except InputError:
        raise
    except Exception as error:  # of the runtime, whose exceptions are of no kind of their own
        reason = shortened(f"{type(error).__name__}: {error}", 600)
        raise InputError(f"{shortened(name, 100)} does not run on {backend.runtime}: {reason}") from error
    return Side(backend, replace(built, notes=notes))


def _different_outputs(first: Side, second: Side) -> tuple[str, ...]:
    """A sentence for each output in which two networks differ more than rounding explains."""
    ends = first.built.expected.arrays, second.built.expected.arrays
    if len(ends[0]) != len(ends[1]):
        return (f"The networks have {len(ends[0])} and {len(ends[1])} outputs.",)
    notes, varying = [], {*first.built.expected.varying, *second.built.expected.varying}
    for number, (y, other) in enumerate(zip(*ends, strict=True), 1):
        if number - 1 in varying:
            continue
        if y.shape != other.shape:
            notes.append(f"Output {number} has the shapes {y.shape} and {other.shape}.")
        elif (error := relative_error(y, other)) > TOLERANCE["fp32"]:
            notes.append(f"Output {number} differs by {error:.2g} of its norm for the same inputs.")
    return tuple(notes)


class _Run:
    """The blocks of one check, kept for medians and counts."""

    def __init__(self, sides: Sequence[Side], backend: Backend) -> None:
        self.sides, self.timing, self.backend = sides, backend.timing, sides[0].backend
        self.blocks = list[Block]()

    def decide(self, rule: Rule, *arguments: Any) -> Decision:
        """Measure until there is a verdict or no time."""
        return decide(self._stream(), rule, *arguments)

    def _stream(self) -> Iterator[tuple[float, float]]:
        for block in blocks(self.sides, self.timing):
            self.blocks.append(block)
            yield block.log_ratio(self.timing), block.seconds

    def ms(self, side: int) -> float:
        """Median over blocks of the median time of a network."""
        column = 2 * side + (self.timing.by == "cpu")
        return float(np.median([np.median(block.clocks[:, column]) for block in self.blocks]))

    def checked(
        self, decision: Decision, names: tuple[str, str], notes: tuple[str, ...], **limits: float | None
    ) -> Checked:
        """The result, with what was measured."""
        low, high = map(math.exp, decision.known.interval())
        clocks = np.concatenate([block.clocks for block in self.blocks])
        values: dict[str, Any] = {"tolerance": None, "budget_ms": None, "reference_ms": None, **limits}
        return Checked(
            decision.verdict,
            *names,
            device=self.backend.device().name,
            ms=self.ms(0),
            against_ms=self.ms(1),
            ratio=math.exp(decision.known.centre),
            low=low,
            high=high,
            level=decision.known.level,
            **values,
            blocks=len(self.blocks),
            sessions=sum(block.renewed for block in self.blocks),
            pairs=len(clocks),
            seconds=decision.seconds,
            interrupted=self.timing.interrupted(clocks[:, [0, 2]], clocks[:, [1, 3]]),
            clock=self.timing.by,
            notes=(*dict.fromkeys([*notes, *(note for side in self.sides for note in side.built.notes)]),),
            row=provenance(self.backend) | {"versions": self.backend.versions()},
        )
