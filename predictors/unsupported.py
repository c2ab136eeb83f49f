"""Sentences on predictions that no measurement supports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from datasets.machine import bundled_twin, machine_name
from datasets.records import Device


def unsupported(predictor: Any, values: np.ndarray, unit: str) -> list[str]:
    """Sentences on predicted values in a unit, of a predictor that may be an exported one."""
    found, adapted = [], _metadata(predictor).get("adapted", {})
    if isinstance(adapted, dict) and adapted.get("samples") == 0:
        name = predictor.devices_[0].name
        found.append(
            f"nothing was measured on {name}; values of other devices may be several times too large or too small "
            "here: rely on their order, or print intervals with --level 0.9."
        )
    if unit != "%" and len(values) and (below := int((values <= 0).sum())):
        found.append(
            f"{below} of {len(values)} values are not above zero, far outside of what was measured; measure more "
            "architectures, such as `choose` names, and adapt again."
        )
    return found


def doubts(predictor: Any) -> list[str]:
    """Sentences on samples that a predictor was adapted by while other work ran, or whose runs varied."""
    from predictors.networks.price_report import printable

    adapted = _metadata(predictor).get("adapted")
    found = adapted.get("doubts") if isinstance(adapted, dict) else None
    return [printable(each, 400) for each in found if isinstance(each, str)] if isinstance(found, list) else []


def of_another_machine(predictor: Any, file: str, devices: Sequence[Device | None]) -> list[str]:
    """A sentence if neither the names of devices nor an adaptation say that something was measured on this machine."""
    adapted, own = _metadata(predictor).get("adapted"), machine_name()
    names = [device.name for device in devices if device]
    if isinstance(adapted, dict) and adapted.get("machine") == own:
        return []
    if not names or any(name.startswith(f"{own}_") for name in names):
        return []
    twin = bundled_twin()
    known = any(device.name.startswith(f"{twin}_") for device in predictor.devices_)
    like = f", which has the processor of {twin}" if twin and known else ""
    return [
        f"{file} was never adapted to this machine ({own}){like}; measure 10 to 30 networks here (`python -m gnomon "
        "choose`, `measure`) and adapt it (`python -m gnomon adapt`)."
    ]


def _metadata(predictor: Any) -> Mapping[str, Any]:
    return getattr(predictor, "metadata_", None) or getattr(predictor, "meta", {})
