"""Measures labels: builds networks for runtimes and times them under a fixed protocol."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets.records import Space
    from measure.base import Backend
    from measure.blackbox import BlackBox


def objective(
    space: Space | str,
    backend: Backend | str,
    budget_ms: float,
    journal: Path | str = "runs/measure/objective.jsonl",
    **options: Any,
) -> BlackBox:
    """A live device as a black box for any optimizer: integer decisions in, a number to minimise out.

    Args:
        space: a space, its text like nasbench201, or a .yaml that describes one.
        backend: a backend or its text, like ort:int8.
        budget_ms: largest latency allowed, in ms.
        journal: file of the measurements; those that it contains are not repeated.
        options: `quality` and `penalty` of `measure.blackbox.BlackBox`.
    """
    from datasets.spaces import open_space
    from measure.backends import parse_backend
    from measure.blackbox import BlackBox, Live
    from measure.campaign import Journal

    searched = open_space(space) if isinstance(space, str) else space
    device = parse_backend(backend) if isinstance(backend, str) else backend
    return BlackBox(searched, Live(searched, device, Journal(Path(journal))), budget_ms, **options)
