"""Which runtime, precision, number of threads and batch is best for a network on a machine: `python -m gnomon decide`.

In Python: `decide("a.onnx", "milan").best`, `decide("a.onnx", "raspberry_pi_5").to_frame()`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.files.reading import listed, shortened
from datasets.networks.network import Network
from datasets.networks.sizes import Sizes
from datasets.records import Device, InputError, Networks
from gnomon.decision import Alternative, Decided, Goal
from gnomon.joint_times import JointTimes
from predictors.networks.price import read_noted

if TYPE_CHECKING:
    from predictors.base import Predictor, Uncertain
    from predictors.belief import Belief

TOGETHER = 0.5
"""Correlation of the errors of two devices of a machine, where it cannot be computed: that of runtimes of `milan` on
public networks is 0.42 to 0.54."""
BATCHES = 0.9
"""Correlation of the errors of one device in two batches, an assumption."""
MEASURED = 0.05
"""Relative error of a measurement on this machine."""
ELSEWHERE = 0.5
"""Standard deviation of the logarithm of the ratio of this machine's speed to another one's whose prices are taken."""


def decide(
    name: str,
    device: str = "",
    batches: Sequence[int] = (1,),
    goal: Goal = "latency",
    measure: int = 0,
    predictor: Predictor | None = None,
    level: float = 0.9,
    sizes: Sizes = Sizes(),
    journal: Path = Path("runs/gnomon/decide.jsonl"),
    after: Callable[[Alternative], object] = lambda measured: None,
) -> Decided:
    """Choose runtime, precision, number of threads and batch for a network.

    Args:
        name: name of the network, as `measure run --onnx` takes it.
        device: a machine, or one of its devices: of the predictor, of ncnn's table or of AI Hub's; by default this one.
        batches: samples per run that are considered; public tables have 1.
        goal: what counts.
        measure: number of alternatives to measure on this machine, where it tells most.
        predictor: predictor of networks, with intervals; by default the pricer that comes with Gnomon.
        level: probability of intervals.
        sizes: that files leave open.
        journal: file of the measurements; rows that it contains are not measured again.
        after: called with each alternative that was measured.

    Raises:
        InputError: the network cannot be read or priced, or no alternative of the machine is known.
    """
    from predictors.networks.shipped import load

    predictor = predictor or load()
    machine, devices = known_devices(predictor.devices_, device)
    if not devices:
        if measure:
            raise InputError(f"{machine} is another machine, on which nothing can be measured; leave --measure out.")
        return _public(name, machine, batches, goal, level, sizes)
    networks = [read_noted(name, batch if batch > 1 or len(batches) > 1 else None, sizes)[0] for batch in batches]
    pairs = [(each, number) for number in range(len(networks)) for each in devices]
    times, notes, gaps = priced(predictor, networks, pairs)
    times = replace(times, per=_per(networks, pairs, goal))
    if not _here(devices):
        if measure:
            times = replace(times, covariance=times.covariance + ELSEWHERE**2)
        notes.append(f"Prices are those of {machine}, which is another machine than this one.")
    measured: dict[int, float] = {}
    while len(measured) < min(measure, len(pairs)):
        left = [number for number in range(len(pairs)) if number not in measured]
        number = times.most_telling(left, MEASURED)
        each, place = pairs[number]
        ms, note = _measured(name, each, networks[place].batch or 1, predictor, journal, sizes)
        measured[number] = ms
        if note:
            notes.append(note)
            continue
        times = times.measured(number, ms, MEASURED)
        after(_alternatives(times, pairs, networks, level, {number: ms})[number])
    if failed := [number for number, ms in measured.items() if np.isnan(ms)]:
        kept = [number for number in range(len(pairs)) if number not in failed]
        if not kept:
            raise InputError(f"{name} runs with none of the runtimes: {notes[-1]}")
        times = times.only(kept)
        pairs, gaps = [pairs[number] for number in kept], [gaps[number] for number in kept]
        measured = {kept.index(number): ms for number, ms in measured.items() if number in kept}
    found = _alternatives(times, pairs, networks, level, measured)
    chosen = times.chosen()
    notes += [f"{found[chosen].device}: {sentence}" for sentence in gaps[chosen] if chosen not in measured]
    return _decided(name, machine, goal, level, found, chosen, notes)


def machine_of(device: Device) -> str:
    """Name of a device's machine: what precedes the runtime."""
    return re.sub(f"_{re.escape(device.runtime)}_.*", "", device.name) if device.runtime else device.name


def known_devices(devices: Sequence[Device], name: str) -> tuple[str, list[Device]]:
    """The machine that a name means, and its devices among those of a predictor; none for a machine of public tables.

    Raises:
        InputError: there is no such machine, or none of this name.
    """
    from gnomon.compare import reference_times
    from gnomon.public_times import machines

    if not name:
        here = {machine_of(each) for each in devices if each.name in reference_times()}
        if not here:
            known = sorted({machine_of(each) for each in devices})
            raise InputError(
                f"The predictor does not know this machine; name the most similar one with --device: {listed(known)}, "
                "or a machine of ncnn's or AI Hub's table, as raspberry_pi_5."
            )
        name = min(here)
    name = next((machine_of(each) for each in devices if each.name == name), name)
    if found := [each for each in devices if machine_of(each) == name]:
        return name, found
    if name in machines():
        return name, []
    import difflib

    known = [*dict.fromkeys(machine_of(each) for each in devices), *machines()]
    close = difflib.get_close_matches(name, known, 3, 0.5) or known[:3]
    raise InputError(
        f"There is no machine '{shortened(name, 60)}', did you mean {listed(close)}? Known are {listed(known)}; "
        "`python -m datasets fetch ncnn ai-hub-models` adds those of public tables."
    )


