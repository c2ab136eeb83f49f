"""Edits of a network measured on this machine, in turns with the network itself: `python -m gnomon advise --verify`."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datasets.networks.model import Model
from datasets.networks.network import Network
from datasets.records import InputError
from gnomon.advise import Advice, Advised

if TYPE_CHECKING:
    from measure.base import Backend

BLOCKS, SECONDS = 8, 30.0
"""Blocks of interleaved runs that measure a gain, and seconds after which there are no more than three."""


def verified(
    advised: Advised,
    number: int,
    backend: Backend | str = "",
    after: Callable[[Advice], object] = lambda measured: None,
) -> Advised:
    """Build the edited networks with the largest predicted gains and measure them on this machine, in turns with the
    network itself; all have random weights.

    Args:
        advised: what `advise` returned.
        number: number of edits.
        backend: a runtime of this host; by default that of the device.
        after: called with each measured edit.

    Raises:
        InputError: the runtime cannot run here.
    """
    from gnomon.check import on_this_host
    from gnomon.compare import reference_times

    on, batch = advised.device, advised.base.batch or 1
    backend = on_this_host(backend or f"{on.runtime}:{on.precision}" + f":{batch}" * (batch > 1))
    found, notes = list(advised.edits), list(advised.notes)
    if on.name not in reference_times():
        notes.append(f"Predicted is {on.name}, and measured on this machine, which may be another one.")
    for i, each in enumerate(found[:number]):
        own = replace(backend, precision=each.device.precision) if each.kind == "precision" else backend
        try:
            found[i] = replace(each, measured=measured_gain(advised.base, each.network, backend, own))
            after(found[i])
        except InputError as error:
            notes.append(f"'{each.edit}' was not measured: {error}")
    return replace(advised, edits=tuple(found), notes=tuple(dict.fromkeys(notes)))


def measured_gain(network: Network, edited: Network, backend: Backend, other: Backend | None = None) -> float:
    """Share of the time of a network that an edit saves on this machine, both with random weights: the median over
    blocks of interleaved runs.

    Args:
        network, edited: before and after the edit.
        backend: that runs them.
        other: that runs the edited one, if it is another.

    Raises:
        InputError: one of them cannot be built or run.
    """
    from gnomon.check import opened_side
    from gnomon.paired import blocks

    with tempfile.TemporaryDirectory() as folder:
        sides = [
            opened_side(each, Model(net), text, Path(folder) / text)
            for each, net, text in ((other or backend, edited, "edited"), (backend, network, "network"))
        ]
        ratios, start = list[float](), time.perf_counter()
        for block in blocks(sides, backend.timing):
            ratios.append(block.log_ratio(backend.timing))
            if len(ratios) == BLOCKS or (len(ratios) >= 3 and time.perf_counter() - start > SECONDS):
                break
    return 1 - float(np.exp(np.median(ratios)))
