"""Labels: builds networks for runtimes and times them under a stated protocol."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets.records import Space
    from measure.base import Backend
    from measure.blackbox import Objective


def objective(
    space: Space | str,
    backend: Backend | str,
    budget_ms: float,
    journal: Path | str = "runs/measure/objective.jsonl",
    **options: Any,
) -> Objective:
    """A black box for any optimizer: integer decisions to a number to minimise, measured live.

    Args:
        space: a space or its text, like nasbench201.
        backend: a backend or its text, like ort:int8.
        budget_ms: latency that must not be exceeded.
        journal: file of the measurements, which are not repeated.
        options: `quality` and `penalty` of `measure.blackbox.Objective`.
    """
    from datasets.spaces import parse_space
    from measure.backends import parse_backend
    from measure.blackbox import Live, Objective
    from measure.campaign import Journal

    where = parse_space(space) if isinstance(space, str) else space
    device = parse_backend(backend) if isinstance(backend, str) else backend
    return Objective(where, Live(where, device, Journal(Path(journal))), budget_ms, **options)