def priced(
    predictor: Predictor, networks: Sequence[Network], pairs: Sequence[tuple[Device, int]]
) -> tuple[JointTimes, list[str], list[list[str]]]:
    """Times of networks on devices of one machine, given as pairs of a device and the number of a network; sentences on
    what no measurement supports, of all and of each pair. Correlations between devices are those of their leave-one-out
    errors."""
    from predictors.base import Uncertain
    from predictors.unsupported import unsupported

    if not isinstance(predictor, Uncertain) or predictor.metric != "latency_ms":
        raise InputError("The predictor has no intervals of latency_ms; name one that has, as sums of layers.")
    found = [_believed(predictor, networks[number], each) for each, number in pairs]
    beliefs = [belief for belief, _ in found]
    mean = np.array([belief.location[0] for belief in beliefs])
    deviation = np.array([belief.deviation[0] for belief in beliefs])
    if any(belief.scale.kind != "log" for belief in beliefs):
        raise InputError("The predictor's labels are no logarithms; name a sum of layers or another one that has them.")
    correlation = np.array([
        [BATCHES if each == other else _together(predictor, each, other) for other, _ in pairs] for each, _ in pairs
    ])  # fmt: skip
    correlation[np.diag_indices(len(pairs))] = 1
    degrees, covariance = np.array([belief.degrees for belief in beliefs]), correlation * np.outer(deviation, deviation)
    times = JointTimes(mean, covariance, float(degrees.min()), own_degrees=degrees)
    return times, unsupported(predictor, np.exp(mean), "ms"), [sentences for _, sentences in found]


def _believed(predictor: Uncertain, network: Network, device: Device) -> tuple[Belief, list[str]]:
    """The distribution of a network's ms on a device, and sentences on what of it no measurement supports."""
    from predictors.networks.layer_sum import LayerSum

    if not isinstance(predictor, LayerSum):
        return predictor.belief(Networks([network]), device), []
    _, _, belief, gaps = predictor.pieces_ms(device, network)
    return belief, [gap.sentence for gap in gaps]


def _together(predictor: Predictor, device: Device, other: Device) -> float:
    """Correlation of the errors of two devices on the same networks."""
    from predictors.networks.layer_sum import LayerSum

    if isinstance(predictor, LayerSum):
        a, b = (predictor.calibration(each).errors for each in (device, other))
        if len(a) == len(b) >= 20:
            return float(np.clip(np.corrcoef(a, b)[0, 1], 0, 0.95))
    return TOGETHER


def _per(networks: Sequence[Network], pairs: Sequence[tuple[Device, int]], goal: Goal) -> np.ndarray:
    """Samples by which times count [C]."""
    return np.array([networks[number].batch or 1 if goal == "throughput" else 1 for _, number in pairs], float)


def _here(devices: Sequence[Device]) -> bool:
    from gnomon.compare import reference_times

    return any(each.name in reference_times() for each in devices)


def _measured(name: str, device: Device, batch: int, predictor: Any, journal: Path, sizes: Sizes) -> tuple[float, str]:
    """Measured ms of a network with a device's runtime on this machine; not a number with the reason where it fails."""
    from gnomon.compare import compare
    from measure.commands.flags import Runs, one_device

    text = f"{device.runtime}:{device.precision}" + (f":{batch}" if batch > 1 else "")
    try:
        backend = one_device(text, Runs(None, threads=str(device.threads), protocol="quick"))
        (found,) = compare([name], backend, predictor, device.name, journal, repeats=1, sizes=sizes)
    except InputError as error:
        return np.nan, f"{device.name} was not measured and is left out: {error}"
    if not found.measured_ms > 0:
        return np.nan, f"{device.name} is left out. {found.notes[0]}"
    return found.measured_ms, ""


def _alternatives(
    times: JointTimes,
    pairs: Sequence[tuple[Device, int]],
    networks: Sequence[Network],
    level: float,
    measured: dict[int, float],
) -> list[Alternative]:
    """The alternatives in the order of `pairs`."""
    batches = [networks[number].batch or 1 for _, number in pairs]
    numbers = np.stack([np.exp(times.mean), *times.interval(level), times.best(), times.losses(), times.regrets()])
    found = []
    for number, ((each, _), batch) in enumerate(zip(pairs, batches, strict=True)):
        ms, low, high, best, loss, regret = numbers[:, number].tolist()
        settings = each.name, each.runtime, each.precision, each.threads, batch
        rest = best, loss, regret, measured.get(number)
        found.append(Alternative(*settings, ms, low, high, 1000 * batch / ms, *rest))
    return found


def _decided(
    name: str, machine: str, goal: Goal, level: float, found: list[Alternative], chosen: int, notes: Sequence[str]
) -> Decided:
    """The decision, its alternatives in the order of their regret."""
    first = found[chosen]
    rest = sorted((each for each in found if each is not first), key=lambda each: each.regret)
    if {each.precision for each in found} - {"fp32", "fp16", "bf16", "float"}:
        notes = [*notes, "Quantised networks are those of each runtime's own post-training quantisation; whether they "
                 "are still accurate enough was not measured."]  # fmt: skip
    return Decided(name, machine, goal, level, (first, *rest), tuple(dict.fromkeys(notes)))


def _public(name: str, machine: str, batches: Sequence[int], goal: Goal, level: float, sizes: Sizes) -> Decided:
    """A decision for a machine of a public table."""
    from gnomon.public_times import predicted

    if set(batches) - {1}:
        raise InputError(f"{machine} was measured with one image at a time; leave --batch out.")
    network = read_noted(name, None, sizes)[0]
    devices, times, notes = predicted(network, machine)
    found = _alternatives(times, [(each, 0) for each in devices], [network], level, {})
    return _decided(name, machine, goal, level, found, times.chosen(), notes)
