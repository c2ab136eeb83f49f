"""Meters of energy; every `Meter` in a module of this package is discovered."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

from datasets.records import InputError
from measure.base import Backend
from measure.power import Meter


def meter_classes() -> dict[str, type[Meter]]:
    """All meters by name, available here or not; those of one kind of hardware before those of whole boards."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    found = [cls for module in modules for cls in vars(module).values() if inspect.isclass(cls)]
    meters = [cls for cls in found if issubclass(cls, Meter) and not inspect.isabstract(cls)]
    return {cls.name: cls for cls in sorted(meters, key=lambda cls: (len(cls.kinds), cls.name))}


def choose_meter(backend: Backend) -> Meter:
    """The meter of a backend's hardware: of the GPU or the processor, or else of the whole board.

    Raises:
        InputError: this host has no such meter, or the backend runs on another device.
    """
    if backend.remote:
        raise InputError(
            f"Backend {backend.runtime} runs on another device, which reports no energy; leave --energy out."
        )
    kind = "gpu" if backend.kind == "gpu" else "cpu"
    meters = [cls() for cls in meter_classes().values() if kind in cls.kinds]
    reasons = []
    for meter in meters:
        if not (why := meter.unavailable()):
            return meter
        reasons.append(f"{meter.name}, because {why.split(', because ', 1)[1].rstrip('.')}")
    raise InputError(
        f"No meter reads the energy of a {kind.upper()} here: not {'; not '.join(reasons)}; leave --energy out."
    )
