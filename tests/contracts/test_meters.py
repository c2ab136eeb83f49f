"""Contract of `Meter`, on every meter that is there: it is read here, or gives the reason why not in one sentence."""

import time

import pytest

from measure.doctor import _meter
from measure.meters import meter_classes
from measure.power import Meter, Trace, stretch
from tests.conftest import implementations

METERS = implementations("measure.meters", Meter)


@pytest.mark.parametrize("cls", METERS, ids=lambda cls: cls.name)
def test_a_meter_says_why_it_cannot_be_read_or_can(cls: type[Meter]) -> None:
    meter = cls()
    assert meter_classes()[cls.name] is cls and set(cls.kinds) <= {"cpu", "gpu"} and cls.scope and meter.interval > 0
    found = _meter(meter)
    if why := meter.unavailable():
        assert why.startswith(f"Meter {cls.name} is not available here, because ") and why.endswith(".")
        assert found["found"] in why and why.count(". ") == 0
        return
    assert found["found"].startswith("available: ") and f" W now ({cls.scope})" in found["found"]
    with Trace(meter) as trace:
        joules, seconds, calls, updates = stretch(trace, lambda: time.sleep(0.01), 0.5, 3)
    assert 0 < joules < 20_000 * seconds and calls > 0 and updates >= 3
